//! What lies between devices and the server: requests go through the server's own router, in
//! process, and meet the weather on their way.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Body as AxumBody;
use axum::extract::ws::Message;
use driftline::environment::Executor as _;
use driftline::transport::{HttpRequest, TransportError};
use driftline_server::{LocalEnd, LocalSocket};
use driftline_simvfs::Life;
use http_body_util::BodyExt;
use tokio::sync::oneshot;
use tower_service::Service;

use super::answer::{Answer, Sent, broken};
use super::executor::Executor;
use super::link::Link;
use super::sockets::{FrameFate, UNREAD, Way};
use super::weather::{Calm, Fate, Weather};

/// The network. Cloning shares it.
#[derive(Clone)]
pub struct Network {
    state: Arc<Mutex<State>>,
}

struct State {
    server: Option<Served>,
    weather: Box<dyn Weather>,
    requests: u64,
    /// The newest frame of versions that each device got.
    frames: BTreeMap<usize, Vec<u8>>,
}

/// The server that runs.
#[derive(Clone)]
pub(super) struct Served {
    pub(super) router: Router,
    pub(super) executor: Executor,
    pub(super) life: Life,
}

/// A request of somebody without a device.
pub struct Stranger(oneshot::Receiver<Sent<Answer>>);

impl Stranger {
    /// The status it was answered with and the answer's bytes, once there is one.
    pub fn answer(&mut self) -> Option<(u16, Vec<u8>)> {
        let answer = self.0.try_recv().ok()?.ok()?;
        Some((answer.head.status.as_u16(), answer.pieces.concat()))
    }
}

/// A live socket of somebody without a device. Dropped, it breaks.
pub struct StrangersSocket {
    handshake: Stranger,
    end: LocalEnd,
}

impl StrangersSocket {
    /// What the handshake was answered with, once it was.
    pub fn answer(&mut self) -> Option<(u16, Vec<u8>)> {
        self.handshake.answer()
    }

    /// What the server has said on it since.
    pub fn heard(&mut self) -> Vec<Vec<u8>> {
        let messages = std::iter::from_fn(|| self.end.from_server.try_recv().ok());
        let binary = messages.filter_map(|message| match message {
            Message::Binary(bytes) => Some(bytes.to_vec()),
            _ => None,
        });
        binary.collect()
    }
}

impl Default for Network {
    fn default() -> Network {
        Network {
            state: Arc::new(Mutex::new(State {
                server: None,
                weather: Box::new(Calm),
                requests: 0,
                frames: BTreeMap::new(),
            })),
        }
    }
}

impl Network {
    /// The server can be reached from now on, or no more.
    pub(super) fn serve(&self, server: Option<Served>) {
        self.state().server = server;
    }

    /// Another weather from now on.
    pub fn set_weather(&self, weather: Box<dyn Weather>) {
        self.state().weather = weather;
    }

    /// Everything arrives at once from now on.
    pub fn calm(&self) {
        self.set_weather(Box::new(Calm));
    }

    /// Requests sent so far.
    pub fn requests(&self) -> u64 {
        self.state().requests
    }

    /// The transport of one device, whose timers are its own.
    pub(super) fn link(&self, device: usize, executor: Executor, life: Life) -> Link {
        Link::new(self.clone(), device, executor, life)
    }

    /// Has the server work on a request; what comes of it arrives at the other end of the channel,
    /// if anything does. The server goes on when nobody listens any more.
    pub(super) fn hand_over(
        &self,
        device: Option<usize>,
        request: &HttpRequest,
        after: u64,
    ) -> oneshot::Receiver<Sent<Answer>> {
        self.hand_over_with(device, request, after, None)
    }

    /// The same with the server's end of a socket.
    pub(super) fn hand_over_with(
        &self,
        device: Option<usize>,
        request: &HttpRequest,
        after: u64,
        socket: Option<LocalSocket>,
    ) -> oneshot::Receiver<Sent<Answer>> {
        let (answered, answer) = oneshot::channel();
        let server = self.state().server.clone();
        match (server, to_http(request)) {
            (None, _) => {
                let unreachable = TransportError::Unreachable("nobody answers".to_owned());
                let _ = answered.send(Err(unreachable));
            }
            (_, Err(error)) => {
                let _ = answered.send(Err(error));
            }
            (Some(mut server), Ok(mut request)) => {
                request.extensions_mut().extend(with_socket(socket));
                let (network, timers) = (self.clone(), server.executor.clone());
                server.executor.spawn(
                    "request",
                    Box::pin(async move {
                        timers.sleep(after).await;
                        let Ok(response) = server.router.call(request).await;
                        let answer = network.collected(device, &timers, response).await;
                        // A process that ended over it says nothing any more.
                        if server.life.is_alive() {
                            let _ = answered.send(answer);
                        }
                    }),
                );
            }
        }
        answer
    }

