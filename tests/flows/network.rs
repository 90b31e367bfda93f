//! A network that loses, repeats, cuts and lies.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use driftline::{Cause, State, Sync, Value};

use crate::support::{Device, Fault, Line, Proxy, SCHEMA, Server};

pub fn wait_for(sync: &Sync, what: impl Fn(&driftline::Status) -> bool) -> driftline::Status {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let status = sync.status();
        if what(&status) {
            return status;
        }
        assert!(Instant::now() < deadline, "never came: {status:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Every fault meets a push; nothing is lost or doubled, and the device recovers by itself.
#[test]
pub fn whatever_happens_to_a_push_it_counts_once() {
    let server = Server::start(SCHEMA);
    let (a, b) = (Device::new("a"), Device::new("b"));
    a.connect(&server);
    let id = a.note("counted");
    a.sync();
    let faults = [
        Fault::LoseRequest,
        Fault::LoseAnswer,
        Fault::Duplicate,
        Fault::Cut(0),
        Fault::Cut(20),
        Fault::Answer(200, "text/html", "<html>log in to the airport</html>"),
        Fault::Answer(200, "application/cbor", "not cbor at all"),
        Fault::Answer(302, "text/html", ""),
        Fault::Answer(503, "text/plain", "down for maintenance"),
        Fault::Answer(500, "text/plain", ""),
        Fault::Answer(429, "text/plain", ""),
    ];
    for (n, fault) in faults.iter().enumerate() {
        a.db.write(|tx| tx.increment("notes", &id, "count", 1))
            .unwrap();
        a.network.next(fault.clone());
        a.sync();
        assert_eq!(
            a.one("SELECT count FROM notes"),
            Some(Value::Integer(n as i64 + 1)),
            "{fault:?}"
        );
    }
    b.connect(&server);
    b.sync();
    assert_eq!(
        b.one("SELECT count FROM notes"),
        Some(Value::Integer(faults.len() as i64))
    );
}

#[test]
pub fn a_captive_portal_is_named_and_never_taken_for_an_answer() {
    let server = Server::start(SCHEMA);
    let a = Device::new("a");
    let sync = a.connect(&server);
    a.sync();
    a.network
        .always(Some(Fault::Answer(200, "text/html", "<html>")));
    a.note("held");
    sync.sync_now();
    let status = wait_for(&sync, |s| {
        s.cause == Cause::NotDriftline && s.state == State::Waiting
    });
    assert!(status.retry_in_ms.is_some(), "something is armed");
    assert_eq!(status.pending, 1);
    a.network.always(None);
    a.sync();
    assert_eq!(a.pending(), 0);
}

#[test]
pub fn a_refused_token_is_asked_for_once_more_and_then_the_state_says_so() {
    let server = Server::start(SCHEMA);
    let a = Device::new("a");
    let sync = a.connect_with(&server.url, "not.a.token".to_owned(), false);
    let status = wait_for(&sync, |s| s.cause == Cause::TokenNeeded);
    assert_eq!(status.state, State::Blocked);
    a.note("works meanwhile");
    assert_eq!(
        a.token_calls.load(Ordering::SeqCst),
        2,
        "the first call, and one after the 401"
    );
}

#[test]
pub fn a_workspace_the_token_does_not_name_is_no_workspace() {
    let server = Server::start(SCHEMA);
    let a = Device::new("a");
    let token = server.token("ada", "elsewhere", "writer", "1h");
    let sync = a.connect_with(&server.url, token, false);
    wait_for(&sync, |s| {
        s.cause == Cause::NoWorkspace && s.state == State::Blocked
    });
}

#[test]
pub fn another_accounts_token_applies_nothing() {
    let server = Server::start(SCHEMA);
    let a = Device::new("a");
    a.note("ada's");
    let token = server.token("grace", crate::support::device::WORKSPACE, "writer", "1h");
    let sync = a.connect_with(&server.url, token, false);
    wait_for(&sync, |s| s.cause == Cause::WrongAccount);
    let b = Device::new("b");
    b.connect(&server);
    b.sync();
    assert_eq!(
        b.count("notes"),
        0,
        "ada's queue was not pushed under grace's token"
    );
    a.connect(&server);
    a.sync();
    b.sync();
    assert_eq!(b.count("notes"), 1);
}

#[test]
pub fn a_live_change_arrives_by_itself() {
    let server = Server::start(SCHEMA);
    let (a, b) = (Device::new("a"), Device::new("b"));
    let (live_a, live_b) = (a.connect_live(&server), b.connect_live(&server));
    a.sync();
    b.sync();
    wait_for(&live_a, |s| s.live);
    wait_for(&live_b, |s| s.live);
    let mut watch = b.db.watch("SELECT id, title FROM notes", ()).unwrap();
    watch.next_timeout(Duration::from_secs(5)).unwrap().unwrap();
    let told = live_b.events();
    let id = a.note("at once");
    let update = watch.next_timeout(Duration::from_secs(5)).unwrap();
    assert_eq!(update.unwrap().added.len(), 1);
    assert_eq!(b.title(&id), Some(Value::from("at once")));
    let pulled = std::iter::from_fn(|| told.next_timeout(Duration::from_secs(5)))
        .find(|event| matches!(event, driftline::SyncEvent::Pulled { .. }));
    let frame = driftline::SyncEvent::Pulled {
        versions: 1,
        documents: 1,
        live: true,
    };
    assert_eq!(pulled, Some(frame));
}

#[test]
pub fn remote_changes_queue_nothing() {
    let server = Server::start(SCHEMA);
    let (a, b) = (Device::new("a"), Device::new("b"));
    a.connect(&server);
    (0..20).for_each(|n| drop(a.note(&format!("note {n}"))));
    a.sync();
    b.connect(&server);
    b.sync();
    (0..5).for_each(|n| drop(a.note(&format!("later {n}"))));
    a.sync();
    b.sync();
    assert_eq!(b.count("notes"), 25);
    assert_eq!(b.pending(), 0);
    // An entry of theirs in its outbox would have been sent, and be gone by now.
    let runs = b.db.sync_runs(100).unwrap();
    assert!(!runs.is_empty());
    assert_eq!(runs.iter().map(|run| run.sent).sum::<u64>(), 0);
    assert_eq!(b.db.diagnostics().unwrap().version, 25);
}

#[test]
pub fn pausing_and_resuming_keeps_the_queue() {
    let server = Server::start(SCHEMA);
    let a = Device::new("a");
    let sync = a.connect(&server);
    a.sync();
    sync.pause();
    wait_for(&sync, |s| s.cause == Cause::Paused);
    a.note("later");
    let before = a.network.count();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(a.network.count(), before);
    sync.resume();
    assert!(sync.sync_until(Duration::from_secs(20)));
}

#[test]
pub fn a_suspended_database_holds_no_lock_and_goes_on_after() {
    let server = Server::start(SCHEMA);
    let a = Device::new("a");
    a.connect(&server);
    a.note("before");
    a.sync();
    a.db.suspend().unwrap();
    assert_eq!(
        a.db.query("SELECT 1 FROM notes", ()).unwrap_err().code(),
        "suspended"
    );
    // Another connection may take the file exclusively: nobody holds a lock.
    let other = rusqlite::Connection::open(&a.path).unwrap();
    other
        .pragma_update(None, "locking_mode", "EXCLUSIVE")
        .unwrap();
    other.execute_batch("BEGIN EXCLUSIVE; COMMIT").unwrap();
    drop(other);
    a.db.resume().unwrap();
    a.note("after");
    a.sync();
    assert_eq!(a.count("notes"), 2);
}

/// A line that is slow, far away and breaks at seeded moments, in both directions, with live sockets
/// over it.
#[test]
fn a_slow_line_that_breaks_ends_the_same() {
    let server = Server::start(SCHEMA);
    let line = |seed| Line {
        bytes_per_second: 64 << 10,
        delay: Duration::from_millis(20),
        break_one_in: 12,
        seed,
        ..Line::default()
    };
    let (near, far) = (
        Proxy::start(&server, line(1)),
        Proxy::start(&server, line(2)),
    );
    let (a, b) = (Device::new("a"), Device::new("b"));
    let token = server.token("ada", crate::support::device::WORKSPACE, "writer", "1h");
    let syncs = [
        a.connect_with(&near.url, token.clone(), true),
        b.connect_with(&far.url, token, true),
    ];
    let id = a.note("counted");
    a.sync();
    b.sync();
    for n in 0..40 {
        let device = if n % 2 == 0 { &a } else { &b };
        device
            .db
            .write(|tx| tx.increment("notes", &id, "count", 1))
            .unwrap();
        device.note(&format!("note {n} {}", "x".repeat(400)));
        std::thread::sleep(Duration::from_millis(20));
    }
    for (device, sync) in [&a, &b, &a, &b].into_iter().zip(syncs.iter().cycle()) {
        device.sync();
        assert_eq!(sync.status().quarantined, 0);
    }
    assert_eq!(
        a.one(&format!("SELECT count FROM notes WHERE id = '{id}'")),
        Some(Value::Integer(40))
    );
    assert_eq!(a.content(), b.content());
    assert_eq!(a.count("notes"), 41);
    assert!(near.broken() + far.broken() > 0, "no line ever broke");
}

/// Fifty writes through a network that fails two requests of three.
#[test]
pub fn a_lossy_network_only_takes_longer() {
    let server = Server::start(SCHEMA);
    let (a, b) = (Device::new("a"), Device::new("b"));
    let sync = a.connect(&server);
    a.network
        .cycle(&[Some(Fault::LoseAnswer), Some(Fault::LoseRequest), None]);
    for n in 0..50 {
        a.note(&format!("note {n}"));
        if n % 5 == 0 {
            sync.sync_now();
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    a.sync();
    b.connect(&server);
    b.sync();
    assert_eq!(b.count("notes"), 50);
    assert_eq!(a.content(), b.content());
}
