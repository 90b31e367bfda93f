//! The door of writes: one connection, one transaction at a time, and what became of a commit that failed.

use std::cell::{Cell, RefCell};
use std::sync::atomic::Ordering;
use std::sync::{MutexGuard, PoisonError};

use driftline_core::mutant::{Mutant, planted};

use super::connection::{FileSpec, GatedConnection};
use super::entered::Entered;
use super::error::{Result, StorageError, WriteError};
use super::facts::Facts;
use super::hooks::{Changes, Origin};
use super::known::Known;
use super::lifecycle::Lifecycle;
use super::read::ReadTx;
use super::write::{FailedCommit, WriteTx};
use super::{Storage, meta, power, pragmas};
use crate::config::Durability;

/// The writing connection.
pub(super) struct Writer {
    pub(super) lifecycle: Lifecycle,
    /// `None` while suspended or closed, and after a failure that left it in doubt.
    pub(super) connection: Option<GatedConnection>,
    /// One whose COMMIT failed, kept open until a commit succeeds: see [`Storage::find_out`].
    pub(super) failed: Option<GatedConnection>,
    /// There was no room to leave behind what is in the log, of which the disk may have lost a part: what is
    /// committed behind that would be lost with it.
    pub(super) rests_on_log: Cell<bool>,
    /// Whether commits may have been made since the file was last let go of with everything on the
    /// disk.
    pub(super) unsettled: bool,
    /// `PRAGMA data_version` when another process's changes were last told; `None` on a connection
    /// that never looked.
    pub(super) told: Option<i64>,
    /// The same when a write last found the file to be what it was opened as.
    pub(super) verified: Cell<Option<i64>>,
    /// Whether the boot session was compared with the one that the file notes.
    pub(super) session_compared: Cell<bool>,
    /// What the connection's commits wait for now.
    pub(super) waits: Cell<Durability>,
    /// What holds while `verified` does.
    pub(super) known: RefCell<Known>,
}

impl Writer {
    /// Sets what commits wait for, if it is another thing than now.
    fn wait_for(&self, conn: &rusqlite::Connection, durability: Durability) -> Result<()> {
        if self.waits.get() != durability {
            pragmas::set_durability(conn, durability)?;
            self.waits.set(durability);
        }
        Ok(())
    }
}

