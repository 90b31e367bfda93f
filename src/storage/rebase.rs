//! Base moves: the documents one transaction touches, folded and stored once at its end.
//!
//! Whatever the reason (a page, a verdict, a discard, a retry), the way is the same: base of the
//! touched documents is recovered, replaced where the server said something, ops leave, and what
//! remains of the queue is folded on top again.

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use driftline_core::id::{CollectionId, DocumentId, FieldId, OpId, Version};
use driftline_core::merge::{DocumentState, echo};
use driftline_core::op::{Change, ChangeKind};
use driftline_core::protocol::DocumentResult;
use driftline_core::schema::Collection;
use driftline_core::time::{Contact, Stamp};
use driftline_core::value::Value;

use super::apply::PageError;
pub(crate) use super::conflicts::Conflict;
use super::error::{Result, StorageError};
use super::history::{Chain, Leaving, Ops, as_of_now};
use super::kinds::check_kinds;
use super::plain;
use super::queued::{OpState, QueuedOp};
use super::row::StoredDocument;
use super::text;
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

pub(super) type Key = (CollectionId, DocumentId);

/// One document on its way.
#[derive(Default)]
pub(super) struct Touched {
    /// As it is in the file.
    pub(super) before: Option<StoredDocument>,
    pub(super) base: Option<DocumentState>,
    /// The newest own op on it.
    pub(super) newest: Option<OpId>,
    /// Own ops on it, once it is folded.
    pub(super) chain: Option<Chain>,
    /// What it shows with them.
    pub(super) shown: Option<DocumentState>,
    /// Ops among them whose text does not go on where it should.
    pub(super) misfits: Vec<OpId>,
    /// Ops on it that leave now.
    pub(super) leaving: Vec<Rc<Leaving>>,
    /// Values others wrote to registers, as they came.
    pub(super) remote: Vec<(FieldId, Value)>,
    /// Whether somebody else changed it.
    pub(super) foreign: bool,
}

/// The documents of one transaction.
pub(super) struct Rebase<'t, 'c> {
    pub(super) tx: &'t WriteTx<'c>,
    pub(super) contact: Option<Contact>,
    pub(super) ops: Ops<'t>,
    /// By collection first: an id is looked up without being copied.
    pub(super) touched: HashMap<CollectionId, HashMap<DocumentId, Touched>>,
    pub(super) left: Vec<OpId>,
    /// Whether an op may have ceased to be waited for.
    pub(super) settled: bool,
    /// Ops expected to be rejected; they show on none of their documents.
    pub(super) hidden: BTreeSet<OpId>,
    /// Ops that do not show any more: what was authored on top of their text tells its place by it.
    pub(super) left_out: Vec<Rc<QueuedOp>>,
    /// Ops whose text the server wants authored again.
    pub(super) to_author: BTreeSet<OpId>,
    /// Whether clocks of the file's writer were used for nothing.
    pub(super) spoilt: bool,
}

impl<'t, 'c> Rebase<'t, 'c> {
    pub(super) fn new(tx: &'t WriteTx<'c>) -> Result<Rebase<'t, 'c>> {
        Ok(Rebase {
            tx,
            contact: as_of_now(tx.contact()?, tx.now()),
            ops: Ops::new(tx.conn()),
            touched: HashMap::new(),
            left: Vec::new(),
            settled: false,
            hidden: BTreeSet::new(),
            left_out: Vec::new(),
            to_author: BTreeSet::new(),
            spoilt: false,
        })
    }

    /// The document, for folding at the end.
    pub(super) fn touched(
        &mut self,
        collection: CollectionId,
        document: &DocumentId,
    ) -> Result<&mut Touched> {
        let documents = self.touched.entry(collection).or_default();
        if !documents.contains_key(document) {
            let before = self.tx.load(collection, document)?;
            let fresh = Touched {
                base: before.as_ref().and_then(StoredDocument::base),
                newest: before.as_ref().and_then(|before| before.pending),
                before,
                ..Touched::default()
            };
            documents.insert(document.clone(), fresh);
        }
        let missing =
            || StorageError::Internal("a document was touched and is not there".to_owned());
        documents.get_mut(document).ok_or_else(missing)
    }

    /// Base of a document as it is so far.
    pub(super) fn base(
        &mut self,
        collection: CollectionId,
        document: &DocumentId,
    ) -> Result<Option<DocumentState>> {
        Ok(self.touched(collection, document)?.base.clone())
    }

