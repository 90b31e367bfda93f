//! When the next request starts, and what it asks for.

use super::{Machine, Mode};
use crate::id::OpId;
use crate::sync::bootstrap::Phase;
use crate::sync::token::Token;
use crate::sync::{Plan, Purpose};

impl Machine {
    /// The next moment at which the machine has something to do by itself.
    pub fn next_wake(&self, now: i64) -> Option<i64> {
        if self.mode != Mode::Running {
            return None;
        }
        let mut moments = Vec::new();
        // Only for what it may do then: a moment that has come and changes nothing would come again
        // at once.
        let may_have_live = self.settings.live && self.may_talk(now) && !self.background;
        if may_have_live && (self.blocked.is_none() || self.live.is_up()) {
            moments.extend(self.live.next_wake());
        }
        if let Token::Refused { ask_again, .. } = self.token
            && self.online
        {
            moments.push(ask_again);
        }
        if self.flight.is_none() && self.may_talk(now) {
            match self.blocked {
                Some((_, until)) => moments.push(until),
                None => moments.extend(self.next_start(now)),
            }
        }
        moments.into_iter().min().map(|at| at.max(now))
    }

    /// What the machine will ask for once the push in flight is told to have succeeded, with ops left
    /// to send: it may be sent before the answer is in the file. `None` where anything else could come
    /// of it, or where the machine waits for something.
    ///
    /// Whether it counts is decided by [`Machine::handle`] alone: what was sent ahead and is not asked
    /// for then is dropped, like a request whose answer is lost.
    pub fn ahead(&self, now: i64) -> Option<Plan> {
        let flight = self.flight.as_ref()?;
        let pushes = flight.purpose == Purpose::Sync && !flight.sent.is_empty();
        let goes_on = pushes && flight.only.is_none() && self.bootstrap == Phase::None;
        self.next_push(now).filter(|_| goes_on)
    }

    /// What the machine will ask for once the bootstrap under way is told to be complete, if that is a
    /// push: it may be made ready meanwhile, but not sent.
    pub fn behind_bootstrap(&self, now: i64) -> Option<Plan> {
        let flight = self.flight.as_ref()?;
        let bootstraps = flight.purpose != Purpose::Sync && self.bootstrap != Phase::None;
        self.next_push(now).filter(|_| bootstraps && self.dirty)
    }

    /// A push of as much as fits, unless the machine waits for something or suspects an op.
    fn next_push(&self, now: i64) -> Option<Plan> {
        let may = self.isolation.suspects_nothing()
            && self.blocked.is_none()
            && self.pushing.until() <= now
            && self.pulling.until() <= now
            && self.may_talk(now);
        may.then(|| Plan {
            purpose: Purpose::Sync,
            max_ops: self.settings.max_ops,
            set_aside: Vec::new(),
            only: None,
        })
    }

    pub(super) fn plan(&self, now: i64) -> Plan {
        let set_aside: Vec<OpId> = self.isolation.set_aside().collect();
        let purpose = match self.bootstrap {
            Phase::None => Purpose::Sync,
            Phase::Documents => Purpose::Snapshot,
            Phase::CatchUp => Purpose::CatchUp,
            Phase::AskFates => Purpose::AskFates,
        };
        let only = self
            .isolation
            .due(now, self.pull)
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
    pub(super) fn next_start(&self, now: i64) -> Option<i64> {
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
}
