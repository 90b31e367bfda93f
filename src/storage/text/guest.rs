//! A guest's texts, written again for the account.
//!
//! Without an account an edit is base at once, under the file's writer. A server has to get each text
//! as one edit of the insert that brings the document, and a copy of the file the same bytes: so it is
//! written once more from what it says, by a writer that follows from that.

use driftline_core::id::{CollectionId, DocumentId};
use driftline_core::merge::DocumentState;
use driftline_core::op::{TextEdit, Update, derived_writer};
use driftline_core::text::{BodyLimits, ListBody, ListChange, TextBody, TextError};
use rusqlite::Connection;

use super::super::error::{Result, StorageError};
use super::super::tables::Layout;
use super::body::Body;
use super::crdt::{self, TextPlace};
use super::open::open_base;
use super::show::opening;
use super::shown;

/// A text as one edit; `None` if it says nothing, or is none under the schema.
pub(crate) fn as_one_edit(
    conn: &Connection,
    layout: &Layout,
    file: &str,
    place: &TextPlace,
    document: &DocumentState,
) -> Result<Option<TextEdit>> {
    let text = document.texts.get(place.field);
    let Some((opening, text)) = opening(layout, place, 1).zip(text) else {
        return Ok(None);
    };
    let mut open = open_base(&crdt::load(conn, place, text.root, 0)?, opening)?;
    // What was within its limits when it was written is not refused now.
    let limits = BodyLimits {
        max_bytes: usize::MAX,
        ..opening.limits
    };
    let whose = (place.collection, &place.document, place.field);
    let written = match &mut open.body {
        Body::RichText(body) => {
            let content = body.content()?;
            let bytes = serde_json::to_vec(&content).map_err(|_| damaged())?;
            let writer = derived_writer(file, whose, &bytes);
            let edited = TextBody::new(writer, limits).edit_delta(content)?;
            edited.map(|edited| (writer, edited.update))
        }
        Body::List(body) => {
            let elements = body.elements()?.into_iter();
            let values: serde_json::Result<Vec<serde_json::Value>> = elements
                .map(|(_, json)| serde_json::from_str(json))
                .collect();
            let values = values.map_err(|_| damaged())?;
            let bytes = serde_json::to_vec(&values).map_err(|_| damaged())?;
            let writer = derived_writer(file, whose, &bytes);
            let insert = ListChange::Insert { at: 0, values };
            let update = ListBody::new(writer, limits).edit(&[insert])?;
            update.map(|update| (writer, update))
        }
    };
    Ok(written.map(|(writer, update)| TextEdit {
        writer,
        update: Update(update),
        after: None,
    }))
}

/// The document is an op now: what was base of its texts is not any more. What they show stays, but for
/// those that said nothing.
pub(crate) fn forget_guests(
    conn: &Connection,
    (collection, document): (CollectionId, &DocumentId),
    before: &DocumentState,
    after: &DocumentState,
) -> Result<()> {
    for (field, _) in before.texts.iter() {
        let place = TextPlace {
            collection,
            document: document.clone(),
            field,
        };
        crdt::forget_others(conn, &place, None)?;
        if after.texts.get(field).is_none() {
            shown::remove(conn, &place)?;
        }
    }
    Ok(())
}

/// What a guest deleted no server has heard of.
pub(crate) fn forget_deleted(conn: &Connection) -> Result<()> {
    conn.execute(
        "DELETE FROM _dl_crdt WHERE (collection, document) IN (SELECT collection, id FROM _dl_tombstones)",
        [],
    )?;
    Ok(())
}

fn damaged() -> StorageError {
    StorageError::from(TextError::Broken)
}
