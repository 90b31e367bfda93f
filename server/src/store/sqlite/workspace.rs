//! One workspace's file: a writer, a few readers, and checkpoints beside both.

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OptionalExtension, params};

use super::connection::{WORKSPACE, open_reader, open_writer};
use super::error::damaged;
use super::read::View;
use crate::store::{Snapshot, StoreError, Transaction, WorkspaceName, WorkspaceStore};

/// Idle readers kept open.
const READERS_KEPT: usize = 4;

/// Pages in the write-ahead log (4 KiB each) above which it is moved into the file.
const CHECKPOINT_PAGES: i32 = 4_000;

/// Pages above which the writer waits for a checkpoint: under steady writes one beside them never
/// gets to the end, and the log would grow for ever.
const CHECKPOINT_NOW_PAGES: i32 = 16_000;

/// One workspace's file.
pub(super) struct SqliteWorkspace {
    path: PathBuf,
    vfs: Option<String>,
    id: [u8; 16],
    writer: Mutex<Option<Connection>>,
    readers: Mutex<Vec<Connection>>,
    checkpointer: Mutex<Option<Connection>>,
    wal_pages: Arc<AtomicI32>,
}

impl SqliteWorkspace {
    /// Makes the file, unless it is there: an attempt cut short is completed.
    pub(super) fn make(
        path: PathBuf,
        vfs: Option<String>,
        name: &WorkspaceName,
        id: [u8; 16],
    ) -> Result<(), StoreError> {
        let connection = open_writer(&path, vfs.as_deref(), WORKSPACE)?;
        connection.execute(
            "INSERT OR IGNORE INTO meta VALUES ('id', ?1), ('name', ?2)",
            params![id, name.as_str()],
        )?;
        Ok(())
    }

    pub(super) fn open(path: PathBuf, vfs: Option<String>) -> Result<SqliteWorkspace, StoreError> {
        let connection = open_writer(&path, vfs.as_deref(), WORKSPACE)?;
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
            readers: Mutex::default(),
            checkpointer: Mutex::default(),
            wal_pages: Arc::default(),
        };
        *lock(&workspace.writer) = Some(workspace.watched(connection)?);
        Ok(workspace)
    }

    /// Lets a writer report how long its log has become.
    fn watched(&self, mut connection: Connection) -> Result<Connection, StoreError> {
        let pages = Arc::clone(&self.wal_pages);
        connection.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, count| {
            pages.store(count, Ordering::Relaxed);
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
        Ok(())
    }
}

impl WorkspaceStore for SqliteWorkspace {
    fn read(&self) -> Result<Box<dyn Snapshot + '_>, StoreError> {
        let reader = Reading {
            workspace: self,
            connection: Some(self.reader()?),
        };
        reader.execute_batch("BEGIN")?;
        // SQLite's view is of the first read, not of the beginning.
        reader
            .prepare_cached("SELECT one FROM size")?
            .query_row([], |_| Ok(()))?;
        Ok(Box::new(View::new(reader, self.id)))
    }

    fn begin(&self) -> Result<Box<dyn Transaction + '_>, StoreError> {
        let mut slot = lock(&self.writer);
        if slot.is_none() {
            *slot = Some(self.watched(open_writer(&self.path, self.vfs.as_deref(), WORKSPACE)?)?);
        }
        let writing = Writing { slot };
        if self.wal_pages.load(Ordering::Relaxed) > CHECKPOINT_NOW_PAGES {
            self.checkpoint_now(&writing)?;
        }
        writing.execute_batch("BEGIN IMMEDIATE")?;
        Ok(Box::new(View::new(writing, self.id)))
    }

    fn checkpoint(&self) -> Result<(), StoreError> {
        let mut slot = lock(&self.checkpointer);
        let connection = match slot.take() {
            Some(connection) => connection,
            None => {
                let connection = open_writer(&self.path, self.vfs.as_deref(), WORKSPACE)?;
                // Locks are for others: what is in use now is moved next time.
                connection.busy_timeout(std::time::Duration::ZERO)?;
                connection
            }
        };
        self.wal_pages.store(0, Ordering::Relaxed);
        connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
        *slot = Some(connection);
        Ok(())
    }

    fn wants_checkpoint(&self) -> bool {
        self.wal_pages.load(Ordering::Relaxed) > CHECKPOINT_PAGES
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

impl Deref for Reading<'_> {
    type Target = Connection;
    #[allow(clippy::expect_used)]
    fn deref(&self) -> &Connection {
        self.connection.as_ref().expect("taken in drop only")
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
    slot: MutexGuard<'w, Option<Connection>>,
}

impl Writing<'_> {
    /// Commits. A connection that failed to is closed: what it believes of the file may be wrong.
    pub(super) fn commit(mut self) -> Result<(), StoreError> {
        let outcome = self.execute_batch("COMMIT");
        if outcome.is_err() {
            *self.slot = None;
        }
        Ok(outcome?)
    }
}

impl Deref for Writing<'_> {
    type Target = Connection;
    #[allow(clippy::expect_used)]
    fn deref(&self) -> &Connection {
        self.slot.as_ref().expect("filled by begin")
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        let stuck = self
            .slot
            .as_ref()
            .is_some_and(|c| !c.is_autocommit() && c.execute_batch("ROLLBACK").is_err());
        if stuck {
            *self.slot = None;
        }
    }
}
