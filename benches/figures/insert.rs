//! A durable insert of an 8-field document: how many a second, and how long the slow ones take.

use crate::Outcome;
use crate::bench::Bench;
use crate::figure::{Figure, Target};
use crate::ours::Ours;
use crate::payload::{Document, Documents};
use crate::raw::{Durability, Raw};
use crate::stats::{micros, now, percentile};

/// Inserts of one round and side; long enough that checkpoints fall into every round.
const ROUND: usize = 2_000;
/// The sides take turns after so many: few enough that most turns end within a slice of the
/// processor's time, so that a busy machine slows both sides alike.
const TURN: usize = 10;

pub(super) fn full(bench: &Bench) -> Outcome<Vec<Figure>> {
    measure(bench, Durability::Full, "insert_full")
}

pub(super) fn normal(bench: &Bench) -> Outcome<Vec<Figure>> {
    measure(bench, Durability::Normal, "insert_normal")
}

fn measure(bench: &Bench, durability: Durability, name: &str) -> Outcome<Vec<Figure>> {
    let room = bench.room()?;
    let ours = Ours::open(&room.file("ours"), durability)?;
    let mut raw = Raw::create(&room.file("raw"), durability)?;
    let mut documents = Documents::new(1);
    // The first round grows both logs to the length they keep and prepares all statements.
    let mut rounds = Vec::new();
    for round in 0..=bench.rounds(9) {
        let (mut a, mut b) = (Vec::with_capacity(ROUND), Vec::with_capacity(ROUND));
        for turn in 0..ROUND / TURN {
            let batch = documents.take(TURN);
            if (round + turn) % 2 == 0 {
                each(&batch, &mut a, |document| ours.insert(document))?;
                each(&batch, &mut b, |document| raw.insert(document))?;
            } else {
                each(&batch, &mut b, |document| raw.insert(document))?;
                each(&batch, &mut a, |document| ours.insert(document))?;
            }
        }
        if round > 0 {
            rounds.push((a, b));
        }
    }
    let by_round = |of: fn(&[f64]) -> f64| -> (Vec<f64>, Vec<f64>) {
        rounds.iter().map(|(a, b)| (of(a), of(b))).unzip()
    };
    let (rate, raw_rate): (Vec<Vec<f64>>, Vec<Vec<f64>>) =
        rounds.iter().map(|(a, b)| (rates(a), rates(b))).unzip();
    let (rate, raw_rate) = (rate.concat(), raw_rate.concat());
    let (slow, raw_slow) = by_round(|times| percentile(times, 0.99));
    let (slowest, raw_slowest) = by_round(|times| percentile(times, 1.0));
    Ok(vec![
        Figure::of(name, "1/s", &rate, &raw_rate, Target::RatioAtLeast(0.70)),
        Figure::of(
            format!("{name}_p99"),
            "µs",
            &slow,
            &raw_slow,
            Target::RatioAtMost(2.0),
        ),
        Figure::of(
            format!("{name}_max"),
            "µs",
            &slowest,
            &raw_slowest,
            Target::RatioAtMost(2.0),
        ),
    ])
}

/// Inserts a second, turn by turn.
fn rates(times: &[f64]) -> Vec<f64> {
    times
        .chunks(TURN)
        .map(|turn| turn.len() as f64 * 1e6 / turn.iter().sum::<f64>())
        .collect()
}

/// Notes how many microseconds each insert takes.
fn each(
    batch: &[Document],
    times: &mut Vec<f64>,
    mut insert: impl FnMut(&Document) -> Outcome<()>,
) -> Outcome<()> {
    for document in batch {
        let began = now();
        insert(document)?;
        times.push(micros(now().saturating_sub(began)));
    }
    Ok(())
}
