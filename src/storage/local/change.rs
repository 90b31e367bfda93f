//! Changes as the app makes them: checked in full, and shown from there on.

use std::sync::Arc;

use driftline_core::id::OpId;
use driftline_core::merge::DocumentState;
use driftline_core::op::{Change, ChangeKind, OpBody, admit, admit_alone, weight};
use driftline_core::schema::{Collection, MergePolicy};

use super::{LocalWrite, Working, shown_in};
use crate::storage::error::{Result, StorageError};
use crate::storage::history::{Ops, QueuedOp};
use crate::storage::join::joined;
use crate::storage::predict::{predict, within_limits};

impl LocalWrite<'_> {
    /// Adds a change. It is checked in full, and the document shows it from here on; on an error the
    /// transaction is as it was before the call.
    pub(crate) fn apply(&mut self, mut change: Change) -> Result<()> {
        let schema = Arc::clone(&self.schema);
        let Some(collection) = schema.collection_by_id(change.collection) else {
            return Err(undeclared());
        };
        if change.kind != ChangeKind::Update {
            self.close_texts(Some((change.collection, &change.document)))?;
        }
        let head = self.head()?;
        let at = self.look(change.collection, &change.document)?;
        let guest = self.tx.storage().is_guest();
        let Some(working) = self.documents.get_mut(at) else {
            return Ok(());
        };
        let is_new = working.before.is_none() && working.changes.is_empty();
        let by_field = collection.merge == MergePolicy::Field;
        if is_new && by_field && change.inserts_registers_alone() && self.tx.takes_fresh(&change) {
            self.size += admit_alone(&schema, collection, &mut change)?;
            working.changes = vec![change];
            (working.fresh, working.dirty) = (true, true);
            return Ok(());
        }
        if !change.kind.is_opener() {
            change.generation = meant_generation(&mut self.ops, working, head.op)?;
        }
        if collection.merge == MergePolicy::Document && !change.registers.is_empty() {
            carry_all(&mut change, working, collection);
        }
        if working.changes.is_empty() && !guest {
            change.prev = working.before.as_ref().and_then(|before| before.pending);
        }

        let mut body = OpBody {
            base: head.base,
            schema: schema.version,
            changes: vec![change],
            ..OpBody::default()
        };
        admit(&schema, &mut body)?;
        let Some(change) = body.changes.pop() else {
            return Ok(());
        };
        let size = weight(&change);
        let changes = joined(&working.changes, change)?;
        let start = working.before.as_deref().and_then(shown_in);
        let shown = predict(start, &changes, collection, head, guest)?;
        within_limits(&schema, collection, &shown)?;
        if let Some(working) = self.documents.get_mut(at) {
            self.joined |= changes.len() == working.changes.len();
            working.after = Some(shown);
            working.changes = changes;
            working.dirty = true;
        }
        self.size += size;
        Ok(())
    }

    /// Makes what a fresh document shows.
    pub(super) fn show_fresh(&mut self, at: usize) -> Result<()> {
        let (Some(working), Some(head)) = (self.documents.get_mut(at), self.head) else {
            return Ok(());
        };
        if !std::mem::take(&mut working.fresh) {
            return Ok(());
        }
        let collection = self.schema.collection_by_id(working.collection);
        let collection = collection.ok_or_else(undeclared)?;
        let guest = self.tx.storage().is_guest();
        working.after = Some(predict(None, &working.changes, collection, head, guest)?);
        Ok(())
    }
}

fn undeclared() -> StorageError {
    StorageError::Internal("a change of an undeclared collection".to_owned())
}

/// The opener that an update or delete of a document names: the newest pending op that opened or
/// joined the generation shown, else the generation's own (K12).
fn meant_generation(ops: &mut Ops<'_>, working: &Working, op: OpId) -> Result<Option<OpId>> {
    let Some(shown) = working.shown() else {
        return Ok(None);
    };
    let opener = shown.generation.opener;
    if working.changes.iter().any(|change| change.kind.is_opener()) {
        return Ok(Some(op));
    }
    let pending = match working.before.as_ref().and_then(|before| before.pending) {
        Some(pending) if pending != opener => pending,
        _ => return Ok(Some(opener)),
    };
    let (collection, document) = (working.collection, &working.id);
    let newest = ops.get(pending)?;
    if let Some(newest) = &newest
        && let Some(change) = newest.changes_on(collection, document).last()
        && !newest
            .changes_on(collection, document)
            .iter()
            .any(|change| change.kind.is_opener())
        && change.generation == Some(opener)
    {
        // It named the generation shown, so nothing joined that before it, and nothing came after.
        return Ok(Some(opener));
    }
    let chain = ops.chain(collection, document, pending)?;
    let opens = |queued: &&std::rc::Rc<QueuedOp>| {
        let changes = queued.changes_on(collection, document);
        queued.name() == opener || changes.iter().any(|change| change.kind.is_opener())
    };
    Ok(Some(
        chain
            .folded()
            .iter()
            .rev()
            .find(opens)
            .map_or(opener, |queued| queued.name()),
    ))
}

/// A collection merged by document carries every register and the next revision.
fn carry_all(change: &mut Change, working: &Working, collection: &Collection) {
    let opening =
        change.kind == ChangeKind::Insert && !working.shown().is_some_and(DocumentState::is_alive);
    let Some(shown) = working.shown().filter(|_| !opening) else {
        change.clock = 1;
        return;
    };
    for (field, register) in shown.registers.iter() {
        if change.registers.get(field).is_none() && collection.field_by_id(field).is_some() {
            change.registers.insert(field, register.value.clone());
        }
    }
    // One op is one revision, however many calls it took.
    let clock = working
        .before
        .as_ref()
        .map_or(0, |before| before.shown.clock);
    change.clock = if working.changes.is_empty() {
        shown.clock.saturating_add(1)
    } else {
        clock.saturating_add(1)
    };
}
