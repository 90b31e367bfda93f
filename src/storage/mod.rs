//! All SQL of the device.
//!
//! One file per account and workspace, in WAL mode: one connection that writes and a small pool that
//! reads. Everything goes through two doors:
//!
//! - [`Storage::read`] gives a [`ReadTx`]: a consistent view, with `load(collection, id)`,
//!   `meta(key)`, `cursor()`, `contact()`, `schema()`, and `conn()` for SQL of one's own.
//! - [`Storage::write_tx`] gives a [`WriteTx`]: the same and more, inside one `BEGIN IMMEDIATE`
//!   that commits when the closure returns `Ok` and is rolled back on an error or a panic.
//!   `store(collection, id, before, &mut after)` writes a document's row, its full-text entry and,
//!   for a deleted one without pending ops, its tombstone; `remove` takes it out without a trace;
//!   `set_meta`, `set_cursor`, `set_contact`, `draw_op_id`.
//!
//! What a transaction changed is collected in [`Changes`] and told to the [`Hooks`]
//! (`storage.hooks().on_commit(…)`) after the commit, outside of every lock. A commit that fails is
//! looked up on a new connection by what [`WriteTx::set_witness`] was given.
//!
//! Which rows there are: [`tables`] for collections, [`row`] for one document,
//! `migrations/*.sql` for the private tables. Modules below this one that add words to these doors
//! do so as `impl ReadTx<'_>`, `impl WriteTx<'_>` or `impl Storage`.

use driftline_core::mutant::{Mutant, planted};

mod answer;
pub(crate) mod apply;
mod aside;
pub(crate) mod attach;
mod checkpoint;
mod conflicts;
mod connection;
mod copies;
mod ddl;
mod departed;
pub(crate) mod election;
pub(crate) mod error;
mod facts;
mod gate;
mod history;
mod hooks;
pub(crate) mod import;
mod insert;
pub(crate) mod inspect;
mod join;
mod kinds;
mod known;
pub(crate) mod ledger;
mod local;
pub(crate) mod meta;
mod migrations;
mod open;
pub(crate) mod outbox;
mod power;
mod pragmas;
mod predict;
mod queue;
mod queued;
mod read;
pub(crate) mod rebase;
mod refold;
mod repeal;
mod reshape;
mod row;
pub(crate) mod runs;
mod sql;
pub(crate) mod stage;
mod swap;
mod tables;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod testing;
pub(crate) mod text;
mod text_index;
mod unpacked;
mod write;

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

pub(crate) use connection::GatedConnection;
pub(crate) use error::{Result, StorageError, WriteError};
pub(crate) use hooks::{Changes, Hooks, Origin};
pub(crate) use local::LocalWrite;
pub(crate) use meta::Bind;
pub(crate) use open::OpenOptions;
pub(crate) use read::ReadTx;
#[cfg(test)]
pub(crate) use row::StoredDocument;
pub(crate) use tables::{Layout, Table, value_of, value_ref};
pub(crate) use write::WriteTx;

use checkpoint::Checkpoints;
use connection::{FileSpec, Shared};
use facts::Facts;
use known::Known;
use queue::Queue;
use read::Readers;
use write::FailedCommit;

use driftline_core::id::OpId;

use crate::config::Durability;
use crate::environment::Environment;

/// A file and everything that is open on it. Shared by all parts of a database.
pub(crate) struct Storage {
    spec: FileSpec,
    environment: Environment,
    shared: Shared,
    writer: Mutex<Writer>,
    readers: Readers,
    queue: Queue,
    hooks: Hooks,
    checkpoints: Arc<Checkpoints>,
    showing: text::Showing,
    unpacked: unpacked::Unpacked,
    /// The account, once it was read.
    account: OnceLock<String>,
    /// Whether it has no account, so that nothing is queued.
    guest: AtomicBool,
    /// Whether documents of a guest are still to be turned into ops.
    attaching: AtomicBool,
    /// Whether the account may only read.
    reader: AtomicBool,
    facts: Facts,
    /// What this open file is called in elections.
    name: election::Name,
}

