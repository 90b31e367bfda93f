//! What failing disks found once, by name.

#![allow(clippy::unwrap_used)]

use driftline::{Durability, Schema};
use driftline_simulation::machine::{Account, Device, DeviceOptions, Network, Tasks};
use driftline_simvfs::{CallKind, Disk, Fault, PowerLoss};

const SCHEMA: &str = r#"
[schema]
name = "regressions"
version = 1

[collections.notes]
id = 1
search = ["title"]
[collections.notes.fields]
title = { id = 1, kind = "text" }
"#;

fn device(durability: Durability) -> Device {
    let mut device = unopened(durability);
    device.start(|_| {});
    device.open().unwrap();
    device
}

fn unopened(durability: Durability) -> Device {
    let options = DeviceOptions {
        number: 0,
        account: Account::writer("ann"),
        durability,
        schema: Schema::parse(SCHEMA).unwrap(),
        host_token: false,
        seed: 7,
    };
    Device::new(
        &Tasks::new(None),
        &Network::default(),
        Disk::new(1),
        options,
    )
}

fn write(device: &Device, id: &str) -> driftline::Result<()> {
    let database = device.database().unwrap();
    database.write(|tx| tx.insert_with_id("notes", id, [("title", id)]))
}

/// Titles that the database shows after the machine was started anew.
fn titles(device: &mut Device) -> Vec<String> {
    device.start(|_| {});
    device.open().unwrap();
    device.documents().unwrap().into_keys().collect()
}

/// SQLite's full-text index goes on with a structure that it had half read when the disk failed, and
/// the next write through that connection damages it.
#[test]
fn a_read_that_fails_in_the_full_text_index_damages_nothing() {
    let reads = {
        let mut device = device(Durability::Full);
        (0..20).for_each(|n| write(&device, &format!("before {n}")).unwrap());
        device.close().unwrap();
        device.start(|_| {});
        device.open().unwrap();
        let recording = device.process().unwrap().record();
        write(&device, "after").unwrap();
        let calls = recording.calls();
        let reads = calls.iter().filter(|call| call.kind == CallKind::Read);
        reads.map(|call| call.number).collect::<Vec<_>>()
    };
    assert!(reads.len() > 5, "{reads:?}");
    for read in reads {
        let mut device = device(Durability::Full);
        (0..20).for_each(|n| write(&device, &format!("before {n}")).unwrap());
        device.close().unwrap();
        device.start(|process| process.arm(read, Fault::IoError));
        device.open().unwrap();
        assert_eq!(write(&device, "after").unwrap_err().code(), "io");
        for n in 0..4 {
            write(&device, &format!("later {n}")).unwrap();
        }
        device.check().unwrap();
    }
}

#[test]
fn after_a_suspend_that_failed_another_does_not_say_that_all_is_on_the_disk() {
    for by_close in [false, true] {
        let mut device = device(Durability::Normal);
        write(&device, "first").unwrap();
        let process = device.process().unwrap();
        process.arm(process.calls() + 1, Fault::StickyIoError);
        let database = device.database().unwrap().clone();
        let let_go = || match by_close {
            true => database.close(),
            false => database.suspend(),
        };
        assert!(let_go().is_err());
        assert!(let_go().is_err(), "it is still not there");
        process.disarm();
        assert!(let_go().is_ok());
        device.power_loss(PowerLoss::LoseUnsynced);
        assert_eq!(titles(&mut device), ["1/first"]);
    }
}

#[test]
fn a_suspend_after_a_failed_write_settles_what_was_written_before() {
    let mut device = device(Durability::Normal);
    write(&device, "first").unwrap();
    let process = device.process().unwrap();
    process.arm(process.calls() + 1, Fault::StickyIoError);
    assert!(write(&device, "second").is_err());
    process.disarm();
    device.database().unwrap().suspend().unwrap();
    device.power_loss(PowerLoss::LoseUnsynced);
    assert_eq!(titles(&mut device), ["1/first"]);
}

/// SQLite answers `PRAGMA journal_mode=WAL` before it commits the switch. A switch that failed left a
/// file with a rollback journal, whose removal is all that makes a commit, and not durable at once.
#[test]
fn a_first_open_that_cannot_switch_to_the_log_fails() {
    let calls = device(Durability::Full).process().unwrap().calls();
    let mut refused = 0;
    for call in 1..=calls {
        let mut device = unopened(Durability::Full);
        device.start(|process| process.arm(call, Fault::IoError));
        if device.open().is_err() {
            refused += 1;
            device.open().unwrap();
        }
        let files = device.disk.files();
        assert!(files.iter().any(|file| file.ends_with("-wal")), "{files:?}");
        write(&device, "first").unwrap();
        device.power_loss(PowerLoss::LoseUnsynced);
        assert_eq!(titles(&mut device), ["1/first"], "call {call}");
    }
    assert!(refused > 20, "{refused} of {calls}");
}
