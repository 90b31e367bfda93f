//! The hostile corpus: what crashes, hangs, fills or silently corrupts Yrs, one named input each.

mod bombs;
mod giants;
mod impostors;
mod strangers;
mod strays;

use driftline_core::text::guard::{Refused, Why};
use driftline_core::text::{Mark, TextKind};

use super::bytes::Bytes;
use super::world::op;

pub(crate) const ME: u64 = 5;
pub(crate) const OTHER: u64 = 9;

pub(crate) fn marks() -> Vec<Mark> {
    let mark = |writer, next| Mark {
        writer,
        next,
        last: op(writer),
        version: 1,
    };
    vec![mark(ME, 10), mark(OTHER, 20)]
}

/// My next block.
pub(crate) fn mine() -> Bytes {
    Bytes::section(ME, 10, 1)
}

pub(crate) struct Fixture {
    pub(crate) name: &'static str,
    pub(crate) kind: TextKind,
    pub(crate) bytes: Vec<u8>,
    pub(crate) answer: Refused,
}

fn invalid(name: &'static str, kind: TextKind, why: Why, bytes: Vec<u8>) -> Fixture {
    Fixture {
        name,
        kind,
        bytes,
        answer: Refused::Invalid(why),
    }
}

fn rebase(name: &'static str, kind: TextKind, why: Why, bytes: Vec<u8>) -> Fixture {
    Fixture {
        name,
        kind,
        bytes,
        answer: Refused::Rebase(why),
    }
}

pub(crate) fn corpus() -> Vec<Fixture> {
    [
        bombs::bombs(),
        strangers::strangers(),
        impostors::impostors(),
        strays::strays(),
        giants::giants(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
