//! Several connections and several processes on one disk.

use driftline_simvfs::{Disk, Process};
use rusqlite::ErrorCode;

use super::{add, ids, is_sound, open};

#[test]
fn processes_see_each_others_commits_and_wait_for_each_others_locks() {
    let disk = Disk::new(1);
    let (app, widget) = (Process::start(&disk, 2), Process::start(&disk, 3));
    assert_ne!(app.vfs(), widget.vfs());
    let (ours, theirs) = (open(&app, "WAL", "FULL"), open(&widget, "WAL", "FULL"));
    let (ours, theirs) = (ours.unwrap(), theirs.unwrap());
    add(&ours, 1).unwrap();
    assert_eq!(ids(&theirs).unwrap(), [1]);

    ours.execute_batch("BEGIN IMMEDIATE").unwrap();
    add(&ours, 2).unwrap();
    let busy = add(&theirs, 3).unwrap_err();
    assert_eq!(busy.sqlite_error_code(), Some(ErrorCode::DatabaseBusy));
    assert!(widget.slept() > 0, "it waited, in no time");
    assert_eq!(ids(&theirs).unwrap(), [1], "nothing uncommitted is seen");
    ours.execute_batch("COMMIT").unwrap();
    add(&theirs, 3).unwrap();
    assert_eq!(ids(&ours).unwrap(), [1, 2, 3]);
}

#[test]
fn a_killed_process_holds_no_lock_and_leaves_no_half() {
    let disk = Disk::new(1);
    let (app, widget) = (Process::start(&disk, 2), Process::start(&disk, 3));
    let ours = open(&app, "WAL", "FULL").unwrap();
    let theirs = open(&widget, "WAL", "FULL").unwrap();
    ours.execute_batch("PRAGMA cache_size = 2; BEGIN IMMEDIATE")
        .unwrap();
    (1..200).for_each(|id| add(&ours, id).unwrap());
    let life = app.life();
    assert!(life.is_alive());
    app.kill();
    assert!(!app.is_alive() && !life.is_alive());
    assert!(ours.execute_batch("COMMIT").is_err());
    add(&theirs, 1).unwrap();
    assert_eq!(ids(&theirs).unwrap(), [1]);
    assert!(is_sound(&theirs));
    drop(ours);
    add(&theirs, 2).unwrap();
    assert_eq!(ids(&theirs).unwrap(), [1, 2]);
}

#[test]
fn a_checkpoint_leaves_what_a_reader_still_reads() {
    let disk = Disk::new(1);
    let process = Process::start(&disk, 2);
    let (writer, reader) = (open(&process, "WAL", "FULL"), open(&process, "WAL", "FULL"));
    let (writer, reader) = (writer.unwrap(), reader.unwrap());
    add(&writer, 1).unwrap();
    reader.execute_batch("BEGIN").unwrap();
    assert_eq!(ids(&reader).unwrap(), [1]);
    (2..50).for_each(|id| add(&writer, id).unwrap());
    let checkpoint = "PRAGMA wal_checkpoint(PASSIVE)";
    let (log, moved): (i64, i64) = writer
        .query_row(checkpoint, (), |row| Ok((row.get(1)?, row.get(2)?)))
        .unwrap();
    assert!(
        moved < log,
        "{moved} of {log} pages moved under a reader's feet"
    );
    assert_eq!(ids(&reader).unwrap(), [1]);
    reader.execute_batch("COMMIT").unwrap();
    assert_eq!(ids(&reader).unwrap().len(), 49);
}

#[test]
fn the_last_to_leave_takes_the_log_along() {
    let disk = Disk::new(1);
    let process = Process::start(&disk, 2);
    let connection = open(&process, "WAL", "FULL").unwrap();
    add(&connection, 1).unwrap();
    assert_eq!(disk.files(), ["app.db", "app.db-wal"]);
    connection.close().unwrap();
    assert_eq!(disk.files(), ["app.db"]);
}

#[test]
fn a_backup_put_back_ends_every_process() {
    let disk = Disk::new(1);
    let process = Process::start(&disk, 2);
    let connection = open(&process, "WAL", "FULL").unwrap();
    add(&connection, 1).unwrap();
    let backup = disk.image();
    assert_eq!(backup.files().collect::<Vec<_>>(), ["app.db", "app.db-wal"]);
    add(&connection, 2).unwrap();
    disk.restore(&backup);
    assert!(!process.is_alive() && add(&connection, 3).is_err());
    let again = Process::start(&disk, 3);
    assert_eq!(ids(&open(&again, "WAL", "FULL").unwrap()).unwrap(), [1]);
}

#[test]
fn threads_share_a_file() {
    let disk = Disk::new(1);
    let process = Process::start(&disk, 2);
    drop(open(&process, "WAL", "NORMAL").unwrap());
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let process = &process;
            scope.spawn(move || {
                let connection = open(process, "WAL", "NORMAL").unwrap();
                for id in 0..50 {
                    // Sleeping takes no time here, so waiting may give up early.
                    while add(&connection, worker * 100 + id).is_err() {
                        std::thread::yield_now();
                    }
                }
            });
        }
    });
    let connection = open(&process, "WAL", "NORMAL").unwrap();
    assert_eq!(ids(&connection).unwrap().len(), 200);
    assert!(is_sound(&connection));
}
