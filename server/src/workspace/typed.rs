//! What somebody typed and a delete took away unseen, looked up in the log: the merge knows who
//! typed how much, the words stand in the versions.

use std::collections::HashSet;

use driftline_core::id::{CollectionId, DocumentId, FieldId, OpId, Version};
use driftline_core::merge::Seen;
use driftline_core::op::Op;
use driftline_core::protocol::VersionEntry;
use driftline_core::schema::Schema;
use driftline_core::text::TextKind;
use driftline_core::text::guard::{GuardLimits, inserted};

use super::rows::Rows;
use crate::store::{StoreError, Transaction};

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

/// Everything that was typed and `delete` had not seen, oldest first, as far as `steps_left` leads.
pub(super) fn unseen(
    tx: &mut (dyn Transaction + '_),
    schema: &Schema,
    typed: Typed<'_>,
    delete: &Op,
    steps_left: &mut usize,
) -> Result<String, StoreError> {
    let place = (typed.collection, typed.document);
    let declared = schema.collection_by_id(typed.collection);
    let field = declared.and_then(|collection| collection.field_by_id(typed.field));
    let Some(kind) = field.and_then(|field| TextKind::of(field.kind)) else {
        return Ok(String::new());
    };
    let prev = delete.body.prev_on(place.0, place.1);
    let covers = delete.body.stands_for();
    let seen = Seen::follow(
        &mut Rows(tx),
        place,
        delete.id,
        delete.body.base,
        prev,
        &covers,
    )?;
    let mut pieces: Vec<String> = Vec::new();
    let mut visited: HashSet<Version> = HashSet::new();
    let mut at = Some(typed.newest);
    while let Some(version) = at.filter(|version| *version > delete.body.base) {
        if *steps_left == 0 || !visited.insert(version) {
            break;
        }
        *steps_left -= 1;
        let Some(step) = tx.step(version, typed.collection, typed.document)? else {
            break;
        };
        if !seen.has(step.op, version)
            && let Some(bytes) = tx.entry(version)?
            && let Some(update) = update_in(&bytes, step.op, typed)?
        {
            pieces.push(inserted(&update, kind, &GuardLimits::default()));
        }
        at = step.previous;
    }
    pieces.reverse();
    Ok(pieces.concat())
}

/// The update that a version brought to the field, if it is the writer's.
fn update_in(entry: &[u8], op: OpId, typed: Typed<'_>) -> Result<Option<Vec<u8>>, StoreError> {
    let entry: VersionEntry =
        minicbor::decode(entry).map_err(|_| StoreError::Damaged("a version".to_owned()))?;
    let mut results = entry.documents.into_iter();
    let result =
        results.find(|d| d.collection == typed.collection && d.document == *typed.document);
    let Some(mut result) = result else {
        return Ok(None);
    };
    let text = result.state.texts.get(typed.field);
    let by_writer = text.is_some_and(|text| {
        let mut marks = text.marks.iter();
        marks.any(|mark| mark.writer == typed.writer && mark.last == op)
    });
    let update = result.texts.remove(typed.field).filter(|_| by_writer);
    Ok(update.map(|update| update.0))
}
