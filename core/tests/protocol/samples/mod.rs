//! One value of every message, in the words of the schema that `docs/protocol.md` uses throughout.

mod documents;
mod messages;
mod ops;

pub(crate) use documents::*;
pub(crate) use messages::*;
pub(crate) use ops::{body, insert, one_boolean, typed};

use driftline_core::id::{BootId, DocumentId, OpId};
use driftline_core::protocol::{ChainHash, Cursor, Device};
use driftline_core::time::{Reading, Stamp};

pub(crate) const BIRDS: u16 = 1;
pub(crate) const TEAMS: u16 = 2;

pub(crate) const SPECIES: u16 = 1;
pub(crate) const TAGGED: u16 = 2;
pub(crate) const MASS: u16 = 3;
pub(crate) const FLIPPER: u16 = 4;
pub(crate) const OBSERVED: u16 = 5;
pub(crate) const CHIP: u16 = 6;
pub(crate) const NEST: u16 = 7;
pub(crate) const RAW: u16 = 8;
pub(crate) const PLACE: u16 = 9;
pub(crate) const SIGHTINGS: u16 = 10;
pub(crate) const MARKS: u16 = 11;
pub(crate) const NOTES: u16 = 12;

/// 15 July 2024, 12:00:00 UTC.
const NOON: i64 = 1_721_044_800_000;

pub(crate) fn op(n: u8) -> OpId {
    let mut id = [
        0x01, 0x90, 0xb6, 0x5c, 0x4e, 0x00, 0x70, 0, 0x80, 0, 0, 0, 0, 0, 0, 0,
    ];
    id[15] = n;
    OpId(id)
}

pub(crate) fn document(n: u8) -> DocumentId {
    DocumentId::new(format!("0190b65c-0000-7000-8000-0000000000{n:02x}")).unwrap()
}

pub(crate) fn named(id: &str) -> DocumentId {
    DocumentId::new(id).unwrap()
}

pub(crate) fn stamp(seconds: i64) -> Stamp {
    Stamp::at(NOON + 1_000 * seconds)
}

fn cursor(version: u64) -> Cursor {
    Cursor {
        version,
        hash: ChainHash([0x5a, 0x1f, 0x00, 0x9c, 0x77, 0xe3, 0x04, version as u8]),
    }
}

fn device() -> Device {
    Device {
        id: "a3f0c2d1-torgersen".into(),
        label: "Torgersen, tablet 2".into(),
        writer: 4_503_599_627_370_495,
    }
}

fn now() -> Reading {
    Reading {
        wall: NOON + 2_820_000,
        boot: BootId(3_735_928_559),
        mono: 86_400_123,
    }
}
