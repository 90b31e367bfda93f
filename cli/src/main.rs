//! The `driftline` command: serve, demo, inspect, schema, token, version.

#![cfg_attr(
    not(test),
    warn(
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice,
        clippy::unreachable
    )
)]

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[allow(
    clippy::indexing_slicing,
    reason = "of JSON, where what is not there is null, and of the demo's own lists"
)]
mod demo;
mod failure;
mod files;
mod inspect;
mod limits;
mod logs;
mod output;
mod schema;
mod serve;
mod span;
mod token;
mod version;

use failure::{EXIT_CODES, Exit, Failure, Outcome};
use output::{ColorChoice, Output};

#[derive(Parser)]
#[command(name = "driftline", version, about, after_help = EXIT_CODES, disable_help_subcommand = true)]
struct Arguments {
    /// One JSON object a line on standard output, and nothing else
    #[arg(long, global = true)]
    json: bool,
    /// When to use colours
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "WHEN",
        default_value = "auto"
    )]
    color: ColorChoice,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Serve(Box<serve::Arguments>),
    Demo(demo::Arguments),
    DemoDevice(demo::device::Arguments),
    Inspect(inspect::Arguments),
    Token(token::Arguments),
    #[command(subcommand)]
    Schema(schema::Command),
    Version(version::Arguments),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let output = Output::new(arguments.json, arguments.color);
    let outcome = run(arguments.command, &output);
    finish(outcome, &output).into()
}

fn run(command: Command, output: &Output) -> Outcome {
    match command {
        Command::Serve(arguments) => serve::run(&arguments, output),
        Command::Demo(arguments) => demo::run(&arguments, output),
        Command::DemoDevice(arguments) => demo::device::run(&arguments),
        Command::Inspect(arguments) => inspect::run(&arguments, output),
        Command::Token(arguments) => token::run(&arguments, output),
        Command::Schema(command) => schema::run(&command, output),
        Command::Version(arguments) => version::run(&arguments, output),
    }
}

/// Says what went wrong, if anything did.
fn finish(outcome: Outcome, output: &Output) -> Exit {
    let unwritten = |error: std::io::Error| {
        Failure::file("unwritable", "cannot write to standard output").because(&error)
    };
    let failure = match (outcome, output.broken()) {
        (Ok(exit), None) => return exit,
        (Err(failure), _) => failure,
        (Ok(_), Some(error)) => unwritten(error),
    };
    output.object(&failure.json());
    eprintln!("{failure}");
    failure.exit()
}
