//! Backends behind a provider: whatever one does, no write is lost or doubled, and the status says
//! why nothing moves.

use std::sync::atomic::Ordering;
use std::time::Duration;

use driftline::provider::{ProviderError, ProviderMode};
use driftline::transport::LiveMessage;
use driftline::{Cause, Providers, State, Sync, SyncConfig, SyncEvent, Value};

use crate::network::wait_for;
use crate::support::device::WORKSPACE;
use crate::support::{Device, Mock, SCHEMA, Server, Turn};

fn registry(mock: &Mock) -> Providers {
    let providers = Providers::new();
    providers.register("mock", mock.clone()).unwrap();
    providers.activate("mock").unwrap();
    providers
}

fn config(server: &Server, providers: Providers) -> SyncConfig {
    let token = server.token("ada", WORKSPACE, "writer", "1h");
    let mut config = SyncConfig::with_providers(providers, move || Ok(token.clone()));
    config.deadline = Duration::from_millis(500);
    config
}

fn connect(device: &Device, server: &Server, mock: &Mock) -> Sync {
    device.db.connect(config(server, registry(mock))).unwrap()
}

/// Each turn meets a push of one increment. What it did not do is done by the retry.
#[test]
fn whatever_a_provider_does_a_push_counts_once() {
    let server = Server::start(SCHEMA);
    let (a, b) = (Device::new("a"), Device::new("b"));
    let mock = Mock::new(&server.url);
    connect(&a, &server, &mock);
    let id = a.note("counted");
    a.sync();
    let broken = |text: &str| Turn::Says(Ok(text.to_owned()));
    let refused = |status, code: &str| {
        Turn::Says(Err(ProviderError::Refused {
            status,
            code: code.to_owned(),
            retry_after_ms: Some(10),
            message: String::new(),
        }))
    };
    let turns = [
        Turn::Through,
        Turn::Twice,
        Turn::Again,
        Turn::Panics,
        Turn::PanicsLater,
        Turn::Hangs,
        Turn::Late(Duration::from_millis(50)),
        Turn::Late(Duration::from_secs(5)),
        Turn::ButSays(Err(ProviderError::Unreachable("lost".to_owned()))),
        Turn::Says(Err(ProviderError::NotAnAnswer("a portal".to_owned()))),
        Turn::Says(Err(ProviderError::NotOffered)),
        Turn::Says(Err(ProviderError::Failed("a bug".to_owned()))),
        refused(503, "busy"),
        refused(500, ""),
        refused(0, ""),
        broken(""),
        broken("{}"),
        broken("[1, 2"),
        broken(r#"{"cursor": {"version": 0, "hash": "0000000000000000"}, "server_time": 1}"#),
        broken(
            r#"{"cursor": {"version": 900, "hash": "00000000000000ff"}, "server_time": 1,
            "versions": [{"version": 900, "ids": ["0190b65c-4e00-7000-8000-000000000001"]}]}"#,
        ),
    ];
    for (n, turn) in turns.iter().enumerate() {
        a.db.write(|tx| tx.increment("notes", &id, "count", 1))
            .unwrap();
        mock.next(turn.clone());
        a.sync();
        assert_eq!(a.pending(), 0, "{turn:?}");
        let shown = a.one("SELECT count FROM notes");
        assert_eq!(shown, Some(Value::Integer(n as i64 + 1)), "{turn:?}");
    }
    b.connect(&server);
    b.sync();
    assert_eq!(b.content(), a.content());
}

/// Answers of other requests, in any order: each is refused or true, and none is taken for another.
#[test]
fn answers_out_of_order_change_nothing_that_is_not_so() {
    let server = Server::start(SCHEMA);
    let (a, b) = (Device::new("a"), Device::new("b"));
    let mock = Mock::new(&server.url);
    connect(&a, &server, &mock);
    b.connect(&server);
    let id = a.note("moved");
    a.sync();
    for round in 0..20 {
        b.sync();
        b.set(&id, "rank", round);
        b.sync();
        if round % 3 == 0 {
            a.note(&format!("note {round}"));
        }
        for _ in 0..round % 4 {
            mock.next(Turn::Again);
        }
        mock.next(Turn::Twice);
        a.sync();
    }
    b.sync();
    a.sync();
    assert_eq!(a.content(), b.content());
    assert_eq!(a.count("notes"), 8);
    assert_eq!(a.pending(), 0);
}

#[test]
fn a_provider_that_keeps_failing_is_named_and_local_work_goes_on() {
    let server = Server::start(SCHEMA);
    let a = Device::new("a");
    let mock = Mock::new(&server.url);
    let sync = connect(&a, &server, &mock);
    let events = sync.events();
    a.sync();
    for turn in [
        Turn::PanicsLater,
        Turn::Panics,
        Turn::Says(Err(ProviderError::Failed("a bug".to_owned()))),
    ] {
        (0..40).for_each(|_| mock.next(turn.clone()));
    }
    a.note("kept");
    sync.sync_now();
    let status = wait_for(&sync, |s| {
        s.cause == Cause::ProviderFailed && s.state == State::Waiting
    });
    assert_eq!(status.pending, 1);
    assert!(status.retry_in_ms.is_some(), "something is armed");
    let retries = std::iter::from_fn(|| events.next_timeout(Duration::from_millis(50)))
        .filter(|event| {
            matches!(
                event,
                SyncEvent::Retry {
                    cause: Cause::ProviderFailed,
                    ..
                }
            )
        })
        .count();
    assert!(retries > 0);
    assert_eq!(a.db.outbox().size().unwrap().quarantined, 0);
}

