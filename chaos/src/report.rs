//! What a run says at its end: a table for people, an object for programs.

use std::collections::BTreeMap;

use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Value, json};

use crate::checks::{Check, Verdict};
use crate::plan::Death;
use crate::run::Aftermath;

/// The figures of a run, by name.
pub(crate) struct Report {
    seed: u64,
    figures: Vec<(String, String)>,
    checks: Vec<Check>,
    kills: u64,
    wanted: u64,
    seconds: f64,
    healing: f64,
}

impl Report {
    pub(crate) fn new(seed: u64, wanted: u64, aftermath: &Aftermath, verdict: Verdict) -> Report {
        let mut deaths = [0; Death::NAMES.len()];
        let mut fates: BTreeMap<&str, u64> = BTreeMap::new();
        for device in &aftermath.devices {
            for (sum, count) in deaths.iter_mut().zip(device.tally.deaths) {
                *sum += count;
            }
            for (fate, count) in device.proxy.counts().by_fate() {
                *fates.entry(fate).or_default() += count;
            }
            *fates.entry("refused").or_default() += device.proxy.counts().refused();
        }
        let device_kills: u64 = aftermath.devices.iter().map(|d| d.tally.kills()).sum();
        let papers = || aftermath.devices.iter().map(|device| &device.paper);
        let ordered: usize = papers().map(|paper| paper.ordered.len()).sum();
        let acknowledged: usize = papers().map(|paper| paper.acknowledged.len()).sum();
        let mut figures = Vec::new();
        let mut add = |name: String, value: String| figures.push((name, value));
        add("devices".to_owned(), aftermath.devices.len().to_string());
        for (name, count) in Death::NAMES.into_iter().zip(deaths) {
            let name = match name {
                "closed" => "devices closed properly".to_owned(),
                name => format!("devices killed while {name}"),
            };
            add(name, count.to_string());
        }
        add(
            "server killed".to_owned(),
            aftermath.server_kills.to_string(),
        );
        for (fate, count) in fates {
            add(format!("connections {fate}"), count.to_string());
        }
        add("writes ordered".to_owned(), ordered.to_string());
        add("writes acknowledged".to_owned(), acknowledged.to_string());
        add(
            "transactions in the journal".to_owned(),
            verdict.there.to_string(),
        );
        add(
            "versions on the server".to_owned(),
            verdict.versions.to_string(),
        );
        add("rows in ledgers".to_owned(), verdict.losses.to_string());
        Report {
            seed,
            figures,
            checks: verdict.checks,
            kills: device_kills + aftermath.server_kills,
            wanted,
            seconds: aftermath.dying.as_secs_f64(),
            healing: aftermath.healing.as_secs_f64(),
        }
    }

    /// Whether everything held and there were as many kills as wanted.
    pub(crate) fn passed(&self) -> bool {
        self.kills >= self.wanted && self.checks.iter().all(|check| check.held)
    }

    pub(crate) fn print(&self) {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        for (name, value) in &self.figures {
            table.add_row([name, value]);
        }
        if let Some(column) = table.column_mut(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        println!("{table}\n");
        for check in &self.checks {
            let word = if check.held { "ok    " } else { "FAILED" };
            println!("  {word}  {}: {}", check.name, check.seen);
        }
        if self.kills < self.wanted {
            println!(
                "  FAILED  time was up after {} of {} kills",
                self.kills, self.wanted
            );
        }
        println!(
            "\n{} kills in {:.1} s, healed in {:.1} s, seed {}",
            self.kills, self.seconds, self.healing, self.seed
        );
    }

    pub(crate) fn json(&self) -> Value {
        let figures: BTreeMap<&str, u64> = self
            .figures
            .iter()
            .filter_map(|(name, value)| Some((name.as_str(), value.parse().ok()?)))
            .collect();
        json!({
            "type": "chaos", "passed": self.passed(), "seed": self.seed, "kills": self.kills,
            "wanted": self.wanted, "seconds": self.seconds, "healing_seconds": self.healing,
            "figures": figures, "checks": self.checks,
        })
    }
}
