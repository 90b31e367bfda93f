//! A machine's clocks and its source of ids.

use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use driftline_core::environment::{Clock, Ids};
use driftline_core::id::BootId;
use driftline_simvfs::Random;

use super::Tasks;

/// The clocks of one machine: as wrong as it is told, and restarted with it.
pub struct MachineClock {
    tasks: Tasks,
    skew: AtomicI64,
    boot: AtomicU32,
    booted_at: AtomicI64,
}

impl MachineClock {
    /// Right clocks in boot session `boot`.
    pub fn new(tasks: &Tasks, boot: u32) -> MachineClock {
        MachineClock {
            tasks: tasks.clone(),
            skew: AtomicI64::new(0),
            boot: AtomicU32::new(boot),
            booted_at: AtomicI64::new(tasks.now()),
        }
    }

    /// The same clocks, moved on by other tasks.
    pub(super) fn fork(&self, tasks: &Tasks) -> MachineClock {
        let copy = |number: &AtomicI64| AtomicI64::new(number.load(Ordering::Relaxed));
        MachineClock {
            tasks: tasks.clone(),
            skew: copy(&self.skew),
            boot: AtomicU32::new(self.boot.load(Ordering::Relaxed)),
            booted_at: copy(&self.booted_at),
        }
    }

    /// Sets the wall clock so many milliseconds ahead of the truth.
    pub fn set_skew(&self, millis: i64) {
        self.skew.store(millis, Ordering::Relaxed);
    }

    /// The machine starts anew: another session, and its monotonic clock begins again.
    pub fn reboot(&self) {
        self.boot.fetch_add(1, Ordering::Relaxed);
        self.booted_at.store(self.tasks.now(), Ordering::Relaxed);
    }
}

impl Clock for MachineClock {
    fn wall(&self) -> i64 {
        self.tasks.now() + self.skew.load(Ordering::Relaxed)
    }

    fn monotonic(&self) -> i64 {
        self.tasks.now() - self.booted_at.load(Ordering::Relaxed)
    }

    fn boot(&self) -> BootId {
        BootId(self.boot.load(Ordering::Relaxed))
    }
}

/// Ids that follow from a seed.
pub struct DrawnIds(Mutex<Random>);

impl DrawnIds {
    /// Begins at `seed`.
    pub fn new(seed: u64) -> DrawnIds {
        DrawnIds(Mutex::new(Random::new(seed)))
    }
}

impl Ids for DrawnIds {
    fn fill(&self, bytes: &mut [u8]) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .fill(bytes);
    }
}
