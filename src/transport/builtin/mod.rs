//! The built-in transport: HTTP/1.1 with kept connections and WebSocket, over rustls.
//!
//! One path for everything: a socket begins as a request of the same client, so both resolve,
//! connect, trust and fail alike.
//!
//! A connection lives in the runtime that opened it: its task and its registration with the
//! reactor go with that runtime. Futures of this transport are therefore served from connections
//! of the runtime they are polled in, and never from another's, which may have stopped or may
//! not be running just now.

mod activity;
mod address;
mod connector;
mod errors;
mod exchange;
mod roots;
mod socket;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::runtime::{Handle, Id};

pub use roots::TlsRoots;

use super::{HttpRequest, HttpResponse, LiveSocket, Transport, TransportError};
use crate::environment::BoxFuture;
use connector::MeteredConnector;

/// Below the 60 seconds after which common proxies drop an idle connection: a request on a
/// connection that is just being dropped is lost.
const KEEP_IDLE: Duration = Duration::from_secs(50);

/// Requests of one device are few at a time; more idle connections would only cost the server.
const KEEP_PER_HOST: usize = 2;

/// More runtimes at once than a device's tasks; a forgotten one only loses its idle connections.
const KEEP_RUNTIMES: usize = 4;

/// Longer waits overflow clocks; nobody means them.
const LONGEST_IDLE: Duration = Duration::from_secs(24 * 60 * 60);

type Connector = HttpsConnector<MeteredConnector>;
type HttpClient = Client<Connector, Full<Bytes>>;

/// HTTP/1.1 and WebSocket over TCP and rustls. Follows no redirects, reads no proxy settings and
/// installs nothing process-wide. Must be polled inside a tokio runtime with I/O and time enabled.
/// Cloning shares the connections.
#[derive(Clone)]
pub struct BuiltinTransport {
    shared: Arc<Shared>,
}

struct Shared {
    connector: Connector,
    clients: Mutex<VecDeque<(Id, HttpClient)>>,
}

impl BuiltinTransport {
    /// A transport that trusts `roots`.
    ///
    /// # Errors
    /// [`TransportError::Tls`] if a root certificate cannot be read or there is none.
    pub fn new(roots: &TlsRoots) -> Result<BuiltinTransport, TransportError> {
        let tls = roots::client_config(roots)?;
        let connector = HttpsConnector::from((MeteredConnector::new(), tls));
        Ok(BuiltinTransport {
            shared: Arc::new(Shared {
                connector,
                clients: Mutex::new(VecDeque::new()),
            }),
        })
    }
}

impl Shared {
    /// The client whose connections live in the runtime of the caller.
    fn client_here(&self) -> Result<HttpClient, TransportError> {
        let runtime = Handle::try_current().map_err(|_| {
            TransportError::Host("the built-in transport needs a tokio runtime".to_owned())
        })?;
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, client)) = clients.iter().find(|(id, _)| *id == runtime.id()) {
            return Ok(client.clone());
        }
        // No pool timer: idle connections are judged when one is asked for, so an idle device
        // wakes up for nothing.
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(KEEP_IDLE)
            .pool_max_idle_per_host(KEEP_PER_HOST)
            .build(self.connector.clone());
        if clients.len() == KEEP_RUNTIMES {
            clients.pop_front();
        }
        clients.push_back((runtime.id(), client.clone()));
        Ok(client)
    }
}

impl Transport for BuiltinTransport {
    fn request(&self, request: HttpRequest) -> BoxFuture<Result<HttpResponse, TransportError>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let idle = idle_of(&request);
            let request = address::http_request(request)?;
            let answer = exchange::head(&shared.client_here()?, request, idle).await?;
            Ok(exchange::response(answer, idle))
        })
    }

    /// The idle time-out holds until the socket is open and, afterwards, for each send.
    fn connect(&self, request: HttpRequest) -> BoxFuture<Result<LiveSocket, TransportError>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let idle = idle_of(&request);
            let request = address::socket_request(request)?;
            socket::open(&shared.client_here()?, request, idle).await
        })
    }

    fn forget_connections(&self) {
        self.shared
            .clients
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}

fn idle_of(request: &HttpRequest) -> Duration {
    Duration::from_millis(request.idle_timeout_ms).min(LONGEST_IDLE)
}

impl fmt::Debug for BuiltinTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BuiltinTransport").finish_non_exhaustive()
    }
}
