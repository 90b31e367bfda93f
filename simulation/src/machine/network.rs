//! What lies between devices and the server: requests go through the server's own router, in
//! process, and meet the weather on their way.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Body as AxumBody;
use driftline::environment::{BoxFuture, Executor as _};
use driftline::transport::{
    Body, HttpRequest, HttpResponse, LiveSocket, Transport, TransportError,
};
use driftline_server::LocalSocket;
use driftline_simvfs::Life;
use http_body_util::BodyExt;
use tokio::sync::oneshot;
use tower_service::Service;

use super::sockets::{self, FrameFate, UNREAD, Way};
use super::tasks::Executor;

/// What happens to one message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It arrives after so many milliseconds.
    Arrives(u64),
    /// It arrives twice, the second time after so many milliseconds more.
    Twice(u64, u64),
    /// It is lost, and the sender finds out after so many milliseconds.
    Lost(u64),
    /// It is cut after so many bytes.
    Cut(usize),
    /// It does not get there: something on the way answers a request like this.
    Answered(Canned),
}

/// What answers in the server's place: a proxy, a captive portal, a server that is not itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Canned {
    /// The status.
    pub status: u16,
    /// What it says it is.
    pub content_type: &'static str,
    /// What it says.
    pub body: &'static str,
    /// How long it asks for patience.
    pub retry_after_ms: Option<u64>,
}

/// Decides what happens to messages.
pub trait Weather: Send {
    /// A request of a device.
    fn request(&mut self, device: usize) -> Fate;
    /// An answer to a device.
    fn answer(&mut self, device: usize) -> Fate;
    /// A request as it leaves a device.
    fn sent(&mut self, _device: usize, _request: &HttpRequest) {}
    /// An answer as the server made it.
    fn answered(&mut self, _device: usize, _status: u16, _body: &[Vec<u8>]) {}
    /// How long a further piece of an answer takes to a device.
    fn piece(&mut self, _device: Option<usize>) -> u64 {
        0
    }
    /// How much longer a live socket takes to open than a request takes.
    fn handshake(&mut self, _device: usize) -> u64 {
        0
    }
    /// A message on a live socket.
    fn frame(&mut self, _device: usize, _way: Way, _bytes: &[u8]) -> FrameFate {
        FrameFate::Arrives(0)
    }
    /// A device says something on a live socket that does not lead anywhere any more.
    fn unheard(&mut self, _device: usize, _bytes: &[u8]) {}
    /// Whether an end of a socket hears that the other is gone, or has to find out.
    fn is_told(&mut self, _device: usize) -> bool {
        true
    }
    /// Whether the newest frame of an earlier socket comes once more on a new one.
    fn repeats(&mut self, _device: usize) -> bool {
        false
    }
}

/// Everything arrives at once.
struct Calm;

impl Weather for Calm {
    fn request(&mut self, _: usize) -> Fate {
        Fate::Arrives(0)
    }
    fn answer(&mut self, _: usize) -> Fate {
        Fate::Arrives(0)
    }
}

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

