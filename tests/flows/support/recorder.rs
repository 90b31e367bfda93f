//! A network that remembers what was sent, and under whose token.

use std::sync::{Arc, Mutex};

use driftline::environment::BoxFuture;
use driftline::transport::{
    BuiltinTransport, HttpRequest, HttpResponse, LiveSocket, TlsRoots, Transport, TransportError,
};
use driftline_core::protocol;

/// One request: the header that authenticates, and all else in the clear.
#[derive(Clone)]
pub struct Sent {
    pub authorization: String,
    pub content: Vec<u8>,
}

pub struct Recorder {
    inner: BuiltinTransport,
    sent: Mutex<Vec<Sent>>,
}

impl Recorder {
    pub fn new() -> Arc<Recorder> {
        Arc::new(Recorder {
            inner: BuiltinTransport::new(&TlsRoots::default()).unwrap(),
            sent: Mutex::default(),
        })
    }

    pub fn sent(&self) -> Vec<Sent> {
        self.sent.lock().unwrap().clone()
    }

    fn note(&self, request: &HttpRequest) {
        let header = |name: &str| {
            let found = request.headers.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| value.clone()).unwrap_or_default()
        };
        let body = match header("content-encoding").as_str() {
            "zstd" => protocol::decompress(&request.body, 64 << 20).unwrap(),
            _ => request.body.clone(),
        };
        let mut content = request.url.clone().into_bytes();
        content.extend(body);
        self.sent.lock().unwrap().push(Sent {
            authorization: header("authorization"),
            content,
        });
    }
}

impl Transport for Recorder {
    fn request(&self, request: HttpRequest) -> BoxFuture<Result<HttpResponse, TransportError>> {
        self.note(&request);
        self.inner.request(request)
    }

    fn connect(&self, request: HttpRequest) -> BoxFuture<Result<LiveSocket, TransportError>> {
        self.note(&request);
        self.inner.connect(request)
    }
}
