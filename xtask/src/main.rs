//! The project's own commands: `cargo xtask test`, `crash`, `simulate`, `mutants`, `chaos`, `fuzz`, `bench`,
//! `coverage`, `check-layers`, `deny`.

mod bench;
mod budgets;
mod cargo;
mod chaos;
mod coverage;
mod crash;
mod deny;
mod fuzz;
mod layers;
mod lcov;
mod libtest;
mod llvm;
mod mutants;
mod reached;
mod simulate;
mod table;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Driftline's project commands", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run every test and lint of the project and count them.
    Test(test::Options),
    /// Try every I/O call of every scenario with every way it can go wrong.
    Crash(crash::Options),
    /// Run whole worlds of devices and a server, each drawn from a seed, and judge every step.
    Simulate(simulate::Options),
    /// Plant faults, one at a time, and see that the simulation finds them.
    Mutants(mutants::Options),
    /// Kill real devices and a real server at random, and check what must be true afterwards.
    Chaos(chaos::Options),
    /// Give whatever reads bytes from outside what libFuzzer comes upon.
    Fuzz(fuzz::Options),
    /// Measure every figure beside its baseline, with the profile that ships.
    Bench(bench::Options),
    /// Line coverage of core/.
    Coverage(coverage::Options),
    /// Fail if a crate depends on something its layer must not have.
    CheckLayers,
    /// Check licences, bans and sources of all dependencies with cargo-deny.
    Deny,
}

/// What every command ends with: an error says what failed and what to do about it.
type Outcome = Result<(), String>;

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Test(options) => test::run(&options),
        Command::Crash(options) => crash::run(&options),
        Command::Simulate(options) => simulate::run(&options),
        Command::Mutants(options) => mutants::run(&options),
        Command::Chaos(options) => chaos::run(&options),
        Command::Fuzz(options) => fuzz::run(&options),
        Command::Bench(options) => bench::run(&options),
        Command::Coverage(options) => coverage::run(&options),
        Command::CheckLayers => layers::check(),
        Command::Deny => deny::run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}
