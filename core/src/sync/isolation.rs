//! Finding the op that a server cannot digest, so that it holds up nobody else.
//!
//! After two failures of a request with ops the batch is halved until one op is alone. That op then
//! waits on a timer of its own while the others go on; failing alone five times, with successes of
//! others between, it is withdrawn into quarantine. Nothing enters quarantine without a verdict, and
//! no op can stop the others (K22).

use std::collections::BTreeMap;

use super::Backoff;
use crate::id::OpId;

/// Failures of one batch before it is halved.
const FAILURES_BEFORE_HALVING: u32 = 2;
/// Failures alone before an op is withdrawn.
const FAILURES_ALONE: u32 = 5;

/// What is known of suspect ops.
#[derive(Clone, Debug, Default)]
pub struct Isolation {
    limit: Option<usize>,
    failures: u32,
    lone: BTreeMap<OpId, Lone>,
    successes: u64,
}

#[derive(Clone, Debug, Default)]
struct Lone {
    backoff: Backoff,
    counted: u32,
    successes_when_counted: u64,
    successes_when_it_failed: u64,
}

/// What a failure leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Consequence {
    /// The same batch, or a smaller one, is tried again.
    TryAgain,
    /// The op waits alone; the others go on.
    SetAside(OpId),
    /// The op is to be withdrawn into quarantine.
    Withdraw(OpId),
}

impl Isolation {
    /// The most ops to send in one request.
    pub fn limit(&self, usual: usize) -> usize {
        self.limit.unwrap_or(usual).min(usual)
    }

    /// Whether requests are as large as usual and no op waits alone.
    pub fn suspects_nothing(&self) -> bool {
        self.limit.is_none() && self.lone.is_empty()
    }

    /// Ops that wait on their own timer.
    pub fn set_aside(&self) -> impl Iterator<Item = OpId> + '_ {
        self.lone.keys().copied()
    }

    /// An op whose own timer is over. `pull` says that a pull is due as well.
    ///
    /// Where nothing has succeeded since the op failed the pull goes without it: else it would fail with it
    /// again and again, and nothing would tell that the op is at fault and not the server.
    pub fn due(&self, now: i64, pull: bool) -> Option<OpId> {
        let may_go = |lone: &Lone| !pull || self.successes > lone.successes_when_it_failed;
        self.lone
            .iter()
            .find(|(_, lone)| lone.backoff.until() <= now && may_go(lone))
            .map(|(id, _)| *id)
    }

    /// The op has left the queue.
    pub fn forget(&mut self, op: OpId) {
        self.lone.remove(&op);
    }

    /// When the next own timer is over.
    pub fn next_due(&self) -> Option<i64> {
        self.lone.values().map(|lone| lone.backoff.until()).min()
    }

    /// A request succeeded; `sent` are the ops it carried.
    pub fn succeed(&mut self, sent: &[OpId]) {
        self.successes += 1;
        // A pull that succeeds clears nobody: the ops failed all the same.
        if sent.is_empty() {
            return;
        }
        self.failures = 0;
        for id in sent {
            self.lone.remove(id);
        }
        // The culprit of a halved batch may be in what is left: grow slowly.
        self.limit = self
            .limit
            .map(|limit| limit.saturating_mul(2))
            .filter(|limit| *limit < 1 << 16);
    }

    /// A request with the ops `sent` failed in a way that makes them suspect.
    ///
    /// `at_once`: the answer itself blames the size or content (413, 422), so once is enough.
    pub fn fail(
        &mut self,
        now: i64,
        sent: &[OpId],
        at_once: bool,
        counts: bool,
        jitter: u32,
    ) -> Consequence {
        let [alone] = sent else {
            self.failures += 1;
            if at_once || self.failures >= FAILURES_BEFORE_HALVING {
                self.failures = 0;
                self.limit = Some((sent.len() / 2).max(1));
            }
            return Consequence::TryAgain;
        };
        if !self.lone.contains_key(alone) {
            self.failures += 1;
            if !at_once && self.failures < FAILURES_BEFORE_HALVING {
                return Consequence::TryAgain;
            }
        }
        self.failures = 0;
        let successes = self.successes;
        let lone = self.lone.entry(*alone).or_default();
        lone.backoff.fail(now, None, jitter);
        // Only failures between which others succeeded say anything about the op.
        if counts && (lone.counted == 0 || successes > lone.successes_when_counted) {
            lone.counted += 1;
            lone.successes_when_counted = successes;
        }
        lone.successes_when_it_failed = successes;
        if lone.counted >= FAILURES_ALONE {
            self.lone.remove(alone);
            return Consequence::Withdraw(*alone);
        }
        Consequence::SetAside(*alone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(range: std::ops::Range<u8>) -> Vec<OpId> {
        range.map(|n| OpId([n; 16])).collect()
    }

    #[test]
    fn a_batch_is_halved_until_the_culprit_is_alone_and_then_withdrawn() {
        let mut isolation = Isolation::default();
        let mut queue = ids(0..16);
        let poison = queue[11];
        let (mut requests, mut now) = (0, 0);
        let withdrawn = loop {
            requests += 1;
            now += 1_000_000;
            assert!(requests < 100, "never found");
            let batch: Vec<OpId> = match isolation.due(now, false) {
                Some(id) => vec![id],
                None => {
                    let aside: Vec<OpId> = isolation.set_aside().collect();
                    queue
                        .iter()
                        .copied()
                        .filter(|id| !aside.contains(id))
                        .take(isolation.limit(16))
                        .collect()
                }
            };
            if batch.contains(&poison) {
                match isolation.fail(now, &batch, false, true, 0) {
                    Consequence::Withdraw(id) => break id,
                    _ => isolation.succeed(&[]),
                }
            } else {
                isolation.succeed(&batch);
                queue.retain(|id| !batch.contains(id));
            }
        };
        assert_eq!(withdrawn, poison);
    }

    #[test]
    fn failures_while_nothing_else_succeeds_say_nothing_about_the_op() {
        let mut isolation = Isolation::default();
        let op = ids(1..2);
        for n in 0..50 {
            let consequence = isolation.fail(n * 1_000_000, &op, true, true, 0);
            assert!(!matches!(consequence, Consequence::Withdraw(_)));
        }
    }
}
