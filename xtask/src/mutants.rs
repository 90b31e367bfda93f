//! `cargo xtask mutants`: faults planted on purpose, each to be found by the simulation.

use clap::Args;

use crate::{Outcome, cargo};

/// Handed on to `driftline-simulate mutants`.
#[derive(Args)]
pub(crate) struct Options {
    /// Seeds for each.
    #[arg(long, default_value_t = 500)]
    seeds: u64,
    /// How many threads; all cores by default.
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// A line of JSON for each, and no table in docs/simulation.md.
    #[arg(long)]
    json: bool,
    /// Only these, and no table.
    names: Vec<String>,
}

/// Builds with the faults in it, tries all of them, and writes the table.
pub(crate) fn run(options: &Options) -> Outcome {
    // A directory of its own: the faults must be in nothing else that is built.
    let mut command = cargo::command([
        "run",
        "--package",
        "driftline-simulation",
        "--features",
        "mutants",
        "--target-dir",
        "target/mutants",
        "--bin",
        "driftline-simulate",
        "--",
        "mutants",
    ]);
    command.args(["--seeds", &options.seeds.to_string()]);
    command.args(["--threads", &options.threads.to_string()]);
    if options.json {
        command.arg("--json");
    } else if options.names.is_empty() {
        command.args(["--page", "docs/simulation.md"]);
    }
    command.args(&options.names);
    cargo::run(&mut command)
}
