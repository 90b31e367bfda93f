//! What an op had seen: everything up to its base version, and what is on its chain.

use std::collections::{BTreeMap, BTreeSet};

use driftline_core::id::{OpId, Version};
use driftline_core::op::OpBody;

use super::Accepted;
use crate::oracles::Key;

/// What is known of a decided op.
#[derive(Clone, Debug, Default)]
pub(super) struct Decided {
    prev: BTreeMap<Key, OpId>,
    stands_for: Vec<OpId>,
    pub(super) accepted: Option<Version>,
    pub(super) landed: BTreeMap<Key, OpId>,
}

/// What one op had seen of one document.
pub(super) struct Chain {
    base: Version,
    ids: BTreeSet<OpId>,
}

impl Chain {
    /// Follows every link from `behind` on, through rejected ops, until one that base contains.
    pub(super) fn of(
        decided: &BTreeMap<OpId, Decided>,
        op: OpId,
        base: Version,
        behind: Vec<OpId>,
        key: &Key,
    ) -> Chain {
        let mut ids = BTreeSet::from([op]);
        let mut ahead = behind;
        while let Some(id) = ahead.pop() {
            let known = decided.get(&id);
            if !ids.insert(id)
                || known
                    .is_some_and(|known| known.accepted <= Some(base) && known.accepted.is_some())
            {
                continue;
            }
            if let Some(known) = known {
                ahead.extend(&known.stands_for);
                ahead.extend(known.prev.get(key));
            }
        }
        Chain { base, ids }
    }

    pub(super) fn has(&self, op: OpId, version: Version) -> bool {
        version <= self.base || self.ids.contains(&op)
    }

    /// How many own ops are behind it.
    pub(super) fn own_before(&self) -> u64 {
        self.ids.len() as u64 - 1
    }
}

/// Keeps an accepted op and the ids that it answers for.
pub(super) fn record(
    decided: &mut BTreeMap<OpId, Decided>,
    op: &Accepted<'_>,
    landed: &BTreeMap<Key, OpId>,
) {
    let own = Decided {
        prev: links(op.body),
        stands_for: op.body.stands_for(),
        accepted: Some(op.version),
        landed: landed.clone(),
    };
    let mut before: Option<OpId> = None;
    for id in op.body.stands_for() {
        match decided.get_mut(&id) {
            Some(known) if known.accepted.is_none() => {
                known.accepted = own.accepted;
                known.landed.clone_from(landed);
            }
            Some(_) => {}
            None => {
                let stands_for = before.into_iter().collect();
                decided.insert(
                    id,
                    Decided {
                        stands_for,
                        ..own.clone()
                    },
                );
            }
        }
        before = Some(id);
    }
    decided.insert(op.id, own);
}

/// Keeps a rejected op, unless it is known.
pub(super) fn record_rejected(decided: &mut BTreeMap<OpId, Decided>, id: OpId, body: &OpBody) {
    decided.entry(id).or_insert_with(|| Decided {
        prev: links(body),
        stands_for: body.stands_for(),
        ..Decided::default()
    });
}

fn links(body: &OpBody) -> BTreeMap<Key, OpId> {
    let mut links = BTreeMap::new();
    for change in &body.changes {
        let key = (change.collection, change.document.as_str().to_owned());
        if let Some(prev) = body.prev_on(change.collection, &change.document) {
            links.insert(key, prev);
        }
    }
    links
}
