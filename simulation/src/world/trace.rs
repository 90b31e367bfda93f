//! What happened, line by line: a hash that two runs of a seed must agree in, and words for people.

use std::fmt::{Arguments, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Everything that happened. Cloning shares it.
#[derive(Clone, Default)]
pub struct Trace(Arc<Mutex<Lines>>);

#[derive(Default)]
struct Lines {
    hash: Fnv,
    printed: bool,
    buffer: String,
}

/// FNV-1a, 64 bits: quick, and the same everywhere.
#[derive(Clone, Copy)]
pub(super) struct Fnv(pub(super) u64);

impl Default for Fnv {
    fn default() -> Fnv {
        Fnv(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    pub(super) fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

impl Trace {
    /// One whose lines are printed.
    pub fn printed() -> Trace {
        let trace = Trace::default();
        trace.lines().printed = true;
        trace
    }

    /// Adds a line.
    pub fn line(&self, words: Arguments<'_>) {
        let mut lines = self.lines();
        let Lines {
            hash,
            printed,
            buffer,
        } = &mut *lines;
        buffer.clear();
        // Writing to memory cannot fail.
        let _ = buffer.write_fmt(words);
        hash.add(buffer.as_bytes());
        hash.add(b"\n");
        if *printed {
            println!("{buffer}");
        }
    }

    /// The hash so far.
    pub fn hash(&self) -> u64 {
        self.lines().hash.0
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
