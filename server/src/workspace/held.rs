//! What waits within one request: an op is delayed by undecided earlier ones on its documents, and
//! by nothing else.

use std::collections::HashSet;

use driftline_core::id::{CollectionId, DocumentId, OpId};
use driftline_core::mutant::{Mutant, planted};
use driftline_core::op::{Change, OpBody};

/// Ops of the request that are not decided, and what waits for them.
#[derive(Default)]
pub(super) struct Held {
    ops: HashSet<OpId>,
    documents: Vec<(CollectionId, DocumentId, OpId)>,
}

impl Held {
    /// Notes an op that is not decided.
    pub(super) fn hold(&mut self, op: OpId, changes: &[Change]) {
        self.ops.insert(op);
        self.documents.extend(
            changes
                .iter()
                .map(|c| (c.collection, c.document.clone(), op)),
        );
    }

    /// Whether no op waits.
    pub(super) fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// The undecided op that this one follows on one of its documents.
    pub(super) fn waits_for(&self, body: &OpBody) -> Option<OpId> {
        if self.ops.is_empty() || planted(Mutant::HeldOvertaken) {
            return None;
        }
        body.changes.iter().find_map(|change| {
            let named = [change.prev, change.generation]
                .into_iter()
                .flatten()
                .find(|id| self.ops.contains(id));
            let shared = || {
                self.documents
                    .iter()
                    .find(|(c, d, _)| change.is_on(*c, d))
                    .map(|(.., op)| *op)
            };
            named.or_else(shared)
        })
    }
}
