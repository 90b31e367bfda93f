//! What was decided about an op.

use super::record::{Record, Verdict};
use super::{Difference, DocumentState};
use crate::id::{CollectionId, DocumentId, OpId};
use crate::ledger::Lost;
use crate::mutant::{Mutant, planted};
use crate::op::{FieldMap, Update};
use crate::protocol::DocumentResult;
use crate::time::Stamp;

/// What to answer, and what to store before answering.
#[derive(Clone, Debug)]
pub struct Decision {
    /// The answer; `None` where nothing is decided. Text of the op does not fit what its field
    /// contains, and its author writes it again; or the op is put off.
    pub verdict: Option<Verdict>,
    /// Whether the op is to be sent again as it is: it may be too large for a text only because what
    /// was deleted from that still counts.
    pub put_off: bool,
    /// Records to write, the op's own first; empty if it had been answered before.
    pub records: Vec<(OpId, Record)>,
    /// The new version, if there is one.
    pub accepted: Option<Accepted>,
}

/// A new version of the workspace.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// Every id the version answers to: the op's, those it covers, and a retry's first id.
    pub names: Vec<OpId>,
    /// The documents it changed.
    pub documents: Vec<Touched>,
    /// What was lost.
    pub lost: Vec<(CollectionId, DocumentId, Lost)>,
    /// Set where the op did exactly what it says: its effective stamp.
    pub echo: Option<Stamp>,
    /// Writers that wrote for the first time, and so belong to the op's account from now on.
    pub new_writers: Vec<u64>,
}

/// One document changed by a version.
#[derive(Clone, Debug)]
pub struct Touched {
    /// The collection.
    pub collection: CollectionId,
    /// The document.
    pub document: DocumentId,
    /// The state before.
    pub before: Option<DocumentState>,
    /// The state after.
    pub after: DocumentState,
    /// Whether results carry all of it.
    pub whole: bool,
    /// The updates that texts and lists in it took.
    pub texts: FieldMap<Update>,
}

impl Touched {
    /// What a version's entry says of it.
    pub fn result(&self) -> DocumentResult {
        DocumentResult {
            collection: self.collection,
            document: self.document.clone(),
            whole: self.is_told_whole(),
            state: self.part(),
            texts: self.texts.clone(),
        }
    }

    /// Whether results carry all of the document.
    pub fn is_told_whole(&self) -> bool {
        self.whole && !planted(Mutant::WholeForgotten) || self.before.is_none()
    }

    /// Forgets edits of a text that the same op then replaced, by deleting and inserting anew.
    pub(super) fn forget_other_texts(&mut self, op: OpId) {
        let after = &self.after;
        let stands = |field| after.texts.get(field).is_some_and(|text| text.last == op);
        self.texts.retain(|field, _| stands(field));
    }

    /// What a page carries of it.
    pub fn part(&self) -> DocumentState {
        match &self.before {
            Some(before) if !self.whole => Difference::between(before, &self.after).part,
            _ => self.after.clone(),
        }
    }
}

impl Decision {
    /// One that leaves nothing behind: the op was answered before, or is not decided.
    pub(super) fn without_record(verdict: Option<Verdict>) -> Decision {
        Decision {
            verdict,
            put_off: false,
            records: Vec::new(),
            accepted: None,
        }
    }
}
