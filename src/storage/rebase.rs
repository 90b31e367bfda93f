//! Base moves: the documents one transaction touches, folded and stored once at its end.
//!
//! Whatever the reason (a page, a verdict, a discard, a retry), the way is the same: base of the
//! touched documents is recovered, replaced where the server said something, ops leave, and what
//! remains of the queue is folded on top again.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use driftline_core::fold::BaseImage;
use driftline_core::id::{CollectionId, DocumentId, FieldId, OpId, PENDING, Version};
use driftline_core::merge::{DocumentState, Life, Write};
use driftline_core::protocol::DocumentResult;
use driftline_core::time::{Contact, Stamp};
use driftline_core::value::Value;
use rusqlite::{Connection, params};

use super::apply::PageError;
use super::departed::{self, Departure};
use super::error::Result;
use super::history::{Chain, Leaving, OpState, Ops, as_of_now};
use super::meta;
use super::row::StoredDocument;
use super::tables::Layout;
use super::write::WriteTx;

/// What a move of base brought, for events. Watchers hear of it from the transaction.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Moved {
    /// Documents that others changed.
    pub(crate) documents: usize,
    /// Own values that met others' unseen.
    pub(crate) conflicts: Vec<Conflict>,
    /// Ops that left the queue or quarantine.
    pub(crate) left: Vec<OpId>,
}

/// A value of this device that met one of another device, neither having seen the other.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Conflict {
    pub(crate) collection: CollectionId,
    pub(crate) document: DocumentId,
    pub(crate) field: FieldId,
    /// What this device had written.
    pub(crate) local: Value,
    /// What came from the server.
    pub(crate) remote: Value,
    /// What is shown now.
    pub(crate) winner: Value,
}

type Key = (CollectionId, DocumentId);

/// One document on its way.
struct Touched {
    before: Option<StoredDocument>,
    base: Option<DocumentState>,
    chain: Option<Chain>,
    shown: Option<DocumentState>,
    /// The newest own op on it.
    newest: Option<OpId>,
    /// Ops on it that leave now.
    leaving: Vec<Rc<Leaving>>,
    /// Values others wrote to registers, as they came.
    remote: Vec<(FieldId, Value)>,
    /// Whether somebody else changed it.
    foreign: bool,
}

/// The documents of one transaction.
pub(super) struct Rebase<'t, 'c> {
    tx: &'t WriteTx<'c>,
    contact: Option<Contact>,
    pub(super) ops: Ops<'t>,
    touched: HashMap<Key, Touched>,
    left: Vec<OpId>,
    /// Whether an op may have ceased to be waited for.
    settled: bool,
}

impl<'t, 'c> Rebase<'t, 'c> {
    pub(super) fn new(tx: &'t WriteTx<'c>) -> Result<Rebase<'t, 'c>> {
        Ok(Rebase { tx, contact: as_of_now(tx.contact()?, tx.now()), ops: Ops::new(tx.conn()), touched: HashMap::new(), left: Vec::new(), settled: false })
    }

    /// Marks a document for folding.
    pub(super) fn touch(&mut self, collection: CollectionId, document: &DocumentId) -> Result<()> {
        self.touched(collection, document).map(drop)
    }

