//! Two devices that had not seen each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use driftline::Value;

use crate::support::{Device, SCHEMA, Server};

/// Two devices that have one note.
pub fn pair(server: &Server) -> (Device, Device, String) {
    let (a, b) = (Device::new("a"), Device::new("b"));
    a.connect(server);
    b.connect(server);
    let id = a.note("first");
    a.sync();
    b.sync();
    (a, b, id)
}

/// Both hear all of each other.
pub fn meet(a: &Device, b: &Device) {
    a.sync();
    b.sync();
    a.sync();
    assert_eq!(a.content(), b.content());
}

#[test]
pub fn the_later_write_stands_and_different_fields_both_do() {
    let server = Server::start(SCHEMA);
    let (a, b, id) = pair(&server);
    a.set(&id, "title", "by a");
    a.set(&id, "rank", 7);
    std::thread::sleep(std::time::Duration::from_millis(20));
    b.set(&id, "title", "by b");
    b.set(&id, "body", "text");
    meet(&a, &b);
    assert_eq!(a.title(&id), Some(Value::from("by b")));
    assert_eq!(a.one("SELECT rank FROM notes"), Some(Value::Integer(7)));
    assert_eq!(a.one("SELECT body FROM notes"), Some(Value::from("text")));
}

#[test]
pub fn counters_add_up_and_an_add_stands_against_a_remove() {
    let server = Server::start(SCHEMA);
    let (a, b, id) = pair(&server);
    a.db.write(|tx| tx.add_to_set("notes", &id, "tags", ["red", "blue"]))
        .unwrap();
    meet(&a, &b);
    a.db.write(|tx| tx.remove_from_set("notes", &id, "tags", ["red"]))
        .unwrap();
    b.db.write(|tx| tx.add_to_set("notes", &id, "tags", ["red"]))
        .unwrap();
    a.db.write(|tx| tx.increment("notes", &id, "count", 3))
        .unwrap();
    b.db.write(|tx| tx.increment("notes", &id, "count", 4))
        .unwrap();
    meet(&a, &b);
    assert_eq!(a.one("SELECT count FROM notes"), Some(Value::Integer(7)));
    assert_eq!(
        a.one("SELECT tags FROM notes"),
        Some(Value::from(r#"["blue","red"]"#))
    );
}

#[test]
pub fn an_edit_brings_a_deleted_note_back_where_updates_win() {
    let server = Server::start(SCHEMA);
    let (a, b, id) = pair(&server);
    a.db.write(|tx| tx.delete("notes", &id)).unwrap();
    b.set(&id, "body", "still needed");
    meet(&a, &b);
    assert_eq!(
        a.one("SELECT body FROM notes"),
        Some(Value::from("still needed"))
    );
    assert_eq!(
        a.title(&id),
        Some(Value::from("first")),
        "with the content it had"
    );
}

#[test]
pub fn a_clock_years_ahead_wins_nothing_it_had_not_earned() {
    let server = Server::start(SCHEMA);
    let (a, b, id) = pair(&server);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.db");
    let mut config = driftline::Config::new(
        &path,
        driftline::Schema::parse(SCHEMA).unwrap(),
        crate::support::device::WORKSPACE,
    );
    config.account = Some("ada".to_owned());
    config.environment.clock = std::sync::Arc::new(crate::support::clock::Ahead::by_years(40));
    let db = driftline::Database::open(config).unwrap();
    let c = Device::with_database(db, &path, folder);
    c.connect(&server);
    c.sync();
    c.set(&id, "title", "from 2066");
    std::thread::sleep(std::time::Duration::from_millis(20));
    b.set(&id, "title", "later, and now");
    c.sync();
    meet(&a, &b);
    c.sync();
    assert_eq!(a.title(&id), Some(Value::from("later, and now")));
    assert_eq!(c.title(&id), a.title(&id));
    let offset = c.db.sync().unwrap().status().clock_offset_ms.unwrap();
    assert!(
        offset > 39 * 365 * 86_400_000,
        "the status says how wrong the clock is: {offset}"
    );
}

#[test]
pub fn a_transaction_over_two_collections_is_seen_whole_or_not_at_all() {
    let server = Server::start(SCHEMA);
    let (a, b, _) = pair(&server);
    for n in 0..20 {
        a.db.write(|tx| {
            tx.insert("notes", [("title", format!("pair {n}"))])?;
            tx.insert("tasks", [("title", format!("pair {n}"))])
        })
        .unwrap();
    }
    let reader = b.db.clone();
    let arrived = Arc::new(AtomicBool::new(false));
    let (begun, is_reading) = std::sync::mpsc::channel();
    let watching = std::thread::spawn({
        let arrived = Arc::clone(&arrived);
        move || {
            // Once more behind the last of it.
            loop {
                let last = arrived.load(Ordering::Acquire);
                let rows = reader
                    .query(
                        "SELECT (SELECT count(*) FROM notes) - (SELECT count(*) FROM tasks)",
                        (),
                    )
                    .unwrap();
                assert_eq!(
                    rows.scalar(),
                    Some(&Value::Integer(1)),
                    "a reader saw half of a transaction"
                );
                let _ = begun.send(());
                if last {
                    break;
                }
            }
        }
    });
    is_reading.recv().unwrap();
    a.sync();
    b.sync();
    arrived.store(true, Ordering::Release);
    watching.join().unwrap();
    assert_eq!(b.count("tasks"), 20);
}
