//! How bytes reach a server. The built-in transport is one implementation; a host may bring its own.

pub(crate) mod address;
#[cfg(feature = "network")]
mod builtin;
pub mod callback;

#[cfg(feature = "network")]
pub use builtin::{BuiltinTransport, TlsRoots};

use std::pin::Pin;

use crate::environment::BoxFuture;

/// A boxed future that borrows what it was made from.
pub type BorrowingFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// An HTTP request. Redirects must not be followed: they would carry the token elsewhere.
#[derive(Clone)]
pub struct HttpRequest {
    /// `GET` or `POST`.
    pub method: &'static str,
    /// The absolute address, `http` or `https`.
    pub url: String,
    /// Headers, the token among them.
    pub headers: Vec<(String, String)>,
    /// The body; empty for `GET`.
    pub body: Vec<u8>,
    /// Give up when nothing moves for so long: while connecting and sending, no byte in either
    /// direction; afterwards, no piece of the body that is waited for.
    pub idle_timeout_ms: u64,
}

/// Headers hold the token and bodies what people wrote: neither belongs in a log.
impl std::fmt::Debug for HttpRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpRequest")
            .field("method", &self.method)
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// An answer, its body still arriving.
pub struct HttpResponse {
    /// The status.
    pub status: u16,
    /// `Content-Type`, if given.
    pub content_type: Option<String>,
    /// `Content-Encoding`, if given.
    pub content_encoding: Option<String>,
    /// `Retry-After` in milliseconds, if given in seconds.
    pub retry_after_ms: Option<u64>,
    /// The body.
    pub body: Box<dyn Body>,
}

/// A body, piece by piece.
pub trait Body: Send {
    /// The next piece; `None` at the end. Dropping the future loses nothing.
    fn next(&mut self) -> BorrowingFuture<'_, Option<Result<Vec<u8>, TransportError>>>;
}

/// The sending half of a live socket.
pub trait LiveSender: Send {
    /// Sends one message; [`LiveMessage::Alive`] is a ping. Once polled, the message may be under
    /// way even if the future is dropped.
    fn send(&mut self, message: LiveMessage) -> BorrowingFuture<'_, Result<(), TransportError>>;

    /// Says that no more will be sent, where the transport can say it; dropping both halves ends
    /// the socket in any case.
    fn close(&mut self) -> BorrowingFuture<'_, Result<(), TransportError>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// The receiving half of a live socket.
pub trait LiveReceiver: Send {
    /// The next message; `Ok(None)` when the other side closed. A pong or ping counts as
    /// [`LiveMessage::Alive`]. Dropping the future loses nothing.
    fn receive(&mut self) -> BorrowingFuture<'_, Result<Option<LiveMessage>, TransportError>>;
}

/// What travels on a live socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LiveMessage {
    /// A binary frame (CBOR).
    Binary(Vec<u8>),
    /// A text frame (JSON).
    Text(String),
    /// A sign of life without content.
    Alive,
}

/// Both halves.
pub type LiveSocket = (Box<dyn LiveSender>, Box<dyn LiveReceiver>);

/// Carries requests and sockets. Implementations are used from one task at a time.
///
/// Dropping a future or a body cancels it: nobody waits for it any more, and what it holds should
/// be let go. One whose host works by callbacks is written with [`callback`].
pub trait Transport: Send + Sync {
    /// Sends a request; resolves when the head of the answer is there. The body must come piece by
    /// piece: a snapshot is larger than memory should be.
    fn request(&self, request: HttpRequest) -> BoxFuture<Result<HttpResponse, TransportError>>;

    /// Opens a WebSocket to a `ws`/`wss` (or `http`/`https`) address with these headers.
    ///
    /// A refusal with an HTTP status is [`TransportError::Refused`]. A transport without sockets
    /// leaves this as it is: changes of others are then asked for every so often, and the status
    /// says so.
    fn connect(&self, request: HttpRequest) -> BoxFuture<Result<LiveSocket, TransportError>> {
        drop(request);
        Box::pin(std::future::ready(Err(TransportError::NoSockets)))
    }

    /// The network changed or the app came back: connections kept for later are likely dead, and
    /// trying one would cost a whole time-out. What is under way goes on.
    fn forget_connections(&self) {}
}

/// Why no answer came.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// The name did not resolve or nobody answered.
    #[error("cannot reach the server: {0}")]
    Unreachable(String),
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// Nothing arrived in time.
    #[error("nothing arrived in time")]
    TimedOut,
    /// TLS could not be agreed or the certificate is not trusted.
    #[error("no trusted connection: {0}")]
    Tls(String),
    /// The address or a header cannot be used; trying again does not help.
    #[error("the server's address or a header cannot be used: {0}")]
    BadAddress(String),
    /// The upgrade to a socket was refused.
    #[error("the socket was refused with status {status}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// `Content-Type`, if given.
        content_type: Option<String>,
        /// `Retry-After` in milliseconds, if given.
        retry_after_ms: Option<u64>,
        /// The first bytes of the body.
        body: Vec<u8>,
    },
    /// This transport has no sockets.
    #[error("this transport has no live sockets")]
    NoSockets,
    /// A host's own transport failed in a way that says nothing of network or server.
    #[error("the host's transport failed: {0}")]
    Host(String),
}
