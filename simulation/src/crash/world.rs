//! One device, one server, and what the device's app was told: where a scenario happens.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use driftline::{Database, Durability, NewDocument, Schema, State, Transaction};
use driftline_simvfs::{Disk, Image, Process};
use serde_json::json;

use super::model::{Model, Told};
use super::scenarios::Victim;
use crate::machine::{Account, Device, DeviceOptions, Network, ServerHost, Tasks};

/// What apps declare.
pub(super) const SCHEMA: &str = r#"
[schema]
name = "crashes"
version = 1

[collections.notes]
id = 1
search = ["title"]
[collections.notes.fields]
title = { id = 1, kind = "text" }
body = { id = 2, kind = "text" }
count = { id = 3, kind = "counter" }
tags = { id = 4, kind = "set" }

[collections.plans]
id = 2
on_conflict_delete = "update_wins"
[collections.plans.fields]
title = { id = 1, kind = "text" }
body = { id = 2, kind = "text" }

[collections.papers]
id = 3
merge = "document"
[collections.papers.fields]
title = { id = 1, kind = "text" }
"#;

/// The same, with a field, an index and a collection more.
pub(super) const NEWER_SCHEMA: &str = r#"
[schema]
name = "crashes"
version = 2

[collections.notes]
id = 1
search = ["title", "body"]
indexes = [{ name = "by_rank", fields = ["rank"] }]
[collections.notes.fields]
title = { id = 1, kind = "text" }
body = { id = 2, kind = "text" }
count = { id = 3, kind = "counter" }
tags = { id = 4, kind = "set" }
rank = { id = 5, kind = "integer", default = 7 }

[collections.plans]
id = 2
on_conflict_delete = "update_wins"
[collections.plans.fields]
title = { id = 1, kind = "text" }
body = { id = 2, kind = "text" }

[collections.papers]
id = 3
merge = "document"
[collections.papers.fields]
title = { id = 1, kind = "text" }

[collections.birds]
id = 4
[collections.birds.fields]
species = { id = 1, kind = "text" }
"#;

/// Longer bodies are refused by the server of scenarios about refusals.
const STRICT_BODY: usize = 200;

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
    pub(super) model: Model,
    /// The files of another day.
    pub(super) backup: Image,
    setup: Setup,
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

/// Schemas are parsed once, not for every point.
pub(super) struct Schemas {
    app: Schema,
    newer: Schema,
    strict: Schema,
}

impl Schemas {
    pub(super) fn new() -> Schemas {
        let parse = |text: &str| match Schema::parse(text) {
            Ok(schema) => schema,
            Err(error) => unreachable!("a schema of the scenarios: {error}"),
        };
        let strict = SCHEMA.replacen(
            r#"body = { id = 2, kind = "text" }"#,
            &format!(r#"body = {{ id = 2, kind = "text", max_bytes = {STRICT_BODY} }}"#),
            1,
        );
        Schemas {
            app: parse(SCHEMA),
            newer: parse(NEWER_SCHEMA),
            strict: parse(&strict),
        }
    }
}

impl World {
    pub(super) fn new(schemas: &Schemas, setup: Setup, from: &Beginning, seed: u64) -> World {
        let tasks = match from.now {
            Some(now) => Tasks::starting_at(now, None),
            None => Tasks::new(None),
        };
        let network = Network::default();
        let (opened, served) = match (setup.newer_schema, setup.strict) {
            (true, _) => (&schemas.newer, &schemas.newer),
            (false, true) => (&schemas.app, &schemas.strict),
            (false, false) => (&schemas.app, &schemas.app),
        };
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
        let device = Device::new(
            &tasks,
            &network,
            Disk::from_image(&from.device, seed),
            options,
        );
        World {
            tasks,
            network,
            server,
            device,
            model: from.model.clone(),
            backup: from.backup.clone(),
            setup,
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
            tasks,
            network,
            model: self.model.clone(),
            backup: self.backup.clone(),
            setup: self.setup,
            on_start: None,
            victim: self.victim,
            seed,
        }
    }

    /// What becomes of this world depends on, once every process has ended: the disks, what was told,
    /// the time, and whether the last writes may be gone.
    pub(super) fn fingerprint(&self, lossy: bool) -> u64 {
        let mut hasher = DefaultHasher::new();
        let disks = (
            self.device.disk.fingerprint(),
            self.server.disk.fingerprint(),
        );
        (disks, self.tasks.now(), lossy).hash(&mut hasher);
        format!("{:?}", self.model).hash(&mut hasher);
        hasher.finish()
    }

