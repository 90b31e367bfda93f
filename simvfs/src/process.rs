//! A running program on a disk.

use std::sync::{Arc, Weak};

use crate::disk::{Disk, ProcessId, ProcessState};
use crate::fault::{Fault, Recording};
use crate::slot::{self, Slot};

/// A running program: databases opened with its [`Process::vfs`] are its own.
///
/// It ends when a fault says so, when it is killed, when the power goes, or when this is dropped;
/// connections it still has then fail and hold no lock.
pub struct Process {
    tenancy: Arc<Tenancy>,
}

/// Tells whether a process has ended, for whoever must not outlive it.
#[derive(Clone)]
pub struct Life(Weak<Tenancy>);

/// A process' hold on its VFS; open files share it, so that the name is not given to another process
/// while SQLite may still call.
pub(crate) struct Tenancy {
    pub(crate) disk: Disk,
    pub(crate) id: ProcessId,
    slot: &'static Slot,
}

impl Process {
    /// Starts a program; `seed` is the source of SQLite's randomness in it.
    pub fn start(disk: &Disk, seed: u64) -> Process {
        let id = disk.lock().begin_process(seed);
        let tenancy = Arc::new(Tenancy {
            disk: disk.clone(),
            id,
            slot: slot::claim(),
        });
        tenancy.slot.move_in(&tenancy);
        Process { tenancy }
    }

    /// The VFS name to open databases with.
    pub fn vfs(&self) -> &str {
        self.tenancy.slot.name()
    }

    /// The disk it runs on.
    pub fn disk(&self) -> &Disk {
        &self.tenancy.disk
    }

    fn with<T>(&self, work: impl FnOnce(&mut ProcessState) -> T) -> Option<T> {
        let mut disk = self.tenancy.disk.lock();
        disk.process(self.tenancy.id).map(work)
    }

    /// Has `fault` happen at the call of that number, counted from 1. Several may be armed; of those
    /// that fit a call the first acts.
    pub fn arm(&self, at: u64, fault: Fault) {
        self.with(|process| process.plan.arm(at, fault));
    }

    /// No fault is armed any more; what was broken works again.
    pub fn disarm(&self) {
        self.with(|process| process.plan.disarm());
    }

    /// I/O calls made so far.
    pub fn calls(&self) -> u64 {
        self.with(|process| process.calls).unwrap_or_default()
    }

    /// How many calls have met a fault so far.
    pub fn met(&self) -> u64 {
        self.with(|process| process.met).unwrap_or_default()
    }

    /// Lists the calls from now on. The list can be read when the process is long gone.
    pub fn record(&self) -> Recording {
        let recording = Recording::default();
        self.with(|process| process.recording = Some(recording.clone()));
        recording
    }

    /// Ends it as `kill -9` does: what the system took stays, locks are free.
    pub fn kill(&self) {
        self.tenancy.disk.lock().end_process(self.tenancy.id);
    }

    /// Whether it has not ended.
    pub fn is_alive(&self) -> bool {
        self.with(|process| process.alive).unwrap_or(false)
    }

    /// A handle that tells the same from elsewhere.
    pub fn life(&self) -> Life {
        Life(Arc::downgrade(&self.tenancy))
    }

    /// Sets what SQLite takes for the time (Unix milliseconds).
    pub fn set_now(&self, millis: i64) {
        self.with(|process| process.now = millis.saturating_mul(1000));
    }

    /// How long SQLite has slept waiting for locks, in microseconds. Sleeping takes no time here.
    pub fn slept(&self) -> i64 {
        self.with(|process| process.slept).unwrap_or_default()
    }
}

impl Life {
    /// That of a process which has ended.
    pub fn ended() -> Life {
        Life(Weak::new())
    }

    /// Whether the process has not ended.
    pub fn is_alive(&self) -> bool {
        self.0.upgrade().is_some_and(|tenancy| {
            let mut disk = tenancy.disk.lock();
            disk.process(tenancy.id)
                .is_some_and(|process| process.alive)
        })
    }
}

impl std::fmt::Debug for Life {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Life").field(&self.is_alive()).finish()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

impl std::fmt::Debug for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Process")
            .field("vfs", &self.vfs())
            .field("alive", &self.is_alive())
            .finish_non_exhaustive()
    }
}

impl Drop for Tenancy {
    fn drop(&mut self) {
        self.disk.lock().forget_process(self.id);
        slot::give_back(self.slot);
    }
}
