//! What an answer, or its failing to come, changes.

use super::{Flight, Machine};
use crate::id::OpId;
use crate::mutant::{Mutant, planted};
use crate::protocol::{Reaction, StateOnFailure, react};
use crate::sync::bootstrap::Phase;
use crate::sync::isolation::Consequence;
use crate::sync::{Action, Answer, Cause, PROVIDER_FAILED, Purpose};

/// Bootstraps that began again, as far as they are counted: from here on waits are as long as they get.
const MOST_COUNTED: u32 = 10;

impl Machine {
    pub(super) fn answered(&mut self, now: i64, answer: Answer, actions: &mut Vec<Action>) {
        let Some(flight) = self.flight.take() else {
            return;
        };
        match answer {
            Answer::Page {
                has_more,
                sendable,
                take_snapshot,
            } => {
                self.succeeded(flight.token, &flight.sent);
                self.dirty = sendable;
                if flight.purpose == Purpose::CatchUp && !has_more {
                    self.bootstrap = Phase::AskFates;
                }
                if take_snapshot {
                    self.begin_bootstrap(actions);
                    if flight.purpose != Purpose::Sync {
                        self.begin_again(now);
                    }
                }
                if has_more || (sendable && !flight.sent.is_empty()) {
                    self.pull |= has_more;
                    self.at_once = true;
                }
            }
            Answer::SnapshotComplete => {
                self.succeeded(flight.token, &[]);
                self.bootstrap = match planted(Mutant::BootstrapWithoutCatchUp) {
                    true => Phase::AskFates,
                    false => Phase::CatchUp,
                };
            }
            Answer::Swapped { sendable } => {
                self.succeeded(flight.token, &[]);
                self.bootstrap = Phase::None;
                self.begun_again = 0;
                self.history_changed = false;
                self.dirty = sendable;
                self.want_sync();
            }
            Answer::StorageFailed => {
                self.trouble = Cause::StorageFailed;
                let jitter = self.jitter();
                self.pulling.fail(now, None, jitter);
                self.want_sync();
            }
            Answer::Failed {
                status,
                code,
                retry_after,
            } => self.failed(now, &flight, status, &code, retry_after, actions),
        }
    }

    /// A bootstrap that led nowhere begins again: at once the first time, for the server may have been restored
    /// meanwhile. From then on it waits longer each time; somebody who lies would have it ask for ever.
    fn begin_again(&mut self, now: i64) {
        for _ in 0..self.begun_again {
            self.trouble = Cause::NotDriftline;
            let jitter = self.jitter();
            self.pulling.fail(now, None, jitter);
        }
        self.begun_again = (self.begun_again + 1).min(MOST_COUNTED);
    }

    fn succeeded(&mut self, token: u32, sent: &[OpId]) {
        self.token_proven(token);
        self.trouble = Cause::None;
        self.pulling.reset();
        if !sent.is_empty() {
            self.pushing.reset();
        }
        self.isolation.succeed(sent);
    }

    fn failed(
        &mut self,
        now: i64,
        flight: &Flight,
        status: u16,
        code: &str,
        retry_after: Option<u64>,
        actions: &mut Vec<Action>,
    ) {
        let reaction = react(status, code);
        self.pull = true;
        match reaction.state {
            StateOnFailure::TokenNeeded => {
                self.token_refused(now, flight.token, actions);
                self.at_once = true;
                return;
            }
            StateOnFailure::HistoryChanged => {
                // The first word of it copies the file aside; a repeated one, while the new base is
                // on its way, only starts over.
                if !self.history_changed {
                    actions.push(Action::SetAside);
                }
                self.history_changed = true;
                self.begin_bootstrap(actions);
            }
            _ => {}
        }
        self.trouble = trouble(&reaction, status, code);
        if !reaction.retry {
            self.blocked = Some((self.trouble, now + self.settings.slow));
        }
        let jitter = self.jitter();
        if reaction.suspects_ops && !flight.sent.is_empty() {
            // Pull is independent of push: the next request goes without ops, and its success tells
            // whether the ops or the server are at fault.
            self.pushing.fail(now, retry_after, jitter);
            let at_once = matches!(
                reaction.state,
                StateOnFailure::SendLess | StateOnFailure::Incompatible
            );
            match self
                .isolation
                .fail(now, &flight.sent, at_once, reaction.counts, jitter)
            {
                Consequence::Withdraw(op) => actions.push(Action::Withdraw(op)),
                // The others need not wait for what is now known to be one op's fault.
                Consequence::SetAside(_) => self.pushing.reset(),
                Consequence::TryAgain => {}
            }
            if reaction.state == StateOnFailure::SendLess {
                self.pushing.reset();
            }
            self.dirty = true;
            if status == 0 || retry_after.is_some() {
                self.pulling.fail(now, retry_after, jitter);
            }
        } else {
            self.pulling.fail(now, retry_after, jitter);
        }
        self.at_once = true;
    }

    pub(super) fn live_closed(
        &mut self,
        now: i64,
        status: u16,
        code: &str,
        retry_after: Option<u64>,
        actions: &mut Vec<Action>,
    ) {
        let jitter = self.jitter();
        self.live.closed(now, retry_after, jitter);
        match status {
            401 => self.token_refused(now, self.live.token, actions),
            // What a request would meet as well; the next poll finds it with its cause.
            403 | 404 | 426 => {
                let reaction = react(status, code);
                if !reaction.retry {
                    self.blocked =
                        Some((trouble(&reaction, status, code), now + self.settings.slow));
                }
            }
            _ => {}
        }
    }
}

impl Machine {
    /// Something that was sent with the token of this number succeeded.
    pub(super) fn token_proven(&mut self, number: u32) {
        if number == self.tokens {
            self.token = self.token.proven();
        }
    }

    /// Something that was sent with the token of this number was answered 401. A request and a socket
    /// may both have gone out with a token that ended meanwhile: the later word of that says nothing of
    /// the token that came upon the earlier.
    fn token_refused(&mut self, now: i64, number: u32, actions: &mut Vec<Action>) {
        if number == self.tokens {
            self.token = self.token.refused(now);
        } else if self.live.is_up() && self.live.token == number {
            // Whatever goes over it is refused again.
            self.close_live(actions);
            self.live.retry_at_once();
        }
    }
}

fn trouble(reaction: &Reaction, status: u16, code: &str) -> Cause {
    match reaction.state {
        StateOnFailure::Waiting if code == PROVIDER_FAILED => Cause::ProviderFailed,
        StateOnFailure::Offline => Cause::Unreachable,
        StateOnFailure::Waiting if status >= 500 && status != 503 => Cause::ServerFailed,
        StateOnFailure::Waiting | StateOnFailure::SendLess => Cause::ServerBusy,
        StateOnFailure::NotDriftline => Cause::NotDriftline,
        StateOnFailure::TokenNeeded => Cause::TokenNeeded,
        StateOnFailure::WrongAccount => Cause::WrongAccount,
        StateOnFailure::NoWorkspace => Cause::NoWorkspace,
        StateOnFailure::Forbidden => Cause::Forbidden,
        StateOnFailure::HistoryChanged => Cause::HistoryChanged,
        StateOnFailure::Incompatible => Cause::Incompatible,
        StateOnFailure::UpgradeRequired => Cause::UpgradeRequired,
    }
}