    fn touched(&mut self, collection: CollectionId, document: &DocumentId) -> Result<&mut Touched> {
        match self.touched.entry((collection, document.clone())) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(vacant) => {
                let before = self.tx.load(collection, document)?;
                let base = before.as_ref().and_then(StoredDocument::base);
                let newest = before.as_ref().and_then(|before| before.pending);
                Ok(vacant.insert(Touched {
                    before,
                    base,
                    chain: None,
                    shown: None,
                    newest,
                    leaving: Vec::new(),
                    remote: Vec::new(),
                    foreign: false,
                }))
            }
        }
    }

    /// Base of a document as it is so far.
    pub(super) fn base(&mut self, collection: CollectionId, document: &DocumentId) -> Result<Option<DocumentState>> {
        Ok(self.touched(collection, document)?.base.clone())
    }

    /// Replaces base of a document.
    pub(super) fn set_base(&mut self, collection: CollectionId, document: &DocumentId, base: DocumentState) -> Result<()> {
        self.touched(collection, document)?.base = Some(base);
        Ok(())
    }

    /// Takes over what `version` did to a document. `own` says whether this device's own op did it.
    pub(super) fn take(&mut self, result: &DocumentResult, version: Version, own: bool) -> std::result::Result<(), PageError> {
        check_kinds(self.tx.layout(), result.collection, &result.state)?;
        let touched = self.touched(result.collection, &result.document)?;
        if !own {
            touched.foreign = true;
            if touched.newest.is_some() {
                let registers = result.state.registers.iter().filter(|(_, r)| r.write.version == version);
                touched.remote.extend(registers.map(|(field, register)| (field, register.value.clone())));
            }
        }
        match (&mut touched.base, result.whole) {
            (base, true) => *base = Some(result.state.clone()),
            (Some(base), false) => base.take(result.state.clone()),
            (None, false) => return Err(PageError::BaseMissing),
        }
        Ok(())
    }

    /// Makes `op` the newest own op on a document.
    pub(super) fn append(&mut self, op: OpId, collection: CollectionId, document: &DocumentId) -> Result<()> {
        self.touched(collection, document)?.newest = Some(op);
        Ok(())
    }

    /// An op leaves the queue or quarantine.
    pub(super) fn leave(&mut self, leaving: Leaving) -> Result<()> {
        let op = Rc::clone(&leaving.op);
        self.left.push(op.id);
        self.settled = true;
        let leaving = self.ops.leave(leaving)?;
        for (collection, document) in op.documents() {
            self.touched(collection, document)?.leaving.push(Rc::clone(&leaving));
        }
        Ok(())
    }

    /// An op no longer shows, or shows something else.
    pub(super) fn refold(&mut self, op: OpId) -> Result<()> {
        self.ops.changed(op);
        self.settled = true;
        if let Some(op) = self.ops.get(op)? {
            for (collection, document) in op.documents() {
                self.touch(collection, document)?;
            }
        }
        Ok(())
    }

    /// Folds and stores everything touched.
    pub(super) fn finish(mut self) -> Result<Moved> {
        self.fold_all()?;
        let mut moved = Moved { left: std::mem::take(&mut self.left), ..Moved::default() };
        let mut touched: Vec<_> = std::mem::take(&mut self.touched).into_iter().collect();
        touched.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        for ((collection, document), touched) in touched {
            moved.documents += usize::from(touched.foreign);
            self.settle(collection, &document, touched, &mut moved.conflicts)?;
        }
        if self.settled {
            tidy(self.tx, &moved.left)?;
        }
        Ok(moved)
    }

    /// Folds every touched document. A group shows on all of its documents or on none: one that will
    /// be rejected because of one of them is left out of the others too.
    fn fold_all(&mut self) -> Result<()> {
        let mut hidden_before = BTreeSet::new();
        let mut hidden = BTreeSet::new();
        let mut to_fold: Vec<Key> = self.touched.keys().cloned().collect();
        while let Some(refused) = self.fold_some(to_fold, &hidden, &mut hidden_before)? {
            // What was decided of later ops rested on this one.
            hidden.split_off(&refused);
            hidden.insert(refused);
            self.refold(refused)?;
            let on_top = |touched: &Touched| touched.newest.is_some_and(|newest| newest >= refused);
            to_fold = self.touched.iter().filter(|(_, touched)| on_top(touched)).map(|(key, _)| key.clone()).collect();
        }
        for op in hidden_before.difference(&hidden) {
            set_hidden(self.tx, *op, false)?;
        }
        for op in hidden.difference(&hidden_before) {
            set_hidden(self.tx, *op, true)?;
        }
        Ok(())
    }

    /// Folds some documents, and those that belong to them through ops hidden so far. Returns the
    /// oldest group that will be rejected.
    fn fold_some(
        &mut self,
        mut to_fold: Vec<Key>,
        hidden: &BTreeSet<OpId>,
        hidden_before: &mut BTreeSet<OpId>,
    ) -> Result<Option<OpId>> {
        let mut refused: Option<OpId> = None;
        while let Some(key) = to_fold.pop() {
            let (collection, document) = &key;
            let Some(newest) = self.touched(*collection, document)?.newest else { continue };
            let mut chain = self.ops.chain(*collection, document, newest)?;
            for op in chain.folded().iter().filter(|op| op.may_be_hidden()) {
                if hidden_before.insert(op.id) {
                    let others: Vec<Key> = op.documents().into_iter().map(|(c, d)| (c, d.clone())).collect();
                    to_fold.extend(others.into_iter().filter(|other| *other != key));
                }
            }
            let contact = self.contact;
            let schema = std::sync::Arc::clone(self.tx.schema());
            let touched = self.touched(*collection, document)?;
            if let Some(collection) = schema.collection_by_id(*collection) {
                let folded = chain.fold(collection, document, touched.base.clone(), contact.as_ref(), hidden);
                let groups = chain.folded().iter().filter(|op| op.is_group() && folded.refused.contains(&op.id));
                refused = groups.map(|op| op.id).chain(refused).min();
                touched.shown = folded.shown;
            }
            touched.chain = Some(chain);
        }
        Ok(refused)
    }

    /// Stores one document.
    fn settle(
        &mut self,
        collection: CollectionId,
        id: &DocumentId,
        touched: Touched,
        conflicts: &mut Vec<Conflict>,
    ) -> Result<()> {
        let Touched { before, base, chain, shown, newest, leaving, remote, .. } = touched;
        let pending = newest.filter(|_| chain.as_ref().is_some_and(Chain::is_undecided));
        if pending.is_some() {
            keep_links(self.tx.conn(), collection, id, &leaving)?;
        }
        // Without own ops, and in a collection that is not declared any more, base is what shows.
        let foldable = chain.is_some() && self.tx.schema().collection_by_id(collection).is_some();
        let shown = if foldable { shown } else { base.clone() };
        let mut after = match (shown, pending) {
            (Some(shown), pending) => {
                let image = if foldable { BaseImage::between(base.as_ref(), &shown) } else { None };
                StoredDocument::new(shown, image, pending)
            }
            // Ops are queued that show nothing (they build on a rejected insert, say). Their way
            // back must not be lost with the row: a page may still bring what they build on.
            (None, Some(newest)) => StoredDocument::new(ghost(newest), Some(BaseImage::Absent), Some(newest)),
            (None, None) => {
                return before.map_or(Ok(()), |before| self.tx.remove(collection, id, &before));
            }
        };
        if before.as_ref() == Some(&after) {
            return Ok(());
        }
        if !remote.is_empty() {
            let own = own_registers(chain.as_ref(), &leaving, collection, id);
            let shown_before = before.as_ref().map(|before| &before.shown);
            add_conflicts(conflicts, collection, id, (shown_before, &after.shown), &remote, &own);
        }
        self.tx.store(collection, id, before.as_ref(), &mut after)
    }
}

