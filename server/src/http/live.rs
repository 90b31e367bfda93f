//! `GET /v1/workspaces/{workspace}/live`: a WebSocket that tells of every commit and takes the same
//! requests as the sync endpoint, through the same code and the same checks.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::ws::{CloseFrame, Message};
use axum::extract::{Path, Request, State};
use axum::response::Response;
use bytes::Bytes;
use driftline_core::protocol::{
    Encoded, Form, LiveFrame, SyncRequest, compress, encode, encode_cbor, inflate, limits,
};
use http::HeaderMap;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::serve::stopped;
use super::socket::{Gone, Handshake, Socket};
use super::{Access, Shared, access, body, error, sync};
use crate::problem::Problem;
use crate::workspace::{Frame, Listener, Workspace};

/// Why the server closes a socket.
mod close {
    /// The server stops; connect again later.
    pub(super) const GOING_AWAY: (u16, &str) = (1001, "the server stops");
    /// The token stopped holding; connect with a new one.
    pub(super) const TOKEN_EXPIRED: (u16, &str) = (4401, "the token has expired");
    /// Nothing was heard for too long.
    pub(super) const SILENT: (u16, &str) = (4408, "nothing was heard for too long");
}

pub(super) async fn live(
    State(shared): State<Arc<Shared>>,
    path: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    let form = body::answer_form(request.headers());
    let outcome = match path {
        Ok(Path(workspace)) => open(&shared, &workspace, request).await,
        Err(_) => Err(Problem::NotFound),
    };
    outcome.unwrap_or_else(|problem| error::response(&problem, form))
}

async fn open(
    shared: &Arc<Shared>,
    workspace: &str,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let (mut parts, _) = request.into_parts();
    let access = access(shared, &parts.headers, workspace)?;
    shared.rate_of(&access.account, "")?;
    let handshake = Handshake::of(&mut parts).await?;
    let workspace = shared.registry.workspace(&access.workspace).await?;
    let place = Arc::clone(&shared.sockets)
        .try_acquire_owned()
        .map_err(|_| Problem::Busy)?;
    if workspace.feed().listeners() >= shared.limits.live_per_workspace {
        return Err(Problem::Busy);
    }
    // Listening begins before the device hears that the socket is open: what it pulls then and
    // what it is told meet without a gap.
    let session = Session {
        shared: Arc::clone(shared),
        feed: workspace.feed().listen(),
        _workspace: workspace,
        access,
        form: form_of(&parts.headers, parts.uri.query()),
        listener: sync::listener_of(parts.uri.query()),
        zstd: body::accepts_zstd(&parts.headers),
        _place: place,
    };
    let run = |socket| session.run(socket);
    Ok(handshake.accept(shared.limits.max_body, &shared.environment, run))
}

