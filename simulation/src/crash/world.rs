//! One device, one server, and what the device's app was told: where a scenario happens.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use driftline::{Database, Durability, State};
use driftline_simvfs::{Disk, Image, Process};

use super::model::{Model, Told};
use super::scenarios::Victim;
use super::schemas::Schemas;
use crate::machine::{Account, Device, DeviceOptions, Network, ServerHost, Tasks};

/// What a world begins with: disks and time.
#[derive(Clone, Default)]
pub(super) struct Beginning {
    pub(super) device: Image,
    pub(super) server: Image,
    /// The server's files as they were before its history was lost, for scenarios about that.
    pub(super) backup: Image,
    pub(super) now: Option<i64>,
    pub(super) model: Model,
}

/// How a scenario's world is set up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setup {
    pub(super) durability: Durability,
    /// The device opens its file with the newer schema.
    pub(super) newer_schema: bool,
    /// The server refuses long bodies.
    pub(super) strict: bool,
    /// The host keeps a token.
    pub(super) host_token: bool,
    /// The schema has texts and lists that people write together.
    pub(super) texts: bool,
    /// The app begins without an account.
    pub(super) guest: bool,
    /// The server has a device that is a few versions behind take a snapshot.
    pub(super) snapshots: bool,
}

impl Setup {
    /// Nothing special.
    pub(super) const PLAIN: Setup = Setup {
        durability: Durability::Full,
        newer_schema: false,
        strict: false,
        host_token: false,
        texts: false,
        guest: false,
        snapshots: false,
    };
}

/// How far behind a device takes a snapshot, where that is tried.
const NEAR: u64 = 3;

/// Where a scenario happens.
pub(super) struct World {
    pub(super) tasks: Tasks,
    pub(super) network: Network,
    pub(super) server: ServerHost,
    pub(super) device: Device,
    /// Another process on the device's file.
    pub(super) widget: Option<Device>,
    pub(super) model: Model,
    /// The files of another day.
    pub(super) backup: Image,
    setup: Setup,
    /// Writers under which a loss of power took something: nobody may know what they wrote last.
    pub(super) retired: BTreeSet<i64>,
    /// What a scenario is about and did not come to.
    pub(super) missed: Vec<String>,
    /// What is done to the next process of whoever meets faults, before it opens anything.
    pub(super) on_start: Option<OnStart>,
    /// Whose process that is.
    victim: Victim,
    seed: u64,
}

/// Arms faults, or lists calls.
pub(super) type OnStart = Box<dyn Fn(&Process)>;

/// What a scenario cannot go on after: its process has ended.
pub(super) struct Ended;

/// A scenario's step.
pub(super) type Step = Result<(), Ended>;

impl World {
    pub(super) fn new(schemas: &Schemas, setup: Setup, from: &Beginning, seed: u64) -> World {
        let tasks = match from.now {
            Some(now) => Tasks::starting_at(now, None),
            None => Tasks::new(None),
        };
        let network = Network::default();
        let (opened, served) = schemas.of(setup);
        let server_disk = Disk::from_image(&from.server, seed);
        let mut server = ServerHost::new(&tasks, &network, served, server_disk, seed ^ 1);
        if setup.snapshots {
            server.limits.far_behind = NEAR;
        }
        let options = DeviceOptions {
            number: 0,
            account: Account::writer("ann"),
            durability: setup.durability,
            schema: opened.clone(),
            host_token: setup.host_token,
            seed: seed ^ 2,
        };
        let mut device = Device::new(
            &tasks,
            &network,
            Disk::from_image(&from.device, seed),
            options,
        );
        device.guest = setup.guest;
        World {
            tasks,
            network,
            server,
            device,
            widget: None,
            model: from.model.clone(),
            backup: from.backup.clone(),
            setup,
            retired: BTreeSet::new(),
            missed: Vec::new(),
            on_start: None,
            victim: Victim::Device,
            seed,
        }
    }

    /// The same world, had every process ended now. `seed` decides what a loss of power leaves there.
    pub(super) fn fork(&self, seed: u64) -> World {
        let tasks = Tasks::starting_at(self.tasks.now(), None);
        let network = Network::default();
        World {
            server: self.server.fork(&tasks, &network, seed),
            device: self.device.fork(&tasks, &network, seed),
            widget: None,
            tasks,
            network,
            model: self.model.clone(),
            backup: self.backup.clone(),
            setup: self.setup,
            retired: self.retired.clone(),
            missed: Vec::new(),
            on_start: None,
            victim: self.victim,
            seed,
        }
    }

