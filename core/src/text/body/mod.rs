//! An open rich text: its Yrs document together with what it shows.

mod editing;
mod reading;

use std::slice;
use std::sync::{Arc, Mutex};

use yrs::{Observable, Text, TextRef, Transaction};

use super::action::Actions;
use super::delta::Delta;
use super::document::Document;
use super::guard::{Checked, CheckedState, GuardLimits, Unit};
use super::history::History;
use super::renumber::Neighbours;
use super::shown::Shown;
use super::staged::Staged;
use super::sticky;
use super::{TextError, TextKind, watch};

/// What a text may measure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BodyLimits {
    /// The longest text, in bytes of UTF-8. Holds for what is edited here; texts that grew together
    /// from several devices may be longer.
    pub max_bytes: usize,
    /// What an update must keep to get through the guard everywhere.
    pub guard: GuardLimits,
}

impl Default for BodyLimits {
    fn default() -> BodyLimits {
        BodyLimits {
            max_bytes: 1 << 20,
            guard: GuardLimits::default(),
        }
    }
}

/// What an edit did.
#[derive(Clone, PartialEq, Debug)]
pub struct Edited {
    /// The update that says it to others: the changes of one Yrs transaction.
    pub update: Vec<u8>,
    /// The changes in the order they were made, each on what the one before left.
    pub changes: Vec<Delta>,
    /// What takes each of them back.
    pub inverses: Vec<Delta>,
}

/// An open rich text.
///
/// Edits are checked before Yrs is called, since Yrs panics on what does not fit. An edit that is
/// refused changes nothing.
pub struct TextBody {
    document: Document,
    text: TextRef,
    limits: BodyLimits,
    /// Built when it is first needed: folding updates on a server never looks at it.
    shown: Option<Shown>,
    history: Option<History>,
    /// Edits that show and that Yrs has not been told of.
    staged: Staged,
}

impl TextBody {
    /// An empty text that `writer` edits.
    pub fn new(writer: u64, limits: BodyLimits) -> TextBody {
        let document = Document::new(writer, TextKind::RichText);
        let text = document.doc().get_or_insert_text(TextKind::RichText.root());
        TextBody {
            document,
            text,
            limits,
            shown: None,
            history: None,
            staged: Staged::default(),
        }
    }

    /// A text with the content of `state`.
    ///
    /// # Errors
    /// If the state is of another kind of field, or Yrs does not take it.
    pub fn load(
        writer: u64,
        state: CheckedState<'_>,
        limits: BodyLimits,
    ) -> Result<TextBody, TextError> {
        let mut body = TextBody::new(writer, limits);
        body.document.load(state)?;
        Ok(body)
    }

    /// Keeps from now on what undo needs.
    pub fn keep_history(&mut self) {
        self.history.get_or_insert_default();
    }

    /// Who edits.
    pub fn writer(&self) -> u64 {
        self.document.writer()
    }

    /// The first free clock of `writer` in this text.
    ///
    /// # Errors
    /// If the text is [`TextError::Broken`].
    pub fn next(&self, writer: u64) -> Result<u32, TextError> {
        self.document.next(writer)
    }

    /// Takes an update in, without asking what it changes: for loading and folding.
    ///
    /// # Errors
    /// If it does not go on where this text ends.
    pub fn apply(&mut self, update: &Checked<'_>) -> Result<(), TextError> {
        let update = slice::from_ref(update);
        if self.history.is_some() || !self.staged.is_empty() {
            return self.apply_watched(update).map(|_| ());
        }
        self.document.apply(update)?;
        self.shown = None;
        Ok(())
    }

    /// Takes updates in, in order, and answers what they change together of what is shown. What is
    /// staged is then staged on top of them. To hear of many at once costs what hearing of one does:
    /// Yrs goes through the whole text to say what has changed.
    ///
    /// # Errors
    /// If one does not go on where this text and those before it end.
    pub fn apply_watched(&mut self, updates: &[Checked<'_>]) -> Result<Delta, TextError> {
        if updates.is_empty() {
            return Ok(Delta::new());
        }
        let staged = std::mem::take(&mut self.staged);
        let mut shown = self.take_shown()?;
        staged.take_off(&mut shown)?;
        let (change, mut shown) = self.observe(updates, shown)?;
        let (staged, change) = staged.put_on(&mut shown, change)?;
        (self.staged, self.shown) = (staged, Some(shown));
        if let Some(history) = &mut self.history {
            history.others(&change);
        }
        Ok(change)
    }

    /// Has Yrs take updates, and tells what that changes of what was shown of it, and what is shown
    /// then.
    fn observe(
        &mut self,
        updates: &[Checked<'_>],
        mut shown: Shown,
    ) -> Result<(Delta, Shown), TextError> {
        let steps = Arc::new(Mutex::new(Vec::new()));
        let seen = steps.clone();
        self.text.observe("shown", move |txn, event| {
            if let Ok(mut seen) = seen.lock() {
                *seen = event.delta(txn).iter().map(watch::bone).collect();
            }
        });
        let applied = self.document.apply(updates);
        self.text.unobserve("shown");
        applied?;
        let steps = match steps.lock() {
            Ok(mut steps) => std::mem::take(&mut *steps),
            Err(_) => return Err(TextError::Broken),
        };
        let formatted = shown.is_formatted() || steps.iter().any(|step| step.formats);
        if formatted || shown.has_pairs() {
            let after = self.look()?;
            return Ok((watch::compare(&shown, &after, &steps), after));
        }
        let change = watch::plain(steps);
        shown.apply(&change, &mut Actions::default())?;
        Ok((change, shown))
    }

    fn take_shown(&mut self) -> Result<Shown, TextError> {
        match self.shown.take() {
            Some(shown) => Ok(shown),
            None => self.look(),
        }
    }
}

impl Neighbours for TextBody {
    fn left_of(&self, unit: Unit) -> Option<Unit> {
        let left = self
            .document
            .read(|txn| sticky::left_of(&self.text, txn, unit));
        left.ok().flatten()
    }

    fn last(&self) -> Option<Unit> {
        let last = |txn: &Transaction<'_>| {
            let end = self.text.len(txn);
            sticky::unit_before(&self.text, txn, end)
        };
        self.document.read(last).ok().flatten()
    }
}
