//! What an op may make of documents: their sizes, and what texts count that is deleted again.

use super::DocumentState;
use super::decide::Workspace;
use super::decision::Touched;
use crate::id::Version;
use crate::op::{Change, Refusal, refusal};
use crate::protocol::encode_cbor;
use crate::protocol::limits::MAX_VERSION;
use crate::schema::{Collection, FieldKind, Schema};

/// Takes off what the texts about to be edited count although it was deleted again.
pub(super) fn recount<W: Workspace>(
    workspace: &mut W,
    change: &Change,
    state: Option<&mut DocumentState>,
) -> Result<(), W::Error> {
    let Some(state) = state else { return Ok(()) };
    for (field, _) in change.texts.iter() {
        if let Some(text) = state.texts.get_mut(field) {
            let deleted = workspace.deleted_bytes(
                change.collection,
                &change.document,
                field,
                text.version,
            )?;
            text.bytes = text.bytes.saturating_sub(deleted);
        }
    }
    Ok(())
}

/// Whether the texts that `change` edits are as large as they count.
pub(super) fn is_counted<W: Workspace>(
    workspace: &mut W,
    change: &Change,
    before: Option<DocumentState>,
    version: Version,
) -> Result<bool, W::Error> {
    let Some(before) = before else {
        return Ok(true);
    };
    for (field, _) in change.texts.iter() {
        // What this op itself has written so far nobody is going to count before it is decided.
        if let Some(text) = before.texts.get(field).filter(|t| t.version != version)
            && !workspace.is_counted(change.collection, &change.document, field, text.version)?
        {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What an op writes is as large as the op, but what it brings back is not: a version that no device
/// could receive would stop them all.
pub(super) fn fits_a_page(touched: &[Touched]) -> Result<(), Refusal> {
    let brought_back = touched
        .iter()
        .filter(|t| t.whole && t.before.is_some())
        .map(|t| encode_cbor(&t.after).len());
    let bytes: usize = brought_back.sum();
    if bytes <= MAX_VERSION {
        return Ok(());
    }
    let message = format!("it brings back {bytes} bytes of documents; at most {MAX_VERSION}");
    Err(Refusal::new(refusal::GROUP_TOO_LARGE, message))
}

pub(super) fn within_limits(
    schema: &Schema,
    collection: &Collection,
    before: Option<&DocumentState>,
    after: &DocumentState,
) -> Result<(), Refusal> {
    let limits = &schema.limits;
    let name = &collection.name;
    let size = after.size();
    if size > limits.max_document as usize {
        let message = format!(
            "{size} bytes in one document of {name}; at most {}",
            limits.max_document
        );
        return Err(Refusal::new(refusal::DOCUMENT_TOO_LARGE, message));
    }
    for (field, text) in after.texts.iter() {
        // Of a list it bounds each element.
        let declared = collection.field_by_id(field);
        let declared = declared.filter(|f| f.kind != FieldKind::List);
        let declared = declared.and_then(|f| f.max_bytes);
        let most = u64::from(declared.unwrap_or(limits.max_value));
        // What makes it smaller is welcome also where a limit was lowered.
        let was = before.and_then(|before| before.texts.get(field));
        if text.bytes > most && was.is_none_or(|was| text.bytes > was.bytes) {
            let place = collection.place_of(field);
            let message = format!("{place}: {} bytes; at most {most}", text.bytes);
            return Err(Refusal::new(refusal::VALUE_TOO_LARGE, message));
        }
    }
    match after
        .sets
        .iter()
        .find(|(_, set)| set.elements.len() > limits.max_set_elements as usize)
    {
        None => Ok(()),
        Some((field, _)) => {
            let message = format!(
                "{}: at most {} elements",
                collection.place_of(field),
                limits.max_set_elements
            );
            Err(Refusal::new(refusal::SET_TOO_LARGE, message))
        }
    }
}
