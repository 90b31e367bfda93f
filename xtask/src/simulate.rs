//! `cargo xtask simulate`: whole worlds of devices and a server, each drawn from a seed.

use std::env;

use clap::Args;

use crate::reached::Program;
use crate::{Outcome, cargo};

/// Handed on to `driftline-simulate world`.
#[derive(Args, Default)]
pub(crate) struct Options {
    /// How many seeds (2500 by default).
    #[arg(long)]
    seeds: Option<u64>,
    /// A night's run: 100,000 seeds.
    #[arg(long, conflicts_with = "seeds")]
    nightly: bool,
    /// What a release needs: a million seeds. It can be ended at any time: it says what runs the rest.
    #[arg(long, conflicts_with_all = ["seeds", "nightly"])]
    release_grade: bool,
    /// Say which lines of core, the device's library and the server the run reached, and write what it comes
    /// to into docs/simulation.md. Builds all of it anew, into target/coverage.
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

/// As many as in CI.
const SEEDS: u64 = 2_500;
const STEPS: u64 = 400;
/// What a night has time for.
const NIGHTLY: u64 = 100_000;
/// What a release is given.
const RELEASE_GRADE: u64 = 1_000_000;

/// Builds and runs.
pub(crate) fn run(options: &Options) -> Outcome {
    if options.lines {
        return lines(options);
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

/// The same with everything instrumented.
fn lines(options: &Options) -> Outcome {
    let program = Program {
        package: "driftline-simulation",
        binary: "driftline-simulate",
    };
    if options.json {
        let (ran, mut said, reached) = program.run_for_json(&arguments(options))?;
        said["lines"] = reached.json();
        println!("{said:#}");
        return ran;
    }
    let (ran, reached) = program.run(&arguments(options))?;
    print!("{}", reached.tables());
    ran?;
    let one_alone =
        options.seed.is_some() || options.script.is_some() || env::var_os("SEED").is_some();
    if !one_alone {
        let run = format!("{} seeds of {} steps", seeds(options), steps(options));
        let page = cargo::root().join(PAGE);
        for file in reached.write_page(&page, &run)? {
            println!("{PAGE} does not say why little of {file} is reached");
        }
    }
    Ok(())
}

/// Where the table of lines is.
const PAGE: &str = "docs/simulation.md";

fn seeds(options: &Options) -> u64 {
    match (options.nightly, options.release_grade) {
        (true, _) => NIGHTLY,
        (_, true) => RELEASE_GRADE,
        _ => options.seeds.unwrap_or(SEEDS),
    }
}

fn steps(options: &Options) -> u64 {
    options.steps.unwrap_or(STEPS)
}

fn arguments(options: &Options) -> Vec<String> {
    let mut arguments = vec!["world".to_owned()];
    let mut add = |words: [&str; 2]| arguments.extend(words.map(str::to_owned));
    let numbers = [
        ("--seeds", Some(seeds(options))),
        ("--first", options.first),
        ("--steps", Some(steps(options))),
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
