//! Checkpoints beside the writer, so that no commit waits for one: the policy of Driftline's device.

use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use rusqlite::Connection;
use rusqlite::hooks::Wal;

use crate::Outcome;

/// This many pages that are in the log alone are worth moving.
const PAGES: i32 = 1_000;

/// A log of this many pages should begin again from its start. It can only while nobody writes, so the
/// writer moves what the thread has left.
const PAGES_TO_RESTART: i32 = 4_000;

/// The thread does not keep up: the writer moves the log itself.
const PAGES_BEHIND: i32 = 16_000;

/// A thread with a connection of its own.
pub(super) struct Checkpointer {
    thread: Option<JoinHandle<()>>,
    wake: SyncSender<bool>,
    /// Pages in the log after the last commit.
    pages: Arc<AtomicI32>,
    /// How many of them are in the file as well.
    moved: Arc<AtomicI32>,
    /// The log's pages when the writer last moved some.
    tried: Cell<i32>,
}

impl Checkpointer {
    /// Watches what `writer` commits to the file at `path`.
    pub(super) fn start(path: &Path, writer: &mut Connection) -> Outcome<Checkpointer> {
        let connection = Connection::open(path)?;
        connection.execute_batch("PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=0;")?;
        let pages = Arc::new(AtomicI32::new(0));
        let seen = Arc::clone(&pages);
        writer.wal_hook(Some(move |_: &mut Wal, count| {
            seen.store(count, Ordering::Relaxed);
            Ok(())
        }))?;
        let moved = Arc::new(AtomicI32::new(0));
        let by_thread = Arc::clone(&moved);
        let (wake, woken) = sync_channel(1);
        let thread = std::thread::spawn(move || {
            while let Ok(false) = woken.recv() {
                match passive(&connection) {
                    Ok(pages) => by_thread.store(pages, Ordering::Relaxed),
                    Err(error) => eprintln!("raw checkpoint: {error}"),
                }
            }
        });
        Ok(Checkpointer {
            thread: Some(thread),
            wake,
            pages,
            moved,
            tried: Cell::new(0),
        })
    }

    /// After a commit of `writer`.
    pub(super) fn committed(&self, writer: &Connection) -> Outcome<()> {
        let pages = self.pages.load(Ordering::Relaxed);
        if pages < self.moved.load(Ordering::Relaxed) {
            // The log has begun again.
            self.moved.store(0, Ordering::Relaxed);
            self.tried.set(0);
        }
        let waiting = pages - self.moved.load(Ordering::Relaxed);
        let restart = pages >= PAGES_TO_RESTART && waiting < PAGES;
        if (restart || waiting > PAGES_BEHIND) && pages >= self.tried.get().saturating_add(PAGES) {
            self.tried.set(pages);
            self.moved.store(passive(writer)?, Ordering::Relaxed);
        } else if waiting >= PAGES {
            // One that finds the channel full is the one that waits there already.
            let _ = self.wake.try_send(false);
        }
        Ok(())
    }
}

/// Moves what can be moved; how many pages of the log are in the file then.
fn passive(connection: &Connection) -> Outcome<i32> {
    Ok(connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get(2))?)
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        let _ = self.wake.send(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
