//! Several processes on one file.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use driftline::Value;

use crate::support::{Device, SCHEMA, Server, worker, worker::Worker};

/// Runs only as a process of its own, see [`Worker`].
#[test]
fn child_that_does_what_it_is_told() {
    worker::obey();
}

fn file() -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("device.db");
    (folder, path)
}

/// What a new device receives from the server.
fn received(server: &Server) -> Device {
    let other = Device::new("other");
    other.connect(server);
    other.sync();
    other
}

/// 10,000 writes by two processes: all are there, and op ids are in the order of the commits.
#[test]
fn two_processes_write_at_once_and_nothing_is_lost() {
    const EACH: i64 = 5_000;
    let (_folder, path) = file();
    let (mut one, mut two) = (Worker::start(&path, "one"), Worker::start(&path, "two"));
    let order = format!("write {EACH}");
    one.tell(&order);
    two.tell(&order);
    assert_eq!(
        (one.hear(), two.hear()),
        ("written".into(), "written".into())
    );
    let device = Device::at(&path, "reader");
    assert_eq!(device.count("notes"), 2 * EACH);
    let ranks = device.db.query("SELECT id, rank FROM notes", ()).unwrap();
    let ranks: BTreeMap<String, i64> = ranks
        .iter()
        .map(|row| match row.values() {
            [Value::Text(id), Value::Integer(rank)] => (id.clone(), *rank),
            other => panic!("{other:?}"),
        })
        .collect();
    let queued = device.db.outbox().list(None, 20_000).unwrap();
    let in_order_of_ids: Vec<i64> = queued
        .iter()
        .map(|write| ranks[&write.changes[0].document])
        .collect();
    assert_eq!(in_order_of_ids, (0..2 * EACH).collect::<Vec<_>>());
}

/// A write waits for another process's, but not for ever, and says what kept it.
#[test]
fn a_write_that_waits_too_long_is_busy_and_changes_nothing() {
    let (_folder, path) = file();
    let (mut one, mut two) = (Worker::start(&path, "one"), Worker::start(&path, "two"));
    let device = Device::at(&path, "reader");
    one.tell("hold 1000");
    assert_eq!(one.hear(), "holding");
    assert_eq!(two.ask("write 1"), "written");
    assert_eq!(one.hear(), "let go");
    one.tell("hold 6500");
    assert_eq!(one.hear(), "holding");
    let began = Instant::now();
    let error = device
        .db
        .write(|tx| tx.insert("notes", [("title", "late")]))
        .unwrap_err();
    assert_eq!(error.code(), "busy");
    assert_eq!(error.retry(), driftline::Retry::Later);
    assert!(began.elapsed() < Duration::from_millis(6_400));
    assert_eq!(device.count("notes"), 1, "reads do not wait");
    assert_eq!(one.hear(), "let go");
    device.note("in time");
    assert_eq!(two.ask("count"), "2");
}

#[test]
fn a_watch_sees_the_other_process_write() {
    let (_folder, path) = file();
    let (mut one, mut two) = (Worker::start(&path, "one"), Worker::start(&path, "two"));
    assert_eq!(two.ask("watch"), "watched 0");
    for n in 1..=5 {
        let began = Instant::now();
        assert_eq!(one.ask("write 1"), "written");
        assert_eq!(two.hear(), format!("watched {n}"));
        assert!(began.elapsed() < Duration::from_secs(5));
    }
    // And after both were suspended for a while, while the other one wrote.
    assert_eq!(two.ask("suspend"), "suspended");
    assert_eq!(one.ask("write 3"), "written");
    two.tell("resume");
    let mut heard = [two.hear(), two.hear()];
    heard.sort();
    assert_eq!(heard, ["resumed", "watched 8"]);
    assert_eq!(one.ask("write 1"), "written");
    assert_eq!(two.hear(), "watched 9");
}

/// One process syncs for both; the other one asks it to.
#[test]
fn one_process_syncs_what_both_write() {
    let server = Server::start(SCHEMA);
    let (_folder, path) = file();
    let (mut one, mut two) = (Worker::start(&path, "one"), Worker::start(&path, "two"));
    one.connect(&server);
    one.until("status", |status| status == "Idle None");
    two.connect(&server);
    two.until("status", |status| status == "Waiting OtherProcess");
    assert_eq!(two.ask("write 5"), "written");
    two.until("pending", |pending| pending == "0");
    assert_eq!(one.ask("write 5"), "written");
    assert_eq!(two.ask("sync"), "true");
    assert_eq!(two.ask("pending"), "0");
    let other = received(&server);
    assert_eq!(other.count("notes"), 10);
    // What others write reaches the process that does not sync, too.
    other.note("from elsewhere");
    other.sync();
    two.until("count", |count| count == "11");
    assert_eq!(two.ask("sync"), "true");
    assert_eq!(one.ask("status"), "Idle None");
    assert_eq!(two.ask("status"), "Waiting OtherProcess");
}

