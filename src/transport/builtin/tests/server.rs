//! A server in a thread of its own, so that it goes on whatever the client's runtime does.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

pub(super) trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytes for T {}

/// One accepted connection.
pub(super) struct Connection {
    /// Counts from 0.
    pub(super) number: usize,
    pub(super) bytes: Box<dyn Bytes>,
}

/// What a client sent.
pub(super) struct Received {
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl Received {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (given, value) = line.split_once(':')?;
            given.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }
}

impl Connection {
    /// The next request, `None` when the client has closed.
    pub(super) async fn receive(&mut self) -> Option<Received> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.bytes.read_u8().await.ok()?);
        }
        let mut received = Received {
            head: String::from_utf8(head).unwrap(),
            body: Vec::new(),
        };
        let length = received
            .header("content-length")
            .map_or(0, |text| text.parse().unwrap());
        received.body.resize(length, 0);
        self.bytes.read_exact(&mut received.body).await.ok()?;
        Some(received)
    }

    pub(super) async fn say(&mut self, bytes: impl AsRef<[u8]>) {
        // A client that left in between is what some tests are about.
        let _ = self.bytes.write_all(bytes.as_ref()).await;
        let _ = self.bytes.flush().await;
    }

    /// Says nothing for longer than any test.
    pub(super) async fn hold(self) {
        tokio::time::sleep(Duration::from_secs(60)).await;
    }

    /// Whether the client closes before long.
    pub(super) async fn is_left(&mut self) -> bool {
        let mut byte = [0];
        let end = tokio::time::timeout(Duration::from_secs(10), self.bytes.read(&mut byte)).await;
        matches!(end, Ok(Ok(0) | Err(_)))
    }
}

pub(super) fn ok(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Runs until dropped.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    _stop: oneshot::Sender<()>,
}

impl Server {
    pub(super) fn url(&self) -> String {
        format!("http://{}/sync", self.address)
    }

    /// By name, as certificates are issued.
    pub(super) fn tls_url(&self) -> String {
        format!("https://localhost:{}/sync", self.address.port())
    }

    pub(super) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

/// Serves plain connections, each by `script`.
pub(super) fn serve<S, F>(script: S) -> Server
where
    S: Fn(Connection) -> F + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    serve_tls(None, script)
}

/// Serves connections, each by `script`, over TLS if there is an acceptor.
pub(super) fn serve_tls<S, F>(tls: Option<TlsAcceptor>, script: S) -> Server
where
    S: Fn(Connection) -> F + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let (ready, address) = std::sync::mpsc::channel();
    let (stop, stopped) = oneshot::channel::<()>();
    let accepted = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&accepted);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async move {
            let socket = TcpSocket::new_v4().unwrap();
            // Little is swallowed by the kernel, so that a slow reader is slow for its client.
            socket.set_recv_buffer_size(64 << 10).unwrap();
            socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
            let listener = socket.listen(16).unwrap();
            ready.send(listener.local_addr().unwrap()).unwrap();
            let accepting = async {
                loop {
                    let (bytes, _) = listener.accept().await.unwrap();
                    let number = count.fetch_add(1, Ordering::SeqCst);
                    let bytes: Box<dyn Bytes> = match &tls {
                        None => Box::new(bytes),
                        Some(tls) => match tls.accept(bytes).await {
                            Ok(bytes) => Box::new(bytes),
                            Err(_) => continue,
                        },
                    };
                    tokio::spawn(script(Connection { number, bytes }));
                }
            };
            tokio::select! { () = accepting => {}, _ = stopped => {} }
        });
    });
    Server {
        address: address.recv().unwrap(),
        accepted,
        _stop: stop,
    }
}
