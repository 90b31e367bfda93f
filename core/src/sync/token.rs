//! Tokens: asked for when needed, refreshed before they expire, once after a 401, one call at a
//! time.

use super::Cause;
use crate::mutant::{Mutant, planted};

/// Refresh this long before a token expires.
const BEFORE_EXPIRY: i64 = 60_000;
/// A refused token is not asked for again by itself for so long: ten minutes of 401 must not become
/// a storm on the app's own login server.
const ASK_AGAIN_AFTER: i64 = 900_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// None yet.
    Missing,
    /// The callback is running; `refused` if this is the one call after a 401.
    Asking { refused: bool },
    /// There is one; `fresh` if it came after a 401 and has not succeeded yet.
    Held { expires: Option<i64>, fresh: bool },
    /// The server refused it: one call for a fresh one.
    Stale,
    /// The server refused a fresh one, the callback failed, or what it returned cannot be sent.
    Refused { ask_again: i64, cause: Cause },
}

impl Token {
    /// Whether requests can be sent with it.
    pub(super) fn usable(self) -> bool {
        matches!(self, Token::Held { .. })
    }

    /// Whether the callback should be called now.
    pub(super) fn wants_asking(self, now: i64) -> bool {
        match self {
            Token::Stale if planted(Mutant::TokenNotRenewed) => false,
            Token::Missing | Token::Stale => true,
            Token::Asking { .. } => false,
            Token::Held { expires, .. } => expires.is_some_and(|at| at - BEFORE_EXPIRY <= now),
            Token::Refused { ask_again, .. } => ask_again <= now,
        }
    }

    /// The server answered 401.
    pub(super) fn refused(self, now: i64) -> Token {
        match self {
            Token::Held { fresh: false, .. } => Token::Stale,
            Token::Held { fresh: true, .. } => Token::Refused {
                ask_again: now + ASK_AGAIN_AFTER,
                cause: Cause::TokenNeeded,
            },
            other => other,
        }
    }

    /// The callback is called.
    pub(super) fn asked(self) -> Token {
        Token::Asking {
            refused: matches!(self, Token::Stale | Token::Refused { .. }),
        }
    }

    /// The callback returned a token.
    pub(super) fn arrived(self, expires: Option<i64>) -> Token {
        Token::Held {
            expires,
            fresh: matches!(self, Token::Asking { refused: true }),
        }
    }

    /// The callback failed, or returned what cannot be sent.
    pub(super) fn failed(now: i64, cause: Cause) -> Token {
        Token::Refused {
            ask_again: now + ASK_AGAIN_AFTER / 15,
            cause,
        }
    }

    /// A request with it succeeded.
    pub(super) fn proven(self) -> Token {
        match self {
            Token::Held { expires, .. } => Token::Held {
                expires,
                fresh: false,
            },
            other => other,
        }
    }
}
