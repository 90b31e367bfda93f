//! Running scenarios: once to list the calls, then once for each point, on all cores.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use driftline_simvfs::{Call, Recording};
use rusqlite::Connection;

use super::flipped::Found;
use super::point::{Ending, Point, Spot, Trial, trials_of};
use super::report::{Failure, Report, Row};
use super::scenarios::{Scenario, Victim, all};
use super::schemas::Schemas;
use super::verify::{end, verify};
use super::world::{Beginning, Ended, OnStart, Setup, World};
use crate::panics;

/// What to run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Only scenarios whose name contains this.
    pub filter: Option<String>,
    /// How many threads; all cores if 0.
    pub threads: usize,
    /// Try only one in so many points; all if 0. Which ones follows from their numbers.
    pub one_in: usize,
}

/// A scenario that is ready to be run from its beginning.
struct Prepared {
    scenario: &'static Scenario,
    beginning: Beginning,
    calls: Vec<Call>,
    trials: Vec<Trial>,
    /// What came of the states that were looked at. Equal ones have equal fates.
    verdicts: Mutex<HashMap<u64, Verdict>>,
}

type Verdict = Result<Option<Found>, String>;

/// Trials that a thread takes at once.
const CHUNK: usize = 4;

/// Tries every point of every scenario.
///
/// # Errors
/// A scenario that does not end well without any fault.
pub fn enumerate(options: &Options) -> Result<Report, String> {
    let began = Instant::now();
    let schemas = Schemas::new();
    let chosen = all().filter(|scenario| {
        let filter = options.filter.as_deref().unwrap_or_default();
        scenario.name.contains(filter)
    });
    let prepared: Vec<Prepared> = chosen
        .map(|scenario| prepare(scenario, &schemas))
        .collect::<Result<_, _>>()?;
    let work: Vec<(usize, &Trial)> = prepared
        .iter()
        .enumerate()
        .flat_map(|(index, prepared)| prepared.trials.iter().map(move |trial| (index, trial)))
        .step_by(options.one_in.max(1))
        .collect();
    let next = AtomicUsize::new(0);
    let failures: Mutex<Vec<Failure>> = Mutex::default();
    let spent: Vec<AtomicUsize> = prepared.iter().map(|_| AtomicUsize::new(0)).collect();
    let tried = |index: usize| {
        let of_it = work.iter().filter(|(of, _)| *of == index);
        of_it.map(|(_, trial)| trial.endings.len()).sum()
    };
    let threads = match options.threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        given => given,
    };
    panics::listen();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let from = next.fetch_add(CHUNK, Ordering::Relaxed);
                    let Some(chunk) = work.get(from..work.len().min(from + CHUNK)) else {
                        return;
                    };
                    if chunk.is_empty() {
                        return;
                    }
                    for (index, trial) in chunk {
                        let began = Instant::now();
                        let prepared = &prepared[*index];
                        let found = attempt(prepared, &schemas, **trial, trial.endings);
                        failures
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .extend(found);
                        let micros = began.elapsed().as_micros() as usize;
                        spent[*index].fetch_add(micros, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let rows = prepared.iter().enumerate().map(|(index, prepared)| {
        let verdicts = prepared.verdicts.lock();
        let verdicts = verdicts.unwrap_or_else(PoisonError::into_inner);
        let found = verdicts
            .values()
            .filter_map(|verdict| verdict.as_ref().ok());
        Row {
            scenario: prepared.scenario.name,
            calls: prepared.calls.len(),
            points: tried(index),
            states: verdicts.len(),
            flipped: found.copied().flatten().collect(),
            micros: spent[index].load(Ordering::Relaxed),
        }
    });
    Ok(Report {
        rows: rows.collect(),
        failures: failures
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner),
        took: began.elapsed(),
    })
}

/// Tries one point again, and says what came of it.
///
/// # Errors
/// No such scenario; what does not hold.
pub fn replay(name: &str, point: Point) -> Result<(), String> {
    let schemas = Schemas::new();
    let found = all().find(|scenario| scenario.name == name);
    let scenario = found.ok_or_else(|| format!("no scenario is called {name}"))?;
    let prepared = prepare(scenario, &schemas)?;
    for call in &prepared.calls {
        let here = if call.number == point.call {
            "=>"
        } else {
            "  "
        };
        println!(
            "{here} {} {:?} {} at {} ({} bytes)",
            call.number, call.kind, call.file, call.offset, call.len
        );
    }
    let found = attempt(&prepared, &schemas, point.trial(), &[point.ending]);
    match found.into_iter().next() {
        Some(failure) => Err(failure.reason),
        None => Ok(()),
    }
}

