//! What is stored, as decisions read it and as devices are told.

use driftline_core::id::{CollectionId, DocumentId, FieldId, OpId, Version};
use driftline_core::merge::{self, DocumentState, History, Linked, Record, Verdict};
use driftline_core::mutant::{Mutant, planted};
use driftline_core::op::{Refusal, refusal};
use driftline_core::protocol::{DocumentResult, OpResult, Outcome};

use super::recent::Recent;
use crate::store::{Snapshot, Step, StoreError, TextPlace};

/// The stored rows as a decision reads them.
pub(super) struct Rows<'a> {
    pub(super) rows: &'a mut (dyn Snapshot + 'a),
    pub(super) recent: &'a mut Recent,
}

impl Rows<'_> {
    /// A version's step back along a document; `None` if it did not touch it.
    pub(super) fn step(
        &mut self,
        version: Version,
        (collection, document): (CollectionId, &DocumentId),
    ) -> Result<Option<Step>, StoreError> {
        self.recent.step(self.rows, version, collection, document)
    }

    /// What a version says of a document.
    pub(super) fn result(
        &mut self,
        version: Version,
        (collection, document): (CollectionId, &DocumentId),
    ) -> Result<Option<&DocumentResult>, StoreError> {
        self.recent.result(self.rows, version, collection, document)
    }
}

impl History for Rows<'_> {
    type Error = StoreError;

    fn linked(
        &mut self,
        op: OpId,
        collection: CollectionId,
        document: &DocumentId,
    ) -> Result<Option<Linked>, StoreError> {
        self.recent.linked(self.rows, op, collection, document)
    }
}

impl merge::Workspace for Rows<'_> {
    fn document(
        &mut self,
        collection: CollectionId,
        document: &DocumentId,
    ) -> Result<Option<DocumentState>, StoreError> {
        let found = self.rows.document(collection, document)?;
        Ok(found.filter(|found| found.is_alive() || !planted(Mutant::TombstoneForgotten)))
    }

    fn record(&mut self, op: OpId) -> Result<Option<Record>, StoreError> {
        self.rows.record(op)
    }

    fn writer(&mut self, writer: u64) -> Result<Option<String>, StoreError> {
        self.rows.writer(writer)
    }

    fn deleted_bytes(
        &mut self,
        collection: CollectionId,
        document: &DocumentId,
        field: FieldId,
        version: Version,
    ) -> Result<u64, StoreError> {
        let place = TextPlace {
            collection,
            document: document.clone(),
            field,
        };
        self.rows.deleted_bytes(&place, version)
    }

    fn is_counted(
        &mut self,
        collection: CollectionId,
        document: &DocumentId,
        field: FieldId,
        version: Version,
    ) -> Result<bool, StoreError> {
        let place = TextPlace {
            collection,
            document: document.clone(),
            field,
        };
        self.rows.is_counted(&place, version)
    }
}

/// What was decided about ops that are only named.
pub(super) fn fates(
    snapshot: &mut dyn Snapshot,
    account: &str,
    named: &[OpId],
) -> Result<Vec<OpResult>, StoreError> {
    let mut results = Vec::with_capacity(named.len());
    for id in named {
        results.push(fate(snapshot, account, *id)?);
    }
    Ok(results)
}

/// What was decided about one op, for the account that asks.
pub(super) fn fate(
    snapshot: &mut dyn Snapshot,
    account: &str,
    id: OpId,
) -> Result<OpResult, StoreError> {
    let outcome = match snapshot.record(id)? {
        None => Outcome::Unknown,
        Some(record) if record.account == account => said(record.verdict),
        Some(_) => said(Verdict::Rejected(Refusal::new(
            refusal::ID_TAKEN,
            "this op id belongs to another account",
        ))),
    };
    Ok(OpResult { id, outcome })
}

pub(super) fn said(verdict: Verdict) -> Outcome {
    match verdict {
        Verdict::Accepted(version) => Outcome::Accepted { version },
        Verdict::Rejected(refusal) => Outcome::Rejected { refusal },
    }
}
