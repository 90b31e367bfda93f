//! Clocks that are wrong.

use std::sync::Arc;

use driftline::environment::{BoxFuture, Clock, Executor, SystemClock, ThreadExecutor};
use driftline_core::id::BootId;

pub struct Ahead {
    real: SystemClock,
    by: i64,
}

impl Ahead {
    pub fn by_years(years: i64) -> Ahead {
        Ahead {
            real: SystemClock::new(),
            by: years * 365 * 86_400_000,
        }
    }
}

impl Clock for Ahead {
    fn wall(&self) -> i64 {
        self.real.wall() + self.by
    }

    fn monotonic(&self) -> i64 {
        self.real.monotonic()
    }

    fn boot(&self) -> BootId {
        self.real.boot()
    }
}

/// A machine on which everything takes a part of the time: its clock runs fast, and it sleeps as much
/// less.
#[derive(Clone)]
pub struct Hurried {
    real: Arc<SystemClock>,
    began: (i64, i64),
    times: i64,
}

impl Hurried {
    /// One on which time passes so many times as fast.
    pub fn by(times: i64) -> Hurried {
        let real = SystemClock::new();
        Hurried {
            began: (real.wall(), real.monotonic()),
            real: Arc::new(real),
            times,
        }
    }
}

impl Clock for Hurried {
    fn wall(&self) -> i64 {
        self.began.0 + (self.real.wall() - self.began.0) * self.times
    }

    fn monotonic(&self) -> i64 {
        self.began.1 + (self.real.monotonic() - self.began.1) * self.times
    }

    fn boot(&self) -> BootId {
        self.real.boot()
    }
}

impl Executor for Hurried {
    fn spawn(&self, name: &str, task: BoxFuture<()>) {
        ThreadExecutor.spawn(name, task);
    }

    fn sleep(&self, millis: u64) -> BoxFuture<()> {
        ThreadExecutor.sleep(millis / self.times.unsigned_abs() + 1)
    }
}
