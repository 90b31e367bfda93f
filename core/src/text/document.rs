//! One field's Yrs document, the only place that calls into Yrs to build, feed and encode one.
//!
//! A document and its references are owned together and never handed out: Yrs' references are raw
//! pointers. Every change runs where a panic is caught; the document is then given up, since Yrs
//! panics in the middle of what it does.

use std::collections::BTreeMap;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use yrs::updates::decoder::Decode;
use yrs::{
    ClientID, Doc, OffsetKind, Options, ReadTxn, StateVector, Transact, Transaction,
    TransactionMut, Update,
};

use super::guard::{self, Checked, CheckedState, GuardLimits, Refused};
use super::{Mark, TextError, TextKind};
use crate::mutant::{Mutant, planted};

/// The document behind a text field.
pub(super) struct Document {
    doc: Doc,
    kind: TextKind,
    writer: u64,
    broken: bool,
}

impl Document {
    /// An empty document that `writer` edits.
    pub(super) fn new(writer: u64, kind: TextKind) -> Document {
        let doc = Doc::with_options(Options {
            client_id: ClientID::new(writer & super::MAX_WRITER),
            // Never looked at: no document is part of another one.
            guid: Arc::from(""),
            collection_id: None,
            offset_kind: OffsetKind::Utf16,
            skip_gc: false,
            auto_load: false,
            should_load: true,
            // A document that tidies up formats when it hears of others' edits writes by itself.
            cleanup_formatting: false,
        });
        Document {
            doc,
            kind,
            writer,
            broken: false,
        }
    }

    pub(super) fn doc(&self) -> &Doc {
        &self.doc
    }

    pub(super) fn writer(&self) -> u64 {
        self.writer
    }

    /// Takes a whole state into an empty document.
    pub(super) fn load(&mut self, checked: CheckedState<'_>) -> Result<(), TextError> {
        if checked.kind() != self.kind {
            return Err(TextError::WrongText);
        }
        self.change(|txn| {
            feed(txn, checked.state())?;
            let vector = txn.state_vector();
            let at = |mark: &Mark| vector.get(&ClientID::new(mark.writer)) == mark.next;
            // Two authors' blocks may wait for each other in a forged state.
            if checked.marks().iter().all(at) && !txn.has_missing_updates() {
                Ok(())
            } else {
                Err(TextError::Broken)
            }
        })
    }

    /// Takes updates of which each goes on where the document and those before it end, in one
    /// transaction.
    pub(super) fn apply(&mut self, updates: &[Checked<'_>]) -> Result<(), TextError> {
        let mut ends = BTreeMap::new();
        for checked in updates {
            let writer = checked.writer();
            let end = match ends.get(&writer) {
                Some(end) => *end,
                None => self.next(writer)?,
            };
            if checked.kind() != self.kind || checked.from() != end {
                return Err(TextError::WrongText);
            }
            ends.insert(writer, checked.next());
        }
        self.change(|txn| {
            updates
                .iter()
                .try_for_each(|checked| feed(txn, checked.update()))?;
            // Clocks as told and nothing parked, or something was taken in part.
            let vector = txn.state_vector();
            let mut ends = ends.iter();
            let whole = ends.all(|(writer, end)| vector.get(&ClientID::new(*writer)) == *end);
            if whole && !txn.has_missing_updates() {
                Ok(())
            } else {
                Err(TextError::Broken)
            }
        })
    }

    /// The first free clock of `writer`.
    pub(super) fn next(&self, writer: u64) -> Result<u32, TextError> {
        self.read(|txn| txn.state_vector().get(&ClientID::new(writer)))
    }

    /// The whole content in as few bytes as Yrs can.
    pub(super) fn encode(&self) -> Result<Vec<u8>, TextError> {
        self.read(|txn| txn.encode_state_as_update_v1(&StateVector::default()))
    }

    /// Edits in one transaction; answers the update that says the same to others.
    ///
    /// An update that would be refused everywhere is not answered; the document, which has made it
    /// already, is given up.
    pub(super) fn author(
        &mut self,
        limits: &GuardLimits,
        edit: impl FnOnce(&mut TransactionMut<'_>),
    ) -> Result<Vec<u8>, TextError> {
        let (writer, kind) = (self.writer, self.kind);
        self.change(|txn| {
            edit(txn);
            let update = txn.encode_update_v1();
            match guard::check(&update, writer, kind, &[], limits) {
                Err(Refused::Invalid(_)) => Err(TextError::TooLarge),
                // Whether it fits is asked where the marks are known.
                Ok(_) | Err(Refused::Rebase(_)) => Ok(update),
            }
        })
    }

    /// Looks at the document.
    pub(super) fn read<T>(&self, look: impl FnOnce(&Transaction<'_>) -> T) -> Result<T, TextError> {
        if self.broken {
            return Err(TextError::Broken);
        }
        Ok(look(&self.doc.transact()))
    }

    fn change<T>(
        &mut self,
        change: impl FnOnce(&mut TransactionMut<'_>) -> Result<T, TextError>,
    ) -> Result<T, TextError> {
        if self.broken {
            return Err(TextError::Broken);
        }
        let doc = &self.doc;
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            // A transaction commits when it is dropped, unwinding or not, and a second panic
            // there would end the process.
            let mut txn = ManuallyDrop::new(doc.transact_mut());
            let outcome = change(&mut txn);
            drop(ManuallyDrop::into_inner(txn));
            outcome
        }));
        let outcome = outcome.unwrap_or_else(|_| {
            // Its parts may point at what is gone: nothing of it is touched again.
            std::mem::forget(doc.clone());
            Err(TextError::Broken)
        });
        self.broken |= outcome.is_err();
        outcome
    }
}

fn feed(txn: &mut TransactionMut<'_>, bytes: &[u8]) -> Result<(), TextError> {
    // An update without blocks only takes out.
    if planted(Mutant::RemovalNotTakenIn) && bytes.first() == Some(&0) {
        return Ok(());
    }
    let update = Update::decode_v1(bytes).map_err(|_| TextError::Broken)?;
    txn.apply_update(update).map_err(|_| TextError::Broken)
}
