//! The parts of a version: what the log, the audit and the devices hold of an accepted op.

use driftline_core::merge::{Accepted, DocumentState, Link};
use driftline_core::op::Change;
use driftline_core::schema::{DeletePolicy, Schema};

use crate::problem::Problem;
use crate::store::Touch;

/// What most entries and states fit in: growing to it step by step costs more than the rest.
const USUAL_BYTES: usize = 512;

/// A value's bytes.
pub(super) fn encoded<T: minicbor::Encode<()>>(value: &T) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::with_capacity(USUAL_BYTES);
    // Writing to memory cannot fail; were it to, nothing may be stored.
    minicbor::encode(value, &mut bytes).map_err(|_| Problem::Internal)?;
    Ok(bytes)
}

/// Bytes of the touched documents before and after, live ones only.
pub(super) fn sizes(accepted: &Accepted) -> (u64, u64) {
    let size = |state: &DocumentState| {
        if state.is_alive() {
            state.size() as u64
        } else {
            0
        }
    };
    let before = accepted
        .documents
        .iter()
        .filter_map(|touched| touched.before.as_ref())
        .map(size)
        .sum();
    let after = accepted
        .documents
        .iter()
        .map(|touched| size(&touched.after))
        .sum();
    (before, after)
}

/// What each change did, for the audit and for the way back.
pub(super) fn touches<'c>(changes: &'c [Change], accepted: &Accepted) -> Vec<Touch<'c>> {
    let previous = |change: &Change| {
        let touched = accepted
            .documents
            .iter()
            .find(|t| change.is_on(t.collection, &t.document))?;
        touched.before.as_ref().map(|before| before.version)
    };
    let touch = |change: &'c Change| Touch {
        collection: change.collection,
        document: &change.document,
        kind: change.kind,
        previous: previous(change),
    };
    changes.iter().map(touch).collect()
}

/// Where the op's followers find the generation they name by it: said where it is not their guess.
///
/// Followers name inserts and restores, and updates that their device expected to bring a document
/// back (`update_wins`); an update that landed where it was aimed needs no word.
pub(super) fn landed(schema: &Schema, changes: &[Change], links: &[Link]) -> Vec<Link> {
    let may_be_named = |link: &Link| {
        let update_wins = schema
            .collection_by_id(link.collection)
            .is_some_and(|c| c.on_conflict_delete == DeletePolicy::UpdateWins);
        changes
            .iter()
            .filter(|change| change.is_on(link.collection, &link.document))
            .any(|change| {
                change.kind.is_opener() || (update_wins && link.landed != change.generation)
            })
    };
    let landed = links
        .iter()
        .filter(|link| link.landed.is_some() && may_be_named(link));
    landed
        .map(|link| Link {
            prev: None,
            ..link.clone()
        })
        .collect()
}
