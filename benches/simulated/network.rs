//! A server without content: every pull is up to date, the live socket stays open and answers pings.

use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use driftline::environment::BoxFuture;
use driftline::transport::{
    Body, HttpRequest, HttpResponse, LiveMessage, LiveReceiver, LiveSender, LiveSocket, Transport,
    TransportError,
};
use driftline_core::protocol::{
    Cursor, Form, LiveFrame, SnapshotFrame, SyncRequest, SyncResponse, VersionEntry, decode,
    decompress, encode, limits,
};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, TransportError>> + Send + 'a>>;

/// What a device has sent.
#[derive(Default)]
pub(crate) struct Traffic {
    requests: AtomicU64,
    pings: AtomicU64,
}

impl Traffic {
    /// Requests by HTTP and over the socket.
    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Pings.
    pub(crate) fn pings(&self) -> u64 {
        self.pings.load(Ordering::Relaxed)
    }
}

/// The transport to that server.
#[derive(Clone, Default)]
pub(crate) struct Network {
    traffic: Arc<Traffic>,
}

impl Network {
    pub(crate) fn traffic(&self) -> Arc<Traffic> {
        Arc::clone(&self.traffic)
    }

    fn answer(&self, request: &HttpRequest) -> Result<Vec<u8>, TransportError> {
        self.traffic.requests.fetch_add(1, Ordering::Relaxed);
        if request.url.contains("/snapshot") {
            let begin = SnapshotFrame::Begin {
                cursor: history(),
                documents: 0,
            };
            return Ok([begin, SnapshotFrame::End]
                .iter()
                .flat_map(framed)
                .collect());
        }
        let compressed = request
            .headers
            .iter()
            .any(|(name, value)| *name == "content-encoding" && value == "zstd");
        let body = if compressed {
            decompress(&request.body, limits::MAX_DECOMPRESSED)
                .map_err(|error| TransportError::Host(error.to_string()))?
        } else {
            request.body.clone()
        };
        let request: SyncRequest =
            decode(Form::Cbor, &body).map_err(|error| TransportError::Host(error.to_string()))?;
        Ok(encode(Form::Cbor, &up_to_date(&request)))
    }
}

/// The one history there is: nothing happened in it.
fn history() -> Cursor {
    Cursor::seed(&[7; 16])
}

fn up_to_date(request: &SyncRequest) -> SyncResponse {
    SyncResponse {
        results: Vec::new(),
        versions: Vec::new(),
        losses: Vec::new(),
        cursor: history(),
        has_more: false,
        server_time: request.now.wall,
        account: "bench".to_owned(),
        take_snapshot: false,
        quota: None,
        tag: request.tag,
    }
}

fn framed(frame: &SnapshotFrame) -> Vec<u8> {
    let bytes = encode(Form::Cbor, frame);
    let mut framed = (bytes.len() as u32).to_be_bytes().to_vec();
    framed.extend(bytes);
    framed
}

impl Transport for Network {
    fn request(&self, request: HttpRequest) -> BoxFuture<Result<HttpResponse, TransportError>> {
        let answer = self.answer(&request).map(|body| HttpResponse {
            status: 200,
            content_type: Some(Form::Cbor.content_type().to_owned()),
            content_encoding: None,
            retry_after_ms: None,
            body: Box::new(Whole(Some(body))),
        });
        Box::pin(ready(answer))
    }

    fn connect(&self, _request: HttpRequest) -> BoxFuture<Result<LiveSocket, TransportError>> {
        let (say, hear) = unbounded_channel();
        let sender = Sending {
            traffic: self.traffic(),
            say,
        };
        let socket: LiveSocket = (Box::new(sender), Box::new(Receiving(hear)));
        Box::pin(ready(Ok(socket)))
    }
}

/// A body in one piece.
struct Whole(Option<Vec<u8>>);

impl Body for Whole {
    fn next(
        &mut self,
    ) -> Pin<Box<dyn Future<Output = Option<Result<Vec<u8>, TransportError>>> + Send + '_>> {
        Box::pin(ready(self.0.take().map(Ok)))
    }
}

struct Sending {
    traffic: Arc<Traffic>,
    say: UnboundedSender<LiveMessage>,
}

impl LiveSender for Sending {
    fn send(&mut self, message: LiveMessage) -> Pending<'_, ()> {
        let answer = match message {
            LiveMessage::Alive => {
                self.traffic.pings.fetch_add(1, Ordering::Relaxed);
                Some(LiveMessage::Alive)
            }
            LiveMessage::Text(_) => None,
            LiveMessage::Binary(bytes) => {
                self.traffic.requests.fetch_add(1, Ordering::Relaxed);
                match decode::<LiveFrame>(Form::Cbor, &bytes) {
                    Ok(LiveFrame::Request(request)) => {
                        let frame: LiveFrame<VersionEntry> =
                            LiveFrame::Response(up_to_date(&request));
                        Some(LiveMessage::Binary(encode(Form::Cbor, &frame)))
                    }
                    _ => None,
                }
            }
        };
        let sent = answer.is_some_and(|answer| self.say.send(answer).is_ok());
        Box::pin(ready(if sent {
            Ok(())
        } else {
            Err(TransportError::Broken("the simulated socket".to_owned()))
        }))
    }
}

struct Receiving(UnboundedReceiver<LiveMessage>);

impl LiveReceiver for Receiving {
    fn receive(&mut self) -> Pending<'_, Option<LiveMessage>> {
        Box::pin(async { Ok(self.0.recv().await) })
    }
}
