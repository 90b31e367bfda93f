//! `cargo xtask chaos`: real devices and a real server, killed and cut off at random.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use clap::Args;
use serde_json::Value;

use crate::libtest::{Counts, Report, Suite};
use crate::{Outcome, cargo};

/// Kills of a run that nobody asked for more of.
const KILLS: u64 = 2_000;
const MINUTES: u64 = 3;
/// Kills of a night.
const NIGHTLY_KILLS: u64 = 50_000;
const NIGHTLY_MINUTES: u64 = 60;

/// How much, and with which seed.
#[derive(Args)]
pub(crate) struct Options {
    /// Ends after so many kills (SIGKILL) of devices and server [default: 2000].
    #[arg(long, value_name = "N")]
    kills: Option<u64>,
    /// Fails where that takes longer [default: 3].
    #[arg(long, value_name = "M")]
    minutes: Option<u64>,
    /// Draws the same decisions again; the time they take stays real.
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Devices at once [default: 12].
    #[arg(long, value_name = "N")]
    devices: Option<usize>,
    /// Keeps files and logs in this directory; without it, they are kept only when something failed.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// One JSON object at the end instead of a table.
    #[arg(long)]
    json: bool,
    /// 50,000 kills within an hour.
    #[arg(long, conflicts_with_all = ["kills", "minutes"])]
    nightly: bool,
}

impl Options {
    fn size(&self) -> (u64, u64) {
        if self.nightly {
            return (NIGHTLY_KILLS, NIGHTLY_MINUTES);
        }
        let kills = self.kills.unwrap_or(KILLS);
        (kills, self.minutes.unwrap_or(MINUTES))
    }
}

/// Builds, runs, hands the result on.
pub(crate) fn run(options: &Options) -> Outcome {
    cargo::build_all()?;
    let (kills, minutes) = options.size();
    let mut command = program(kills, minutes);
    if let Some(seed) = options.seed {
        command.args(["--seed", &seed.to_string()]);
    }
    if let Some(devices) = options.devices {
        command.args(["--devices", &devices.to_string()]);
    }
    if let Some(directory) = &options.keep {
        command.arg("--keep").arg(directory);
    }
    if options.json {
        command.arg("--json");
    }
    cargo::run(&mut command)
}

/// The run of `cargo xtask test`, on what it has built: each check is counted as a test.
pub(crate) fn step(report: &mut Report) -> Outcome {
    cargo::build_all()?;
    let mut command = program(KILLS, MINUTES);
    command.arg("--json").stderr(Stdio::inherit());
    let output = command
        .output()
        .map_err(|error| format!("cannot start `{}`: {error}", cargo::spoken(&command)))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let said: Option<Value> = said
        .lines()
        .find_map(|line| serde_json::from_str(line).ok());
    let Some((suite, failures)) = said.as_ref().and_then(suite) else {
        report.suites.push(Suite {
            name: "chaos".to_owned(),
            ..Suite::default()
        });
        return Err(format!("no result ({})", output.status));
    };
    println!("{}", suite.name);
    let failed = suite.counts.failed;
    report.suites.push(suite);
    report.failures.extend(failures);
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{failed} checks failed ({})", output.status)),
    }
}

fn program(kills: u64, minutes: u64) -> Command {
    let built = cargo::target_dir().join("debug");
    let mut command = Command::new(built.join("driftline-chaos"));
    command
        .arg("run")
        .arg("--driftline")
        .arg(built.join("driftline"))
        .args(["--kills", &kills.to_string()])
        .args(["--minutes", &minutes.to_string()]);
    command
}

/// The closing object as a suite of tests, and what failed.
fn suite(said: &Value) -> Option<(Suite, Vec<String>)> {
    let number = |name: &str| said.get(name).and_then(Value::as_u64);
    let (kills, wanted, seed) = (number("kills")?, number("wanted")?, number("seed")?);
    let mut counts = Counts::default();
    let mut failures = Vec::new();
    for check in said.get("checks")?.as_array()? {
        let text = |name: &str| check.get(name).and_then(Value::as_str);
        match check.get("held")?.as_bool()? {
            true => counts.passed += 1,
            false => {
                counts.failed += 1;
                failures.push(format!("chaos: {}: {}", text("name")?, text("seen")?));
            }
        }
    }
    if kills < wanted {
        counts.failed += 1;
        failures.push(format!(
            "chaos: time was up after {kills} of {wanted} kills"
        ));
    }
    let suite = Suite {
        name: format!("chaos ({kills} kills, seed {seed})"),
        counts,
        seconds: said.get("seconds")?.as_f64()? + said.get("healing_seconds")?.as_f64()?,
        finished: true,
    };
    Some((suite, failures))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn said(kills: u64, held: bool) -> Value {
        json!({ "kills": kills, "wanted": 2000, "seed": 7, "seconds": 40.5, "healing_seconds": 2,
            "checks": [
                { "name": "nothing is lost", "held": true, "seen": "9 writes" },
                { "name": "all are equal", "held": held, "seen": "d1 is not" },
            ] })
    }

    #[test]
    fn each_check_counts_as_a_test() {
        let (suite, failures) = suite(&said(2_010, true)).unwrap();
        assert_eq!(suite.name, "chaos (2010 kills, seed 7)");
        assert_eq!((suite.counts.passed, suite.counts.failed), (2, 0));
        assert!(suite.finished && failures.is_empty());
    }

    #[test]
    fn what_did_not_hold_and_too_few_kills_are_failures() {
        let (suite, failures) = suite(&said(1_999, false)).unwrap();
        assert_eq!((suite.counts.passed, suite.counts.failed), (1, 2));
        assert_eq!(failures[0], "chaos: all are equal: d1 is not");
        assert!(super::suite(&json!({ "kills": 3 })).is_none());
    }

    #[test]
    fn a_night_is_longer() {
        let mut options = Options {
            kills: None,
            minutes: None,
            seed: None,
            devices: None,
            keep: None,
            json: false,
            nightly: false,
        };
        assert_eq!(options.size(), (2_000, 3));
        options.nightly = true;
        assert_eq!(options.size(), (50_000, 60));
    }
}
