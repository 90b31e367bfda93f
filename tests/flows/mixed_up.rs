//! Somebody else's token gets onto what travels, behind the device's back: by a proxy, a session that was
//! not ended. Every request names the file's account, so the server notices.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use driftline::environment::BoxFuture;
use driftline::transport::{
    BuiltinTransport, HttpRequest, HttpResponse, LiveSocket, TlsRoots, Transport, TransportError,
};
use driftline::{Cause, State, Sync, SyncConfig, SyncEvent};

use crate::network::wait_for;
use crate::support::device::WORKSPACE;
use crate::support::{Device, SCHEMA, Server};

/// Puts another token on every request to one endpoint.
struct MixedUp {
    inner: BuiltinTransport,
    endpoint: &'static str,
    token: Mutex<Option<String>>,
    mixed_up: AtomicUsize,
}

impl MixedUp {
    fn new(endpoint: &'static str, token: String) -> Arc<MixedUp> {
        Arc::new(MixedUp {
            inner: BuiltinTransport::new(&TlsRoots::default()).unwrap(),
            endpoint,
            token: Mutex::new(Some(token)),
            mixed_up: AtomicUsize::new(0),
        })
    }

    fn mend(&self) {
        *self.token.lock().unwrap() = None;
    }

    fn confuse(&self, mut request: HttpRequest) -> HttpRequest {
        let token = self.token.lock().unwrap().clone();
        if let Some(token) = token.filter(|_| request.url.contains(self.endpoint)) {
            self.mixed_up.fetch_add(1, Ordering::SeqCst);
            request.headers.retain(|(name, _)| name != "authorization");
            let header = ("authorization".to_owned(), format!("Bearer {token}"));
            request.headers.push(header);
        }
        request
    }
}

impl Transport for MixedUp {
    fn request(&self, request: HttpRequest) -> BoxFuture<Result<HttpResponse, TransportError>> {
        self.inner.request(self.confuse(request))
    }

    fn connect(&self, request: HttpRequest) -> BoxFuture<Result<LiveSocket, TransportError>> {
        self.inner.connect(self.confuse(request))
    }
}

fn connect(device: &Device, server: &Server, network: &Arc<MixedUp>) -> Sync {
    let token = server.token("ada", WORKSPACE, "writer", "1h");
    let mut config = SyncConfig::new(&server.url, move || Ok(token.clone()));
    config.transport = Some(network.clone());
    config.idle_timeout = Duration::from_secs(5);
    device.db.connect(config).unwrap()
}

#[test]
fn no_snapshot_is_taken_with_another_accounts_token() {
    let server = Server::start(SCHEMA);
    let other = Device::new("other");
    other.connect(&server);
    let notes = 40;
    (0..notes).for_each(|n| drop(other.note(&format!("note {n}"))));
    other.sync();

    let graces = server.token("grace", WORKSPACE, "reader", "1h");
    let network = MixedUp::new("/snapshot", graces);
    let new = Device::new("new");
    let sync = connect(&new, &server, &network);
    let events = sync.events();
    let status = wait_for(&sync, |s| s.cause == Cause::WrongAccount);
    assert_eq!(status.state, State::Blocked);
    assert_eq!(network.mixed_up.load(Ordering::SeqCst), 1);
    sync.sync_now();
    wait_for(&sync, |s| {
        s.state == State::Blocked && network.mixed_up.load(Ordering::SeqCst) == 2
    });
    assert_eq!(new.count("notes"), 0);
    let received = std::iter::from_fn(|| events.next_timeout(Duration::ZERO))
        .filter(|event| matches!(event, SyncEvent::Progress { .. }))
        .count();
    assert_eq!(received, 0, "not one frame came");

    network.mend();
    new.sync();
    assert_eq!(new.count("notes"), notes);
}

#[test]
fn no_live_socket_is_opened_with_another_accounts_token() {
    let server = Server::start(SCHEMA);
    let graces = server.token("grace", WORKSPACE, "reader", "1h");
    let network = MixedUp::new("/live", graces);
    let a = Device::new("a");
    a.connect(&server);
    a.sync();
    let sync = connect(&a, &server, &network);
    let status = wait_for(&sync, |s| s.cause == Cause::WrongAccount);
    assert_eq!((status.state, status.live), (State::Blocked, false));
    let id = a.note("waits");
    assert_eq!(a.db.unsynced().unwrap(), 1);

    network.mend();
    sync.sync_now();
    wait_for(&sync, |s| s.live && s.pending == 0);
    let b = Device::new("b");
    b.connect(&server);
    b.sync();
    assert!(b.title(&id).is_some());
}
