//! What is on a disk and who uses it, for whoever holds its lock.

use std::collections::{BTreeMap, BTreeSet};

use crate::content::{Content, PowerLoss};
use crate::fault::{Call, CallKind, Fault, Plan, Recording};
use crate::locks::{FileLocks, HandleId, Level};
use crate::memory::SharedMemory;
use crate::random::Random;

use super::Image;

pub(crate) type ProcessId = u64;

pub(crate) type InodeId = u64;

/// What a disk is.
pub(crate) struct DiskState {
    pub(super) names: BTreeMap<String, InodeId>,
    durable_names: BTreeMap<String, InodeId>,
    /// Names given and taken away since names were last made durable, in order.
    unsynced_names: Vec<(String, Option<InodeId>)>,
    pub(super) inodes: BTreeMap<InodeId, Inode>,
    handles: BTreeMap<HandleId, (ProcessId, InodeId)>,
    processes: BTreeMap<ProcessId, ProcessState>,
    numbers: u64,
    pub(super) random: Random,
    pub(super) capacity: usize,
}

/// A file, whatever its name is.
#[derive(Default)]
pub(crate) struct Inode {
    pub(crate) content: Content,
    pub(crate) locks: FileLocks,
    pub(crate) memory: SharedMemory,
}

/// What a disk knows of a process.
pub(crate) struct ProcessState {
    pub(crate) alive: bool,
    pub(crate) calls: u64,
    pub(crate) plan: Plan,
    pub(crate) met: u64,
    pub(crate) recording: Option<Recording>,
    pub(crate) random: Random,
    /// Unix time in microseconds, as SQLite is told it.
    pub(crate) now: i64,
    pub(crate) slept: i64,
}

/// Why a call did not do what it should.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Failure {
    /// It failed, or nobody is there any more to make it.
    Io,
    /// There is no room.
    Full,
    /// There is no such file.
    Missing,
}

/// How much of a call takes effect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Extent {
    Whole,
    Part,
    WithFlippedBit,
    /// A sync that says it did.
    Pretended,
    /// A failed sync after which nobody tries again.
    Forgotten,
}

/// A call about to be made.
pub(crate) struct Intent<'a> {
    pub(crate) kind: CallKind,
    pub(crate) file: &'a str,
    pub(crate) offset: usize,
    pub(crate) len: usize,
}

impl ProcessState {
    /// Randomness for the call that is being made: another one at each call, whatever was drawn before.
    pub(crate) fn draw(&mut self) -> Random {
        Random::new(self.random.next() ^ self.calls.rotate_left(32))
    }
}

impl DiskState {
    /// A disk with the files of an image on it, all of it durable.
    pub(super) fn holding(image: &Image, seed: u64) -> DiskState {
        let mut state = DiskState {
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            unsynced_names: Vec::new(),
            inodes: BTreeMap::new(),
            handles: BTreeMap::new(),
            processes: BTreeMap::new(),
            numbers: 0,
            random: Random::new(seed),
            capacity: usize::MAX,
        };
        state.put_files(image);
        state
    }

    /// The same on another disk, as if every process had ended.
    pub(super) fn fork(&self, seed: u64) -> DiskState {
        let mut inodes = BTreeMap::new();
        let reachable = self.names.values().chain(self.durable_names.values());
        let changed = self.unsynced_names.iter().filter_map(|(_, id)| id.as_ref());
        for id in reachable.chain(changed) {
            if let Some(inode) = self.inodes.get(id) {
                inodes.entry(*id).or_insert_with(|| Inode {
                    content: inode.content.clone(),
                    ..Inode::default()
                });
            }
        }
        DiskState {
            names: self.names.clone(),
            durable_names: self.durable_names.clone(),
            unsynced_names: self.unsynced_names.clone(),
            inodes,
            handles: BTreeMap::new(),
            processes: BTreeMap::new(),
            numbers: self.numbers,
            random: Random::new(seed),
            capacity: self.capacity,
        }
    }

    /// Ends all processes and puts an image in place of everything.
    pub(super) fn restore(&mut self, image: &Image) {
        self.end_all();
        self.names.clear();
        self.durable_names.clear();
        self.unsynced_names.clear();
        self.inodes.clear();
        self.put_files(image);
    }

