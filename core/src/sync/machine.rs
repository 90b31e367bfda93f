//! The machine itself.

use super::bootstrap::Phase;
use super::isolation::Consequence;
use super::live::{Live, LivePhase};
use super::token::Token;
use super::{Action, Answer, Backoff, Cause, Event, Isolation, Plan, Purpose, State, Status};
use crate::id::OpId;
use crate::protocol::{Reaction, StateOnFailure, limits, react};

/// Distances and periods, in milliseconds. The defaults are in `docs/protocol.md`.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The least distance of automatic syncs while live is down.
    pub pace: i64,
    /// The period of syncs while live is down and nothing else starts one.
    pub poll: i64,
    /// The period at which a blocked sync is tried all the same.
    pub slow: i64,
    /// Whether to keep a live socket.
    pub live: bool,
    /// The most ops in one request.
    pub max_ops: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            pace: 5_000,
            poll: 30_000,
            slow: 300_000,
            live: true,
            max_ops: limits::MAX_OPS,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    Fresh,
    Running,
    Paused,
    Suspended,
    Closed,
}

#[derive(Clone, Debug)]
struct Flight {
    purpose: Purpose,
    sent: Vec<OpId>,
}

/// Decides when to do what. One per connected database.
#[derive(Debug)]
pub struct Machine {
    settings: Settings,
    mode: Mode,
    online: bool,
    background: bool,
    token: Token,
    live: Live,
    bootstrap: Phase,
    history_changed: bool,
    flight: Option<Flight>,
    dirty: bool,
    pull: bool,
    at_once: bool,
    pushing: Backoff,
    pulling: Backoff,
    isolation: Isolation,
    blocked: Option<(Cause, i64)>,
    trouble: Cause,
    last_start: Option<i64>,
    random: u32,
    reported: (State, Cause, bool),
}

impl Machine {
    /// A machine at rest. `seed` spreads its retries.
    pub fn new(settings: Settings, seed: u32) -> Machine {
        Machine {
            settings,
            mode: Mode::Fresh,
            online: true,
            background: false,
            token: Token::Missing,
            live: Live::default(),
            bootstrap: Phase::None,
            history_changed: false,
            flight: None,
            dirty: false,
            pull: false,
            at_once: false,
            pushing: Backoff::default(),
            pulling: Backoff::default(),
            isolation: Isolation::default(),
            blocked: None,
            trouble: Cause::None,
            last_start: None,
            random: seed | 1,
            reported: (State::Disconnected, Cause::None, false),
        }
    }

    /// Takes an event at `now` and says what to do, in order.
    pub fn handle(&mut self, now: i64, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        self.note(now, event, &mut actions);
        self.go_on(now, &mut actions);
        let status = self.status(now);
        let report = (status.state, status.cause, status.live);
        if report != self.reported {
            self.reported = report;
            actions.push(Action::Report);
        }
        actions
    }

    /// Tells which ops the request in flight carries.
    pub fn sent(&mut self, ops: Vec<OpId>) {
        if let Some(flight) = &mut self.flight {
            flight.sent = ops;
        }
    }