    /// What becomes of this world depends on, once every process has ended: the disks, what was told,
    /// the time, whether the last writes may be gone, and whether a disk may say something else than it was told.
    pub(super) fn fingerprint(&self, lossy: bool, flipped: bool) -> u64 {
        let mut hasher = DefaultHasher::new();
        let disks = (
            self.device.disk.fingerprint(),
            self.server.disk.fingerprint(),
        );
        (disks, self.tasks.now(), lossy, flipped).hash(&mut hasher);
        self.retired.hash(&mut hasher);
        format!("{:?}", self.model).hash(&mut hasher);
        hasher.finish()
    }

    /// Another device that nothing happens to, for what others do.
    pub(super) fn other(&self) -> Device {
        let options = DeviceOptions {
            number: 1,
            account: Account::writer("ben"),
            durability: Durability::Full,
            schema: self.device.options.schema.clone(),
            host_token: false,
            seed: self.seed ^ 3,
        };
        Device::new(&self.tasks, &self.network, Disk::new(self.seed), options)
    }

    pub(super) fn setup(&self) -> Setup {
        self.setup
    }

    /// Opens the database, trying again where that fails; in a new process, unless one runs.
    pub(super) fn open(&mut self) -> Step {
        if !self.device.is_alive() {
            let prepare = self.prepare_for(Victim::Device);
            self.device.start(prepare);
        }
        for _ in 0..3 {
            match self.device.open() {
                Ok(()) if self.device.is_alive() => return Ok(()),
                _ => self.unless_ended()?,
            }
        }
        Err(Ended)
    }

    /// Has the next process of `victim` prepared so.
    pub(super) fn on_start(&mut self, victim: Victim, prepare: OnStart) {
        self.victim = victim;
        self.on_start = Some(prepare);
    }

    /// What a process of `whose` is started with: faults are for the first of the victim.
    fn prepare_for(&mut self, whose: Victim) -> OnStart {
        let prepare = if whose == self.victim {
            self.on_start.take()
        } else {
            None
        };
        prepare.unwrap_or_else(|| Box::new(|_| {}))
    }

    /// Starts the server, as often as an operator tries.
    pub(super) fn serve(&mut self) -> Step {
        for _ in 0..3 {
            let prepare = self.prepare_for(Victim::Server);
            if self.server.start(prepare).is_ok() {
                return Ok(());
            }
        }
        Err(Ended)
    }

    /// The open database.
    pub(super) fn database(&self) -> Result<Database, Ended> {
        match self.device.database() {
            Some(database) if self.device.is_alive() => Ok(database.clone()),
            _ => Err(Ended),
        }
    }

    /// What a call's result says, with the process possibly ended in it.
    pub(super) fn told<T>(&self, result: &driftline::Result<T>) -> Told {
        match result {
            Ok(_) => Told::Done,
            Err(_) if !self.device.is_alive() => Told::Unknown,
            Err(error) if error.code() == "commit_unknown" => Told::Unknown,
            Err(_) => Told::Failed,
        }
    }

    /// Makes a call of the app's and goes on unless the process ended in it.
    pub(super) fn call<T>(
        &mut self,
        call: impl FnOnce(&Database) -> driftline::Result<T>,
    ) -> Result<(Told, Option<T>), Ended> {
        let database = self.database()?;
        let result = call(&database);
        let told = self.told(&result);
        Ok((told, result.ok()))
    }

    pub(super) fn unless_ended(&self) -> Step {
        if self.device.is_alive() {
            Ok(())
        } else {
            Err(Ended)
        }
    }

    /// Says what the scenario is about, and whether it came to it. A fault may keep it from that, nothing
    /// else.
    pub(super) fn comes_to(&mut self, reached: bool, what: &str) {
        if !reached {
            self.missed.push(what.to_owned());
        }
    }

    /// Time passes.
    pub(super) fn pass(&self, millis: i64) {
        self.run_until(self.tasks.now() + millis, || false);
    }

    pub(super) fn run_until(&self, deadline: i64, done: impl FnMut() -> bool) {
        let ran = self.tasks.run_until(deadline, done);
        assert!(ran.is_ok(), "a task spins");
    }

    pub(super) fn key(&self, collection: &str, id: &str) -> String {
        let schema = &self.device.options.schema;
        let number = schema.collection(collection).map_or(0, |found| found.id);
        format!("{number}/{id}")
    }

    /// The marks whose writes are in quarantine.
    pub(super) fn quarantined(&self) -> driftline::Result<BTreeSet<u32>> {
        let Some(database) = self.device.database() else {
            return Ok(BTreeSet::new());
        };
        let listed = database.outbox().quarantined(None, 1_000)?;
        let changes = listed.iter().flat_map(|write| &write.changes);
        let numbers = changes.filter_map(|change| change.document.strip_prefix('w')?.parse().ok());
        Ok(numbers.collect())
    }
}

/// Whether a device has nothing to send and has heard everything.
pub(super) fn is_settled(device: &Device) -> bool {
    device.sync().is_some_and(|sync| {
        let status = sync.status();
        status.state == State::Idle && status.pending == 0 && status.last_sync.is_some()
    })
}
