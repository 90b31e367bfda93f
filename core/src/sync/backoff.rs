//! Retry delays: 250, 1000, 3000, 5000 ms, then doubling to five minutes, with jitter, without end.

use crate::mutant::{Mutant, planted};

/// The delays before doubling begins. The first two cover a dropped connection and a server restart.
const FIRST: [i64; 4] = [250, 1_000, 3_000, 5_000];
const CAP: i64 = 300_000;
/// Longest wait a server may ask for; more is obeyed as this much.
const MAX_RETRY_AFTER: i64 = 600_000;

/// Failures in a row and when to try again.
#[derive(Clone, Debug, Default)]
pub struct Backoff {
    failures: u32,
    until: i64,
}

impl Backoff {
    /// Notes a failure at `now`. `jitter` is any number; it spreads the delay by a fifth, so that
    /// devices that failed together do not return together.
    pub fn fail(&mut self, now: i64, retry_after: Option<u64>, jitter: u32) {
        let step = match FIRST.get(self.failures as usize) {
            Some(delay) => *delay,
            None => (FIRST[3] << (self.failures - 3).min(10)).min(CAP),
        };
        let spread = step / 5;
        let delay = step - spread + (i64::from(jitter) % (2 * spread + 1));
        let asked = retry_after.map_or(0, |ms| {
            i64::try_from(ms).unwrap_or(i64::MAX).min(MAX_RETRY_AFTER)
        });
        self.failures = self.failures.saturating_add(1);
        self.until = match planted(Mutant::BackoffNeverEnds) {
            true => i64::MAX,
            false => now.saturating_add(delay.max(asked)),
        };
    }

    /// Forgets failures and waits for nothing.
    pub fn reset(&mut self) {
        *self = Backoff::default();
    }

    /// The moment before which not to try.
    pub fn until(&self) -> i64 {
        self.until
    }

    /// Failures in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_follow_the_table_and_never_end() {
        let mut backoff = Backoff::default();
        let mut seen = Vec::new();
        for _ in 0..16 {
            backoff.fail(0, None, 0);
            seen.push(backoff.until());
        }
        assert_eq!(&seen[..6], [200, 800, 2_400, 4_000, 8_000, 16_000]);
        assert_eq!(seen[15], CAP - CAP / 5);
        backoff.reset();
        assert_eq!(backoff.until(), 0);
    }

    #[test]
    fn retry_after_is_obeyed_within_reason() {
        let mut backoff = Backoff::default();
        backoff.fail(1_000, Some(30_000), 7);
        assert_eq!(backoff.until(), 31_000);
        backoff.fail(0, Some(u64::MAX), 7);
        assert_eq!(backoff.until(), MAX_RETRY_AFTER);
    }
}
