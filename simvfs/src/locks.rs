//! The locks of one file: on the database file, and on the log's shared memory.

use std::collections::BTreeSet;

/// An open file, for as long as it is open.
pub(crate) type HandleId = u64;

/// Somebody else holds a lock that is in the way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Busy;

/// How far a handle has locked a database file, in SQLite's order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Level {
    None,
    Shared,
    Reserved,
    Pending,
    Exclusive,
}

/// The locks on a database file.
#[derive(Debug, Default)]
pub(crate) struct FileLocks {
    shared: BTreeSet<HandleId>,
    reserved: Option<HandleId>,
    pending: Option<HandleId>,
    exclusive: Option<HandleId>,
}

impl FileLocks {
    /// Takes a lock up to `wanted`. On [`Busy`] an exclusive one may have come as far as pending,
    /// which keeps new readers out.
    pub(crate) fn lock(&mut self, handle: HandleId, wanted: Level) -> Result<(), Busy> {
        let by_other = |holder: Option<HandleId>| holder.is_some_and(|holder| holder != handle);
        match wanted {
            Level::None => {}
            Level::Shared => {
                if by_other(self.pending) || by_other(self.exclusive) {
                    return Err(Busy);
                }
                self.shared.insert(handle);
            }
            Level::Reserved => {
                if by_other(self.reserved) {
                    return Err(Busy);
                }
                self.reserved = Some(handle);
            }
            Level::Pending | Level::Exclusive => {
                if by_other(self.reserved) || by_other(self.pending) {
                    return Err(Busy);
                }
                self.pending = Some(handle);
                if self.shared.iter().any(|holder| *holder != handle) {
                    return Err(Busy);
                }
                self.reserved = Some(handle);
                self.exclusive = Some(handle);
            }
        }
        Ok(())
    }

    /// Gives back what is above `kept`.
    pub(crate) fn unlock(&mut self, handle: HandleId, kept: Level) {
        for (level, holder) in [
            (Level::Exclusive, &mut self.exclusive),
            (Level::Pending, &mut self.pending),
            (Level::Reserved, &mut self.reserved),
        ] {
            if kept < level && *holder == Some(handle) {
                *holder = None;
            }
        }
        if kept < Level::Shared {
            self.shared.remove(&handle);
        }
    }

    /// Whether anybody may be about to write.
    pub(crate) fn is_reserved(&self) -> bool {
        self.reserved.is_some() || self.pending.is_some() || self.exclusive.is_some()
    }
}

/// SQLite's locks on shared memory are numbered.
const SLOTS: usize = 8;

/// The locks on a log's shared memory.
#[derive(Debug, Default)]
pub(crate) struct MemoryLocks {
    slots: [Slot; SLOTS],
}

#[derive(Debug, Default)]
struct Slot {
    shared: BTreeSet<HandleId>,
    exclusive: Option<HandleId>,
}

impl MemoryLocks {
    fn range(&mut self, first: usize, count: usize) -> &mut [Slot] {
        let end = (first + count).min(SLOTS);
        &mut self.slots[first.min(end)..end]
    }

    pub(crate) fn lock_shared(
        &mut self,
        handle: HandleId,
        first: usize,
        count: usize,
    ) -> Result<(), Busy> {
        let slots = self.range(first, count);
        if slots
            .iter()
            .any(|slot| slot.exclusive.is_some_and(|holder| holder != handle))
        {
            return Err(Busy);
        }
        for slot in slots {
            slot.shared.insert(handle);
        }
        Ok(())
    }

    pub(crate) fn lock_exclusive(
        &mut self,
        handle: HandleId,
        first: usize,
        count: usize,
    ) -> Result<(), Busy> {
        let slots = self.range(first, count);
        let held_by_other = |slot: &Slot| {
            let reading = slot.shared.iter().any(|holder| *holder != handle);
            reading || slot.exclusive.is_some_and(|holder| holder != handle)
        };
        if slots.iter().any(held_by_other) {
            return Err(Busy);
        }
        for slot in slots {
            slot.exclusive = Some(handle);
        }
        Ok(())
    }

    pub(crate) fn unlock(&mut self, handle: HandleId, first: usize, count: usize) {
        for slot in self.range(first, count) {
            slot.shared.remove(&handle);
            if slot.exclusive == Some(handle) {
                slot.exclusive = None;
            }
        }
    }

    /// Gives back everything.
    pub(crate) fn forget(&mut self, handle: HandleId) {
        self.unlock(handle, 0, SLOTS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writer_waits_for_readers_and_keeps_new_ones_out() {
        let mut locks = FileLocks::default();
        assert_eq!(locks.lock(1, Level::Shared), Ok(()));
        assert_eq!(locks.lock(2, Level::Shared), Ok(()));
        assert_eq!(locks.lock(1, Level::Reserved), Ok(()));
        assert_eq!(locks.lock(2, Level::Reserved), Err(Busy));
        assert_eq!(locks.lock(1, Level::Exclusive), Err(Busy));
        assert_eq!(locks.lock(3, Level::Shared), Err(Busy));
        locks.unlock(2, Level::None);
        assert_eq!(locks.lock(1, Level::Exclusive), Ok(()));
        locks.unlock(1, Level::Shared);
        assert!(!locks.is_reserved());
        assert_eq!(locks.lock(3, Level::Shared), Ok(()));
    }

    #[test]
    fn shared_memory_has_many_readers_or_one_writer() {
        let mut locks = MemoryLocks::default();
        assert_eq!(locks.lock_shared(1, 3, 1), Ok(()));
        assert_eq!(locks.lock_shared(2, 3, 1), Ok(()));
        assert_eq!(locks.lock_exclusive(1, 3, 1), Err(Busy));
        assert_eq!(locks.lock_exclusive(1, 2, 3), Err(Busy));
        locks.forget(2);
        assert_eq!(locks.lock_exclusive(1, 2, 3), Ok(()));
        assert_eq!(locks.lock_shared(2, 4, 1), Err(Busy));
        locks.unlock(1, 2, 3);
        assert_eq!(locks.lock_shared(2, 4, 1), Ok(()));
    }
}
