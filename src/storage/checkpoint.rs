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

/// This many pages (4 MiB) that are in the log alone are worth moving.
const PAGES: i32 = 1_000;

/// A log of this many pages should begin again from its start. It can only where all of it has been
/// moved, which never is while somebody writes: so the writer moves the rest itself, right after the
/// task has moved most of it. Once in some thousand writes one of them waits for that; a log that
/// grew instead would make all of them wait for new pages.
const PAGES_TO_RESTART: i32 = 4_000;

/// With no more than this left behind the task, a write that nobody waits for moves the rest: a log that
/// has all been moved begins again with the next write. Commits into the pages that it has then wait for
/// the disk half as long as commits that make it longer. Who writes without pause leaves more.
const PAGES_LEFT: i32 = 100;

/// The background task did not keep up, or there is none: the writer moves the log itself.
const PAGES_BEHIND: i32 = 16_000;

/// The background task and what it needs to know.
pub(super) struct Checkpoints {
    spec: FileSpec,
    environment: Environment,
    /// Pages in the log after the last commit.
    pages: Arc<AtomicI32>,
    /// How many of them are in the file as well.
    moved: AtomicI32,
    /// The log's pages when the writer last tried to move the rest of it.
    tried: AtomicI32,
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
            moved: AtomicI32::new(0),
            tried: AtomicI32::new(0),
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

    /// Pages of the log that are not in the file yet.
    fn waiting(&self) -> i32 {
        let (pages, moved) = (
            self.pages.load(Ordering::Relaxed),
            self.moved.load(Ordering::Relaxed),
        );
        if pages < moved {
            // It has begun again from its start.
            self.moved.store(0, Ordering::Relaxed);
            self.tried.store(0, Ordering::Relaxed);
            return pages;
        }
        pages - moved
    }

    /// Wakes the task if there is enough to move.
    pub(super) fn after_commit(self: &Arc<Self>) {
        if self.waiting() < PAGES || self.closed.load(Ordering::Acquire) {
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
        if !self.held.load(Ordering::Acquire) || self.waiting() < PAGES {
            return Ok(());
        }
        let conn = match connection.take() {
            Some(conn) => conn,
            None => self.spec.open_checkpointer()?,
        };
        self.moved.store(passive(&conn)?, Ordering::Relaxed);
        *connection = Some(conn);
        Ok(())
    }

    /// Has the writer, which calls this between two writes, move the log where it must: the task does
    /// not keep up, or the log should begin again: at a size where that is due, or sooner after a write of
    /// the server's (`remote`), for which no app waits.
    pub(super) fn by_writer(&self, conn: &Connection, remote: bool) -> Result<()> {
        let (waiting, pages) = (self.waiting(), self.pages.load(Ordering::Relaxed));
        let restart = pages >= PAGES_TO_RESTART && waiting < PAGES;
        let end = remote && pages >= PAGES && (1..=PAGES_LEFT).contains(&waiting);
        // A reader that stays keeps it from beginning again; asking at every write would be dear.
        let again = pages >= self.tried.load(Ordering::Relaxed).saturating_add(PAGES);
        if (restart || end || waiting > PAGES_BEHIND) && again {
            self.tried.store(pages, Ordering::Relaxed);
            self.moved.store(passive(conn)?, Ordering::Relaxed);
        }
        Ok(())
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

/// Moves what no reader needs in the log. Returns how many of its pages are in the file now.
pub(super) fn passive(conn: &Connection) -> Result<i32> {
    Ok(conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get(2))?)
}
