//! Undo and redo of one's own edits.
//!
//! Each step is kept as the changes that take it back, by positions that others' edits move along.
//! Taking back is then an edit like any other, so that it works on every device alike; Yrs' own
//! undo writes in the order of a hash set and needs what was deleted to be kept for it.

use super::delta::Delta;

/// How many steps can be taken back.
const MOST_STEPS: usize = 1000;

/// The changes that take one step back, in the order they are to be made.
type Group = Vec<Delta>;

/// The steps that can be taken back and made again.
#[derive(Default)]
pub(super) struct History {
    undo: Vec<Group>,
    redo: Vec<Group>,
    /// Whether the next edit belongs to the last step.
    open: bool,
}

impl History {
    /// The end of a step.
    pub(super) fn close(&mut self) {
        self.open = false;
    }

    /// One's own edit, which `inverses`, the last first, take back.
    pub(super) fn own(&mut self, inverses: Vec<Delta>) {
        self.redo.clear();
        let changes = inverses.into_iter().rev();
        match self.undo.last_mut() {
            Some(group) if self.open => {
                group.splice(0..0, changes);
            }
            _ => self.undo.push(changes.collect()),
        }
        if self.undo.len() > MOST_STEPS {
            self.undo.remove(0);
        }
        self.open = true;
    }

    /// An edit by others: what is to be taken back moves along.
    pub(super) fn others(&mut self, change: &Delta) {
        for stack in [&mut self.undo, &mut self.redo] {
            let mut change = change.clone();
            for own in stack.iter_mut().rev().flatten() {
                if change.is_empty() {
                    break;
                }
                // The others' change as it would be if the step were taken back already.
                let next = change.before(own);
                *own = own.after(&change);
                change = next;
            }
        }
    }

    pub(super) fn undo(&mut self) -> Option<Group> {
        self.open = false;
        self.undo.pop()
    }

    pub(super) fn redo(&mut self) -> Option<Group> {
        self.open = false;
        self.redo.pop()
    }

    /// The last step was taken back, which `inverses` make again.
    pub(super) fn undone(&mut self, inverses: Vec<Delta>) {
        self.redo.push(inverses.into_iter().rev().collect());
    }

    /// The last step was made again, which `inverses` take back.
    pub(super) fn redone(&mut self, inverses: Vec<Delta>) {
        self.undo.push(inverses.into_iter().rev().collect());
    }
}