#[test]
fn a_gateway_needs_no_token_and_a_template_says_where_one_goes() {
    let server = Server::start(SCHEMA);
    let device = Device::new("a");
    let mut gateway = Mock::new(&server.url);
    gateway.mode = ProviderMode::Gateway;
    let calls = device.token_calls.clone();
    let asks = SyncConfig::with_providers(registry(&gateway), move || {
        calls.fetch_add(1, Ordering::SeqCst);
        Ok("t.o.k".to_owned())
    });
    let sync = device.db.connect(asks).unwrap();
    // The server behind it asks for one all the same: that is its gateway's to fix, and no token's fault.
    let status = wait_for(&sync, |s| s.state == State::Blocked);
    assert_eq!(status.cause, Cause::Forbidden);
    assert_eq!(device.token_calls.load(Ordering::SeqCst), 0);
    let auths = gateway.auths.lock().unwrap();
    assert!(auths.iter().all(Option::is_none), "{auths:?}");

    let template = Mock::new(&server.url).with_auth("X-Api-Key", "key {token};");
    let asks = SyncConfig::with_providers(registry(&template), || Ok("t.o.k".to_owned()));
    let sync = device.db.connect(asks).unwrap();
    wait_for(&sync, |s| s.cause == Cause::TokenNeeded);
    let sent = template.auths.lock().unwrap().first().cloned().flatten();
    let meant = ("x-api-key".to_owned(), "key t.o.k;".to_owned());
    assert_eq!(sent, Some(meant));
}

/// A subscription that can only say "something changed" makes a device pull, and takes no requests.
#[test]
fn a_subscription_that_only_listens_brings_changes_at_once() {
    let server = Server::start(SCHEMA);
    let (a, b) = (Device::new("a"), Device::new("b"));
    let mut mock = Mock::new(&server.url);
    mock.subscribes = true;
    let sync = connect(&a, &server, &mock);
    b.connect(&server);
    a.sync();
    b.sync();
    let status = wait_for(&sync, |s| s.live);
    assert!(!status.polling);
    let id = b.note("somebody else's");
    b.sync();
    mock.tell(LiveMessage::Text("\"behind\"".to_owned()));
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while a.title(&id).is_none() {
        assert!(std::time::Instant::now() < deadline, "{:?}", sync.status());
        std::thread::sleep(Duration::from_millis(10));
    }
    let pushes = mock.pushes.load(Ordering::SeqCst);
    a.note("mine");
    wait_for(&sync, |s| {
        s.pending == 0 && s.state == State::Idle && mock.pushes.load(Ordering::SeqCst) > pushes
    });
    // Nonsense is a reason to pull, no more.
    for odd in ["", "{", "[]", "\"behind"] {
        mock.tell(LiveMessage::Text(odd.to_owned()));
        mock.tell(LiveMessage::Binary(odd.as_bytes().to_vec()));
    }
    a.sync();
}

/// `mock` is in front of a server without a snapshot: the log is read from its beginning.
#[test]
fn a_backend_without_a_snapshot_is_read_from_the_beginning() {
    let server = Server::start(SCHEMA);
    let (a, b) = (Device::new("a"), Device::new("b"));
    a.connect(&server);
    (0..50).for_each(|n| drop(a.note(&format!("note {n}"))));
    a.sync();
    b.note("mine, before");
    let mock = Mock::new(&server.url);
    connect(&b, &server, &mock);
    b.sync();
    a.sync();
    assert_eq!(b.count("notes"), 51);
    assert_eq!(a.content(), b.content());
    assert_eq!(b.pending(), 0);
}

#[test]
fn who_uses_a_provider_when_and_until_when() {
    let server = Server::start(SCHEMA);
    let a = Device::new("a");
    let first = Mock::new(&server.url);
    let providers = registry(&first);
    let sync = a.db.connect(config(&server, providers.clone())).unwrap();
    a.sync();
    // Nothing active: the connection there is goes on.
    let none = config(&server, Providers::new());
    let error = a.db.connect(none).unwrap_err();
    assert_eq!(error.code(), "no_active_provider");
    a.note("still carried");
    a.sync();
    // Disposed of under a running connection.
    providers.dispose("mock").unwrap();
    assert_eq!(first.disposed.load(Ordering::SeqCst), 1);
    a.note("kept");
    sync.sync_now();
    let status = wait_for(&sync, |s| s.cause == Cause::ProviderFailed);
    assert_eq!(status.pending, 1);
    // Another takes over; it is disposed of when the connection and the registry are gone.
    let second = Mock::new(&server.url);
    providers.register("mock", second.clone()).unwrap();
    providers.activate("mock").unwrap();
    a.db.connect(config(&server, providers)).unwrap();
    a.sync();
    assert_eq!(a.pending(), 0);
    assert_eq!(second.disposed.load(Ordering::SeqCst), 0);
    a.db.close().unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while second.disposed.load(Ordering::SeqCst) == 0 {
        assert!(std::time::Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(10));
    }
    drop(a);
    assert_eq!(first.disposed.load(Ordering::SeqCst), 1);
    assert_eq!(second.disposed.load(Ordering::SeqCst), 1);
}
