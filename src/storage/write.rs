//! Writing: one connection, one IMMEDIATE transaction at a time, and what to do when a commit fails.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::ops::Deref;
use std::sync::Arc;

use driftline_core::id::{CollectionId, DocumentId, OpId};
use driftline_core::op::Change;
use driftline_core::protocol::{Cursor, DocumentResult};
use driftline_core::time::{Contact, Reading};
use rusqlite::{Connection, ToSql};

use super::error::{Result, StorageError};
use super::hooks::{Changes, Origin};
use super::insert::{Fresh, Insert, insert_settled};
use super::known::Known;
use super::meta::Standing;
use super::read::ReadTx;
use super::reshape;
use super::row::{self, Stored, StoredDocument};
use super::tables::Table;
use super::{Storage, meta, pragmas, text};
use driftline_core::mutant::{Mutant, planted};

/// A write transaction. Everything a [`ReadTx`] can do, it can do too.
///
/// Dropped without a commit, by an error or a panic, it leaves nothing behind.
pub(crate) struct WriteTx<'c> {
    read: ReadTx<'c>,
    storage: &'c Storage,
    now: Reading,
    changes: RefCell<Changes>,
    witness: RefCell<Option<Witness>>,
    /// Keeps the sender off until the commit.
    holding: Cell<bool>,
    known: &'c RefCell<Known>,
    /// Documents whose texts show something else now, until their full-text entries say so.
    retexted: RefCell<HashSet<(CollectionId, DocumentId)>>,
    /// What it did to the outbox, if that is known: bytes of the op added, of one taken out.
    counted: Cell<Option<(u64, Option<u64>)>>,
    /// It did more than that.
    uncounted: Cell<bool>,
    open: bool,
}

/// Asked after a commit that failed, on a new connection: did it take effect?
type Witness = Box<dyn FnOnce(&Connection) -> Result<bool>>;

impl<'c> Deref for WriteTx<'c> {
    type Target = ReadTx<'c>;
    fn deref(&self) -> &ReadTx<'c> {
        &self.read
    }
}

