//! Changing what a text shows.

use std::sync::Arc;

use serde_json::Value;

use super::TextError;
use super::action::{Action, Actions};
use super::delta::{Attributes, Delta, Step, units};
use super::shown::{MOST, Run, Shown};

impl Shown {
    /// Makes `change`; answers the change that undoes it, and puts the calls that make it in Yrs
    /// into `actions`.
    ///
    /// # Errors
    /// If it does not fit the text; it may then have been made in part.
    pub(super) fn apply(
        &mut self,
        change: &Delta,
        actions: &mut Actions,
    ) -> Result<Delta, TextError> {
        let (mut at, mut inverse) = (0u32, Delta::new());
        for step in change.steps() {
            match step {
                Step::Retain { len, attributes } if attributes.is_empty() => {
                    at = at.checked_add(*len).ok_or(TextError::OutOfRange)?;
                    inverse.push(Step::Retain {
                        len: *len,
                        attributes: Attributes::new(),
                    });
                }
                Step::Retain { len, attributes } => {
                    for (name, value) in attributes {
                        actions.push(Action::Format {
                            at,
                            len: *len,
                            name: name.clone(),
                            value: value.clone(),
                        });
                    }
                    self.format(at, *len, attributes, &mut inverse)?;
                    at += len;
                }
                Step::Insert { text, attributes } => {
                    let len = self.insert(at, text, attributes, actions)?;
                    inverse.push(Step::Delete { len });
                    at += len;
                }
                Step::Delete { len } => {
                    actions.push(Action::Delete { at, len: *len });
                    self.delete(at, *len, &mut inverse)?;
                }
            }
        }
        if at > self.units {
            return Err(TextError::OutOfRange);
        }
        inverse.trim();
        Ok(inverse)
    }

    fn insert(
        &mut self,
        at: u32,
        text: &str,
        attributes: &Attributes,
        actions: &mut Actions,
    ) -> Result<u32, TextError> {
        let inherited = self.attributes_at(at)?;
        let len = units(text);
        actions.insert(at, text, &inherited, attributes);
        let same = *inherited == *attributes;
        let place = self.place(at)?;
        if let Some(run) = self.runs.get_mut(place.run)
            && same
            && place.within > 0
            && run.text.len() + text.len() <= 2 * MOST
        {
            let byte = run.byte_of(place.within)?;
            run.text.insert_str(byte, text);
            run.units += len;
            let long = run.text.len() > MOST;
            self.count_in(text);
            if long {
                self.halve(place.run)?;
            }
            return Ok(len);
        }
        let attributes = if same {
            inherited
        } else {
            Arc::new(attributes.clone())
        };
        let mut run = self.split(at)?;
        let mut rest = text;
        while !rest.is_empty() {
            let mut end = rest.len().min(MOST);
            while !rest.is_char_boundary(end) {
                end -= 1;
            }
            let (piece, next) = rest.split_at(end);
            let runs = self.runs.len();
            self.insert_run(run, piece.to_owned(), attributes.clone());
            run += self.runs.len() - runs;
            rest = next;
        }
        Ok(len)
    }

    fn halve(&mut self, run: usize) -> Result<(), TextError> {
        let Some(long) = self.runs.get_mut(run) else {
            return Ok(());
        };
        let mut middle = long.text.len() / 2;
        while !long.text.is_char_boundary(middle) {
            middle -= 1;
        }
        let (first, _) = long.text.split_at(middle);
        let rest = long.cut(units(first))?;
        self.runs.insert(run + 1, rest);
        Ok(())
    }

    fn delete(&mut self, at: u32, len: u32, inverse: &mut Delta) -> Result<(), TextError> {
        let end = at.checked_add(len).ok_or(TextError::OutOfRange)?;
        self.check(end)?;
        let place = self.place(at)?;
        if let Some(run) = self.runs.get_mut(place.run)
            && place.within + len <= run.units
            && len < run.units
        {
            let (from, to) = (run.byte_of(place.within)?, run.byte_of(place.within + len)?);
            let text: String = run.text.drain(from..to).collect();
            run.units -= len;
            let attributes = (*run.attributes).clone();
            self.count_out(&text, len);
            inverse.push(Step::Insert { text, attributes });
            return Ok(());
        }
        let (from, to) = (self.split(at)?, self.split(end)?);
        let gone: Vec<Run> = self.runs.drain(from..to).collect();
        for run in gone {
            self.count_out(&run.text, run.units);
            inverse.push(Step::Insert {
                text: run.text,
                attributes: (*run.attributes).clone(),
            });
        }
        self.join(from);
        Ok(())
    }

    fn format(
        &mut self,
        at: u32,
        len: u32,
        change: &Attributes,
        inverse: &mut Delta,
    ) -> Result<(), TextError> {
        let end = at.checked_add(len).ok_or(TextError::OutOfRange)?;
        self.check(end)?;
        let (from, to) = (self.split(at)?, self.split(end)?);
        for run in self.runs.get_mut(from..to).unwrap_or_default() {
            let mut attributes = (*run.attributes).clone();
            let mut back = Attributes::new();
            for (name, value) in change {
                let before = match value {
                    Value::Null => attributes.remove(name),
                    value => attributes.insert(name.clone(), value.clone()),
                };
                let before = before.unwrap_or(Value::Null);
                if before != *value {
                    back.insert(name.clone(), before);
                }
            }
            inverse.push(Step::Retain {
                len: run.units,
                attributes: back,
            });
            run.attributes = Arc::new(attributes);
        }
        // From the right, so that joining moves nothing that is still to be looked at.
        for run in (from..=to).rev() {
            self.join(run);
        }
        Ok(())
    }

    /// Joins run `at` with the one before it where both are alike and short.
    fn join(&mut self, at: usize) {
        let Some(before) = at.checked_sub(1) else {
            return;
        };
        let (Some(left), Some(right)) = (self.runs.get(before), self.runs.get(at)) else {
            return;
        };
        let short = left.text.len() + right.text.len() <= MOST / 2;
        if short && left.attributes == right.attributes {
            let right = self.runs.remove(at);
            if let Some(left) = self.runs.get_mut(before) {
                left.text.push_str(&right.text);
                left.units += right.units;
            }
        }
    }
}
