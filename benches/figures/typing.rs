//! Typing in a long text, beside a short one, and beside Yrs alone.

use std::time::Duration;

use crate::Outcome;
use crate::bare::BareText;
use crate::bench::{Bench, Room};
use crate::figure::{Figure, Target};
use crate::ours::{Ours, Page};
use crate::process;
use crate::raw::{Durability, Raw};
use crate::recording::Edit;
use crate::stats::{micros, now};

const SHORT: usize = 1_000;
const LONG: usize = 100_000;
/// Batches of one turn.
const TURN: usize = 50;
/// What is typed within a frame, at most.
const TYPED: &str = "word ";
const PAGE: &str = "page";

/// A text on both sides.
struct Side {
    page: Page,
    bare: BareText,
    raw: Raw,
    length: usize,
    typed: usize,
    /// Microseconds of a batch, of each turn: ours, and of the baseline Yrs and the commit.
    ours: Vec<f64>,
    yrs: Vec<f64>,
    commit: Vec<f64>,
    /// Bytes written for a batch.
    bytes: Vec<f64>,
    // Closed last.
    _database: Ours,
}

pub(super) fn measure(bench: &Bench) -> Outcome<Vec<Figure>> {
    let room = bench.room()?;
    let mut short = Side::new(&room, "short", SHORT)?;
    let mut long = Side::new(&room, "long", LONG)?;
    for round in 0..bench.rounds(24) + 1 {
        for side in [&mut short, &mut long] {
            side.turn(round % 2 == 0)?;
        }
    }
    let outside = |side: &Side| -> Vec<f64> {
        let pairs = side.ours.iter().zip(&side.yrs);
        pairs.map(|(ours, yrs)| ours - yrs).skip(1).collect()
    };
    let whole: Vec<f64> = long
        .yrs
        .iter()
        .zip(&long.commit)
        .map(|(a, b)| a + b)
        .collect();
    Ok(vec![
        Figure::of(
            "typing_outside",
            "µs",
            &outside(&long),
            &outside(&short),
            Target::RatioAtMost(1.2),
        ),
        Figure::of(
            "typing_bytes",
            "B",
            &long.bytes[1..],
            &[],
            Target::AtMost(16_384.0),
        ),
        Figure::of(
            "typing_whole",
            "µs",
            &long.ours[1..],
            &whole[1..],
            Target::RatioAtMost(1.3),
        ),
    ])
}

impl Side {
    fn new(room: &Room, name: &str, length: usize) -> Outcome<Side> {
        let database = Ours::open(&room.file(name), Durability::Full)?;
        let text: String = "The quick brown fox jumps over the lazy dog. "
            .chars()
            .cycle()
            .take(length)
            .collect();
        database.insert_page(PAGE, &text)?;
        let page = database.open_page(PAGE)?;
        let bare = BareText::new(1);
        bare.edit(&[Edit {
            at: 0,
            delete: 0,
            insert: text,
        }]);
        let raw = Raw::create(&room.file(&format!("{name}-raw")), Durability::Full)?;
        Ok(Side {
            page,
            bare,
            raw,
            length,
            typed: 0,
            ours: Vec::new(),
            yrs: Vec::new(),
            commit: Vec::new(),
            bytes: Vec::new(),
            _database: database,
        })
    }

    /// Types with Driftline and with the baseline; the first to go changes.
    fn turn(&mut self, ours_first: bool) -> Outcome<()> {
        let edits: Vec<Edit> = (0..TURN).map(|n| self.edit(self.typed + n)).collect();
        self.typed += TURN;
        if ours_first {
            self.type_ours(&edits)?;
        }
        self.type_bare(&edits)?;
        if !ours_first {
            self.type_ours(&edits)?;
        }
        Ok(())
    }

    /// Words are typed one behind the other, and after ten of them somewhere else.
    fn edit(&self, n: usize) -> Edit {
        let place = (n / 10) * 7_919 % self.length;
        let at = place + n % 10 * TYPED.len();
        Edit {
            at: u32::try_from(at).unwrap_or(0),
            delete: 0,
            insert: TYPED.to_owned(),
        }
    }

    fn type_ours(&mut self, edits: &[Edit]) -> Outcome<()> {
        let mut took = Duration::ZERO;
        let written = process::written()?;
        for edit in edits {
            let began = now();
            self.page.edit(std::slice::from_ref(edit))?;
            took += now().saturating_sub(began);
        }
        let written = process::written()? - written;
        self.ours.push(micros(took) / TURN as f64);
        self.bytes.push(written as f64 / TURN as f64);
        Ok(())
    }

    fn type_bare(&mut self, edits: &[Edit]) -> Outcome<()> {
        let (mut yrs, mut commit) = (Duration::ZERO, Duration::ZERO);
        for edit in edits {
            let began = now();
            let update = self.bare.edit(std::slice::from_ref(edit));
            let made = now();
            self.raw.queue_update(update)?;
            yrs += made.saturating_sub(began);
            commit += now().saturating_sub(made);
        }
        self.yrs.push(micros(yrs) / TURN as f64);
        self.commit.push(micros(commit) / TURN as f64);
        Ok(())
    }
}