    /// Another device that nothing happens to, for what others do.
    pub(super) fn other(&self, schemas: &Schemas) -> Device {
        let options = DeviceOptions {
            number: 1,
            account: Account::writer("ben"),
            durability: Durability::Full,
            schema: schemas.app.clone(),
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
    fn database(&self) -> Result<Database, Ended> {
        match self.device.database() {
            Some(database) if self.device.is_alive() => Ok(database.clone()),
            _ => Err(Ended),
        }
    }

    /// What a call's result says, with the process possibly ended in it.
    fn told<T>(&self, result: &driftline::Result<T>) -> Told {
        match result {
            Ok(_) => Told::Done,
            Err(_) if !self.device.is_alive() => Told::Unknown,
            Err(error) if error.code() == "commit_unknown" => Told::Unknown,
            Err(_) => Told::Failed,
        }
    }

    /// Makes a call of the app's and goes on unless the process ended in it.
    fn call<T>(
        &mut self,
        call: impl FnOnce(&Database) -> driftline::Result<T>,
    ) -> Result<(Told, Option<T>), Ended> {
        let database = self.database()?;
        let result = call(&database);
        let told = self.told(&result);
        Ok((told, result.ok()))
    }

    fn unless_ended(&self) -> Step {
        if self.device.is_alive() {
            Ok(())
        } else {
            Err(Ended)
        }
    }

    /// Time passes.
    pub(super) fn pass(&self, millis: i64) {
        self.run_until(self.tasks.now() + millis, || false);
    }

    fn run_until(&self, deadline: i64, done: impl FnMut() -> bool) {
        let ran = self.tasks.run_until(deadline, done);
        assert!(ran.is_ok(), "a task spins");
    }

    /// A write that leaves a mark: it counts and has a document of its own, all in one transaction.
    pub(super) fn write(&mut self, number: u32) -> Step {
        self.write_with(number, "short", |_| Ok(()))
    }

    /// A write that the server refuses.
    pub(super) fn write_refused(&mut self, number: u32) -> Step {
        let body = "long ".repeat(STRICT_BODY);
        self.write_with(number, &body, |_| Ok(()))
    }

    /// The same with more in the transaction.
    pub(super) fn write_with(
        &mut self,
        number: u32,
        body: &str,
        more: impl FnOnce(&mut Transaction<'_>) -> driftline::Result<()>,
    ) -> Step {
        self.pass(7);
        let (told, _) = self.call(|database| {
            database.write(|tx| {
                if tx.get("notes", "tally")?.is_none() {
                    tx.insert_with_id("notes", "tally", [("title", "tally")])?;
                }
                tx.increment("notes", "tally", "count", 1 << number)?;
                let title = format!("write {number}");
                let fields = [("title", title.as_str()), ("body", body)];
                tx.insert_with_id("notes", &format!("w{number:02}"), fields)?;
                more(tx)
            })
        })?;
        self.model.mark(number, told);
        self.unless_ended()
    }

    /// Sets a field of a document that is there, in a transaction of its own.
    pub(super) fn set(&mut self, (collection, id): (&str, &str), field: &str, value: &str) -> Step {
        self.pass(3);
        let (told, _) =
            self.call(|database| database.write(|tx| tx.update(collection, id, [(field, value)])))?;
        let document = self.key(collection, id);
        self.model.field(&document, field, json!(value), told);
        self.unless_ended()
    }

    /// Makes a document with a title.
    pub(super) fn insert(&mut self, collection: &str, id: &str) -> Step {
        let (told, _) = self.call(|database| {
            database.write(|tx| tx.insert_with_id(collection, id, [("title", "made")]))
        })?;
        let document = self.key(collection, id);
        self.model.document(&document, true, told);
        self.unless_ended()
    }

    pub(super) fn delete(&mut self, collection: &str, id: &str) -> Step {
        let (told, _) = self.call(|database| database.write(|tx| tx.delete(collection, id)))?;
        let document = self.key(collection, id);
        self.model.document(&document, false, told);
        self.unless_ended()
    }

    pub(super) fn restore(&mut self, collection: &str, id: &str) -> Step {
        let (told, _) = self.call(|database| database.write(|tx| tx.restore(collection, id)))?;
        let document = self.key(collection, id);
        self.model.document(&document, true, told);
        self.unless_ended()
    }

    /// A call whose outcome no write depends on.
    pub(super) fn app<T>(
        &mut self,
        call: impl FnOnce(&Database) -> driftline::Result<T>,
    ) -> Result<Option<T>, Ended> {
        let (_, value) = self.call(call)?;
        self.unless_ended().map(|()| value)
    }

    /// A call after which everything told so far survives a loss of power, if it says so.
    pub(super) fn settles(
        &mut self,
        call: impl FnOnce(&Database) -> driftline::Result<()>,
    ) -> Step {
        let (told, _) = self.call(call)?;
        if told == Told::Done {
            self.model.all_durable();
        }
        self.unless_ended()
    }

    /// Closes the database.
    pub(super) fn close(&mut self) -> Step {
        self.database()?;
        if self.device.close().is_ok() && self.device.is_alive() {
            self.model.all_durable();
        }
        self.unless_ended()
    }

    /// Inserts many documents.
    pub(super) fn write_bulk(
        &mut self,
        collection: &str,
        ids: &[String],
        documents: Vec<NewDocument>,
    ) -> Step {
        let database = self.database()?;
        let (written, result) = match database.write_bulk(collection, documents) {
            Ok(written) => (written, Ok(())),
            Err(failure) => (failure.written, Err(failure.error)),
        };
        let told = self.told(&result);
        for (place, id) in ids.iter().enumerate() {
            let told = if (place as u64) < written {
                Told::Done
            } else {
                told
            };
            let document = self.key(collection, id);
            self.model.document(&document, true, told);
        }
        self.unless_ended()
    }

    /// Drops everything queued; `numbers` are the marks among it.
    pub(super) fn drop_all(&mut self, numbers: &[u32]) -> Step {
        let (told, _) = self.call(|database| database.outbox().drop_all())?;
        if told != Told::Failed {
            self.model.all_dropped(numbers);
        }
        self.unless_ended()
    }

    /// Takes a marked write back.
    pub(super) fn discard(&mut self, number: u32) -> Step {
        let Some(id) = self.queued(number)? else {
            return Ok(());
        };
        let (told, _) = self.call(|database| database.outbox().discard(&id))?;
        for mark in &mut self.model.marks {
            // One that failed may still be sent; one that may have been discarded may be gone.
            mark.discarded |= mark.number == number && told != Told::Failed;
        }
        self.unless_ended()
    }

    /// Tries a refused write again.
    pub(super) fn retry(&mut self, number: u32) -> Step {
        let Some(id) = self.queued(number)? else {
            return Ok(());
        };
        self.call(|database| database.outbox().retry(&id).map(drop))?;
        self.unless_ended()
    }

    /// The id of a marked write in the outbox.
    fn queued(&mut self, number: u32) -> Result<Option<String>, Ended> {
        let listed = self.app(|database| database.outbox().list(None, 1_000))?;
        let name = format!("w{number:02}");
        let of_it = |write: &driftline::QueuedWrite| {
            write.changes.iter().any(|change| change.document == name)
        };
        let listed = listed.unwrap_or_default();
        Ok(listed.into_iter().find(of_it).map(|write| write.id))
    }

    /// Begins to sync.
    pub(super) fn connect(&mut self) -> Step {
        self.database()?;
        // What it fails with shows when nothing is synced.
        let _ = self.device.connect();
        self.unless_ended()
    }

    /// Syncs until nothing is left to do, or for so long.
    pub(super) fn sync_for(&mut self, millis: i64) -> Step {
        self.database()?;
        if self.device.sync().is_none() {
            self.connect()?;
        }
        if let Some(sync) = self.device.sync() {
            sync.sync_now();
        }
        let deadline = self.tasks.now() + millis;
        let device = &self.device;
        let done = || is_settled(device) || !device.is_alive();
        self.run_until(deadline, done);
        self.unless_ended()
    }

    /// Syncs for as long as two or three retries take.
    pub(super) fn sync(&mut self) -> Step {
        self.sync_for(5_000)
    }

    fn key(&self, collection: &str, id: &str) -> String {
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