/// JSON for those who ask for it by subprotocol or by `form=json`.
fn form_of(headers: &HeaderMap, query: Option<&str>) -> Form {
    let asked = query
        .unwrap_or_default()
        .split('&')
        .any(|pair| pair == "form=json");
    let named = headers.get_all(http::header::SEC_WEBSOCKET_PROTOCOL).iter();
    let offered: Vec<&str> = named
        .filter_map(|value| value.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(str::trim)
        .collect();
    let json = offered.contains(&"driftline.json") && !offered.contains(&"driftline.cbor");
    if asked || json {
        Form::Json
    } else {
        Form::Cbor
    }
}

struct Session {
    shared: Arc<Shared>,
    feed: Receiver<Frame>,
    // Keeps the workspace open while somebody listens.
    _workspace: Arc<Workspace>,
    access: Access,
    form: Form,
    /// What the device calls this socket.
    listener: Listener,
    zstd: bool,
    _place: OwnedSemaphorePermit,
}

/// Why a session ends: the other side is gone, or it is told to go.
enum End {
    Gone,
    Close((u16, &'static str)),
}

impl Session {
    async fn run(mut self, mut socket: Socket) {
        let end = self.converse(&mut socket).await;
        if let End::Close((code, reason)) = end {
            let frame = CloseFrame {
                code,
                reason: reason.into(),
            };
            // Courtesy only; the device finds out by itself.
            let _ = self.send(&mut socket, Message::Close(Some(frame))).await;
        }
        tracing::debug!("a live socket ended");
    }

    async fn converse(&mut self, socket: &mut Socket) -> End {
        let mut stopping = self.shared.stopping.subscribe();
        let mut heard = self.now();
        let mut pinged = heard;
        loop {
            let wake = self
                .shared
                .environment
                .executor
                .sleep(self.until_next(heard, pinged));
            tokio::select! {
                // The order is fixed, so that a simulation can be repeated. Requests come first: a
                // device that asks without end holds up its own news only.
                biased;
                () = stopped(&mut stopping) => return End::Close(close::GOING_AWAY),
                message = socket.receive() => {
                    let Ok(message) = message else { return End::Gone };
                    heard = self.now();
                    if self.expired() {
                        return End::Close(close::TOKEN_EXPIRED);
                    }
                    if self.answer(socket, message).await.is_err() {
                        return End::Gone;
                    }
                }
                frame = self.feed.recv() => {
                    if self.tell(socket, frame).await.is_err() {
                        return End::Gone;
                    }
                }
                () = wake => {}
            }
            let now = self.now();
            if self.expired() {
                return End::Close(close::TOKEN_EXPIRED);
            }
            if now - heard >= millis(self.shared.limits.live_idle_ms) {
                return End::Close(close::SILENT);
            }
            if now - heard.max(pinged) >= millis(self.shared.limits.heartbeat_ms) {
                pinged = now;
                if self
                    .send(socket, Message::Ping(Bytes::new()))
                    .await
                    .is_err()
                {
                    return End::Gone;
                }
            }
        }
    }

    /// Milliseconds until the session has to look at its clocks.
    fn until_next(&self, heard: i64, pinged: i64) -> u64 {
        let limits = &self.shared.limits;
        let ping = heard
            .max(pinged)
            .saturating_add(millis(limits.heartbeat_ms));
        let idle = heard.saturating_add(millis(limits.live_idle_ms));
        let expiry = self
            .access
            .until
            .saturating_sub(self.shared.environment.clock.wall());
        let wait = (ping.min(idle) - self.now()).min(expiry);
        // The wall clock may be set meanwhile; and a timer may fire a little early.
        u64::try_from(wait).unwrap_or(0).clamp(1, 60_000)
    }

    async fn tell(&self, socket: &mut Socket, frame: Result<Frame, RecvError>) -> Result<(), Gone> {
        let bytes = match frame {
            // In fewer bytes, and with results.
            Ok(frame) if frame.is_known_to(self.listener) => return Ok(()),
            Ok(Frame::Versions(committed)) => committed.in_form(self.form, self.zstd),
            // Frames were dropped for it, or never made.
            Ok(Frame::Behind(_)) | Err(RecvError::Lagged(_)) => self.encoded(LiveFrame::Behind)?,
            Err(RecvError::Closed) => return Err(Gone),
        };
        self.send(socket, self.message(bytes)?).await
    }

    async fn answer(&self, socket: &mut Socket, message: Message) -> Result<(), Gone> {
        let request = match message {
            Message::Binary(bytes) => self.read(Form::Cbor, bytes).await,
            Message::Text(text) => self.read(Form::Json, text.into()).await,
            Message::Close(_) => return Err(Gone),
            Message::Ping(_) | Message::Pong(_) => return Ok(()),
        };
        let (tag, outcome) = match request {
            Ok(request) => (
                request.tag,
                sync::handle(&self.shared, &self.access, request.into(), self.listener).await,
            ),
            Err(problem) => (0, Err(problem)),
        };
        let frame = match outcome {
            Ok(answer) => LiveFrame::Response(answer),
            Err(problem) => {
                let (status, failure) = error::failure(&problem);
                LiveFrame::Failed {
                    status: status.as_u16(),
                    failure,
                    tag,
                }
            }
        };
        let bytes = self.encoded(frame)?;
        self.send(socket, self.message(bytes)?).await
    }

    async fn read(&self, form: Form, bytes: Bytes) -> Result<SyncRequest, Problem> {
        let (most, depth) = (self.shared.limits.max_body, self.shared.limits.max_depth);
        let long = bytes.len() > sync::LONG;
        sync::offload_if(&self.shared, long, move || {
            let bytes = inflate(&bytes, most).map_err(|e| Problem::Malformed(e.to_string()))?;
            match body::message::<LiveFrame>(form, &bytes, depth)? {
                LiveFrame::Request(request) => Ok(request),
                _ => Err(Problem::Malformed(
                    "a device sends requests only".to_owned(),
                )),
            }
        })
        .await
    }

    fn encoded(&self, frame: LiveFrame<Encoded>) -> Result<Bytes, Gone> {
        let bytes = match self.form {
            Form::Cbor => encode_cbor(&frame),
            Form::Json => encode(Form::Json, &decoded(frame)?),
        };
        let compressed =
            self.form == Form::Cbor && self.zstd && bytes.len() > limits::COMPRESS_ABOVE;
        Ok(if compressed {
            compress(&bytes).into()
        } else {
            bytes.into()
        })
    }

    fn message(&self, bytes: Bytes) -> Result<Message, Gone> {
        match self.form {
            Form::Cbor => Ok(Message::Binary(bytes)),
            Form::Json => Ok(Message::Text(bytes.try_into().map_err(|_| Gone)?)),
        }
    }

    async fn send(&self, socket: &mut Socket, message: Message) -> Result<(), Gone> {
        // Whoever does not read for so long is closed rather than waited for.
        let sent = socket.send(message);
        match self
            .shared
            .environment
            .within(self.shared.limits.live_send_ms, sent)
            .await
        {
            Some(Ok(())) => Ok(()),
            _ => Err(Gone),
        }
    }

    fn expired(&self) -> bool {
        self.shared.environment.clock.wall() >= self.access.until
    }

    fn now(&self) -> i64 {
        self.shared.environment.clock.monotonic()
    }
}

fn decoded(frame: LiveFrame<Encoded>) -> Result<LiveFrame, Gone> {
    Ok(match frame {
        LiveFrame::Response(answer) => {
            LiveFrame::Response(sync::decoded(answer).map_err(|_| Gone)?)
        }
        LiveFrame::Failed {
            status,
            failure,
            tag,
        } => LiveFrame::Failed {
            status,
            failure,
            tag,
        },
        _ => LiveFrame::Behind,
    })
}

fn millis(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