/// Leaves so many notes in the file's queue.
fn queue(path: &Path, notes: i64) {
    let device = Device::at(path, "writer");
    let notes = (0..notes).map(|n| [("title", format!("note {n}"))]);
    for chunk in notes.collect::<Vec<_>>().chunks(1) {
        // One op each: a push of many requests.
        device.db.write_bulk("notes", chunk.to_vec()).unwrap();
    }
    device.db.close().unwrap();
}

#[test]
fn the_syncer_is_killed_in_the_middle_of_a_push_and_another_one_drains() {
    const NOTES: i64 = 12_000;
    let server = Server::start(SCHEMA);
    let (_folder, path) = file();
    queue(&path, NOTES);
    let (mut one, mut two) = (Worker::start(&path, "one"), Worker::start(&path, "two"));
    one.connect(&server);
    two.connect(&server);
    let left = |answer: &str| answer.parse::<i64>().unwrap();
    two.until("pending", |pending| left(pending) < NOTES);
    one.kill();
    let left = left(&two.ask("pending"));
    assert!(left > 0, "it was killed too late");
    let took = two.until("status", |status| !status.contains("OtherProcess"));
    assert!(took < Duration::from_secs(4), "taken over after {took:?}");
    two.until("pending", |pending| pending == "0");
    assert_eq!(received(&server).count("notes"), NOTES);
    println!("taken over after {took:?}, {left} writes left");
}

#[test]
fn a_frozen_syncer_is_replaced_and_finds_out_before_it_applies_anything() {
    let server = Server::start(SCHEMA);
    let (_folder, path) = file();
    let (mut one, mut two) = (Worker::start(&path, "one"), Worker::start(&path, "two"));
    one.connect(&server);
    one.until("status", |status| status == "Idle None");
    two.connect(&server);
    two.until("status", |status| status == "Waiting OtherProcess");
    // Not in the middle of a transaction: nobody could write until it goes on.
    assert_eq!(two.ask("sync"), "true");
    std::thread::sleep(Duration::from_millis(200));
    one.signal("STOP");
    assert_eq!(two.ask("write 3"), "written");
    let took = two.until("pending", |pending| pending == "0");
    println!("a frozen syncer was replaced after {took:?}");
    assert!(took < Duration::from_secs(15), "taken over after {took:?}");
    // What it will find when it wakes up: frames of another device, and more work in the file.
    let other = received(&server);
    other.note("while it was frozen");
    other.sync();
    two.until("count", |count| count == "4");
    one.signal("CONT");
    one.until("status", |status| status == "Waiting OtherProcess");
    assert_eq!(one.ask("write 2"), "written");
    one.until("pending", |pending| pending == "0");
    assert_eq!(two.ask("status"), "Idle None");
    other.sync();
    assert_eq!(other.count("notes"), 6);
    assert_eq!(
        (one.ask("count"), two.ask("count")),
        ("6".into(), "6".into())
    );
}

/// Frozen over a push, with its connection open and answers on their way: the other one writes at once,
/// takes over and sends what is left.
#[test]
fn a_syncer_frozen_over_a_push_keeps_nobody_from_writing_and_wakes_up_to_everything() {
    // Enough to be sent that a loaded machine, too, freezes the syncer before the last is.
    const NOTES: i64 = 20_000;
    let server = Server::start(SCHEMA);
    let (_folder, path) = file();
    queue(&path, NOTES);
    let (mut one, mut two) = (Worker::start(&path, "one"), Worker::start(&path, "two"));
    one.connect(&server);
    two.connect(&server);
    let left = |answer: &str| answer.parse::<i64>().unwrap();
    two.until("pending", |pending| left(pending) < NOTES);
    freeze_between_writes(&one, &path);
    assert!(left(&two.ask("pending")) > 0, "it was frozen too late");
    let began = Instant::now();
    assert_eq!(two.ask("write 3"), "written");
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "nothing is locked"
    );
    let took = two.until("status", |status| !status.contains("OtherProcess"));
    println!("a syncer frozen over a push was replaced after {took:?}");
    assert!(took < Duration::from_secs(15), "taken over after {took:?}");
    two.until("pending", |pending| pending == "0");
    let other = received(&server);
    assert_eq!(other.count("notes"), NOTES + 3);
    other.note("while it was frozen");
    other.sync();
    let all = (NOTES + 4).to_string();
    two.until("count", |count| count == all);
    one.signal("CONT");
    assert_eq!(one.ask("count"), all, "it sees everything at once");
    one.until("status", |status| status == "Waiting OtherProcess");
    assert_eq!(one.ask("pending"), "0");
    assert_eq!(one.ask("write 1"), "written");
    one.until("pending", |pending| pending == "0");
    assert_eq!(received(&server).count("notes"), NOTES + 5);
    let device = Device::at(&path, "reader");
    assert_eq!(device.content(), received(&server).content());
}

