//! What an insert, an open and the pull of one changed field cost as the file grows: flat to within
//! two times from 1,000 to 1,000,000 documents.

use crate::Outcome;
use crate::bench::{Bench, Room};
use crate::figure::{Figure, Target};
use crate::ours::{Meeting, Ours};
use crate::payload::{Document, Documents};
use crate::raw::{Durability, Raw};
use crate::stats::{Pair, interleave, median, micros, timed};
use crate::{floor, stats};

const SIZES: [usize; 4] = [1_000, 10_000, 100_000, 1_000_000];
/// The largest for a first impression.
const QUICK: usize = 100_000;
const INSERTS: usize = 500;
const PULLS: usize = 15;

/// Microseconds at one size, of both sides.
struct Cost {
    insert: (f64, f64),
    open: (f64, f64),
    pull: (f64, f64),
}

pub(super) fn measure(bench: &Bench) -> Outcome<Vec<Figure>> {
    let mut costs = Vec::new();
    for size in SIZES
        .into_iter()
        .filter(|size| !bench.is_quick() || *size <= QUICK)
    {
        let cost = at(bench, size)?;
        eprintln!(
            "      {size:>9} documents: insert {:.0} µs (raw {:.0}), open {:.0} µs (raw {:.0}), pull {:.0} µs (floor {:.0})",
            cost.insert.0, cost.insert.1, cost.open.0, cost.open.1, cost.pull.0, cost.pull.1
        );
        costs.push(cost);
    }
    let figure = |name: &str, of: fn(&Cost) -> (f64, f64)| {
        let (ours, baseline): (Vec<f64>, Vec<f64>) = costs.iter().map(of).unzip();
        Figure::of(
            name,
            "x",
            &[growth(&ours)],
            &[growth(&baseline)],
            Target::AtMost(2.0),
        )
    };
    Ok(vec![
        figure("growth_insert", |cost| cost.insert),
        figure("growth_open", |cost| cost.open),
        figure("growth_pull", |cost| cost.pull),
    ])
}

/// The dearest size by the cheapest.
fn growth(costs: &[f64]) -> f64 {
    stats::percentile(costs, 1.0) / stats::percentile(costs, 0.0)
}

fn at(bench: &Bench, size: usize) -> Outcome<Cost> {
    let room = bench.room()?;
    let mut documents = Documents::new(10);
    let held = documents.take(size);
    let meeting = Meeting::start(&room.file("server"))?;
    fill_ours(&room, &meeting, &held)?;
    fill_raw(&room, &held)?;
    let pull = medians(pulls(bench, &room, &meeting, &held)?);
    drop(meeting);
    let open = medians(opens(bench, &room, &held[size / 2])?);
    let insert = medians(inserts(bench, &room, &mut documents)?);
    Ok(Cost { insert, open, pull })
}

fn medians(pair: Pair<f64>) -> (f64, f64) {
    (median(&pair.ours), median(&pair.baseline))
}

fn fill_ours(room: &Room, meeting: &Meeting, held: &[Document]) -> Outcome<()> {
    let a = Ours::open(&room.file("ours-a"), Durability::Normal)?;
    a.insert_all(held)?;
    a.connect(meeting)?.settle()?;
    a.close()?;
    let b = Ours::open(&room.file("ours-b"), Durability::Normal)?;
    b.connect(meeting)?.settle()?;
    if b.count()? != held.len() {
        return Err("not all documents arrived".into());
    }
    b.close()
}

fn fill_raw(room: &Room, held: &[Document]) -> Outcome<()> {
    for name in ["raw-a", "raw-b"] {
        let mut raw = Raw::create(&room.file(name), Durability::Normal)?;
        held.chunks(10_000)
            .try_for_each(|chunk| raw.insert_all(chunk))?;
        raw.empty_queue()?;
        raw.set_cursor(held.len())?;
        raw.checkpoint()?;
    }
    Ok(())
}

/// A changes a field and sends it; timed is how B gets it.
fn pulls(bench: &Bench, room: &Room, meeting: &Meeting, held: &[Document]) -> Outcome<Pair<f64>> {
    let a = Ours::open(&room.file("ours-a"), Durability::Full)?;
    let b = Ours::open(&room.file("ours-b"), Durability::Full)?;
    let (at_a, at_b) = (
        a.connect_without_live(meeting)?,
        b.connect_without_live(meeting)?,
    );
    at_a.settle()?;
    at_b.settle()?;
    let server = floor::Server::start(&room.file("floor"), Durability::Full, |raw| {
        held.chunks(10_000)
            .try_for_each(|chunk| raw.insert_all(chunk))
    })?;
    let mut raw_a = Raw::create(&room.file("raw-a"), Durability::Full)?;
    let mut raw_b = Raw::create(&room.file("raw-b"), Durability::Full)?;
    let (mut from_a, mut to_b) = (
        floor::Client::connect(server.address())?,
        floor::Client::connect(server.address())?,
    );
    let id = |round: usize| &held[round * 7_919 % held.len()].id;
    let pair = interleave(
        bench.rounds(PULLS),
        |round| {
            let priority = 1_000 + round as i64;
            a.set_priority(id(round), priority)?;
            at_a.sync_now()?;
            let (_, time) = timed(|| at_b.sync_now())?;
            if b.priority(id(round))? != priority {
                return Err("the change did not arrive".into());
            }
            Ok(micros(time))
        },
        |round| {
            raw_a.set_priority(id(round), 1_000 + round as i64)?;
            from_a.push(&mut raw_a)?;
            let (_, time) = timed(|| to_b.pull(&mut raw_b))?;
            Ok(micros(time))
        },
    )?;
    a.close()?;
    b.close()?;
    Ok(pair)
}

fn opens(bench: &Bench, room: &Room, wanted: &Document) -> Outcome<Pair<f64>> {
    interleave(
        bench.rounds(21),
        |_| {
            let (ours, time) = timed(|| {
                let ours = Ours::open(&room.file("ours-a"), Durability::Full)?;
                ours.title(&wanted.id)?;
                Ok(ours)
            })?;
            ours.close()?;
            Ok(micros(time))
        },
        |_| {
            let (_, time) = timed(|| {
                let raw = Raw::open(&room.file("raw-a"), Durability::Full)?;
                raw.title(&wanted.id)?;
                Ok(raw)
            })?;
            Ok(micros(time))
        },
    )
}

fn inserts(bench: &Bench, room: &Room, documents: &mut Documents) -> Outcome<Pair<f64>> {
    let ours = Ours::open(&room.file("ours-a"), Durability::Full)?;
    let mut raw = Raw::create(&room.file("raw-a"), Durability::Full)?;
    let rounds = bench.rounds(6) + 1;
    let batches: Vec<Vec<Document>> = (0..rounds).map(|_| documents.take(INSERTS)).collect();
    let each = |time: std::time::Duration| micros(time) / INSERTS as f64;
    // Round 0 grows the logs and prepares the statements.
    let mut pair = interleave(
        rounds,
        |round| {
            let (_, time) = timed(|| {
                batches[round]
                    .iter()
                    .try_for_each(|document| ours.insert(document))
            })?;
            Ok(each(time))
        },
        |round| {
            let (_, time) = timed(|| {
                batches[round]
                    .iter()
                    .try_for_each(|document| raw.insert(document))
            })?;
            Ok(each(time))
        },
    )?;
    pair.ours.remove(0);
    pair.baseline.remove(0);
    Ok(pair)
}
