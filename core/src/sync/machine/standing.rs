//! What the machine says of itself: a state, and the cause it rests in it.

use super::{Machine, Mode};
use crate::mutant::{Mutant, planted};
use crate::sync::bootstrap::Phase;
use crate::sync::token::Token;
use crate::sync::{Cause, State, Status};

impl Machine {
    /// The machine's part of the status.
    pub fn status(&self, now: i64) -> Status {
        let (state, cause) = self.state_and_cause(now);
        let retry_in_ms = match state {
            State::Waiting | State::Blocked => self.next_wake(now).map(|at| at - now),
            _ => None,
        };
        Status {
            state,
            cause,
            live: self.live.is_up(),
            polling: self.mode == Mode::Running
                && (!self.settings.live || self.live.is_not_offered()),
            retry_in_ms,
            ..Status::default()
        }
    }

    pub(super) fn state_and_cause(&self, now: i64) -> (State, Cause) {
        match self.mode {
            Mode::Fresh => return (State::Disconnected, Cause::None),
            Mode::Standby(cause) => return (State::Waiting, cause),
            Mode::Paused => return (State::Stopped, Cause::Paused),
            Mode::Suspended => return (State::Stopped, Cause::Suspended),
            Mode::Closed => return (State::Stopped, Cause::Closed),
            Mode::Running => {}
        }
        match (self.blocked, self.token) {
            (Some((cause, _)), _) => (State::Blocked, cause),
            (None, Token::Refused { cause, .. }) => (State::Blocked, cause),
            (None, Token::Asking { .. } | Token::Missing | Token::Stale) => {
                (State::Waiting, Cause::AskingToken)
            }
            _ if !self.online => (State::Waiting, Cause::NoNetwork),
            _ if self.bootstrap != Phase::None && self.trouble == Cause::None => (
                State::Bootstrapping,
                if self.history_changed {
                    Cause::HistoryChanged
                } else {
                    Cause::None
                },
            ),
            _ if self.flight.is_some() => (State::Syncing, self.trouble),
            _ if self.trouble != Cause::None && !planted(Mutant::FailureNotTold) => {
                (State::Waiting, self.trouble)
            }
            _ if self.dirty && self.next_start(now).is_some_and(|at| at > now) => {
                (State::Waiting, Cause::Pacing)
            }
            _ => (State::Idle, Cause::None),
        }
    }
}
