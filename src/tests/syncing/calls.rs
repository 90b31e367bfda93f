use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use super::{Backend, Line, PATIENCE, insert, wait_for};
use crate::provider::ProviderMode;
use crate::{Cause, State, SyncEvent};

const A_WHILE: Duration = Duration::from_millis(300);

/// How many requests come within a while.
fn requests(backend: &Backend) -> usize {
    let before = backend.world().requests;
    std::thread::sleep(A_WHILE);
    backend.world().requests - before
}

#[test]
fn one_sync_is_recorded_step_by_step_without_what_people_wrote() {
    let backend = Backend::new();
    let (db, sync) = backend.device();
    assert!(sync.sync_until(PATIENCE));
    assert!(sync.last_trace().is_empty());
    sync.trace_next();
    let id = db
        .write(|tx| tx.insert("birds", [("species", "canary")]))
        .unwrap();
    assert!(sync.sync_until(PATIENCE));
    // The round is told of before its last line is.
    wait_for(&sync, |_| !sync.last_trace().is_empty());
    let trace = sync.last_trace();
    let said = |word: &str| trace.iter().any(|line| line.contains(word));
    for step in [
        "event LocalWrite",
        "request Sync",
        "event answered Page",
        "applied 1 versions",
    ] {
        assert!(said(step), "{step}: {trace:#?}");
    }
    assert!(!said("canary") && !said(id.as_str()), "{trace:#?}");
    insert(&db);
    assert!(sync.sync_until(PATIENCE));
    assert_eq!(sync.last_trace(), trace, "one sync, no more");
}

/// What waits is sent at once; then nothing is until the app is in front again.
#[test]
fn in_the_background_there_is_one_sync_and_then_quiet() {
    let backend = Backend::new();
    let (db, sync) = backend.device_with(|config| {
        config.settings.pace = 60_000;
        config.settings.poll = 60_000;
    });
    wait_for(&sync, |s| s.state == State::Idle);
    insert(&db);
    wait_for(&sync, |s| s.cause == Cause::Pacing && s.pending == 1);
    let before = backend.world().requests;
    sync.background();
    wait_for(&sync, |s| s.state == State::Idle && s.pending == 0);
    assert_eq!(backend.world().requests - before, 1);
    db.close().unwrap();

    let (_db, sync) = backend.device_with(|config| config.settings.poll = 50);
    wait_for(&sync, |s| s.state == State::Idle);
    assert!(requests(&backend) > 1, "it polls");
    sync.background();
    // One may be under way.
    requests(&backend);
    assert_eq!(requests(&backend), 0);
    sync.foreground();
    assert!(requests(&backend) > 1, "it polls again");
}

#[test]
fn the_live_socket_is_closed_in_the_background() {
    let backend = Backend::new();
    backend.world().subscribes = true;
    let (_db, sync) = backend.device();
    wait_for(&sync, |s| s.live);
    let listener = backend.world().listener.clone().unwrap();
    sync.background();
    wait_for(&sync, |s| !s.live && s.state == State::Idle);
    wait_for(&sync, |_| listener.is_closed());
    sync.foreground();
    wait_for(&sync, |s| s.live);
}

#[test]
fn without_a_network_nothing_is_asked_and_another_one_is_tried_at_once() {
    let backend = Backend::new();
    let (db, sync) = backend.device();
    assert!(sync.sync_until(PATIENCE));
    sync.network_changed(false);
    wait_for(&sync, |s| s.cause == Cause::NoNetwork);
    insert(&db);
    assert_eq!(requests(&backend), 0);
    sync.network_changed(true);
    wait_for(&sync, |s| s.state == State::Idle && s.pending == 0);

    // A wait that belongs to the network before is forgotten, and so are its connections.
    backend.line(Line::Refuses(503, "busy", Some(600_000)));
    insert(&db);
    let status = wait_for(&sync, |s| s.cause == Cause::ServerBusy && s.pending == 1);
    assert!(status.retry_in_ms > Some(30_000), "{status:?}");
    backend.line(Line::Up);
    let told = backend.world().networks;
    sync.network_changed(true);
    wait_for(&sync, |s| s.state == State::Idle && s.pending == 0);
    assert_eq!(backend.world().networks, told + 1);
}

#[test]
fn behind_a_gateway_there_is_no_token_to_ask_for_or_to_blame() {
    let backend = Backend::new();
    let calls = Arc::new(AtomicUsize::new(0));
    let count = calls.clone();
    let (db, sync) = backend.device_asking(move || {
        count.fetch_add(1, Ordering::SeqCst);
        Ok("t.o.k".to_owned())
    });
    insert(&db);
    assert!(sync.sync_until(PATIENCE));
    assert_eq!(db.unsynced().unwrap(), 0);
    assert_eq!(backend.world().server.version(), 1);
    // The gateway does not know its user any more; then it does.
    backend.line(Line::Refuses(401, "unauthorized", None));
    insert(&db);
    let status = wait_for(&sync, |s| s.state == State::Blocked);
    assert_eq!(status.cause, Cause::Forbidden);
    backend.line(Line::Up);
    assert!(sync.sync_until(PATIENCE));
    assert_eq!(calls.load(Ordering::SeqCst), 0);
    assert!(backend.world().auths.iter().all(Option::is_none));
}

#[test]
fn a_token_that_no_header_can_hold_is_named_and_not_sent() {
    let mut backend = Backend::new();
    backend.mode = ProviderMode::Direct;
    let mended = Arc::new(AtomicBool::new(false));
    let is_mended = mended.clone();
    let (db, sync) = backend.device_asking(move || {
        Ok(match is_mended.load(Ordering::SeqCst) {
            true => "t.o.k".to_owned(),
            false => "secret\n".to_owned(),
        })
    });
    let events = sync.events();
    insert(&db);
    let status = wait_for(&sync, |s| s.state == State::Blocked);
    assert_eq!(status.cause, Cause::BadToken);
    sync.sync_now();
    let error = std::iter::from_fn(|| events.next_timeout(PATIENCE))
        .find_map(|event| match event {
            SyncEvent::Error { code, message } => Some((code, message)),
            _ => None,
        })
        .unwrap();
    assert_eq!(error.0, "bad_token");
    assert!(!error.1.contains("secret"), "{error:?}");
    assert_eq!(backend.world().requests, 0);
    mended.store(true, Ordering::SeqCst);
    sync.token_changed();
    assert!(sync.sync_until(PATIENCE));
    let sent = ("authorization".to_owned(), "Bearer t.o.k".to_owned());
    let auths = backend.world().auths.clone();
    assert!(!auths.is_empty() && auths.iter().all(|auth| auth.as_ref() == Some(&sent)));
}
