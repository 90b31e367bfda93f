//! Live sockets: what a device and the server say to each other on one, and what becomes of it on its
//! way. A message overtakes no other; what is lost is lost with the socket, and both sides learn of
//! it, or neither.

use axum::extract::ws::Message;
use driftline::environment::Executor as _;
use driftline::transport::{
    BorrowingFuture, LiveMessage, LiveReceiver, LiveSender, LiveSocket, TransportError,
};
use driftline_core::protocol::span;
use driftline_server::LocalEnd;
use driftline_simvfs::Life;
use tokio::sync::{mpsc, watch};

use super::Network;
use super::executor::Executor;

/// Messages that either side may have before it unread.
pub(super) const UNREAD: usize = 8;

/// Which way a message goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// From a device to the server.
    Up,
    /// From the server to a device.
    Down,
}

/// What happens to one message on a socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FrameFate {
    /// It arrives after so many milliseconds.
    Arrives(u64),
    /// So many of its bytes arrive, and the socket breaks.
    Cut(usize),
    /// It is lost with the socket.
    Breaks,
    /// From now on nothing passes, and nobody is told.
    Silent,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wire {
    Open,
    Silent,
    Broken,
}

/// What both directions of a socket know.
#[derive(Clone)]
struct Line {
    network: Network,
    device: usize,
    executor: Executor,
    /// The server's process: one that has ended says nothing any more.
    server: Life,
    wire: watch::Sender<Wire>,
}

/// Lays a line between a device and the server's end of a socket. `executor` runs what lies between
/// them: it belongs to neither.
pub(super) fn connect(
    network: Network,
    device: usize,
    executor: Executor,
    server: Life,
    end: LocalEnd,
    stale: Option<Vec<u8>>,
) -> LiveSocket {
    let (up, going) = mpsc::channel(UNREAD);
    let (down, coming) = mpsc::channel(UNREAD);
    let line = Line {
        network,
        device,
        executor: executor.clone(),
        server,
        wire: watch::Sender::new(Wire::Open),
    };
    if let Some(bytes) = stale {
        // There is room: nothing was sent yet.
        let _ = down.try_send(Some(LiveMessage::Binary(bytes)));
    }
    let pongs = up.downgrade();
    executor.spawn("up", Box::pin(line.clone().carry_up(going, end.to_server)));
    executor.spawn(
        "down",
        Box::pin(line.carry_down(end.from_server, down, pongs)),
    );
    (Box::new(Sender(up)), Box::new(Receiver(coming)))
}

impl Line {
    async fn carry_up(self, mut going: mpsc::Receiver<Message>, server: mpsc::Sender<Message>) {
        let mut wire = self.wire.subscribe();
        loop {
            let message = tokio::select! {
                biased;
                () = is_broken(&mut wire) => {
                    while let Ok(message) = going.try_recv() {
                        self.network.unheard(self.device, bytes_of(&message));
                    }
                    return;
                }
                message = going.recv() => message,
            };
            let Some(message) = message else {
                return self.left(&server).await;
            };
            let bytes = bytes_of(&message).to_vec();
            match self.fate(Way::Up, &bytes) {
                FrameFate::Arrives(after) => {
                    self.executor.sleep(after).await;
                    if !self.is_open() {
                        continue;
                    }
                    if server.send(message).await.is_err() {
                        return;
                    }
                }
                FrameFate::Cut(most) => {
                    let cut = bytes.get(..most.min(bytes.len())).unwrap_or_default();
                    // Whether it arrives or not, the socket is gone.
                    let _ = server.try_send(Message::Binary(cut.to_vec().into()));
                    self.wire.send_replace(Wire::Broken);
                }
                FrameFate::Breaks => drop(self.wire.send_replace(Wire::Broken)),
                FrameFate::Silent => drop(self.wire.send_replace(Wire::Silent)),
            }
        }
    }

    /// The device is gone: the server hears of it, or has to find out.
    async fn left(&self, server: &mpsc::Sender<Message>) {
        if !self.is_open() || !self.network.is_told(self.device) {
            server.closed().await;
        }
    }

