//! The calls of Yrs that make a change.
//!
//! Yrs walks from the beginning of the text at each call and writes a block for each. Typing comes
//! character by character, so calls that go on where the last one ended are made one.

use std::sync::Arc;

use serde_json::Value;
use yrs::{Text, TextRef, TransactionMut};

use super::guard::GuardLimits;
use super::{TextError, value};

/// One call. Everything in it has been checked on what is shown.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Action {
    Insert {
        at: u32,
        /// How many UTF-16 units the text has.
        units: u32,
        text: String,
    },
    Delete {
        at: u32,
        len: u32,
    },
    Format {
        at: u32,
        len: u32,
        name: String,
        value: Value,
    },
}

impl Action {
    pub(super) fn perform(&self, text: &TextRef, txn: &mut TransactionMut<'_>) {
        match self {
            Action::Insert {
                at, text: chunk, ..
            } => text.insert(txn, *at, chunk),
            Action::Delete { at, len } => text.remove_range(txn, *at, *len),
            // One format at a time: in a map of several, Yrs writes them in the map's random order.
            Action::Format {
                at,
                len,
                name,
                value,
            } => {
                let format = (Arc::from(name.as_str()), value::to_any(value));
                text.format(txn, *at, *len, [format].into_iter().collect());
            }
        }
    }

    /// Takes `next` into this call; gives it back if it does not go on with the same.
    fn join(&mut self, next: Action) -> Option<Action> {
        match (self, next) {
            (
                Action::Insert { at, units, text },
                Action::Insert {
                    at: next_at,
                    units: more,
                    text: new,
                },
            ) if *at <= next_at && next_at <= *at + *units => {
                text.insert_str(byte_of(text, *units, next_at - *at), &new);
                *units += more;
                None
            }
            // What was typed and taken back at once never gets to Yrs.
            (Action::Insert { at, units, text }, Action::Delete { at: from, len })
                if *at <= from && from + len <= *at + *units =>
            {
                let start = byte_of(text, *units, from - *at);
                let end = byte_of(text, *units, from + len - *at);
                text.drain(start..end);
                *units -= len;
                None
            }
            (
                Action::Delete { at, len },
                Action::Delete {
                    at: from,
                    len: more,
                },
            ) if from <= *at && *at <= from + more => {
                *at = from;
                *len += more;
                None
            }
            (_, next) => Some(next),
        }
    }

    fn is_empty(&self) -> bool {
        matches!(self, Action::Insert { units: 0, .. })
    }
}

/// The byte that `unit` begins at, which halves no character: it was checked.
fn byte_of(text: &str, units: u32, unit: u32) -> usize {
    if unit == units {
        return text.len();
    }
    if text.len() == units as usize {
        return unit as usize;
    }
    let mut at = 0;
    for (byte, character) in text.char_indices() {
        if at >= unit {
            return byte;
        }
        at += character.len_utf16() as u32;
    }
    text.len()
}

/// Calls in order.
#[derive(Default)]
pub(super) struct Actions {
    all: Vec<Action>,
}

impl Actions {
    pub(super) fn push(&mut self, action: Action) {
        let Some(last) = self.all.last_mut() else {
            self.all.push(action);
            return;
        };
        let rest = last.join(action);
        if last.is_empty() {
            self.all.pop();
        }
        self.all.extend(rest);
    }

    pub(super) fn append(&mut self, more: Actions) {
        more.all.into_iter().for_each(|action| self.push(action));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Refuses what, with `more` calls, is sure to be too large for one update, before Yrs has made it.
    pub(super) fn check(&self, more: &Actions, limits: &GuardLimits) -> Result<(), TextError> {
        let all = self.all.iter().chain(&more.all);
        let bytes = all.map(|action| match action {
            Action::Insert { text, .. } => text.len(),
            Action::Delete { .. } | Action::Format { .. } => 0,
        });
        let large = bytes.sum::<usize>() > limits.max_update;
        if large || self.all.len() + more.all.len() > limits.max_pieces as usize {
            return Err(TextError::TooLarge);
        }
        Ok(())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Action> {
        self.all.iter()
    }
}
