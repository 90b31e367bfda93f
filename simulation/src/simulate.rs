//! `driftline-simulate world`: many seeds, or one of them again.

use std::path::PathBuf;

use clap::Args;
use driftline_simulation::world::{
    Campaign, Failure, Results, Schemas, Trace, read_logs, run_script, run_seed,
};

use crate::again::differing;
use crate::kept;
use crate::progress::{Progress, Rest};

/// A long run looks for differences after so many seeds.
const PART: u64 = 5_000;

/// What to run.
#[derive(Args)]
pub(crate) struct Options {
    /// How many seeds.
    #[arg(long, default_value_t = 2_500)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// Steps of each seed.
    #[arg(long, default_value_t = 400)]
    pub(crate) steps: usize,
    /// Only this seed, with everything that happens in it.
    #[arg(long, env = "SEED")]
    seed: Option<u64>,
    /// Only this script, kept from a seed that failed.
    #[arg(long)]
    script: Option<PathBuf>,
    /// Shrinks the seed, which must fail, and keeps what is left under this name.
    #[arg(long, requires = "seed", value_name = "NAME")]
    keep: Option<String>,
    /// How many threads; all cores by default.
    #[arg(long, default_value_t = 0)]
    pub(crate) threads: usize,
    /// Stop after so many failures.
    #[arg(long, default_value_t = 10)]
    most_failures: usize,
    /// The results as JSON.
    #[arg(long)]
    json: bool,
    /// With this fault planted.
    #[cfg(feature = "mutants")]
    #[arg(long, value_name = "NAME")]
    planted: Option<String>,
    /// Only the hashes of what happened, a line a seed.
    #[arg(long, hide = true)]
    hashes: bool,
    /// Of these only one in so many seeds.
    #[arg(long, hide = true, default_value_t = 1, requires = "hashes")]
    one_in: u64,
}

impl Options {
    fn has_planted(&self) -> bool {
        #[cfg(feature = "mutants")]
        return self.planted.is_some();
        #[cfg(not(feature = "mutants"))]
        false
    }
}

pub(crate) fn run(options: &Options) -> Result<(), String> {
    read_logs();
    #[cfg(feature = "mutants")]
    if let Some(name) = &options.planted {
        driftline_core::mutant::choose(Some(crate::mutants::named(name)?));
    }
    // A panic is told with its seed.
    std::panic::set_hook(Box::new(|info| {
        if std::env::var_os("RUST_BACKTRACE").is_some() {
            eprintln!("{info}\n{}", std::backtrace::Backtrace::force_capture());
        }
    }));
    match (options.seed, &options.keep, &options.script) {
        (Some(seed), Some(name), _) => return kept::keep(seed, options.steps, name),
        (Some(seed), None, _) => {
            let outcome = run_seed(&Schemas::new(), seed, options.steps, &Trace::printed());
            println!("hash {:016x}", outcome.hash);
            return verdict(
                outcome
                    .failure
                    .map(|(step, what)| format!("step {step}: {what}")),
            );
        }
        (None, _, Some(path)) => {
            let kept = kept::read(path)?;
            let outcome = run_script(&Schemas::new(), &kept.script, &Trace::printed());
            return verdict(
                outcome
                    .failure
                    .map(|(step, what)| format!("step {step}: {what}")),
            );
        }
        (None, _, None) => {}
    }
    if options.hashes {
        let seeds = options.seeds.div_ceil(options.one_in.max(1));
        let campaign = Campaign {
            one_in: options.one_in,
            ..campaign(options, options.first, seeds)
        };
        for (seed, hash) in campaign.run(|_, _| {}).hashes {
            println!("{seed} {hash:016x}");
        }
        return Ok(());
    }
    // A planted fault may well be found by them: here it is about seeds.
    if !options.has_planted() {
        kept::run_all()?;
    }
    let results = in_parts(options)?;
    report(options, &results);
    let (failed, differing) = (results.failures.len(), results.differing.len());
    if failed + differing > 0 {
        return Err(format!(
            "{failed} of {} seeds fail, {differing} are not the same twice",
            results.seeds
        ));
    }
    all_came_about(options.steps, &results)
}

