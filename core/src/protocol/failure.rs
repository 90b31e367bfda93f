//! What a device does with each answer that is not a page. The one table; `docs/protocol.md` shows it.

use serde::{Deserialize, Serialize};

/// The body of every answer that is not 2xx.
#[derive(
    Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, minicbor::Encode, minicbor::Decode,
)]
#[cbor(map)]
pub struct Failure {
    /// One of [`code`]'s constants.
    #[n(0)]
    pub code: String,
    /// For a person; no user data.
    #[n(1)]
    #[cbor(default)]
    #[serde(default)]
    pub message: String,
    /// Milliseconds to wait before asking again.
    #[n(2)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
}

impl Failure {
    /// A failure with one of [`code`]'s constants.
    pub fn new(code: &str, message: impl Into<String>) -> Failure {
        Failure {
            code: code.to_owned(),
            message: message.into(),
            retry_after: None,
        }
    }
}

/// The codes of a [`Failure`].
pub mod code {
    /// No token, an expired one, or one that does not verify (401).
    pub const UNAUTHORIZED: &str = "unauthorized";
    /// The token is of another account than the file (403).
    pub const WRONG_ACCOUNT: &str = "wrong_account";
    /// The account may not do this (403).
    pub const FORBIDDEN: &str = "forbidden";
    /// No such workspace for this token (404).
    pub const NOT_FOUND: &str = "not_found";
    /// Nothing is served at this address (404).
    pub const NO_ADDRESS: &str = "no_address";
    /// The cursor belongs to another history (409).
    pub const HISTORY_CHANGED: &str = "history_changed";
    /// The body is too large (413).
    pub const TOO_LARGE: &str = "too_large";
    /// The media type is neither CBOR nor JSON (415).
    pub const UNSUPPORTED: &str = "unsupported_media_type";
    /// The body is no request (400, 422).
    pub const MALFORMED: &str = "malformed";
    /// The protocol's major number does not fit (426).
    pub const UPGRADE_REQUIRED: &str = "upgrade_required";
    /// Too many requests (429).
    pub const RATE_LIMITED: &str = "rate_limited";
    /// The server cannot answer now (503).
    pub const BUSY: &str = "busy";
    /// The server failed (500).
    pub const INTERNAL: &str = "internal";
}

/// The state a failure leaves the sync in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StateOnFailure {
    /// No answer came: keep trying.
    Offline,
    /// An answer came that asks for patience: keep trying.
    Waiting,
    /// Something that is no Driftline server answered (a captive portal, a proxy, a redirect).
    NotDriftline,
    /// A fresh token is needed; one is asked for, once.
    TokenNeeded,
    /// The token is of another account.
    WrongAccount,
    /// The workspace does not exist for this token.
    NoWorkspace,
    /// Access is refused.
    Forbidden,
    /// The server has another history.
    HistoryChanged,
    /// The request was too large: send less.
    SendLess,
    /// The server does not understand the request: a fault of this build or of the server.
    Incompatible,
    /// The protocol's major number does not fit: one side must be upgraded.
    UpgradeRequired,
}

/// How to go on after an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reaction {
    /// The state to show.
    pub state: StateOnFailure,
    /// Whether a retry timer is armed. Where it is not, a change of token, a network change, an
    /// explicit sync or the slow timer starts the next try: nothing rests for ever.
    pub retry: bool,
    /// Whether the ops of the request are suspect: after two such failures it is halved until one op
    /// is alone.
    pub suspects_ops: bool,
    /// Whether it counts as an attempt of an op that is alone.
    pub counts: bool,
}

/// The reaction to an HTTP status (or its like on the live socket) and the failure's code.
///
/// `status` 0 stands for no answer at all; 200 for an answer that is no page. An empty `code` says
/// that the body was no [`Failure`]: then something between device and server answered. A firewall
/// may do so because of what one op says, so even then the ops are suspect; that costs them nothing
/// while nothing else gets through either.
pub fn react(status: u16, code: &str) -> Reaction {
    use StateOnFailure as S;
    const SLOWLY: Reaction = Reaction {
        state: S::Waiting,
        retry: false,
        suspects_ops: false,
        counts: false,
    };
    const AGAIN: Reaction = Reaction {
        retry: true,
        ..SLOWLY
    };
    const SUSPECT: Reaction = Reaction {
        suspects_ops: true,
        counts: true,
        ..AGAIN
    };
    let ours = !code.is_empty();
    let (state, rest) = match (status, code) {
        (0 | 408, _) => (S::Offline, SUSPECT),
        (401, _) => (S::TokenNeeded, SLOWLY),
        (403, code::WRONG_ACCOUNT) => (S::WrongAccount, SLOWLY),
        (403, _) if ours => (S::Forbidden, SLOWLY),
        (404, code::NOT_FOUND) => (S::NoWorkspace, SLOWLY),
        (409, code::HISTORY_CHANGED) => (S::HistoryChanged, AGAIN),
        (409, _) if ours => (S::Waiting, AGAIN),
        (413, _) => (S::SendLess, SUSPECT),
        (400 | 415 | 422, _) if ours => (S::Incompatible, SUSPECT),
        (426, _) if ours => (S::UpgradeRequired, SLOWLY),
        (429, _) | (503, code::BUSY) => (S::Waiting, AGAIN),
        (511, _) => (S::NotDriftline, SUSPECT),
        (500..=599, _) => (S::Waiting, SUSPECT),
        _ => (S::NotDriftline, SUSPECT),
    };
    Reaction { state, ..rest }
}