/// A group is, or is no longer, expected to be rejected.
fn set_hidden(tx: &WriteTx<'_>, op: OpId, hidden: bool) -> Result<()> {
    let (from, to) = if hidden { (OpState::Pending, OpState::Hidden) } else { (OpState::Hidden, OpState::Pending) };
    tx.conn()
        .prepare_cached("UPDATE _dl_outbox SET state = ?3 WHERE op_id = ?1 AND state = ?2")?
        .execute(params![op.0, from.number(), to.number()])?;
    Ok(())
}

/// What must hold about the file as a whole after ops have left or ceased to be waited for.
pub(super) fn tidy(tx: &WriteTx<'_>, left: &[OpId]) -> Result<()> {
    tx.touch_queue();
    if let Some(newest_left) = left.iter().max() {
        let newest: Option<[u8; 16]> =
            tx.conn().prepare_cached("SELECT max(op_id) FROM _dl_outbox")?.query_row([], |row| row.get(0))?;
        if newest.is_none_or(|newest| OpId(newest) < *newest_left) {
            raise_floor(tx.conn(), *newest_left)?;
        }
    }
    if !has_undecided(tx.conn())? {
        departed::clear(tx.conn())?;
    }
    Ok(())
}

/// Ids of this file never go back, also after the queue has drained.
fn raise_floor(conn: &Connection, to: OpId) -> Result<()> {
    let floor: Option<[u8; 16]> = meta::get(conn, meta::key::FLOOR)?;
    if floor.is_none_or(|floor| OpId(floor) < to) {
        meta::set(conn, meta::key::FLOOR, to.0)?;
    }
    Ok(())
}

/// Whether the queue holds anything the server has yet to decide or name.
pub(super) fn has_undecided(conn: &Connection) -> Result<bool> {
    let mut statement = conn.prepare_cached("SELECT 1 FROM _dl_outbox WHERE state <> 1 LIMIT 1")?;
    Ok(statement.exists([])?)
}