fn prepare(scenario: &'static Scenario, schemas: &Schemas) -> Result<Prepared, String> {
    let failed = |what: &str| format!("{}: {what}", scenario.name);
    let before = Setup {
        newer_schema: false,
        ..scenario.setup
    };
    let mut world = World::new(schemas, before, &Beginning::default(), 1);
    if (scenario.prepare)(&mut world).is_err() {
        return Err(failed("its beginning cannot be prepared"));
    }
    let beginning = park(&mut world, scenario.unclean);
    let mut world = World::new(schemas, scenario.setup, &beginning, 2);
    let recorded: Rc<OnceCell<Recording>> = Rc::default();
    let keep = Rc::clone(&recorded);
    let record: OnStart = Box::new(move |process| {
        keep.get_or_init(|| process.record());
    });
    world.on_start(scenario.victim, record);
    if (scenario.run)(&mut world).is_err() {
        return Err(failed("does not end well without a fault"));
    }
    for (whose, sql) in scenario.comes_to {
        if !comes_to(&world, *whose, sql)? {
            return Err(failed(&format!("does not come to {sql}")));
        }
    }
    if let Some(missed) = world.missed.first() {
        return Err(failed(&format!("does not come to {missed}")));
    }
    let calls = recorded.get().map(Recording::calls).unwrap_or_default();
    end(&mut world, scenario.victim, Ending::Stop);
    verify(&mut world, scenario.victim, Ending::Stop)
        .map_err(|reason| failed(&format!("without a fault: {reason}")))?;
    let trials = calls.iter().flat_map(trials_of);
    let trials = trials.map(|trial| match scenario.flips {
        true => trial.flipping(),
        false => trial,
    });
    let trials = trials.collect();
    Ok(Prepared {
        scenario,
        beginning,
        calls,
        trials,
        verdicts: Mutex::default(),
    })
}

/// Whether the file of one of them says so.
fn comes_to(world: &World, whose: Victim, sql: &str) -> Result<bool, String> {
    let ask = |file: &Connection| file.query_row(sql, (), |row| row.get::<_, bool>(0));
    let said = match whose {
        Victim::Device => vec![world.device.with_file(ask)?],
        Victim::Server => world.server.with_files(ask)?,
    };
    Ok(said.contains(&true))
}

/// Ends everything, and takes the disks as they are then.
fn park(world: &mut World, unclean: bool) -> Beginning {
    if unclean {
        world.device.kill();
    } else {
        let _ = world.device.close();
        world.device.kill();
    }
    world.server.stop();
    world.model.all_durable();
    Beginning {
        device: world.device.disk.image(),
        server: world.server.disk.image(),
        backup: world.backup.clone(),
        now: Some(world.tasks.now() + 1_000),
        model: world.model.clone(),
    }
}

/// Runs a scenario once with a fault, and looks at what it leaves after each of these endings.
fn attempt(
    prepared: &Prepared,
    schemas: &Schemas,
    trial: Trial,
    endings: &[Ending],
) -> Vec<Failure> {
    let Scenario { name, victim, .. } = *prepared.scenario;
    let failed = |ending: Ending, reason: String| Failure {
        scenario: name,
        point: trial.point(ending),
        reason,
    };
    let mut world = match unpanicked(|| Ok(lived_through(prepared, schemas, trial))) {
        Ok(world) => world,
        Err(reason) => {
            let of_all = endings.iter();
            return of_all.map(|end| failed(*end, reason.clone())).collect();
        }
    };
    let mut failures = Vec::new();
    // The world itself last: it is another one when it has ended.
    for ending in endings.iter().rev() {
        let verdict = unpanicked(|| {
            let mut copy = None;
            let ended = match trial.endings.first() == Some(ending) {
                true => &mut world,
                false => copy.insert(world.fork(seed_of(trial, *ending))),
            };
            end(ended, victim, *ending);
            judge(prepared, ended, *ending)
        });
        failures.extend(verdict.err().map(|reason| failed(*ending, reason)));
    }
    failures
}

/// Whether what must hold does. A device that goes on while the server's disk fails knows more than is
/// on a disk; else all that counts is, and each state is looked at once.
fn judge(prepared: &Prepared, world: &mut World, ending: Ending) -> Verdict {
    let victim = prepared.scenario.victim;
    if victim == Victim::Server && world.device.is_alive() {
        return verify(world, victim, ending);
    }
    let flipped = matches!(ending, Ending::Flipped(..));
    let state = world.fingerprint(ending.loss().is_some(), flipped);
    let verdicts = || {
        let verdicts = prepared.verdicts.lock();
        verdicts.unwrap_or_else(PoisonError::into_inner)
    };
    let known = verdicts().get(&state).cloned();
    if let Some(verdict) = known {
        return verdict;
    }
    let verdict = unpanicked(|| verify(&mut world.fork(0), victim, ending));
    verdicts().insert(state, verdict.clone());
    verdict
}

/// The world after a scenario with a fault.
fn lived_through(prepared: &Prepared, schemas: &Schemas, trial: Trial) -> World {
    let scenario = prepared.scenario;
    let mut world = World::new(schemas, scenario.setup, &prepared.beginning, 2);
    let arm: OnStart = Box::new(move |process| process.arm(trial.call, trial.fault));
    world.on_start(scenario.victim, arm);
    // Where its process ended it is over.
    let (Ok(()) | Err(Ended)) = (scenario.run)(&mut world);
    world
}

fn seed_of(trial: Trial, ending: Ending) -> u64 {
    let way = match ending {
        Ending::Torn(way) => u64::from(way) + 1,
        Ending::Flipped(Spot::Log, which) => u64::from(which) + 16,
        Ending::Flipped(Spot::File, which) => u64::from(which) + 32,
        _ => 0,
    };
    trial.call << 8 | way
}

/// Does something in which nothing may panic, also where the product catches it.
fn unpanicked<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    let done = panics::quietly(|| catch_unwind(AssertUnwindSafe(work)));
    match panics::heard() {
        Some(what) => Err(format!("panicked: {what}")),
        None => done.unwrap_or_else(|_| Err("panicked".to_owned())),
    }
}
