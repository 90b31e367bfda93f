//! The calls of Yrs that make a change.
//!
//! Yrs walks from the beginning of the text at each call and writes a block for each. Typing comes
//! character by character, so calls that go on where the last one ended are made one.
//!
//! That also keeps together what is put in together. Where a bold heading is put in front of another,
//! Yrs takes the mark out that began the other's bold, and the plain text of the next call would hold on to
//! that mark, not to its heading: two who did the same at once got both headings first and then both
//! paragraphs. So what goes on behind text is put in with it, before the formats of either.

use std::ops::Range;
use std::sync::Arc;

use serde_json::Value;
use yrs::{Text, TextRef, TransactionMut};

use super::delta::{Attributes, units};
use super::guard::GuardLimits;
use super::shown::changed;
use super::{TextError, value};

/// One call. Everything in it has been checked on what is shown.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Action {
    Insert {
        at: u32,
        /// How many UTF-16 units the text has.
        units: u32,
        text: String,
        /// The formats that it gets from where it stands.
        inherits: Arc<Attributes>,
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
                Action::Insert {
                    at, units, text, ..
                },
                Action::Insert {
                    at: next_at,
                    units: more,
                    text: new,
                    ..
                },
            ) if *at <= next_at && next_at <= *at + *units => {
                text.insert_str(byte_of(text, *units, next_at - *at), &new);
                *units += more;
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

    /// A format where it is without these units; none if it formatted nothing else.
    fn without(mut self, gone: &Range<u32>) -> Option<Action> {
        let moved = |unit: u32| unit - (unit.clamp(gone.start, gone.end) - gone.start);
        if let Action::Format { at, len, .. } = &mut self {
            let end = moved(*at + *len);
            *at = moved(*at);
            *len = end - *at;
            if *len == 0 {
                return None;
            }
        }
        Some(self)
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

/// An [`Action::Insert`], part by part.
struct Inserted<'a> {
    at: &'a mut u32,
    units: &'a mut u32,
    text: &'a mut String,
    inherits: &'a Arc<Attributes>,
}

/// How text goes on behind text that was put in.
enum GoesOn {
    /// With the same formats.
    AsBefore,
    /// With formats of its own, over these that it gets from where both stand.
    Otherwise(Arc<Attributes>),
    /// It stands elsewhere.
    Not,
}

/// Calls in order.
#[derive(Default)]
pub(super) struct Actions {
    all: Vec<Action>,
}

impl Actions {
    pub(super) fn push(&mut self, action: Action) {
        if let Action::Delete { at, len } = action
            && self.take_back(at..at + len)
        {
            return;
        }
        let rest = match self.all.last_mut() {
            Some(last) => last.join(action),
            None => Some(action),
        };
        self.all.extend(rest);
    }

    /// Puts `text` in, with these attributes, where what is put in gets `inherited`.
    pub(super) fn insert(
        &mut self,
        at: u32,
        text: &str,
        inherited: &Arc<Attributes>,
        attributes: &Attributes,
    ) {
        let len = units(text);
        let formats = match self.go_on(at, text, attributes == &**inherited) {
            GoesOn::AsBefore => Vec::new(),
            GoesOn::Otherwise(inherits) => changed(&inherits, attributes),
            GoesOn::Not => {
                self.push(Action::Insert {
                    at,
                    units: len,
                    text: text.to_owned(),
                    inherits: Arc::clone(inherited),
                });
                changed(inherited, attributes)
            }
        };
        for (name, value) in formats {
            self.push(Action::Format {
                at,
                len,
                name,
                value,
            });
        }
    }

    /// Puts `text` behind the text that was put in last, if that ends at `at`.
    fn go_on(&mut self, at: u32, text: &str, as_before: bool) -> GoesOn {
        let Some((last, formats)) = self.last_inserted() else {
            return GoesOn::Not;
        };
        if *last.at + *last.units != at {
            return GoesOn::Not;
        }
        last.text.push_str(text);
        *last.units += units(text);
        if !as_before {
            return GoesOn::Otherwise(Arc::clone(last.inherits));
        }
        for format in formats {
            if let Action::Format { at: from, len, .. } = format
                && *from + *len == at
            {
                *len += units(text);
            }
        }
        GoesOn::AsBefore
    }

    /// What was typed and taken back at once never gets to Yrs. Says whether it was that.
    fn take_back(&mut self, gone: Range<u32>) -> bool {
        let Some((last, formats)) = self.last_inserted() else {
            return false;
        };
        let (from, until) = (*last.at, *last.at + *last.units);
        if gone.start < from || until < gone.end {
            return false;
        }
        let start = byte_of(last.text, *last.units, gone.start - from);
        let end = byte_of(last.text, *last.units, gone.end - from);
        last.text.drain(start..end);
        *last.units -= gone.end - gone.start;
        let kept = usize::from(!last.text.is_empty());
        let formats = formats.len();
        let formats = self.all.split_off(self.all.len() - formats);
        self.all.truncate(self.all.len() - 1 + kept);
        let formats = formats.into_iter();
        self.all
            .extend(formats.filter_map(|format| format.without(&gone)));
        true
    }

    /// The text that was put in last, and its formats, if these are all that followed.
    fn last_inserted(&mut self) -> Option<(Inserted<'_>, &mut [Action])> {
        let is_format = |action: &&Action| matches!(action, Action::Format { .. });
        let formats = self.all.iter().rev().take_while(is_format).count();
        let inserts = self.all.len() - formats;
        let (before, formats) = self.all.split_at_mut(inserts);
        let Some(Action::Insert {
            at,
            units,
            text,
            inherits,
        }) = before.last_mut()
        else {
            return None;
        };
        let (from, until) = (*at, *at + *units);
        let is_of_it = |format: &Action| match format {
            Action::Format { at, len, .. } => from <= *at && *at + *len <= until,
            _ => false,
        };
        let inserted = Inserted {
            at,
            units,
            text,
            inherits,
        };
        formats.iter().all(is_of_it).then_some((inserted, formats))
    }

    /// Makes `more` calls after these.
    pub(super) fn append(&mut self, more: Actions) {
        let mut more = more.all.into_iter().peekable();
        while let Some(action) = more.next() {
            let Action::Insert {
                at,
                units,
                text,
                inherits,
            } = action
            else {
                self.push(action);
                continue;
            };
            let mut attributes = (*inherits).clone();
            let is_of_it = |next: &Action| matches!(next, Action::Format { at: from, len, .. } if (*from, *len) == (at, units));
            while let Some(Action::Format { name, value, .. }) = more.next_if(is_of_it) {
                match value {
                    Value::Null => attributes.remove(&name),
                    value => attributes.insert(name, value),
                };
            }
            self.insert(at, &text, &inherits, &attributes);
        }
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
