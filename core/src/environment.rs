//! What the pure half needs from outside, as traits: a device and a server get every side effect
//! from one injected environment, so that a simulation runs the shipped code.

use crate::id::BootId;
use crate::time::Reading;

/// The clocks of a machine.
pub trait Clock: Send + Sync {
    /// Unix milliseconds as the machine believes them; may be wrong and may jump.
    fn wall(&self) -> i64;

    /// Milliseconds of a clock that never goes back within a boot session and counts sleep
    /// (`CLOCK_BOOTTIME`, `mach_continuous_time`).
    fn monotonic(&self) -> i64;

    /// The boot session the monotonic clock belongs to.
    fn boot(&self) -> BootId;

    /// All three at once.
    fn read(&self) -> Reading {
        Reading {
            wall: self.wall(),
            boot: self.boot(),
            mono: self.monotonic(),
        }
    }
}

/// A source of random bytes, fit for ids that nobody should guess.
pub trait Ids: Send + Sync {
    /// Fills `bytes`.
    fn fill(&self, bytes: &mut [u8]);
}