/// Stops a process where it holds no lock. One that is stopped within a transaction keeps others from
/// writing until it goes on: nobody can take SQLite's lock from it.
fn freeze_between_writes(worker: &Worker, path: &Path) {
    let probe = rusqlite::Connection::open(path).unwrap();
    probe.busy_timeout(Duration::from_millis(50)).unwrap();
    for _ in 0..200 {
        worker.signal("STOP");
        std::thread::sleep(Duration::from_millis(20));
        if probe.execute_batch("BEGIN IMMEDIATE; ROLLBACK").is_ok() {
            return;
        }
        worker.signal("CONT");
        std::thread::sleep(Duration::from_millis(3));
    }
    panic!("it writes all the time");
}

/// A suspended process has no connection, no lock, no office.
#[test]
fn a_sleeper_holds_nothing_and_wakes_up_to_what_happened() {
    let server = Server::start(SCHEMA);
    let (folder, path) = file();
    let (mut sleeper, mut two) = (Worker::start(&path, "sleeper"), Worker::start(&path, "two"));
    sleeper.connect(&server);
    sleeper.until("status", |status| status == "Idle None");
    two.connect(&server);
    assert!(open_files(&sleeper, folder.path()) > 0);
    assert_eq!(sleeper.ask("suspend"), "suspended");
    assert_eq!(open_files(&sleeper, folder.path()), 0);
    assert_eq!(locks(&sleeper), 0);
    let took = two.until("status", |status| status == "Idle None");
    assert!(took < Duration::from_secs(5), "taken over after {took:?}");
    assert_eq!(two.ask("write 4"), "written");
    assert_eq!(two.ask("sync"), "true");
    assert_eq!(sleeper.ask("resume"), "resumed");
    assert_eq!(sleeper.ask("count"), "4");
    assert_eq!(sleeper.ask("write 1"), "written");
    sleeper.until("pending", |pending| pending == "0");
    sleeper.until("status", |status| status == "Waiting OtherProcess");
    // The only one left syncs again.
    two.kill();
    sleeper.until("status", |status| status == "Idle None");
    assert_eq!(received(&server).count("notes"), 5);
}

/// K23: base is replaced, by a server that was restored and by a snapshot, while another process has the
/// file open and goes on writing: it is the same file before and after, and every write that returned
/// is in it.
#[test]
fn k23_a_base_is_swapped_under_a_process_that_has_the_file_open() {
    let mut server = Server::start(SCHEMA);
    let (folder, path) = file();
    let other = Device::new("other");
    other.connect(&server);
    for n in 0..50 {
        other.note(&format!("before {n}"));
    }
    other.sync();
    let backup = folder.path().join("backup");
    server.kill();
    server.backup(&backup);
    server.run();
    let (mut one, mut two) = (Worker::start(&path, "one"), Worker::start(&path, "two"));
    one.connect(&server);
    one.until("count", |count| count == "50");
    assert_eq!(two.ask("write 1"), "written");
    one.until("pending", |pending| pending == "0");
    let named = std::fs::metadata(&path).unwrap();
    // What the device has seen is gone from the server: it takes the server's base anew.
    server.kill();
    server.restore(&backup);
    server.run();
    two.tell("write 400");
    other.note("after");
    other.sync();
    one.until("count", |count| count.parse::<i64>().unwrap() >= 51);
    assert_eq!(two.hear(), "written");
    one.until("status", |status| status == "Idle None");
    one.until("pending", |pending| pending == "0");
    let now = std::fs::metadata(&path).unwrap();
    use std::os::unix::fs::MetadataExt;
    assert_eq!((named.dev(), named.ino()), (now.dev(), now.ino()));
    let copies = std::fs::read_dir(folder.path()).unwrap();
    let copies = copies.filter(|e| {
        e.as_ref()
            .unwrap()
            .file_name()
            .to_string_lossy()
            .contains(".aside-")
    });
    assert!(
        copies.count() > 0,
        "a copy was set aside: base was replaced"
    );
    let raw = rusqlite::Connection::open(&path).unwrap();
    let sound: String = raw
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(sound, "ok");
    assert_eq!(two.ask("write 1"), "written");
    one.until("pending", |pending| pending == "0");
    let device = Device::at(&path, "reader");
    for n in 0..400 {
        let found = device.count(&format!("notes WHERE title = 'two {n}'"));
        assert!(found >= 1, "{n} is gone");
    }
    other.sync();
    assert_eq!(received(&server).content(), device.content());
}

fn open_files(worker: &Worker, folder: &std::path::Path) -> usize {
    let descriptors = std::fs::read_dir(format!("/proc/{}/fd", worker.id()));
    let Ok(descriptors) = descriptors else {
        println!("skipped: this system does not tell what a process has open");
        return usize::from(folder.exists());
    };
    descriptors
        .filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok())
        .filter(|target| target.starts_with(folder))
        .count()
}

fn locks(worker: &Worker) -> usize {
    let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
    let id = worker.id().to_string();
    locks
        .lines()
        .filter(|line| line.split_whitespace().any(|word| word == id))
        .count()
}
