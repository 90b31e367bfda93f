//! What the server says of texts: checked, and kept behind what base holds of them already.

use driftline_core::id::{OpId, Version};
use driftline_core::merge::DocumentState;
use driftline_core::op::Change;
use driftline_core::protocol::DocumentResult;
use driftline_core::text::guard::{self, Check, GuardLimits, Refused};
use driftline_core::text::{Mark, TextKind};
use rusqlite::Connection;

use super::super::apply::PageError;
use super::super::error::Result;
use super::super::tables::Layout;
use super::crdt::{self, TextPlace};

/// Keeps the updates that `version` brought to a document's texts; `base` is the document before it.
pub(crate) fn keep_result(
    conn: &Connection,
    layout: &Layout,
    result: &DocumentResult,
    base: Option<&DocumentState>,
    version: Version,
) -> std::result::Result<(), PageError> {
    for (field, after) in result.state.texts.iter() {
        if after.version != version {
            continue;
        }
        let place = TextPlace {
            collection: result.collection,
            document: result.document.clone(),
            field,
        };
        let Some(update) = result.texts.get(field) else {
            return Err(odd(&place, "changed without an update"));
        };
        let mark = after.marks.iter().find(|mark| mark.version == version);
        let mark = mark.ok_or_else(|| odd(&place, "an update by nobody"))?;
        let before = base.and_then(|base| base.texts.get(field));
        let before = before.filter(|before| before.root == after.root);
        let marks = before.map_or(&[][..], |before| &before.marks);
        let kind = layout
            .table(result.collection)
            .and_then(|table| table.text_kind(field));
        if let Some(kind) = kind {
            check_update(&place, &update.0, kind, marks, mark)?;
        }
        let by = (mark.last, mark.writer);
        crdt::append(conn, &place, after.root, by, &update.0)?;
    }
    match result.texts.iter().find(|(field, _)| {
        let text = result.state.texts.get(*field);
        text.is_none_or(|text| text.version != version)
    }) {
        None => Ok(()),
        Some((field, _)) => Err(PageError::malformed(format!(
            "collection {} field {field}: an update that changes nothing",
            result.collection
        ))),
    }
}

fn check_update(
    place: &TextPlace,
    update: &[u8],
    kind: TextKind,
    marks: &[Mark],
    mark: &Mark,
) -> std::result::Result<(), PageError> {
    match guard::check(update, mark.writer, kind, marks, &GuardLimits::default()) {
        Ok(Check::Fits(checked)) if checked.next() == mark.next => Ok(()),
        Ok(_) => Err(odd(place, "an update that ends elsewhere than it says")),
        // Base is not what the server believes.
        Err(Refused::Rebase(_)) => Err(PageError::BaseMissing),
        Err(Refused::Invalid(why)) => Err(odd(place, why.code())),
    }
}

/// Keeps the edits of an own change that became part of base as they were written. `base` is the
/// document after it.
pub(crate) fn keep_own(
    conn: &Connection,
    change: &Change,
    base: &DocumentState,
    op: OpId,
) -> Result<()> {
    for (field, edit) in change.texts.iter() {
        let Some(text) = base.texts.get(field) else {
            continue;
        };
        let place = TextPlace {
            collection: change.collection,
            document: change.document.clone(),
            field,
        };
        crdt::append(conn, &place, text.root, (op, edit.writer), &edit.update.0)?;
    }
    Ok(())
}

/// Checks the states that a snapshot brings of a document's texts: all of them, and nothing else.
pub(crate) fn check_snapshot(
    layout: &Layout,
    document: &DocumentResult,
) -> std::result::Result<(), PageError> {
    let table = layout.table(document.collection);
    for (field, text) in document.state.texts.iter() {
        let place = TextPlace {
            collection: document.collection,
            document: document.document.clone(),
            field,
        };
        let state = document.texts.get(field);
        let state = state.ok_or_else(|| odd(&place, "a text without its state"))?;
        if let Some(kind) = table.and_then(|table| table.text_kind(field)) {
            guard::check_state(&state.0, kind, &text.marks, &GuardLimits::default())
                .map_err(|_| odd(&place, "a state that does not fit its marks"))?;
        }
    }
    match (document.texts.iter()).find(|(field, _)| document.state.texts.get(*field).is_none()) {
        None => Ok(()),
        Some((field, _)) => Err(PageError::malformed(format!(
            "collection {} field {field}: a state of no text",
            document.collection
        ))),
    }
}

/// Keeps the states that a snapshot brought.
pub(crate) fn keep_snapshot(conn: &Connection, document: &DocumentResult) -> Result<()> {
    for (field, text) in document.state.texts.iter() {
        let Some(state) = document.texts.get(field) else {
            continue;
        };
        let place = TextPlace {
            collection: document.collection,
            document: document.document.clone(),
            field,
        };
        crdt::put_state(conn, &place, text.root, 1, &text.marks, &state.0)?;
    }
    Ok(())
}

fn odd(place: &TextPlace, what: &str) -> PageError {
    PageError::malformed(format!(
        "collection {} field {}: {what}",
        place.collection, place.field
    ))
}
