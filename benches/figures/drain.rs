//! 100 pending changes, from the moment that they may be sent until the queue is empty.

use crate::Outcome;
use crate::bench::Bench;
use crate::figure::{Figure, Target};
use crate::floor;
use crate::ours::{Meeting, Ours};
use crate::payload::Documents;
use crate::raw::{Durability, Raw};
use crate::stats::{interleave, millis, timed};

const DOCUMENTS: usize = 2_000;
const PENDING: usize = 100;

pub(super) fn measure(bench: &Bench) -> Outcome<Vec<Figure>> {
    let room = bench.room()?;
    let documents = Documents::new(7).take(DOCUMENTS);
    let meeting = Meeting::start(&room.file("server"))?;
    let ours = Ours::open(&room.file("ours"), Durability::Full)?;
    ours.insert_all(&documents)?;
    let link = ours.connect(&meeting)?;
    link.settle()?;

    let server = floor::Server::start(&room.file("floor"), Durability::Full, |raw| {
        raw.insert_all(&documents)
    })?;
    let mut raw = Raw::create(&room.file("raw"), Durability::Full)?;
    raw.insert_all(&documents)?;
    raw.empty_queue()?;
    let mut client = floor::Client::connect(server.address())?;

    let ids = |round: usize| (0..PENDING).map(move |n| (round * PENDING + n) * 7 % DOCUMENTS);
    let mut pair = interleave(
        bench.rounds(30) + 1,
        |round| {
            link.pause()?;
            ids(round)
                .try_for_each(|at| ours.set_priority(&documents[at].id, 1_000 + round as i64))?;
            let told = link.arrivals();
            let (_, time) = timed(|| {
                link.resume();
                told.wait_for_pushed(PENDING)
            })?;
            if ours.queued()? != 0 {
                return Err("the queue was not drained".into());
            }
            // What else it does when it begins again, such as asking what it missed, is not the queue's.
            link.settle()?;
            Ok(millis(time))
        },
        |round| {
            ids(round)
                .try_for_each(|at| raw.set_priority(&documents[at].id, 1_000 + round as i64))?;
            let (_, time) = timed(|| client.push(&mut raw))?;
            Ok(millis(time))
        },
    )?;
    pair.ours.remove(0);
    pair.baseline.remove(0);
    Ok(vec![Figure::of(
        "drain_100",
        "ms",
        &pair.ours,
        &pair.baseline,
        Target::AtMost(8.0),
    )])
}