/// A whole answer.
struct Answer {
    head: http::response::Parts,
    pieces: Vec<Vec<u8>>,
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

type Sent<T> = Result<T, TransportError>;

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
        Link {
            network: self.clone(),
            device,
            executor,
            life,
        }
    }

    /// Has the server work on a request; what comes of it arrives at the other end of the channel,
    /// if anything does. The server goes on when nobody listens any more.
    fn hand_over(
        &self,
        device: Option<usize>,
        request: &HttpRequest,
        after: u64,
    ) -> oneshot::Receiver<Sent<Answer>> {
        self.hand_over_with(device, request, after, None)
    }

    /// The same with the server's end of a socket.
    fn hand_over_with(
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
    fn repeated(&self, device: usize) -> Option<Vec<u8>> {
        let mut state = self.state();
        let frame = state.frames.get(&device).cloned()?;
        state.weather.repeats(device).then_some(frame)
    }

    /// Sends what somebody without a device made up, past the weather. Its status comes when the
    /// server has answered.
    pub fn stranger(&self, request: &HttpRequest) -> Stranger {
        Stranger(self.hand_over(None, request, 0))
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

/// A device's way to the server.
#[derive(Clone)]
pub(super) struct Link {
    network: Network,
    device: usize,
    executor: Executor,
    life: Life,
}

/// The status that says that a socket is open.
const SWITCHING: u16 = 101;

/// What a device is told that gets an answer in place of a socket.
async fn refused(mut response: HttpResponse) -> TransportError {
    let mut body = Vec::new();
    while let Some(Ok(piece)) = response.body.next().await {
        body.extend_from_slice(&piece);
    }
    TransportError::Refused {
        status: response.status,
        content_type: response.content_type,
        retry_after_ms: response.retry_after_ms,
        body,
    }
}

fn broken() -> TransportError {
    TransportError::Broken("the connection was lost".to_owned())
}

impl Link {
    /// Opens a live socket.
    async fn open(self, request: HttpRequest) -> Sent<LiveSocket> {
        let (going, coming) = self.fates(&request)?;
        let handshake = self.network.state().weather.handshake(self.device);
        if handshake > 0 {
            self.executor.sleep(handshake).await;
        }
        let (socket, end) = LocalSocket::pair(UNREAD);
        let answer = match going {
            Fate::Lost(after) => {
                self.executor.sleep(after).await;
                return Err(broken());
            }
            Fate::Arrives(after) | Fate::Twice(after, _) => {
                self.network
                    .hand_over_with(Some(self.device), &request, after, Some(socket))
            }
            Fate::Cut(_) => return Err(broken()),
            Fate::Answered(canned) => return Err(refused(canned.response()).await),
        };
        let server = self
            .network
            .state()
            .server
            .as_ref()
            .map(|it| it.life.clone());
        let answer = answer.await.unwrap_or_else(|_| Err(broken()))?;
        let status = answer.head.status.as_u16();
        self.network
            .state()
            .weather
            .answered(self.device, status, &answer.pieces);
        match coming {
            Fate::Answered(canned) => return Err(refused(canned.response()).await),
            Fate::Lost(after) => {
                self.executor.sleep(after).await;
                return Err(broken());
            }
            Fate::Arrives(after) | Fate::Twice(after, _) => self.executor.sleep(after).await,
            Fate::Cut(_) => return Err(broken()),
        }
        let (SWITCHING, Some(server)) = (status, server) else {
            return Err(refused(answer.into_response(usize::MAX)).await);
        };
        let (network, device) = (self.network.clone(), self.device);
        let repeated = self.network.repeated(device);
        let executor = self.executor.of_nobody();
        Ok(sockets::connect(
            network, device, executor, server, end, repeated,
        ))
    }

    /// What happens to a request and to its answer.
    fn fates(&self, request: &HttpRequest) -> Sent<(Fate, Fate)> {
        if !self.life.is_alive() {
            return Err(broken());
        }
        let mut state = self.network.state();
        state.requests += 1;
        state.weather.sent(self.device, request);
        let going = state.weather.request(self.device);
        Ok((going, state.weather.answer(self.device)))
    }

    async fn exchange(self, request: HttpRequest) -> Sent<HttpResponse> {
        let (going, coming) = self.fates(&request)?;
        let mut request = request;
        let answer = match going {
            Fate::Lost(after) => {
                self.executor.sleep(after).await;
                return Err(broken());
            }
            Fate::Arrives(after) => self.network.hand_over(Some(self.device), &request, after),
            Fate::Twice(after, again) => {
                // Nobody hears the answer to the second.
                let device = Some(self.device);
                drop(self.network.hand_over(device, &request, after + again));
                self.network.hand_over(device, &request, after)
            }
            Fate::Cut(bytes) => {
                request.body.truncate(bytes);
                self.network.hand_over(Some(self.device), &request, 0)
            }
            Fate::Answered(canned) => return Ok(canned.response()),
        };
        let answer = answer.await.unwrap_or_else(|_| Err(broken()))?;
        let status = answer.head.status.as_u16();
        self.network
            .state()
            .weather
            .answered(self.device, status, &answer.pieces);
        match coming {
            Fate::Answered(canned) => Ok(canned.response()),
            Fate::Lost(after) => {
                self.executor.sleep(after).await;
                Err(broken())
            }
            Fate::Arrives(after) | Fate::Twice(after, _) => {
                self.executor.sleep(after).await;
                Ok(answer.into_response(usize::MAX))
            }
            Fate::Cut(bytes) => Ok(answer.into_response(bytes)),
        }
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

impl Answer {
    /// As the device gets it, its body cut after `most` bytes.
    fn into_response(self, most: usize) -> HttpResponse {
        let header = |name: &str| {
            let value = self.head.headers.get(name)?;
            Some(value.to_str().ok()?.to_owned())
        };
        let retry_after = header("retry-after").and_then(|seconds| seconds.parse::<u64>().ok());
        HttpResponse {
            status: self.head.status.as_u16(),
            content_type: header("content-type"),
            content_encoding: header("content-encoding"),
            retry_after_ms: retry_after.map(|seconds| seconds.saturating_mul(1000)),
            body: Box::new(Pieces {
                left: self.pieces.into_iter(),
                most,
            }),
        }
    }
}

impl Canned {
    fn response(self) -> HttpResponse {
        HttpResponse {
            status: self.status,
            content_type: Some(self.content_type.to_owned()),
            content_encoding: None,
            retry_after_ms: self.retry_after_ms,
            body: Box::new(Pieces {
                left: vec![self.body.as_bytes().to_vec()].into_iter(),
                most: usize::MAX,
            }),
        }
    }
}

/// A body that may be cut.
struct Pieces {
    left: std::vec::IntoIter<Vec<u8>>,
    most: usize,
}

impl Body for Pieces {
    fn next(&mut self) -> Pin<Box<dyn Future<Output = Option<Sent<Vec<u8>>>> + Send + '_>> {
        let next = match self.left.next() {
            Some(_) if self.most == 0 => Some(Err(broken())),
            Some(mut piece) => {
                piece.truncate(self.most);
                self.most -= piece.len();
                Some(Ok(piece))
            }
            None => None,
        };
        Box::pin(std::future::ready(next))
    }
}

impl Transport for Link {
    fn request(&self, request: HttpRequest) -> BoxFuture<Sent<HttpResponse>> {
        Box::pin(self.clone().exchange(request))
    }

    fn connect(&self, request: HttpRequest) -> BoxFuture<Sent<LiveSocket>> {
        Box::pin(self.clone().open(request))
    }
}
