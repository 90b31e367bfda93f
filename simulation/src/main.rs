//! `driftline-simulate`: run by `cargo xtask crash`, `cargo xtask simulate` and `cargo xtask mutants`.

mod again;
mod kept;
#[cfg(feature = "mutants")]
mod mutants;
mod progress;
mod simulate;
// Its own tests do not need a build with faults in it.
#[cfg(any(feature = "mutants", test))]
#[cfg_attr(not(feature = "mutants"), allow(dead_code))]
mod trial;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use driftline_simulation::crash::{self, Point};

/// What a world holds is judged.
#[global_allocator]
static MEMORY: driftline_simvfs::heap::Counting = driftline_simvfs::heap::Counting;

#[derive(Parser)]
#[command(name = "driftline-simulate", about = "Driftline under faults", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Whole worlds of devices and a server, each drawn from a seed.
    World(simulate::Options),
    /// Every planted fault, and the first seed that finds it.
    #[cfg(feature = "mutants")]
    Mutants(mutants::Options),
    /// Try every I/O call of every scenario with every way it can go wrong.
    Crash {
        /// Only scenarios whose name contains this.
        #[arg(long)]
        scenario: Option<String>,
        /// Only this point of the scenario of that name, with its calls listed.
        #[arg(long, requires = "scenario")]
        point: Option<Point>,
        /// How many threads; all cores by default.
        #[arg(long, default_value_t = 0)]
        threads: usize,
        /// Try only one in so many points.
        #[arg(long, default_value_t = 1)]
        one_in: usize,
        /// Fail if there were fewer points.
        #[arg(long, default_value_t = 0)]
        at_least: usize,
    },
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::World(options) => simulate::run(&options),
        #[cfg(feature = "mutants")]
        Command::Mutants(options) => mutants::run(&options),
        Command::Crash {
            scenario: Some(scenario),
            point: Some(point),
            ..
        } => crash::replay(&scenario, point),
        Command::Crash {
            scenario,
            threads,
            one_in,
            at_least,
            ..
        } => {
            let options = crash::Options {
                filter: scenario,
                threads,
                one_in,
            };
            enumerate(&options, at_least)
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn enumerate(options: &crash::Options, at_least: usize) -> Result<(), String> {
    let report = crash::enumerate(options)?;
    println!("{report}");
    if !report.failures.is_empty() {
        return Err("something does not hold".to_owned());
    }
    if report.points() < at_least {
        return Err(format!("expected at least {at_least} points"));
    }
    Ok(())
}
