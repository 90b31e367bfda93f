use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use driftline_core::id::DocumentId;
use driftline_core::op::{Change, ChangeKind};

use super::{SCHEMA, config, fixture};
use crate::storage::{LocalWrite, Origin, StorageError};
use crate::{Database, Durability, Value};

#[test]
fn suspended_it_holds_no_lock_and_refuses_calls() {
    let db = fixture();
    let id = db
        .write(|tx| tx.insert("birds", [("species", "Adelie")]))
        .unwrap()
        .to_string();
    db.get("birds", &id).unwrap();
    db.suspend().unwrap();
    assert!(
        !db.dir.path().join("notes.db-wal").exists(),
        "the log was moved into the file"
    );
    let raw = db.raw();
    raw.execute_batch("PRAGMA locking_mode=EXCLUSIVE; BEGIN EXCLUSIVE; ROLLBACK")
        .unwrap();
    drop(raw);
    assert_eq!(db.get("birds", &id).unwrap_err().code(), "suspended");
    assert_eq!(db.query("SELECT 1", ()).unwrap_err().code(), "suspended");
    assert_eq!(db.write(|_| Ok(())).unwrap_err().code(), "suspended");
    assert_eq!(db.flush().unwrap_err().code(), "suspended");
    assert_eq!(db.poll_external().unwrap_err().code(), "suspended");
    db.suspend().unwrap();
    db.resume().unwrap();
    db.resume().unwrap();
    assert!(db.get("birds", &id).unwrap().is_some());
    db.write(|tx| tx.update("birds", &id, [("mass", 1)]))
        .unwrap();
    db.close().unwrap();
    db.close().unwrap();
    assert_eq!(db.get("birds", &id).unwrap_err().code(), "closed");
    assert_eq!(db.write(|_| Ok(())).unwrap_err().code(), "closed");
    assert_eq!(db.resume().unwrap_err().code(), "closed");
    assert_eq!(db.suspend().map_err(|error| error.code()), Ok(()));
}

#[test]
fn suspending_ends_a_running_query_and_waits_for_it() {
    let db = fixture();
    let reader = db.db.clone();
    let endless =
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
    let running = std::thread::spawn(move || reader.query(endless, ()).unwrap_err());
    std::thread::sleep(Duration::from_millis(100));
    db.suspend().unwrap();
    assert_eq!(running.join().unwrap().code(), "query_timeout");
    db.resume().unwrap();
    assert_eq!(db.query("SELECT 1", ()).unwrap().len(), 1);
}

#[test]
fn closing_while_threads_read_and_write_loses_nothing_that_returned() {
    let db = fixture();
    let stop = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = (0..4)
        .map(|n| {
            let (db, stop) = (db.db.clone(), Arc::clone(&stop));
            std::thread::spawn(move || {
                let mut written = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    match db.write(|tx| tx.insert("birds", [("species", format!("{n}"))])) {
                        Ok(id) => written.push(id.to_string()),
                        Err(error) => assert_eq!(error.code(), "closed"),
                    }
                    match db.query("SELECT count(*) FROM birds", ()) {
                        Ok(_) => {}
                        Err(error) => assert!(["closed", "query_timeout"].contains(&error.code())),
                    }
                }
                written
            })
        })
        .collect();
    std::thread::sleep(Duration::from_millis(150));
    db.close().unwrap();
    stop.store(true, Ordering::Relaxed);
    let written: Vec<String> = threads
        .into_iter()
        .flat_map(|thread| thread.join().unwrap())
        .collect();
    let again = Database::open(config(&db.dir, SCHEMA)).unwrap();
    assert!(!written.is_empty());
    for id in &written {
        assert!(again.get("birds", id).unwrap().is_some());
    }
    assert_eq!(
        again
            .query("SELECT count(*) FROM birds", ())
            .unwrap()
            .scalar(),
        Some(&Value::Integer(written.len() as i64))
    );
}

#[test]
fn the_log_is_moved_in_the_background() {
    let dir = tempfile::tempdir().unwrap();
    let schema = SCHEMA
        .replace(
            "max_queue_bytes = \"64 KiB\"",
            "max_queue_bytes = \"64 MiB\"",
        )
        .replace("max_queue_ops = 1000", "max_queue_ops = 100000");
    let db = Database::open(config(&dir, &schema).with_durability(Durability::Normal)).unwrap();
    let size = |name: &str| {
        std::fs::metadata(dir.path().join(name))
            .map(|file| file.len())
            .unwrap_or(0)
    };
    let before = size("notes.db");
    for _ in 0..200 {
        db.write_bulk(
            "birds",
            (0..20).map(|_| [("species", "Adelie".to_owned()), ("notes", "x".repeat(500))]),
        )
        .unwrap();
    }
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while size("notes.db") == before && std::time::Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(size("notes.db") > before);
    db.close().unwrap();
}

