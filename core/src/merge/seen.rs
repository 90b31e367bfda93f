//! What an op had seen. One definition decides losses, set removals, `update_wins` and stamps.

use std::collections::HashSet;

use crate::id::{CollectionId, DocumentId, OpId, Version};

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
        (collection, document): (CollectionId, &DocumentId),
        op: OpId,
        base: Version,
        prev: Option<OpId>,
        covers: &[OpId],
    ) -> Result<Seen, H::Error> {
        let mut chain = vec![op];
        if prev.is_none() && covers.is_empty() {
            return Ok(Seen { base, chain });
        }
        let mut visited: HashSet<OpId> = chain.iter().copied().collect();
        let mut ahead: Vec<OpId> = covers.iter().copied().chain(prev).collect();
        while let Some(id) = ahead.pop() {
            if !visited.insert(id) {
                continue;
            }
            chain.push(id);
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
