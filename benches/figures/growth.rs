//! What an insert, an open and the pull of one changed field cost as the file grows: flat to within
//! two times from 1,000 to 1,000,000 documents.
//!
//! All sizes are measured turn by turn, so that what the machine does meanwhile falls on all alike.

use std::time::Duration;

use crate::bench::{Bench, Room};
use crate::figure::{Figure, Target};
use crate::ours::{Link, Meeting, Ours};
use crate::payload::{Document, Documents};
use crate::raw::{Durability, Raw};
use crate::stats::{self, median, micros, timed};
use crate::{Outcome, floor};

const SIZES: [usize; 4] = [1_000, 10_000, 100_000, 1_000_000];
/// The largest for a first impression.
const QUICK: usize = 100_000;
/// Inserts of one turn.
const INSERTS: usize = 10;
/// Coprime to every size: changes spread over the whole file.
const STRIDE: usize = 7_919;

/// Both sides with files of one size.
struct Side {
    size: usize,
    room: Room,
    meeting: Meeting,
    /// Documents to change and to read.
    known: Vec<Document>,
    /// Documents that are not there yet.
    fresh: Documents,
    ours: Times,
    raw: Times,
}

/// Microseconds.
#[derive(Default)]
struct Times {
    insert: Vec<f64>,
    open: Vec<f64>,
    pull: Vec<f64>,
}

pub(super) fn measure(bench: &Bench) -> Outcome<Vec<Figure>> {
    let sizes = SIZES
        .into_iter()
        .filter(|size| !bench.is_quick() || *size <= QUICK);
    let mut sides = sizes
        .map(|size| Side::prepare(bench, size))
        .collect::<Outcome<Vec<Side>>>()?;
    pulls(&mut sides, bench.rounds(31))?;
    for _ in 0..bench.rounds(21) {
        sides.iter_mut().try_for_each(Side::open)?;
    }
    inserts(&mut sides, bench.rounds(300))?;
    for side in &sides {
        side.tell();
    }
    Ok(vec![
        figure("growth_insert", &sides, |times| &times.insert),
        figure("growth_open", &sides, |times| &times.open),
        figure("growth_pull", &sides, |times| &times.pull),
    ])
}

/// The dearest size by the cheapest, of both sides.
fn figure(name: &str, sides: &[Side], of: fn(&Times) -> &Vec<f64>) -> Figure {
    let growth = |costs: Vec<f64>| stats::percentile(&costs, 1.0) / stats::percentile(&costs, 0.0);
    let ours = growth(sides.iter().map(|side| median(of(&side.ours))).collect());
    let raw = growth(sides.iter().map(|side| median(of(&side.raw))).collect());
    Figure::of(name, "x", &[ours], &[raw], Target::AtMost(2.0))
}

impl Side {
    fn prepare(bench: &Bench, size: usize) -> Outcome<Side> {
        eprintln!("      preparing {size} documents");
        let room = bench.room()?;
        let mut fresh = Documents::new(10);
        let held = fresh.take(size);
        let meeting = Meeting::start(&room.file("server"))?;
        fill_ours(&room, &meeting, &held)?;
        fill_raw(&room, &held)?;
        let known = (0..100).map(|n| held[n * STRIDE % size].clone()).collect();
        Ok(Side {
            size,
            room,
            meeting,
            known,
            fresh,
            ours: Times::default(),
            raw: Times::default(),
        })
    }

    fn ours(&self, name: &str) -> Outcome<Ours> {
        Ours::open(&self.room.file(name), Durability::Full)
    }

    fn raw(&self, name: &str) -> Outcome<Raw> {
        Raw::create(&self.room.file(name), Durability::Full)
    }

    fn open(&mut self) -> Outcome<()> {
        let wanted = &self.known[0].id;
        let (ours, time) = timed(|| {
            let ours = self.ours("ours-a")?;
            ours.title(wanted)?;
            Ok(ours)
        })?;
        ours.close()?;
        self.ours.open.push(micros(time));
        let (_, time) = timed(|| {
            let raw = Raw::open(&self.room.file("raw-a"), Durability::Full)?;
            raw.title(wanted)?;
            Ok(raw)
        })?;
        self.raw.open.push(micros(time));
        Ok(())
    }

