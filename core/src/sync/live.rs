//! The live socket: opened when it may be, kept alive by a heartbeat, reopened with patience.

use super::Backoff;

/// Silence after which a ping is sent.
pub(super) const HEARTBEAT: i64 = 30_000;
/// Silence after which the socket counts as dead: a connection can be half open for ever.
const DEAD_AFTER: i64 = 75_000;
/// A socket that lived this long proves that reopening works; a shorter life counts as a failure.
const STABLE_AFTER: i64 = 30_000;

#[derive(Clone, Debug, Default)]
pub(super) struct Live {
    pub(super) phase: LivePhase,
    /// The number of the token that it was last opened with.
    pub(super) token: u32,
    backoff: Backoff,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum LivePhase {
    #[default]
    Down,
    Opening,
    /// The transport or the server has none.
    NotOffered,
    Up {
        since: i64,
        heard: i64,
        pinged: i64,
    },
}

impl Live {
    pub(super) fn is_up(&self) -> bool {
        matches!(self.phase, LivePhase::Up { .. })
    }

    pub(super) fn may_open(&self, now: i64) -> bool {
        self.phase == LivePhase::Down && self.backoff.until() <= now
    }

    pub(super) fn opened(&mut self, now: i64) {
        self.phase = LivePhase::Up {
            since: now,
            heard: now,
            pinged: now,
        };
    }

    pub(super) fn heard(&mut self, now: i64) {
        if let LivePhase::Up { heard, .. } = &mut self.phase {
            *heard = now;
        }
    }

    pub(super) fn closed(&mut self, now: i64, retry_after: Option<u64>, jitter: u32) {
        if matches!(self.phase, LivePhase::Up { since, .. } if now - since >= STABLE_AFTER) {
            self.backoff.reset();
        }
        self.phase = LivePhase::Down;
        self.backoff.fail(now, retry_after, jitter);
    }

    pub(super) fn not_offered(&mut self) {
        self.phase = LivePhase::NotOffered;
    }

    pub(super) fn is_not_offered(&self) -> bool {
        self.phase == LivePhase::NotOffered
    }

    pub(super) fn drop_now(&mut self) {
        self.phase = LivePhase::Down;
    }

    pub(super) fn retry_at_once(&mut self) {
        self.backoff.reset();
    }

    pub(super) fn is_dead(&self, now: i64) -> bool {
        matches!(self.phase, LivePhase::Up { heard, .. } if now - heard >= DEAD_AFTER)
    }

    pub(super) fn ping_due(&mut self, now: i64) -> bool {
        match &mut self.phase {
            LivePhase::Up { heard, pinged, .. } if now - (*heard).max(*pinged) >= HEARTBEAT => {
                *pinged = now;
                true
            }
            _ => false,
        }
    }

    pub(super) fn next_wake(&self) -> Option<i64> {
        match self.phase {
            LivePhase::Up { heard, pinged, .. } => {
                Some((heard.max(pinged) + HEARTBEAT).min(heard + DEAD_AFTER))
            }
            LivePhase::Down => Some(self.backoff.until()),
            LivePhase::Opening | LivePhase::NotOffered => None,
        }
    }
}
