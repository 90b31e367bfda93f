//! Moving the log into the file in the background, so that no write waits for it.
//!
//! Always PASSIVE: readers and writers go on, and the log's file is used again from its start rather
//! than cut, because committing into pages that exist is 40 times faster than growing a file.

use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use tokio::sync::Notify;

use super::connection::FileSpec;
use super::error::Result;
use crate::environment::Environment;

/// A log of this many pages (4 MiB) is worth moving.
const PAGES: i32 = 1_000;

/// The background task did not keep up, or there is none: the writer moves the log itself.
const PAGES_BEHIND: i32 = 16_000;

/// The background task and what it needs to know.
pub(super) struct Checkpoints {
    spec: FileSpec,
    environment: Environment,
    /// Pages in the log after the last commit.
    pages: Arc<AtomicI32>,
    wake: Notify,
    started: AtomicBool,
    closed: AtomicBool,
    /// Its own connection, so that the writer's is free meanwhile.
    connection: Mutex<Option<Connection>>,
    /// While the file is let go no connection may be opened.
    held: AtomicBool,
    /// Has the next commit report an error although it took effect.
    #[cfg(test)]
    pub(super) fail_once: Arc<AtomicBool>,
}

impl Checkpoints {
    pub(super) fn new(spec: FileSpec, environment: Environment) -> Arc<Checkpoints> {
        Arc::new(Checkpoints {
            spec,
            environment,
            pages: Arc::default(),
            wake: Notify::new(),
            started: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            connection: Mutex::new(None),
            held: AtomicBool::new(true),
            #[cfg(test)]
            fail_once: Arc::default(),
        })
    }

    /// Has SQLite tell the log's size after each commit of `conn`.
    pub(super) fn watch(&self, conn: &mut Connection) -> Result<()> {
        self.held.store(true, Ordering::Release);
        let pages = Arc::clone(&self.pages);
        #[cfg(test)]
        let fail_once = Arc::clone(&self.fail_once);
        conn.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, count| {
            pages.store(count, Ordering::Relaxed);
            #[cfg(test)]
            if fail_once.swap(false, Ordering::Relaxed) {
                let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR_FSYNC);
                return Err(rusqlite::Error::SqliteFailure(code, None));
            }
            Ok(())
        }))?;
        Ok(())
    }

    /// Wakes the task if the log has grown enough.
    pub(super) fn after_commit(self: &Arc<Self>) {
        if self.pages.load(Ordering::Relaxed) < PAGES || self.closed.load(Ordering::Acquire) {
            return;
        }
        if !self.started.swap(true, Ordering::AcqRel) {
            let checkpoints = Arc::clone(self);
            self.environment.executor.spawn(
                "driftline checkpoint",
                Box::pin(async move { checkpoints.run().await }),
            );
        }
        self.wake.notify_one();
    }

    async fn run(self: Arc<Self>) {
        loop {
            self.wake.notified().await;
            if self.closed.load(Ordering::Acquire) {
                return;
            }
            if let Err(error) = self.checkpoint() {
                tracing::warn!(%error, "a background checkpoint failed");
            }
        }
    }

    fn checkpoint(&self) -> Result<()> {
        let mut connection = self
            .connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if !self.held.load(Ordering::Acquire) || self.pages.load(Ordering::Relaxed) < PAGES {
            return Ok(());
        }
        let conn = match connection.take() {
            Some(conn) => conn,
            None => self.spec.open_checkpointer()?,
        };
        passive(&conn)?;
        self.pages.store(0, Ordering::Relaxed);
        *connection = Some(conn);
        Ok(())
    }

    /// Whether the writer should not wait for the task.
    pub(super) fn is_behind(&self) -> bool {
        self.pages.load(Ordering::Relaxed) > PAGES_BEHIND
    }

    /// Closes the connection; none is opened until the file is written to again.
    pub(super) fn let_go(&self) {
        self.held.store(false, Ordering::Release);
        *self
            .connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Ends the task.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.let_go();
        self.wake.notify_one();
    }
}

/// Moves what no reader needs in the log.
pub(super) fn passive(conn: &Connection) -> Result<()> {
    conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
    Ok(())
}
