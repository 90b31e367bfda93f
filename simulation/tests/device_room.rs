//! A device on a full disk, over a log that a process left whose sync had failed.
//!
//! What was written once there was room went behind pages that the disk had lost, as long as somebody
//! read from the log: acknowledged, and gone when the power went.

#![allow(clippy::unwrap_used)]

use driftline::environment::Environment;
use driftline::{Config, Database, Schema};
use driftline_simvfs::{Disk, Fault, PowerLoss, Process};
use rusqlite::{Connection, OpenFlags};

/// Syncs that fail in a row: those of any one write are fewer.
const SYNCS: u64 = 40;

const FILE: &str = "/device/notes.db";

const SCHEMA: &str = r#"
    [schema]
    name = "field"
    version = 1
    [collections.notes]
    id = 1
    [collections.notes.fields]
    title = { id = 1, kind = "text" }
"#;

fn open(process: &Process) -> Database {
    let schema = Schema::parse(SCHEMA).unwrap();
    let mut config = Config::new(FILE, schema, "antarctica").with_account("ada");
    config.environment = Environment {
        vfs: Some(process.vfs().to_owned()),
        files: None,
        ..Environment::system()
    };
    Database::open(config).unwrap()
}

fn put(db: &Database, id: &str) -> Result<(), driftline::Error> {
    db.write(|tx| tx.insert_with_id("notes", id, [("title", id)]))
}

fn has(db: &Database, id: &str) -> bool {
    db.get("notes", id).unwrap().is_some()
}

/// A device opened on a full disk, over a log of which the disk has lost a part.
fn device_on_a_full_disk(disk: &Disk) -> (Process, Database) {
    let first = Process::start(disk, 1);
    let db = open(&first);
    put(&db, "before").unwrap();
    let next = first.calls() + 1;
    (next..next + SYNCS).for_each(|call| first.arm(call, Fault::SyncLoss));
    put(&db, "lost").unwrap_err();
    first.kill();
    disk.set_capacity(disk.used());
    let second = Process::start(disk, 2);
    let db = open(&second);
    (second, db)
}

fn after_power_goes(disk: &Disk) -> (Process, Database) {
    disk.power_loss(PowerLoss::LoseUnsynced);
    let process = Process::start(disk, 3);
    let db = open(&process);
    (process, db)
}

#[test]
fn what_is_written_once_there_is_room_survives() {
    let disk = Disk::new(1);
    let (_running, db) = device_on_a_full_disk(&disk);
    assert!(has(&db, "before"), "reads stay possible");
    assert_eq!(put(&db, "refused").unwrap_err().code(), "disk_full");
    disk.set_capacity(usize::MAX);
    put(&db, "acknowledged").unwrap();
    let (_process, db) = after_power_goes(&disk);
    assert!(has(&db, "before") && has(&db, "acknowledged"));
    assert!(!has(&db, "refused"));
}

#[test]
fn nothing_is_written_behind_such_a_log_while_it_is_read() {
    let disk = Disk::new(1);
    let (running, db) = device_on_a_full_disk(&disk);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let reader = Connection::open_with_flags_and_vfs(FILE, flags, running.vfs()).unwrap();
    reader
        .execute_batch("BEGIN; SELECT count(*) FROM notes")
        .unwrap();
    disk.set_capacity(usize::MAX);
    let early = put(&db, "early");
    drop(reader);
    put(&db, "late").unwrap();
    let (_process, db) = after_power_goes(&disk);
    assert!(has(&db, "late"));
    assert_eq!(has(&db, "early"), early.is_ok(), "{early:?}");
}
