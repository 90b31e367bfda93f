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

mod answer;
pub(crate) mod apply;
mod aside;
pub(crate) mod attach;
mod checkpoint;
mod column;
mod conflicts;
mod connection;
mod copies;
mod ddl;
mod departed;
mod drawn;
pub(crate) mod election;
mod entered;
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
mod lifecycle;
mod local;
pub(crate) mod meta;
mod migrations;
mod open;
pub(crate) mod outbox;
mod plain;
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
mod writer;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

pub(crate) use column::{value_of, value_ref};
pub(crate) use connection::GatedConnection;
pub(crate) use error::{Result, StorageError, WriteError};
pub(crate) use hooks::{Changes, Hooks, Origin};
pub(crate) use local::LocalWrite;
pub(crate) use meta::Bind;
pub(crate) use open::OpenOptions;
pub(crate) use read::ReadTx;
#[cfg(test)]
pub(crate) use row::StoredDocument;
pub(crate) use tables::{Layout, Table};
pub(crate) use write::WriteTx;

use checkpoint::Checkpoints;
use connection::{FileSpec, Shared};
use entered::Entered;
use facts::Facts;
use queue::Queue;
use read::Readers;
use writer::{Writer, data_version};

use driftline_core::id::OpId;

use crate::environment::Environment;

/// A file and everything that is open on it. Shared by all parts of a database.
pub(crate) struct Storage {
    spec: FileSpec,
    environment: Environment,
    shared: Shared,
    writer: Mutex<Writer>,
    readers: Readers,
    queue: Queue,
    drawn: drawn::Drawn,
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
