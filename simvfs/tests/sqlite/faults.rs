//! Each fault acts, and is told.

use driftline_simvfs::{CallKind, Disk, Fault, PowerLoss, Process};
use rusqlite::{Connection, ErrorCode, Result};

use super::{FILE, add, ids, is_sound, open};

/// A database with one row, and the fault at the first call of that kind that the next row makes.
fn with_fault(fault: Fault, kind: CallKind) -> (Disk, Process, Connection) {
    let disk = Disk::new(1);
    let rehearsal = {
        let disk = Disk::new(1);
        let process = Process::start(&disk, 2);
        let connection = open(&process, "WAL", "FULL").unwrap();
        add(&connection, 1).unwrap();
        let recording = process.record();
        add(&connection, 2).unwrap();
        recording.calls()
    };
    let process = Process::start(&disk, 2);
    let connection = open(&process, "WAL", "FULL").unwrap();
    add(&connection, 1).unwrap();
    let call = rehearsal.iter().find(|call| call.kind == kind).unwrap();
    process.arm(call.number, fault);
    (disk, process, connection)
}

fn failed_with<T>(outcome: &Result<T>) -> Option<ErrorCode> {
    outcome.as_ref().err()?.sqlite_error_code()
}

fn after_power_loss(disk: &Disk) -> Vec<i64> {
    disk.power_loss(PowerLoss::LoseUnsynced);
    let process = Process::start(disk, 3);
    let connection = open(&process, "WAL", "FULL").unwrap();
    assert!(is_sound(&connection));
    ids(&connection).unwrap()
}

#[test]
fn an_io_error_is_told_once() {
    let (disk, _process, connection) = with_fault(Fault::IoError, CallKind::Write);
    assert_eq!(
        failed_with(&add(&connection, 2)),
        Some(ErrorCode::SystemIoFailure)
    );
    add(&connection, 3).unwrap();
    assert_eq!(after_power_loss(&disk), [1, 3]);
}

#[test]
fn a_sticky_io_error_stays_until_it_is_repaired() {
    let (_disk, process, connection) = with_fault(Fault::StickyIoError, CallKind::Write);
    for id in 2..5 {
        assert_eq!(
            failed_with(&add(&connection, id)),
            Some(ErrorCode::SystemIoFailure)
        );
    }
    process.disarm();
    add(&connection, 5).unwrap();
    assert_eq!(ids(&connection).unwrap(), [1, 5]);
}

#[test]
fn a_full_disk_is_told_as_such() {
    for fault in [Fault::DiskFull, Fault::ShortWrite] {
        let (disk, _process, connection) = with_fault(fault, CallKind::Write);
        assert_eq!(
            failed_with(&add(&connection, 2)),
            Some(ErrorCode::DiskFull),
            "{fault:?}"
        );
        add(&connection, 3).unwrap();
        assert_eq!(after_power_loss(&disk), [1, 3]);
    }
    let (_disk, process, connection) = with_fault(Fault::StickyDiskFull, CallKind::Write);
    assert_eq!(failed_with(&add(&connection, 2)), Some(ErrorCode::DiskFull));
    assert_eq!(ids(&connection).unwrap(), [1], "reading needs no room");
    assert_eq!(failed_with(&add(&connection, 2)), Some(ErrorCode::DiskFull));
    process.disarm();
    add(&connection, 2).unwrap();
}

#[test]
fn a_short_write_leaves_a_part() {
    let (disk, _process, connection) = with_fault(Fault::ShortWrite, CallKind::Write);
    let log = || disk.read("app.db-wal").unwrap();
    let before = log();
    assert!(add(&connection, 2).is_err());
    let after = log();
    // A frame's header is 24 bytes; the part is less.
    assert!(after.len() >= before.len() && after.len() < before.len() + 24);
}

#[test]
fn a_disk_has_as_much_room_as_it_is_told() {
    let disk = Disk::new(1);
    let process = Process::start(&disk, 2);
    let connection = open(&process, "WAL", "FULL").unwrap();
    add(&connection, 1).unwrap();
    disk.set_capacity(disk.used() + 10_000);
    let refused = (2..20).find_map(|id| failed_with(&add(&connection, id)));
    assert_eq!(refused, Some(ErrorCode::DiskFull));
    disk.set_capacity(usize::MAX);
    add(&connection, 20).unwrap();
}

