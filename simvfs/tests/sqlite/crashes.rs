//! Every I/O call of a small workload, and the process or the power ending there.

use driftline_simvfs::{Disk, Fault, PowerLoss, Process};
use rusqlite::Result;

use super::{add, ids, is_sound, open};

const ROWS: i64 = 12;

/// Writes rows; checkpoints and deletes some on the way. Returns what was acknowledged.
fn work(process: &Process, journal: &str, synchronous: &str) -> (Vec<i64>, Result<()>) {
    let mut acknowledged = Vec::new();
    let mut all = || {
        let connection = open(process, journal, synchronous)?;
        for id in 1..=ROWS {
            add(&connection, id)?;
            acknowledged.push(id);
            if id % 5 == 0 {
                let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
                connection.query_row(checkpoint, (), |_| Ok(()))?;
            }
        }
        Ok(())
    };
    let outcome = all();
    (acknowledged, outcome)
}

fn calls_of(journal: &str, synchronous: &str) -> u64 {
    let process = Process::start(&Disk::new(1), 2);
    let (acknowledged, outcome) = work(&process, journal, synchronous);
    assert_eq!((acknowledged.len(), outcome), (ROWS as usize, Ok(())));
    process.calls()
}

/// What a crash at a call leaves: rows after it, and rows acknowledged before it.
fn crashed(
    (journal, synchronous): (&str, &str),
    at: u64,
    fault: Fault,
    power: Option<PowerLoss>,
) -> (Vec<i64>, Vec<i64>) {
    let disk = Disk::new(at);
    let process = Process::start(&disk, 2);
    process.arm(at, fault);
    let (acknowledged, _) = work(&process, journal, synchronous);
    if let Some(power) = power {
        disk.power_loss(power);
    }
    let after = Process::start(&disk, 3);
    let connection = open(&after, journal, synchronous).unwrap();
    assert!(is_sound(&connection), "{fault:?} at {at}, then {power:?}");
    (ids(&connection).unwrap(), acknowledged)
}

const CRASHES: [Fault; 3] = [Fault::CrashBefore, Fault::CrashDuring, Fault::CrashAfter];
const ENDINGS: [Option<PowerLoss>; 4] = [
    None,
    Some(PowerLoss::LoseUnsynced),
    Some(PowerLoss::KeepUnsynced),
    Some(PowerLoss::Torn),
];

#[test]
fn everything_acknowledged_survives_where_commits_wait_for_the_disk() {
    for mode in [("WAL", "FULL"), ("DELETE", "EXTRA"), ("TRUNCATE", "FULL")] {
        let calls = calls_of(mode.0, mode.1);
        assert!(calls > 50, "{mode:?} makes {calls} calls");
        for at in 1..=calls {
            for (fault, power) in CRASHES.iter().flat_map(|f| ENDINGS.map(|e| (*f, e))) {
                let (found, acknowledged) = crashed(mode, at, fault, power);
                let kept = found.starts_with(&acknowledged);
                assert!(
                    kept && found.len() <= acknowledged.len() + 1,
                    "{mode:?}: {fault:?} at {at}, then {power:?}: {acknowledged:?} became {found:?}"
                );
            }
        }
    }
}

#[test]
fn a_kill_loses_nothing_and_a_power_loss_a_suffix_where_they_do_not() {
    let mode = ("WAL", "NORMAL");
    let mut lost = 0;
    for at in 1..=calls_of(mode.0, mode.1) {
        for power in ENDINGS {
            let (found, acknowledged) = crashed(mode, at, Fault::CrashBefore, power);
            let whole: Vec<i64> = (1..=found.len() as i64).collect();
            assert_eq!(found, whole, "a hole: crash at {at}, then {power:?}");
            match power {
                None => assert!(found.starts_with(&acknowledged), "kill at {at}"),
                Some(_) => lost += usize::from(found.len() < acknowledged.len()),
            }
        }
    }
    assert!(lost > 20, "a power loss took something {lost} times only");
}

#[test]
fn the_same_seeds_leave_the_same() {
    // Not the same bytes: SQLite draws its log's salts from one source for the whole program.
    let torn = |seed: u64| {
        let disk = Disk::new(seed);
        let process = Process::start(&disk, seed);
        process.arm(60, Fault::CrashDuring);
        let _ = work(&process, "WAL", "NORMAL");
        disk.power_loss(PowerLoss::Torn);
        let sizes = format!("{:?}", disk.image());
        let again = Process::start(&disk, seed);
        (sizes, ids(&open(&again, "WAL", "NORMAL").unwrap()).unwrap())
    };
    assert_eq!(torn(7), torn(7));
    assert!((0..20).any(|seed| torn(seed) != torn(seed + 1)));
}
