//! Backends to sync with: Driftline's own server, or another one behind a [`SyncProvider`].
//!
//! A provider carries the messages of `docs/protocol.md`, as bytes in the form it names, between
//! the engine and its backend. It decides nothing: what is sent, when, and what is done with an
//! answer is the engine's, whose queue keeps every write until an answer names it. So a provider
//! that fails, hangs, repeats itself or panics costs time, and no write.
//!
//! ```
//! use driftline::environment::BoxFuture;
//! use driftline::provider::{Message, ProviderError, ProviderRequest, SyncProvider};
//! use driftline::{Providers, SyncConfig};
//!
//! /// Carries messages by what the app has anyway.
//! struct OurGateway;
//!
//! impl OurGateway {
//!     fn carry(&self, request: ProviderRequest) -> BoxFuture<Result<Message, ProviderError>> {
//!         Box::pin(async move {
//!             let answer = call_our_api(&request.workspace, request.auth, request.message.bytes);
//!             answer.map(Message::plain).map_err(ProviderError::Unreachable)
//!         })
//!     }
//! }
//!
//! impl SyncProvider for OurGateway {
//!     fn push(&self, request: ProviderRequest) -> BoxFuture<Result<Message, ProviderError>> {
//!         self.carry(request)
//!     }
//!     fn pull(&self, request: ProviderRequest) -> BoxFuture<Result<Message, ProviderError>> {
//!         self.carry(request)
//!     }
//! }
//!
//! # fn call_our_api(_: &str, _: Option<(String, String)>, _: Vec<u8>) -> Result<Vec<u8>, String> {
//! #     Err("no network here".to_owned())
//! # }
//! # fn main() -> driftline::Result<()> {
//! let providers = Providers::new();
//! providers.register("ours", OurGateway)?;
//! providers.activate("ours")?;
//! let config = SyncConfig::with_providers(providers, || Ok("token".to_owned()));
//! # let _ = config;
//! # Ok(()) }
//! ```

mod auth;
mod driftline;
mod guard;
mod registry;

pub use auth::AuthTemplate;
pub use driftline::DriftlineProvider;
pub(crate) use guard::{Guard, without_panic};
pub(crate) use registry::Registered;
pub use registry::{PROVIDER, Providers};

pub use driftline_core::protocol::Form;

use std::future::ready;

use crate::environment::BoxFuture;
use crate::transport::{Body, LiveReceiver, LiveSender, TransportError};

/// Who authenticates.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ProviderMode {
    /// The device talks to the backend itself: the app is asked for tokens, and each request
    /// carries one, as the [`AuthTemplate`] says.
    #[default]
    Direct,
    /// Requests go through a gateway that knows the user already (by the app's own session, say):
    /// no token is asked for and none is sent.
    Gateway,
}

/// A message as it travels.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Message {
    /// Its bytes, in the provider's form.
    pub bytes: Vec<u8>,
    /// Whether they are compressed with zstd.
    pub zstd: bool,
}

impl Message {
    /// A message that is not compressed.
    pub fn plain(bytes: Vec<u8>) -> Message {
        Message { bytes, zstd: false }
    }
}

/// What a provider is asked to carry.
#[derive(Clone)]
pub struct ProviderRequest {
    /// The workspace.
    pub workspace: String,
    /// Name and value of the header that authenticates; none in gateway mode.
    pub auth: Option<(String, String)>,
    /// The account that the file belongs to; empty before its first answer. The message of a push or
    /// pull names it already. Of a snapshot or a subscription a backend has to be told: it refuses
    /// another account than the one that asks (403 `wrong_account`).
    pub account: String,
    /// The `SyncRequest` of a push or pull; empty for a snapshot or a subscription.
    pub message: Message,
    /// Of a snapshot: the query that takes up a stream that was cut (`after=…&version=…&hash=…`).
    pub resume: Option<String>,
    /// Of a push, a pull or a subscription: what this device calls the live socket it listens on, 0
    /// without one. Who knows it need not tell there what the answer to a push has told.
    pub listener: u64,
    /// Give up when nothing moves for so long.
    pub idle_timeout_ms: u64,
}

