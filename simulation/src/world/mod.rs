//! Several devices and a server, living through what a seed says.
//!
//! A [`Script`] is drawn from the seed: how the world is set up, and some hundred steps of apps,
//! operators and misfortune. After each step the [oracles] look at what changed. Then
//! everything is put right, and all must meet within bounded time.

mod acts;
mod asking;
mod campaign;
mod canned;
mod editor;
mod episodes;
mod faults;
mod forged;
mod full;
mod heal;
mod hostile;
mod household;
mod logs;
mod look;
mod reached;
mod room;
mod schema;
mod script;
mod shrink;
mod site;
mod statuses;
mod swarm;
mod trace;
mod watch;
mod weather;
mod wire;
mod words;
mod write;

use std::collections::{BTreeMap, BTreeSet};

use driftline::Durability;
use driftline_core::id::OpId;
use driftline_server::auth::Role;
use driftline_simvfs::{Disk, Image, Random, heap};

pub use campaign::{Campaign, Failure, Results, run_script, run_seed};
pub use logs::read_logs;
pub use reached::{Combinations, Times};
pub use schema::{LETTERS, Schemas, TWINS};
pub use script::{Act, Script, Step};
pub use shrink::{Passes, Regression, shrink};
pub use swarm::{Rates, Swarm};
pub use trace::Trace;

use crate::machine::{Account, Device, DeviceOptions, NOBODY, Network, ServerHost, Tasks};
use crate::model::Model;
use crate::oracles::{self, Histories, Judgement, Violation};
use crate::panics;
use household::Household;
use reached::Reached;
use site::Site;
use watch::{Bodies, Watcher};
use weather::Climate;
use wire::Wire;
use words::Words;

/// No more machines than this, however often one is copied.
const MOST_SITES: usize = 8;

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Steps taken, the healing not counted.
    pub steps: usize,
    /// What happened how often: steps and faults.
    pub counts: BTreeMap<&'static str, u64>,
    /// Which combinations of misfortunes it came to, and how often.
    pub reached: BTreeMap<&'static str, u64>,
    /// The hash of everything that happened.
    pub hash: u64,
    /// What does not hold, and after which step.
    pub failure: Option<(usize, Violation)>,
}

/// A world.
struct World<'s> {
    schemas: &'s Schemas,
    swarm: Swarm,
    tasks: Tasks,
    network: Network,
    climate: Climate,
    trace: Trace,
    server: ServerHost,
    server_watcher: Option<Watcher>,
    server_backup: Option<Image>,
    /// Versions behind this one were seen on the disk of a dead server only.
    may_be_lost: Option<u64>,
    sites: Vec<Site>,
    histories: Histories,
    model: Model,
    bodies: Bodies,
    rejected: BTreeSet<OpId>,
    wire: Wire,
    words: Words,
    hostile_ops: u32,
    household: Option<Box<Household>>,
    /// Ops that somebody made up.
    made_up: BTreeSet<OpId>,
    /// Ops that no server may accept, and why.
    unwelcome: BTreeMap<OpId, &'static str>,
    /// A strict server has been told to be lenient.
    lenient: bool,
    counts: BTreeMap<&'static str, u64>,
    reached: Reached,
    seed: u64,
}

impl Drop for World<'_> {
    fn drop(&mut self) {
        // What lies between machines would hold itself.
        self.tasks.end(NOBODY);
    }
}

/// Runs a script. What is left of the world when it is over counts as well.
pub fn run(schemas: &Schemas, script: &Script, trace: &Trace) -> Outcome {
    let before = heap::held();
    let mut outcome = live(schemas, script, trace);
    if outcome.failure.is_none()
        && let Err(violation) = oracles::left_little(heap::held() - before)
    {
        outcome.failure = Some((script.steps.len(), violation));
    }
    outcome
}

fn live(schemas: &Schemas, script: &Script, trace: &Trace) -> Outcome {
    panics::listen();
    // What was heard before was of another world.
    let _ = panics::heard();
    let mut world = World::new(schemas, script, trace.clone());
    let mut failure = None;
    let mut steps = 0;
    for (number, step) in script.steps.iter().enumerate() {
        if let Err(violation) = world.step(number, step) {
            failure = Some((number, violation));
            break;
        }
        steps += 1;
    }
    if failure.is_none()
        && let Err(violation) = world.heal()
    {
        failure = Some((script.steps.len(), violation));
    }
    // What somebody caught may be why something else does not hold.
    if let Err(violation) = oracles::nothing_panicked(panics::heard()) {
        failure = Some((steps, violation));
    }
    trace.line(format_args!("{} steps, {failure:?}", steps));
    Outcome {
        steps,
        counts: world.counted(),
        reached: world.reached.times(),
        hash: trace.hash(),
        failure,
    }
}

