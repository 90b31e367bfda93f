//! `cargo xtask bench`: the figures, measured with the profile that ships.

use clap::Args;

use crate::{Outcome, cargo};

/// Handed on to `driftline-bench`.
#[derive(Args)]
pub(crate) struct Options {
    /// One JSON object a line instead of a table.
    #[arg(long, conflicts_with = "markdown")]
    json: bool,
    /// The table as docs/benchmarks.md has it.
    #[arg(long)]
    markdown: bool,
    /// Fewer repetitions, and nothing above 100,000 documents.
    #[arg(long)]
    quick: bool,
    /// Counts the processor's time instead of time that passes.
    #[arg(long)]
    processor: bool,
    /// Only figures whose name contains one of these.
    filter: Vec<String>,
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
    for (word, chosen) in [
        ("--json", options.json),
        ("--markdown", options.markdown),
        ("--quick", options.quick),
        ("--processor", options.processor),
    ] {
        if chosen {
            command.arg(word);
        }
    }
    command.args(&options.filter);
    cargo::run(&mut command)
}
