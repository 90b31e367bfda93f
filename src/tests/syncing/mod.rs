//! A connection through its public words, to the reference server behind a provider.

mod status;
mod waiting;

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use driftline_core::protocol::{self, Form, SnapshotFrame, SyncRequest};
use tokio::sync::mpsc;

use super::{Fixture, fixture};
use crate::environment::BoxFuture;
use crate::provider::{Message, ProviderError, ProviderMode, ProviderRequest, SyncProvider};
use crate::storage::testing::{Server, Time};
use crate::transport::{Body, BorrowingFuture, TransportError};
use crate::{Providers, Status, Sync, SyncConfig};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// What becomes of requests.
#[derive(Clone, Copy, PartialEq)]
enum Line {
    /// They are answered.
    Up,
    /// They reach nobody.
    Down,
    /// They are never answered.
    Frozen,
}

/// The reference server as a backend that knows its users by itself. Clones share everything.
#[derive(Clone)]
struct Backend(Arc<Mutex<World>>);

struct World {
    server: Server,
    line: Line,
    /// The pieces of a snapshot as they come; without, it is not offered.
    snapshot: Option<mpsc::UnboundedReceiver<Vec<u8>>>,
}

impl Backend {
    fn new() -> Backend {
        let schema = driftline_core::schema::Schema::parse(super::SCHEMA).unwrap();
        Backend(Arc::new(Mutex::new(World {
            server: Server::new(Arc::new(schema), Time::new()),
            line: Line::Up,
            snapshot: None,
        })))
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }

    fn line(&self, line: Line) {
        self.world().line = line;
    }

    /// A snapshot of which every piece is what is sent here.
    fn offer_snapshot(&self) -> mpsc::UnboundedSender<Vec<u8>> {
        let (pieces, snapshot) = mpsc::unbounded_channel();
        self.world().snapshot = Some(snapshot);
        pieces
    }

    /// A database of account `ann`, connected.
    fn device(&self) -> (Fixture, Sync) {
        let db = fixture();
        let sync = self.connect(&db);
        (db, sync)
    }

    fn connect(&self, db: &Fixture) -> Sync {
        let providers = Providers::new();
        providers.register("reference", self.clone()).unwrap();
        providers.activate("reference").unwrap();
        let asked = || panic!("a gateway needs no token");
        let mut config = SyncConfig::with_providers(providers, asked);
        config.settings.pace = 0;
        config.deadline = Duration::from_millis(500);
        db.connect(config).unwrap()
    }

    fn carry(&self, request: &ProviderRequest) -> BoxFuture<Result<Message, ProviderError>> {
        assert_eq!(request.auth, None);
        let mut world = self.world();
        match world.line {
            Line::Frozen => Box::pin(std::future::pending()),
            Line::Down => {
                let down = ProviderError::Unreachable("down by the test".to_owned());
                Box::pin(std::future::ready(Err(down)))
            }
            Line::Up => {
                let request: SyncRequest =
                    protocol::decode(Form::Json, &request.message.bytes).unwrap();
                let answer = world.server.answer(&request, usize::MAX).unwrap();
                let answer = Message::plain(protocol::encode(Form::Json, &answer));
                Box::pin(std::future::ready(Ok(answer)))
            }
        }
    }
}

impl SyncProvider for Backend {
    fn mode(&self) -> ProviderMode {
        ProviderMode::Gateway
    }

    fn push(&self, request: ProviderRequest) -> BoxFuture<Result<Message, ProviderError>> {
        self.carry(&request)
    }

    fn pull(&self, request: ProviderRequest) -> BoxFuture<Result<Message, ProviderError>> {
        self.carry(&request)
    }

    fn snapshot(&self, _: ProviderRequest) -> BoxFuture<Result<Box<dyn Body>, ProviderError>> {
        let body = self.world().snapshot.take();
        let body = body.map(|pieces| -> Box<dyn Body> { Box::new(Pieces(pieces)) });
        Box::pin(std::future::ready(body.ok_or(ProviderError::NotOffered)))
    }
}

struct Pieces(mpsc::UnboundedReceiver<Vec<u8>>);

impl Body for Pieces {
    fn next(&mut self) -> BorrowingFuture<'_, Option<Result<Vec<u8>, TransportError>>> {
        Box::pin(async { self.0.recv().await.map(Ok) })
    }
}

/// A frame of a snapshot as it travels.
fn piece(frame: &SnapshotFrame) -> Vec<u8> {
    let mut line = protocol::encode(Form::Json, frame);
    line.push(b'\n');
    line
}

fn insert(db: &Fixture) -> String {
    db.write(|tx| tx.insert("birds", [("species", "Adelie")]))
        .unwrap()
        .to_string()
}

/// Waits until the status is what is wanted.
fn wait_for(sync: &Sync, wanted: impl Fn(&Status) -> bool) -> Status {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = sync.status();
        if wanted(&status) {
            return status;
        }
        assert!(Instant::now() < deadline, "never came: {status:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
