//! Where sync stands and why.

use serde::{Deserialize, Serialize};

use crate::id::Version;
use crate::protocol::Quota;

/// What sync is doing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum State {
    /// Not connected by the app yet.
    #[default]
    Disconnected,
    /// Everything is sent and received, as far as known.
    Idle,
    /// A request is on its way.
    Syncing,
    /// The first state, or a new base, is arriving.
    Bootstrapping,
    /// Waiting to try again; the cause says for what.
    Waiting,
    /// Something must change first; the cause says what. Tried again slowly all the same.
    Blocked,
    /// Stopped by the app: `pause`, `suspend` or `close`.
    Stopped,
}

/// Why.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Cause {
    /// Nothing stands in the way.
    #[default]
    None,
    /// The host says there is no network.
    NoNetwork,
    /// The server does not answer.
    Unreachable,
    /// The server asks for patience (429, 503).
    ServerBusy,
    /// The server failed (5xx).
    ServerFailed,
    /// The app's own provider or transport failed: its code ended in a panic, an exception or an
    /// error that says nothing of the server.
    ProviderFailed,
    /// Something else answers at this address: a captive portal, a proxy.
    NotDriftline,
    /// A token is being asked for.
    AskingToken,
    /// The server refuses the token, or the app has none.
    TokenNeeded,
    /// What the app gave as a token cannot be sent: no header can hold it (a line break, say).
    BadToken,
    /// The token is of another account than this file.
    WrongAccount,
    /// The workspace does not exist for this token.
    NoWorkspace,
    /// Access is refused; behind a gateway also if that does not know the user.
    Forbidden,
    /// The server was restored; base is being fetched anew, the old file was copied aside.
    HistoryChanged,
    /// App or server must be upgraded: the protocols do not fit.
    UpgradeRequired,
    /// The server does not understand this build's requests.
    Incompatible,
    /// Two automatic syncs keep a distance.
    Pacing,
    /// The file cannot be written (disk full, I/O error).
    StorageFailed,
    /// Another process has this file open and syncs it.
    OtherProcess,
    /// `pause` was called.
    Paused,
    /// `suspend` was called.
    Suspended,
    /// `close` was called.
    Closed,
}

/// One look at the sync. What only the driver knows (queue, bytes) it fills in.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Status {
    /// What it is doing.
    pub state: State,
    /// Why.
    pub cause: Cause,
    /// Whether the live socket is up.
    pub live: bool,
    /// Whether changes of others are only found by asking every so often: the app wants no live
    /// socket, or the transport, the provider or the server has none.
    #[serde(default)]
    pub polling: bool,
    /// Milliseconds until the next try, if one is armed.
    pub retry_in_ms: Option<i64>,
    /// Ops queued and not yet named by the server.
    pub pending: u64,
    /// Ops in quarantine.
    pub quarantined: u64,
    /// Unix milliseconds (the device's clock) of the last complete sync.
    pub last_sync: Option<i64>,
    /// The version the device stands at.
    pub version: Version,
    /// Documents received and expected, while bootstrapping.
    pub bootstrap: Option<(u64, u64)>,
    /// How far this device's clock is ahead of the server's, in milliseconds.
    pub clock_offset_ms: Option<i64>,
    /// Bytes sent since open.
    pub bytes_up: u64,
    /// Bytes received since open.
    pub bytes_down: u64,
    /// The workspace's quota, if it has one.
    pub quota: Option<Quota>,
}
