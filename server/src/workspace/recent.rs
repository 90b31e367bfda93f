//! What large groups did, read and taken apart once for a request.
//!
//! The record and the version of a group tell of each of its documents, and a group that meets another asks
//! for every one of them. Read anew each time, 4,000 documents changed by two devices in one transaction
//! each held up their workspace for 24 seconds.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

use driftline_core::id::{CollectionId, DocumentId, OpId, Version};
use driftline_core::merge::{Linked, Record};
use driftline_core::protocol::{DocumentResult, VersionEntry};

use crate::store::{Snapshot, Step, Steps, StoreError};

/// Documents that what is kept may tell of in all: some 30 MB.
const DOCUMENTS_KEPT: usize = 200_000;

/// Bytes of an entry that count as a document of it.
const BYTES_OF_A_DOCUMENT: usize = 128;

/// Versions that one request may look back through in all. Beyond them a base value is missing: better
/// than one request that holds up the workspace.
const STEPS: usize = 4_000;

/// Documents of a large version that are read in the time that reading one version takes.
const DOCUMENTS_OF_A_STEP: usize = 16;

type Place = (CollectionId, DocumentId);

/// Records and versions that were asked for, and how many more may be.
pub(super) struct Recent {
    records: Kept<OpId, Known>,
    steps: Kept<Version, Steps>,
    results: Kept<Version, HashMap<Place, DocumentResult>>,
    steps_left: usize,
}

/// A record, its links by their documents.
struct Known {
    record: Record,
    links: HashMap<Place, usize>,
}

impl Recent {
    /// For a request.
    pub(super) fn new() -> Recent {
        Recent {
            records: Kept::new(),
            steps: Kept::new(),
            results: Kept::new(),
            steps_left: STEPS,
        }
    }

    /// Whether no more versions may be looked at.
    pub(super) fn is_spent(&self) -> bool {
        self.steps_left == 0
    }

    /// The links of `op` on a document; `None` if nothing was decided about it.
    pub(super) fn linked(
        &mut self,
        rows: &mut dyn Snapshot,
        op: OpId,
        collection: CollectionId,
        document: &DocumentId,
    ) -> Result<Option<Linked>, StoreError> {
        if self.records.get(&op).is_none() {
            let Some(record) = rows.record(op)? else {
                return Ok(None);
            };
            let links = record.links.iter().enumerate();
            let links = links.map(|(at, link)| ((link.collection, link.document.clone()), at));
            let known = Known {
                links: links.collect(),
                record,
            };
            self.records.keep(op, known.links.len(), known);
        }
        let known = self.records.get(&op);
        Ok(known.map(|known| {
            let at = known.links.get(&(collection, document.clone()));
            let link = at.and_then(|at| known.record.links.get(*at));
            known.record.linked_by(op, link)
        }))
    }

    /// Something was decided about `op`.
    pub(super) fn decided(&mut self, op: OpId) {
        self.records.forget(&op);
    }

    /// A version's step back along a document; `None` if it did not touch it.
    pub(super) fn step(
        &mut self,
        rows: &mut dyn Snapshot,
        version: Version,
        collection: CollectionId,
        document: &DocumentId,
    ) -> Result<Option<Step>, StoreError> {
        if self.steps.get(&version).is_none() {
            let Some(steps) = rows.steps(version)? else {
                return Ok(None);
            };
            let size = steps.len();
            let cost = 1 + size / DOCUMENTS_OF_A_STEP;
            self.steps_left = self.steps_left.saturating_sub(cost);
            self.steps.keep(version, size, steps);
        }
        let steps = self.steps.get(&version);
        Ok(steps.and_then(|steps| steps.on(collection, document)))
    }

    /// What a version says of a document.
    pub(super) fn result(
        &mut self,
        rows: &mut dyn Snapshot,
        version: Version,
        collection: CollectionId,
        document: &DocumentId,
    ) -> Result<Option<&DocumentResult>, StoreError> {
        if self.results.get(&version).is_none() {
            let Some(bytes) = rows.entry(version)? else {
                return Ok(None);
            };
            let entry: VersionEntry = minicbor::decode(&bytes)
                .map_err(|_| StoreError::Damaged("a version".to_owned()))?;
            let results = entry.documents.into_iter();
            let results: HashMap<Place, DocumentResult> = results
                .map(|result| ((result.collection, result.document.clone()), result))
                .collect();
            let size = results.len().max(bytes.len() / BYTES_OF_A_DOCUMENT);
            self.results.keep(version, size, results);
        }
        let results = self.results.get(&version);
        Ok(results.and_then(|results| results.get(&(collection, document.clone()))))
    }
}

/// Values by their keys. The oldest go when there are too many.
struct Kept<K, V> {
    values: HashMap<K, (usize, V)>,
    order: VecDeque<K>,
    size: usize,
}

impl<K: Copy + Eq + Hash, V> Kept<K, V> {
    fn new() -> Kept<K, V> {
        Kept {
            values: HashMap::new(),
            order: VecDeque::new(),
            size: 0,
        }
    }

    fn get(&self, key: &K) -> Option<&V> {
        self.values.get(key).map(|(_, value)| value)
    }

    /// Keeps a value that tells of `size` documents; the last one in any case.
    fn keep(&mut self, key: K, size: usize, value: V) {
        let size = size + 1;
        while self.size + size > DOCUMENTS_KEPT
            && let Some(oldest) = self.order.pop_front()
        {
            self.forget(&oldest);
        }
        self.size += size;
        self.order.push_back(key);
        self.values.insert(key, (size, value));
    }

    fn forget(&mut self, key: &K) {
        if let Some((size, _)) = self.values.remove(key) {
            self.size -= size;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_first_goes_when_there_is_too_much() {
        let mut kept: Kept<u64, ()> = Kept::new();
        kept.keep(1, DOCUMENTS_KEPT / 2, ());
        kept.keep(2, DOCUMENTS_KEPT / 4, ());
        assert!(kept.get(&1).is_some());
        kept.keep(3, DOCUMENTS_KEPT / 2, ());
        assert!(kept.get(&1).is_none() && kept.get(&2).is_some() && kept.get(&3).is_some());
        kept.keep(4, 2 * DOCUMENTS_KEPT, ());
        assert!(kept.get(&2).is_none() && kept.get(&3).is_none() && kept.get(&4).is_some());
    }

    #[test]
    fn what_is_forgotten_and_kept_again_is_counted_once() {
        let mut kept: Kept<u64, ()> = Kept::new();
        for _ in 0..3 {
            kept.keep(1, DOCUMENTS_KEPT - 10, ());
            kept.forget(&1);
        }
        assert_eq!(kept.size, 0);
        kept.keep(1, 1, ());
        kept.keep(2, DOCUMENTS_KEPT - 10, ());
        assert!(kept.get(&1).is_some() && kept.get(&2).is_some());
    }
}
