//! `cargo xtask simulate`: whole worlds of devices and a server, each drawn from a seed.

use clap::Args;

use crate::{Outcome, cargo};

/// Handed on to `driftline-simulate world`.
#[derive(Args, Default)]
pub(crate) struct Options {
    /// How many seeds (2500 by default).
    #[arg(long)]
    seeds: Option<u64>,
    /// The first of them.
    #[arg(long)]
    first: Option<u64>,
    /// Steps of each seed (400 by default).
    #[arg(long)]
    steps: Option<u64>,
    /// Only this seed (also from the environment: SEED), with everything that happens in it.
    #[arg(long)]
    seed: Option<u64>,
    /// Only this script, kept from a seed that failed.
    #[arg(long)]
    script: Option<String>,
    /// Shrinks the seed, which must fail, and keeps what is left under this name in
    /// simulation/regressions.
    #[arg(long, requires = "seed", value_name = "NAME")]
    keep: Option<String>,
    /// How many threads; all cores by default.
    #[arg(long)]
    threads: Option<u64>,
    /// The results as JSON.
    #[arg(long)]
    json: bool,
}

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
        "world",
    ]);
    let numbers = [
        ("--seeds", options.seeds),
        ("--first", options.first),
        ("--steps", options.steps),
        ("--seed", options.seed),
        ("--threads", options.threads),
    ];
    for (word, number) in numbers {
        if let Some(number) = number {
            command.args([word, &number.to_string()]);
        }
    }
    if let Some(script) = &options.script {
        command.args(["--script", script]);
    }
    if let Some(name) = &options.keep {
        command.args(["--keep", name]);
    }
    if options.json {
        command.arg("--json");
    }
    cargo::run(&mut command)
}
