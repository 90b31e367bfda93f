//! A disk: files, their names, and the processes that use them.

mod state;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::content::PowerLoss;
use crate::fingerprint::Mixer;

use state::DiskState;
pub(crate) use state::{Extent, Failure, Inode, Intent, ProcessId, ProcessState};

/// A disk in memory. Cloning shares it.
///
/// A file's name is as durable as on the usual journalling file systems: syncing a file whose name
/// is new makes it durable, and every change of names before it.
#[derive(Clone)]
pub struct Disk {
    state: Arc<Mutex<DiskState>>,
}

/// Files as they were at a moment: a backup, or what many disks begin with.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Image {
    files: BTreeMap<String, Arc<[u8]>>,
}

impl Disk {
    /// An empty disk; `seed` decides what a loss of power leaves.
    pub fn new(seed: u64) -> Disk {
        Disk::from_image(&Image::default(), seed)
    }

    /// A disk that holds `image`, all of it durable.
    pub fn from_image(image: &Image, seed: u64) -> Disk {
        Disk::of(DiskState::holding(image, seed))
    }

    fn of(state: DiskState) -> Disk {
        Disk {
            state: Arc::new(Mutex::new(state)),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, DiskState> {
        // A test that failed while it held the lock has said so; its disk is still a disk.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All files as processes see them now.
    pub fn image(&self) -> Image {
        let state = self.lock();
        let named = state.names.iter().filter_map(|(name, id)| {
            let inode = state.inodes.get(id)?;
            Some((name.clone(), Arc::from(inode.content.bytes())))
        });
        Image {
            files: named.collect(),
        }
    }

    /// Another disk with the same on it, and the same of that still to be synced: this one, had every
    /// process ended now. `seed` decides what a loss of power leaves there.
    pub fn fork(&self, seed: u64) -> Disk {
        Disk::of(self.lock().fork(seed))
    }

    /// Equal for two disks on which SQLite finds the same, as processes see it now: the same files, and
    /// in a write-ahead log the same transactions.
    pub fn fingerprint(&self) -> u64 {
        let state = self.lock();
        let mut mixer = Mixer::new();
        for (name, id) in &state.names {
            if let Some(inode) = state.inodes.get(id) {
                mixer.file(name, inode.content.bytes());
            }
        }
        mixer.value()
    }

    /// Puts `image` in place of everything, as somebody does who restores a backup. All processes
    /// end.
    pub fn restore(&self, image: &Image) {
        self.lock().restore(image);
    }

    /// The power goes: every process ends, and what was not synced meets its fate.
    pub fn power_loss(&self, loss: PowerLoss) {
        self.lock().power_loss(loss);
    }

    /// Flips a bit of a file, where it lies. Says whether there was one to flip.
    pub fn flip_bit(&self, file: &str) -> bool {
        let mut state = self.lock();
        let mut random = state.random.fork();
        let Some(inode) = state.named(file) else {
            return false;
        };
        inode.content.flip_bit(&mut random);
        inode.content.len() > 0
    }

    /// Room for so many bytes in all; writes that need more find the disk full.
    pub fn set_capacity(&self, bytes: usize) {
        self.lock().capacity = bytes;
    }

    /// Bytes in use.
    pub fn used(&self) -> usize {
        self.lock().used()
    }

    /// The names of all files, in order.
    pub fn files(&self) -> Vec<String> {
        self.lock().names.keys().cloned().collect()
    }

    /// A file's bytes, as processes see them.
    pub fn read(&self, file: &str) -> Option<Vec<u8>> {
        let mut state = self.lock();
        Some(state.named(file)?.content.bytes().to_vec())
    }
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Disk")
            .field("files", &self.files())
            .finish_non_exhaustive()
    }
}

impl Image {
    /// The names of all files, in order.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// A file's bytes.
    pub fn read(&self, file: &str) -> Option<&[u8]> {
        self.files.get(file).map(|bytes| &**bytes)
    }
}

impl std::fmt::Debug for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sizes = self.files.iter().map(|(name, bytes)| (name, bytes.len()));
        f.debug_map().entries(sizes).finish()
    }
}