#[test]
fn a_file_held_by_another_process_is_busy() {
    let db = fixture();
    let raw = db.raw();
    raw.execute_batch("BEGIN IMMEDIATE").unwrap();
    let waited = std::time::Instant::now();
    let error = db
        .write(|tx| tx.insert("birds", [("species", "Adelie")]))
        .unwrap_err();
    assert_eq!((error.code(), error.retry()), ("busy", crate::Retry::Later));
    assert!(waited.elapsed() >= Duration::from_secs(4));
    assert_eq!(
        db.query("SELECT count(*) FROM birds", ()).unwrap().scalar(),
        Some(&Value::Integer(0)),
        "reading goes on"
    );
    raw.execute_batch("ROLLBACK").unwrap();
    db.write(|tx| tx.insert("birds", [("species", "Adelie")]))
        .unwrap();
}

#[test]
fn a_commit_that_reports_an_error_is_looked_up() {
    let db = fixture();
    db.storage().fail_next_commit();
    let id = db
        .write(|tx| tx.insert("birds", [("species", "Adelie")]))
        .unwrap()
        .to_string();
    assert!(
        db.get("birds", &id).unwrap().is_some(),
        "it took effect, and the app was told so"
    );
    assert_eq!(db.ops().len(), 1);

    let failed: Result<(), StorageError> = db.storage().write_tx(Origin::Local, |tx| {
        let mut write = LocalWrite::new(tx);
        write.apply(Change::new(
            1,
            DocumentId::new(id.as_str()).unwrap(),
            ChangeKind::Delete,
        ))?;
        write.finish()?;
        // As after some errors of the disk: SQLite has rolled back by itself.
        tx.conn().execute_batch("ROLLBACK")?;
        Ok(())
    });
    assert!(failed.is_err(), "it took no effect");
    assert_eq!(db.ops().len(), 1);
    assert!(db.get("birds", &id).unwrap().is_some());
    db.write(|tx| tx.update("birds", &id, [("mass", 1)]))
        .unwrap();
    assert_eq!(db.ops().len(), 2);
}

#[test]
fn a_guest_s_commit_is_looked_up_too() {
    let dir = tempfile::tempdir().unwrap();
    let db = Database::open(crate::Config {
        account: None,
        ..config(&dir, SCHEMA)
    })
    .unwrap();
    let mut id = String::new();
    let steps: [fn(&mut crate::Transaction<'_>, &str) -> crate::Result<()>; 4] = [
        |tx, id| tx.update("birds", id, [("mass", 1)]).map(drop),
        |tx, id| tx.increment("birds", id, "sightings", 1),
        |tx, id| tx.add_to_set("birds", id, "tags", ["a"]),
        |tx, id| tx.delete("birds", id).map(drop),
    ];
    db.storage().fail_next_commit();
    id += db
        .write(|tx| tx.insert("birds", [("species", "Adelie")]))
        .unwrap()
        .as_str();
    for step in steps {
        db.storage().fail_next_commit();
        db.write(|tx| step(tx, &id)).unwrap();
    }
    assert!(db.get("birds", &id).unwrap().is_none());
}

#[test]
fn a_full_disk_refuses_writes_and_changes_nothing() {
    let db = fixture();
    let id = db
        .write(|tx| tx.insert("birds", [("species", "Adelie")]))
        .unwrap()
        .to_string();
    let pages = |most: i64| {
        db.storage()
            .write_tx(Origin::Remote, |tx| {
                let set = tx
                    .conn()
                    .pragma_update_and_check(None, "max_page_count", most, |row| {
                        row.get::<_, i64>(0)
                    });
                set.map(drop).map_err(StorageError::from)
            })
            .unwrap();
    };
    pages(1);
    let error = loop {
        let ops = db.ops().len();
        if let Err(error) = db.write(|tx| {
            tx.insert(
                "birds",
                [("species", "Gentoo"), ("notes", &"x".repeat(900))],
            )
        }) {
            assert_eq!(db.ops().len(), ops);
            break error;
        }
    };
    assert_eq!(
        (error.code(), error.fault(), error.retry()),
        (
            "disk_full",
            crate::Fault::Environment,
            crate::Retry::AfterAction
        )
    );
    assert!(db.get("birds", &id).unwrap().is_some(), "reading goes on");
    assert_eq!(
        db.query("SELECT count(*) FROM birds", ()).unwrap().scalar(),
        Some(&Value::Integer(db.ops().len() as i64))
    );
    pages(1 << 30);
    db.write(|tx| {
        tx.insert(
            "birds",
            [("species", "Gentoo"), ("notes", &"x".repeat(900))],
        )
    })
    .unwrap();
}

#[test]
fn many_threads_write_at_once() {
    let db = fixture();
    let id = db
        .write(|tx| tx.insert("birds", [("species", "Adelie")]))
        .unwrap()
        .to_string();
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (db, id) = (db.db.clone(), id.clone());
            std::thread::spawn(move || {
                (0..25).for_each(|_| {
                    db.write(|tx| tx.increment("birds", &id, "sightings", 1))
                        .unwrap()
                })
            })
        })
        .collect();
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    assert_eq!(
        db.get("birds", &id).unwrap().unwrap().integer("sightings"),
        Some(100)
    );
    let raw = db.raw();
    let ids: Vec<Vec<u8>> = raw
        .prepare("SELECT op_id FROM _dl_outbox")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(ids.len(), 101);
    // Each names the one before it.
    let prevs: Vec<_> = db
        .ops()
        .iter()
        .skip(1)
        .map(|op| op.changes[0].prev.unwrap().0.to_vec())
        .collect();
    assert_eq!(prevs, ids[..100]);
}
