//! Real devices and a real server, killed (SIGKILL) and cut off at random, and what must be true
//! afterwards. `cargo xtask chaos` builds and runs it; `docs/testing.md` says what it proves.

mod checks;
mod device;
mod lives;
mod order;
mod paper;
mod plan;
mod process;
mod progress;
mod report;
mod run;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use progress::Progress;
use report::Report;

#[derive(Parser)]
#[command(name = "driftline-chaos", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Kills, heals, checks.
    Run(Run),
    #[command(hide = true)]
    Device(device::Arguments),
}

#[derive(clap::Args)]
struct Run {
    /// The `driftline` program that serves
    #[arg(long, value_name = "FILE")]
    driftline: PathBuf,
    /// Ends after so many kills
    #[arg(long, value_name = "N", default_value_t = 2_000)]
    kills: u64,
    /// Fails where that takes longer
    #[arg(long, value_name = "M", default_value_t = 3)]
    minutes: u64,
    /// Draws the same decisions again
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Devices at once
    #[arg(long, value_name = "N", default_value_t = 12)]
    devices: usize,
    /// Keeps files and logs in this directory (made, and empty before)
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// One JSON object at the end instead of a table
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Run(run) => chaos(&run),
        Command::Device(arguments) => device::run(&arguments).map(|()| true),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("chaos: {message}");
            ExitCode::FAILURE
        }
    }
}

fn chaos(arguments: &Run) -> Result<bool, String> {
    let seed = arguments.seed.unwrap_or_else(entropy);
    eprintln!("chaos: seed {seed}");
    let temporary = tempfile::Builder::new()
        .prefix("driftline-chaos-")
        .tempdir()
        .map_err(|error| format!("no directory: {error}"))?;
    let directory = match &arguments.keep {
        Some(directory) => empty(directory)?,
        None => temporary.path(),
    };
    let settings = run::Settings {
        driftline: &arguments.driftline,
        directory,
        seed,
        kills: arguments.kills,
        time: Duration::from_secs(arguments.minutes.saturating_mul(60)),
        devices: arguments.devices,
    };
    let progress = Progress::new(arguments.kills);
    let report = run::run(&settings, &progress).and_then(|aftermath| {
        let verdict = checks::judge(&aftermath, directory)?;
        Ok(Report::new(seed, arguments.kills, &aftermath, verdict))
    });
    let passed = report.as_ref().is_ok_and(Report::passed);
    if !passed && arguments.keep.is_none() {
        // What was found is worth nothing without the files it was found in.
        eprintln!(
            "chaos: files and logs are in {}",
            temporary.keep().display()
        );
    }
    let report = report.map_err(|error| format!("{error} (seed {seed})"))?;
    match arguments.json {
        true => println!("{}", report.json()),
        false => report.print(),
    }
    Ok(passed)
}

fn empty(directory: &Path) -> Result<&Path, String> {
    let unusable = |error| format!("cannot use {}: {error}", directory.display());
    std::fs::create_dir_all(directory).map_err(unusable)?;
    let mut entries = std::fs::read_dir(directory).map_err(unusable)?;
    match entries.next() {
        Some(_) => Err(format!("{} is not empty", directory.display())),
        None => Ok(directory),
    }
}

/// A number nobody knows beforehand.
fn entropy() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    let hasher = std::collections::hash_map::RandomState::new();
    hasher.build_hasher().finish() >> 16
}
