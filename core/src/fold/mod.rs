//! What a device shows: its pending ops folded over base.
//!
//! Base is what the server said, exactly at the device's cursor; it is replaced by pages, never
//! merged into. The fold predicts, with the server's own code, what base will be once the pending
//! ops are in it.

mod image;

use crate::id::{OpId, PENDING, Version};
use crate::merge::{DocumentState, History, Incoming, Seen, merge};
use crate::op::Change;
use crate::schema::Collection;
use crate::time::Stamp;

pub use image::BaseImage;

/// One pending op, as far as it is about one document.
#[derive(Clone, Debug)]
pub struct Pending {
    /// Its id.
    pub id: OpId,
    /// The id its followers know it by.
    pub name: OpId,
    /// Where the server is expected to place it.
    pub stamp: Stamp,
    /// The cursor's version when it was written.
    pub base: Version,
    /// The ops it stands for.
    pub covers: Vec<OpId>,
    /// What it does to this document, in order.
    pub changes: Vec<Change>,
}

/// Folds `pending` (all of one document, oldest first) over `base`.
///
/// An op that the server would reject leaves no trace here: it is about to enter quarantine.
///
/// # Errors
/// What the history's store says.
pub fn fold<H: History>(
    collection: &Collection,
    base: Option<DocumentState>,
    pending: &[Pending],
    history: &mut H,
) -> Result<Option<DocumentState>, H::Error> {
    let mut shown = base;
    let mut landings: Vec<(OpId, OpId)> = Vec::new();
    for op in pending {
        for change in &op.changes {
            let generation = meant_generation(change, shown.as_ref(), &landings, history)?;
            let prev = op.changes.first().and_then(|c| c.prev);
            let seen = Seen::follow(history, (change.collection, &change.document), op.id, op.base, prev, &op.covers)?;
            let incoming = Incoming { op: op.id, name: op.name, stamp: op.stamp, version: PENDING, seen: &seen, generation };
            if let Ok(merged) = merge(shown.clone(), change, collection, &incoming) {
                landings.push((op.name, merged.landed));
                shown = Some(merged.after);
            }
        }
    }
    Ok(shown)
}

fn meant_generation<H: History>(
    change: &Change,
    shown: Option<&DocumentState>,
    landings: &[(OpId, OpId)],
    history: &mut H,
) -> Result<Option<OpId>, H::Error> {
    let Some(opener) = change.generation else { return Ok(None) };
    if shown.is_some_and(|s| s.generation.opener == opener) {
        return Ok(Some(opener));
    }
    if let Some((_, landed)) = landings.iter().rev().find(|(name, _)| *name == opener) {
        return Ok(Some(*landed));
    }
    let known = history.linked(opener, change.collection, &change.document)?;
    Ok(Some(known.and_then(|linked| linked.landed).unwrap_or(opener)))
}
