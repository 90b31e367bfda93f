//! Requests a second for each device: a loop gone wild must not cost the others.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::limits::ServerLimits;

/// Devices remembered; beyond them the rested ones are forgotten first.
const DEVICES: usize = 50_000;

/// A token bucket for each device of each account.
#[derive(Debug)]
pub(super) struct RateLimiter {
    per_second: f64,
    burst: f64,
    buckets: Mutex<HashMap<(String, String), Bucket>>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    at: i64,
}

impl RateLimiter {
    pub(super) fn new(limits: &ServerLimits) -> RateLimiter {
        let per_second = f64::from(limits.requests_per_second.max(1));
        RateLimiter {
            per_second,
            burst: f64::from(limits.burst.max(1)),
            buckets: Mutex::default(),
        }
    }

    /// Takes one request of a device; else says in how many milliseconds it may come.
    pub(super) fn take(&self, account: &str, device: &str, now: i64) -> Result<(), u64> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (account.to_owned(), device.to_owned());
        if buckets.len() >= DEVICES && !buckets.contains_key(&key) {
            self.forget_rested(&mut buckets, now);
        }
        let bucket = buckets.entry(key).or_insert(Bucket {
            tokens: self.burst,
            at: now,
        });
        *bucket = Bucket {
            tokens: self.refilled(*bucket, now),
            at: now,
        };
        if bucket.tokens >= 1.0 {
            bucket.tokens -= 1.0;
            return Ok(());
        }
        Err(((1.0 - bucket.tokens) * 1_000.0 / self.per_second).ceil() as u64)
    }

    fn refilled(&self, bucket: Bucket, now: i64) -> f64 {
        let seconds = now.saturating_sub(bucket.at).max(0) as f64 / 1_000.0;
        (bucket.tokens + seconds * self.per_second).min(self.burst)
    }

    fn forget_rested(&self, buckets: &mut HashMap<(String, String), Bucket>, now: i64) {
        buckets.retain(|_, bucket| self.refilled(*bucket, now) < self.burst);
        if buckets.len() >= DEVICES {
            buckets.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_a_steady_rate_for_each_device_alone() {
        let limits = ServerLimits {
            requests_per_second: 10,
            burst: 3,
            ..ServerLimits::default()
        };
        let limiter = RateLimiter::new(&limits);
        for _ in 0..3 {
            assert_eq!(limiter.take("a", "d", 0), Ok(()));
        }
        assert_eq!(limiter.take("a", "d", 0), Err(100));
        assert_eq!(limiter.take("a", "e", 0), Ok(()));
        assert_eq!(limiter.take("b", "d", 0), Ok(()));
        assert_eq!(limiter.take("a", "d", 100), Ok(()));
        assert_eq!(limiter.take("a", "d", 100), Err(100));
        assert_eq!(
            limiter.take("a", "d", -5_000),
            Err(100),
            "a clock that goes back gives nothing"
        );
    }
}
