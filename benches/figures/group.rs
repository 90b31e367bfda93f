//! What a document costs in a transaction of many, as there are more of them: flat to within two times from
//! 1,000 to 8,000.
//!
//! The dearest case there is: two devices each change all documents in one transaction, and again in
//! another, without having seen each other, and meet. Of every document a chain of two queued ops, a
//! conflict and a lost value have to be looked up.

use crate::Outcome;
use crate::bench::{Bench, Room};
use crate::figure::{Figure, Target};
use crate::ours::{Link, Meeting, Ours};
use crate::payload::Documents;
use crate::raw::Durability;
use crate::stats::{median, micros, timed};

const FEW: usize = 1_000;
const MANY: usize = 8_000;

/// Two devices with the same documents.
struct Pair {
    _room: Room,
    _meeting: Meeting,
    sides: [(Ours, Link); 2],
    ids: Vec<String>,
    /// Microseconds a document.
    times: Vec<f64>,
}

pub(super) fn measure(bench: &Bench) -> Outcome<Vec<Figure>> {
    let mut pairs = [Pair::prepare(bench, FEW)?, Pair::prepare(bench, MANY)?];
    for round in 0..=bench.rounds(9) {
        for pair in &mut pairs {
            pair.meet(round)?;
        }
    }
    let [few, many] = pairs.map(|pair| median(&pair.times));
    eprintln!("      a document of {FEW}: {few:.0} µs, of {MANY}: {many:.0} µs");
    let growth = [many / few];
    Ok(vec![Figure::of(
        "growth_group",
        "x",
        &growth,
        &[],
        Target::AtMost(2.0),
    )])
}

impl Pair {
    fn prepare(bench: &Bench, size: usize) -> Outcome<Pair> {
        let room = bench.room()?;
        let documents = Documents::new(11).take(size);
        let meeting = Meeting::start(&room.file("server"))?;
        let side = |name: &str| {
            let ours = Ours::open(&room.file(name), Durability::Full)?;
            let link = ours.connect_without_live(&meeting)?;
            Outcome::Ok((ours, link))
        };
        let sides = [side("ours-a")?, side("ours-b")?];
        sides[0].0.insert_all(&documents)?;
        sides.iter().try_for_each(|(_, link)| link.sync_now())?;
        Ok(Pair {
            _room: room,
            _meeting: meeting,
            sides,
            ids: documents.into_iter().map(|document| document.id).collect(),
            times: Vec::new(),
        })
    }

    /// Both change everything twice, and meet.
    fn meet(&mut self, round: usize) -> Outcome<()> {
        for (_, link) in &self.sides {
            link.pause()?;
        }
        let (_, time) = timed(|| {
            for (at, (ours, _)) in self.sides.iter().enumerate() {
                ours.set_priorities(&self.ids, (10 * round + at) as i64)?;
                ours.set_priorities(&self.ids, (10 * round + at + 5) as i64)?;
            }
            for (_, link) in self.sides.iter().chain(&self.sides[..1]) {
                link.resume();
                link.sync_now()?;
            }
            Ok(())
        })?;
        let [one, other] = [0, 1].map(|at| self.sides[at].0.priority(&self.ids[0]));
        if one? != other? {
            return Err("two devices that met differ".into());
        }
        // The first round prepares statements.
        if round > 0 {
            self.times.push(micros(time) / self.ids.len() as f64);
        }
        Ok(())
    }
}
