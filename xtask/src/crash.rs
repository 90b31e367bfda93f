//! `cargo xtask crash`: what a failing disk, a kill or a loss of power leaves, call by call.

use clap::Args;

use crate::{Outcome, cargo};

/// Handed on to `driftline-simulate crash`.
#[derive(Args, Default)]
pub(crate) struct Options {
    /// Only scenarios whose name contains this.
    #[arg(long)]
    scenario: Option<String>,
    /// Only this point (CALL:FAULT:ENDING) of the scenario of that name, with its calls listed.
    #[arg(long, requires = "scenario")]
    point: Option<String>,
    /// Fail if there were fewer points.
    #[arg(long)]
    at_least: Option<u32>,
}

impl Options {
    /// All of it, and not less than what is promised.
    pub(crate) fn whole() -> Options {
        Options {
            at_least: Some(PROMISED_POINTS),
            ..Options::default()
        }
    }
}

/// What docs/simulation.md promises for every change.
const PROMISED_POINTS: u32 = 100_000;

/// Builds and runs.
pub(crate) fn run(options: &Options) -> Outcome {
    let mut command = cargo::command([
        "run",
        "--quiet",
        "--package",
        "driftline-simulation",
        "--bin",
        "driftline-simulate",
        "--",
        "crash",
    ]);
    for (word, value) in [
        ("--scenario", options.scenario.clone()),
        ("--point", options.point.clone()),
        (
            "--at-least",
            options.at_least.map(|points| points.to_string()),
        ),
    ] {
        if let Some(value) = value {
            command.args([word, &value]);
        }
    }
    cargo::run(&mut command)
}
