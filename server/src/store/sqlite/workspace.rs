//! One workspace's file: a writer, a few readers, and checkpoints beside both.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OptionalExtension, params};

use super::beside::Beside;
use super::connection::{WORKSPACE, open_checkpointer, open_maker, open_reader, open_writer};
use super::error::damaged;
use super::gathered::Gathered;
use super::log::RestsOnLog;
use super::read::{Source, View};
use crate::store::{Snapshot, StoreError, Transaction, WorkspaceName, WorkspaceStore};

/// Idle readers kept open.
const READERS_KEPT: usize = 4;

/// Pages of the write-ahead log (4 KiB each) that are in the log alone and worth moving into the file.
const CHECKPOINT_PAGES: i32 = 1_000;

/// The same behind a long push: more will follow at once, and the disk is theirs meanwhile.
const CHECKPOINT_PAGES_OF_MANY: i32 = 4_000;

/// A commit of more pages is one of a long push.
const PAGES_OF_MANY: i32 = 100;

/// With no more than this left behind a checkpoint, the next commit moves the rest first: a log that has
/// all been moved begins again. Commits into the pages that it has then wait for the disk half as long as
/// commits that make it longer.
const PAGES_LEFT: i32 = 100;

/// Pages above which the writer waits for a checkpoint: under steady writes one beside them never
/// gets to the end, and the log would grow for ever.
const CHECKPOINT_NOW_PAGES: i32 = 16_000;

/// One workspace's file.
pub(super) struct SqliteWorkspace {
    path: PathBuf,
    vfs: Option<String>,
    id: [u8; 16],
    writer: Mutex<Option<Connection>>,
    rests_on_log: RestsOnLog,
    /// A writer whose COMMIT failed, kept open until a commit succeeds: see [`Writing::commit`].
    failed: Mutex<Option<Connection>>,
    readers: Mutex<Vec<Connection>>,
    checkpointer: Mutex<Option<Connection>>,
    /// Pages in the log after the last commit.
    wal_pages: Arc<AtomicI32>,
    /// By how many the last commit made it longer.
    grown: Arc<AtomicI32>,
    /// How many pages of the log are in the file as well.
    moved: AtomicI32,
    /// Whether a checkpoint is under way.
    moving: AtomicBool,
    /// The log's pages when the writer last tried to move the rest of it.
    tried: AtomicI32,
}

impl SqliteWorkspace {
    /// Makes the file, unless it is there: an attempt cut short is completed.
    pub(super) fn make(
        path: PathBuf,
        vfs: Option<String>,
        name: &WorkspaceName,
        id: [u8; 16],
    ) -> Result<SqliteWorkspace, StoreError> {
        let connection = open_maker(&path, vfs.as_deref(), WORKSPACE, |making| {
            let facts = "INSERT OR IGNORE INTO meta VALUES ('id', ?1), ('name', ?2)";
            making.execute(facts, params![id, name.as_str()])?;
            Ok(())
        })?;
        SqliteWorkspace::with((connection, false), path, vfs)
    }

    pub(super) fn open(path: PathBuf, vfs: Option<String>) -> Result<SqliteWorkspace, StoreError> {
        let opened = open_writer(&path, vfs.as_deref(), WORKSPACE)?;
        SqliteWorkspace::with(opened, path, vfs)
    }

    fn with(
        (connection, rests_on_log): (Connection, bool),
        path: PathBuf,
        vfs: Option<String>,
    ) -> Result<SqliteWorkspace, StoreError> {
        let id: Option<Vec<u8>> = connection
            .query_row("SELECT value FROM meta WHERE key = 'id'", [], |row| {
                row.get(0)
            })
            .optional()?;
        let id = id
            .and_then(|id| id.try_into().ok())
            .ok_or_else(|| damaged("a workspace without an id"))?;
        let workspace = SqliteWorkspace {
            path,
            vfs,
            id,
            writer: Mutex::new(None),
            rests_on_log: RestsOnLog::new(rests_on_log),
            failed: Mutex::default(),
            readers: Mutex::default(),
            checkpointer: Mutex::default(),
            wal_pages: Arc::default(),
            grown: Arc::default(),
            moved: AtomicI32::new(0),
            moving: AtomicBool::new(false),
            tried: AtomicI32::new(0),
        };
        *lock(&workspace.writer) = Some(workspace.watched(connection)?);
        Ok(workspace)
    }

