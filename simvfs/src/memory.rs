//! The memory that connections to one log share.
#![allow(unsafe_code)]

use std::cell::UnsafeCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::locks::{HandleId, MemoryLocks};

/// One region. Its bytes belong to SQLite: nothing here ever reads or writes them after they were
/// zeroed. Words, because SQLite reads integers of up to eight bytes from it.
pub(crate) struct Region(Box<[UnsafeCell<u64>]>);

// SAFETY: the cells are never touched through this type, only handed out as an address. SQLite
// itself orders its threads' accesses, by locks and barriers, as it does for memory mapped from a
// file.
unsafe impl Send for Region {}
// SAFETY: as above; sharing a `Region` gives no more than its address.
unsafe impl Sync for Region {}

impl Region {
    fn zeroed(bytes: usize) -> Region {
        let words = bytes.div_ceil(size_of::<u64>());
        Region((0..words).map(|_| UnsafeCell::new(0)).collect())
    }

    /// Where it begins. The address stays valid as long as the region does.
    pub(crate) fn address(&self) -> *mut u64 {
        self.0.first().map_or(std::ptr::null_mut(), UnsafeCell::get)
    }
}

/// What all connections to a log share. It goes when the last of them does, so that whoever comes
/// next builds it anew from the log.
#[derive(Default)]
pub(crate) struct SharedMemory {
    regions: Vec<Arc<Region>>,
    pub(crate) locks: MemoryLocks,
    users: BTreeSet<HandleId>,
}

impl SharedMemory {
    /// A region by its number; made along with those before it if `make` says so.
    pub(crate) fn region(
        &mut self,
        handle: HandleId,
        number: usize,
        bytes: usize,
        make: bool,
    ) -> Option<Arc<Region>> {
        self.users.insert(handle);
        while make && self.regions.len() <= number {
            self.regions.push(Arc::new(Region::zeroed(bytes)));
        }
        self.regions.get(number).cloned()
    }

    pub(crate) fn has(&self, number: usize) -> bool {
        number < self.regions.len()
    }

    /// A connection leaves, or its process has ended.
    pub(crate) fn leave(&mut self, handle: HandleId) {
        self.locks.forget(handle);
        self.users.remove(&handle);
        if self.users.is_empty() {
            self.regions.clear();
        }
    }
}