/// The header holds the token and the message what people wrote: neither belongs in a log.
impl std::fmt::Debug for ProviderRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProviderRequest")
            .field("bytes", &self.message.bytes.len())
            .field("resumes", &self.resume.is_some())
            .finish_non_exhaustive()
    }
}

/// A subscription to what is committed: frames of the live socket, in the provider's form.
pub struct Live {
    /// Takes requests and pings. Without one, requests go by [`SyncProvider::push`] and
    /// [`SyncProvider::pull`], and whenever nothing was heard for the time of a heartbeat the
    /// engine pulls.
    pub sender: Option<Box<dyn LiveSender>>,
    /// Brings `versions`, or just `"behind"` for "something changed: pull". Its end is the end of
    /// the subscription; the engine subscribes again.
    pub receiver: Box<dyn LiveReceiver>,
}

/// A backend. Calls come from one task, one push or pull at a time.
///
/// Dropping a future cancels the call; what it may have done meanwhile is no concern of the
/// provider's: the engine sends again, and the same op id is the same op. A call that does not end
/// within [`crate::SyncConfig::deadline`] is dropped.
pub trait SyncProvider: Send + Sync {
    /// Who authenticates. Asked once, at registration.
    fn mode(&self) -> ProviderMode {
        ProviderMode::Direct
    }

    /// How a token goes into a request. Asked once, at registration.
    fn auth(&self) -> AuthTemplate {
        AuthTemplate::default()
    }

    /// The form of the messages it carries. Asked once, at registration.
    fn form(&self) -> Form {
        Form::Json
    }

    /// Whether messages above 1 KiB may come to it compressed. Asked once, at registration.
    fn takes_zstd(&self) -> bool {
        false
    }

    /// Carries a `SyncRequest` with entries in `ops[]` and brings the `SyncResponse`.
    fn push(&self, request: ProviderRequest) -> BoxFuture<Result<Message, ProviderError>>;

    /// The same for a request without.
    fn pull(&self, request: ProviderRequest) -> BoxFuture<Result<Message, ProviderError>>;

    /// The stream of a snapshot. A backend without leaves this as it is: a new device then reads
    /// the log from its beginning.
    fn snapshot(
        &self,
        request: ProviderRequest,
    ) -> BoxFuture<Result<Box<dyn Body>, ProviderError>> {
        drop(request);
        Box::pin(ready(Err(ProviderError::NotOffered)))
    }

    /// Subscribes to what is committed. A backend without leaves this as it is: it is asked every
    /// so often, and the status says so.
    fn subscribe(&self, request: ProviderRequest) -> BoxFuture<Result<Live, ProviderError>> {
        drop(request);
        Box::pin(ready(Err(ProviderError::NotOffered)))
    }

    /// The network changed or the app came back: connections kept for later are likely dead.
    fn network_changed(&self) {}

    /// The provider is not needed any more. Called exactly once; calls that have begun on the
    /// engine's thread may still be running.
    fn dispose(&self) {}
}

/// Why a provider has no answer. The text is for people and must hold no user data.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProviderError {
    /// Nobody answers, or the connection broke.
    #[error("cannot reach the backend: {0}")]
    Unreachable(String),
    /// The backend refused, in the words of the protocol's table of answers that are no page.
    #[error("refused with status {status} {code}")]
    Refused {
        /// The HTTP status, or its like.
        status: u16,
        /// The failure's code; empty if there is none.
        code: String,
        /// Milliseconds to wait.
        retry_after_ms: Option<u64>,
        /// For a person.
        message: String,
    },
    /// Something answered that is not the backend: a captive portal, a proxy.
    #[error("not an answer of the backend: {0}")]
    NotAnAnswer(String),
    /// The backend has no such thing.
    #[error("not offered")]
    NotOffered,
    /// The provider itself failed, in a way that says nothing of the backend.
    #[error("the provider failed: {0}")]
    Failed(String),
}

impl From<TransportError> for ProviderError {
    fn from(error: TransportError) -> ProviderError {
        match error {
            TransportError::NoSockets => ProviderError::NotOffered,
            TransportError::Host(detail) => ProviderError::Failed(detail),
            // Asking again does not help: nobody was asked.
            error @ TransportError::BadAddress(_) => ProviderError::Failed(error.to_string()),
            other => ProviderError::Unreachable(other.to_string()),
        }
    }
}