/// The writing connection.
struct Writer {
    lifecycle: Lifecycle,
    /// `None` while suspended or closed, and after a failure that left it in doubt.
    connection: Option<GatedConnection>,
    /// One whose COMMIT failed, kept open until a commit succeeds: see [`Storage::find_out`].
    failed: Option<GatedConnection>,
    /// Whether commits may have been made since the file was last let go of with everything on the
    /// disk.
    unsettled: bool,
    /// `PRAGMA data_version` when another process's changes were last told; `None` on a connection
    /// that never looked.
    told: Option<i64>,
    /// The same when a write last found the file to be what it was opened as.
    verified: Cell<Option<i64>>,
    /// Whether the boot session was compared with the one that the file notes.
    session_compared: Cell<bool>,
    /// What the connection's commits wait for now.
    waits: Cell<Durability>,
    /// What holds while `verified` does.
    known: RefCell<Known>,
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

/// Whether the file may be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Lifecycle {
    Open,
    Suspended,
    Closed,
}

impl Lifecycle {
    fn check(self) -> Result<()> {
        match self {
            Lifecycle::Open => Ok(()),
            Lifecycle::Suspended => Err(StorageError::Suspended),
            Lifecycle::Closed => Err(StorageError::Closed),
        }
    }
}

impl Storage {
    /// Runs `work` on a consistent view of the file.
    pub(crate) fn read<T, E: From<StorageError>>(
        &self,
        work: impl FnOnce(&ReadTx<'_>) -> std::result::Result<T, E>,
    ) -> std::result::Result<T, E> {
        let reader = self.readers.lend()?;
        let connection = reader.get()?;
        let view = connection
            .conn
            .unchecked_transaction()
            .map_err(StorageError::from)?;
        let result = work(&ReadTx::new(connection, self.layout()));
        // Ending a read cannot fail in a way that matters: the view is gone either way.
        drop(view);
        result
    }

    /// Runs `work` on a reading connection, each statement on a view of its own.
    pub(crate) fn with_reader<T>(&self, work: impl FnOnce(&ReadTx<'_>) -> Result<T>) -> Result<T> {
        let reader = self.readers.lend()?;
        work(&ReadTx::new(reader.get()?, self.layout()))
    }

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
        if !changes.is_empty() {
            self.queue.changed();
        }
        if let Some(connection) = &writer.connection
            && let Err(error) = writer.wait_for(&connection.conn, self.spec.durability)
        {
            // The next write tries again. Mostly it is the app's, and should not have to.
            tracing::debug!(%error, "what commits wait for was not set");
        }
        if let Some(connection) = &writer.connection
            && let Err(error) = self.checkpoints.by_writer(&connection.conn)
        {
            tracing::warn!(%error, "a checkpoint failed");
        }
        drop(writer);
        drop(entered);
        let untold = planted(Mutant::NotNotified) && origin == Origin::Remote;
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

    fn writer(&self) -> MutexGuard<'_, Writer> {
        // A panic inside a write rolled back as it unwound; nothing of it is left here.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The writing connection, opened again if it was lost.
    fn connected<'w>(&self, writer: &'w mut Writer) -> Result<&'w GatedConnection> {
        writer.lifecycle.check()?;
        if writer
            .connection
            .as_ref()
            .is_some_and(|connection| !connection.conn.is_autocommit())
        {
            writer.connection = None;
        }
        if writer.connection.is_none() {
            let mut connection = self.spec.open_writer(&self.shared)?;
            self.checkpoints.watch(&mut connection.conn)?;
            writer.connection = Some(connection);
            writer.unsettled = true;
            writer.told = None;
            writer.verified.set(None);
            writer.known.take();
            writer.waits.set(self.spec.durability);
        }
        writer.connection.as_ref().ok_or(StorageError::Closed)
    }

