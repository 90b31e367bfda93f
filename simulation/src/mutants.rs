//! `driftline-simulate mutants`: every planted fault, and the first seed that finds it.

use std::path::{Path, PathBuf};

use clap::Args;
use driftline_core::mutant::{Mutant, choose};
use driftline_simulation::world::{Campaign, Failure, read_logs};

use crate::trial::{self, Tried};

/// The table in the page stands between these.
const BEGIN: &str = "<!-- mutants: begin -->";
const END: &str = "<!-- mutants: end -->";
/// The share that must be found.
const MUST_BE_FOUND: f64 = 0.95;

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
        let tried = trial::in_a_process(*mutant, &alone(*mutant, options))?;
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
        one_in: 1,
        steps: options.steps,
        threads: options.threads,
        most_failures: 1,
    };
    let told = |_, _: Option<&Failure>| trial::go_on();
    trial::begin();
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

/// What this program is called with to try one.
fn alone(mutant: Mutant, options: &Options) -> Vec<String> {
    let given = |name: &str, value: &dyn ToString| [name.to_owned(), value.to_string()];
    let mut arguments = vec!["mutants".to_owned()];
    arguments.extend(given("--alone", &mutant.name()));
    arguments.extend(given("--seeds", &options.seeds));
    arguments.extend(given("--steps", &options.steps));
    arguments.extend(given("--threads", &options.threads));
    arguments
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
