//! The machine itself: what each event means to it, and what it starts.

mod answers;
mod schedule;
mod standing;

use super::bootstrap::Phase;
use super::live::{Live, LivePhase};
use super::token::Token;
use super::{Action, Backoff, Cause, Event, Isolation, Purpose, State};
use crate::id::OpId;
use crate::mutant::{Mutant, planted};
use crate::protocol::limits;

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
    /// Not elected to sync this file, because of this.
    Standby(Cause),
    Paused,
    Suspended,
    Closed,
}

#[derive(Clone, Debug)]
struct Flight {
    purpose: Purpose,
    only: Option<OpId>,
    sent: Vec<OpId>,
    /// The number of the token it was sent with.
    token: u32,
}

/// Decides when to do what. One per connected database.
#[derive(Debug)]
pub struct Machine {
    settings: Settings,
    mode: Mode,
    online: bool,
    background: bool,
    token: Token,
    /// How many tokens have come: the last one's number.
    tokens: u32,
    live: Live,
    bootstrap: Phase,
    history_changed: bool,
    /// How often the bootstrap has begun again.
    begun_again: u32,
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
    reported: (State, Cause, bool, bool),
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
            tokens: 0,
            live: Live::default(),
            bootstrap: Phase::None,
            history_changed: false,
            begun_again: 0,
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
            reported: (State::Disconnected, Cause::None, false, false),
        }
    }

    /// Takes an event at `now` and says what to do, in order.
    pub fn handle(&mut self, now: i64, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        self.note(now, event, &mut actions);
        self.go_on(now, &mut actions);
        let status = self.status(now);
        let report = (status.state, status.cause, status.live, status.polling);
        if report != self.reported {
            self.reported = report;
            actions.push(Action::Report);
        }
        actions
    }

    /// Tells which ops the request in flight carries.
    pub fn sent(&mut self, ops: Vec<OpId>) {
        if let Some(flight) = &mut self.flight {
            // An op that waited alone may have left meanwhile, named by a page. Asked for again and
            // again it would hold up all others.
            if let Some(gone) = flight.only.filter(|only| !ops.contains(only)) {
                self.isolation.forget(gone);
            }
            flight.sent = ops;
        }
    }

    /// Tells that the request in flight goes over the live socket, and so with the token of that.
    pub fn sent_by_socket(&mut self) {
        if let Some(flight) = &mut self.flight {
            flight.token = self.live.token;
        }
    }

    /// How far a bootstrap is.
    pub fn phase(&self) -> Phase {
        self.bootstrap
    }

    fn note(&mut self, now: i64, event: Event, actions: &mut Vec<Action>) {
        match event {
            Event::Started { .. } if self.mode == Mode::Closed => {}
            Event::Started { pending, bootstrap } => {
                let stood_by = matches!(self.mode, Mode::Standby(_));
                self.mode = Mode::Running;
                self.bootstrap = bootstrap;
                self.dirty = pending;
                // Another process may have synced meanwhile, and had its own troubles.
                self.history_changed = false;
                self.isolation = Isolation::default();
                match stood_by {
                    // Elected, perhaps again and again: what it waits for it still waits for.
                    true => self.want_sync(),
                    // Told by the app, to which waiting out what had failed before looked like being idle.
                    false => self.explicit(),
                }
                if self.pulling.until() <= now {
                    self.trouble = Cause::None;
                }
            }
            Event::LocalWrite => {
                self.dirty = true;
                self.at_once |= self.live.is_up();
            }
            Event::SyncNow => self.explicit(),
            Event::Standby { .. } if self.mode == Mode::Closed => {}
            Event::Standby { cause } => {
                if !matches!(self.mode, Mode::Running | Mode::Standby(_)) {
                    self.explicit();
                }
                self.stop(Mode::Standby(cause), actions);
            }
            Event::Pause if matches!(self.mode, Mode::Running | Mode::Standby(_)) => {
                self.stop(Mode::Paused, actions)
            }
            Event::Suspend if self.mode != Mode::Closed && self.mode != Mode::Fresh => {
                self.stop(Mode::Suspended, actions);
                actions.push(Action::Release);
            }
            Event::Close => {
                self.stop(Mode::Closed, actions);
                actions.push(Action::Release);
            }
            Event::Network { online } => {
                let came = online && !self.online;
                self.online = online;
                // Also from network to network: old connections and old failures mean nothing now.
                if online {
                    self.explicit();
                    self.ask_for_live_again();
                }
                if !online || came {
                    self.close_live(actions);
                }
            }
            Event::Foreground => {
                self.background = false;
                self.explicit();
                self.ask_for_live_again();
            }
            Event::Background => {
                self.background = true;
                self.close_live(actions);
                if self.dirty {
                    self.want_sync();
                }
            }
            Event::Token { expires } => {
                self.token = self.token.arrived(expires);
                self.tokens = self.tokens.wrapping_add(1);
            }
            Event::NoToken => self.token = Token::failed(now, Cause::TokenNeeded),
            Event::BadToken => self.token = Token::failed(now, Cause::BadToken),
            Event::TokenChanged => {
                self.token = Token::Missing;
                self.explicit();
            }
            Event::Answered(answer) => self.answered(now, answer, actions),
            Event::LiveOpened => {
                self.live.opened(now);
                self.token_proven(self.live.token);
                if planted(Mutant::LiveWithoutPull) {
                    return;
                }
                // What was committed between the last page and the subscription came by no frame.
                self.want_sync();
            }
            Event::LiveClosed {
                status,
                code,
                retry_after,
            } => self.live_closed(now, status, &code, retry_after, actions),
            Event::LiveNotOffered => self.live.not_offered(),
            Event::FrameApplied => {
                self.live.heard(now);
                self.trouble = Cause::None;
            }
            Event::FrameMissed => {
                self.live.heard(now);
                if planted(Mutant::FrameMissedForgotten) {
                    return;
                }
                self.want_sync();
            }
            Event::LiveAlive => self.live.heard(now),
            Event::BootstrapNeeded => self.begin_bootstrap(actions),
            Event::BootstrapNotBegun => {
                self.bootstrap = Phase::None;
                self.history_changed = false;
                self.trouble = Cause::StorageFailed;
                let jitter = self.jitter();
                self.pulling.fail(now, None, jitter);
                self.want_sync();
            }
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
            self.live.token = self.tokens;
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
            only: plan.only,
            sent: Vec::new(),
            token: self.tokens,
        });
        actions.push(Action::Request(plan));
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
        if !matches!(self.live.phase, LivePhase::Down | LivePhase::NotOffered) {
            self.live.drop_now();
            actions.push(Action::CloseLive);
        }
    }

    /// Who has no live socket today may have one after an upgrade, or on another network.
    fn ask_for_live_again(&mut self) {
        if self.live.is_not_offered() {
            self.live.drop_now();
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