    /// The next moment at which the machine has something to do by itself.
    pub fn next_wake(&self, now: i64) -> Option<i64> {
        if self.mode != Mode::Running {
            return None;
        }
        let mut moments = Vec::new();
        if self.settings.live && self.may_talk(now) && !self.background {
            moments.extend(self.live.next_wake());
        }
        if let Token::Refused { ask_again } = self.token {
            moments.push(ask_again);
        }
        if self.flight.is_none() {
            match self.blocked {
                Some((_, until)) => moments.push(until),
                None => {
                    moments.extend(self.next_start(now));
                    moments.extend(
                        self.isolation
                            .next_due()
                            .map(|at| at.max(self.pulling.until())),
                    );
                }
            }
        }
        moments.into_iter().min().map(|at| at.max(now))
    }

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
            retry_in_ms,
            ..Status::default()
        }
    }

    /// How far a bootstrap is.
    pub fn phase(&self) -> Phase {
        self.bootstrap
    }

    fn state_and_cause(&self, now: i64) -> (State, Cause) {
        match self.mode {
            Mode::Fresh => return (State::Disconnected, Cause::None),
            Mode::Paused => return (State::Stopped, Cause::Paused),
            Mode::Suspended => return (State::Stopped, Cause::Suspended),
            Mode::Closed => return (State::Stopped, Cause::Closed),
            Mode::Running => {}
        }
        match (self.blocked, self.token) {
            (Some((cause, _)), _) => (State::Blocked, cause),
            (None, Token::Refused { .. }) => (State::Blocked, Cause::TokenNeeded),
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
            _ if self.trouble != Cause::None => (State::Waiting, self.trouble),
            _ if self.dirty && self.next_start(now).is_some_and(|at| at > now) => {
                (State::Waiting, Cause::Pacing)
            }
            _ => (State::Idle, Cause::None),
        }
    }

    fn note(&mut self, now: i64, event: Event, actions: &mut Vec<Action>) {
        match event {
            Event::Started { pending, bootstrap } => {
                self.mode = Mode::Running;
                self.bootstrap = bootstrap;
                self.dirty = pending;
                self.want_sync();
            }
            Event::LocalWrite => {
                self.dirty = true;
                self.at_once |= self.live.is_up();
            }
            Event::SyncNow => self.explicit(),
            Event::Pause if self.mode == Mode::Running => self.stop(Mode::Paused, actions),
            Event::Suspend if self.mode != Mode::Closed && self.mode != Mode::Fresh => {
                self.stop(Mode::Suspended, actions);
                actions.push(Action::Release);
            }
            Event::Close => {
                self.stop(Mode::Closed, actions);
                actions.push(Action::Release);
            }
            Event::Resume if matches!(self.mode, Mode::Paused | Mode::Suspended) => {
                self.mode = Mode::Running;
                self.explicit();
            }
            Event::Network { online } => {
                let came = online && !self.online;
                self.online = online;
                // Also from network to network: old connections and old failures mean nothing now.
                if online {
                    self.explicit();
                }
                if !online || came {
                    self.close_live(actions);
                }
            }
            Event::Foreground => {
                self.background = false;
                self.explicit();
            }
            Event::Background => {
                self.background = true;
                self.close_live(actions);
                if self.dirty {
                    self.want_sync();
                }
            }
            Event::Token { expires } => self.token = self.token.arrived(expires),
            Event::NoToken => self.token = Token::failed(now),
            Event::TokenChanged => {
                self.token = Token::Missing;
                self.explicit();
            }
            Event::Answered(answer) => self.answered(now, answer, actions),
            Event::LiveOpened => {
                self.live.opened(now);
                self.token = self.token.proven();
                // What was committed between the last page and the subscription came by no frame.
                self.want_sync();
            }
            Event::LiveClosed {
                status,
                code,
                retry_after,
            } => self.live_closed(now, status, &code, retry_after),
            Event::FrameApplied => {
                self.live.heard(now);
                self.trouble = Cause::None;
            }
            Event::FrameMissed => {
                self.live.heard(now);
                self.want_sync();
            }
            Event::LiveAlive => self.live.heard(now),
            Event::BootstrapNeeded => self.begin_bootstrap(actions),
            Event::Wake | Event::Pause | Event::Suspend | Event::Resume => {}
        }
    }

    /// Starts whatever can be started now.
    fn go_on(&mut self, now: i64, actions: &mut Vec<Action>) {
        if self.mode != Mode::Running {
            return;
        }
        if self.live.is_dead(now) {
            self.close_live(actions);
        } else if self.live.ping_due(now) {
            actions.push(Action::Ping);
        }
        if self.token.wants_asking(now) && self.online {
            self.token = self.token.asked();
            actions.push(Action::AskToken);
        }
        if !self.may_talk(now) {
            return;
        }
        if self.blocked.is_some_and(|(_, until)| until <= now) {
            self.blocked = None;
            self.want_sync();
        }
        if self.flight.is_none()
            && self.blocked.is_none()
            && self.next_start(now).is_some_and(|at| at <= now)
        {
            self.start(now, actions);
        }
        if self.settings.live
            && !self.background
            && self.blocked.is_none()
            && self.live.may_open(now)
        {
            self.live.phase = LivePhase::Opening;
            actions.push(Action::OpenLive);
        }
    }

    fn start(&mut self, now: i64, actions: &mut Vec<Action>) {
        let plan = self.plan(now);
        self.at_once = false;
        self.pull = false;
        self.last_start = Some(now);
        self.flight = Some(Flight {
            purpose: plan.purpose,
            sent: Vec::new(),
        });
        actions.push(Action::Request(plan));
    }

    fn plan(&self, now: i64) -> Plan {
        let set_aside: Vec<OpId> = self.isolation.set_aside().collect();
        let purpose = match self.bootstrap {
            Phase::None => Purpose::Sync,
            Phase::Documents => Purpose::Snapshot,
            Phase::CatchUp => Purpose::CatchUp,
            Phase::AskFates => Purpose::AskFates,
        };
        let only = self
            .isolation
            .due(now)
            .filter(|_| purpose == Purpose::Sync && self.pushing.until() <= now);
        let may_push = purpose == Purpose::Sync
            && self.pushing.until() <= now
            && (self.dirty || only.is_some());
        let max_ops = if may_push {
            self.isolation.limit(self.settings.max_ops)
        } else {
            0
        };
        Plan {
            purpose,
            max_ops,
            set_aside,
            only,
        }
    }

    /// When the next request may start, if one is wanted.
    fn next_start(&self, now: i64) -> Option<i64> {
        if !self.may_talk(now) {
            return None;
        }
        let pushing = self.dirty.then(|| self.pushing.until());
        let lone = self
            .isolation
            .next_due()
            .map(|at| at.max(self.pushing.until()));
        let bootstrapping = self.bootstrap != Phase::None;
        let wanted = if self.pull || bootstrapping {
            Some(0)
        } else {
            pushing.into_iter().chain(lone).min()
        };
        let polled = match (self.live.is_up() || self.background, self.last_start) {
            (true, _) | (false, None) => None,
            (false, Some(last)) => Some(last + self.settings.poll),
        };
        let paced = |at: i64| match self.last_start {
            Some(last) if !(self.at_once || self.live.is_up() || bootstrapping) => {
                at.max(last + self.settings.pace)
            }
            _ => at,
        };
        let at = match (wanted.map(paced), polled) {
            (Some(wanted), Some(polled)) => wanted.min(polled),
            (wanted, polled) => wanted.or(polled)?,
        };
        Some(at.max(self.pulling.until()))
    }

    fn may_talk(&self, _now: i64) -> bool {
        self.mode == Mode::Running && self.online && self.token.usable()
    }

    fn want_sync(&mut self) {
        self.pull = true;
        self.at_once = true;
    }

    /// The app, the host or a person wants it now: waits and blocks are forgotten.
    fn explicit(&mut self) {
        self.pushing.reset();
        self.pulling.reset();
        self.live.retry_at_once();
        self.blocked = None;
        if matches!(self.token, Token::Refused { .. }) {
            self.token = Token::Missing;
        }
        self.want_sync();
    }

    fn stop(&mut self, mode: Mode, actions: &mut Vec<Action>) {
        self.mode = mode;
        if self.flight.take().is_some() {
            actions.push(Action::Abandon);
        }
        self.close_live(actions);
    }

    fn close_live(&mut self, actions: &mut Vec<Action>) {
        if self.live.phase != LivePhase::Down {
            self.live.drop_now();
            actions.push(Action::CloseLive);
        }
    }

    fn answered(&mut self, now: i64, answer: Answer, actions: &mut Vec<Action>) {
        let Some(flight) = self.flight.take() else {
            return;
        };
        match answer {
            Answer::Page {
                has_more,
                sendable,
                take_snapshot,
            } => {
                self.succeeded(&flight.sent);
                self.dirty = sendable;
                if flight.purpose == Purpose::CatchUp && !has_more {
                    self.bootstrap = Phase::AskFates;
                }
                if take_snapshot {
                    self.begin_bootstrap(actions);
                }
                if has_more || (sendable && !flight.sent.is_empty()) {
                    self.pull |= has_more;
                    self.at_once = true;
                }
            }
            Answer::SnapshotComplete => {
                self.succeeded(&[]);
                self.bootstrap = Phase::CatchUp;
            }
            Answer::Swapped { sendable } => {
                self.succeeded(&[]);
                self.bootstrap = Phase::None;
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

    fn succeeded(&mut self, sent: &[OpId]) {
        self.token = self.token.proven();
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
                self.token = self.token.refused(now);
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
        self.trouble = trouble(&reaction, status);
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

    fn live_closed(&mut self, now: i64, status: u16, code: &str, retry_after: Option<u64>) {
        let jitter = self.jitter();
        self.live.closed(now, retry_after, jitter);
        match status {
            401 => self.token = self.token.refused(now),
            // What a request would meet as well; the next poll finds it with its cause.
            403 | 404 | 426 => {
                let reaction = react(status, code);
                if !reaction.retry {
                    self.blocked = Some((trouble(&reaction, status), now + self.settings.slow));
                }
            }
            _ => {}
        }
    }

    fn begin_bootstrap(&mut self, actions: &mut Vec<Action>) {
        self.bootstrap = Phase::Documents;
        actions.push(Action::BeginBootstrap);
        self.want_sync();
    }

    /// xorshift: jitter only has to differ between devices, and the seed makes it repeatable.
    fn jitter(&mut self) -> u32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        self.random
    }
}

fn trouble(reaction: &Reaction, status: u16) -> Cause {
    match reaction.state {
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