    /// Lets a writer report how long its log has become.
    fn watched(&self, mut connection: Connection) -> Result<Connection, StoreError> {
        let pages = Arc::clone(&self.wal_pages);
        let grown = Arc::clone(&self.grown);
        connection.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, count| {
            let before = pages.swap(count, Ordering::Relaxed);
            grown.store(count - before, Ordering::Relaxed);
            Ok(())
        }))?;
        Ok(connection)
    }

    fn reader(&self) -> Result<Connection, StoreError> {
        match lock(&self.readers).pop() {
            Some(reader) => Ok(reader),
            None => open_reader(&self.path, self.vfs.as_deref()),
        }
    }

    /// Moves the log into the file while nobody writes.
    fn checkpoint_now(&self, connection: &Connection) -> Result<(), StoreError> {
        connection.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(()))?;
        self.wal_pages.store(0, Ordering::Relaxed);
        self.moved.store(0, Ordering::Relaxed);
        self.tried.store(0, Ordering::Relaxed);
        Ok(())
    }

    /// Moves what no reader needs in the log.
    fn move_log(&self, connection: &Connection) -> Result<(), StoreError> {
        let moved: i32 =
            connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get(2))?;
        self.moved.store(moved, Ordering::Relaxed);
        Ok(())
    }

    /// Whether the writer should move what a checkpoint has left. Asked once for each log that grew by what
    /// is worth moving: a reader that stays keeps it from beginning again.
    fn is_nearly_moved(&self) -> bool {
        let (left, pages) = (self.waiting(), self.wal_pages.load(Ordering::Relaxed));
        let tried = self.tried.load(Ordering::Relaxed);
        let nearly = pages >= CHECKPOINT_PAGES && (1..=PAGES_LEFT).contains(&left);
        let again = pages >= tried.saturating_add(CHECKPOINT_PAGES);
        let should = nearly && again && !self.moving.load(Ordering::Relaxed);
        if should {
            self.tried.store(pages, Ordering::Relaxed);
        }
        should
    }

    /// Pages of the log that are not in the file yet.
    fn waiting(&self) -> i32 {
        let (pages, moved) = (
            self.wal_pages.load(Ordering::Relaxed),
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
}

impl WorkspaceStore for SqliteWorkspace {
    fn read(&self) -> Result<Box<dyn Snapshot + '_>, StoreError> {
        let mut reader = Reading {
            workspace: self,
            connection: Some(self.reader()?),
        };
        let connection = reader.sql()?;
        connection.prepare_cached("BEGIN")?.execute([])?;
        // SQLite's view is of the first read, not of the beginning.
        connection
            .prepare_cached("SELECT one FROM size")?
            .query_row([], |_| Ok(()))?;
        Ok(Box::new(View::new(reader, self.id)))
    }

    fn begin(&self) -> Result<Box<dyn Transaction + '_>, StoreError> {
        let mut slot = lock(&self.writer);
        if slot.is_none() {
            let (connection, rests) = open_writer(&self.path, self.vfs.as_deref(), WORKSPACE)?;
            *slot = Some(self.watched(connection)?);
            self.rests_on_log.opened_anew(rests);
        }
        let mut writing = Writing {
            slot,
            failed: &self.failed,
            gathered: Gathered::default(),
            // Who gives a VFS decides what happens in which order.
            may_begin_thread: self.vfs.is_none(),
            beside: None,
        };
        let connection = writing.sql()?;
        self.rests_on_log.end(connection)?;
        if self.wal_pages.load(Ordering::Relaxed) > CHECKPOINT_NOW_PAGES {
            self.checkpoint_now(connection)?;
        } else if self.is_nearly_moved()
            && let Err(error) = self.move_log(connection)
        {
            tracing::warn!(%error, "the rest of a log was not moved");
        }
        connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        Ok(Box::new(View::new(writing, self.id)))
    }

    fn checkpoint(&self) -> Result<(), StoreError> {
        let mut slot = lock(&self.checkpointer);
        let connection = match slot.take() {
            Some(connection) => connection,
            None => {
                let connection = open_checkpointer(&self.path, self.vfs.as_deref())?;
                // Locks are for others: what is in use now is moved next time.
                connection.busy_timeout(std::time::Duration::ZERO)?;
                connection
            }
        };
        self.moving.store(true, Ordering::Relaxed);
        let moved = self.move_log(&connection);
        self.moving.store(false, Ordering::Relaxed);
        moved?;
        *slot = Some(connection);
        Ok(())
    }

    fn wants_checkpoint(&self) -> bool {
        let worth_it = match self.grown.load(Ordering::Relaxed) > PAGES_OF_MANY {
            true => CHECKPOINT_PAGES_OF_MANY,
            false => CHECKPOINT_PAGES,
        };
        self.waiting() > worth_it && !self.moving.load(Ordering::Relaxed)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while holding one leaves a connection, and connections are put right when dropped.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A reader on loan.
pub(super) struct Reading<'w> {
    workspace: &'w SqliteWorkspace,
    connection: Option<Connection>,
}

