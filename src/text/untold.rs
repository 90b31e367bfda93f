//! What others did to an open text and its editor has not been told yet.
//!
//! Storing a frame takes in what others wrote, at a moment of its own choosing. The editor goes on by what
//! it was told: its offsets are moved over what it was not, and what it is told later is moved over its
//! own edits.

use driftline_core::text::{Delta, Step, TextChange, TextError};

use super::failed;
use crate::error::Result;

/// Changes that wait to be told, in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Untold {
    changes: Vec<Delta>,
    /// Whether the text is to be read anew instead.
    anew: bool,
}

impl Untold {
    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty() && !self.anew
    }

    pub(super) fn is_anew(&self) -> bool {
        self.anew
    }

    pub(super) fn add(&mut self, changes: Vec<Delta>) {
        self.changes.extend(changes);
    }

    /// The text is another; `change` tells places in it, not its formats.
    pub(super) fn begin_anew(&mut self, change: Delta) {
        self.changes.push(change);
        self.anew = true;
    }

    pub(super) fn into_edits(self) -> Vec<Delta> {
        self.changes
    }

    /// Where a place of the editor's is now.
    pub(super) fn place(&self, at: u32) -> u32 {
        self.changes.iter().fold(at, moved)
    }

    /// Where the editor takes a place of now to be.
    pub(super) fn place_before(&self, at: u32) -> u32 {
        self.changes.iter().rev().fold(at, moved_back)
    }

    /// How long the editor takes a text to be that has `units` now.
    pub(super) fn units_before(&self, units: u32) -> u32 {
        let (mut more, mut less) = (0u32, 0u32);
        for step in self.changes.iter().flat_map(Delta::steps) {
            match step {
                Step::Insert { text, .. } => more += utf16(text),
                Step::Delete { len } => less += len,
                Step::Retain { .. } => {}
            }
        }
        (units + less).saturating_sub(more)
    }

    /// Moves the editor's edits, each by offsets in what the one before left of a text of `end` units,
    /// over what is untold, and that over them. Answers them as the editor sees them, and as they are to
    /// be made. At one place the editor's words stand first.
    pub(super) fn pass(
        &mut self,
        edits: &[TextChange],
        mut end: u32,
    ) -> std::result::Result<(Vec<Delta>, Vec<TextChange>), TextError> {
        let (mut seen, mut made) = (Vec::new(), Vec::new());
        for edit in edits {
            let own = delta(edit, &mut end)?;
            let mut passed = own.clone();
            for change in &mut self.changes {
                let later = change.after(&passed);
                passed = passed.before(change);
                *change = later;
            }
            made.extend(changes(&passed, edit));
            seen.push(own);
        }
        Ok((seen, made))
    }
}

/// An edit as a change of a text of `end` units, which are counted on.
fn delta(edit: &TextChange, end: &mut u32) -> std::result::Result<Delta, TextError> {
    let fits = |at: u32, len: u32| match at.checked_add(len).is_some_and(|to| to <= *end) {
        true => Ok(Delta::new().retain(at)),
        false => Err(TextError::OutOfRange),
    };
    match edit {
        TextChange::Insert {
            at,
            text,
            attributes,
        } => {
            let own = fits(*at, 0)?.insert(text, attributes.clone().unwrap_or_default());
            *end += utf16(text);
            Ok(own)
        }
        TextChange::Delete { at, len } => {
            let own = fits(*at, *len)?.delete(*len);
            *end -= len;
            Ok(own)
        }
        TextChange::Format {
            at,
            len,
            attributes,
        } => Ok(fits(*at, *len)?.format(*len, attributes.clone())),
    }
}

/// What became of `edit`, piece by piece.
fn changes(passed: &Delta, edit: &TextChange) -> Vec<TextChange> {
    let mut at = 0;
    let mut pieces = Vec::new();
    for step in passed.steps() {
        match (step, edit) {
            (Step::Insert { text, .. }, TextChange::Insert { attributes, .. }) => {
                // Its formats may be those of what stands left of it.
                pieces.push(TextChange::Insert {
                    at,
                    text: text.clone(),
                    attributes: attributes.clone(),
                });
                at += utf16(text);
            }
            (Step::Delete { len }, _) => pieces.push(TextChange::Delete { at, len: *len }),
            (Step::Retain { len, attributes }, _) => {
                if !attributes.is_empty() {
                    let attributes = attributes.clone();
                    pieces.push(TextChange::Format {
                        at,
                        len: *len,
                        attributes,
                    });
                }
                at += len;
            }
            (Step::Insert { .. }, _) => {}
        }
    }
    pieces
}

/// Refuses an offset beyond the end.
pub(super) fn check_within(at: u32, end: u32) -> Result<()> {
    match at <= end {
        true => Ok(()),
        false => Err(failed(TextError::OutOfRange)),
    }
}