    async fn carry_down(
        self,
        mut coming: mpsc::Receiver<Message>,
        device: mpsc::Sender<Option<LiveMessage>>,
        pongs: mpsc::WeakSender<Message>,
    ) {
        let mut wire = self.wire.subscribe();
        loop {
            let message = tokio::select! {
                biased;
                () = is_broken(&mut wire) => return,
                () = device.closed() => return discard(coming).await,
                message = coming.recv() => message,
            };
            let Some(message) = message.filter(|_| self.server.is_alive()) else {
                if !self.is_open() || !self.network.is_told(self.device) {
                    device.closed().await;
                }
                return;
            };
            let message = match message {
                Message::Binary(bytes) => LiveMessage::Binary(bytes.to_vec()),
                Message::Text(text) => LiveMessage::Text(text.to_string()),
                Message::Close(_) => {
                    let _ = device.send(None).await;
                    return;
                }
                Message::Pong(_) => LiveMessage::Alive,
                Message::Ping(said) => {
                    // A WebSocket answers pings by itself.
                    if let Some(up) = pongs.upgrade() {
                        let _ = up.try_send(Message::Pong(said));
                    }
                    LiveMessage::Alive
                }
            };
            let bytes = match &message {
                LiveMessage::Binary(bytes) => bytes.clone(),
                _ => Vec::new(),
            };
            match self.fate(Way::Down, &bytes) {
                FrameFate::Arrives(after) => {
                    self.executor.sleep(after).await;
                    if !self.is_open() {
                        continue;
                    }
                    if span(&bytes).is_some() {
                        self.network.keep_frame(self.device, bytes);
                    }
                    // Whoever reads no more has closed it.
                    let _ = device.send(Some(message)).await;
                }
                FrameFate::Cut(most) => {
                    let cut = bytes.get(..most.min(bytes.len())).unwrap_or_default();
                    let _ = device.try_send(Some(LiveMessage::Binary(cut.to_vec())));
                    self.wire.send_replace(Wire::Broken);
                }
                FrameFate::Breaks => drop(self.wire.send_replace(Wire::Broken)),
                FrameFate::Silent => drop(self.wire.send_replace(Wire::Silent)),
            }
        }
    }

    fn fate(&self, way: Way, bytes: &[u8]) -> FrameFate {
        if self.is_open() {
            return self.network.frame(self.device, way, bytes);
        }
        if way == Way::Up {
            self.network.unheard(self.device, bytes);
        }
        FrameFate::Silent
    }

    fn is_open(&self) -> bool {
        *self.wire.borrow() == Wire::Open
    }
}

async fn is_broken(wire: &mut watch::Receiver<Wire>) {
    // It fails when the line is gone, and that is as good.
    let _ = wire.wait_for(|wire| *wire == Wire::Broken).await;
}

/// Nobody reads what the server says any more, and it is not told.
async fn discard(mut coming: mpsc::Receiver<Message>) {
    while coming.recv().await.is_some() {}
}

fn bytes_of(message: &Message) -> &[u8] {
    match message {
        Message::Binary(bytes) => bytes,
        Message::Text(text) => text.as_bytes(),
        _ => &[],
    }
}

fn broken() -> TransportError {
    TransportError::Broken("the socket broke".to_owned())
}

/// The device's sending half.
struct Sender(mpsc::Sender<Message>);

impl LiveSender for Sender {
    fn send(&mut self, message: LiveMessage) -> BorrowingFuture<'_, Result<(), TransportError>> {
        let message = match message {
            LiveMessage::Binary(bytes) => Message::Binary(bytes.into()),
            LiveMessage::Text(text) => Message::Text(text.into()),
            LiveMessage::Alive => Message::Ping(Vec::new().into()),
        };
        Box::pin(async move { self.0.send(message).await.map_err(|_| broken()) })
    }

    fn close(&mut self) -> BorrowingFuture<'_, Result<(), TransportError>> {
        Box::pin(async move {
            self.0
                .send(Message::Close(None))
                .await
                .map_err(|_| broken())
        })
    }
}

/// The device's receiving half; `None` comes when the server closed.
struct Receiver(mpsc::Receiver<Option<LiveMessage>>);

impl LiveReceiver for Receiver {
    fn receive(&mut self) -> BorrowingFuture<'_, Result<Option<LiveMessage>, TransportError>> {
        Box::pin(async move { self.0.recv().await.ok_or_else(broken) })
    }
}
