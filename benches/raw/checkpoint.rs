//! Checkpoints beside the writer, so that no commit waits for one.

use std::path::Path;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use rusqlite::Connection;

use crate::Outcome;

/// A log longer than this (4 MiB of 4 KiB pages) is checkpointed.
const PAGES: i32 = 1024;

/// A thread with a connection of its own.
pub(super) struct Checkpointer {
    thread: Option<JoinHandle<()>>,
    stop: Option<SyncSender<bool>>,
}

impl Checkpointer {
    /// Watches what `writer` commits to the file at `path`.
    pub(super) fn start(path: &Path, writer: &mut Connection) -> Outcome<Checkpointer> {
        let connection = Connection::open(path)?;
        connection.execute_batch("PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=0;")?;
        let (wake, woken) = sync_channel(1);
        let stop = wake.clone();
        // A wake-up that finds the channel full is the one that waits there already.
        writer.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, pages| {
            if pages >= PAGES {
                let _ = wake.try_send(false);
            }
            Ok(())
        }))?;
        let thread = std::thread::spawn(move || {
            while let Ok(false) = woken.recv() {
                if let Err(error) =
                    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
                {
                    eprintln!("raw checkpoint: {error}");
                }
            }
        });
        Ok(Checkpointer {
            thread: Some(thread),
            stop: Some(stop),
        })
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(true);
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