    /// Works out what these changes of an own op did that did exactly what it says. Returns whether that
    /// was possible.
    pub(super) fn echo(
        &mut self,
        op: &QueuedOp,
        changes: &[usize],
        stamp: Stamp,
        version: Version,
    ) -> Result<bool> {
        let schema = std::sync::Arc::clone(self.tx.schema());
        for change in changes.iter().filter_map(|at| op.body.changes.get(*at)) {
            let Some(collection) = schema.collection_by_id(change.collection) else {
                return Ok(false);
            };
            let tx = self.tx;
            let touched = self.touched(change.collection, &change.document)?;
            let by = (op.id, op.name());
            let Some(base) = echo(
                touched.base.as_ref(),
                change,
                collection,
                by,
                stamp,
                version,
            ) else {
                return Ok(false);
            };
            text::keep_own(tx.conn(), change, &base, op.id)?;
            touched.base = Some(base);
        }
        Ok(true)
    }

    /// The same for the usual case, a first insert, without reading a document: its row shows what
    /// becomes base, so only the provenance changes. Returns the changes for which that was not the
    /// case; the others are in order and must not be looked at again, or their text would be kept twice.
    pub(super) fn echo_inserts(
        &mut self,
        op: &QueuedOp,
        stamp: Stamp,
        version: Version,
    ) -> Result<Vec<usize>> {
        if op.state != OpState::Pending {
            return Ok((0..op.body.changes.len()).collect());
        }
        let schema = std::sync::Arc::clone(self.tx.schema());
        let mut left = Vec::new();
        for (at, change) in op.body.changes.iter().enumerate() {
            let settled = match schema.collection_by_id(change.collection) {
                Some(collection) => self.echo_insert(op, change, collection, stamp, version)?,
                None => false,
            };
            if !settled {
                left.push(at);
            }
        }
        Ok(left)
    }

    fn echo_insert(
        &mut self,
        op: &QueuedOp,
        change: &Change,
        collection: &Collection,
        stamp: Stamp,
        version: Version,
    ) -> Result<bool> {
        let touched = self.touched.get(&collection.id);
        if change.kind != ChangeKind::Insert
            || change.prev.is_some()
            || touched.is_some_and(|documents| documents.contains_key(&change.document))
        {
            return Ok(false);
        }
        let by = (op.id, op.name());
        let Some(state) = echo(None, change, collection, by, stamp, version) else {
            return Ok(false);
        };
        let settled = plain::settle_insert(
            self.tx.conn(),
            self.tx.layout(),
            collection.id,
            &change.document,
            op.id,
            &state,
        )?;
        if settled {
            text::keep_own(self.tx.conn(), change, &state, op.id)?;
        }
        Ok(settled)
    }

    /// Takes over what `version` did to a document. `own` says whether this device's own op did it.
    pub(super) fn take(
        &mut self,
        result: &DocumentResult,
        version: Version,
        own: bool,
    ) -> std::result::Result<(), PageError> {
        check_kinds(self.tx.layout(), result.collection, &result.state)?;
        let tx = self.tx;
        let touched = self.touched(result.collection, &result.document)?;
        if touched
            .base
            .as_ref()
            .is_some_and(|base| base.version >= version)
        {
            // A snapshot brings each document as it was when its frame was made: what happened to it
            // since the snapshot was begun is told once more.
            return Ok(());
        }
        text::keep_result(
            tx.conn(),
            tx.layout(),
            result,
            touched.base.as_ref(),
            version,
        )?;
        if !own {
            touched.foreign = true;
            if touched.newest.is_some() {
                let registers = result
                    .state
                    .registers
                    .iter()
                    .filter(|(_, r)| r.write.version == version);
                touched
                    .remote
                    .extend(registers.map(|(field, register)| (field, register.value.clone())));
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
    pub(super) fn append(
        &mut self,
        op: OpId,
        collection: CollectionId,
        document: &DocumentId,
    ) -> Result<()> {
        self.touched(collection, document)?.newest = Some(op);
        Ok(())
    }

    /// An op leaves the queue or quarantine, and its documents are folded without it.
    pub(super) fn leave(&mut self, leaving: Leaving) -> Result<()> {
        let op = Rc::clone(&leaving.op);
        let leaving = self.leave_in_order(leaving);
        for (collection, document) in op.documents() {
            let touched = self.touched(collection, document)?;
            touched.leaving.push(Rc::clone(&leaving));
        }
        Ok(())
    }

    /// An op leaves whose documents are in order already.
    pub(super) fn leave_in_order(&mut self, leaving: Leaving) -> Rc<Leaving> {
        self.left.push(leaving.op.id);
        self.settled = true;
        self.ops.leave(leaving)
    }

    /// Ops leave, in their order, whose documents are in order already and have no others: nobody is
    /// going to ask for their links.
    pub(super) fn leave_settled(&mut self, ops: Vec<OpId>) {
        self.settled |= !ops.is_empty();
        self.left.extend_from_slice(&ops);
        self.ops.leave_settled(ops);
    }

    /// An op no longer shows, or shows something else.
    pub(super) fn refold(&mut self, op: OpId) -> Result<()> {
        self.ops.changed(op);
        self.settled = true;
        if let Some(op) = self.ops.get(op)? {
            for (collection, document) in op.documents() {
                self.touched(collection, document)?;
            }
        }
        Ok(())
    }
}
