//! What failing disks found once, by name.

#![allow(clippy::unwrap_used)]

use driftline::{Durability, Schema, SignOut};
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
count = { id = 2, kind = "counter" }
"#;

fn device(durability: Durability) -> Device {
    let mut device = unopened(durability);
    device.start(|_| {});
    device.open().unwrap();
    device
}

fn unopened(durability: Durability) -> Device {
    unopened_among(&Tasks::new(None), durability)
}

fn unopened_among(tasks: &Tasks, durability: Durability) -> Device {
    let options = DeviceOptions {
        number: 0,
        account: Account::writer("ann"),
        durability,
        schema: Schema::parse(SCHEMA).unwrap(),
        host_token: false,
        seed: 7,
    };
    Device::new(tasks, &Network::default(), Disk::new(1), options)
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

/// Whether a guest's write took effect was looked up by what its document says, and a counter says
/// nothing of who counted.
#[test]
fn a_guests_write_that_failed_is_told_so() {
    let calls = {
        let device = guest();
        let calls = device.process().unwrap().calls();
        assert!(count(&device).is_ok());
        calls + 1..=device.process().unwrap().calls()
    };
    let mut failed = 0;
    for call in calls {
        let device = guest();
        device.process().unwrap().arm(call, Fault::IoError);
        let counted = count(&device);
        failed += u32::from(counted.is_err());
        let shown = device.documents().unwrap();
        let there = shown["1/counted"]["count"] == 2;
        assert_eq!(there, counted.is_ok(), "call {call}: {counted:?}");
    }
    assert!(failed > 0);
}

/// With a document that counts to one.
fn guest() -> Device {
    let mut device = unopened(Durability::Full);
    device.guest = true;
    device.start(|_| {});
    device.open().unwrap();
    write(&device, "counted").unwrap();
    count(&device).unwrap();
    device
}

fn count(device: &Device) -> driftline::Result<()> {
    let database = device.database().unwrap();
    database.write(|tx| tx.increment("notes", "counted", "count", 1).map(drop))
}

/// A sign-out that had dropped the queue and could not close the file said that nothing was dropped.
#[test]
fn a_sign_out_that_dropped_says_so() {
    let sign_out = |device: &Device| {
        let database = device.database().unwrap().clone();
        database.sign_out(SignOut::Drop { unsynced: 1 })
    };
    let calls = {
        let device = device(Durability::Full);
        write(&device, "unsynced").unwrap();
        let calls = device.process().unwrap().calls();
        assert_eq!(sign_out(&device).unwrap().dropped, 1);
        calls + 1..=device.process().unwrap().calls()
    };
    let (mut kept, mut dropped) = (0, 0);
    for call in calls {
        let mut device = device(Durability::Full);
        write(&device, "unsynced").unwrap();
        device.process().unwrap().arm(call, Fault::StickyIoError);
        let outcome = sign_out(&device);
        let left = titles(&mut device);
        match outcome {
            Ok(done) => {
                assert_eq!((done.dropped, left.len()), (1, 0), "call {call}");
                dropped += 1;
            }
            Err(error) if error.code() == "commit_unknown" => {}
            Err(error) => {
                assert_eq!(left, ["1/unsynced"], "call {call}: {error}");
                kept += 1;
            }
        }
    }
    assert!(kept > 0 && dropped > 0, "{kept} kept, {dropped} dropped");
}

/// Each looked at what the other had left in the log, failed to write, and left something there itself.
#[test]
fn two_processes_on_a_full_disk_do_not_keep_each_other_awake() {
    let tasks = Tasks::new(None);
    let mut one = unopened_among(&tasks, Durability::Full);
    let mut other = one.companion();
    for device in [&mut one, &mut other] {
        device.start(|_| {});
        device.open().unwrap();
        device.connect().unwrap();
        tasks.run_until(tasks.now() + 10_000, || false).unwrap();
    }
    let processes = [&one, &other].map(|device| device.process().unwrap());
    let passes = |millis: i64| {
        let before = processes.map(|process| process.calls());
        tasks.run_until(tasks.now() + millis, || false).unwrap();
        let calls = |n: usize| processes[n].calls() - before[n];
        calls(0) + calls(1)
    };
    let minute = 60_000;
    let at_rest = passes(minute);
    for process in processes {
        process.arm(process.calls() + 1, Fault::StickyDiskFull);
    }
    write(&one, "does not fit").unwrap_err();
    passes(minute);
    let full = passes(minute);
    println!("{at_rest} calls a minute at rest, {full} on a full disk");
    assert!(full < 10_000, "{full} calls in a minute, at rest {at_rest}");
    processes.iter().for_each(|process| process.disarm());
    passes(minute);
    write(&one, "fits").unwrap();
}