impl<'c> WriteTx<'c> {
    pub(super) fn begin(
        read: ReadTx<'c>,
        storage: &'c Storage,
        known: &'c RefCell<Known>,
        origin: Origin,
        now: Reading,
    ) -> Result<WriteTx<'c>> {
        pragmas::begin(read.conn())?;
        if origin != Origin::Local {
            // What the server says moves all of it.
            known.borrow_mut().forget_standing();
        }
        let changes = RefCell::new(Changes::none(origin));
        Ok(WriteTx {
            read,
            storage,
            now,
            changes,
            witness: RefCell::default(),
            holding: Cell::new(false),
            known,
            retexted: RefCell::default(),
            counted: Cell::new(None),
            uncounted: Cell::new(false),
            open: true,
        })
    }

    /// The storage it belongs to.
    pub(crate) fn storage(&self) -> &'c Storage {
        self.storage
    }

    /// The clocks when it began.
    pub(crate) fn now(&self) -> Reading {
        self.now
    }

    /// A document, live or deleted.
    pub(crate) fn load(
        &self,
        collection: CollectionId,
        id: &DocumentId,
    ) -> Result<Option<StoredDocument>> {
        let Some(table) = self.table(collection)? else {
            return Ok(None);
        };
        let mut known = self.known.borrow_mut();
        if !known.is_beyond(self.conn(), &table, id)?
            && let Some(found) = row::load_row(self.conn(), &table, id)?
        {
            return Ok(Some(found));
        }
        match known.has_tombstones(self.conn())? {
            true => row::load_tombstone(self.conn(), collection, id),
            false => Ok(None),
        }
    }

    /// The same where nothing changes that a query sees.
    pub(super) fn store_quietly(
        &self,
        collection: CollectionId,
        id: &DocumentId,
        before: Option<&StoredDocument>,
        after: &mut StoredDocument,
    ) -> Result<()> {
        self.changes
            .borrow_mut()
            .typed
            .push((collection, id.clone()));
        self.put(collection, id, before, after, &mut None)
    }

    /// Writes a document in place of `before` (what [`ReadTx::load`] gave, `None` if that was
    /// `None`), with its full-text entry, and notes the change. `after` may be written again.
    pub(crate) fn store(
        &self,
        collection: CollectionId,
        id: &DocumentId,
        before: Option<&StoredDocument>,
        after: &mut StoredDocument,
    ) -> Result<()> {
        self.store_next(collection, id, before, after, &mut None)
    }

    /// The same for one of many, which share what inserts their rows.
    pub(super) fn store_next<'a>(
        &'a self,
        collection: CollectionId,
        id: &DocumentId,
        before: Option<&StoredDocument>,
        after: &mut StoredDocument,
        insert: &mut Option<Insert<'a>>,
    ) -> Result<()> {
        self.put(collection, id, before, after, insert)?;
        self.changes.borrow_mut().add(collection, id);
        Ok(())
    }

    fn put<'a>(
        &'a self,
        collection: CollectionId,
        id: &DocumentId,
        before: Option<&StoredDocument>,
        after: &mut StoredDocument,
        insert: &mut Option<Insert<'a>>,
    ) -> Result<()> {
        let table = self.table_for_writing(collection)?;
        let retexted = table.has_searched_text()
            && self.retexted.borrow_mut().remove(&(collection, id.clone()));
        let change = Stored {
            before,
            after,
            retexted,
        };
        row::store(self.conn(), &table, id, change, self.now.wall, insert)?;
        let mut known = self.known.borrow_mut();
        match after.is_tombstone() {
            true => known.note_tombstone(),
            false => known.note_row(collection, id),
        }
        drop(known);
        if table.lacks_a_column_for(&after.shown) {
            reshape::note_opaque(self.conn(), collection)?;
        }
        Ok(())
    }

    /// Whether a new document of this collection can be written by [`WriteTx::insert_fresh`].
    pub(super) fn takes_fresh(&self, change: &Change) -> bool {
        let table = self.layout().table(change.collection);
        table.is_some_and(|table| {
            let mut fields = change.registers.iter().map(|(field, _)| field);
            table.search.is_none() && fields.all(|field| table.has(field))
        })
    }

    /// Writes documents that are not in the file and hold no more than their changes say, where
    /// [`WriteTx::takes_fresh`] says so.
    pub(super) fn insert_fresh(&self, fresh: &Fresh<'_>) -> Result<()> {
        let Some(first) = fresh.changes.first() else {
            return Ok(());
        };
        fresh.insert(self.conn(), self.known_table(first.collection)?)?;
        let ids = fresh.changes.iter().map(|change| &change.document);
        self.note_inserted(first.collection, ids);
        Ok(())
    }

    /// Whether a document of a snapshot can be written by [`WriteTx::insert_settled`].
    pub(super) fn takes_settled(&self, document: &DocumentResult) -> bool {
        let (table, state) = (self.layout().table(document.collection), &document.state);
        table.is_some_and(|table| {
            let plain = state.is_alive() && state.texts.is_empty() && table.search.is_none();
            plain && !table.lacks_a_column_for(state)
        })
    }

    /// Writes [`TOGETHER`](super::insert::TOGETHER) documents of one collection that are not in the
    /// file, where [`WriteTx::takes_settled`] says so of each.
    pub(super) fn insert_settled(&self, documents: &[DocumentResult]) -> Result<()> {
        let Some(first) = documents.first() else {
            return Ok(());
        };
        insert_settled(self.conn(), self.known_table(first.collection)?, documents)?;
        let ids = documents.iter().map(|document| &document.document);
        self.note_inserted(first.collection, ids);
        Ok(())
    }

    fn known_table(&self, collection: CollectionId) -> Result<&Table> {
        let table = self.layout().table(collection);
        let missing = || StorageError::Internal("a collection has no table".to_owned());
        table.map(Arc::as_ref).ok_or_else(missing)
    }

    fn note_inserted<'d>(
        &self,
        collection: CollectionId,
        ids: impl Iterator<Item = &'d DocumentId>,
    ) {
        let (mut known, mut changes) = (self.known.borrow_mut(), self.changes.borrow_mut());
        for id in ids {
            known.note_row(collection, id);
            changes.add(collection, id);
        }
    }

    /// Notes that a text of a document, which is stored next, shows something else.
    pub(super) fn note_text(&self, collection: CollectionId, id: &DocumentId) {
        let mut retexted = self.retexted.borrow_mut();
        retexted.insert((collection, id.clone()));
    }

    /// Brings the full-text entry of a document in step whose texts alone show something else.
    pub(super) fn reindex(
        &self,
        collection: CollectionId,
        id: &DocumentId,
        stored: &StoredDocument,
    ) -> Result<()> {
        self.index_texts(collection, id, stored)?;
        self.changes.borrow_mut().add(collection, id);
        Ok(())
    }

    /// The same without telling: the transaction goes on.
    pub(super) fn index_texts(
        &self,
        collection: CollectionId,
        id: &DocumentId,
        stored: &StoredDocument,
    ) -> Result<()> {
        let retexted = self.retexted.borrow_mut().remove(&(collection, id.clone()));
        if let Some(table) = self.layout().table(collection).filter(|_| retexted) {
            row::reindex(self.conn(), table, id, stored)?;
        }
        Ok(())
    }

    /// Takes a document out of the file: base does not have it, and nothing is pending.
    pub(crate) fn remove(
        &self,
        collection: CollectionId,
        id: &DocumentId,
        before: &StoredDocument,
    ) -> Result<()> {
        if let Some(table) = self.table(collection)? {
            // Also what it showed before: of an insert that was taken back nothing shows already.
            let shown = before.shown.texts.iter().map(|(field, _)| field);
            for field in shown.chain(table.texts.iter().map(|(field, _)| *field)) {
                text::shown::remove(
                    self.conn(),
                    &text::TextPlace {
                        collection,
                        document: id.clone(),
                        field,
                    },
                )?;
            }
            row::remove(self.conn(), &table, id, before)?;
            self.changes.borrow_mut().add(collection, id);
        }
        Ok(())
    }

    /// The collection's table, made now if only a newer schema declares it.
    fn table_for_writing(&self, collection: CollectionId) -> Result<Arc<Table>> {
        if let Some(table) = self.table(collection)? {
            return Ok(table);
        }
        let table = Table::new(collection, None, Vec::new());
        self.conn().execute_batch(&table.create())?;
        Ok(Arc::new(table))
    }

    /// Sets a fact about the file.
    pub(crate) fn set_meta(&self, key: &str, value: impl ToSql) -> Result<()> {
        self.known.borrow_mut().forget_standing();
        meta::set(self.conn(), key, value)
    }

    /// Removes a fact about the file.
    pub(crate) fn clear_meta(&self, key: &str) -> Result<()> {
        self.known.borrow_mut().forget_standing();
        meta::clear(self.conn(), key)
    }

    /// Where the file stands, as every write has to know.
    pub(super) fn standing(&self) -> Result<Standing> {
        self.known.borrow_mut().standing(self.conn())
    }

    /// Moves the cursor; in the transaction that applies what it passes.
    pub(crate) fn set_cursor(&self, cursor: Cursor) -> Result<()> {
        self.set_meta(meta::key::CURSOR, &meta::cursor_bytes(cursor)[..])
    }

    /// Remembers a contact with the server.
    pub(crate) fn set_contact(&self, contact: &Contact) -> Result<()> {
        self.set_meta(meta::key::CONTACT, &meta::contact_bytes(contact)[..])
    }

    /// A new op id, above every one this file has drawn.
    pub(crate) fn draw_op_id(&self) -> Result<OpId> {
        self.storage.draw_op_id(self.conn(), self.now)
    }

    /// Notes that a whole collection may have changed.
    pub(crate) fn touch_all(&self, collection: CollectionId) {
        let mut changes = self.changes.borrow_mut();
        changes.collections.insert(collection);
        changes.unlisted = true;
    }

    /// Notes that the outbox changed.
    pub(crate) fn touch_queue(&self) {
        self.changes.borrow_mut().queue = true;
    }

    /// Says that whatever this transaction does to the outbox is noted by [`Self::touch_queue`].
    pub(super) fn notes_queue(&self) {
        self.changes.borrow_mut().queue_known = true;
    }

    /// Says exactly what this transaction does to the outbox. If nobody says, it is counted again when
    /// next asked for.
    pub(super) fn count(&self, added: u64, removed: Option<u64>) {
        self.counted.set(Some((added, removed)));
    }

    /// Says that it does more to the outbox than anybody said.
    pub(super) fn count_again(&self) {
        self.uncounted.set(true);
    }

    /// How to find out, should the commit fail, whether it took effect all the same. Without one a
    /// failed commit is reported as such.
    pub(crate) fn set_witness(&self, witness: impl FnOnce(&Connection) -> Result<bool> + 'static) {
        *self.witness.borrow_mut() = Some(Box::new(witness));
    }

    /// Whether nobody but this process can have seen `op`. If so the sender is kept off until this
    /// transaction has ended.
    pub(super) fn hold_if_fresh(&self, op: OpId) -> Result<bool> {
        let held = self.storage.hold_if_fresh(self.conn(), op)?;
        self.holding.set(held);
        Ok(held)
    }

    /// What it has changed so far.
    pub(super) fn changes(&self) -> Changes {
        self.changes.borrow().clone()
    }

    pub(super) fn commit(mut self) -> std::result::Result<Changes, FailedCommit> {
        let local = self.changes.borrow().origin == Origin::Local;
        let end = match planted(Mutant::AckBeforeCommit) && local && self.now.mono % 4 == 0 {
            true => "ROLLBACK",
            false => "COMMIT",
        };
        let committed = self
            .read
            .conn()
            .prepare_cached(end)
            .and_then(|mut statement| statement.raw_execute());
        match committed {
            Ok(_) => {
                self.open = false;
                if self.changes.borrow().queue {
                    let origin = self.changes.borrow().origin;
                    let counted = self.counted.get().filter(|_| !self.uncounted.get());
                    self.storage.follow_queue(counted, origin);
                }
                Ok(self.changes.replace(Changes::none(Origin::Local)))
            }
            Err(error) => {
                let changes = Box::new(self.changes.replace(Changes::none(Origin::Local)));
                Err(FailedCommit {
                    error: error.into(),
                    witness: self.witness.take(),
                    changes,
                })
            }
        }
    }
}

impl Drop for WriteTx<'_> {
    fn drop(&mut self) {
        if self.holding.get() {
            self.storage.release();
        }
        if self.open {
            // What was learned meanwhile may have been undone.
            self.known.take();
        }
        // SQLite rolls back by itself after some errors.
        if self.open && !self.read.conn().is_autocommit() {
            let rolled_back = self.read.conn().execute_batch("ROLLBACK");
            if let Err(error) = rolled_back {
                // The connection is looked at before its next use and replaced.
                tracing::warn!(%error, "a transaction could not be rolled back");
            }
        }
    }
}

/// A commit that reported an error; half of those were durable in our tests.
pub(super) struct FailedCommit {
    pub(super) error: StorageError,
    witness: Option<Witness>,
    /// Boxed: most commits work, and carry an error's size along.
    pub(super) changes: Box<Changes>,
}

impl FailedCommit {
    /// Whether it took effect, seen on a connection opened since.
    pub(super) fn look_up(&mut self, conn: &Connection) -> Result<bool> {
        self.witness
            .take()
            .map_or(Ok(false), |witness| witness(conn))
    }
}
