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
use super::staged::{Draft, Staged};
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
        if self.history.is_some() || !self.staged.is_empty() {
            return self.apply_watched(update).map(|_| ());
        }
        self.document.apply(update)?;
        self.shown = None;
        Ok(())
    }

    /// Takes an update in and answers what it changes of what is shown. What is staged is then
    /// staged on top of it.
    ///
    /// # Errors
    /// If it does not go on where this text ends.
    pub fn apply_watched(&mut self, update: &Checked<'_>) -> Result<Delta, TextError> {
        let staged = std::mem::take(&mut self.staged);
        let mut shown = self.take_shown()?;
        staged.take_off(&mut shown)?;
        let (change, mut shown) = self.observe(update, shown)?;
        let (staged, change) = staged.put_on(&mut shown, change)?;
        (self.staged, self.shown) = (staged, Some(shown));
        if let Some(history) = &mut self.history {
            history.others(&change);
        }
        Ok(change)
    }

    /// Has Yrs take an update, and tells what that changes of what was shown of it, and what is
    /// shown then.
    fn observe(
        &mut self,
        update: &Checked<'_>,
        mut shown: Shown,
    ) -> Result<(Delta, Shown), TextError> {
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

    /// Makes `changes` in order, as one update; answers nothing if they change nothing.
    ///
    /// # Errors
    /// The first of them that does not fit, with no effect of any.
    pub fn edit(
        &mut self,
        changes: &[TextChange],
        unit: OffsetUnit,
    ) -> Result<Option<Edited>, TextError> {
        self.stage(changes, unit)?;
        self.commit()
    }

    /// Makes one change given by positions in UTF-16 units.
    ///
    /// # Errors
    /// If it does not fit, with no effect.
    pub fn edit_delta(&mut self, change: Delta) -> Result<Option<Edited>, TextError> {
        self.stage_deltas(vec![change])?;
        self.commit()
    }

    /// Makes `changes` in order on what is shown. Others hear of them by the update that
    /// [`TextBody::commit`] makes of all that is staged. Answers the changes by positions.
    ///
    /// # Errors
    /// The first of them that does not fit, with no effect of any.
    pub fn stage(
        &mut self,
        changes: &[TextChange],
        unit: OffsetUnit,
    ) -> Result<Vec<Delta>, TextError> {
        let limits = self.limits;
        let outcome = self.draft(|draft| {
            changes.iter().try_for_each(|change| {
                let delta = plan(change, unit, &draft.shown, &limits.guard)?;
                draft.make(delta, limits.max_bytes)
            })
        })?;
        Ok(self.stage_own(outcome))
    }

    /// The same with changes given by positions in UTF-16 units.
    ///
    /// # Errors
    /// The first of them that does not fit, with no effect of any.
    pub fn stage_deltas(&mut self, changes: Vec<Delta>) -> Result<Vec<Delta>, TextError> {
        let outcome = self.make_deltas(changes)?;
        Ok(self.stage_own(outcome))
    }

    fn stage_own(&mut self, staged: Staged) -> Vec<Delta> {
        let changes = staged.changes.clone();
        if !staged.is_empty()
            && let Some(history) = &mut self.history
        {
            history.own(staged.inverses.clone());
        }
        self.staged.append(staged);
        changes
    }

    /// Tells Yrs of all that is staged, as one update; answers nothing if nothing is.
    ///
    /// # Errors
    /// If the update would be too large or Yrs fails; the text is then [`TextError::Broken`].
    pub fn commit(&mut self) -> Result<Option<Edited>, TextError> {
        let staged = std::mem::take(&mut self.staged);
        // What was typed and taken back again says nothing.
        if staged.actions.is_empty() {
            return Ok(None);
        }
        let (text, limits) = (&self.text, &self.limits.guard);
        let update = self.document.author(limits, |txn| {
            for action in staged.actions.iter() {
                action.perform(text, txn);
            }
        })?;
        Ok(Some(Edited {
            update,
            changes: staged.changes,
        }))
    }

    /// Takes back what is staged and answers it, in order: to be staged on this text opened anew.
    ///
    /// # Errors
    /// If the text is [`TextError::Broken`].
    pub fn unstage(&mut self) -> Result<Vec<Delta>, TextError> {
        let staged = std::mem::take(&mut self.staged);
        let mut shown = self.take_shown()?;
        staged.take_off(&mut shown)?;
        self.shown = Some(shown);
        Ok(staged.changes)
    }

    /// Whether something shows that Yrs has not been told of.
    pub fn is_staged(&self) -> bool {
        !self.staged.is_empty()
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
        self.stage_undo()?;
        self.commit()
    }

    /// Makes the step that was last taken back again.
    ///
    /// # Errors
    /// If the text would grow too long.
    pub fn redo(&mut self) -> Result<Option<Edited>, TextError> {
        self.stage_redo()?;
        self.commit()
    }

    /// Like [`TextBody::undo`], staged; answers the changes by positions, none if there was nothing
    /// to take back.
    ///
    /// # Errors
    /// If the text would grow too long.
    pub fn stage_undo(&mut self) -> Result<Vec<Delta>, TextError> {
        self.travel(History::undo, History::undone)
    }

    /// Like [`TextBody::redo`], staged.
    ///
    /// # Errors
    /// If the text would grow too long.
    pub fn stage_redo(&mut self) -> Result<Vec<Delta>, TextError> {
        self.travel(History::redo, History::redone)
    }

    fn travel(
        &mut self,
        pop: impl Fn(&mut History) -> Option<Vec<Delta>>,
        done: impl Fn(&mut History, Vec<Delta>),
    ) -> Result<Vec<Delta>, TextError> {
        // A step of which others left nothing is passed over.
        while let Some(changes) = self.history.as_mut().and_then(&pop) {
            let staged = self.make_deltas(changes)?;
            if !staged.is_empty() {
                if let Some(history) = &mut self.history {
                    done(history, staged.inverses.clone());
                }
                let changes = staged.changes.clone();
                self.staged.append(staged);
                return Ok(changes);
            }
        }
        Ok(Vec::new())
    }

    fn make_deltas(&mut self, changes: Vec<Delta>) -> Result<Staged, TextError> {
        let limits = self.limits;
        self.draft(|draft| {
            changes.into_iter().try_for_each(|change| {
                draft.make(check_delta(change, &limits.guard)?, limits.max_bytes)
            })
        })
    }

    /// Makes changes on what is shown: all that `work` makes, or none.
    fn draft(
        &mut self,
        work: impl FnOnce(&mut Draft) -> Result<(), TextError>,
    ) -> Result<Staged, TextError> {
        let mut draft = Draft::new(self.take_shown()?);
        let made = work(&mut draft);
        let limits = &self.limits.guard;
        match made.and_then(|()| draft.check(&self.staged, limits)) {
            Ok(()) => {
                let (shown, staged) = draft.into_parts();
                self.shown = Some(shown);
                Ok(staged)
            }
            Err(error) => {
                // What was made in part is easiest read again.
                let mut shown = self.look()?;
                self.staged.repeat(&mut shown)?;
                self.shown = Some(shown);
                Err(error)
            }
        }
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
        // Whatever is staged is in what is shown, which is then there.
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
    /// If the offset is beyond the end or inside a character; while something is staged.
    pub fn position(
        &mut self,
        at: u32,
        unit: OffsetUnit,
        side: Side,
    ) -> Result<Vec<u8>, TextError> {
        let at = self.to_utf16(at, unit)?;
        self.nothing_staged()?;
        self.document
            .read(|txn| sticky::encode(&self.text, txn, at, side))
    }

    /// Where a position is now.
    ///
    /// # Errors
    /// If no position of this text was encoded to these bytes; while something is staged.
    pub fn resolve(&mut self, position: &[u8], unit: OffsetUnit) -> Result<u32, TextError> {
        self.nothing_staged()?;
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

    /// Positions are Yrs' names, which what is staged does not have yet.
    fn nothing_staged(&self) -> Result<(), TextError> {
        match self.staged.is_empty() {
            true => Ok(()),
            false => Err(TextError::Staged),
        }
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
