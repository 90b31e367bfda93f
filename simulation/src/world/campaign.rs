//! Many seeds on all cores.

use std::collections::BTreeMap;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::{Combinations, Outcome, Schemas, Script, Trace, run};
use crate::oracles::Violation;

/// Which seeds, and how.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// The first seed.
    pub first: u64,
    /// How many.
    pub seeds: u64,
    /// How far each is from the one before.
    pub one_in: u64,
    /// Steps of each.
    pub steps: usize,
    /// Threads; 0 for all cores.
    pub threads: usize,
    /// No more failures than this are looked for.
    pub most_failures: usize,
}

/// What came of it.
#[derive(Debug, Default, Serialize)]
pub struct Results {
    /// Seeds run to their end or failure.
    pub seeds: u64,
    /// Steps taken.
    pub steps: u64,
    /// What happened how often.
    pub counts: BTreeMap<&'static str, u64>,
    /// Which combinations of misfortunes came about, and how often.
    pub combinations: Combinations,
    /// What failed, by seed.
    pub failures: Vec<Failure>,
    /// Seeds that did something else in another process, where anybody looked.
    pub differing: Vec<u64>,
    /// The hash of every seed's trace.
    #[serde(skip)]
    pub hashes: BTreeMap<u64, u64>,
    /// Seconds it took.
    pub seconds: f64,
}

/// A seed that fails.
#[derive(Clone, Debug, Serialize)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// After how many steps.
    pub step: usize,
    /// Which oracle objects.
    pub oracle: String,
    /// To what.
    pub what: String,
}

impl Campaign {
    /// Runs them; `done` is told of each seed that has ended, and of what failed in it.
    pub fn run(&self, done: impl Fn(u64, Option<&Failure>) + Sync) -> Results {
        let began = Instant::now();
        let results = Mutex::new(Results::default());
        let next = AtomicU64::new(0);
        let schemas = Schemas::new();
        thread::scope(|scope| {
            for _ in 0..self.threads() {
                scope.spawn(|| {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        let enough = lock(&results).failures.len() >= self.most_failures;
                        if number >= self.seeds || enough {
                            return;
                        }
                        let seed = self.first + number * self.one_in.max(1);
                        let outcome = run_seed(&schemas, seed, self.steps, &Trace::default());
                        let failure = lock(&results).add(seed, outcome);
                        done(seed, failure.as_ref());
                    }
                });
            }
        });
        let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
        results.failures.sort_by_key(|failure| failure.seed);
        results.seconds = began.elapsed().as_secs_f64();
        results
    }

    fn threads(&self) -> usize {
        match self.threads {
            0 => thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        }
    }
}

/// Runs one seed. A panic is something that does not hold.
pub fn run_seed(schemas: &Schemas, seed: u64, steps: usize, trace: &Trace) -> Outcome {
    run_script(schemas, &Script::draw(seed, steps), trace)
}

/// Runs a script. A panic is something that does not hold.
pub fn run_script(schemas: &Schemas, script: &Script, trace: &Trace) -> Outcome {
    let caught = panic::catch_unwind(AssertUnwindSafe(|| run(schemas, script, trace)));
    caught.unwrap_or_else(|payload| {
        let what = match (
            payload.downcast_ref::<String>(),
            payload.downcast_ref::<&str>(),
        ) {
            (Some(text), _) => text.clone(),
            (None, Some(text)) => (*text).to_owned(),
            (None, None) => "a panic without words".to_owned(),
        };
        let violation = Violation {
            oracle: "O16 panic",
            what,
        };
        Outcome {
            steps: 0,
            counts: BTreeMap::new(),
            reached: BTreeMap::new(),
            hash: trace.hash(),
            failure: Some((0, violation)),
        }
    })
}

impl Results {
    /// Adds what came of a seed; says what failed in it.
    fn add(&mut self, seed: u64, outcome: Outcome) -> Option<Failure> {
        self.seeds += 1;
        self.steps += outcome.steps as u64;
        self.hashes.insert(seed, outcome.hash);
        for (what, count) in outcome.counts {
            *self.counts.entry(what).or_default() += count;
        }
        self.combinations.add_seed(&outcome.reached);
        let failure = outcome.failure.map(|(step, violation)| Failure {
            seed,
            step,
            oracle: violation.oracle.to_owned(),
            what: violation.what,
        });
        self.failures.extend(failure.clone());
        failure
    }

    /// Adds what came of other seeds.
    pub fn join(&mut self, other: Results) {
        self.seeds += other.seeds;
        self.steps += other.steps;
        self.seconds += other.seconds;
        for (what, count) in other.counts {
            *self.counts.entry(what).or_default() += count;
        }
        self.combinations.join(&other.combinations);
        self.failures.extend(other.failures);
        self.differing.extend(other.differing);
    }

    /// How long it took.
    pub fn took(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