    /// The tables under the current schema.
    pub(crate) fn layout(&self) -> Arc<Layout> {
        Arc::clone(
            &self
                .shared
                .layout
                .read()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// Whom to tell of commits.
    pub(crate) fn hooks(&self) -> &Hooks {
        &self.hooks
    }

    /// When texts were last shown.
    pub(crate) fn showing(&self) -> &text::Showing {
        &self.showing
    }

    /// Keeps what a frame of the snapshot under way holds, for the swap.
    pub(crate) fn keep_unpacked(
        &self,
        frame: &[u8],
        documents: Vec<driftline_core::protocol::DocumentResult>,
    ) {
        self.unpacked.keep(frame, documents);
    }

    /// Clocks, ids, tasks.
    pub(crate) fn environment(&self) -> &Environment {
        &self.environment
    }

    /// What this open file is called in elections.
    pub(crate) fn name(&self) -> election::Name {
        self.name
    }

    /// Where the file is.
    pub(crate) fn path(&self) -> &std::path::Path {
        &self.spec.path
    }

    /// Whether the file has no account, so that nothing is queued.
    pub(crate) fn is_guest(&self) -> bool {
        self.guest.load(Ordering::Acquire)
    }

    /// Whether documents of a guest are still to be turned into ops.
    pub(crate) fn is_attaching(&self) -> bool {
        self.attaching.load(Ordering::Acquire)
    }

    /// Whether the account is known to be no more than a reader here.
    pub(crate) fn is_reader(&self) -> bool {
        self.reader.load(Ordering::Acquire)
    }

    /// Remembers whether it is.
    pub(crate) fn note_reader(&self, reader: bool) -> Result<()> {
        if self.is_reader() == reader {
            return Ok(());
        }
        self.write_tx(Origin::Remote, |tx| match reader {
            true => tx.set_meta(meta::key::ROLE, "reader"),
            false => tx.clear_meta(meta::key::ROLE),
        })?;
        self.reader.store(reader, Ordering::Release);
        Ok(())
    }

    /// Notes whose file it is; within the transaction that reads or changes it.
    fn follow_identity(&self, account: bool, attaching: bool) {
        self.guest.store(!account, Ordering::Release);
        self.attaching.store(attaching, Ordering::Release);
        if attaching {
            self.queue.draw_above(OpId::ABOVE_DERIVED);
        }
    }

    /// The file's account.
    pub(crate) fn account(&self) -> Result<Option<String>> {
        if let Some(account) = self.account.get() {
            return Ok(Some(account.clone()));
        }
        let account: Option<String> = self.with_reader(|tx| tx.meta(meta::key::ACCOUNT))?;
        // A file that has one keeps it.
        Ok(account.map(|account| self.account.get_or_init(|| account).clone()))
    }

    /// The file's workspace.
    pub(crate) fn workspace(&self) -> Result<String> {
        let workspace = self.with_reader(|tx| tx.meta(meta::key::WORKSPACE))?;
        workspace.ok_or_else(|| StorageError::unreadable("workspace"))
    }

    /// Whether documents were written without an account.
    pub(crate) fn has_guest_documents(&self) -> Result<bool> {
        let flag = self.with_reader(|tx| tx.meta::<i64>(meta::key::GUEST))?;
        Ok(self.is_guest() && flag.is_some())
    }

    /// Looks whether another process has changed the file since the last look; if so the hooks are
    /// told that anything may be different. Returns whether it had.
    pub(crate) fn poll_external(&self) -> Result<bool> {
        let entered = Entered::new(self)?;
        let mut writer = self.writer();
        let connection = self.connected(&mut writer)?;
        let version = data_version(&connection.conn)?;
        let changed = writer.told != Some(version);
        writer.told = Some(version);
        drop(writer);
        drop(entered);
        if changed {
            self.queue.changed();
            let layout = self.layout();
            self.hooks.committed(&Changes::external(
                layout.schema.collections.iter().map(|c| c.id),
            ));
        }
        Ok(changed)
    }

    /// Makes every returned write survive a power loss, under `NORMAL` too.
    pub(crate) fn flush(&self) -> Result<()> {
        let _entered = Entered::new(self)?;
        let mut writer = self.writer();
        let connection = self.connected(&mut writer)?;
        full_commit(&connection.conn, &self.spec)?;
        checkpoint::passive(&connection.conn).map(drop)
    }

    /// Checkpoints and lets go of the file: no connection, no lock. Calls fail until
    /// [`Storage::resume`].
    pub(crate) fn suspend(&self) -> Result<()> {
        self.let_go(Lifecycle::Suspended)
    }

    /// Takes the file up again.
    pub(crate) fn resume(&self) -> Result<()> {
        let _entered = Entered::new(self)?;
        let mut writer = self.writer();
        if writer.lifecycle == Lifecycle::Closed {
            return Err(StorageError::Closed);
        }
        writer.lifecycle = Lifecycle::Open;
        if let Err(error) = self.connected(&mut writer) {
            writer.lifecycle = Lifecycle::Suspended;
            return Err(error);
        }
        self.readers.reopen();
        self.queue.forget_counts();
        Ok(())
    }

    /// Checkpoints and closes for good.
    pub(crate) fn close(&self) -> Result<()> {
        let closed = self.let_go(Lifecycle::Closed);
        self.hooks.clear();
        self.checkpoints.close();
        closed
    }

    fn let_go(&self, lifecycle: Lifecycle) -> Result<()> {
        let _entered = Entered::new(self)?;
        let mut writer = self.writer();
        if writer.lifecycle != Lifecycle::Closed {
            self.readers.shut(lifecycle);
            self.checkpoints.let_go();
            writer.lifecycle = lifecycle;
        }
        writer.failed = None;
        let connection = match writer.connection.take() {
            Some(connection) => connection,
            None if !writer.unsettled => return Ok(()),
            // Lost to a failure, or let go of by a call that failed: what was committed before is
            // not settled by that.
            None => self.spec.open_writer(&self.shared)?,
        };
        let settled = match self.spec.durability {
            Durability::Full => Ok(()),
            Durability::Normal => power::settle(&connection.conn),
        };
        let flushed = settled.and_then(|()| checkpoint::passive(&connection.conn).map(drop));
        // The file is let go of whatever the checkpoint said: the log holds what it did not move.
        drop(connection);
        writer.unsettled = flushed.is_err();
        flushed
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        self.checkpoints.close();
    }
}

impl std::fmt::Debug for Storage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Storage")
            .field("guest", &self.is_guest())
            .finish_non_exhaustive()
    }
}

