//! Edits that show already and that Yrs has not been told of.
//!
//! All edits between two commits become one update. Until then nobody else can have built on them,
//! so what others wrote meanwhile is made first and they are moved along: clocks of one writer are
//! taken only where it is known that no other process of the file takes them. Where others wrote at the
//! same place their words come to stand behind: what was committed of one's own stands left of there, and
//! two who type at one place would change off word by word.

use super::TextError;
use super::action::Actions;
use super::delta::Delta;
use super::guard::GuardLimits;
use super::shown::Shown;

/// Edits in order, each on what the one before left.
#[derive(Default)]
pub(super) struct Staged {
    /// The calls that make them in Yrs.
    pub(super) actions: Actions,
    pub(super) changes: Vec<Delta>,
    /// What takes each of them back.
    pub(super) inverses: Vec<Delta>,
}

impl Staged {
    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    pub(super) fn append(&mut self, mut more: Staged) {
        self.actions.append(more.actions);
        self.changes.append(&mut more.changes);
        self.inverses.append(&mut more.inverses);
    }

    /// Takes them off what is shown: what Yrs knows is left.
    pub(super) fn take_off(&self, shown: &mut Shown) -> Result<(), TextError> {
        for inverse in self.inverses.iter().rev() {
            shown.apply(inverse, &mut Actions::default())?;
        }
        Ok(())
    }

    /// Puts them on top of what Yrs knows once more.
    pub(super) fn repeat(&self, shown: &mut Shown) -> Result<(), TextError> {
        for change in &self.changes {
            shown.apply(change, &mut Actions::default())?;
        }
        Ok(())
    }

    /// Puts them on top of what `others` changed meanwhile, which is shown already. Answers what
    /// the others' change is to whoever sees these edits already.
    pub(super) fn put_on(
        self,
        shown: &mut Shown,
        mut others: Delta,
    ) -> Result<(Staged, Delta), TextError> {
        let mut moved = Staged::default();
        for change in self.changes {
            let next = others.under(&change);
            let change = change.over(&others);
            others = next;
            if !change.is_empty() {
                let inverse = shown.apply(&change, &mut moved.actions)?;
                moved.changes.push(change);
                moved.inverses.push(inverse);
            }
        }
        Ok((moved, others))
    }
}

/// Changes being made on what is shown.
pub(super) struct Draft {
    pub(super) shown: Shown,
    staged: Staged,
}

impl Draft {
    pub(super) fn new(shown: Shown) -> Draft {
        Draft {
            shown,
            staged: Staged::default(),
        }
    }

    pub(super) fn into_parts(self) -> (Shown, Staged) {
        (self.shown, self.staged)
    }

    /// Refuses what would be too large for one update together with what is staged.
    pub(super) fn check(&self, staged: &Staged, limits: &GuardLimits) -> Result<(), TextError> {
        staged.actions.check(&self.staged.actions, limits)
    }

    pub(super) fn make(&mut self, change: Delta, max_bytes: usize) -> Result<(), TextError> {
        if change.is_empty() {
            return Ok(());
        }
        let before = self.shown.bytes();
        let inverse = self.shown.apply(&change, &mut self.staged.actions)?;
        // A text that is too long already may shrink.
        if self.shown.bytes() > max_bytes.max(before) {
            return Err(TextError::TooLong);
        }
        self.staged.changes.push(change);
        self.staged.inverses.push(inverse);
        Ok(())
    }
}
