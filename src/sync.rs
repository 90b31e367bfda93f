//! Connecting a database to a server.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use driftline_core::protocol::Form;
use driftline_core::sync::{Cause, Event, Settings, State, Status};

use crate::engine::{Command, Mailbox, Shared};
use crate::environment::{BoxFuture, Executor};
use crate::provider::{AuthTemplate, Providers};
use crate::status::SyncEvent;
use crate::transport::Transport;

/// Supplies tokens. Called when none is held, shortly before one expires, and once after the server
/// refused one; never twice at the same time.
pub trait TokenProvider: Send + std::marker::Sync {
    /// A token for this account, fresh if possible. One that no header can hold (a line break at its
    /// end, say) is not sent: the status says [`Cause::BadToken`].
    fn token(&self) -> BoxFuture<Result<String, TokenError>>;
}

/// The app could not supply a token. The text is shown in the status' error event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no token: {0}")]
pub struct TokenError(pub String);

impl<F> TokenProvider for F
where
    F: Fn() -> Result<String, TokenError> + Send + std::marker::Sync,
{
    fn token(&self) -> BoxFuture<Result<String, TokenError>> {
        let result = self();
        Box::pin(std::future::ready(result))
    }
}

/// Where and how to sync.
#[derive(Clone)]
pub struct SyncConfig {
    /// Other backends: their active one is used, and what only the built-in provider needs (address,
    /// form, auth template, transport, certificates) is not looked at. `None` for Driftline's own.
    pub providers: Option<Providers>,
    /// The server's address, such as `https://sync.example.com`.
    pub url: String,
    /// The form of messages: the binary one, or JSON, for a backend that was written by hand.
    pub form: Form,
    /// How the token goes into requests.
    pub auth: AuthTemplate,
    /// Supplies tokens.
    pub token: Arc<dyn TokenProvider>,
    /// The host's own HTTP stack; `None` for the environment's or the built-in one.
    pub transport: Option<Arc<dyn Transport>>,
    /// Which certificates the built-in transport trusts.
    #[cfg(feature = "network")]
    pub roots: crate::transport::TlsRoots,
    /// Distances and periods.
    pub settings: Settings,
    /// A request fails when nothing arrives for so long.
    pub idle_timeout: Duration,
    /// A request fails when it has not ended by then, and a piece of a snapshot when it has not
    /// come: for a transport or provider of the app's that forgets to. Long enough for the largest
    /// op on a slow uplink.
    pub deadline: Duration,
}

impl SyncConfig {
    /// Syncs with `url`, all else by default.
    pub fn new(url: impl Into<String>, token: impl TokenProvider + 'static) -> SyncConfig {
        SyncConfig {
            providers: None,
            url: url.into(),
            form: Form::default(),
            auth: AuthTemplate::default(),
            token: Arc::new(token),
            transport: None,
            #[cfg(feature = "network")]
            roots: crate::transport::TlsRoots::default(),
            settings: Settings::default(),
            idle_timeout: Duration::from_secs(30),
            deadline: Duration::from_secs(600),
        }
    }

    /// Syncs with the active one of `providers`, all else by default.
    pub fn with_providers(providers: Providers, token: impl TokenProvider + 'static) -> SyncConfig {
        SyncConfig {
            providers: Some(providers),
            ..SyncConfig::new(String::new(), token)
        }
    }
}

impl std::fmt::Debug for SyncConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SyncConfig")
            .field("url", &self.url)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// A running connection. Cloning shares it; the database closes it when it is closed.
///
/// All calls return at once unless they say that they wait.
#[derive(Clone)]
pub struct Sync {
    shared: Arc<Shared>,
    executor: Arc<dyn Executor>,
}

impl Sync {
    pub(crate) fn new(shared: Arc<Shared>, executor: Arc<dyn Executor>) -> Sync {
        Sync { shared, executor }
    }

    fn tell(&self, event: Event) {
        self.shared.send(Command::Tell(event));
    }

    /// Syncs now: waits, pacing and blocks are forgotten.
    pub fn sync_now(&self) {
        self.tell(Event::SyncNow);
    }

