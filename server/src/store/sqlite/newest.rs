//! The greatest keys of a view: what lies beyond them need not be looked for.
//!
//! Ids are mostly drawn from clocks, so a batch of new ops and documents lies beyond all that is
//! stored, and each look-up saved is a seventh of the time an op takes.

use driftline_core::id::{CollectionId, OpId};

use crate::store::StoreError;

/// What is known of the greatest keys so far.
#[derive(Default)]
pub(super) struct Newest {
    record: Option<OpId>,
    documents: Vec<(CollectionId, String)>,
}

impl Newest {
    /// Whether `op` is beyond every recorded one; `look` finds the greatest.
    pub(super) fn is_beyond_records(
        &mut self,
        op: OpId,
        look: impl FnOnce() -> Result<OpId, StoreError>,
    ) -> Result<bool, StoreError> {
        let newest = match self.record {
            Some(newest) => newest,
            None => *self.record.insert(look()?),
        };
        Ok(op > newest)
    }

    /// Whether `id` is beyond every document of the collection; `look` finds the greatest.
    pub(super) fn is_beyond_documents(
        &mut self,
        collection: CollectionId,
        id: &str,
        look: impl FnOnce() -> Result<String, StoreError>,
    ) -> Result<bool, StoreError> {
        if let Some((_, newest)) = self.documents.iter().find(|(c, _)| *c == collection) {
            return Ok(id > newest.as_str());
        }
        let newest = look()?;
        let beyond = id > newest.as_str();
        self.documents.push((collection, newest));
        Ok(beyond)
    }

    /// A record was stored.
    pub(super) fn record_stored(&mut self, op: OpId) {
        self.record = self.record.map(|newest| newest.max(op));
    }

    /// A document was stored.
    pub(super) fn document_stored(&mut self, collection: CollectionId, id: &str) {
        let known = self.documents.iter_mut().find(|(c, _)| *c == collection);
        if let Some((_, newest)) = known
            && id > newest.as_str()
        {
            id.clone_into(newest);
        }
    }

    /// Something was undone.
    pub(super) fn forget(&mut self) {
        *self = Newest::default();
    }
}
