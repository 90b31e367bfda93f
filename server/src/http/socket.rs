//! The server's end of a live socket: a WebSocket, or one whose other end is in the same process.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::FromRequestParts;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use http::StatusCode;
use http::request::Parts;
use tokio::sync::mpsc;

use crate::environment::Environment;
use crate::problem::Problem;

/// A live socket without a connection, for whoever calls the router in process: put into the
/// extensions of a request to the live endpoint it stands in for the WebSocket handshake. An answer
/// with status 101 says that the server listens to it.
#[derive(Clone, Debug)]
pub struct LocalSocket(Arc<Mutex<Option<Ends>>>);

/// What the caller keeps of a [`LocalSocket`]. Dropped, it is a connection that broke.
#[derive(Debug)]
pub struct LocalEnd {
    /// Messages to the server, in the order they are sent.
    pub to_server: mpsc::Sender<Message>,
    /// Messages from the server.
    pub from_server: mpsc::Receiver<Message>,
}

/// What the server keeps of it.
#[derive(Debug)]
pub(super) struct Ends {
    sender: mpsc::Sender<Message>,
    receiver: mpsc::Receiver<Message>,
}

impl LocalSocket {
    /// Both ends. Each side waits while the other has more than `unread` messages before it.
    pub fn pair(unread: usize) -> (LocalSocket, LocalEnd) {
        let (to_server, receiver) = mpsc::channel(unread.max(1));
        let (sender, from_server) = mpsc::channel(unread.max(1));
        let ends = Ends { sender, receiver };
        let end = LocalEnd {
            to_server,
            from_server,
        };
        (LocalSocket(Arc::new(Mutex::new(Some(ends)))), end)
    }

    fn take(&self) -> Option<Ends> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A socket that somebody asks for.
pub(super) enum Handshake {
    Web(Box<WebSocketUpgrade>),
    Local(Ends),
}

impl Handshake {
    pub(super) async fn of(parts: &mut Parts) -> Result<Handshake, Problem> {
        let local = parts.extensions.remove::<LocalSocket>();
        if let Some(ends) = local.and_then(|socket| socket.take()) {
            return Ok(Handshake::Local(ends));
        }
        match WebSocketUpgrade::from_request_parts(parts, &()).await {
            Ok(upgrade) => Ok(Handshake::Web(Box::new(upgrade))),
            Err(_) => Err(Problem::Malformed(
                "expected a WebSocket handshake".to_owned(),
            )),
        }
    }

    /// Agrees; `run` has the socket when it is open. No message is larger than `most` bytes.
    pub(super) fn accept<F>(
        self,
        most: usize,
        environment: &Environment,
        run: impl FnOnce(Socket) -> F + Send + 'static,
    ) -> Response
    where
        F: Future<Output = ()> + Send + 'static,
    {
        match self {
            Handshake::Web(upgrade) => {
                let upgrade = upgrade.max_message_size(most).max_frame_size(most);
                let upgrade = upgrade.protocols(["driftline.cbor", "driftline.json"]);
                upgrade.on_upgrade(|socket| run(Socket::Web(Box::new(socket))))
            }
            Handshake::Local(ends) => {
                let running = run(Socket::Local { ends, most });
                environment.executor.spawn(Box::pin(running));
                let mut response = Response::default();
                *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
                response
            }
        }
    }
}

/// An open socket.
pub(super) enum Socket {
    Web(Box<WebSocket>),
    Local { ends: Ends, most: usize },
}

/// The socket is of no more use.
pub(super) struct Gone;

impl Socket {
    /// The next message. Dropping the future loses nothing.
    pub(super) async fn receive(&mut self) -> Result<Message, Gone> {
        match self {
            Socket::Web(socket) => match socket.recv().await {
                Some(Ok(message)) => Ok(message),
                Some(Err(_)) | None => Err(Gone),
            },
            Socket::Local { ends, most } => {
                let message = ends.receiver.recv().await.ok_or(Gone)?;
                match &message {
                    // A WebSocket answers pings by itself.
                    Message::Ping(said) => {
                        let pong = Message::Pong(said.clone());
                        // Whoever reads nothing is found out by other means.
                        let _ = ends.sender.try_send(pong);
                    }
                    Message::Binary(bytes) if bytes.len() > *most => return Err(Gone),
                    Message::Text(text) if text.len() > *most => return Err(Gone),
                    _ => {}
                }
                Ok(message)
            }
        }
    }

    pub(super) async fn send(&mut self, message: Message) -> Result<(), Gone> {
        match self {
            Socket::Web(socket) => socket.send(message).await.map_err(|_| Gone),
            Socket::Local { ends, .. } => ends.sender.send(message).await.map_err(|_| Gone),
        }
    }
}
