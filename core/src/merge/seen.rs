//! What an op had seen. One definition decides losses, set removals, `update_wins` and stamps.

use std::collections::HashSet;

use super::{DocumentState, Life};
use crate::id::{CollectionId, DocumentId, OpId, Version};
use crate::op::{Change, ChangeKind};
use crate::schema::{Collection, DeletePolicy, MergePolicy};

/// What is remembered of an op's links on one document.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Linked {
    /// Its `prev` on the document.
    pub prev: Option<OpId>,
    /// The ops it stands for: [`OpBody::stands_for`](crate::op::OpBody::stands_for).
    pub covers: Vec<OpId>,
    /// Its version, if it was accepted.
    pub accepted: Option<Version>,
    /// The opener of the generation it opened or landed in, if it was accepted.
    pub landed: Option<OpId>,
}

/// Remembered ops, by id: the server's verdicts, or a device's queue and the links of what left it.
pub trait History {
    /// What the store behind it can fail with.
    type Error;

    /// The links of `op` on a document; `None` for an op never heard of.
    ///
    /// # Errors
    /// What the store says.
    fn linked(
        &mut self,
        op: OpId,
        collection: CollectionId,
        document: &DocumentId,
    ) -> Result<Option<Linked>, Self::Error>;
}

/// What one op had seen of one document.
///
/// An op has seen a value whose version is at most the op's base version, or whose op is on its
/// chain of `prev`. The chain runs through rejected and withdrawn ops and stops at the base
/// version; an id nobody knows ends it and is never waited for.
#[derive(Clone, Debug)]
pub struct Seen {
    base: Version,
    chain: Vec<OpId>,
}

impl Seen {
    /// Follows the chain of an op with id `op`, written at `base`, with `prev` and `covers`.
    ///
    /// # Errors
    /// What the history's store says.
    pub fn follow<H: History>(
        history: &mut H,
        place: (CollectionId, &DocumentId),
        op: OpId,
        base: Version,
        prev: Option<OpId>,
        covers: &[OpId],
    ) -> Result<Seen, H::Error> {
        let behind = covers.iter().copied().chain(prev).collect();
        Seen::follow_until(history, place, op, base, behind, |_| false)
    }

    /// The same, only as far as `change` asks when it meets the document as it is `before`.
    ///
    /// A thousand increments of one document are a chain of a thousand; followed to its end for
    /// each of them, the server would read half a million links to answer nothing.
    ///
    /// # Errors
    /// What the history's store says.
    pub(crate) fn of_change<H: History>(
        history: &mut H,
        op: OpId,
        base: Version,
        behind: Vec<OpId>,
        (change, collection): (&Change, &Collection),
        before: Option<&DocumentState>,
    ) -> Result<Seen, H::Error> {
        let place = (change.collection, &change.document);
        if collection.merge == MergePolicy::Document {
            // How many own ops stand behind it caps its clock: all of them count.
            return Seen::follow_until(history, place, op, base, behind, |_| false);
        }
        let mut asked = asked(change, collection, before);
        asked.retain(|(by, version)| *version > base && *by != op);
        let mut asked: HashSet<OpId> = asked.into_iter().map(|(by, _)| by).collect();
        if asked.is_empty() {
            return Ok(Seen {
                base,
                chain: vec![op],
            });
        }
        Seen::follow_until(history, place, op, base, behind, |id| {
            asked.remove(&id);
            asked.is_empty()
        })
    }

    fn follow_until<H: History>(
        history: &mut H,
        (collection, document): (CollectionId, &DocumentId),
        op: OpId,
        base: Version,
        behind: Vec<OpId>,
        mut enough: impl FnMut(OpId) -> bool,
    ) -> Result<Seen, H::Error> {
        let mut chain = vec![op];
        let mut visited: HashSet<OpId> = chain.iter().copied().collect();
        let mut ahead = behind;
        while let Some(id) = ahead.pop() {
            if !visited.insert(id) {
                continue;
            }
            chain.push(id);
            if enough(id) {
                break;
            }
            let Some(linked) = history.linked(id, collection, document)? else {
                continue;
            };
            if linked.accepted.is_some_and(|version| version <= base) {
                continue;
            }
            ahead.extend(linked.covers);
            ahead.extend(linked.prev);
        }
        Ok(Seen { base, chain })
    }

    /// What an op with nothing behind it had seen: itself.
    pub(super) fn nothing(op: OpId) -> Seen {
        Seen {
            base: 0,
            chain: vec![op],
        }
    }

    /// Whether the op had seen what `op` wrote at `version`.
    pub fn has(&self, op: OpId, version: Version) -> bool {
        version <= self.base || self.chain.contains(&op)
    }

    /// How many ops of its own file stand behind it and are not in its base.
    pub fn own_before(&self) -> u64 {
        self.chain.len() as u64 - 1
    }
}

/// Every write of the document that the merge of `change` may compare with.
fn asked(
    change: &Change,
    collection: &Collection,
    before: Option<&DocumentState>,
) -> Vec<(OpId, Version)> {
    let Some(before) = before else {
        return Vec::new();
    };
    let mut asked: Vec<(OpId, Version)> = Vec::new();
    let whole = change.kind == ChangeKind::Delete;
    for (field, register) in before.registers.iter() {
        if whole || change.registers.get(field).is_some() {
            asked.push((register.write.op, register.write.version));
        }
    }
    for (field, set) in before.sets.iter() {
        let named = |element: &String| {
            let lists = [change.adds.get(field), change.removes.get(field)];
            lists
                .into_iter()
                .flatten()
                .any(|list| list.contains(element))
        };
        for (element, tags) in &set.elements {
            if whole || named(element) {
                asked.extend(tags);
            }
        }
    }
    if collection.on_conflict_delete == DeletePolicy::UpdateWins {
        asked.extend(&before.updates);
        asked.push((before.generation.opener, before.generation.version));
        asked.push((OpId::ZERO, before.updates_forgotten));
        if let Life::Deleted(by) = before.life {
            asked.push((by.op, by.version));
        }
        asked.extend(before.reopened.map(|r| (r.delete, r.delete_version)));
    }
    asked
}