impl<'s> World<'s> {
    fn new(schemas: &'s Schemas, script: &Script, trace: Trace) -> World<'s> {
        let (seed, swarm) = (script.seed, &script.swarm);
        let order = swarm.any_order.then(|| Random::new(seed ^ 11));
        let tasks = Tasks::new(order);
        let network = Network::default();
        let climate = Climate::new(swarm.weather.clone(), swarm.filtered.clone(), trace.clone());
        network.set_weather(Box::new(climate.clone()));
        let served = match swarm.strict {
            true => &schemas.strict,
            false => &schemas.app,
        };
        let disk = Disk::new(seed ^ 12);
        let mut server = ServerHost::new(&tasks, &network, served, disk, seed ^ 13);
        if swarm.far_behind > 0 {
            server.limits.far_behind = swarm.far_behind;
        }
        if swarm.live_backlog > 0 {
            server.limits.live_backlog = swarm.live_backlog;
        }
        if swarm.page_bytes > 0 {
            server.limits.page_bytes = swarm.page_bytes;
        }
        if swarm.snapshot_frame > 0 {
            server.limits.snapshot_frame = swarm.snapshot_frame;
        }
        if swarm.requests_per_second > 0 {
            server.limits.requests_per_second = swarm.requests_per_second;
            server.limits.burst = 2 * swarm.requests_per_second;
        }
        let mut world = World {
            schemas,
            swarm: swarm.clone(),
            tasks,
            network,
            climate,
            trace,
            server,
            server_watcher: None,
            server_backup: None,
            may_be_lost: None,
            sites: Vec::new(),
            histories: Histories::default(),
            model: Model::default(),
            bodies: Bodies::default(),
            rejected: BTreeSet::new(),
            wire: Wire::default(),
            words: Words::default(),
            hostile_ops: 0,
            household: None,
            made_up: BTreeSet::new(),
            unwelcome: BTreeMap::new(),
            lenient: false,
            counts: BTreeMap::new(),
            reached: Reached::default(),
            seed,
        };
        for number in 0..swarm.devices as usize {
            let disk = Disk::new(seed ^ (20 + number as u64));
            world.settle_site(disk, number, false);
        }
        world
    }

    /// Adds a machine whose app may have been made from a copy of another one's file.
    fn settle_site(&mut self, disk: Disk, like: usize, copied: bool) {
        let number = self.sites.len();
        let is = |bits: u32| bits >> like.min(7) & 1 == 1;
        let reader = is(self.swarm.readers);
        let account = Account {
            name: if is(self.swarm.second_account) {
                "ben"
            } else {
                "ann"
            }
            .to_owned(),
            role: if reader { Role::Reader } else { Role::Writer },
        };
        let durability = match is(self.swarm.normal) {
            true => Durability::Normal,
            false => Durability::Full,
        };
        let options = DeviceOptions {
            number,
            account,
            durability,
            schema: self.schemas.app.clone(),
            host_token: is(self.swarm.host_tokens),
            // Each start counts it up: those of two machines must never meet, or they draw the same ids.
            seed: (self.seed ^ (100 + number as u64)).wrapping_mul(0xD134_2543_DE82_EF95),
        };
        let mut device = Device::new(&self.tasks, &self.network, disk, options);
        device.max_ops = self.swarm.max_ops;
        device.live = is(self.swarm.live);
        device.json = is(self.swarm.json);
        device.watches = is(self.swarm.watches);
        self.sites.push(Site::new(number, like, device, reader));
        self.count(if copied {
            "machines from copies"
        } else {
            "machines"
        });
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    fn counted(&self) -> BTreeMap<&'static str, u64> {
        let mut counts = self.counts.clone();
        counts.extend(self.climate.counts());
        let met: u64 = self.sites.iter().map(|site| site.met).sum();
        counts.insert("I/O calls that met a fault", met + self.server.met());
        counts
    }

    fn step(&mut self, number: usize, step: &Step) -> Judgement {
        let mut random = Random::new(u64::from(step.draw) << 32 | u64::from(step.who));
        self.climate.reseed(random.fork());
        if self.swarm.any_order {
            self.tasks.reorder(random.fork());
        }
        let at = step.who as usize % self.sites.len();
        self.trace.line(format_args!(
            "{number} t={} {} s{at}",
            self.tasks.now(),
            step.act.name()
        ));
        heap::most();
        let held = heap::held();
        self.begin_counting();
        self.act(step.act, at, &mut random)?;
        // Before anything is sent: an op that comes and goes unseen could be judged by nobody.
        self.look()?;
        self.pass(random.below(60) as i64)?;
        self.look()?;
        self.count_combinations();
        self.judge_statuses()?;
        self.watched_queries()?;
        oracles::took_little(heap::most() - held)
    }

    /// Time passes, and whatever is due happens.
    fn pass(&mut self, millis: i64) -> Judgement {
        let deadline = self.tasks.now() + millis;
        oracles::time_passed(self.tasks.run_until(deadline, || false)).map(drop)
    }
}
