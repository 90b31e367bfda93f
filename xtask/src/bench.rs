//! `cargo xtask bench`: the figures, measured with the profile that ships.

use clap::Args;

use crate::{Outcome, cargo};

/// Handed on to `driftline-bench`.
#[derive(Args)]
pub(crate) struct Options {
    /// One JSON object a line instead of a table.
    #[arg(long)]
    json: bool,
    /// Only figures whose name contains this.
    filter: Option<String>,
}

/// Builds in release, runs, hands the result on.
pub(crate) fn run(options: &Options) -> Outcome {
    let mut command = cargo::command([
        "run",
        "--release",
        "--package",
        "driftline-benches",
        "--bin",
        "driftline-bench",
        "--",
    ]);
    if options.json {
        command.arg("--json");
    }
    command.args(&options.filter);
    cargo::run(&mut command)
}
