//! `cargo xtask simulate`: whole worlds of devices and a server, each drawn from a seed.

use clap::Args;

use crate::{Outcome, cargo, coverage};

/// Handed on to `driftline-simulate world`.
#[derive(Args, Default)]
pub(crate) struct Options {
    /// How many seeds (2500 by default).
    #[arg(long)]
    seeds: Option<u64>,
    /// A night's run: 100,000 seeds.
    #[arg(long, conflicts_with = "seeds")]
    nightly: bool,
    /// What a release needs: a million seeds. It says now and then where to go on if it is ended.
    #[arg(long, conflicts_with_all = ["seeds", "nightly"])]
    release_grade: bool,
    /// Say which lines of core, the device's library and the server the run reached. Builds all of it
    /// anew, into target/coverage.
    #[arg(long)]
    lines: bool,
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

/// What a night has time for.
const NIGHTLY: u64 = 100_000;
/// What a release is given.
const RELEASE_GRADE: u64 = 1_000_000;

/// Builds and runs.
pub(crate) fn run(options: &Options) -> Outcome {
    if options.lines {
        let arguments = arguments(options);
        return coverage::of_a_run("driftline-simulation", "driftline-simulate", &arguments);
    }
    let mut command = cargo::command([
        "run",
        "--quiet",
        "--package",
        "driftline-simulation",
        "--bin",
        "driftline-simulate",
        "--",
    ]);
    cargo::run(command.args(arguments(options)))
}

fn arguments(options: &Options) -> Vec<String> {
    let mut arguments = vec!["world".to_owned()];
    let mut add = |words: [&str; 2]| arguments.extend(words.map(str::to_owned));
    let seeds = match (options.nightly, options.release_grade) {
        (true, _) => Some(NIGHTLY),
        (_, true) => Some(RELEASE_GRADE),
        _ => options.seeds,
    };
    let numbers = [
        ("--seeds", seeds),
        ("--first", options.first),
        ("--steps", options.steps),
        ("--seed", options.seed),
        ("--threads", options.threads),
    ];
    for (word, number) in numbers {
        if let Some(number) = number {
            add([word, &number.to_string()]);
        }
    }
    if let Some(script) = &options.script {
        add(["--script", script]);
    }
    if let Some(name) = &options.keep {
        add(["--keep", name]);
    }
    if options.json {
        arguments.push("--json".to_owned());
    }
    arguments
}
