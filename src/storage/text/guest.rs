//! A guest's texts, written again for the account.
//!
//! Without an account an edit is base at once, under the file's writer. A server has to get each text
//! with the insert that brings the document, and a copy of the file the same bytes: so it is written once
//! more from what it says, by a writer that follows from that.

use driftline_core::id::{CollectionId, DocumentId};
use driftline_core::merge::DocumentState;
use driftline_core::op::derived_writer;
use driftline_core::text::{BodyLimits, Delta, ListBody, ListChange, Step, TextBody, TextError};
use rusqlite::Connection;

use super::super::error::{Result, StorageError};
use super::super::tables::Layout;
use super::body::Body;
use super::crdt::{self, TextPlace};
use super::open::open_base;
use super::show::opening;
use super::shown;

/// The most bytes of one edit, and of formats' beginnings and ends: well below what the guard lets pass.
const MOST_BYTES: usize = 256 << 10;
const MOST_STEPS: usize = 8 << 10;

/// The most bytes of elements in one edit: their values count as well, and take two bytes at least.
const MOST_OF_LIST: usize = 32 << 10;

/// A text as edits, by whom, in order: one, but for a large text. None if it says nothing, or is none
/// under the schema.
pub(crate) fn as_edits(
    conn: &Connection,
    layout: &Layout,
    file: &str,
    place: &TextPlace,
    document: &DocumentState,
) -> Result<(u64, Vec<Vec<u8>>)> {
    let text = document.texts.get(place.field);
    let Some((opening, text)) = opening(layout, place, 1).zip(text) else {
        return Ok((1, Vec::new()));
    };
    let mut open = open_base(&crdt::load(conn, place, text.root, 0)?, opening)?;
    // What was within its limits when it was written is not refused now.
    let limits = BodyLimits {
        max_bytes: usize::MAX,
        ..opening.limits
    };
    let whose = (place.collection, &place.document, place.field);
    let mut edits = Vec::new();
    let writer = match &mut open.body {
        Body::RichText(body) => {
            let content = body.content()?;
            let bytes = serde_json::to_vec(&content).map_err(|_| damaged())?;
            let writer = derived_writer(file, whose, &bytes);
            let mut text = TextBody::new(writer, limits);
            for piece in pieces(content) {
                edits.extend(text.edit_delta(piece)?.map(|edited| edited.update));
            }
            writer
        }
        Body::List(body) => {
            let elements: Vec<String> = (body.elements()?.into_iter())
                .map(|(_, json)| json.to_owned())
                .collect();
            let bytes = serde_json::to_vec(&elements).map_err(|_| damaged())?;
            let writer = derived_writer(file, whose, &bytes);
            let mut list = ListBody::new(writer, limits);
            let mut at = 0;
            for values in runs(elements)? {
                let count = values.len() as u32;
                edits.extend(list.edit(&[ListChange::Insert { at, values }])?);
                at += count;
            }
            writer
        }
    };
    Ok((writer, edits))
}

/// A text's content as changes, each of which goes on where the one before it ends.
fn pieces(content: Delta) -> Vec<Delta> {
    let mut pieces = Vec::new();
    let (mut piece, mut bytes, mut steps) = (Delta::new(), 0, 0);
    let mut written = 0;
    for step in content.into_steps() {
        let Step::Insert { text, attributes } = step else {
            continue;
        };
        let formats: usize = (attributes.iter())
            .map(|(name, value)| 2 * (name.len() + value.to_string().len()))
            .sum();
        let mut rest = text.as_str();
        while !rest.is_empty() {
            if bytes + formats >= MOST_BYTES || steps >= MOST_STEPS {
                pieces.push(std::mem::take(&mut piece));
                piece = Delta::new().retain(written);
                (bytes, steps) = (0, 0);
            }
            let room = MOST_BYTES.saturating_sub(bytes + formats).max(4);
            let (here, later) = rest.split_at(rest.floor_char_boundary(room));
            bytes += formats + here.len();
            steps += 1 + 2 * attributes.len();
            written += here.encode_utf16().count() as u32;
            piece = piece.insert(here, attributes.clone());
            rest = later;
        }
    }
    pieces.push(piece);
    pieces
}

/// A list's elements by what fits into one edit.
fn runs(elements: Vec<String>) -> Result<Vec<Vec<serde_json::Value>>> {
    let mut runs = vec![Vec::new()];
    let mut bytes = 0;
    for json in elements {
        if bytes > 0 && bytes + json.len() > MOST_OF_LIST {
            runs.push(Vec::new());
            bytes = 0;
        }
        bytes += json.len() + 1;
        let value = serde_json::from_str(&json).map_err(|_| damaged())?;
        if let Some(run) = runs.last_mut() {
            run.push(value);
        }
    }
    Ok(runs)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_text_is_cut_between_characters_and_says_the_same() {
        let bold = [("bold".to_owned(), true.into())].into_iter().collect();
        let long = "é😀x".repeat(60_000);
        let mut content = Delta::new().insert(long.as_str(), Default::default());
        content = content.insert(long.as_str(), bold);
        for n in 0..3_000 {
            let formats = [("n".to_owned(), n.into())].into_iter().collect();
            content = content.insert("w", formats).insert(".", Default::default());
        }
        let pieces = pieces(content.clone());
        assert!(pieces.len() > 4, "{}", pieces.len());
        let mut text = TextBody::new(7, BodyLimits::default());
        for piece in pieces {
            let update = text.edit_delta(piece).unwrap().unwrap().update;
            assert!(update.len() < 512 << 10);
        }
        assert_eq!(text.content().unwrap(), content);
        assert_eq!(
            super::pieces(Delta::new()),
            [Delta::new()],
            "nothing to say"
        );
    }

    #[test]
    fn a_large_list_is_cut_between_elements() {
        let elements: Vec<String> = (0..5_000).map(|n| format!("[{n},\"{n}\"]")).collect();
        let runs = runs(elements.clone()).unwrap();
        assert!(runs.len() > 1);
        let back: Vec<String> = runs
            .iter()
            .flatten()
            .map(|value| value.to_string())
            .collect();
        assert_eq!(back, elements);
        assert!(super::runs(vec!["{".to_owned()]).is_err());
    }
}
