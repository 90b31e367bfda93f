//! An open rich text: its Yrs document together with what it shows.

use std::sync::{Arc, Mutex};

use yrs::types::text::{Diff, YChange};
use yrs::{GetString, Observable, Out, Text, TextRef, Transaction};

use super::action::Actions;
use super::delta::Delta;
use super::document::Document;
use super::guard::{Checked, CheckedState, GuardLimits, Unit};
use super::history::History;
use super::plan::{OffsetUnit, TextChange, check_delta, offset, plan};
use super::renumber::Neighbours;
use super::shown::Shown;
use super::sticky::{self, Side};
use super::{TextError, TextKind, value, watch};

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
        if self.history.is_some() {
            return self.apply_watched(update).map(|_| ());
        }
        self.document.apply(update)?;
        self.shown = None;
        Ok(())
    }

    /// Takes an update in and answers what it changes of what is shown.
    ///
    /// # Errors
    /// If it does not go on where this text ends.
    pub fn apply_watched(&mut self, update: &Checked<'_>) -> Result<Delta, TextError> {
        let mut shown = match self.shown.take() {
            Some(shown) => shown,
            None => self.look()?,
        };
        let steps = Arc::new(Mutex::new(Vec::new()));
        let seen = steps.clone();
        self.text.observe("shown", move |txn, event| {
            if let Ok(mut seen) = seen.lock() {
                *seen = event.delta(txn).iter().map(watch::bone).collect();
            }
        });
        let applied = self.document.apply(update);
        self.text.unobserve("shown");
        applied?;
        let steps = match steps.lock() {
            Ok(mut steps) => std::mem::take(&mut *steps),
            Err(_) => return Err(TextError::Broken),
        };
        let formatted = shown.is_formatted() || steps.iter().any(|step| step.formats);
        let change = if formatted || shown.has_pairs() {
            let after = self.look()?;
            let change = watch::compare(&shown, &after, &steps);
            shown = after;
            change
        } else {
            let change = watch::plain(steps);
            shown.apply(&change, &mut Actions::default())?;
            change
        };
        self.shown = Some(shown);
        if let Some(history) = &mut self.history {
            history.others(&change);
        }
        Ok(change)
    }

    /// Makes `changes` in order, as one update; answers nothing if they change nothing.
    ///
    /// # Errors
    /// The first of them that does not fit, with no effect of any.
    pub fn edit(
        &mut self,
        changes: &[TextChange],
        unit: OffsetUnit,
    ) -> Result<Option<Edited>, TextError> {
        let mut draft = self.draft()?;
        let outcome = changes.iter().try_for_each(|change| {
            let delta = plan(change, unit, &draft.shown, &self.limits.guard)?;
            draft.make(delta, &self.limits)
        });
        let undone = self.finish(draft, outcome)?;
        Ok(undone.map(|(edited, inverses)| {
            if let Some(history) = &mut self.history {
                history.own(inverses);
            }
            edited
        }))
    }

    /// Makes one change given by positions in UTF-16 units.
    ///
    /// # Errors
    /// If it does not fit, with no effect.
    pub fn edit_delta(&mut self, change: Delta) -> Result<Option<Edited>, TextError> {
        let done = self.write(vec![change])?;
        Ok(done.map(|(edited, inverses)| {
            if let Some(history) = &mut self.history {
                history.own(inverses);
            }
            edited
        }))
    }

    /// The end of what one undo takes back; what is edited from here on is another step.
    pub fn close_undo_step(&mut self) {
        if let Some(history) = &mut self.history {
            history.close();
        }
    }

    /// Takes the last step of one's own edits back, whatever others wrote since.
    ///
    /// # Errors
    /// If the text would grow too long.
    pub fn undo(&mut self) -> Result<Option<Edited>, TextError> {
        self.travel(History::undo, History::undone)
    }

    /// Makes the step that was last taken back again.
    ///
    /// # Errors
    /// If the text would grow too long.
    pub fn redo(&mut self) -> Result<Option<Edited>, TextError> {
        self.travel(History::redo, History::redone)
    }

    fn travel(
        &mut self,
        pop: impl Fn(&mut History) -> Option<Vec<Delta>>,
        done: impl Fn(&mut History, Vec<Delta>),
    ) -> Result<Option<Edited>, TextError> {
        // A step of which others left nothing is passed over.
        while let Some(changes) = self.history.as_mut().and_then(&pop) {
            if let Some((edited, inverses)) = self.write(changes)? {
                if let Some(history) = &mut self.history {
                    done(history, inverses);
                }
                return Ok(Some(edited));
            }
        }
        Ok(None)
    }

    fn write(&mut self, changes: Vec<Delta>) -> Result<Option<(Edited, Vec<Delta>)>, TextError> {
        let mut draft = self.draft()?;
        let limits = self.limits;
        let outcome = changes
            .into_iter()
            .try_for_each(|change| draft.make(check_delta(change, &limits.guard)?, &limits));
        self.finish(draft, outcome)
    }

    fn draft(&mut self) -> Result<Draft, TextError> {
        Ok(Draft {
            shown: match self.shown.take() {
                Some(shown) => shown,
                None => self.look()?,
            },
            actions: Actions::default(),
            changes: Vec::new(),
            inverses: Vec::new(),
        })
    }

    /// Makes in Yrs what has been made in the draft, or takes it back there.
    fn finish(
        &mut self,
        draft: Draft,
        outcome: Result<(), TextError>,
    ) -> Result<Option<(Edited, Vec<Delta>)>, TextError> {
        let outcome = outcome.and_then(|()| draft.actions.check(&self.limits.guard));
        if let Err(error) = outcome {
            // What was made in part is easiest read again.
            self.shown = None;
            return Err(error);
        }
        self.shown = Some(draft.shown);
        if draft.actions.is_empty() {
            return Ok(None);
        }
        let (text, limits) = (&self.text, &self.limits.guard);
        let update = self.document.author(limits, |txn| {
            for action in draft.actions.iter() {
                action.perform(text, txn);
            }
        })?;
        let edited = Edited {
            update,
            changes: draft.changes,
        };
        Ok(Some((edited, draft.inverses)))
    }

    /// How many UTF-16 units the text has.
    ///
    /// # Errors
    /// If the text is [`TextError::Broken`].
    pub fn units(&mut self) -> Result<u32, TextError> {
        self.shown().map(Shown::units)
    }

    /// The text without formats.
    ///
    /// # Errors
    /// If the text is [`TextError::Broken`].
    pub fn text(&self) -> Result<String, TextError> {
        match &self.shown {
            Some(shown) => Ok(shown.text()),
            None => self.document.read(|txn| self.text.get_string(txn)),
        }
    }

    /// The text with its formats, as the delta that makes it out of nothing.
    ///
    /// # Errors
    /// If the text is [`TextError::Broken`].
    pub fn content(&self) -> Result<Delta, TextError> {
        match &self.shown {
            Some(shown) => Ok(shown.delta()),
            None => self.look().map(|shown| shown.delta()),
        }
    }

    /// The whole Yrs state, compacted.
    ///
    /// # Errors
    /// If the text is [`TextError::Broken`].
    pub fn state(&self) -> Result<Vec<u8>, TextError> {
        self.document.encode()
    }

    /// The offset in UTF-16 units of one that counts `unit`.
    ///
    /// # Errors
    /// If it is beyond the end or inside a character.
    pub fn to_utf16(&mut self, at: u32, unit: OffsetUnit) -> Result<u32, TextError> {
        let shown = self.shown()?;
        offset(shown, at, unit)
    }

    /// The offset in `unit` of one that counts UTF-16 units.
    ///
    /// # Errors
    /// If it is beyond the end or inside a character.
    pub fn from_utf16(&mut self, at: u32, unit: OffsetUnit) -> Result<u32, TextError> {
        let shown = self.shown()?;
        match unit {
            OffsetUnit::Utf16 => shown.check(at).map(|()| at),
            OffsetUnit::Utf8 => {
                let byte = shown.byte_of_unit(at)?;
                u32::try_from(byte).map_err(|_| TextError::OutOfRange)
            }
        }
    }

    /// A position that stays with the character on its `side`, whatever is written around it.
    ///
    /// # Errors
    /// If the offset is beyond the end or inside a character.
    pub fn position(
        &mut self,
        at: u32,
        unit: OffsetUnit,
        side: Side,
    ) -> Result<Vec<u8>, TextError> {
        let at = self.to_utf16(at, unit)?;
        self.document
            .read(|txn| sticky::encode(&self.text, txn, at, side))
    }

    /// Where a position is now.
    ///
    /// # Errors
    /// If no position of this text was encoded to these bytes.
    pub fn resolve(&mut self, position: &[u8], unit: OffsetUnit) -> Result<u32, TextError> {
        let text = &self.text;
        let mut at = self
            .document
            .read(|txn| sticky::resolve(text, txn, position))??;
        // Bytes from outside may name half a character.
        if self.shown()?.check(at) == Err(TextError::InsideCharacter) {
            at -= 1;
        }
        self.from_utf16(at, unit)
    }

    fn shown(&mut self) -> Result<&Shown, TextError> {
        if self.shown.is_none() {
            self.shown = Some(self.look()?);
        }
        self.shown.as_ref().ok_or(TextError::Broken)
    }

    /// Reads what is shown out of Yrs.
    fn look(&self) -> Result<Shown, TextError> {
        let pieces: Vec<Diff<YChange>> = self
            .document
            .read(|txn| self.text.diff(txn, YChange::identity))?;
        let mut shown = Shown::default();
        for piece in &pieces {
            if let Out::Any(yrs::Any::String(text)) = &piece.insert {
                let attributes = value::from_attrs(piece.attributes.as_deref());
                shown.push(text, &Arc::new(attributes));
            }
        }
        Ok(shown)
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

/// Changes that have been made on what is shown and are to be made in Yrs.
struct Draft {
    shown: Shown,
    actions: Actions,
    changes: Vec<Delta>,
    inverses: Vec<Delta>,
}

impl Draft {
    fn make(&mut self, change: Delta, limits: &BodyLimits) -> Result<(), TextError> {
        if change.is_empty() {
            return Ok(());
        }
        let before = self.shown.bytes();
        let inverse = self.shown.apply(&change, &mut self.actions)?;
        // A text that is too long already may shrink.
        if self.shown.bytes() > limits.max_bytes.max(before) {
            return Err(TextError::TooLong);
        }
        self.changes.push(change);
        self.inverses.push(inverse);
        Ok(())
    }
}
