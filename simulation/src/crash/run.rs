//! Running scenarios: once to list the calls, then once for each point, on all cores.

use std::cell::OnceCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use driftline_simvfs::{Call, Recording};

use super::point::{Ending, Point, points_of};
use super::report::{Failure, Report, Row};
use super::scenarios::{Scenario, all};
use super::verify::verify;
use super::world::{Beginning, Ended, OnStart, Schemas, Setup, World};

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
    points: Vec<Point>,
}

/// Points that a thread takes at once.
const CHUNK: usize = 16;

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
    let work: Vec<(usize, &Point)> = prepared
        .iter()
        .enumerate()
        .flat_map(|(index, prepared)| prepared.points.iter().map(move |point| (index, point)))
        .step_by(options.one_in.max(1))
        .collect();
    let next = AtomicUsize::new(0);
    let failures: Mutex<Vec<Failure>> = Mutex::default();
    let spent: Vec<AtomicUsize> = prepared.iter().map(|_| AtomicUsize::new(0)).collect();
    let tried = |index: usize| work.iter().filter(|(of, _)| *of == index).count();
    let threads = match options.threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        given => given,
    };
    let quiet = QuietPanics::begin();
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
                    for (index, point) in chunk {
                        let began = Instant::now();
                        let prepared = &prepared[*index];
                        if let Err(reason) = attempt(prepared, &schemas, **point) {
                            let mut failures =
                                failures.lock().unwrap_or_else(PoisonError::into_inner);
                            failures.push(Failure {
                                scenario: prepared.scenario.name,
                                point: **point,
                                reason,
                            });
                        }
                        let micros = began.elapsed().as_micros() as usize;
                        spent[*index].fetch_add(micros, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    drop(quiet);
    let rows = prepared.iter().enumerate().map(|(index, prepared)| Row {
        scenario: prepared.scenario.name,
        calls: prepared.calls.len(),
        points: tried(index),
        micros: spent[index].load(Ordering::Relaxed),
    });
    Ok(Report {
        rows: rows.collect(),
        failures: failures
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner),
        took: began.elapsed(),
    })
}

/// Tries one point again, and says what came of it; panics come through.
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
    one(&prepared, &schemas, point)
}

fn prepare(scenario: &'static Scenario, schemas: &Schemas) -> Result<Prepared, String> {
    let failed = |what: &str| format!("{}: {what}", scenario.name);
    let before = Setup {
        newer_schema: false,
        ..scenario.setup
    };
    let mut world = World::new(schemas, before, &Beginning::default(), 1);
    if (scenario.prepare)(&mut world, schemas).is_err() {
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
    let calls = recorded.get().map(Recording::calls).unwrap_or_default();
    verify(&mut world, scenario.victim, Ending::Stop)
        .map_err(|reason| failed(&format!("without a fault: {reason}")))?;
    let points = calls.iter().flat_map(points_of).collect();
    Ok(Prepared {
        scenario,
        beginning,
        calls,
        points,
    })
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

fn attempt(prepared: &Prepared, schemas: &Schemas, point: Point) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(|| one(prepared, schemas, point))).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(format!("panicked: {}", text.unwrap_or_default()))
    })
}

fn one(prepared: &Prepared, schemas: &Schemas, point: Point) -> Result<(), String> {
    let scenario = prepared.scenario;
    let torn = match point.ending {
        Ending::Torn(way) => u64::from(way) + 1,
        _ => 0,
    };
    let seed = point.call << 8 | torn;
    let mut world = World::new(schemas, scenario.setup, &prepared.beginning, seed);
    let arm: OnStart = Box::new(move |process| process.arm(point.call, point.fault));
    world.on_start(scenario.victim, arm);
    match (scenario.run)(&mut world) {
        Ok(()) | Err(Ended) => verify(&mut world, scenario.victim, point.ending),
    }
}

/// Panics of points are reported with them, not as they happen.
struct QuietPanics;

impl QuietPanics {
    fn begin() -> QuietPanics {
        std::panic::set_hook(Box::new(|_| {}));
        QuietPanics
    }
}

impl Drop for QuietPanics {
    fn drop(&mut self) {
        drop(std::panic::take_hook());
    }
}