/// Under `NORMAL` a commit does not wait for the disk; one that does takes all before it along.
fn full_commit(conn: &rusqlite::Connection, spec: &FileSpec) -> Result<()> {
    match spec.durability {
        Durability::Full => Ok(()),
        Durability::Normal => commit_fence(conn, spec),
    }
}

/// Makes a commit that waits for the disk, and says nothing.
fn commit_fence(conn: &rusqlite::Connection, spec: &FileSpec) -> Result<()> {
    pragmas::set_durability(conn, Durability::Full)?;
    let fenced = meta::bump_fence(conn);
    pragmas::set_durability(conn, spec.durability)?;
    fenced
}

fn data_version(conn: &rusqlite::Connection) -> Result<i64> {
    Ok(conn
        .prepare_cached("PRAGMA data_version")?
        .query_row([], |row| row.get(0))?)
}

thread_local! {
    /// Storages this thread is writing to, by address.
    static ENTERED: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// A thread that is inside a write of a file: a second one there would wait for itself for ever.
struct Entered(usize);

impl Entered {
    fn new(storage: &Storage) -> Result<Entered> {
        let address = std::ptr::from_ref(storage).addr();
        ENTERED.with_borrow_mut(|entered| {
            if entered.contains(&address) {
                return Err(StorageError::Nested);
            }
            entered.push(address);
            Ok(Entered(address))
        })
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        ENTERED.with_borrow_mut(|entered| entered.retain(|address| *address != self.0));
    }
}
