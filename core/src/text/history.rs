//! Undo and redo of one's own edits.
//!
//! Each step is kept as the changes that take it back, by positions that others' edits move along.
//! Taking back is then an edit like any other, so that it works on every device alike; Yrs' own
//! undo writes in the order of a hash set and needs what was deleted to be kept for it.
//!
//! Others' edits wait above the step that they came after until it is asked for: moving every step
//! along with every edit made hearing one cost 4 ms after an hour's typing, four times what Yrs takes.

use super::delta::{Delta, Step as Act, units};

/// How many steps can be taken back.
const MOST_STEPS: usize = 1000;
/// A step that nobody ends, ends by itself after so many changes.
const MOST_CHANGES: usize = 100;
/// What was written before so many edits of others is not taken back any more.
const MOST_WAITING: usize = 5000;

/// The changes that take one step back, in the order they are to be made.
type Group = Vec<Delta>;

/// The steps that can be taken back and made again.
#[derive(Default)]
pub(super) struct History {
    undo: Stack,
    redo: Stack,
    /// Whether the next edit belongs to the last step.
    open: bool,
}

/// Steps, the last on top.
#[derive(Default)]
struct Stack(Vec<Step>);

#[derive(Default)]
struct Step {
    group: Group,
    /// How many changes of one's own it takes back: fewer in the group, where they go on with the same.
    changes: usize,
    /// What others did since, in order, while this step was on top: each on what the one before left,
    /// with this step still made.
    waiting: Vec<Delta>,
}

impl Stack {
    fn push(&mut self, inverses: Vec<Delta>) {
        let mut step = Step::default();
        step.take(inverses);
        self.0.push(step);
        if self.0.len() > MOST_STEPS {
            self.0.remove(0);
        }
    }

    fn pop(&mut self) -> Option<Group> {
        self.top()?;
        self.0.pop().map(|step| step.group)
    }

    /// Whether a step is left of which others left something; those of which they left nothing go.
    fn is_usable(&mut self) -> bool {
        while let Some(step) = self.top() {
            if step.group.iter().any(|change| !change.is_empty()) {
                return true;
            }
            self.0.pop();
        }
        false
    }

    /// The last step, moved along with what others did since.
    fn top(&mut self) -> Option<&mut Step> {
        let (last, below) = self.0.split_last_mut()?;
        let mut below = below.last_mut();
        for mut change in std::mem::take(&mut last.waiting) {
            for own in &mut last.group {
                // The others' change as it would be if the step were taken back already.
                let next = change.before(own);
                *own = own.after(&change);
                change = next;
            }
            if let Some(below) = &mut below
                && !change.is_empty()
            {
                below.waiting.push(change);
            }
        }
        Some(last)
    }

    fn wait(&mut self, change: &Delta) {
        let Some(last) = self.0.last_mut() else {
            return;
        };
        if last.waiting.len() < MOST_WAITING {
            last.waiting.push(change.clone());
        } else {
            self.0.clear();
        }
    }
}

impl Step {
    /// Takes back first what the last of `inverses` takes back.
    fn take(&mut self, inverses: Vec<Delta>) {
        self.changes += inverses.len();
        for inverse in inverses {
            let first = self.group.first_mut();
            match first.and_then(|first| Some((joined(&inverse, first)?, first))) {
                Some((joined, first)) => *first = joined,
                None => self.group.insert(0, inverse),
            }
        }
    }
}

/// One change for two, the second made on what the first leaves: typing goes on letter by letter, and
/// each letter would have to be moved along with what others write.
fn joined(first: &Delta, second: &Delta) -> Option<Delta> {
    let ((at, first), (then, second)) = (at_one_place(first)?, at_one_place(second)?);
    let joined = Delta::new();
    match (first, second) {
        (Act::Delete { len }, Act::Delete { len: more }) if then <= at && at <= then + more => {
            Some(joined.retain(then).delete(len + more))
        }
        (
            Act::Insert { text, attributes },
            Act::Insert {
                text: more,
                attributes: same,
            },
        ) if attributes == same && then == at => Some(
            joined
                .retain(at)
                .insert(format!("{more}{text}"), same.clone()),
        ),
        (
            Act::Insert { text, attributes },
            Act::Insert {
                text: more,
                attributes: same,
            },
        ) if attributes == same && then == at + units(text) => Some(
            joined
                .retain(at)
                .insert(format!("{text}{more}"), same.clone()),
        ),
        _ => None,
    }
}

/// Where a change is made that inserts or deletes at one place alone.
fn at_one_place(change: &Delta) -> Option<(u32, &Act)> {
    match change.steps() {
        [act @ (Act::Insert { .. } | Act::Delete { .. })] => Some((0, act)),
        [
            Act::Retain { len, attributes },
            act @ (Act::Insert { .. } | Act::Delete { .. }),
        ] if attributes.is_empty() => Some((*len, act)),
        _ => None,
    }
}

