//! What somebody typed and a delete took away unseen, looked up in the log: the merge knows who
//! typed how much, the words stand in the versions.

use std::collections::HashSet;

use driftline_core::id::{CollectionId, DocumentId, FieldId, OpId, Version};
use driftline_core::protocol::DocumentResult;
use driftline_core::schema::Schema;
use driftline_core::text::TextKind;
use driftline_core::text::guard::{GuardLimits, inserted};

use super::losses::Incoming;
use super::rows::Rows;
use crate::store::StoreError;

/// One writer's part of a text.
#[derive(Clone, Copy)]
pub(super) struct Typed<'a> {
    pub(super) collection: CollectionId,
    pub(super) document: &'a DocumentId,
    pub(super) field: FieldId,
    pub(super) writer: u64,
    /// The last version that may hold any of it.
    pub(super) newest: Version,
}

/// Everything that was typed and `delete` had not seen, oldest first, as far as it may be looked for.
pub(super) fn unseen(
    rows: &mut Rows<'_>,
    schema: &Schema,
    typed: Typed<'_>,
    delete: &Incoming<'_>,
) -> Result<String, StoreError> {
    let place = (typed.collection, typed.document);
    let declared = schema.collection_by_id(typed.collection);
    let field = declared.and_then(|collection| collection.field_by_id(typed.field));
    let Some(kind) = field.and_then(|field| TextKind::of(field.kind)) else {
        return Ok(String::new());
    };
    let seen = delete.seen(rows, place)?;
    let mut pieces: Vec<String> = Vec::new();
    let mut visited: HashSet<Version> = HashSet::new();
    let mut at = Some(typed.newest);
    while let Some(version) = at.filter(|version| *version > delete.base()) {
        if rows.recent.is_spent() || !visited.insert(version) {
            break;
        }
        let Some(step) = rows.step(version, place)? else {
            break;
        };
        if !seen.has(step.op, version)
            && let Some(result) = rows.result(version, place)?
            && let Some(update) = update_in(result, step.op, typed)
        {
            pieces.push(inserted(update, kind, &GuardLimits::default()));
        }
        at = step.previous;
    }
    pieces.reverse();
    Ok(pieces.concat())
}

/// The update that a version brought to the field, if it is the writer's.
fn update_in<'r>(result: &'r DocumentResult, op: OpId, typed: Typed<'_>) -> Option<&'r [u8]> {
    let text = result.state.texts.get(typed.field)?;
    let mut marks = text.marks.iter();
    marks.find(|mark| mark.writer == typed.writer && mark.last == op)?;
    Some(&result.texts.get(typed.field)?.0)
}
