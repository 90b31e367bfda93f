//! K22, end to end: an op over which the server panics, in the middle of a queue. The shipped device halves its
//! requests until the op is alone, and withdraws it; the shipped server catches the panic, decides all others,
//! and takes the withdrawal without merging. Nobody else waits.

#![allow(clippy::unwrap_used)]

mod store;

use std::sync::atomic::Ordering;

use driftline::{Durability, Schema, State};
use driftline_simulation::machine::{Account, Device, DeviceOptions, Network, ServerHost, Tasks};
use driftline_simvfs::Disk;

use store::{PANICS, POISON, poisoned};

const SCHEMA: &str = r#"
[schema]
name = "poison"
version = 1

[collections.notes]
id = 1
[collections.notes.fields]
title = { id = 1, kind = "text" }
count = { id = 2, kind = "counter" }
"#;

const MINUTE: i64 = 60_000;

struct World {
    tasks: Tasks,
    network: Network,
    server: ServerHost,
}

impl World {
    fn new() -> World {
        let (tasks, network) = (Tasks::new(None), Network::default());
        let schema = Schema::parse(SCHEMA).unwrap();
        let mut server = ServerHost::new(&tasks, &network, &schema, Disk::new(1), 1);
        server.through = Some(poisoned);
        server.start(|_| {}).unwrap();
        World {
            tasks,
            network,
            server,
        }
    }

    fn device(&self, number: usize, live: bool) -> Device {
        let options = DeviceOptions {
            number,
            account: Account::writer("ann"),
            durability: Durability::Full,
            schema: Schema::parse(SCHEMA).unwrap(),
            host_token: false,
            seed: 7 + 100 * number as u64,
        };
        let disk = Disk::new(9 + number as u64);
        let mut device = Device::new(&self.tasks, &self.network, disk, options);
        device.live = live;
        device.start(|_| {});
        device.open().unwrap();
        device
    }

    /// Until it is so; says how long that took.
    fn until(&self, what: &str, done: impl FnMut() -> bool) -> i64 {
        let began = self.tasks.now();
        let came = self.tasks.run_until(began + 60 * MINUTE, done);
        assert_eq!(came, Ok(true), "never: {what}");
        self.tasks.now() - began
    }

    fn served(&self, id: &str) -> bool {
        let documents = self.server.documents().unwrap_or_default();
        documents.contains_key(&format!("1/{id}"))
    }
}

fn write(device: &Device, id: &str) {
    let database = device.database().unwrap();
    let written = database.write(|tx| tx.insert_with_id("notes", id, [("title", id)]));
    written.unwrap();
}

/// One transaction over two documents, of which the server cannot merge one.
fn write_poison(device: &Device) {
    let database = device.database().unwrap();
    let written = database.write(|tx| {
        tx.insert_with_id("notes", "beside", [("title", "in one transaction with it")])?;
        tx.insert_with_id("notes", POISON, [("title", "makes the server panic")])
    });
    written.unwrap();
}

fn pending(device: &Device) -> u64 {
    device.sync().unwrap().status().pending
}

fn quarantined(device: &Device) -> Vec<(String, String)> {
    let outbox = device.database().unwrap().outbox();
    let listed = outbox.quarantined(None, 100).unwrap().into_iter();
    let told = listed.map(|write| (write.id, write.error_code.unwrap_or_default()));
    told.collect()
}

fn holds_nobody_up(live: bool) {
    let before = PANICS.load(Ordering::Relaxed);
    let world = World::new();
    let mut device = world.device(0, live);
    for n in 0..9 {
        write(&device, &format!("before {n}"));
    }
    write_poison(&device);
    // It builds on that one, and waits with it.
    let database = device.database().unwrap();
    let built = database.write(|tx| tx.increment("notes", POISON, "count", 1));
    built.unwrap();
    for n in 0..9 {
        write(&device, &format!("behind {n}"));
    }
    device.connect().unwrap();

    let others: Vec<String> = (0..9)
        .flat_map(|n| [format!("before {n}"), format!("behind {n}")])
        .collect();
    let took = world.until("all others are taken", || {
        others.iter().all(|id| world.served(id))
    });
    assert!(took < 2 * MINUTE, "the others waited {took} ms");
    assert!(PANICS.load(Ordering::Relaxed) > before + 2);
    // While it waits for its own time, whatever is written goes at once.
    let behind = pending(&device);
    write(&device, "later");
    device.sync().unwrap().sync_now();
    let took = world.until("what is written later", || world.served("later"));
    assert!(took < 10_000, "{took} ms, with {behind} pending");

    world.until("it is withdrawn", || pending(&device) == 0);
    let held = quarantined(&device);
    assert_eq!(held.len(), 2, "it and what builds on it: {held:?}");
    assert!(held.iter().all(|(_, code)| !code.is_empty()), "{held:?}");
    let status = device.sync().unwrap().status();
    assert_eq!(status.state, State::Idle, "{status:?}");
    assert!(!world.served("beside") && !world.served(POISON));

    // Somebody else has heard of all that was taken, and of nothing of it.
    let mut other = world.device(1, live);
    other.connect().unwrap();
    world.until("somebody else hears of it", || {
        let shown = other.documents().unwrap();
        shown.len() == others.len() + 1
    });

    // Tried again it fares as before; taken back it is gone, here too.
    let (poison, _) = held.into_iter().next().unwrap();
    let outbox = device.database().unwrap().outbox();
    outbox.retry(&poison).unwrap();
    world.until("it is withdrawn again", || pending(&device) == 0);
    let outbox = device.database().unwrap().outbox();
    for (id, _) in quarantined(&device) {
        outbox.discard(&id).unwrap();
    }
    world.until("it is gone", || {
        pending(&device) == 0 && quarantined(&device).is_empty()
    });
    assert_eq!(device.documents().unwrap().len(), others.len() + 1);
    device.check().unwrap();
    world.server.check().unwrap();
}

#[test]
fn k22_an_op_that_makes_the_server_panic_holds_nobody_up() {
    // One after the other: they count the same panics.
    holds_nobody_up(false);
    holds_nobody_up(true);
}
