//! What a file shows: its pending ops folded over base.

use std::convert::Infallible;

use driftline_core::fold::{Folded, Pending, fold_telling, named_generation};
use driftline_core::id::{CollectionId, DocumentId, OpId};
use driftline_core::merge::{DocumentState, History, Linked};
use driftline_core::schema::Schema;
use driftline_core::time::{Contact, place};

use super::Key;
use super::file::{File, Queued};

struct Memory<'a>(&'a File);

impl History for Memory<'_> {
    type Error = Infallible;
    fn linked(
        &mut self,
        id: OpId,
        collection: CollectionId,
        document: &DocumentId,
    ) -> Result<Option<Linked>, Infallible> {
        let file = self.0;
        let queued = file
            .queue
            .iter()
            .chain(&file.quarantine)
            .find(|q| q.op.id == id);
        if let Some(queued) = queued {
            let body = &queued.op.body;
            let prev = body.prev_on(collection, document);
            return Ok(Some(Linked {
                prev,
                covers: body.stands_for(),
                ..Linked::default()
            }));
        }
        let key = (collection, document.clone());
        Ok(file
            .departed
            .iter()
            .rev()
            .find(|d| d.op == id)
            .map(|departed| {
                let prev = departed
                    .prevs
                    .iter()
                    .find(|(k, _)| *k == key)
                    .and_then(|(_, prev)| *prev);
                let named = departed.named.as_ref();
                let landed = named
                    .and_then(|(_, l)| l.iter().find(|(k, _)| *k == key))
                    .map(|l| l.1);
                Linked {
                    prev,
                    covers: departed.covers.clone(),
                    accepted: named.map(|n| n.0),
                    landed,
                }
            }))
    }
}

impl File {
    /// What a document shows: pending folded over base. A group that one of its documents refuses
    /// is shown on none.
    pub(crate) fn shown(&self, schema: &Schema, key: &Key, time: i64) -> Option<DocumentState> {
        let mut refused: Vec<OpId> = Vec::new();
        loop {
            let more: Vec<OpId> = self
                .group_keys()
                .iter()
                .flat_map(|key| self.folded(schema, key, time, &refused).refused)
                .collect();
            if more.is_empty() {
                return self.folded(schema, key, time, &refused).shown;
            }
            refused.extend(more);
        }
    }

    pub(super) fn folded(&self, schema: &Schema, key: &Key, time: i64, refused: &[OpId]) -> Folded {
        let mut pending = self.pending(key, time);
        pending.retain(|op| !refused.contains(&op.id));
        let base = self.base.get(key).cloned();
        let collection = schema.collection_by_id(key.0).unwrap();
        let Ok(folded) = fold_telling(collection, base, &pending, &mut Memory(self));
        folded
    }

    /// The documents of ops that have several.
    fn group_keys(&self) -> Vec<Key> {
        let groups = self.queue.iter().filter(|q| q.op.body.changes.len() > 1);
        let changes = groups.flat_map(|q| &q.op.body.changes);
        let mut keys: Vec<Key> = changes
            .map(|c| (c.collection, c.document.clone()))
            .collect();
        keys.sort();
        keys.dedup();
        keys
    }

    fn pending(&self, key: &Key, time: i64) -> Vec<Pending> {
        let contact = Contact {
            device: self.reading(time),
            server: time,
        };
        let mut pending = Vec::new();
        // What builds on an insert that is taken back or quarantined will be rejected as a whole.
        let mut hopeless = self.rejected();
        for queued in &self.queue {
            let body = &queued.op.body;
            let blocked = body
                .changes
                .iter()
                .filter_map(|c| c.generation)
                .any(|g| hopeless.contains(&g));
            if body.withdraw || blocked {
                hopeless.push(queued.name());
                continue;
            }
            hopeless.retain(|id| *id != queued.name());
            let changes: Vec<_> = body
                .changes
                .iter()
                .filter(|c| c.is_on(key.0, &key.1))
                .cloned()
                .collect();
            if !changes.is_empty() {
                pending.push(Pending {
                    id: queued.op.id,
                    name: queued.name(),
                    stamp: place(queued.op.written, &contact),
                    base: body.base,
                    covers: body.covers.clone(),
                    changes,
                });
            }
        }
        pending
    }

    /// First ids of ops that were rejected and not accepted since.
    pub(super) fn rejected(&self) -> Vec<OpId> {
        let departed = self
            .departed
            .iter()
            .filter(|d| d.named.is_none())
            .map(|d| d.name);
        self.quarantine
            .iter()
            .map(Queued::name)
            .chain(departed)
            .collect()
    }

    /// The generation that a new update or delete names.
    pub(crate) fn generation(&self, key: &Key, shown: &DocumentState, time: i64) -> OpId {
        named_generation(shown, &self.pending(key, time))
    }
}
