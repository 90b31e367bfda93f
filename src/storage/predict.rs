//! What a document shows after the app's own changes: the server's merge, run with the knowledge that
//! the author has seen all it was shown.

use std::convert::Infallible;

use driftline_core::id::{CollectionId, DocumentId, OpId, PENDING, Version};
use driftline_core::merge::{
    DocumentState, Effect, History, Incoming, Life, Linked, Seen, Unmerged, Write, merge,
};
use driftline_core::op::{Change, Refusal, refusal};
use driftline_core::schema::{Collection, Schema};
use driftline_core::time::Stamp;

use super::error::{Result, StorageError};

/// What all changes of the op share.
#[derive(Clone, Copy)]
pub(super) struct Head {
    pub(super) op: OpId,
    pub(super) base: Version,
    pub(super) stamp: Stamp,
}

impl Head {
    /// The write by which the op's values stand where nothing stood before. Without an account nothing
    /// is pending.
    pub(super) fn write(&self, guest: bool) -> Write {
        Write {
            op: self.op,
            stamp: self.stamp,
            version: version(guest),
        }
    }
}

fn version(guest: bool) -> Version {
    if guest { 0 } else { PENDING }
}

/// Nothing is looked up: what was shown has been seen.
struct Nothing;

impl History for Nothing {
    type Error = Infallible;
    fn linked(
        &mut self,
        _: OpId,
        _: CollectionId,
        _: &DocumentId,
    ) -> std::result::Result<Option<Linked>, Infallible> {
        Ok(None)
    }
}

/// What the document shows after `changes`, by the server's merge.
pub(super) fn predict(
    start: Option<&DocumentState>,
    changes: &[Change],
    collection: &Collection,
    head: Head,
    guest: bool,
) -> Result<DocumentState> {
    let own = start.map(pending_in).unwrap_or_default();
    let document = changes.first().map(|change| &change.document);
    let Some(document) = document else {
        return Err(StorageError::Internal("an op without changes".to_owned()));
    };
    let seen = match Seen::follow(
        &mut Nothing,
        (collection.id, document),
        head.op,
        head.base,
        None,
        &own,
    ) {
        Ok(seen) => seen,
        Err(never) => match never {},
    };
    let version = version(guest);
    let mut shown = start.cloned();
    for change in changes {
        // Whichever opener the change names, the author means what is shown.
        let generation = shown.as_ref().map(|shown| shown.generation.opener);
        let incoming = Incoming {
            op: head.op,
            name: head.op,
            stamp: head.stamp,
            version,
            seen: &seen,
            generation,
        };
        let merged = match merge(shown, change, collection, &incoming) {
            Ok(merged) => merged,
            Err(Unmerged::Rejected(refusal)) => return Err(refusal.into()),
            // It was written just now, on what is shown.
            Err(Unmerged::Rebase(why)) => {
                return Err(StorageError::Internal(format!(
                    "own text does not fit: {why}"
                )));
            }
        };
        if merged.effect == Effect::Ledgered {
            let message = format!("{}: the document is deleted", collection.name);
            return Err(Refusal::new(refusal::NOT_FOUND, message).into());
        }
        shown = Some(merged.after);
    }
    shown.ok_or_else(|| StorageError::Internal("a change left no document".to_owned()))
}

/// The file's own ops that a document shows and base does not contain.
fn pending_in(state: &DocumentState) -> Vec<OpId> {
    let mut own: Vec<OpId> = Vec::new();
    let mut note = |op: OpId, version: Version| {
        if version == PENDING && !own.contains(&op) {
            own.push(op);
        }
    };
    note(state.generation.opener, state.generation.version);
    state
        .registers
        .iter()
        .for_each(|(_, register)| note(register.write.op, register.write.version));
    for (_, set) in state.sets.iter() {
        set.elements
            .values()
            .flatten()
            .for_each(|(op, version)| note(*op, *version));
    }
    for (_, text) in state.texts.iter() {
        text.marks
            .iter()
            .for_each(|mark| note(mark.last, mark.version));
    }
    state
        .updates
        .iter()
        .for_each(|(op, version)| note(*op, *version));
    if let Life::Deleted(by) = state.life {
        note(by.op, by.version);
    }
    if let Some(reopened) = state.reopened {
        note(reopened.delete, reopened.delete_version);
    }
    // Updates too many to remember one by one are this file's own as well, if any is pending.
    note(OpId::ZERO, state.updates_forgotten);
    own
}

/// The limits the server applies to the document a change leaves.
pub(super) fn within_limits(
    schema: &Schema,
    collection: &Collection,
    after: &DocumentState,
) -> Result<()> {
    let limits = &schema.limits;
    // What of its texts was typed and deleted again since base is counted in them: only the server
    // finds out what is left, and an open text keeps its own limit.
    let texts: u64 = after.texts.iter().map(|(_, text)| text.bytes).sum();
    let texts = usize::try_from(texts).unwrap_or(usize::MAX);
    let size = after.size().saturating_sub(texts);
    if size > limits.max_document as usize {
        let message = format!(
            "{size} bytes in one document of {}; at most {}",
            collection.name, limits.max_document
        );
        return Err(Refusal::new(refusal::DOCUMENT_TOO_LARGE, message).into());
    }
    let most = limits.max_set_elements as usize;
    match after.sets.iter().find(|(_, set)| set.elements.len() > most) {
        None => Ok(()),
        Some((field, _)) => {
            let name = collection
                .field_by_id(field)
                .map_or("a set", |field| &field.name);
            let message = format!("{}.{name}: at most {most} elements", collection.name);
            Err(Refusal::new(refusal::SET_TOO_LARGE, message).into())
        }
    }
}