impl History {
    /// The end of a step.
    pub(super) fn close(&mut self) {
        self.open = false;
    }

    /// One's own edit, which `inverses`, the last first, take back.
    pub(super) fn own(&mut self, inverses: Vec<Delta>) {
        self.redo.0.clear();
        let last = self.open.then(|| self.undo.top()).flatten();
        match last.filter(|step| step.changes < MOST_CHANGES) {
            Some(step) => step.take(inverses),
            None => self.undo.push(inverses),
        }
        self.open = true;
    }

    /// An edit by others: what is to be taken back moves along.
    pub(super) fn others(&mut self, change: &Delta) {
        if !change.is_empty() {
            self.undo.wait(change);
            self.redo.wait(change);
        }
    }

    /// Whether anything can be taken back.
    pub(super) fn can_undo(&mut self) -> bool {
        let steps = self.undo.0.len();
        let usable = self.undo.is_usable();
        // The step that goes on may be gone: what is written next is none of the one below.
        self.open &= self.undo.0.len() == steps;
        usable
    }

    /// Whether anything that was taken back can be made again.
    pub(super) fn can_redo(&mut self) -> bool {
        self.redo.is_usable()
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
        self.redo.push(inverses);
    }

    /// The last step was made again, which `inverses` take back.
    pub(super) fn redone(&mut self, inverses: Vec<Delta>) {
        self.undo.push(inverses);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insert(at: u32, text: &str) -> Delta {
        Delta::new().retain(at).insert(text, Default::default())
    }

    fn delete(at: u32, len: u32) -> Delta {
        Delta::new().retain(at).delete(len)
    }

    #[test]
    fn what_others_did_waits_and_moves_each_step_when_it_is_asked_for() {
        let mut history = History::default();
        history.own(vec![delete(0, 1)]);
        history.others(&insert(0, "xx"));
        history.close();
        history.own(vec![delete(3, 1)]);
        history.others(&insert(0, "y"));
        assert_eq!(history.undo(), Some(vec![delete(4, 1)]));
        assert_eq!(history.undo(), Some(vec![delete(3, 1)]));
        assert_eq!(history.undo(), None);
    }

    #[test]
    fn a_step_of_which_others_left_nothing_does_not_count_and_nothing_is_joined_below_it() {
        let mut history = History::default();
        assert!(!history.can_undo());
        history.own(vec![delete(0, 3)]);
        history.close();
        history.own(vec![delete(3, 2)]);
        assert!(history.can_undo());
        history.others(&delete(3, 2));
        assert!(history.can_undo(), "the first is left");
        history.own(vec![delete(3, 1)]);
        assert_eq!(history.undo(), Some(vec![delete(3, 1)]));
        history.undone(vec![insert(3, "x")]);
        assert!(history.can_undo() && history.can_redo());
        history.others(&delete(0, 3));
        assert!(!history.can_undo() && history.can_redo());
        assert_eq!(
            (history.undo(), history.redo()),
            (None, Some(vec![insert(0, "x")]))
        );
    }

    #[test]
    fn what_goes_on_with_the_same_is_one_change() {
        for (inverses, joined) in [
            // Typed forwards, and in the middle of what was typed.
            (vec![delete(4, 1), delete(5, 2)], vec![delete(4, 3)]),
            (vec![delete(4, 3), delete(5, 1)], vec![delete(4, 4)]),
            // Deleted backwards and forwards.
            (vec![insert(5, "d"), insert(4, "c")], vec![insert(4, "cd")]),
            (vec![insert(5, "d"), insert(5, "e")], vec![insert(5, "de")]),
            (
                vec![delete(4, 1), delete(6, 1)],
                vec![delete(6, 1), delete(4, 1)],
            ),
        ] {
            let mut history = History::default();
            history.own(inverses);
            assert_eq!(history.undo(), Some(joined));
        }
    }

    #[test]
    fn a_step_ends_by_itself_and_old_ones_are_forgotten() {
        let mut history = History::default();
        for n in 0..=MOST_CHANGES as u32 {
            history.own(vec![delete(n, 1)]);
        }
        assert_eq!(history.undo(), Some(vec![delete(MOST_CHANGES as u32, 1)]));
        assert_eq!(history.undo(), Some(vec![delete(0, MOST_CHANGES as u32)]));
        history.own(vec![delete(0, 1)]);
        for _ in 0..=MOST_WAITING {
            history.others(&insert(0, "x"));
        }
        assert_eq!(history.undo(), None);
    }
}
