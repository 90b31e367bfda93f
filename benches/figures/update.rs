//! A durable change of one field of a document that the server knows.

use crate::Outcome;
use crate::bench::Bench;
use crate::figure::{Figure, Target};
use crate::ours::{Meeting, Ours};
use crate::payload::Documents;
use crate::raw::{Durability, Raw};
use crate::stats::{interleave, timed};

/// Documents in the file; each is changed once at most, so that no change takes another's place in
/// the queue.
const DOCUMENTS: usize = 20_000;
/// Changes of one round and side.
const ROUND: usize = 1_000;
/// Coprime to the number of documents: the changes spread over the whole file.
const STRIDE: usize = 7_919;

pub(super) fn full(bench: &Bench) -> Outcome<Vec<Figure>> {
    measure(bench, Durability::Full, "update_full")
}

pub(super) fn normal(bench: &Bench) -> Outcome<Vec<Figure>> {
    measure(bench, Durability::Normal, "update_normal")
}

fn measure(bench: &Bench, durability: Durability, name: &str) -> Outcome<Vec<Figure>> {
    let room = bench.room()?;
    let documents = Documents::new(2).take(DOCUMENTS);
    let meeting = Meeting::start(&room.file("server"))?;
    let path = room.file("ours");
    {
        let ours = Ours::open(&path, Durability::Normal)?;
        ours.insert_all(&documents)?;
        ours.connect(&meeting)?.settle()?;
        ours.close()?;
    }
    drop(meeting);
    let ours = Ours::open(&path, durability)?;
    let mut raw = Raw::create(&room.file("raw"), durability)?;
    raw.insert_all(&documents)?;
    raw.empty_queue()?;

    let ids = |round: usize| (0..ROUND).map(move |n| (round * ROUND + n) * STRIDE % DOCUMENTS);
    let rate = |time: std::time::Duration| ROUND as f64 / time.as_secs_f64();
    // Round 0 prepares statements and grows the logs.
    let mut pair = interleave(
        bench.rounds(12) + 1,
        |round| {
            let all = || {
                ids(round)
                    .try_for_each(|at| ours.set_priority(&documents[at].id, 1_000 + at as i64))
            };
            Ok(rate(timed(all)?.1))
        },
        |round| {
            let all = || {
                ids(round).try_for_each(|at| raw.set_priority(&documents[at].id, 1_000 + at as i64))
            };
            Ok(rate(timed(all)?.1))
        },
    )?;
    pair.ours.remove(0);
    pair.baseline.remove(0);
    Ok(vec![Figure::of(
        name,
        "1/s",
        &pair.ours,
        &pair.baseline,
        Target::RatioAtLeast(0.65),
    )])
}