    /// Syncs now and waits until everything queued is named by the server and everything new is
    /// here, or `timeout` passes. Returns whether it got there; for a background task with a
    /// deadline.
    pub fn sync_until(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let heard = Arc::new(OnceLock::new());
        self.shared.send(Command::SyncFrom(Arc::clone(&heard)));
        self.shared.wait(deadline, |status, rounds| {
            heard.get().is_some_and(|before| rounds > *before) && settled(status)
        })
    }

    /// Waits until the server has named everything written before the call, or `timeout` passes,
    /// without starting a sync. Returns whether it got there.
    ///
    /// Where nothing is pending and the connection has made a complete round it returns at once: what
    /// others have written since then may be missing. [`Sync::sync_until`] fetches that too.
    pub fn wait_until_synced(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        // The status there is may be from before the last write.
        let looked = Arc::new(OnceLock::new());
        self.shared.send(Command::Look(Arc::clone(&looked)));
        self.shared.wait(deadline, |status, rounds| {
            looked.get().is_some() && rounds > 0 && settled(status)
        })
    }

    /// Stops syncing until [`Sync::resume`]; local work goes on.
    pub fn pause(&self) {
        self.tell(Event::Pause);
    }

    /// Goes on after [`Sync::pause`].
    pub fn resume(&self) {
        self.tell(Event::Resume);
    }

    /// The host's word on the network. Tell it of every change, also from one network to another.
    pub fn network_changed(&self, online: bool) {
        self.tell(Event::Network { online });
    }

    /// The app came to the foreground.
    pub fn foreground(&self) {
        self.tell(Event::Foreground);
    }

    /// The app went to the background: what is queued is sent, the live socket is closed.
    pub fn background(&self) {
        self.tell(Event::Background);
    }

    /// The app has a new token (after a login, say) and wants it used at once.
    pub fn token_changed(&self) {
        self.tell(Event::TokenChanged);
    }

    /// Where sync stands.
    pub fn status(&self) -> Status {
        self.shared.status()
    }

    /// Everything that happens from now on, beginning with the current status.
    pub fn events(&self) -> EventSubscription {
        EventSubscription {
            mailbox: self.shared.subscribe(),
        }
    }

    /// Records the next sync step by step; see [`Sync::last_trace`].
    pub fn trace_next(&self) {
        self.shared.start_trace();
    }

    /// The recorded sync: one line a step, no user data.
    pub fn last_trace(&self) -> Vec<String> {
        self.shared.last_trace()
    }

    /// Another process may have written.
    pub(crate) fn another_wrote(&self) {
        self.shared.send(Command::AnotherWrote);
    }

    /// Stops the driver and waits until it holds no request and no file lock.
    pub(crate) fn stop(&self, event: Event) {
        let (done, wait) = std::sync::mpsc::channel();
        self.tell(event);
        self.shared.send(Command::Barrier(done));
        // An ended driver drops the channel, which ends the wait too.
        self.executor.wait(&wait, STOP_PATIENCE_MS);
    }
}

/// How long a stop waits for the driver, which never waits itself but may be in a long write.
const STOP_PATIENCE_MS: u64 = 10_000;

impl std::fmt::Debug for Sync {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sync")
            .field("status", &self.status())
            .finish()
    }
}

fn settled(status: &Status) -> bool {
    status.pending == 0 && (status.state == State::Idle || status.cause == Cause::OtherProcess)
}

/// A stream of events. Dropping it cancels.
pub struct EventSubscription {
    mailbox: Arc<Mailbox>,
}

impl EventSubscription {
    /// Waits for the next event; `None` when the connection has ended or `timeout` passed.
    pub fn next_timeout(&self, timeout: Duration) -> Option<SyncEvent> {
        self.mailbox.take(Some(Instant::now() + timeout))
    }

    /// Waits for the next event; `None` when the connection has ended.
    pub async fn next(&self) -> Option<SyncEvent> {
        self.mailbox.take_async().await
    }
}

impl std::fmt::Debug for EventSubscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EventSubscription")
    }
}
