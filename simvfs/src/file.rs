//! An open file, and what a process does with files by name: everything a VFS does, in safe terms.

use std::sync::Arc;

use crate::disk::{Extent, Failure, Inode, Intent, ProcessState};
use crate::fault::CallKind;
use crate::locks::{Busy, HandleId, Level};
use crate::memory::Region;
use crate::process::Tenancy;

type Result<T> = std::result::Result<T, Failure>;

/// A file that a process has open.
pub(crate) struct OpenFile {
    process: Arc<Tenancy>,
    handle: HandleId,
    name: String,
    level: Level,
    /// Kept here too: SQLite holds their addresses until it closes the file, even when the process
    /// has ended for the disk.
    regions: Vec<Arc<Region>>,
    delete_on_close: bool,
}

/// How a file is opened.
pub(crate) struct Opening<'a> {
    /// `None` for a file that nobody else ever sees.
    pub(crate) name: Option<&'a str>,
    pub(crate) create: bool,
    pub(crate) exclusive: bool,
    pub(crate) delete_on_close: bool,
}

/// How shared memory is locked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum MemoryLock {
    Shared,
    Exclusive,
    Unlock,
}

impl OpenFile {
    pub(crate) fn open(process: Arc<Tenancy>, opening: &Opening<'_>) -> Result<OpenFile> {
        let name = opening.name.unwrap_or("(temporary)");
        let disk = process.disk.clone();
        let mut disk = disk.lock();
        let found = opening.name.and_then(|name| disk.find(name));
        let kind = match found {
            None if !opening.create => return Err(Failure::Missing),
            Some(_) if opening.exclusive => return Err(Failure::Io),
            None => CallKind::Create,
            Some(_) => CallKind::Open,
        };
        let handle = disk.call(process.id, intent(kind, name), |disk, _| {
            let inode = found.unwrap_or_else(|| disk.make(opening.name));
            Ok(disk.open(process.id, inode))
        })?;
        Ok(OpenFile {
            process: Arc::clone(&process),
            handle,
            name: name.to_owned(),
            level: Level::None,
            regions: Vec::new(),
            delete_on_close: opening.delete_on_close,
        })
    }

    pub(crate) fn close(self) {
        let mut disk = self.process.disk.lock();
        let is_open = disk.opened(self.handle).is_some();
        disk.close(self.handle);
        if is_open && self.delete_on_close {
            // It may be gone already.
            let _ = disk.unlink(&self.name);
        }
    }

    /// Fills `into`; what lies behind the end is zero. Says whether all of it was there.
    pub(crate) fn read(&self, offset: usize, into: &mut [u8]) -> Result<bool> {
        let len = into.len();
        self.call(CallKind::Read, offset, len, |inode, extent| {
            let count = inode.content.read(offset, into);
            if extent == Extent::WithFlippedBit
                && let Some(byte) = into.get_mut(count / 2)
            {
                *byte ^= 1;
            }
            Ok(count == len)
        })
    }

    pub(crate) fn write(&self, offset: usize, bytes: &[u8]) -> Result<()> {
        let mut disk = self.process.disk.lock();
        let intent = Intent {
            kind: CallKind::Write,
            file: &self.name,
            offset,
            len: bytes.len(),
        };
        disk.call(self.process.id, intent, |disk, extent| {
            let end = offset + bytes.len();
            let before = disk.opened(self.handle).ok_or(Failure::Io)?.content.len();
            if !disk.has_room_for(end.saturating_sub(before)) {
                return Err(Failure::Full);
            }
            let part = match extent {
                Extent::Part => {
                    let drawn = disk.process(self.process.id).map(ProcessState::draw);
                    drawn.map_or(0, |mut random| random.below(bytes.len()))
                }
                _ => bytes.len(),
            };
            let inode = disk.opened(self.handle).ok_or(Failure::Io)?;
            let mut stored = bytes[..part].to_vec();
            if extent == Extent::WithFlippedBit
                && let Some(byte) = stored.get_mut(part / 2)
            {
                *byte ^= 1;
            }
            inode.content.write(offset, &stored);
            Ok(())
        })
    }

    pub(crate) fn truncate(&self, len: usize) -> Result<()> {
        self.call(CallKind::Truncate, len, 0, |inode, _| {
            inode.content.truncate(len);
            Ok(())
        })
    }

    pub(crate) fn sync(&self) -> Result<()> {
        let mut disk = self.process.disk.lock();
        let intent = intent(CallKind::Sync, &self.name);
        disk.call(self.process.id, intent, |disk, extent| {
            match extent {
                Extent::Pretended => {}
                Extent::Forgotten => {
                    if let Some(inode) = disk.opened(self.handle) {
                        inode.content.forget_unsynced();
                    }
                }
                _ => disk.sync(self.handle),
            }
            Ok(())
        })
    }

