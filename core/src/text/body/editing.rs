//! One's own edits: staged, told to Yrs, taken back.

use super::super::TextError;
use super::super::action::Actions;
use super::super::delta::Delta;
use super::super::history::History;
use super::super::plan::{OffsetUnit, TextChange, check_delta, plan};
use super::super::staged::{Draft, Staged};
use super::{Edited, TextBody};

impl TextBody {
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
    /// If the update would be too large or Yrs fails; the text is then [`TextError::Broken`], and what
    /// is staged stays so, for this text opened anew.
    pub fn commit(&mut self) -> Result<Option<Edited>, TextError> {
        // What was typed and taken back again says nothing.
        if self.staged.actions.is_empty() {
            self.staged = Staged::default();
            return Ok(None);
        }
        let (text, limits, staged) = (&self.text, &self.limits.guard, &self.staged);
        let update = self.document.author(limits, |txn| {
            for action in staged.actions.iter() {
                action.perform(text, txn);
            }
        })?;
        let staged = std::mem::take(&mut self.staged);
        Ok(Some(Edited {
            update,
            changes: staged.changes,
            inverses: staged.inverses,
        }))
    }

    /// What is staged, in order, each on what the one before left.
    pub fn staged(&self) -> &[Delta] {
        &self.staged.changes
    }

    /// The text as it was before what is staged, and before the last commits, whose `inverses` these
    /// are in order.
    ///
    /// # Errors
    /// If the text is [`TextError::Broken`]; if they are of other commits.
    pub fn text_before(&self, inverses: &[Delta]) -> Result<String, TextError> {
        let mut shown = match &self.shown {
            Some(shown) => shown.clone(),
            None => self.look()?,
        };
        self.staged.take_off(&mut shown)?;
        for inverse in inverses.iter().rev() {
            shown.apply(inverse, &mut Actions::default())?;
        }
        Ok(shown.text())
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

    /// Whether [`TextBody::undo`] has anything to take back.
    pub fn can_undo(&mut self) -> bool {
        self.history.as_mut().is_some_and(History::can_undo)
    }

    /// Whether [`TextBody::redo`] has anything to make again.
    pub fn can_redo(&mut self) -> bool {
        self.history.as_mut().is_some_and(History::can_redo)
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
}