    fn tell(&self) {
        let (ours, raw) = (&self.ours, &self.raw);
        eprintln!(
            "      {:>9} documents: insert {:.0} µs (raw {:.0}), open {:.0} µs (raw {:.0}), pull {:.0} µs (floor {:.0})",
            self.size,
            median(&ours.insert),
            median(&raw.insert),
            median(&ours.open),
            median(&raw.open),
            median(&ours.pull),
            median(&raw.pull),
        );
    }
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
    for name in ["raw-a", "raw-b", "floor"] {
        let mut raw = Raw::create(&room.file(name), Durability::Normal)?;
        held.chunks(10_000)
            .try_for_each(|chunk| raw.insert_all(chunk))?;
        if name != "floor" {
            raw.empty_queue()?;
            raw.set_cursor(held.len())?;
        }
        raw.checkpoint()?;
    }
    Ok(())
}

/// Both ends of one size, connected.
struct Ends {
    a: Ours,
    at_a: Link,
    b: Ours,
    at_b: Link,
    raw_a: Raw,
    raw_b: Raw,
    from_a: floor::Client,
    to_b: floor::Client,
    _server: floor::Server,
}

impl Ends {
    fn of(side: &Side) -> Outcome<Ends> {
        let (a, b) = (side.ours("ours-a")?, side.ours("ours-b")?);
        let at_a = a.connect_without_live(&side.meeting)?;
        let at_b = b.connect_without_live(&side.meeting)?;
        at_a.settle()?;
        at_b.settle()?;
        let server = floor::Server::start(&side.room.file("floor"), Durability::Full, |_| Ok(()))?;
        Ok(Ends {
            a,
            at_a,
            b,
            at_b,
            raw_a: side.raw("raw-a")?,
            raw_b: side.raw("raw-b")?,
            from_a: floor::Client::connect(server.address())?,
            to_b: floor::Client::connect(server.address())?,
            _server: server,
        })
    }

    /// A changes a field and sends it; timed is how B gets it.
    fn ours(&mut self, id: &str, priority: i64) -> Outcome<Duration> {
        self.a.set_priority(id, priority)?;
        self.at_a.sync_now()?;
        let (_, time) = timed(|| self.at_b.sync_now())?;
        match self.b.priority(id)? == priority {
            true => Ok(time),
            false => Err("the change did not arrive".into()),
        }
    }

    fn floor(&mut self, id: &str, priority: i64) -> Outcome<Duration> {
        self.raw_a.set_priority(id, priority)?;
        self.from_a.push(&mut self.raw_a)?;
        let (_, time) = timed(|| self.to_b.pull(&mut self.raw_b))?;
        Ok(time)
    }
}

fn pulls(sides: &mut [Side], rounds: usize) -> Outcome<()> {
    let mut ends = sides.iter().map(Ends::of).collect::<Outcome<Vec<Ends>>>()?;
    // The first round opens connections and prepares statements.
    for round in 0..=rounds {
        for (side, ends) in sides.iter_mut().zip(&mut ends) {
            let (id, priority) = (
                &side.known[round % side.known.len()].id,
                1_000 + round as i64,
            );
            let (ours, floor) = (ends.ours(id, priority)?, ends.floor(id, priority)?);
            if round > 0 {
                side.ours.pull.push(micros(ours));
                side.raw.pull.push(micros(floor));
            }
        }
    }
    ends.into_iter().try_for_each(|ends| {
        ends.a.close()?;
        ends.b.close()
    })
}

fn inserts(sides: &mut [Side], rounds: usize) -> Outcome<()> {
    let open = |side: &Side| Outcome::Ok((side.ours("ours-a")?, side.raw("raw-a")?));
    let mut files = sides
        .iter()
        .map(open)
        .collect::<Outcome<Vec<(Ours, Raw)>>>()?;
    let each = |time: Duration| micros(time) / INSERTS as f64;
    // The first rounds grow the logs and prepare the statements.
    let warm_up = rounds / 10 + 1;
    for round in 0..warm_up + rounds {
        for (side, (ours, raw)) in sides.iter_mut().zip(&mut files) {
            let batch = side.fresh.take(INSERTS);
            let (_, our_time) =
                timed(|| batch.iter().try_for_each(|document| ours.insert(document)))?;
            let (_, raw_time) =
                timed(|| batch.iter().try_for_each(|document| raw.insert(document)))?;
            if round >= warm_up {
                side.ours.insert.push(each(our_time));
                side.raw.insert.push(each(raw_time));
            }
        }
    }
    Ok(())
}
