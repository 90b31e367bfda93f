//! The same flows over an HTTP stack of the app's own, and in the JSON form; and what only such a
//! stack can do wrong.

use std::io::Read;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use driftline::environment::BoxFuture;
use driftline::transport::{
    BorrowingFuture, BuiltinTransport, HttpRequest, HttpResponse, LiveMessage, LiveSender,
    LiveSocket, TlsRoots, Transport, TransportError,
};
use driftline::{Cause, Form, State, SyncConfig, Value};

use crate::network::wait_for;
use crate::support::device::WORKSPACE;
use crate::support::{Carrier, Device, PlainHttp, SCHEMA, Server, over};

const OWN_STACK: Carrier = Carrier {
    own_stack: true,
    form: Form::Cbor,
};
const JSON: Carrier = Carrier {
    own_stack: false,
    form: Form::Json,
};
const OWN_STACK_IN_JSON: Carrier = Carrier {
    own_stack: true,
    form: Form::Json,
};

macro_rules! flows {
    ($name:ident, $carrier:expr, $($file:ident::$flow:ident),+ $(,)?) => {
        mod $name {
            $(#[test]
            fn $flow() {
                super::over($carrier, crate::$file::$flow);
            })+
        }
    };
}

flows!(
    own_stack,
    super::OWN_STACK,
    basics::offline_writes_reach_the_other_device,
    basics::an_answer_lost_after_the_commit_doubles_nothing,
    network::whatever_happens_to_a_push_it_counts_once,
    network::a_refused_token_is_asked_for_once_more_and_then_the_state_says_so,
    network::another_accounts_token_applies_nothing,
    network::a_lossy_network_only_takes_longer,
    bootstrap::an_interrupted_bootstrap_goes_on_where_it_was,
    verdicts::a_refused_write_is_shown_with_its_reason_and_holds_up_nobody,
    histories::a_server_restored_from_a_backup_is_noticed,
);

flows!(
    json,
    super::JSON,
    basics::offline_writes_reach_the_other_device,
    network::whatever_happens_to_a_push_it_counts_once,
    network::a_live_change_arrives_by_itself,
    network::another_accounts_token_applies_nothing,
    bootstrap::an_interrupted_bootstrap_goes_on_where_it_was,
    conflicts::the_later_write_stands_and_different_fields_both_do,
    conflicts::counters_add_up_and_an_add_stands_against_a_remove,
    conflicts::an_edit_brings_a_deleted_note_back_where_updates_win,
    verdicts::a_reader_reads_and_its_writes_are_refused_on_the_socket_too,
    verdicts::what_builds_on_a_refused_insert_comes_along_and_a_retry_takes_it_back,
    histories::a_server_restored_from_a_backup_is_noticed,
);

flows!(
    own_stack_in_json,
    super::OWN_STACK_IN_JSON,
    basics::offline_writes_reach_the_other_device,
    bootstrap::a_bootstrap_keeps_what_was_written_before_it,
    verdicts::a_full_workspace_refuses_growth_and_says_so,
);