    /// A device sends a request: what happens to it, and to its answer.
    pub(super) fn fates(&self, device: usize, request: &HttpRequest) -> (Fate, Fate) {
        let mut state = self.state();
        state.requests += 1;
        state.weather.sent(device, request);
        let going = state.weather.request(device);
        (going, state.weather.answer(device))
    }

    pub(super) fn answered(&self, device: usize, status: u16, body: &[Vec<u8>]) {
        self.state().weather.answered(device, status, body);
    }

    pub(super) fn told(&self, device: usize, status: Option<u16>) {
        self.state().weather.told(device, status);
    }

    pub(super) fn handshake(&self, device: usize) -> u64 {
        self.state().weather.handshake(device)
    }

    /// The life of the server that can be reached, if one can.
    pub(super) fn server_life(&self) -> Option<Life> {
        let state = self.state();
        state.server.as_ref().map(|server| server.life.clone())
    }

    pub(super) fn frame(&self, device: usize, way: Way, bytes: &[u8]) -> FrameFate {
        self.state().weather.frame(device, way, bytes)
    }

    pub(super) fn unheard(&self, device: usize, bytes: &[u8]) {
        self.state().weather.unheard(device, bytes);
    }

    pub(super) fn is_told(&self, device: usize) -> bool {
        self.state().weather.is_told(device)
    }

    pub(super) fn keep_frame(&self, device: usize, bytes: Vec<u8>) {
        self.state().frames.insert(device, bytes);
    }

    /// What comes once more on a new socket of a device, if anything does.
    pub(super) fn repeated(&self, device: usize) -> Option<Vec<u8>> {
        let mut state = self.state();
        let frame = state.frames.get(&device).cloned()?;
        if !state.weather.repeats(device) {
            return None;
        }
        state.weather.repeated(device, &frame);
        Some(frame)
    }

    /// Sends what somebody without a device made up, past the weather. Its status comes when the
    /// server has answered.
    pub fn stranger(&self, request: &HttpRequest) -> Stranger {
        Stranger(self.hand_over(None, request, 0))
    }

    /// The same on a live socket, on which this message is the first.
    pub fn stranger_on_a_socket(&self, request: &HttpRequest, says: Vec<u8>) -> StrangersSocket {
        let (socket, end) = LocalSocket::pair(UNREAD);
        // There is room: nothing was sent yet.
        let _ = end.to_server.try_send(Message::Binary(says.into()));
        StrangersSocket {
            handshake: Stranger(self.hand_over_with(None, request, 0, Some(socket))),
            end,
        }
    }

    /// An answer, read to its end as the server makes it and the line takes it.
    async fn collected(
        &self,
        device: Option<usize>,
        timers: &Executor,
        response: http::Response<AxumBody>,
    ) -> Sent<Answer> {
        let (head, mut body) = response.into_parts();
        let mut pieces = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| broken())?;
            if let Ok(data) = frame.into_data() {
                pieces.push(data.to_vec());
            }
            let wait = match pieces.len() {
                1 => 0,
                _ => self.state().weather.piece(device),
            };
            if wait > 0 {
                timers.sleep(wait).await;
            }
        }
        Ok(Answer { head, pieces })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn with_socket(socket: Option<LocalSocket>) -> http::Extensions {
    let mut extensions = http::Extensions::new();
    if let Some(socket) = socket {
        extensions.insert(socket);
    }
    extensions
}

fn to_http(request: &HttpRequest) -> Sent<http::Request<AxumBody>> {
    let mut builder = http::Request::builder()
        .method(request.method)
        .uri(&request.url);
    for (name, value) in &request.headers {
        builder = builder.header(name.as_str(), value);
    }
    builder
        .header("content-length", request.body.len())
        .body(AxumBody::from(request.body.clone()))
        .map_err(|error| TransportError::BadAddress(error.to_string()))
}
