//! What is stored, as decisions read it and as devices are told.

use driftline_core::id::{CollectionId, DocumentId, FieldId, OpId, Version};
use driftline_core::merge::{self, DocumentState, History, Linked, Record, Verdict};
use driftline_core::op::{Refusal, refusal};
use driftline_core::protocol::{OpResult, Outcome};

use crate::store::{Snapshot, StoreError, TextPlace};

/// The stored rows as a decision reads them.
pub(super) struct Rows<'a>(pub(super) &'a mut (dyn Snapshot + 'a));

impl History for Rows<'_> {
    type Error = StoreError;

    fn linked(
        &mut self,
        op: OpId,
        collection: CollectionId,
        document: &DocumentId,
    ) -> Result<Option<Linked>, StoreError> {
        Ok(self
            .0
            .record(op)?
            .map(|record| record.linked(op, collection, document)))
    }
}

impl merge::Workspace for Rows<'_> {
    fn document(
        &mut self,
        collection: CollectionId,
        document: &DocumentId,
    ) -> Result<Option<DocumentState>, StoreError> {
        self.0.document(collection, document)
    }

    fn record(&mut self, op: OpId) -> Result<Option<Record>, StoreError> {
        self.0.record(op)
    }

    fn writer(&mut self, writer: u64) -> Result<Option<String>, StoreError> {
        self.0.writer(writer)
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
        self.0.deleted_bytes(&place, version)
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
        self.0.is_counted(&place, version)
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