/// Every kind of value goes through the JSON form and comes out as it was.
#[test]
fn no_value_changes_on_its_way_through_json() {
    const KINDS: &str = r#"
        [schema]
        name = "kinds"
        version = 1
        [collections.notes]
        id = 1
        [collections.notes.fields]
        title = { id = 1, kind = "text" }
        whole = { id = 2, kind = "integer" }
        part = { id = 3, kind = "real" }
        done = { id = 4, kind = "boolean" }
        at = { id = 5, kind = "timestamp" }
        key = { id = 6, kind = "uuid" }
        extra = { id = 7, kind = "json" }
        raw = { id = 8, kind = "bytes" }
        seen = { id = 9, kind = "counter" }
        tags = { id = 10, kind = "set" }
    "#;
    let server = Server::start(KINDS);
    let open = |label: &str| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("device.db");
        let schema = driftline::Schema::parse(KINDS).unwrap();
        let config = driftline::Config::new(&path, schema, WORKSPACE)
            .with_account("ada")
            .with_device_label(label);
        let device =
            Device::with_database(driftline::Database::open(config).unwrap(), &path, folder);
        device.connect(&server);
        device
    };
    over(JSON, || {
        let (a, b) = (open("a"), open("b"));
        a.db.write(|tx| {
            let id = tx.insert(
                "notes",
                [
                    ("title", Value::from("AP8Q \u{1F427} \"")),
                    ("whole", Value::from(i64::MIN)),
                    ("part", Value::from(0.1 + 0.2)),
                    ("done", Value::from(false)),
                    ("at", Value::from(1_700_000_000_000_i64)),
                    ("key", Value::from("0190b65c-4e00-7000-8000-000000000001")),
                    ("extra", Value::from("{\"a\": [1, null]}")),
                    ("raw", Value::from(vec![0_u8, 255, 16])),
                ],
            )?;
            tx.increment("notes", id.as_str(), "seen", (1 << 60) + 1)?;
            tx.add_to_set("notes", id.as_str(), "tags", ["1", "ü"])
        })
        .unwrap();
        a.sync();
        b.sync();
        let all = "SELECT title, whole, part, done, at, key, extra, raw, seen, tags FROM notes";
        let rows = |device: &Device| format!("{:?}", device.db.query(all, ()).unwrap());
        assert_eq!(rows(&a), rows(&b));
        // A part of a document takes the other way: a page instead of the snapshot.
        let id = a.one("SELECT id FROM notes").unwrap();
        let Value::Text(id) = id else {
            panic!("{id:?}")
        };
        a.set(&id, "raw", vec![1_u8, 2, 3, 4]);
        a.set(&id, "whole", i64::MAX);
        a.sync();
        b.sync();
        assert_eq!(
            b.one("SELECT raw FROM notes"),
            Some(Value::from(vec![1_u8, 2, 3, 4]))
        );
        assert_eq!(
            b.one("SELECT whole FROM notes"),
            Some(Value::from(i64::MAX))
        );
    });
}

#[test]
fn without_sockets_changes_are_asked_for_and_the_status_says_so() {
    over(OWN_STACK, || {
        let server = Server::start(SCHEMA);
        let (a, b) = (Device::new("a"), Device::new("b"));
        let token = server.token("ada", WORKSPACE, "writer", "1h");
        let connect = |device: &Device, poll| {
            let token = token.clone();
            let mut config = SyncConfig::new(&server.url, move || Ok(token.clone()));
            config.transport = Some(device.network.clone());
            config.settings.poll = poll;
            device.db.connect(config).unwrap()
        };
        let quick = connect(&b, 200);
        connect(&a, 30_000);
        let status = wait_for(&quick, |s| s.polling && s.state == State::Idle);
        assert!(!status.live);
        let id = a.note("found by asking");
        a.sync();
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while b.title(&id).is_none() {
            assert!(std::time::Instant::now() < deadline, "{:?}", quick.status());
            std::thread::sleep(Duration::from_millis(20));
        }
    });
}

/// A server that takes a request and says nothing: the request ends, is named, and the next works.
#[test]
fn a_request_nobody_answers_ends_and_is_cancelled_with_the_connection() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", silent.local_addr().unwrap());
    let (heard, hears) = std::sync::mpsc::channel();
    let listening = std::thread::spawn(move || {
        let (mut held, _) = silent.accept().unwrap();
        heard.send(()).unwrap();
        // Until the device gives up.
        let _ = held.read_to_end(&mut Vec::new());
        let (mut again, _) = silent.accept().unwrap();
        heard.send(()).unwrap();
        let _ = again.read_to_end(&mut Vec::new());
    });
    let device = Device::new("a");
    device.note("kept");
    let stack = PlainHttp::default();
    let mut config = SyncConfig::new(&address, || Ok("t.o.k".to_owned()));
    config.transport = Some(Arc::new(stack.clone()));
    config.idle_timeout = Duration::from_millis(300);
    let sync = device.db.connect(config).unwrap();
    hears.recv_timeout(Duration::from_secs(10)).unwrap();
    let status = wait_for(&sync, |s| s.cause == Cause::Unreachable);
    assert_eq!(status.pending, 1);
    assert_eq!(stack.cancelled.load(Ordering::SeqCst), 0, "it timed out");
    // The next one is under way when the app pauses.
    hears.recv_timeout(Duration::from_secs(10)).unwrap();
    sync.pause();
    listening.join().unwrap();
    assert_eq!(stack.cancelled.load(Ordering::SeqCst), 1);
    assert_eq!(device.count("notes"), 1);
}