    fn put_files(&mut self, image: &Image) {
        for (name, bytes) in &image.files {
            self.put_file(name, bytes);
        }
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    fn put_file(&mut self, name: &str, bytes: &[u8]) {
        let id = self.number();
        let inode = Inode {
            content: Content::durable(bytes),
            ..Inode::default()
        };
        self.inodes.insert(id, inode);
        self.names.insert(name.to_owned(), id);
        self.durable_names.insert(name.to_owned(), id);
    }

    pub(crate) fn used(&self) -> usize {
        self.inodes.values().map(|inode| inode.content.len()).sum()
    }

    pub(crate) fn has_room_for(&self, more: usize) -> bool {
        more == 0 || self.used().saturating_add(more) <= self.capacity
    }

    // Processes.

    pub(crate) fn begin_process(&mut self, seed: u64) -> ProcessId {
        let id = self.number();
        let process = ProcessState {
            alive: true,
            calls: 0,
            plan: Plan::default(),
            met: 0,
            recording: None,
            random: Random::new(seed),
            now: 1_767_225_600_000_000,
            slept: 0,
        };
        self.processes.insert(id, process);
        id
    }

    pub(crate) fn process(&mut self, id: ProcessId) -> Option<&mut ProcessState> {
        self.processes.get_mut(&id)
    }

    /// The process ends: its locks are free, and nothing that it still asks for happens.
    pub(crate) fn end_process(&mut self, id: ProcessId) {
        if let Some(process) = self.processes.get_mut(&id) {
            process.alive = false;
        }
        let ended: Vec<HandleId> = self
            .handles
            .iter()
            .filter(|(_, (process, _))| *process == id)
            .map(|(handle, _)| *handle)
            .collect();
        for handle in ended {
            self.close(handle);
        }
    }

    pub(crate) fn forget_process(&mut self, id: ProcessId) {
        self.end_process(id);
        self.processes.remove(&id);
    }

    fn end_all(&mut self) {
        let all: Vec<ProcessId> = self.processes.keys().copied().collect();
        for id in all {
            self.end_process(id);
        }
    }

    /// Makes a call: counts it, lets it meet its fault, and has `act` do as much of it as happens.
    pub(crate) fn call<T>(
        &mut self,
        by: ProcessId,
        intent: Intent<'_>,
        act: impl FnOnce(&mut DiskState, Extent) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let process = self.processes.get_mut(&by).ok_or(Failure::Io)?;
        if !process.alive {
            return Err(Failure::Io);
        }
        process.calls += 1;
        if let Some(recording) = &process.recording {
            recording.add(Call {
                number: process.calls,
                kind: intent.kind,
                file: intent.file.to_owned(),
                offset: intent.offset as u64,
                len: intent.len,
            });
        }
        let meets = process.plan.meets(process.calls, intent.kind);
        process.met += u64::from(meets.is_some());
        match meets {
            None => act(self, Extent::Whole),
            Some(Fault::BitFlip) => act(self, Extent::WithFlippedBit),
            Some(Fault::LyingSync) => act(self, Extent::Pretended),
            Some(Fault::SyncLoss) => act(self, Extent::Forgotten).and(Err(Failure::Io)),
            Some(Fault::IoError | Fault::StickyIoError) => Err(Failure::Io),
            Some(Fault::DiskFull | Fault::StickyDiskFull) => Err(Failure::Full),
            Some(Fault::ShortWrite) => act(self, Extent::Part).and(Err(Failure::Full)),
            Some(crash @ (Fault::CrashBefore | Fault::CrashDuring | Fault::CrashAfter)) => {
                let done = match crash {
                    Fault::CrashAfter => act(self, Extent::Whole).map(drop),
                    Fault::CrashDuring => act(self, Extent::Part).map(drop),
                    _ => Ok(()),
                };
                self.end_process(by);
                done.and(Err(Failure::Io))
            }
        }
    }

    // Files.

    pub(super) fn named(&mut self, name: &str) -> Option<&mut Inode> {
        let id = self.names.get(name)?;
        self.inodes.get_mut(id)
    }

    pub(crate) fn find(&self, name: &str) -> Option<InodeId> {
        self.names.get(name).copied()
    }

    pub(crate) fn len_of(&self, name: &str) -> Option<usize> {
        let inode = self.inodes.get(&self.find(name)?)?;
        Some(inode.content.len())
    }

    /// Makes an empty file; one without a name is gone when it is closed.
    pub(crate) fn make(&mut self, name: Option<&str>) -> InodeId {
        let id = self.number();
        self.inodes.insert(id, Inode::default());
        if let Some(name) = name {
            self.names.insert(name.to_owned(), id);
            self.unsynced_names.push((name.to_owned(), Some(id)));
        }
        id
    }

    pub(crate) fn unlink(&mut self, name: &str) -> Result<(), Failure> {
        let id = self.names.remove(name).ok_or(Failure::Missing)?;
        self.unsynced_names.push((name.to_owned(), None));
        self.collect(id);
        Ok(())
    }

    pub(crate) fn open(&mut self, by: ProcessId, inode: InodeId) -> HandleId {
        let handle = self.number();
        self.handles.insert(handle, (by, inode));
        handle
    }

    /// An open file; `None` once its process has ended.
    pub(crate) fn opened(&mut self, handle: HandleId) -> Option<&mut Inode> {
        let (_, inode) = self.handles.get(&handle)?;
        self.inodes.get_mut(inode)
    }

    pub(crate) fn close(&mut self, handle: HandleId) {
        let Some((_, id)) = self.handles.remove(&handle) else {
            return;
        };
        if let Some(inode) = self.inodes.get_mut(&id) {
            inode.locks.unlock(handle, Level::None);
            inode.memory.leave(handle);
        }
        self.collect(id);
    }

    pub(crate) fn sync(&mut self, handle: HandleId) {
        let Some((_, id)) = self.handles.get(&handle).copied() else {
            return;
        };
        if let Some(inode) = self.inodes.get_mut(&id) {
            inode.content.sync();
        }
        if self
            .unsynced_names
            .iter()
            .any(|(_, named)| *named == Some(id))
        {
            self.sync_names();
        }
    }

    /// Makes every change of names durable.
    pub(crate) fn sync_names(&mut self) {
        let all = self.unsynced_names.len();
        self.settle_names(all);
    }

    /// Makes the first `count` changes of names durable and forgets the others.
    fn settle_names(&mut self, count: usize) {
        let changes = std::mem::take(&mut self.unsynced_names);
        for (name, inode) in changes.into_iter().take(count) {
            match inode {
                Some(inode) => self.durable_names.insert(name, inode),
                None => self.durable_names.remove(&name),
            };
        }
        let all: Vec<InodeId> = self.inodes.keys().copied().collect();
        for id in all {
            self.collect(id);
        }
    }

    pub(super) fn power_loss(&mut self, loss: PowerLoss) {
        self.end_all();
        let mut random = self.random.fork();
        let kept = match loss {
            PowerLoss::LoseUnsynced => 0,
            PowerLoss::KeepUnsynced => self.unsynced_names.len(),
            PowerLoss::Torn => random.below(self.unsynced_names.len() + 1),
        };
        self.settle_names(kept);
        self.names.clone_from(&self.durable_names);
        for inode in self.inodes.values_mut() {
            inode.content.power_loss(loss, &mut random);
        }
        let named: BTreeSet<InodeId> = self.names.values().copied().collect();
        self.inodes.retain(|id, _| named.contains(id));
    }

    /// Lets go of a file that nobody can reach any more, not even after a loss of power.
    fn collect(&mut self, id: InodeId) {
        let names = self.names.values().chain(self.durable_names.values());
        let is_named = names.into_iter().any(|named| *named == id)
            || self
                .unsynced_names
                .iter()
                .any(|(_, named)| *named == Some(id));
        let is_open = self.handles.values().any(|(_, open)| *open == id);
        if !is_named && !is_open {
            self.inodes.remove(&id);
        }
    }
}
