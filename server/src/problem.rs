//! Why a request is not answered with a page; `http::error` maps it to a status and a body.

use driftline_core::protocol::{Failure, WireError};

use crate::store::StoreError;

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    /// No token, or one that does not hold.
    Unauthorized(&'static str),
    /// The token is of another account than the file.
    WrongAccount,
    /// The token's role does not allow it.
    Forbidden(&'static str),
    /// No such workspace for this token.
    NotFound,
    /// No such address.
    NoAddress,
    /// The address does not take the method.
    WrongMethod,
    /// The cursor belongs to another history.
    HistoryChanged,
    /// More than a limit allows.
    TooLarge(String),
    /// Neither CBOR nor JSON, or an encoding nobody here speaks.
    Unsupported(&'static str),
    /// No message of this protocol.
    Malformed(String),
    /// A message that does not keep to the protocol, with the answer that the protocol has for it.
    Broken(u16, Failure),
    /// Another protocol.
    OtherProtocol,
    /// The client took too long.
    TimedOut,
    /// Too many requests; milliseconds until the next is welcome.
    RateLimited(u64),
    /// Not now.
    Busy,
    /// A fault here.
    Internal,
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Problem {
        match error {
            // Nothing about the ops: they wait, and are not suspected.
            StoreError::Unavailable(_) | StoreError::InUse(_) => {
                tracing::warn!(%error, "the store cannot be used now");
                Problem::Busy
            }
            _ => {
                tracing::error!(%error, "the store failed");
                Problem::Internal
            }
        }
    }
}

impl From<WireError> for Problem {
    fn from(error: WireError) -> Problem {
        match error {
            WireError::TooLarge(_) => Problem::TooLarge(error.to_string()),
            _ => Problem::Malformed(error.to_string()),
        }
    }
}