/// Whether a run is long enough that every combination of misfortunes must come about in it: a million steps.
fn is_long(steps: usize, seeds: u64) -> bool {
    seeds >= 2_500 && steps >= 400
}

/// What no world came to was tried by none.
fn all_came_about(steps: usize, results: &Results) -> Result<(), String> {
    let missing = results.combinations.missing();
    match is_long(steps, results.seeds) && !missing.is_empty() {
        true => Err(format!(
            "in {} seeds never came about: {}",
            results.seeds,
            missing.join("; ")
        )),
        false => Ok(()),
    }
}

fn campaign(options: &Options, first: u64, seeds: u64) -> Campaign {
    Campaign {
        first,
        seeds,
        one_in: 1,
        steps: options.steps,
        threads: options.threads,
        most_failures: options.most_failures,
    }
}

/// Runs all seeds, so many at a time. What fails is told when it does.
fn in_parts(options: &Options) -> Result<Results, String> {
    let end = options.first.saturating_add(options.seeds);
    let progress = Progress::new(Rest {
        first: options.first,
        end,
        steps: options.steps,
    });
    let mut all = Results::default();
    let mut first = options.first;
    while first < end && all.failures.len() < options.most_failures {
        let part = campaign(options, first, PART.min(end - first));
        let mut results = part.run(|seed, failure| {
            if let Some(failure) = failure {
                progress.say(&said(failure, options.steps));
            }
            progress.ended(seed);
        });
        results.differing = differing(options, first, &results)?;
        for seed in &results.differing {
            progress.say(&format!(
                "seed {seed} did something else in another process"
            ));
        }
        first += part.seeds;
        all.join(results);
    }
    progress.close();
    Ok(all)
}

fn said(failure: &Failure, steps: usize) -> String {
    format!(
        "seed {} fails after {} steps: {}: {}\n  again: SEED={} cargo xtask simulate --steps {steps}",
        failure.seed, failure.step, failure.oracle, failure.what, failure.seed
    )
}

fn verdict(failure: Option<String>) -> Result<(), String> {
    failure.map_or(Ok(()), Err)
}

fn report(options: &Options, results: &Results) {
    if options.json {
        let json = serde_json::to_string_pretty(results).unwrap_or_default();
        println!("{json}");
        return;
    }
    for (what, count) in &results.counts {
        println!("{count:>10}  {what}");
    }
    println!("{:>10}{:>10}  combinations", "times", "seeds");
    for (what, came) in results.combinations.iter() {
        println!("{:>10}{:>10}  {what}", came.times, came.seeds);
    }
    let seconds = results.seconds.max(0.001);
    println!(
        "{} seeds, {} steps in {:.1} s: {:.1} seeds and {:.0} steps a second; {} failed",
        results.seeds,
        results.steps,
        seconds,
        results.seeds as f64 / seconds,
        results.steps as f64 / seconds,
        results.failures.len()
    );
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use driftline_simulation::world::Combinations;

    use super::*;

    #[test]
    fn a_long_run_fails_over_a_combination_that_never_came_about() {
        let mut results = Results {
            seeds: 2_500,
            ..Results::default()
        };
        let never = all_came_about(400, &results).unwrap_err();
        assert!(never.contains("in 2500 seeds") && never.contains("a stale live frame"));
        // A short one proves nothing either way.
        assert_eq!(all_came_about(399, &results), Ok(()));
        results.seeds = 2_499;
        assert_eq!(all_came_about(400, &results), Ok(()));
        results.seeds = 2_500;
        let every = Combinations::default();
        let every = every.iter().map(|(what, _)| (what, 1)).collect();
        results.combinations.add_seed(&every);
        assert_eq!(all_came_about(400, &results), Ok(()));
    }
}
