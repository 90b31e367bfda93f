//! A change of one field committed on A until it is readable on B, over the live socket.

use crate::Outcome;
use crate::bench::Bench;
use crate::figure::{Figure, Target};
use crate::floor::Relay;
use crate::ours::{Meeting, Ours};
use crate::payload::Documents;
use crate::raw::Durability;
use crate::stats::{interleave, median, micros, timed};

const DOCUMENTS: usize = 2_000;
/// Changes of one round and side.
const ROUND: usize = 60;

pub(super) fn measure(bench: &Bench) -> Outcome<Vec<Figure>> {
    let room = bench.room()?;
    let documents = Documents::new(6).take(DOCUMENTS);
    let meeting = Meeting::start(&room.file("server"))?;
    let a = Ours::open(&room.file("ours-a"), Durability::Full)?;
    a.insert_all(&documents)?;
    let at_a = a.connect(&meeting)?;
    at_a.settle()?;
    let b = Ours::open(&room.file("ours-b"), Durability::Full)?;
    let at_b = b.connect(&meeting)?;
    at_b.settle()?;
    at_a.wait_live()?;
    at_b.wait_live()?;
    let arrivals = at_b.arrivals();

    let mut relay = Relay::start(room.path(), Durability::Full, |raw| {
        raw.insert_all(&documents)?;
        raw.empty_queue()
    })?;

    let changes = |round: usize| {
        (0..ROUND).map(move |n| ((round * ROUND + n) * 7 % DOCUMENTS, 1_000 + round as i64))
    };
    let mut pair = interleave(
        bench.rounds(12) + 1,
        |round| {
            let mut times = Vec::with_capacity(ROUND);
            for (at, priority) in changes(round) {
                let id = &documents[at].id;
                let (_, time) = timed(|| {
                    a.set_priority(id, priority)?;
                    while b.priority(id)? != priority {
                        arrivals.wait()?;
                    }
                    Ok(())
                })?;
                times.push(micros(time));
            }
            Ok(median(&times))
        },
        |round| {
            let mut times = Vec::with_capacity(ROUND);
            for (at, priority) in changes(round) {
                let (_, time) = timed(|| relay.change(&documents[at].id, priority))?;
                times.push(micros(time));
            }
            Ok(median(&times))
        },
    )?;
    pair.ours.remove(0);
    pair.baseline.remove(0);
    Ok(vec![Figure::of(
        "live_p50",
        "µs",
        &pair.ours,
        &pair.baseline,
        Target::RatioAtMost(2.0),
    )])
}
