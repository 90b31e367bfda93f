//! What the server refuses, and what the device does with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use driftline::{OpState, SyncEvent, Value};

use crate::support::{Device, SCHEMA, Server};

/// The server allows shorter titles than the app: a write that passes here and is refused there.
fn strict_server() -> Server {
    Server::start(&SCHEMA.replace("max_bytes = 2000", "max_bytes = 20"))
}

#[test]
pub fn a_refused_write_is_shown_with_its_reason_and_holds_up_nobody() {
    let server = strict_server();
    let (a, b) = (Device::new("a"), Device::new("b"));
    let long = "a title longer than twenty bytes";
    let before = a.note("fine");
    let refused = a.note(long);
    let after = a.note("fine too");
    let sync = a.connect(&server);
    let events = sync.events();
    a.sync();
    b.connect(&server);
    b.sync();
    assert!(b.title(&before).is_some() && b.title(&after).is_some());
    assert_eq!(b.title(&refused), None);
    assert_eq!(a.title(&refused), None, "folded no more");
    let quarantined = a.db.outbox().quarantined(None, 10).unwrap();
    assert_eq!(quarantined.len(), 1);
    assert_eq!(quarantined[0].state, OpState::Quarantined);
    let size = a.db.outbox().size().unwrap();
    assert_eq!((size.pending, size.oldest), (0, None));
    assert_eq!(
        (size.quarantined, size.quarantined_bytes),
        (1, quarantined[0].bytes as u64)
    );
    assert_eq!(
        quarantined[0].error_code.as_deref(),
        Some("value_too_large")
    );
    assert!(
        quarantined[0]
            .error_message
            .as_deref()
            .unwrap()
            .contains("notes.title")
    );
    let mut told = false;
    while let Some(event) = events.next_timeout(Duration::from_millis(1)) {
        told |= matches!(event, SyncEvent::Rejected { ref code, .. } if code == "value_too_large");
    }
    assert!(told);
    let losses =
        a.db.ledger()
            .query(&driftline::LossFilter::default(), 10)
            .unwrap();
    assert_eq!(losses.len(), 1, "what was typed can be found");
    assert_eq!(losses[0].value, Value::from(long));
}

#[test]
pub fn a_discarded_write_is_gone_and_the_queue_drains() {
    let server = strict_server();
    let a = Device::new("a");
    a.connect(&server);
    a.note("a title longer than twenty bytes");
    a.sync();
    let quarantined = a.db.outbox().quarantined(None, 10).unwrap();
    a.db.outbox().discard(&quarantined[0].id).unwrap();
    a.sync();
    assert!(a.db.outbox().list(None, 10).unwrap().is_empty());
    assert!(a.db.outbox().quarantined(None, 10).unwrap().is_empty());
}

#[test]
pub fn a_refused_transaction_is_refused_whole_and_no_reader_sees_half() {
    let server = strict_server();
    let (a, b) = (Device::new("a"), Device::new("b"));
    a.connect(&server);
    b.connect(&server);
    a.db.write(|tx| {
        tx.insert("tasks", [("title", "half of a pair")])?;
        tx.insert("notes", [("title", "the half that is too long for it")])
    })
    .unwrap();
    // Author and stranger read all the while: the author both or none, the stranger none.
    let settled = Arc::new(AtomicBool::new(false));
    let readers = [(a.db.clone(), 1), (b.db.clone(), 0)].map(|(reader, most)| {
        let settled = Arc::clone(&settled);
        std::thread::spawn(move || {
            let (sql, mut seen) = (
                "SELECT (SELECT count(*) FROM tasks), (SELECT count(*) FROM notes)",
                0,
            );
            while !settled.load(Ordering::Acquire) {
                let rows = reader.query(sql, ()).unwrap();
                let Some(row) = rows.iter().next() else {
                    panic!("a row of two counts");
                };
                let [Value::Integer(tasks), Value::Integer(notes)] = row.values() else {
                    panic!("two counts");
                };
                assert!(tasks == notes && *tasks <= most, "{tasks} and {notes}");
                seen += 1;
            }
            seen
        })
    });
    a.sync();
    b.sync();
    settled.store(true, Ordering::Release);
    for reader in readers {
        assert!(reader.join().unwrap() > 0);
    }
    assert_eq!((a.count("tasks"), a.count("notes")), (0, 0));
    assert_eq!((b.count("tasks"), b.count("notes")), (0, 0));
}

