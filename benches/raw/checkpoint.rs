//! Checkpoints beside the writer, so that no commit waits for one: the policy of Driftline's device.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use rusqlite::Connection;
use rusqlite::hooks::Wal;

use crate::Outcome;

/// A log of this many pages is checkpointed.
const PAGES: i32 = 1_000;

/// Behind this the thread does not keep up, and the writer checkpoints itself: only while nobody
/// writes can a checkpoint catch up and the log begin again from its start.
const PAGES_BEHIND: i32 = 16_000;

/// A thread with a connection of its own.
pub(super) struct Checkpointer {
    thread: Option<JoinHandle<()>>,
    wake: SyncSender<bool>,
    pages: Arc<AtomicI32>,
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
        let (wake, woken) = sync_channel(1);
        let thread = std::thread::spawn(move || {
            while let Ok(false) = woken.recv() {
                if let Err(error) = passive(&connection) {
                    eprintln!("raw checkpoint: {error}");
                }
            }
        });
        Ok(Checkpointer {
            thread: Some(thread),
            wake,
            pages,
        })
    }

    /// After a commit of `writer`.
    pub(super) fn committed(&self, writer: &Connection) -> Outcome<()> {
        let pages = self.pages.load(Ordering::Relaxed);
        if pages > PAGES_BEHIND {
            passive(writer)?;
        } else if pages >= PAGES {
            // One that finds the channel full is the one that waits there already.
            let _ = self.wake.try_send(false);
        }
        Ok(())
    }
}

fn passive(connection: &Connection) -> Outcome<()> {
    Ok(connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?)
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        let _ = self.wake.send(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
