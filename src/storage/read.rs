//! Reading: a small pool of connections, each used by one thread at a time.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

#[cfg(test)]
use driftline_core::id::DocumentId;
use driftline_core::id::{CollectionId, Version};
use driftline_core::protocol::Cursor;
use driftline_core::schema::Schema;
use driftline_core::time::Contact;
use rusqlite::types::FromSql;
use rusqlite::{Connection, OptionalExtension};

use super::connection::{FileSpec, GatedConnection, Shared};
use super::error::{Result, StorageError};
use super::lifecycle::Lifecycle;
use super::meta;
#[cfg(test)]
use super::row::{self, StoredDocument};
use super::tables::{Layout, Table, table_name};

/// Connections kept open between calls.
const MOST_IDLE: usize = 4;

/// The pool.
pub(super) struct Readers {
    spec: FileSpec,
    shared: Shared,
    state: Mutex<State>,
    returned: Condvar,
}

struct State {
    lifecycle: Lifecycle,
    idle: Vec<GatedConnection>,
    out: usize,
}

/// A connection on loan.
pub(crate) struct Reader<'p> {
    pool: &'p Readers,
    connection: Option<GatedConnection>,
}

impl Readers {
    pub(super) fn new(spec: FileSpec, shared: Shared) -> Readers {
        let state = State {
            lifecycle: Lifecycle::Open,
            idle: Vec::new(),
            out: 0,
        };
        Readers {
            spec,
            shared,
            state: Mutex::new(state),
            returned: Condvar::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lends a connection.
    pub(super) fn lend(&self) -> Result<Reader<'_>> {
        let kept = {
            let mut state = self.state();
            state.lifecycle.check()?;
            state.out += 1;
            state.idle.pop()
        };
        // From here on the loan counts, and dropping it gives it back.
        let mut reader = Reader {
            pool: self,
            connection: kept,
        };
        if reader.connection.is_none() {
            reader.connection = Some(self.spec.open_reader(&self.shared)?);
        }
        Ok(reader)
    }

    /// Ends running queries, waits for all loans and closes every connection.
    pub(super) fn shut(&self, lifecycle: Lifecycle) {
        self.shared.stop.store(true, Ordering::Relaxed);
        let mut state = self.state();
        state.lifecycle = lifecycle;
        while state.out > 0 {
            state = self
                .returned
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.idle.clear();
        self.shared.stop.store(false, Ordering::Relaxed);
    }

    pub(super) fn reopen(&self) {
        self.state().lifecycle = Lifecycle::Open;
    }

    /// Closes what is not in use; the others keep what they compiled and find out by themselves.
    pub(super) fn close_idle(&self) {
        self.state().idle.clear();
    }
}

impl Reader<'_> {
    /// The connection itself.
    pub(crate) fn get(&self) -> Result<&GatedConnection> {
        self.connection.as_ref().ok_or(StorageError::Closed)
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        let mut state = self.pool.state();
        state.out -= 1;
        if let Some(connection) = self.connection.take()
            && state.lifecycle == Lifecycle::Open
            && state.idle.len() < MOST_IDLE
            // A panic may have left a transaction behind.
            && connection.conn.is_autocommit()
        {
            state.idle.push(connection);
        }
        drop(state);
        self.pool.returned.notify_all();
    }
}

/// A consistent view of the file: everything read through it is of one moment.
pub(crate) struct ReadTx<'c> {
    connection: &'c GatedConnection,
    layout: Arc<Layout>,
}

impl<'c> ReadTx<'c> {
    pub(super) fn new(connection: &'c GatedConnection, layout: Arc<Layout>) -> ReadTx<'c> {
        ReadTx { connection, layout }
    }

    /// For SQL of one's own.
    pub(crate) fn conn(&self) -> &'c Connection {
        &self.connection.conn
    }

    /// For SQL of the app's.
    pub(crate) fn gated(&self) -> &'c GatedConnection {
        self.connection
    }

    pub(crate) fn schema(&self) -> &Arc<Schema> {
        &self.layout.schema
    }

    pub(crate) fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// A collection's table. A collection that only a newer schema declares may have one, in which
    /// everything it holds is kept for later; else `None`.
    pub(crate) fn table(&self, collection: CollectionId) -> Result<Option<Arc<Table>>> {
        if let Some(table) = self.layout.table(collection) {
            return Ok(Some(Arc::clone(table)));
        }
        let mut statement = self
            .conn()
            .prepare_cached("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1")?;
        let there = statement
            .query_row([table_name(collection)], |_| Ok(()))
            .optional()?
            .is_some();
        Ok(there.then(|| Arc::new(Table::new(collection, None, Vec::new()))))
    }

    /// A document, live or deleted; writes have their own way, which knows whether there are tombstones.
    #[cfg(test)]
    pub(crate) fn load(
        &self,
        collection: CollectionId,
        id: &DocumentId,
    ) -> Result<Option<StoredDocument>> {
        match self.table(collection)? {
            Some(table) => match row::load_row(self.conn(), &table, id)? {
                None => row::load_tombstone(self.conn(), collection, id),
                found => Ok(found),
            },
            None => Ok(None),
        }
    }

    /// A fact about the file; names are in [`meta::key`].
    pub(crate) fn meta<T: FromSql>(&self, key: &str) -> Result<Option<T>> {
        meta::get(self.conn(), key)
    }

    /// Where the file stands in the workspace's history.
    pub(crate) fn cursor(&self) -> Result<Cursor> {
        match self.meta::<Vec<u8>>(meta::key::CURSOR)? {
            Some(bytes) => meta::cursor_from(&bytes),
            None => Ok(Cursor::START),
        }
    }

    /// The version of [`ReadTx::cursor`].
    pub(crate) fn version(&self) -> Result<Version> {
        Ok(self.cursor()?.version)
    }

    /// The last contact with the server, for predicting stamps.
    pub(crate) fn contact(&self) -> Result<Option<Contact>> {
        self.meta::<Vec<u8>>(meta::key::CONTACT)?
            .map(|bytes| meta::contact_from(&bytes))
            .transpose()
    }
}
