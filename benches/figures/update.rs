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
/// Changes of one turn: few enough that most turns end within a slice of the processor's time, so that
/// a busy machine slows both sides alike.
const TURN: usize = 10;
/// The first turns prepare statements and grow the logs.
const WARM_UP: usize = 100;
/// Coprime to the number of documents: the changes spread over the whole file.
const STRIDE: usize = 7_919;

pub(super) fn measure(bench: &Bench) -> Outcome<Vec<Figure>> {
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
    let ours = Ours::open(&path, Durability::Full)?;
    let mut raw = Raw::create(&room.file("raw"), Durability::Full)?;
    raw.insert_all(&documents)?;
    raw.empty_queue()?;

    let ids = |round: usize| (0..TURN).map(move |n| (round * TURN + n) * STRIDE % DOCUMENTS);
    let rate = |time: std::time::Duration| TURN as f64 / time.as_secs_f64();
    let mut pair = interleave(
        WARM_UP + bench.rounds(1_500),
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
    pair.ours.drain(..WARM_UP);
    pair.baseline.drain(..WARM_UP);
    Ok(vec![Figure::of(
        "update_full",
        "1/s",
        &pair.ours,
        &pair.baseline,
        Target::RatioAtLeast(0.65),
    )])
}