impl Storage {
    /// Runs `work` in one IMMEDIATE transaction; commits if it returns `Ok`.
    pub(crate) fn write_tx<T, E: WriteError>(
        &self,
        origin: Origin,
        work: impl FnOnce(&WriteTx<'_>) -> std::result::Result<T, E>,
    ) -> std::result::Result<T, E> {
        self.write_within(self.spec.durability, origin, work)
    }

    /// The same, and the commit does not wait for the disk: for what can be fetched again. After a
    /// loss of power it is there only if a later commit that waited is.
    pub(crate) fn write_lazily<T, E: WriteError>(
        &self,
        origin: Origin,
        work: impl FnOnce(&WriteTx<'_>) -> std::result::Result<T, E>,
    ) -> std::result::Result<T, E> {
        self.write_within(Durability::Normal, origin, work)
    }

    fn write_within<T, E: WriteError>(
        &self,
        durability: Durability,
        origin: Origin,
        work: impl FnOnce(&WriteTx<'_>) -> std::result::Result<T, E>,
    ) -> std::result::Result<T, E> {
        let entered = Entered::new(self)?;
        let mut writer = self.writer();
        self.connected(&mut writer)?;
        let open: &Writer = &writer;
        let connection = open.connection.as_ref().ok_or(StorageError::Closed)?;
        if open.rests_on_log.get() {
            pragmas::leave_a_lost_log_behind(&connection.conn)?;
            open.rests_on_log.set(false);
        }
        let tx = self.begin(open, connection, durability, origin)?;
        let value = match work(&tx) {
            Ok(value) => value,
            Err(error) => {
                drop(tx);
                if error
                    .of_storage()
                    .is_some_and(StorageError::spoils_connection)
                {
                    writer.connection = None;
                }
                return Err(error);
            }
        };
        let told_before = planted(Mutant::NotifiedBeforeCommit);
        if told_before {
            self.hooks.committed(&tx.changes());
        }
        let committed = tx.commit();
        let in_doubt = committed.is_err() && connection.conn.is_autocommit();
        if committed.is_err() {
            // What the closure had noted may not have come true.
            open.verified.set(None);
        }
        let changes = match committed {
            Ok(changes) => changes,
            Err(failed) if !in_doubt => {
                if failed.error.spoils_connection() {
                    writer.connection = None;
                }
                return Err(failed.error.into());
            }
            Err(failed) => {
                let found = self.find_out(&mut writer, failed);
                self.queue.changed();
                found?
            }
        };
        // What did not wait for the disk may yet be lost there, with what it overwrote.
        if durability == self.spec.durability {
            writer.failed = None;
        }
        if changes.queue || !changes.is_empty() && !changes.queue_known {
            self.queue.changed();
        }
        if let Some(connection) = &writer.connection
            && let Err(error) = writer.wait_for(&connection.conn, self.spec.durability)
        {
            // The next write tries again. Mostly it is the app's, and should not have to.
            tracing::debug!(%error, "what commits wait for was not set");
        }
        if let Some(connection) = &writer.connection
            && let Err(error) = self
                .checkpoints
                .by_writer(&connection.conn, origin == Origin::Remote)
        {
            tracing::warn!(%error, "a checkpoint failed");
        }
        drop(writer);
        drop(entered);
        let untold = told_before || planted(Mutant::NotNotified) && origin == Origin::Remote;
        if !changes.is_empty() && !untold {
            self.hooks.committed(&changes);
        }
        self.checkpoints.after_commit();
        Ok(value)
    }

    /// Begins a transaction of a file that is as it was opened, and in which nothing is lost.
    fn begin<'w>(
        &'w self,
        writer: &'w Writer,
        connection: &'w GatedConnection,
        durability: Durability,
        origin: Origin,
    ) -> Result<WriteTx<'w>> {
        let conn = &connection.conn;
        loop {
            writer.wait_for(conn, durability)?;
            let now = self.environment.clock.read();
            let read = ReadTx::new(connection, self.layout());
            let tx = WriteTx::begin(read, self, &writer.known, origin, now)?;
            let version = data_version(conn)?;
            if writer.verified.get() == Some(version) {
                return Ok(tx);
            }
            let facts = Facts::read(conn)?;
            self.facts.check(&facts)?;
            let boot = self.environment.clock.boot();
            let (normal, compared) = (self.spec.durability, writer.session_compared.get());
            if power::is_noted(&facts, normal, boot, compared) {
                self.follow_identity(facts.account, facts.attaching);
                self.reader.store(facts.reader, Ordering::Release);
                self.queue.another_wrote(now.mono);
                self.queue.changed();
                writer.known.take();
                writer.session_compared.set(true);
                writer.verified.set(Some(version));
                return Ok(tx);
            }
            drop(tx);
            writer.waits.set(Durability::Full);
            power::note(conn, normal, boot, &*self.environment.ids)?;
            writer.session_compared.set(true);
        }
    }

    /// A failed COMMIT says nothing about durability: opens the file anew and looks.
    fn find_out(&self, writer: &mut Writer, mut failed: FailedCommit) -> Result<Changes> {
        tracing::warn!(error = %failed.error, "a commit failed; looking it up");
        // While somebody has the file open its log ends where it ended, and what the failed commit
        // wrote behind that is overwritten by the next one. Whoever opens the file alone takes it in,
        // although the disk may have lost it when a sync failed: all commits after it would be lost
        // with it.
        writer.failed = writer.connection.take();
        self.readers.close_idle();
        if planted(Mutant::FailedCommitTrusted) {
            writer.failed = None;
            return Err(failed.error);
        }
        let unknown = |error: &StorageError| StorageError::CommitUnknown(error.to_string());
        let connection = self.connected(writer).map_err(|_| unknown(&failed.error))?;
        if failed
            .look_up(&connection.conn)
            .map_err(|_| unknown(&failed.error))?
        {
            writer.failed = None;
            return Ok(*failed.changes);
        }
        // Its pages may lie behind the log's end, whole: a crash now would bring them to life. The next
        // commit overwrites them, so there is one, and it waits for the disk: what it overwrote could
        // be there again after a loss of power.
        match commit_fence(&connection.conn, &self.spec) {
            Ok(()) => {
                writer.failed = None;
                Err(failed.error)
            }
            // Only of a commit that found the disk full itself it is known that the log lacks the page
            // that ends it. One whose sync failed left all of its pages there.
            Err(StorageError::DiskFull) if matches!(failed.error, StorageError::DiskFull) => {
                Err(failed.error)
            }
            Err(_) => Err(unknown(&failed.error)),
        }
    }

    /// Has the next commit report an error although it took effect.
    #[cfg(test)]
    pub(crate) fn fail_next_commit(&self) {
        self.checkpoints
            .fail_once
            .store(true, std::sync::atomic::Ordering::Relaxed);
    }

    /// Has the next read open the file.
    #[cfg(test)]
    pub(crate) fn close_idle_readers(&self) {
        self.readers.close_idle();
    }

    pub(super) fn writer(&self) -> MutexGuard<'_, Writer> {
        // A panic inside a write rolled back as it unwound; nothing of it is left here.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The writing connection, opened again if it was lost.
    pub(super) fn connected<'w>(&self, writer: &'w mut Writer) -> Result<&'w GatedConnection> {
        writer.lifecycle.check()?;
        if writer
            .connection
            .as_ref()
            .is_some_and(|connection| !connection.conn.is_autocommit())
        {
            writer.connection = None;
        }
        if writer.connection.is_none() {
            let (mut connection, rests) = self.spec.open_writer(&self.shared)?;
            self.checkpoints.watch(&mut connection.conn)?;
            writer.connection = Some(connection);
            // Opened anew it did not wait for who reads: that takes nothing back.
            let rested = writer.rests_on_log.get();
            writer.rests_on_log.set(rested || rests);
            writer.unsettled = true;
            writer.told = None;
            writer.verified.set(None);
            writer.known.take();
            writer.waits.set(self.spec.durability);
        }
        writer.connection.as_ref().ok_or(StorageError::Closed)
    }
}

/// Makes a commit that waits for the disk, and says nothing.
pub(super) fn commit_fence(conn: &rusqlite::Connection, spec: &FileSpec) -> Result<()> {
    pragmas::set_durability(conn, Durability::Full)?;
    let fenced = meta::bump_fence(conn);
    pragmas::set_durability(conn, spec.durability)?;
    fenced
}

/// Changes when another connection commits.
pub(super) fn data_version(conn: &rusqlite::Connection) -> Result<i64> {
    Ok(conn
        .prepare_cached("PRAGMA data_version")?
        .query_row([], |row| row.get(0))?)
}