    pub(crate) fn size(&self) -> Result<usize> {
        self.call(CallKind::Size, 0, 0, |inode, _| Ok(inode.content.len()))
    }

    /// Takes a lock on the file; not an I/O call.
    pub(crate) fn lock(&mut self, wanted: Level) -> Result<std::result::Result<(), Busy>> {
        if self.level >= wanted {
            return Ok(Ok(()));
        }
        let handle = self.handle;
        let locked = self.with_inode(|inode| inode.locks.lock(handle, wanted))?;
        self.level = match (locked, wanted) {
            (Ok(()), wanted) => wanted,
            (Err(Busy), Level::Exclusive) => self.level.max(Level::Pending),
            (Err(Busy), _) => self.level,
        };
        Ok(locked)
    }

    pub(crate) fn unlock(&mut self, kept: Level) {
        if self.level > kept {
            let handle = self.handle;
            // A process that has ended holds no locks.
            let _ = self.with_inode(|inode| inode.locks.unlock(handle, kept));
            self.level = kept;
        }
    }

    pub(crate) fn is_reserved(&self) -> Result<bool> {
        self.with_inode(|inode| inode.locks.is_reserved())
    }

    /// A region of shared memory; `None` if it is not there and not to be made.
    pub(crate) fn region(
        &mut self,
        number: usize,
        bytes: usize,
        make: bool,
    ) -> Result<Option<Arc<Region>>> {
        let handle = self.handle;
        let is_new = self.with_inode(|inode| !inode.memory.has(number))?;
        let take = |inode: &mut Inode| inode.memory.region(handle, number, bytes, make);
        let region = if is_new && make {
            self.call(CallKind::Share, number, bytes, |inode, _| Ok(take(inode)))?
        } else {
            self.with_inode(take)?
        };
        self.regions.extend(region.clone());
        Ok(region)
    }

    pub(crate) fn lock_memory(
        &self,
        first: usize,
        count: usize,
        how: MemoryLock,
    ) -> Result<std::result::Result<(), Busy>> {
        self.with_inode(|inode| {
            let locks = &mut inode.memory.locks;
            match how {
                MemoryLock::Shared => locks.lock_shared(self.handle, first, count),
                MemoryLock::Exclusive => locks.lock_exclusive(self.handle, first, count),
                MemoryLock::Unlock => {
                    locks.unlock(self.handle, first, count);
                    Ok(())
                }
            }
        })
    }

    pub(crate) fn leave_memory(&mut self) {
        let handle = self.handle;
        let _ = self.with_inode(|inode| inode.memory.leave(handle));
        self.regions.clear();
    }

    fn call<T>(
        &self,
        kind: CallKind,
        offset: usize,
        len: usize,
        act: impl FnOnce(&mut Inode, Extent) -> Result<T>,
    ) -> Result<T> {
        let mut disk = self.process.disk.lock();
        let intent = Intent {
            kind,
            file: &self.name,
            offset,
            len,
        };
        disk.call(self.process.id, intent, |disk, extent| {
            act(disk.opened(self.handle).ok_or(Failure::Io)?, extent)
        })
    }

    fn with_inode<T>(&self, act: impl FnOnce(&mut Inode) -> T) -> Result<T> {
        let mut disk = self.process.disk.lock();
        disk.opened(self.handle).map(act).ok_or(Failure::Io)
    }
}

fn intent(kind: CallKind, file: &str) -> Intent<'_> {
    Intent {
        kind,
        file,
        offset: 0,
        len: 0,
    }
}

/// What a process does with files that it has not open.
impl Tenancy {
    /// `durably`: the name is gone after a loss of power too.
    pub(crate) fn delete(&self, name: &str, durably: bool) -> Result<()> {
        let mut disk = self.disk.lock();
        disk.call(self.id, intent(CallKind::Delete, name), |disk, _| {
            disk.unlink(name)?;
            if durably {
                disk.sync_names();
            }
            Ok(())
        })
    }

    /// Whether there is such a file with something in it.
    pub(crate) fn exists(&self, name: &str) -> Result<bool> {
        let mut disk = self.disk.lock();
        disk.call(self.id, intent(CallKind::Access, name), |disk, _| {
            Ok(disk.len_of(name).is_some_and(|len| len > 0))
        })
    }

    pub(crate) fn fill_random(&self, bytes: &mut [u8]) {
        if let Some(process) = self.disk.lock().process(self.id) {
            process.random.fill(bytes);
        }
    }

    pub(crate) fn sleep(&self, micros: i64) {
        if let Some(process) = self.disk.lock().process(self.id) {
            process.now = process.now.saturating_add(micros);
            process.slept = process.slept.saturating_add(micros);
        }
    }

    /// Unix time in microseconds.
    pub(crate) fn now(&self) -> i64 {
        let mut disk = self.disk.lock();
        disk.process(self.id).map_or(0, |process| process.now)
    }
}