#[test]
fn without_a_sync_the_power_takes_it_and_with_one_it_does_not() {
    for (synchronous, expected) in [("OFF", [].as_slice()), ("FULL", &[1, 2])] {
        let disk = Disk::new(1);
        let process = Process::start(&disk, 2);
        let connection = open(&process, "WAL", synchronous).unwrap();
        (1..3).for_each(|id| add(&connection, id).unwrap());
        assert_eq!(after_power_loss(&disk), expected, "{synchronous}");
    }
}

#[test]
fn a_lying_sync_is_found_by_the_next_power_loss() {
    let (disk, _process, connection) = with_fault(Fault::LyingSync, CallKind::Sync);
    add(&connection, 2).unwrap();
    add(&connection, 3).unwrap();
    assert_eq!(after_power_loss(&disk), [1], "acknowledged, and gone");
}

#[test]
fn what_a_failed_sync_lost_no_later_one_brings_back() {
    let (disk, process, connection) = with_fault(Fault::SyncLoss, CallKind::Sync);
    assert_eq!(
        failed_with(&add(&connection, 2)),
        Some(ErrorCode::SystemIoFailure)
    );
    process.kill();
    drop(connection);
    // A process that opens the file anew finds the row in the system's memory, and builds on it.
    let process = Process::start(&disk, 5);
    let connection = open(&process, "WAL", "FULL").unwrap();
    assert_eq!(ids(&connection).unwrap(), [1, 2]);
    assert_eq!(after_power_loss(&disk), [1]);
}

#[test]
fn a_file_that_was_never_synced_has_no_name_after_a_power_loss() {
    let disk = Disk::new(1);
    let process = Process::start(&disk, 2);
    let connection = open(&process, "WAL", "OFF").unwrap();
    add(&connection, 1).unwrap();
    assert_eq!(disk.files(), [FILE, "app.db-wal"]);
    disk.power_loss(PowerLoss::LoseUnsynced);
    let left = disk.files();
    assert!(
        left.contains(&FILE.to_owned()),
        "made durable when its journal mode was set"
    );
    assert!(!left.contains(&"app.db-wal".to_owned()), "{left:?}");
}

#[test]
fn a_flipped_bit_is_seen() {
    let disk = Disk::new(9);
    let process = Process::start(&disk, 2);
    let connection = open(&process, "WAL", "FULL").unwrap();
    (1..200).for_each(|id| add(&connection, id).unwrap());
    connection.close().unwrap();
    let before = disk.read(FILE).unwrap();
    assert!(disk.flip_bit(FILE) && !disk.flip_bit("nothing.db"));
    let after = disk.read(FILE).unwrap();
    let differing = before.iter().zip(&after).filter(|(a, b)| a != b).count();
    assert_eq!((differing, before.len()), (1, after.len()));
}

#[test]
fn a_bit_flipped_on_its_way_is_seen_by_no_checksum_of_the_file() {
    let disk = Disk::new(9);
    let process = Process::start(&disk, 2);
    let connection = open(&process, "WAL", "FULL").unwrap();
    (1..200).for_each(|id| add(&connection, id).unwrap());
    connection.close().unwrap();
    // Each name is "bird N " forty times; SQL can say so itself.
    let odd = "SELECT count(*) FROM birds WHERE name <> replace(hex(zeroblob(40)), '00', 'bird ' || id || ' ')";
    let odd_names = |flip: bool| -> Result<i64> {
        let reader = Process::start(&disk, 3);
        let connection = open(&reader, "WAL", "FULL").unwrap();
        if flip {
            (1..100).for_each(|call| reader.arm(reader.calls() + call, Fault::BitFlip));
        }
        connection.query_row(odd, (), |row| row.get(0))
    };
    assert_eq!(odd_names(false), Ok(0));
    assert!(!matches!(odd_names(true), Ok(0)));
}

#[test]
fn a_flipped_bit_in_the_log_ends_the_log_there() {
    let (disk, _process, connection) = with_fault(Fault::BitFlip, CallKind::Write);
    add(&connection, 2).unwrap();
    add(&connection, 3).unwrap();
    assert_eq!(after_power_loss(&disk), [1]);
}

#[test]
fn an_armed_fault_that_does_not_fit_its_call_does_nothing() {
    let (_disk, _process, connection) = with_fault(Fault::ShortWrite, CallKind::Sync);
    add(&connection, 2).unwrap();
}
