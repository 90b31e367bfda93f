//! A network that misbehaves on demand: wraps the real transport.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use driftline::environment::BoxFuture;
use driftline::transport::{
    Body, HttpRequest, HttpResponse, LiveSocket, Transport, TransportError,
};

/// What happens to one request.
#[derive(Clone, Debug, PartialEq)]
#[allow(dead_code)]
pub enum Fault {
    /// It never reaches the server.
    LoseRequest,
    /// The server answers; the answer never arrives.
    LoseAnswer,
    /// It reaches the server twice; the second answer arrives.
    Duplicate,
    /// Something else answers with this status, content type and body.
    Answer(u16, &'static str, &'static str),
    /// The answer's body is cut after so many bytes.
    Cut(usize),
}

/// A transport with a list of faults for the requests to come, and counters.
pub struct Faulty {
    inner: Arc<dyn Transport>,
    script: Arc<Mutex<VecDeque<Option<Fault>>>>,
    always: Arc<Mutex<Option<Fault>>>,
    pattern: Arc<Mutex<Vec<Option<Fault>>>>,
    /// Requests made so far.
    pub requests: Arc<AtomicUsize>,
    /// Live sockets asked for so far.
    pub sockets: Arc<AtomicUsize>,
}

#[allow(dead_code)]
impl Faulty {
    pub fn new(inner: Arc<dyn Transport>) -> Arc<Faulty> {
        Arc::new(Faulty {
            inner,
            script: Arc::default(),
            always: Arc::default(),
            pattern: Arc::default(),
            requests: Arc::default(),
            sockets: Arc::default(),
        })
    }

    /// The next request meets this; further ones queue up behind.
    pub fn next(&self, fault: Fault) {
        self.script.lock().unwrap().push_back(Some(fault));
    }

    /// Every request meets this until told otherwise.
    pub fn always(&self, fault: Option<Fault>) {
        *self.always.lock().unwrap() = fault;
    }

    /// Requests meet these in turn, again and again.
    pub fn cycle(&self, pattern: &[Option<Fault>]) {
        *self.pattern.lock().unwrap() = pattern.to_vec();
    }

    pub fn count(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

impl Transport for Faulty {
    fn request(&self, request: HttpRequest) -> BoxFuture<Result<HttpResponse, TransportError>> {
        let number = self.requests.fetch_add(1, Ordering::SeqCst);
        let scripted = self.script.lock().unwrap().pop_front().flatten();
        let pattern = self.pattern.lock().unwrap().clone();
        let turn = pattern
            .get(number % pattern.len().max(1))
            .cloned()
            .flatten();
        let fault = scripted
            .or(turn)
            .or_else(|| self.always.lock().unwrap().clone());
        let inner = self.inner.clone();
        Box::pin(async move {
            let lost = || Err(TransportError::Broken("cut by the test".to_owned()));
            match fault {
                None => inner.request(request).await,
                Some(Fault::LoseRequest) => lost(),
                Some(Fault::LoseAnswer) => {
                    drain(inner.request(request).await?).await;
                    lost()
                }
                Some(Fault::Duplicate) => {
                    drain(inner.request(request.clone()).await?).await;
                    inner.request(request).await
                }
                Some(Fault::Answer(status, content_type, body)) => Ok(HttpResponse {
                    status,
                    content_type: Some(content_type.to_owned()),
                    content_encoding: None,
                    retry_after_ms: None,
                    body: Box::new(Canned(Some(body.as_bytes().to_vec()))),
                }),
                Some(Fault::Cut(after)) => {
                    let response = inner.request(request).await?;
                    Ok(HttpResponse {
                        body: Box::new(CutBody {
                            inner: response.body,
                            left: after,
                        }),
                        ..response
                    })
                }
            }
        })
    }

    fn connect(&self, request: HttpRequest) -> BoxFuture<Result<LiveSocket, TransportError>> {
        self.sockets.fetch_add(1, Ordering::SeqCst);
        let down = self.always.lock().unwrap().is_some();
        if down {
            return Box::pin(async {
                Err(TransportError::Unreachable("down by the test".to_owned()))
            });
        }
        self.inner.connect(request)
    }
}

/// Reads an answer to its end: the server has committed by then.
async fn drain(mut response: HttpResponse) {
    while let Some(Ok(_)) = response.body.next().await {}
}

struct Canned(Option<Vec<u8>>);

type Piece<'a> =
    std::pin::Pin<Box<dyn Future<Output = Option<Result<Vec<u8>, TransportError>>> + Send + 'a>>;

impl Body for Canned {
    fn next(&mut self) -> Piece<'_> {
        let piece = self.0.take().map(Ok);
        Box::pin(std::future::ready(piece))
    }
}

struct CutBody {
    inner: Box<dyn Body>,
    left: usize,
}

impl Body for CutBody {
    fn next(&mut self) -> Piece<'_> {
        Box::pin(async {
            if self.left == 0 {
                return Some(Err(TransportError::Broken("cut by the test".to_owned())));
            }
            let mut piece = self.inner.next().await?.ok()?;
            piece.truncate(self.left);
            self.left -= piece.len();
            Some(Ok(piece))
        })
    }
}
