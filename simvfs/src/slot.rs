//! The VFSes that are registered with SQLite, each for one process at a time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::process::Tenancy;
use crate::vfs;

/// A registered VFS. SQLite keeps pointers to it for as long as it likes, so it is never freed, but
/// given to one process after the other.
pub(crate) struct Slot {
    name: String,
    resident: Mutex<Weak<Tenancy>>,
}

/// Slots that no process lives in.
static FREE: Mutex<Vec<&'static Slot>> = Mutex::new(Vec::new());

/// A slot for a new process.
pub(crate) fn claim() -> &'static Slot {
    let free = FREE.lock().unwrap_or_else(PoisonError::into_inner).pop();
    free.unwrap_or_else(vfs::register)
}

/// The process is gone and none of its files is open.
pub(crate) fn give_back(slot: &'static Slot) {
    FREE.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(slot);
}

impl Slot {
    pub(crate) fn new(name: String) -> Slot {
        Slot {
            name,
            resident: Mutex::new(Weak::new()),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn move_in(&self, tenancy: &Arc<Tenancy>) {
        *self.resident() = Arc::downgrade(tenancy);
    }

    /// Who lives in it, as long as anybody does.
    pub(crate) fn resident(&self) -> MutexGuard<'_, Weak<Tenancy>> {
        self.resident.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
