//! Tokens that end, are refused for long, and are renewed.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use driftline::environment::Clock;
use driftline::{Cause, Config, Database, Schema, State, Sync, SyncConfig};

use crate::network::wait_for;
use crate::support::clock::Hurried;
use crate::support::device::WORKSPACE;
use crate::support::{Device, SCHEMA, Server};

const TEN_MINUTES: i64 = 600_000;

/// A device on a machine whose minute takes half a second. Its app hands out the token that it has,
/// whenever it is asked, and notes when that was.
struct App {
    device: Device,
    machine: Hurried,
    sync: Sync,
    token: Arc<Mutex<String>>,
    asked: Arc<Mutex<Vec<i64>>>,
}

impl App {
    fn start(server: &Server, token: String, live: bool) -> App {
        let machine = Hurried::by(120);
        let device = device_on(&machine);
        let token = Arc::new(Mutex::new(token));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (held, calls, clock) = (token.clone(), asked.clone(), machine.clone());
        let mut config = SyncConfig::new(&server.url, move || {
            calls.lock().unwrap().push(clock.monotonic());
            Ok(held.lock().unwrap().clone())
        });
        config.transport = Some(device.network.clone());
        config.settings.live = live;
        config.idle_timeout = Duration::from_secs(3_600);
        config.deadline = Duration::from_secs(7_200);
        let sync = device.db.connect(config).unwrap();
        let app = App {
            device,
            machine,
            sync,
            token,
            asked,
        };
        app.device.note("before");
        app.device.sync();
        if live {
            wait_for(&app.sync, |s| s.live);
        }
        assert_eq!(app.calls_between(0, i64::MAX), 1);
        app
    }

    fn calls_between(&self, from: i64, to: i64) -> usize {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|at| (from..=to).contains(at)).count()
    }

    /// The server answers with 401, from some time after `since` on, and people write on for ten minutes
    /// after the device has said so. The app is asked for a token once more and then left alone, and so is the server;
    /// with a token that holds all that was written arrives.
    fn sits_through_401(&self, server: &Server, since: i64) {
        let mut written = 1;
        let mut write_on = || {
            self.device.note("meanwhile");
            written += 1;
            std::thread::sleep(Duration::from_millis(40));
        };
        let began = Instant::now();
        let refused = |status: &driftline::Status| {
            status.state == State::Blocked && status.cause == Cause::TokenNeeded && !status.live
        };
        while !refused(&self.sync.status()) {
            assert!(began.elapsed() < Duration::from_secs(30), "never refused");
            write_on();
        }
        let quiet = self.sent();
        let until = self.machine.monotonic() + TEN_MINUTES;
        while self.machine.monotonic() < until {
            write_on();
            let status = self.sync.status();
            assert!(refused(&status), "{status:?}");
        }
        assert_eq!(self.calls_between(since, until), 1);
        assert_eq!(self.sent(), quiet, "with a token known to be refused");

        let token = server.token("ada", WORKSPACE, "writer", "1h");
        *self.token.lock().unwrap() = token;
        self.sync.token_changed();
        self.device.sync();
        assert_eq!(self.device.pending(), 0);
        let other = Device::new("other");
        other.connect(server);
        other.sync();
        assert_eq!(other.count("notes"), written);
    }

    /// Requests made and sockets asked for.
    fn sent(&self) -> (usize, usize) {
        let network = &self.device.network;
        (network.count(), network.sockets.load(Ordering::SeqCst))
    }
}

fn device_on(machine: &Hurried) -> Device {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("device.db");
    let schema = Schema::parse(SCHEMA).unwrap();
    let mut config = Config::new(&path, schema, WORKSPACE).with_account("ada");
    config.environment.clock = Arc::new(machine.clone());
    config.environment.executor = Arc::new(machine.clone());
    Device::with_database(Database::open(config).unwrap(), &path, folder)
}

/// The server is started again with another secret, and no token that the app has holds any more.
fn every_token_is_refused(live: bool) {
    let mut server = Server::start(SCHEMA);
    let token = server.token("ada", WORKSPACE, "writer", "1h");
    let app = App::start(&server, token, live);
    let since = app.machine.monotonic();
    server.kill();
    server.replace_secret();
    server.run();
    app.sits_through_401(&server, since);
}

#[test]
fn ten_minutes_of_401_are_one_more_token_call() {
    every_token_is_refused(false);
}

#[test]
fn ten_minutes_of_401_are_one_more_token_call_with_a_live_socket() {
    every_token_is_refused(true);
}

/// The token ends while it is used, and the app has no other.
fn the_token_ends(live: bool) {
    let server = Server::start(SCHEMA);
    let token = server.token_ending_in("ada", WORKSPACE, 4);
    let app = App::start(&server, token, live);
    app.sits_through_401(&server, app.machine.monotonic());
}

#[test]
fn a_token_that_ended_is_ten_minutes_of_one_more_token_call() {
    the_token_ends(false);
}

/// The server closes the socket when the token ends.
#[test]
fn a_token_that_ended_is_ten_minutes_of_one_more_token_call_with_a_live_socket() {
    the_token_ends(true);
}

/// Tokens of three minutes on a machine on which a minute takes a second: each is renewed a minute
/// before it ends, once, and no request goes with one that is over.
#[test]
fn tokens_that_end_soon_are_renewed_before_they_do() {
    let server = Arc::new(Server::start(SCHEMA));
    let a = device_on(&Hurried::by(60));
    let (calls, issuer) = (a.token_calls.clone(), server.clone());
    let mut config = SyncConfig::new(&server.url, move || {
        calls.fetch_add(1, Ordering::SeqCst);
        Ok(issuer.token("ada", WORKSPACE, "writer", "3m"))
    });
    config.transport = Some(a.network.clone());
    config.settings.live = false;
    config.idle_timeout = Duration::from_secs(600);
    let began = Instant::now();
    let sync = a.db.connect(config).unwrap();
    let events = sync.events();
    while a.token_calls.load(Ordering::SeqCst) < 4 {
        a.note("written");
        a.sync();
        assert!(began.elapsed() < Duration::from_secs(30), "never renewed");
        std::thread::sleep(Duration::from_millis(50));
    }
    // Three renewals, each after two of the machine's minutes.
    assert!(
        began.elapsed() > Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    while let Some(event) = events.next_timeout(Duration::from_millis(1)) {
        let failed = matches!(event, driftline::SyncEvent::Retry { .. });
        assert!(!failed, "{event:?}");
    }
}
