//! The least a live change can cost: A commits and sends, a relay commits and forwards, B commits.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, accept_async, client_async};

use super::wire;
use crate::Outcome;
use crate::raw::{Durability, Raw};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Both devices and the relay between them.
pub(crate) struct Relay {
    runtime: Runtime,
    a: Raw,
    to_relay: Socket,
    at_b: Receiver<()>,
}

impl Relay {
    /// Starts relay and B, each on a thread and with a file of its own in `directory`, and connects
    /// A. All three hold what `fill` puts into them.
    pub(crate) fn start(
        directory: &Path,
        durability: Durability,
        fill: impl Fn(&mut Raw) -> Outcome<()>,
    ) -> Outcome<Relay> {
        let make = |name: &str| {
            let mut raw = Raw::create(&directory.join(name), durability)?;
            fill(&mut raw)?;
            Outcome::Ok(raw)
        };
        let (a, relay, b) = (make("floor-a")?, make("floor-relay")?, make("floor-b")?);
        relay
            .connection()
            .execute_batch("CREATE TABLE log (version INTEGER PRIMARY KEY, op BLOB NOT NULL);")?;
        let address = spawn_relay(relay)?;
        let at_b = spawn_b(address, b)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let to_relay = runtime.block_on(connect(address))?;
        Ok(Relay {
            runtime,
            a,
            to_relay,
            at_b,
        })
    }

    /// Commits a change on A, sends it, and waits until B has committed it.
    pub(crate) fn change(&mut self, id: &str, priority: i64) -> Outcome<()> {
        self.a.set_priority(id, priority)?;
        let op = Bytes::copy_from_slice(self.a.last_op());
        self.runtime
            .block_on(self.to_relay.send(Message::Binary(op)))?;
        Ok(self.at_b.recv_timeout(Duration::from_secs(10))?)
    }
}

async fn connect(address: SocketAddr) -> Outcome<Socket> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (socket, _) = client_async("ws://127.0.0.1/", MaybeTlsStream::Plain(stream)).await?;
    Ok(socket)
}

/// Accepts B first, then A, and forwards what A says once it is committed.
fn spawn_relay(mut raw: Raw) -> Outcome<SocketAddr> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0)))?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        let forward = async {
            let mut b = accept(&listener).await?;
            let mut a = accept(&listener).await?;
            while let Some(Ok(Message::Binary(op))) = a.next().await {
                raw.in_transaction(|raw| {
                    wire::apply(raw.connection(), &op)?;
                    raw.connection()
                        .prepare_cached("INSERT INTO log (op) VALUES (?1)")?
                        .execute([&op[..]])?;
                    Ok(())
                })?;
                b.send(Message::Binary(op)).await?;
            }
            Outcome::Ok(())
        };
        // It ends when the measurement drops A.
        let _ = runtime.block_on(forward);
    });
    Ok(address)
}

async fn accept(listener: &TcpListener) -> Outcome<WebSocketStream<TcpStream>> {
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok(accept_async(stream).await?)
}

/// Connects B and says of each change when it is committed there.
fn spawn_b(address: SocketAddr, mut raw: Raw) -> Outcome<Receiver<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut socket = runtime.block_on(connect(address))?;
    let (committed, at_b) = channel();
    std::thread::spawn(move || {
        runtime.block_on(async {
            while let Some(Ok(Message::Binary(op))) = socket.next().await {
                let stored = raw.in_transaction(|raw| {
                    wire::apply(raw.connection(), &op)?;
                    raw.connection()
                        .prepare_cached(
                            "INSERT OR REPLACE INTO meta (key, value) VALUES ('cursor', 1)",
                        )?
                        .execute([])?;
                    Ok(())
                });
                if stored.is_err() || committed.send(()).is_err() {
                    return;
                }
            }
        });
    });
    Ok(at_b)
}