/// A stack that never calls back, and one that panics.
struct Broken {
    panics: bool,
}

impl Transport for Broken {
    fn request(&self, _: HttpRequest) -> BoxFuture<Result<HttpResponse, TransportError>> {
        assert!(!self.panics, "by the test");
        Box::pin(std::future::pending())
    }
}

#[test]
fn a_stack_that_never_answers_or_panics_is_named_and_the_next_one_works() {
    let server = Server::start(SCHEMA);
    let device = Device::new("a");
    device.note("kept");
    for (panics, cause) in [(false, Cause::Unreachable), (true, Cause::ProviderFailed)] {
        let mut config = SyncConfig::new(&server.url, || Ok("t.o.k".to_owned()));
        config.transport = Some(Arc::new(Broken { panics }));
        config.deadline = Duration::from_millis(200);
        let sync = device.db.connect(config).unwrap();
        let status = wait_for(&sync, |s| s.cause == cause && s.state == State::Waiting);
        assert_eq!(status.pending, 1);
        assert!(status.retry_in_ms.is_some(), "something is armed");
    }
    device.connect(&server);
    device.sync();
    assert_eq!(device.pending(), 0);
}

/// The built-in stack, its sockets' last words counted.
struct Counted {
    inner: Arc<BuiltinTransport>,
    closed: Arc<AtomicUsize>,
}

struct CountedSender(Box<dyn LiveSender>, Arc<AtomicUsize>);

impl Transport for Counted {
    fn request(&self, request: HttpRequest) -> BoxFuture<Result<HttpResponse, TransportError>> {
        self.inner.request(request)
    }

    fn connect(&self, request: HttpRequest) -> BoxFuture<Result<LiveSocket, TransportError>> {
        let (socket, closed) = (self.inner.connect(request), self.closed.clone());
        Box::pin(async move {
            let (sender, receiver) = socket.await?;
            let sender: Box<dyn LiveSender> = Box::new(CountedSender(sender, closed));
            Ok((sender, receiver))
        })
    }
}

impl LiveSender for CountedSender {
    fn send(&mut self, message: LiveMessage) -> BorrowingFuture<'_, Result<(), TransportError>> {
        self.0.send(message)
    }

    fn close(&mut self) -> BorrowingFuture<'_, Result<(), TransportError>> {
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0.close()
    }
}

/// Else the server would hold them, and count them, until it hears nothing for long enough.
#[test]
fn a_live_socket_is_closed_with_a_word_on_pause_suspend_and_close() {
    let server = Server::start(SCHEMA);
    let device = Device::new("a");
    let closed = Arc::new(AtomicUsize::new(0));
    let token = server.token("ada", WORKSPACE, "writer", "1h");
    let mut config = SyncConfig::new(&server.url, move || Ok(token.clone()));
    config.transport = Some(Arc::new(Counted {
        inner: Arc::new(BuiltinTransport::new(&TlsRoots::default()).unwrap()),
        closed: closed.clone(),
    }));
    let sync = device.db.connect(config).unwrap();
    wait_for(&sync, |s| s.live);
    sync.pause();
    wait_for(&sync, |s| s.cause == Cause::Paused);
    let deadline = std::time::Instant::now() + Duration::from_secs(5);
    while closed.load(Ordering::SeqCst) == 0 {
        assert!(std::time::Instant::now() < deadline, "never told");
        std::thread::sleep(Duration::from_millis(5));
    }
    sync.resume();
    wait_for(&sync, |s| s.live);
    device.db.suspend().unwrap();
    assert_eq!(closed.load(Ordering::SeqCst), 2, "told before it returned");
    device.db.resume().unwrap();
    let sync = device.db.sync().unwrap();
    wait_for(&sync, |s| s.live);
    device.db.close().unwrap();
    assert_eq!(closed.load(Ordering::SeqCst), 3);
}
