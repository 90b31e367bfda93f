//! `driftline-bench`: every figure beside its baseline, both measured in this run.
//!
//! `docs/benchmarks.md` says what each figure means and what was seen.

mod bare;
mod bench;
mod child;
mod figure;
mod figures;
mod floor;
mod ours;
mod payload;
mod process;
mod raw;
mod recording;
mod report;
mod simulated;
mod stats;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use bench::Bench;
use report::{Form, Report};

/// What measuring ends with where it could not be done.
type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Measures Driftline's figures, each beside its baseline.
#[derive(Parser)]
#[command(name = "driftline-bench", version)]
struct Arguments {
    /// One JSON object a line instead of a table.
    #[arg(long, conflicts_with = "markdown")]
    json: bool,
    /// The table as docs/benchmarks.md has it.
    #[arg(long)]
    markdown: bool,
    /// Fewer repetitions, and nothing above 100,000 documents.
    #[arg(long)]
    quick: bool,
    /// Counts the processor's time instead of time that passes: what a change costs on a machine where
    /// others work as well. Waiting for the disk is not seen so, and targets say little.
    #[arg(long)]
    processor: bool,
    /// Where the databases are made; must be on a real disk for durability to cost what it costs.
    #[arg(long, value_name = "DIRECTORY")]
    dir: Option<PathBuf>,
    /// Says which figures there are.
    #[arg(long)]
    list: bool,
    /// Only figures whose name contains one of these.
    filter: Vec<String>,
}

fn main() -> ExitCode {
    // Figures of memory need a process of their own; it is this program again.
    if let Some(role) = child::role() {
        return child::run(&role);
    }
    let arguments = Arguments::parse();
    if arguments.list {
        for name in figures::names() {
            println!("{name}");
        }
        return ExitCode::SUCCESS;
    }
    match measure(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("driftline-bench: {error}");
            ExitCode::from(2)
        }
    }
}

/// Whether every figure met its target.
fn measure(arguments: &Arguments) -> Outcome<bool> {
    let chosen = figures::chosen(&arguments.filter);
    if chosen.is_empty() {
        return Err("no figure has such a name; --list says which there are".into());
    }
    if arguments.processor {
        stats::count_processor_time();
    }
    let mut report = Report::new(match (arguments.json, arguments.markdown) {
        (true, _) => Form::Json,
        (_, true) => Form::Markdown,
        _ => Form::Table,
    });
    let bench = Bench::new(arguments.dir.as_deref(), arguments.quick)?;
    for (position, group) in chosen.iter().enumerate() {
        report.progress(position, chosen.len(), group.name());
        match group.measure(&bench) {
            Ok(figures) => figures
                .into_iter()
                .filter(|figure| figures::is_chosen(&figure.figure, &arguments.filter))
                .for_each(|figure| report.add(figure)),
            // The other figures are still worth having.
            Err(error) => report.failed(group.name(), error.as_ref()),
        }
    }
    Ok(report.finish())
}
