//! A clock that is wrong.

use driftline::environment::{Clock, SystemClock};
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
