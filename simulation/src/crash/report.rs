//! What came of an enumeration.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::flipped::Found;
use super::point::Point;

/// All of it.
#[derive(Debug)]
pub struct Report {
    /// A row for each scenario.
    pub rows: Vec<Row>,
    /// What did not hold.
    pub failures: Vec<Failure>,
    /// How long it took.
    pub took: Duration,
}

/// One scenario.
#[derive(Debug)]
pub struct Row {
    /// Its name.
    pub scenario: &'static str,
    /// Its I/O calls.
    pub calls: usize,
    /// What was tried.
    pub points: usize,
    /// Different states that were left on disks.
    pub states: usize,
    /// What became of flipped bits, in different states.
    pub flipped: Vec<Found>,
    /// The time it took, on all threads together.
    pub micros: usize,
}

/// A point after which something does not hold.
#[derive(Debug)]
pub struct Failure {
    /// The scenario.
    pub scenario: &'static str,
    /// The point.
    pub point: Point,
    /// What does not hold.
    pub reason: String,
}

impl Report {
    /// All points tried.
    pub fn points(&self) -> usize {
        self.rows.iter().map(|row| row.points).sum()
    }
}

/// Failures of one scenario that are shown; more of them say the same.
const SHOWN: usize = 5;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<28}{:>8}{:>9}{:>9}{:>10}{:>10}",
            "scenario", "calls", "points", "states", "failed", "ms each"
        )?;
        for row in &self.rows {
            let failed = self.failures_of(row.scenario).count();
            let each = row.micros as f64 / 1000.0 / row.points.max(1) as f64;
            writeln!(
                f,
                "{:<28}{:>8}{:>9}{:>9}{failed:>10}{each:>10.2}",
                row.scenario, row.calls, row.points, row.states
            )?;
        }
        for row in &self.rows {
            for failure in self.failures_of(row.scenario).take(SHOWN) {
                writeln!(
                    f,
                    "FAIL {0}: {1}\n     again: cargo xtask crash --scenario {0} --point {2}",
                    failure.scenario, failure.reason, failure.point
                )?;
            }
        }
        let mut flipped: BTreeMap<Found, usize> = BTreeMap::new();
        for found in self.rows.iter().flat_map(|row| &row.flipped) {
            *flipped.entry(*found).or_default() += 1;
        }
        if !flipped.is_empty() {
            let each = flipped.iter();
            let each = each.map(|(found, times)| format!("{times} {}", found.words()));
            let each: Vec<String> = each.collect();
            writeln!(f, "flipped bits: {}", each.join(", "))?;
        }
        write!(
            f,
            "{} scenarios, {} calls, {} points: {} failed ({:.1} s)",
            self.rows.len(),
            self.rows.iter().map(|row| row.calls).sum::<usize>(),
            self.points(),
            self.failures.len(),
            self.took.as_secs_f64()
        )
    }
}

impl Report {
    fn failures_of(&self, scenario: &str) -> impl Iterator<Item = &Failure> {
        self.failures
            .iter()
            .filter(move |failure| failure.scenario == scenario)
    }
}
