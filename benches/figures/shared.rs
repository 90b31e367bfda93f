//! A durable write while another process watches the file and reads 100,000 rows of it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::Outcome;
use crate::bench::Bench;
use crate::child::{self, Companion};
use crate::figure::{Figure, Target};
use crate::ours::Ours;
use crate::payload::{Document, Documents};
use crate::raw::Durability;
use crate::stats::{micros, now, percentile};

const DOCUMENTS: usize = 100_000;
/// Writes of one round, with and without company.
const ROUND: usize = 2_000;

/// The child of this figure.
pub(super) const READER: &str = "shared-reader";

pub(super) fn measure(bench: &Bench) -> Outcome<Vec<Figure>> {
    let room = bench.room()?;
    let file = room.file("ours");
    let ours = Ours::open(&file, Durability::Full)?;
    let mut documents = Documents::new(17);
    ours.insert_all(&documents.take(DOCUMENTS))?;
    let mut reader = Companion::start(READER, &file)?;
    // The first round grows the log to the length it keeps.
    round(&ours, &documents.take(ROUND))?;
    let (mut alone, mut shared) = (Vec::new(), Vec::new());
    for _ in 0..bench.rounds(9) {
        alone.push(percentile(&round(&ours, &documents.take(ROUND))?, 0.99));
        reader.ask("read")?;
        shared.push(percentile(&round(&ours, &documents.take(ROUND))?, 0.99));
        let seen: u64 = reader.ask("rest")?.parse()?;
        if seen == 0 {
            return Err("the other process has seen no write".into());
        }
    }
    Ok(vec![Figure::of(
        "shared_write_p99",
        "µs",
        &shared,
        &alone,
        Target::RatioAtMost(2.0),
    )])
}

/// How many microseconds each insert takes.
fn round(ours: &Ours, documents: &[Document]) -> Outcome<Vec<f64>> {
    let mut times = Vec::with_capacity(documents.len());
    for document in documents {
        let began = now();
        ours.insert(document)?;
        times.push(micros(now().saturating_sub(began)));
    }
    Ok(times)
}

/// In a child: while it is told to, watches a count and reads every row again and again. Answers how
/// many changes the watch saw.
pub(super) fn play(argument: &str) -> Outcome<String> {
    let file: PathBuf = serde_json::from_str(argument)?;
    let ours = Ours::open(&file, Durability::Full)?;
    child::obey(|orders| {
        while orders.next().as_deref() == Some("read") {
            let resting = AtomicBool::new(false);
            let seen = std::thread::scope(|scope| {
                let reading = scope.spawn(|| read_all(&ours, &resting));
                // A watch that is held, not one that begins.
                let watching = scope.spawn(|| {
                    let seen = ours.count_changes(&resting, || child::say("reading"));
                    // Nobody is to wait for what will not begin.
                    seen.inspect_err(|_| child::say("failed"))
                });
                let told = orders.next();
                resting.store(true, Ordering::Relaxed);
                let joined = (watching.join(), reading.join());
                match joined {
                    (Ok(Ok(seen)), Ok(Ok(()))) if told.as_deref() == Some("rest") => Ok(seen),
                    (Ok(Err(error)), _) | (_, Ok(Err(error))) => Err(error),
                    _ => Err("the reader was not told to rest".into()),
                }
            })?;
            child::say(&seen.to_string());
        }
        Ok(())
    })?;
    Ok("0".to_owned())
}

fn read_all(ours: &Ours, resting: &AtomicBool) -> Outcome<()> {
    while !resting.load(Ordering::Relaxed) {
        if ours.read_all()? < DOCUMENTS {
            return Err("rows are missing".into());
        }
    }
    Ok(())
}
