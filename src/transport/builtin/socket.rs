//! Live sockets: a request that the server answers by switching to WebSocket.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use http::header::{
    CONNECTION, CONTENT_TYPE, HeaderMap, HeaderValue, SEC_WEBSOCKET_ACCEPT,
    SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION,
    UPGRADE,
};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::activity::{Activity, silence};
use super::exchange::{self, ArrivingBody};
use super::{HttpClient, errors};
use crate::transport::{
    Body, BorrowingFuture, LiveMessage, LiveReceiver, LiveSender, LiveSocket, TransportError,
};

/// Far above a page; what is larger is not from a Driftline server.
const LARGEST_MESSAGE: usize = 32 << 20;

/// Small frames are the rule; the library's 128 KiB would be held for every open socket.
const READ_BUFFER: usize = 32 << 10;

/// Enough for any error object; a refusal's body is only explained with, never applied.
const LARGEST_REFUSAL: usize = 64 << 10;

/// How long the answer to the other side's goodbye may take.
const GOODBYE: Duration = Duration::from_secs(1);

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// Opens a socket.
pub(super) async fn open(
    client: &HttpClient,
    mut request: Request<Full<Bytes>>,
    idle: Duration,
) -> Result<LiveSocket, TransportError> {
    let key = generate_key();
    ask_for_upgrade(request.headers_mut(), &key)?;
    let asked_protocol = request.headers().contains_key(SEC_WEBSOCKET_PROTOCOL);
    let answer = exchange::head(client, request, idle).await?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(refusal(answer, idle).await);
    }
    check_upgrade(answer.headers(), &key, asked_protocol)?;
    let activity = answer.extensions().get::<Arc<Activity>>().cloned();
    let connection = hyper::upgrade::on(answer)
        .await
        .map_err(errors::under_way)?;
    let limits = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .max_message_size(Some(LARGEST_MESSAGE))
        .max_frame_size(Some(LARGEST_MESSAGE));
    let socket =
        Socket::from_raw_socket(TokioIo::new(connection), Role::Client, Some(limits)).await;
    let (sink, stream) = socket.split();
    Ok((
        Box::new(Sender {
            sink,
            activity,
            idle,
        }),
        Box::new(Receiver {
            stream,
            over: false,
        }),
    ))
}

fn ask_for_upgrade(headers: &mut HeaderMap, key: &str) -> Result<(), TransportError> {
    let key = HeaderValue::from_str(key)
        .map_err(|_| TransportError::BadAddress("the socket's key".to_owned()))?;
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    headers.insert(SEC_WEBSOCKET_KEY, key);
    Ok(())
}

/// RFC 6455, section 4.1: what makes a 101 the answer to this very request.
fn check_upgrade(
    headers: &HeaderMap,
    key: &str,
    asked_protocol: bool,
) -> Result<(), TransportError> {
    let is = |name, wanted: &str| {
        headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .any(|value| {
                value
                    .split(',')
                    .any(|token| token.trim().eq_ignore_ascii_case(wanted))
            })
    };
    let accepted = headers
        .get(SEC_WEBSOCKET_ACCEPT)
        .is_some_and(|given| given.as_bytes() == derive_accept_key(key.as_bytes()).as_bytes());
    let only_what_was_asked = !headers.contains_key(SEC_WEBSOCKET_EXTENSIONS)
        && (asked_protocol || !headers.contains_key(SEC_WEBSOCKET_PROTOCOL));
    if is(UPGRADE, "websocket") && is(CONNECTION, "upgrade") && accepted && only_what_was_asked {
        return Ok(());
    }
    Err(TransportError::Broken(
        "the answer does not open a WebSocket".to_owned(),
    ))
}

async fn refusal(answer: Response<Incoming>, idle: Duration) -> TransportError {
    let status = answer.status().as_u16();
    let content_type = exchange::text(answer.headers(), CONTENT_TYPE);
    let retry_after_ms = exchange::retry_after_ms(answer.headers());
    let mut arriving = ArrivingBody::new(answer.into_body(), idle);
    let mut body = Vec::new();
    // A body that breaks off explains less; the refusal stands.
    while body.len() < LARGEST_REFUSAL
        && let Some(Ok(piece)) = arriving.next().await
    {
        body.extend_from_slice(&piece);
    }
    body.truncate(LARGEST_REFUSAL);
    TransportError::Refused {
        status,
        content_type,
        retry_after_ms,
        body,
    }
}

struct Sender {
    sink: SplitSink<Socket, Message>,
    activity: Option<Arc<Activity>>,
    idle: Duration,
}

impl Sender {
    async fn put(&mut self, message: Message) -> Result<(), TransportError> {
        let activity = self.activity.as_ref();
        tokio::select! {
            biased;
            sent = self.sink.send(message) => sent.map_err(errors::on_socket),
            () = silence(|| activity.map(|activity| activity.last()), self.idle) => {
                Err(TransportError::TimedOut)
            }
        }
    }
}

impl LiveSender for Sender {
    fn send(&mut self, message: LiveMessage) -> BorrowingFuture<'_, Result<(), TransportError>> {
        Box::pin(self.put(match message {
            LiveMessage::Binary(message) => Message::Binary(Bytes::from(message)),
            LiveMessage::Text(message) => Message::text(message),
            LiveMessage::Alive => Message::Ping(Bytes::new()),
        }))
    }

    fn close(&mut self) -> BorrowingFuture<'_, Result<(), TransportError>> {
        Box::pin(self.put(Message::Close(None)))
    }
}

struct Receiver {
    stream: SplitStream<Socket>,
    over: bool,
}

impl Receiver {
    async fn message(&mut self) -> Result<Option<LiveMessage>, TransportError> {
        while !self.over {
            match self.stream.next().await {
                Some(Ok(Message::Binary(content))) => {
                    return Ok(Some(LiveMessage::Binary(Vec::from(content))));
                }
                Some(Ok(Message::Text(content))) => {
                    return Ok(Some(LiveMessage::Text(content.as_str().to_owned())));
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {
                    return Ok(Some(LiveMessage::Alive));
                }
                Some(Ok(Message::Close(_))) => {
                    self.over = true;
                    // The goodbye is answered while the stream is read on.
                    let _ = tokio::time::timeout(GOODBYE, self.stream.next()).await;
                }
                Some(Ok(Message::Frame(_))) => {}
                Some(Err(error)) => {
                    self.over = true;
                    return Err(errors::on_socket(error));
                }
                None => self.over = true,
            }
        }
        Ok(None)
    }
}

impl LiveReceiver for Receiver {
    fn receive(&mut self) -> BorrowingFuture<'_, Result<Option<LiveMessage>, TransportError>> {
        Box::pin(self.message())
    }
}
