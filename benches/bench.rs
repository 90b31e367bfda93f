//! What every figure needs: a directory on a real disk, and how long to measure.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::Outcome;

/// One run of the program.
pub(crate) struct Bench {
    directory: TempDir,
    quick: bool,
}

impl Bench {
    /// Works in `directory`, or beside this program: a build lies on a disk, while the system's
    /// directory for temporary files may be memory, where a durable commit costs nothing.
    pub(crate) fn new(directory: Option<&Path>, quick: bool) -> Outcome<Bench> {
        let beside = std::env::current_exe()?;
        let place = directory.or(beside.parent()).unwrap_or(Path::new("."));
        let directory = tempfile::Builder::new()
            .prefix("driftline-bench-")
            .tempdir_in(place)
            .map_err(|error| format!("{}: {error}", place.display()))?;
        Ok(Bench { directory, quick })
    }

    /// Whether only a first impression is asked for.
    pub(crate) fn is_quick(&self) -> bool {
        self.quick
    }

    /// `full` repetitions, or about a third of them.
    pub(crate) fn rounds(&self, full: usize) -> usize {
        if self.quick {
            full.div_ceil(3).max(2)
        } else {
            full
        }
    }

    /// A fresh directory that goes when the result is dropped.
    pub(crate) fn room(&self) -> Outcome<Room> {
        Ok(Room(tempfile::tempdir_in(self.directory.path())?))
    }
}

/// A directory for one measurement.
pub(crate) struct Room(TempDir);

impl Room {
    /// The path of a file in it.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The directory.
    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

/// A database's bytes on disk, its log and shared memory included.
pub(crate) fn bytes_on_disk(database: &Path) -> u64 {
    let with = |suffix: &str| {
        let mut name = database.as_os_str().to_owned();
        name.push(suffix);
        std::fs::metadata(PathBuf::from(name)).map_or(0, |file| file.len())
    };
    with("") + with("-wal")
}
