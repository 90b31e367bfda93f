//! The baseline of everything written: Yrs by itself, as somebody would use it who trusts every update.

use yrs::updates::decoder::Decode;
use yrs::{
    ClientID, Doc, GetString, OffsetKind, Options, ReadTxn, StateVector, Text, TextRef, Transact,
    Update,
};

use crate::Outcome;
use crate::recording::Edit;

/// One text.
pub(crate) struct BareText {
    doc: Doc,
    text: TextRef,
}

impl BareText {
    /// An empty text that `writer` edits.
    pub(crate) fn new(writer: u64) -> BareText {
        let doc = Doc::with_options(Options {
            client_id: ClientID::new(writer),
            guid: "".into(),
            collection_id: None,
            offset_kind: OffsetKind::Utf16,
            skip_gc: false,
            auto_load: false,
            should_load: true,
            cleanup_formatting: false,
        });
        let text = doc.get_or_insert_text("t");
        BareText { doc, text }
    }

    /// A text from its state.
    pub(crate) fn load(writer: u64, state: &[u8]) -> Outcome<BareText> {
        let text = BareText::new(writer);
        text.apply(state)?;
        Ok(text)
    }

    /// Makes edits; returns the update that others are told.
    pub(crate) fn edit(&self, edits: &[Edit]) -> Vec<u8> {
        let mut txn = self.doc.transact_mut();
        for edit in edits {
            if edit.delete > 0 {
                self.text.remove_range(&mut txn, edit.at, edit.delete);
            }
            if !edit.insert.is_empty() {
                self.text.insert(&mut txn, edit.at, &edit.insert);
            }
        }
        txn.encode_update_v1()
    }

    /// Takes an update of somebody else's.
    pub(crate) fn apply(&self, update: &[u8]) -> Outcome<()> {
        let update = Update::decode_v1(update)?;
        Ok(self.doc.transact_mut().apply_update(update)?)
    }

    /// What it says.
    pub(crate) fn content(&self) -> String {
        self.text.get_string(&self.doc.transact())
    }

    /// All of it, compacted.
    pub(crate) fn state(&self) -> Vec<u8> {
        let txn = self.doc.transact();
        txn.encode_state_as_update_v1(&StateVector::default())
    }
}