#[test]
pub fn what_builds_on_a_refused_insert_comes_along_and_a_retry_takes_it_back() {
    let mut server = strict_server();
    let a = Device::new("a");
    a.connect(&server);
    let id = a.note("a title longer than twenty bytes");
    a.set(&id, "rank", 4);
    a.sync();
    assert_eq!(
        a.db.outbox().quarantined(None, 10).unwrap().len(),
        2,
        "the update is blocked by the insert"
    );
    server.kill();
    server.replace_schema(SCHEMA);
    server.run();
    let first = a.db.outbox().quarantined(None, 10).unwrap()[0].id.clone();
    assert_eq!(a.db.outbox().retry(&first).unwrap().len(), 2);
    a.sync();
    let b = Device::new("b");
    b.connect(&server);
    b.sync();
    assert_eq!(b.one("SELECT rank FROM notes"), Some(Value::Integer(4)));
}

#[test]
pub fn a_reader_reads_and_its_writes_are_refused_on_the_socket_too() {
    let server = Server::start(SCHEMA);
    let (a, b) = (Device::new("a"), Device::new("reader"));
    a.connect(&server);
    a.note("public");
    a.sync();
    for live in [false, true] {
        let sync = b.connect_as(&server, "reader", live);
        b.sync();
        assert_eq!(b.count("notes"), 1);
        if live {
            let deadline = std::time::Instant::now() + Duration::from_secs(10);
            while !sync.status().live && std::time::Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(5));
            }
            assert!(sync.status().live);
        }
        b.note("not allowed");
        b.sync();
        let quarantined = b.db.outbox().quarantined(None, 10).unwrap();
        assert_eq!(
            quarantined.last().unwrap().error_code.as_deref(),
            Some("read_only")
        );
        b.db.outbox()
            .discard(&quarantined.last().unwrap().id)
            .unwrap();
    }
    a.sync();
    assert_eq!(a.count("notes"), 1);
}

#[test]
pub fn a_full_workspace_refuses_growth_and_says_so() {
    let schema = SCHEMA.replace("[collections.notes]", "[limits]\nmax_value = \"4 KiB\"\nmax_document = \"8 KiB\"\nmax_group = \"16 KiB\"\nquota = \"16 KiB\"\n[collections.notes]");
    let server = Server::start(&schema);
    let a = Device::new("a");
    let sync = a.connect(&server);
    let events = sync.events();
    for n in 0..20 {
        a.db.write(|tx| tx.insert("tasks", [("note", format!("{n}{}", "x".repeat(1500)))]))
            .unwrap();
        a.sync();
    }
    let quarantined = a.db.outbox().quarantined(None, 100).unwrap();
    assert!(
        !quarantined.is_empty() && quarantined.len() < 20,
        "{}",
        quarantined.len()
    );
    assert!(
        quarantined
            .iter()
            .all(|op| op.error_code.as_deref() == Some("quota"))
    );
    let mut warned = false;
    while let Some(event) = events.next_timeout(Duration::from_millis(1)) {
        warned |= matches!(event, SyncEvent::Quota { .. });
    }
    assert!(warned, "a warning comes before the end");
}

#[test]
pub fn a_full_queue_refuses_writes_with_one_error_and_drains() {
    let schema = SCHEMA.replace(
        "[collections.notes]",
        "[limits]\nmax_queue_ops = 10\n[collections.notes]",
    );
    let server = Server::start(&schema);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("device.db");
    let config = driftline::Config::new(
        &path,
        driftline::Schema::parse(&schema).unwrap(),
        crate::support::device::WORKSPACE,
    )
    .with_account("ada");
    let a = Device::with_database(driftline::Database::open(config).unwrap(), &path, folder);
    for n in 0..10 {
        a.note(&format!("note {n}"));
    }
    let error =
        a.db.write(|tx| tx.insert("notes", [("title", "one too many")]))
            .unwrap_err();
    assert_eq!(error.code(), "queue_full");
    assert_eq!(a.count("notes"), 10, "nothing of it was written");
    a.connect(&server);
    a.sync();
    a.note("room again");
    a.sync();
    assert_eq!(a.count("notes"), 11);
}
