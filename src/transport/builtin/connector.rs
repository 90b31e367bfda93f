//! TCP connections that note when bytes move on them.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service;

use super::activity::Activity;

/// For all addresses of a name together. Longer than a radio needs to wake up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

type Tcp = TokioIo<TcpStream>;
type ConnectError = <HttpConnector as Service<Uri>>::Error;

/// Resolves and connects, trying IPv6 and IPv4 side by side.
#[derive(Clone, Debug)]
pub(super) struct MeteredConnector {
    tcp: HttpConnector,
}

impl MeteredConnector {
    pub(super) fn new() -> MeteredConnector {
        let mut tcp = HttpConnector::new();
        // TLS is laid over it for `https`.
        tcp.enforce_http(false);
        // Requests and frames are written whole; waiting for more would only delay them.
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        MeteredConnector { tcp }
    }
}

impl Service<Uri> for MeteredConnector {
    type Response = Metered;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Metered, ConnectError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        self.tcp.poll_ready(cx)
    }

    fn call(&mut self, address: Uri) -> Self::Future {
        let connecting = self.tcp.call(address);
        Box::pin(async move {
            Ok(Metered {
                tcp: connecting.await?,
                activity: Arc::new(Activity::new()),
            })
        })
    }
}

/// A TCP connection and when bytes last moved on it.
pub(super) struct Metered {
    tcp: Tcp,
    activity: Arc<Activity>,
}

impl Metered {
    fn note<T>(&self, done: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if matches!(done, Poll::Ready(Ok(_))) {
            self.activity.touch();
        }
        done
    }
}

impl Connection for Metered {
    fn connected(&self) -> Connected {
        self.tcp.connected().extra(Arc::clone(&self.activity))
    }
}

impl Read for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.tcp).poll_read(cx, buffer);
        self.note(done)
    }
}

impl Write for Metered {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.tcp).poll_write(cx, bytes);
        self.note(done)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.tcp).poll_write_vectored(cx, pieces);
        self.note(done)
    }
}
