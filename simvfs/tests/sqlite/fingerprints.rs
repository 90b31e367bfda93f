//! Disks that hold the same for SQLite are told from those that do not.

use driftline_simvfs::{Disk, Fault, PowerLoss, Process};

use super::{add, ids, open};

/// A disk with these rows, each its own transaction in the log, after the process was killed.
fn with_rows(rows: &[i64]) -> Disk {
    let disk = Disk::new(1);
    let process = Process::start(&disk, 2);
    let app = open(&process, "WAL", "FULL").unwrap();
    rows.iter().for_each(|id| add(&app, *id).unwrap());
    process.kill();
    disk
}

#[test]
fn a_log_is_told_by_its_transactions_and_not_by_its_salts() {
    let (one, same) = (with_rows(&[1, 2]), with_rows(&[1, 2]));
    assert_ne!(one.read("app.db-wal"), same.read("app.db-wal"), "salts");
    assert_eq!(one.fingerprint(), same.fingerprint());
    for other in [&[1][..], &[1, 2, 3], &[1, 3], &[2, 1]] {
        assert_ne!(one.fingerprint(), with_rows(other).fingerprint());
    }
}

#[test]
fn a_transaction_that_did_not_end_makes_no_difference_and_one_that_did_does() {
    let after = |fault: Option<(u64, Fault)>| {
        let disk = with_rows(&[1]);
        let process = Process::start(&disk, 3);
        let app = open(&process, "WAL", "FULL").unwrap();
        let before = process.calls();
        if let Some((call, fault)) = fault {
            process.arm(before + call, fault);
        }
        let _ = add(&app, 2);
        let made = process.calls() - before;
        process.kill();
        (disk.fingerprint(), made)
    };
    let untouched = with_rows(&[1]).fingerprint();
    let (whole, made) = after(None);
    assert_ne!(whole, untouched);
    assert!(made >= 3, "a frame's header, its page, and a sync");
    for call in 1..made {
        let (left, _) = after(Some((call, Fault::CrashBefore)));
        assert_eq!(left, untouched, "call {call}");
    }
    // What was written and not synced is there for whoever opens the file next.
    assert_eq!(after(Some((made, Fault::CrashBefore))).0, whole);
}

#[test]
fn a_fork_goes_its_own_way_and_keeps_what_is_not_synced_apart() {
    let disk = with_rows(&[1]);
    let fork = disk.fork(2);
    assert_eq!(disk.fingerprint(), fork.fingerprint());
    let process = Process::start(&fork, 3);
    let app = open(&process, "WAL", "NORMAL").unwrap();
    add(&app, 2).unwrap();
    process.kill();
    assert_ne!(disk.fingerprint(), fork.fingerprint());
    let again = fork.fork(4);
    again.power_loss(PowerLoss::LoseUnsynced);
    assert_eq!(disk.fingerprint(), again.fingerprint(), "it was not synced");
    let process = Process::start(&fork, 5);
    let app = open(&process, "WAL", "FULL").unwrap();
    assert_eq!(
        ids(&app).unwrap(),
        [1, 2],
        "of another's power nothing is felt"
    );
}
