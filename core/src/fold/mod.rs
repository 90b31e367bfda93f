//! What a device shows: its pending ops folded over base.
//!
//! Base is what the server said, exactly at the device's cursor; it is replaced by pages, never
//! merged into. The fold predicts, with the server's own code, what base will be once the pending
//! ops are in it.

mod image;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use crate::id::{CollectionId, DocumentId, OpId, PENDING, Version};
use crate::merge::{DocumentState, History, Incoming, Linked, Seen, Unmerged, merge};
use crate::op::{Change, FieldMap};
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
    Ok(fold_telling(collection, base, pending, history)?.shown)
}

/// What a fold gives.
#[derive(Clone, Debug, PartialEq)]
pub struct Folded {
    /// The document.
    pub shown: Option<DocumentState>,
    /// Ops the server would reject because of this document. A group among them is rejected whole,
    /// so it has to be left out of the folds of its other documents too.
    pub refused: Vec<OpId>,
    /// Ops whose text does not go on where base and the ops before it end: the file needs a new
    /// writer, and all text that no page has named is to be written again under it. Their other
    /// fields are shown.
    pub rebase: Vec<OpId>,
}

/// Like [`fold`], and tells which ops left no trace.
///
/// # Errors
/// What the history's store says.
pub fn fold_telling<H: History>(
    collection: &Collection,
    base: Option<DocumentState>,
    pending: &[Pending],
    history: &mut H,
) -> Result<Folded, H::Error> {
    let mut folded = Folded {
        shown: base,
        refused: Vec::new(),
        rebase: Vec::new(),
    };
    let mut landings: Vec<(OpId, OpId)> = Vec::new();
    for op in pending {
        let before = folded.shown.clone();
        match fold_op(collection, before, op, &mut landings, history)? {
            Some(step) => {
                folded.shown = step.shown;
                if !step.text_fits {
                    folded.rebase.push(op.id);
                }
            }
            None => folded.refused.push(op.id),
        }
    }
    Ok(folded)
}

/// What one op of a fold gives.
struct Step {
    shown: Option<DocumentState>,
    text_fits: bool,
}

/// One op on top of what is shown; `None` if any of its changes would be rejected.
fn fold_op<H: History>(
    collection: &Collection,
    mut shown: Option<DocumentState>,
    op: &Pending,
    landings: &mut Vec<(OpId, OpId)>,
    history: &mut H,
) -> Result<Option<Step>, H::Error> {
    let mut text_fits = true;
    let prev = op.changes.first().and_then(|first| first.prev);
    let behind: Vec<OpId> = op
        .covers
        .iter()
        .copied()
        .chain([op.name])
        .chain(prev)
        .collect();
    let landed_before = landings.len();
    for change in &op.changes {
        let generation = meant_generation(change, shown.as_ref(), landings, history)?;
        let seen = Seen::of_change(
            &mut Unbounded(history),
            op.id,
            op.base,
            behind.clone(),
            (change, collection),
            shown.as_ref(),
        )?;
        let incoming = Incoming {
            op: op.id,
            name: op.name,
            stamp: op.stamp,
            version: PENDING,
            seen: &seen,
            generation,
        };
        let without_text = shown.as_ref().filter(|_| !change.texts.is_empty()).cloned();
        let merged = match merge(shown, change, collection, &incoming) {
            Err(Unmerged::Rebase(_)) => {
                text_fits = false;
                let rest = Change {
                    texts: FieldMap::default(),
                    ..change.clone()
                };
                merge(without_text, &rest, collection, &incoming)
            }
            merged => merged,
        };
        let Ok(merged) = merged else {
            landings.truncate(landed_before);
            return Ok(None);
        };
        landings.push((op.name, merged.landed));
        shown = Some(merged.after);
    }
    Ok(Some(Step { shown, text_fits }))
}

/// A device's history, with no end at the base version.
///
/// The server may stop there: what is older was decided before. A device may not know yet that an
/// older op was rejected; it still shows it, and its author has seen it.
struct Unbounded<'a, H>(&'a mut H);

impl<H: History> History for Unbounded<'_, H> {
    type Error = H::Error;
    fn linked(
        &mut self,
        op: OpId,
        collection: CollectionId,
        document: &DocumentId,
    ) -> Result<Option<Linked>, H::Error> {
        let linked = self.0.linked(op, collection, document)?;
        Ok(linked.map(|linked| Linked {
            accepted: None,
            ..linked
        }))
    }
}

/// The opener that a new update or delete of a document names, given what the document shows.
///
/// The newest pending op that opened or joined the generation shown, by its first id: should that
/// generation be gone when it arrives, the op lands elsewhere, and what was written on top of it
/// goes along (K12). Else the generation's own opener.
pub fn named_generation(shown: &DocumentState, pending: &[Pending]) -> OpId {
    let opens = |op: &&Pending| {
        op.name == shown.generation.opener || op.changes.iter().any(|c| c.kind.is_opener())
    };
    pending
        .iter()
        .rev()
        .find(opens)
        .map_or(shown.generation.opener, |op| op.name)
}

fn meant_generation<H: History>(
    change: &Change,
    shown: Option<&DocumentState>,
    landings: &[(OpId, OpId)],
    history: &mut H,
) -> Result<Option<OpId>, H::Error> {
    let Some(opener) = change.generation else {
        return Ok(None);
    };
    if shown.is_some_and(|s| s.generation.opener == opener) {
        return Ok(Some(opener));
    }
    if let Some((_, landed)) = landings.iter().rev().find(|(name, _)| *name == opener) {
        return Ok(Some(*landed));
    }
    let known = history.linked(opener, change.collection, &change.document)?;
    Ok(Some(
        known.and_then(|linked| linked.landed).unwrap_or(opener),
    ))
}
