//! `driftline-simulate mutants`: every planted fault, and the first seed that finds it.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use clap::Args;
use driftline_core::mutant::{Mutant, choose};
use driftline_simulation::world::{Campaign, Failure, read_logs};
use serde::{Deserialize, Serialize};

/// The table in the page stands between these.
const BEGIN: &str = "<!-- mutants: begin -->";
const END: &str = "<!-- mutants: end -->";
/// The share that must be found.
const MUST_BE_FOUND: f64 = 0.95;
/// A fault may make something run in circles: no seed ended for so long. That counts as found.
const PATIENCE: Duration = Duration::from_secs(180);

/// What to try.
#[derive(Args)]
pub(crate) struct Options {
    /// Seeds for each.
    #[arg(long, default_value_t = 500)]
    seeds: u64,
    /// Steps of each seed.
    #[arg(long, default_value_t = 400)]
    steps: usize,
    /// Writes the table into this page.
    #[arg(long, value_name = "PAGE")]
    page: Option<PathBuf>,
    /// How many threads; all cores by default.
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// A line of JSON for each.
    #[arg(long)]
    json: bool,
    /// Only these; all without.
    names: Vec<String>,
    /// In a process of its own: this one, whose result is printed as JSON.
    #[arg(long, hide = true)]
    alone: Option<String>,
}

/// What came of one.
#[derive(Serialize, Deserialize)]
struct Tried {
    mutant: String,
    fault: String,
    /// The first seed that found it.
    seed: Option<u64>,
    oracle: Option<String>,
    what: Option<String>,
}

pub(crate) fn run(options: &Options) -> Result<(), String> {
    read_logs();
    // A panic is a finding, told by its oracle.
    std::panic::set_hook(Box::new(|_| {}));
    if let Some(name) = &options.alone {
        let tried = try_one(named(name)?, options);
        println!("{}", serde_json::to_string(&tried).unwrap_or_default());
        return Ok(());
    }
    let chosen = match options.names.is_empty() {
        true => Mutant::ALL.to_vec(),
        false => options
            .names
            .iter()
            .map(|name| named(name))
            .collect::<Result<_, _>>()?,
    };
    let mut all = Vec::with_capacity(chosen.len());
    for (n, mutant) in chosen.iter().enumerate() {
        let tried = in_a_process(*mutant, options)?;
        match options.json {
            true => println!("{}", serde_json::to_string(&tried).unwrap_or_default()),
            false => println!("[{}/{}] {}", n + 1, chosen.len(), said(&tried)),
        }
        all.push(tried);
    }
    conclude(&all, options)
}

pub(crate) fn named(name: &str) -> Result<Mutant, String> {
    let found = Mutant::ALL.iter().find(|mutant| mutant.name() == name);
    found
        .copied()
        .ok_or_else(|| format!("no fault is called {name}"))
}

fn try_one(mutant: Mutant, options: &Options) -> Tried {
    choose(Some(mutant));
    let campaign = Campaign {
        first: 1,
        seeds: options.seeds,
        steps: options.steps,
        threads: options.threads,
        most_failures: 1,
    };
    let told = |_, _: Option<&Failure>| {
        // Whoever waits sees that it goes on.
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(b"\n").and_then(|()| out.flush());
    };
    let first = campaign.run(told).failures.into_iter().next();
    let (seed, found) = first.map(|found| (found.seed, found)).unzip();
    Tried {
        mutant: mutant.name(),
        fault: mutant.fault().to_owned(),
        seed,
        oracle: found.as_ref().map(|found| found.oracle.clone()),
        what: found.map(|found| found.what),
    }
}

/// Another process: one that never ends is ended, and one that dies has been found as well.
fn in_a_process(mutant: Mutant, options: &Options) -> Result<Tried, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut child = Command::new(own)
        .args(["mutants", "--alone", &mutant.name()])
        .args(["--seeds", &options.seeds.to_string()])
        .args(["--steps", &options.steps.to_string()])
        .args(["--threads", &options.threads.to_string()])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("cannot start another process: {error}"))?;
    let (tell, told) = mpsc::channel();
    let out = child.stdout.take();
    thread::spawn(move || {
        let lines = out.into_iter().flat_map(|out| BufReader::new(out).lines());
        // Its end closes the channel.
        lines
            .map_while(Result::ok)
            .try_for_each(|line| tell.send(line))
    });
    let mut said = String::new();
    let status = loop {
        match told.recv_timeout(PATIENCE) {
            Ok(line) => said = line,
            Err(RecvTimeoutError::Disconnected) => {
                break Some(child.wait().map_err(|error| error.to_string())?);
            }
            Err(RecvTimeoutError::Timeout) => {
                child.kill().map_err(|error| error.to_string())?;
                child.wait().map_err(|error| error.to_string())?;
                break None;
            }
        }
    };
    let tried = serde_json::from_str(&said);
    Ok(tried.unwrap_or_else(|_| Tried {
        mutant: mutant.name(),
        fault: mutant.fault().to_owned(),
        seed: None,
        oracle: Some(match status {
            None => "O14 liveness".to_owned(),
            Some(_) => "O16 panic".to_owned(),
        }),
        what: status.map(|status| status.to_string()),
    }))
}

fn said(tried: &Tried) -> String {
    match (&tried.seed, &tried.oracle) {
        (Some(seed), Some(oracle)) => format!("{}: seed {seed}, {oracle}", tried.mutant),
        (None, Some(oracle)) => format!("{}: {oracle}", tried.mutant),
        _ => format!("{}: NOT FOUND", tried.mutant),
    }
}

fn conclude(all: &[Tried], options: &Options) -> Result<(), String> {
    let found = all.iter().filter(|tried| tried.oracle.is_some()).count();
    if !options.json {
        println!(
            "{found} of {} found within {} seeds",
            all.len(),
            options.seeds
        );
    }
    if let Some(page) = &options.page {
        write_table(page, all, options)?;
    }
    match found as f64 >= MUST_BE_FOUND * all.len() as f64 {
        true => Ok(()),
        false => Err(format!("only {found} of {} were found", all.len())),
    }
}

fn write_table(page: &Path, all: &[Tried], options: &Options) -> Result<(), String> {
    let told = |error: std::io::Error| format!("{}: {error}", page.display());
    let text = std::fs::read_to_string(page).map_err(told)?;
    let (before, rest) = text
        .split_once(BEGIN)
        .ok_or("the page has no place for it")?;
    let (_, after) = rest.split_once(END).ok_or("the table has no end")?;
    let mut table = format!(
        "\n{} of {} found, each within {} seeds of {} steps.\n\n| mutant | fault | first seed | oracle |\n|---|---|---|---|\n",
        all.iter().filter(|tried| tried.oracle.is_some()).count(),
        all.len(),
        options.seeds,
        options.steps,
    );
    for tried in all {
        table.push_str(&format!(
            "| `{}` | {} | {} | {} |\n",
            tried.mutant,
            tried.fault,
            tried
                .seed
                .map_or_else(|| "-".to_owned(), |seed| seed.to_string()),
            tried.oracle.as_deref().unwrap_or("not found"),
        ));
    }
    std::fs::write(page, format!("{before}{BEGIN}\n{table}\n{END}{after}")).map_err(told)
}