impl Source for Reading<'_> {
    fn sql(&mut self) -> Result<&Connection, StoreError> {
        self.connection.as_ref().ok_or_else(closed)
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else {
            return;
        };
        if !connection.is_autocommit() && connection.execute_batch("ROLLBACK").is_err() {
            return;
        }
        let mut readers = lock(&self.workspace.readers);
        if readers.len() < READERS_KEPT {
            readers.push(connection);
        }
    }
}

/// The writer, held.
pub(super) struct Writing<'w> {
    /// Empty while a thread writes rows with it.
    slot: MutexGuard<'w, Option<Connection>>,
    failed: &'w Mutex<Option<Connection>>,
    gathered: Gathered,
    may_begin_thread: bool,
    beside: Option<Beside>,
}

impl Writing<'_> {
    /// Gathers rows. They are in the file before any statement sees it, and no later than the commit;
    /// that they could not be written is told by what comes next.
    pub(super) fn gather(
        &mut self,
        add: impl FnOnce(&mut Gathered) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        add(&mut self.gathered)?;
        if self.gathered.is_enough() {
            self.write_on()?;
        }
        Ok(())
    }

    /// Has the gathered rows written by a thread, behind those it was given before.
    fn write_on(&mut self) -> Result<(), StoreError> {
        if self.beside.is_none() && std::mem::take(&mut self.may_begin_thread) {
            self.beside = Beside::start();
        }
        let Some(beside) = &mut self.beside else {
            return self.settle();
        };
        if !beside.is_away() {
            beside.begin(self.slot.take().ok_or_else(closed)?)?;
        }
        self.gathered = beside.write(std::mem::take(&mut self.gathered))?;
        Ok(())
    }

    /// Waits until the thread has written what it has.
    fn come_home(&mut self) -> Result<(), StoreError> {
        let Some(beside) = &mut self.beside else {
            return Ok(());
        };
        let Some((connection, outcome)) = beside.end()? else {
            return Ok(());
        };
        *self.slot = Some(connection);
        outcome
    }

    /// Has everything gathered in the file.
    pub(super) fn settle(&mut self) -> Result<(), StoreError> {
        self.come_home()?;
        if self.gathered.is_empty() {
            return Ok(());
        }
        let written = match &*self.slot {
            Some(connection) => self.gathered.write(connection),
            None => Err(closed()),
        };
        self.gathered.clear();
        written
    }

    /// Forgets what is gathered; what is written already is for the caller to undo.
    pub(super) fn forget(&mut self) {
        // An outcome of what is undone is nothing to anybody.
        let _ = self.come_home();
        self.gathered.clear();
    }

    /// Commits. A connection that failed to is not written with again: what it believes of the file
    /// may be wrong.
    ///
    /// It stays open, though, until a commit succeeds. While somebody has the file open its log ends
    /// where it ended, and what the failed commit wrote behind that is overwritten by the next one.
    /// Whoever opens the file alone takes it in, although the disk may have lost it when a sync failed.
    pub(super) fn commit(mut self) -> Result<(), StoreError> {
        let connection = self.sql()?;
        let commit = connection.prepare_cached("COMMIT");
        let outcome = commit.and_then(|mut commit| commit.execute([]));
        let failed = match outcome {
            Ok(_) => None,
            Err(_) => self.slot.take(),
        };
        // One that cannot be rolled back would hold its lock for ever.
        let failed = failed.filter(|c| c.is_autocommit() || c.execute_batch("ROLLBACK").is_ok());
        // The first to have failed knows where the log ended; later ones have seen no more than it.
        let mut kept = lock(self.failed);
        if outcome.is_ok() {
            *kept = None;
        } else if kept.is_none() {
            *kept = failed;
        }
        drop(kept);
        Ok(outcome.map(drop)?)
    }
}

impl Source for Writing<'_> {
    fn sql(&mut self) -> Result<&Connection, StoreError> {
        self.settle()?;
        self.slot.as_ref().ok_or_else(closed)
    }

    /// Settled for each document that is read, rows would be written one by one: of 100 updates that was a
    /// third of the time.
    fn sql_beside(
        &mut self,
        asked: impl FnOnce(&Gathered) -> bool,
    ) -> Result<&Connection, StoreError> {
        self.come_home()?;
        if asked(&self.gathered) {
            self.settle()?;
        }
        self.slot.as_ref().ok_or_else(closed)
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.forget();
        let stuck = self
            .slot
            .as_ref()
            .is_some_and(|c| !c.is_autocommit() && c.execute_batch("ROLLBACK").is_err());
        if stuck {
            *self.slot = None;
        }
    }
}

fn closed() -> StoreError {
    StoreError::Failed("the connection was lost".to_owned())
}
