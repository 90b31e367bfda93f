//! A connection through its public words, to the reference server behind a provider.

mod calls;
mod events;
mod found;
mod outbox;
mod status;
mod waiting;

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use driftline_core::ledger::Loss;
use driftline_core::protocol::{self, Form, SnapshotFrame, SyncRequest};
use tokio::sync::mpsc;

use super::{Fixture, fixture};
use crate::environment::BoxFuture;
use crate::provider::{Live, Message, ProviderError, ProviderMode, ProviderRequest, SyncProvider};
use crate::storage::testing::{Server, Time};
use crate::transport::{Body, BorrowingFuture, LiveMessage, LiveReceiver, TransportError};
use crate::{Providers, Status, Sync, SyncConfig, TokenError};

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
    /// They are refused with a status, a code, and for how many milliseconds.
    Refuses(u16, &'static str, Option<u64>),
}

/// The reference server as a backend. Clones share the server.
#[derive(Clone)]
struct Backend {
    world: Arc<Mutex<World>>,
    mode: ProviderMode,
}

struct World {
    server: Server,
    line: Line,
    /// How many versions an answer brings at most.
    most: usize,
    /// Told to whoever has not acknowledged them.
    losses: Vec<Loss>,
    /// Pushes and pulls.
    requests: usize,
    /// The headers they carried.
    auths: Vec<Option<(String, String)>>,
    /// How often the provider was told of another network.
    networks: usize,
    /// Whether a subscription is offered, and the last one's other end.
    subscribes: bool,
    listener: Option<mpsc::UnboundedSender<LiveMessage>>,
    /// The pieces of a snapshot as they come; without, it is not offered.
    snapshot: Option<mpsc::UnboundedReceiver<Vec<u8>>>,
}

impl Backend {
    fn new() -> Backend {
        let schema = driftline_core::schema::Schema::parse(super::SCHEMA).unwrap();
        let world = World {
            server: Server::new(Arc::new(schema), Time::new()),
            line: Line::Up,
            most: usize::MAX,
            losses: Vec::new(),
            requests: 0,
            auths: Vec::new(),
            networks: 0,
            subscribes: false,
            listener: None,
            snapshot: None,
        };
        Backend {
            world: Arc::new(Mutex::new(world)),
            mode: ProviderMode::Gateway,
        }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
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
        self.device_with(|_| {})
    }

    fn device_with(&self, change: impl FnOnce(&mut SyncConfig)) -> (Fixture, Sync) {
        let mut config = self.config(|| Ok("t.o.k".to_owned()));
        change(&mut config);
        connected(config)
    }

    fn device_asking(
        &self,
        token: impl Fn() -> Result<String, TokenError> + Send + std::marker::Sync + 'static,
    ) -> (Fixture, Sync) {
        connected(self.config(token))
    }

    fn config(
        &self,
        token: impl Fn() -> Result<String, TokenError> + Send + std::marker::Sync + 'static,
    ) -> SyncConfig {
        let providers = Providers::new();
        providers.register("reference", self.clone()).unwrap();
        providers.activate("reference").unwrap();
        let mut config = SyncConfig::with_providers(providers, token);
        config.settings.pace = 0;
        config.deadline = Duration::from_millis(500);
        config
    }

    fn carry(&self, request: &ProviderRequest) -> BoxFuture<Result<Message, ProviderError>> {
        let mut world = self.world();
        world.requests += 1;
        world.auths.push(request.auth.clone());
        match world.line {
            Line::Frozen => Box::pin(std::future::pending()),
            Line::Down => {
                let down = ProviderError::Unreachable("down by the test".to_owned());
                Box::pin(std::future::ready(Err(down)))
            }
            Line::Refuses(status, code, retry_after_ms) => {
                let refused = ProviderError::Refused {
                    status,
                    code: code.to_owned(),
                    retry_after_ms,
                    message: String::new(),
                };
                Box::pin(std::future::ready(Err(refused)))
            }
            Line::Up => {
                let request: SyncRequest =
                    protocol::decode(Form::Json, &request.message.bytes).unwrap();
                let most = world.most;
                let mut answer = world.server.answer(&request, most).unwrap();
                let losses = world.losses.iter();
                let told = losses.filter(|loss| loss.number > request.losses_ack);
                answer.losses = told.cloned().collect();
                let answer = Message::plain(protocol::encode(Form::Json, &answer));
                Box::pin(std::future::ready(Ok(answer)))
            }
        }
    }
}

impl SyncProvider for Backend {
    fn mode(&self) -> ProviderMode {
        self.mode
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

    fn subscribe(&self, _: ProviderRequest) -> BoxFuture<Result<Live, ProviderError>> {
        let mut world = self.world();
        if !world.subscribes {
            return Box::pin(std::future::ready(Err(ProviderError::NotOffered)));
        }
        let (listener, told) = mpsc::unbounded_channel();
        world.listener = Some(listener);
        Box::pin(std::future::ready(Ok(Live {
            sender: None,
            receiver: Box::new(Told(told)),
        })))
    }

    fn network_changed(&self) {
        self.world().networks += 1;
    }
}

fn connected(config: SyncConfig) -> (Fixture, Sync) {
    let db = fixture();
    let sync = db.connect(config).unwrap();
    (db, sync)
}

struct Told(mpsc::UnboundedReceiver<LiveMessage>);

impl LiveReceiver for Told {
    fn receive(&mut self) -> BorrowingFuture<'_, Result<Option<LiveMessage>, TransportError>> {
        Box::pin(async { Ok(self.0.recv().await) })
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