/// Where a place is after a change: before what is put right there.
pub(super) fn moved(place: u32, change: &Delta) -> u32 {
    let (mut old, mut new) = (0u32, 0u32);
    for step in change.steps() {
        match step {
            Step::Retain { len, .. } => {
                if old + len >= place {
                    break;
                }
                (old, new) = (old + len, new + len);
            }
            Step::Insert { .. } if old >= place => break,
            Step::Insert { text, .. } => new += utf16(text),
            Step::Delete { len } => {
                if old + len >= place {
                    return new;
                }
                old += len;
            }
        }
    }
    new + place.saturating_sub(old)
}

/// Where a place is after a change: behind what is put right there. So a selection begins where it did.
pub(super) fn moved_past(place: u32, change: &Delta) -> u32 {
    let (mut old, mut new) = (0u32, 0u32);
    for step in change.steps() {
        match step {
            Step::Retain { len, .. } => {
                if old + len > place {
                    break;
                }
                (old, new) = (old + len, new + len);
            }
            Step::Insert { text, .. } => new += utf16(text),
            Step::Delete { len } => {
                if old + len > place {
                    return new;
                }
                old += len;
            }
        }
    }
    new + place.saturating_sub(old)
}

/// Where a place was before a change.
fn moved_back(place: u32, change: &Delta) -> u32 {
    let (mut old, mut new) = (0u32, 0u32);
    for step in change.steps() {
        match step {
            Step::Retain { len, .. } => {
                if new + len >= place {
                    break;
                }
                (old, new) = (old + len, new + len);
            }
            Step::Insert { text, .. } => {
                new += utf16(text);
                if new >= place {
                    return old;
                }
            }
            Step::Delete { len } => old += len,
        }
    }
    old + place.saturating_sub(new)
}

/// A change that makes one text of another: what they begin and end with stays.
pub(super) fn difference(before: &str, after: &str) -> Delta {
    let (old, new): (Vec<char>, Vec<char>) = (before.chars().collect(), after.chars().collect());
    let same = |(a, b): &(&char, &char)| a == b;
    let start = old.iter().zip(&new).take_while(same).count();
    let most = old.len().min(new.len()) - start;
    let ends = old.iter().rev().zip(new.iter().rev());
    let end = ends.take(most).take_while(same).count();
    let units = |chars: &[char]| chars.iter().map(|c| c.len_utf16() as u32).sum();
    let part = |all: &[char]| all.get(start..all.len() - end).unwrap_or_default().to_vec();
    Delta::new()
        .retain(units(old.get(..start).unwrap_or_default()))
        .delete(units(&part(&old)))
        .insert(String::from_iter(part(&new)), Default::default())
}

/// Whether a change is one.
pub(super) fn changes_something(change: &Delta) -> bool {
    let stays =
        |step: &Step| matches!(step, Step::Retain { attributes, .. } if attributes.is_empty());
    !change.steps().iter().all(stays)
}

fn utf16(text: &str) -> u32 {
    text.encode_utf16().count() as u32
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn insert(at: u32, text: &str) -> TextChange {
        TextChange::Insert {
            at,
            text: text.to_owned(),
            attributes: None,
        }
    }

    fn put(at: u32, text: &str) -> Delta {
        Delta::new().retain(at).insert(text, Default::default())
    }

    #[test]
    fn edits_are_moved_over_what_is_untold_and_that_over_them() {
        // The editor shows "snow wind"; it is "deep snow & wind" by now.
        let mut untold = Untold::default();
        untold.add(vec![put(0, "deep "), put(10, "& ")]);
        assert_eq!(untold.units_before(16), 9);
        for (before, now) in [(0, 0), (2, 7), (5, 10), (9, 16)] {
            assert_eq!(untold.place(before), now);
            assert_eq!(untold.place_before(now), before);
        }
        let edits = [
            TextChange::Delete { at: 5, len: 4 },
            insert(5, "fog"),
            insert(8, "!"),
        ];
        let (seen, made) = untold.pass(&edits, 9).unwrap();
        assert_eq!(seen.len(), 3);
        let delete = TextChange::Delete { at: 12, len: 4 };
        assert_eq!(made, [delete, insert(10, "fog"), insert(13, "!")]);
        assert_eq!(untold.into_edits(), [put(0, "deep "), put(14, "& ")]);
    }

    #[test]
    fn what_others_put_into_a_range_is_spared() {
        let mut untold = Untold::default();
        untold.add(vec![put(2, "XX")]);
        let (_, made) = untold
            .pass(&[TextChange::Delete { at: 0, len: 4 }], 4)
            .unwrap();
        let delete = |at| TextChange::Delete { at, len: 2 };
        assert_eq!(made, [delete(0), delete(2)]);
        assert_eq!(untold.into_edits(), [put(0, "XX")]);
        let beyond = Untold::default().pass(&[insert(5, "x")], 4).unwrap_err();
        assert_eq!(beyond, TextError::OutOfRange);
    }
}