/// Links of what leaves, for the ops that stay on the document. An op may be known by several ids.
pub(super) fn keep_links(conn: &Connection, collection: CollectionId, id: &DocumentId, leaving: &[Rc<Leaving>]) -> Result<()> {
    for leaving in leaving {
        let names = leaving.names.iter().filter(|name| **name != leaving.op.id);
        for op in std::iter::once(&leaving.op.id).chain(names) {
            let departure = Departure {
                op: *op,
                collection,
                document: id,
                prev: leaving.op.prev_on(collection, id),
                covers: &leaving.op.body.covers,
                accepted: leaving.accepted,
                landed: leaving.landed_on(collection, id),
            };
            departed::keep(conn, &departure)?;
        }
    }
    Ok(())
}

/// A row for a document that shows nothing although own ops on it are queued.
fn ghost(newest: OpId) -> DocumentState {
    let mut state = DocumentState::opened(newest, PENDING);
    state.life = Life::Deleted(Write { op: newest, stamp: Stamp::ZERO, version: PENDING });
    state
}

/// Whether a row shows nothing, and only keeps the way to ops that are queued.
pub(super) fn is_ghost(state: &DocumentState) -> bool {
    let deleted_by_nobody = matches!(state.life, Life::Deleted(by) if by.stamp == Stamp::ZERO && by.version == PENDING);
    deleted_by_nobody && state.version == PENDING
}

/// Registers that own ops on the document write, folded ones and those that leave now.
fn own_registers(chain: Option<&Chain>, leaving: &[Rc<Leaving>], collection: CollectionId, id: &DocumentId) -> BTreeSet<FieldId> {
    let leaving = leaving.iter().map(|leaving| &leaving.op).filter(|op| op.is_folded());
    let ops = chain.map(Chain::folded).unwrap_or_default().iter().chain(leaving);
    ops.flat_map(|op| op.changes_on(collection, id)).flat_map(|change| change.registers.iter().map(|(field, _)| field)).collect()
}

fn add_conflicts(
    conflicts: &mut Vec<Conflict>,
    collection: CollectionId,
    document: &DocumentId,
    (before, after): (Option<&DocumentState>, &DocumentState),
    remote: &[(FieldId, Value)],
    own: &BTreeSet<FieldId>,
) {
    let value = |state: Option<&DocumentState>, field| state.and_then(|s| s.value(field)).cloned().unwrap_or_default();
    for (at, (field, theirs)) in remote.iter().enumerate() {
        let superseded = remote.iter().skip(at + 1).any(|(later, _)| later == field);
        let local = value(before, *field);
        if own.contains(field) && !superseded && local != *theirs {
            conflicts.push(Conflict {
                collection,
                document: document.clone(),
                field: *field,
                local,
                remote: theirs.clone(),
                winner: value(Some(after), *field),
            });
        }
    }
}

/// A value that its column cannot hold must not get there: the row could not be read again.
pub(super) fn check_kinds(
    layout: &Layout,
    collection: CollectionId,
    state: &DocumentState,
) -> std::result::Result<(), PageError> {
    use driftline_core::schema::FieldKind as Kind;
    let Some(table) = layout.table(collection) else { return Ok(()) };
    let kind = |field| table.column(field).map(|column| column.kind);
    for (field, register) in state.registers.iter() {
        let Some(kind) = kind(field) else { continue };
        let fits = match (kind, &register.value) {
            (kind, _) if !kind.is_register() => false,
            (_, Value::Null)
            | (Kind::Boolean, Value::Boolean(_))
            | (Kind::Integer | Kind::Timestamp, Value::Integer(_))
            | (Kind::Bytes, Value::Bytes(_))
            | (Kind::Text | Kind::Uuid | Kind::Json | Kind::OrderKey, Value::Text(_)) => true,
            (Kind::Real, Value::Real(x)) => x.is_finite(),
            _ => false,
        };
        if !fits {
            return Err(PageError::malformed(format!("collection {collection} field {field} holds another kind")));
        }
    }
    let counters = state.counters.iter().map(|(field, _)| (field, Kind::Counter));
    let sets = state.sets.iter().map(|(field, _)| (field, Kind::Set));
    match counters.chain(sets).find(|(field, meant)| kind(*field).is_some_and(|kind| kind != *meant)) {
        None => Ok(()),
        Some((field, meant)) => {
            Err(PageError::malformed(format!("collection {collection} field {field} is no {}", meant.name())))
        }
    }
}
