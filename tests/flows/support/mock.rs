//! A provider that does what a script says, in front of the real one.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use driftline::environment::BoxFuture;
use driftline::provider::{
    AuthTemplate, DriftlineProvider, Form, Live, Message, ProviderError, ProviderMode,
    ProviderRequest, SyncProvider,
};
use driftline::transport::{
    BorrowingFuture, BuiltinTransport, LiveMessage, LiveReceiver, TlsRoots, TransportError,
};
use tokio::sync::mpsc;

/// What becomes of one push or pull.
#[derive(Clone, Debug)]
pub enum Turn {
    /// The backend answers.
    Through,
    /// This comes instead; the backend hears nothing.
    Says(Result<String, ProviderError>),
    /// The backend answers; this comes instead.
    ButSays(Result<String, ProviderError>),
    /// The backend gets it twice; the second answer comes.
    Twice,
    /// The answer before this one comes again; the backend heard both requests.
    Again,
    /// It never ends.
    Hangs,
    /// The answer comes so late.
    Late(Duration),
    /// It panics at once.
    Panics,
    /// It panics while it is waited for.
    PanicsLater,
}

/// The header a request carried its token in, and what stood there.
type Auth = Option<(String, String)>;

/// What is looked at, or done, when a push is about to go out: the how manieth it is, and what it says.
type BeforePush = Box<dyn FnMut(usize, &ProviderRequest) + Send>;

/// A scripted provider. Clones share everything.
#[derive(Clone)]
pub struct Mock {
    inner: Arc<DriftlineProvider>,
    pub mode: ProviderMode,
    auth: AuthTemplate,
    script: Arc<Mutex<VecDeque<Turn>>>,
    last: Arc<Mutex<Option<Message>>>,
    listener: Arc<Mutex<Option<mpsc::UnboundedSender<LiveMessage>>>>,
    pub subscribes: bool,
    pub pushes: Arc<AtomicUsize>,
    pub pulls: Arc<AtomicUsize>,
    pub disposed: Arc<AtomicUsize>,
    pub auths: Arc<Mutex<Vec<Auth>>>,
    before_push: Arc<Mutex<Option<BeforePush>>>,
}

type Carried = BoxFuture<Result<Message, ProviderError>>;

impl Mock {
    /// In front of the server at `url`, in JSON, without subscription.
    pub fn new(url: &str) -> Mock {
        let transport = BuiltinTransport::new(&TlsRoots::default()).unwrap();
        Mock {
            inner: Arc::new(DriftlineProvider::new(url, Arc::new(transport)).with_form(Form::Json)),
            mode: ProviderMode::Direct,
            auth: AuthTemplate::default(),
            script: Arc::default(),
            last: Arc::default(),
            listener: Arc::default(),
            subscribes: false,
            pushes: Arc::default(),
            pulls: Arc::default(),
            disposed: Arc::default(),
            auths: Arc::default(),
            before_push: Arc::default(),
        }
    }

    pub fn with_auth(mut self, header: &str, value: &str) -> Mock {
        self.auth = AuthTemplate::new(header, value).unwrap();
        self
    }

    /// The next push or pull takes this turn; further ones queue up behind.
    pub fn next(&self, turn: Turn) {
        self.script.lock().unwrap().push_back(turn);
    }

    /// Has `look` called, on the engine's own thread, before each push.
    pub fn before_push(&self, look: impl FnMut(usize, &ProviderRequest) + Send + 'static) {
        *self.before_push.lock().unwrap() = Some(Box::new(look));
    }

    /// Tells the subscriber.
    pub fn tell(&self, message: LiveMessage) {
        let listener = self.listener.lock().unwrap();
        listener.as_ref().unwrap().send(message).unwrap();
    }

    fn carry(
        &self,
        request: ProviderRequest,
        through: impl Fn(&DriftlineProvider, ProviderRequest) -> Carried,
    ) -> Carried {
        self.auths.lock().unwrap().push(request.auth.clone());
        let turn = self.script.lock().unwrap().pop_front();
        let turn = turn.unwrap_or(Turn::Through);
        assert!(!matches!(turn, Turn::Panics), "by the script");
        let again = match turn {
            Turn::Twice => Some(through(&self.inner, request.clone())),
            _ => None,
        };
        let answer = through(&self.inner, request);
        let last = Arc::clone(&self.last);
        let said = |said: Result<String, ProviderError>| {
            said.map(|text| Message::plain(text.into_bytes()))
        };
        Box::pin(async move {
            match turn {
                Turn::Says(instead) => said(instead),
                Turn::ButSays(instead) => {
                    answer.await?;
                    said(instead)
                }
                Turn::Hangs => std::future::pending().await,
                Turn::PanicsLater => panic!("by the script"),
                Turn::Again => {
                    answer.await?;
                    Ok(last.lock().unwrap().clone().unwrap())
                }
                Turn::Late(by) => {
                    let answer = answer.await;
                    tokio::time::sleep(by).await;
                    answer
                }
                Turn::Through | Turn::Twice | Turn::Panics => {
                    if let Some(again) = again {
                        again.await?;
                    }
                    let answer = answer.await?;
                    *last.lock().unwrap() = Some(answer.clone());
                    Ok(answer)
                }
            }
        })
    }
}

impl SyncProvider for Mock {
    fn mode(&self) -> ProviderMode {
        self.mode
    }

    fn auth(&self) -> AuthTemplate {
        self.auth.clone()
    }

    fn push(&self, request: ProviderRequest) -> Carried {
        let number = self.pushes.fetch_add(1, Ordering::SeqCst) + 1;
        if let Some(look) = self.before_push.lock().unwrap().as_mut() {
            look(number, &request);
        }
        self.carry(request, |inner, request| inner.push(request))
    }

    fn pull(&self, request: ProviderRequest) -> Carried {
        self.pulls.fetch_add(1, Ordering::SeqCst);
        self.carry(request, |inner, request| inner.pull(request))
    }

    fn subscribe(&self, _: ProviderRequest) -> BoxFuture<Result<Live, ProviderError>> {
        if !self.subscribes {
            return Box::pin(std::future::ready(Err(ProviderError::NotOffered)));
        }
        let (sender, receiver) = mpsc::unbounded_channel();
        *self.listener.lock().unwrap() = Some(sender);
        Box::pin(std::future::ready(Ok(Live {
            sender: None,
            receiver: Box::new(Told(receiver)),
        })))
    }

    fn dispose(&self) {
        self.disposed.fetch_add(1, Ordering::SeqCst);
    }
}

struct Told(mpsc::UnboundedReceiver<LiveMessage>);

impl LiveReceiver for Told {
    fn receive(&mut self) -> BorrowingFuture<'_, Result<Option<LiveMessage>, TransportError>> {
        Box::pin(async { Ok(self.0.recv().await) })
    }
}
