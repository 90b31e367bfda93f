//! What a text shows, as runs of text with equal formats.
//!
//! Yrs keeps text as a chain of blocks: it can say neither what stands at an offset, nor whether an
//! offset halves a character, without walking. The runs here answer both, hold what an undo has to
//! bring back, and are the plain text for the asking.

use std::sync::Arc;

use serde_json::Value;

use super::TextError;
use super::action::{Action, Actions};
use super::delta::{Attributes, Delta, Step, units};

/// Where a run is cut: small enough to search and to move, large enough to keep few.
const MOST: usize = 4096;

#[derive(Clone, Debug)]
struct Run {
    text: String,
    units: u32,
    attributes: Arc<Attributes>,
}

impl Run {
    fn is_ascii(&self) -> bool {
        self.units as usize == self.text.len()
    }

    /// The byte that `unit` begins at.
    fn byte_of(&self, unit: u32) -> Result<usize, TextError> {
        if self.is_ascii() {
            return Ok(unit as usize);
        }
        let mut at = 0;
        for (byte, character) in self.text.char_indices() {
            match at {
                at if at == unit => return Ok(byte),
                at if at > unit => return Err(TextError::InsideCharacter),
                _ => at += character.len_utf16() as u32,
            }
        }
        if at == unit {
            Ok(self.text.len())
        } else {
            Err(TextError::InsideCharacter)
        }
    }

    /// Cuts off what begins at `unit`.
    fn cut(&mut self, unit: u32) -> Result<Run, TextError> {
        let byte = self.byte_of(unit)?;
        let rest = Run {
            text: self.text.split_off(byte),
            units: self.units - unit,
            attributes: self.attributes.clone(),
        };
        self.units = unit;
        Ok(rest)
    }
}

/// The runs of one text.
#[derive(Clone, Debug, Default)]
pub(super) struct Shown {
    runs: Vec<Run>,
    units: u32,
    bytes: usize,
    /// Characters of two units.
    pairs: usize,
}

/// A place among the runs: `within` units into run `run`, never 0 units but in the first run.
struct Place {
    run: usize,
    within: u32,
}

impl Shown {
    pub(super) fn units(&self) -> u32 {
        self.units
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn text(&self) -> String {
        let mut text = String::with_capacity(self.bytes);
        self.runs.iter().for_each(|run| text.push_str(&run.text));
        text
    }

    /// The content with its formats.
    pub(super) fn delta(&self) -> Delta {
        let mut delta = Delta::new();
        for run in &self.runs {
            delta.push(Step::Insert {
                text: run.text.clone(),
                attributes: (*run.attributes).clone(),
            });
        }
        delta
    }

    /// Appends a run; for building from the content.
    pub(super) fn push(&mut self, text: &str, attributes: &Arc<Attributes>) {
        let mut text = text;
        while !text.is_empty() {
            let mut end = text.len().min(MOST);
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            let (piece, rest) = text.split_at(end);
            self.insert_run(self.runs.len(), piece.to_owned(), attributes.clone());
            text = rest;
        }
    }

    fn count_in(&mut self, text: &str) -> u32 {
        let units = units(text);
        self.units += units;
        self.bytes += text.len();
        self.pairs += pairs(text);
        units
    }

    fn count_out(&mut self, text: &str, units: u32) {
        self.units -= units;
        self.bytes -= text.len();
        self.pairs -= pairs(text);
    }

    fn insert_run(&mut self, at: usize, text: String, attributes: Arc<Attributes>) {
        let units = self.count_in(&text);
        let before = at
            .checked_sub(1)
            .and_then(|before| self.runs.get_mut(before));
        match before {
            Some(run) if run.attributes == attributes && run.text.len() + text.len() <= MOST => {
                run.text.push_str(&text);
                run.units += units;
            }
            _ => self.runs.insert(
                at,
                Run {
                    text,
                    units,
                    attributes,
                },
            ),
        }
    }

    /// The run that holds what stands left of `unit`, and how far into it `unit` is.
    fn place(&self, unit: u32) -> Result<Place, TextError> {
        let mut within = unit;
        for (run, held) in self.runs.iter().enumerate() {
            if within <= held.units {
                return Ok(Place { run, within });
            }
            within -= held.units;
        }
        if within == 0 {
            Ok(Place { run: 0, within: 0 })
        } else {
            Err(TextError::OutOfRange)
        }
    }

    /// Makes `unit` the beginning of a run and answers which.
    fn split(&mut self, unit: u32) -> Result<usize, TextError> {
        let place = self.place(unit)?;
        let Some(run) = self.runs.get_mut(place.run) else {
            return Ok(0);
        };
        if place.within == 0 {
            return Ok(place.run);
        }
        if place.within < run.units {
            let rest = run.cut(place.within)?;
            self.runs.insert(place.run + 1, rest);
        }
        Ok(place.run + 1)
    }

    /// The formats of what stands left of `unit`: what is typed there takes them on.
    pub(super) fn attributes_at(&self, unit: u32) -> Result<Arc<Attributes>, TextError> {
        let place = self.place(unit)?;
        Ok(match self.runs.get(place.run) {
            Some(run) if place.within > 0 => run.attributes.clone(),
            _ => Arc::default(),
        })
    }

    /// Checks that `unit` is within the text and halves no character.
    pub(super) fn check(&self, unit: u32) -> Result<(), TextError> {
        let place = self.place(unit)?;
        match self.runs.get(place.run) {
            Some(run) => run.byte_of(place.within).map(|_| ()),
            None => Ok(()),
        }
    }

    /// The UTF-16 offset of a UTF-8 one.
    pub(super) fn unit_of_byte(&self, byte: usize) -> Result<u32, TextError> {
        let (mut within, mut before) = (byte, 0);
        for run in &self.runs {
            if within <= run.text.len() {
                let text = run.text.get(..within).ok_or(TextError::InsideCharacter)?;
                return Ok(before + units(text));
            }
            within -= run.text.len();
            before += run.units;
        }
        if within == 0 {
            Ok(before)
        } else {
            Err(TextError::OutOfRange)
        }
    }

    /// The UTF-8 offset of a UTF-16 one.
    pub(super) fn byte_of_unit(&self, unit: u32) -> Result<usize, TextError> {
        let place = self.place(unit)?;
        let before: usize = self
            .runs
            .iter()
            .take(place.run)
            .map(|run| run.text.len())
            .sum();
        match self.runs.get(place.run) {
            Some(run) => Ok(before + run.byte_of(place.within)?),
            None => Ok(0),
        }
    }

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
        actions.push(Action::Insert {
            at,
            units: len,
            text: text.to_owned(),
        });
        let same = *inherited == *attributes;
        if !same {
            for (name, value) in changed(&inherited, attributes) {
                actions.push(Action::Format {
                    at,
                    len,
                    name,
                    value,
                });
            }
        }
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
        let rest = long.cut(units(&long.text[..middle]))?;
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

/// The formats to set, and those to take off by null, to get from `from` to `to`.
pub(super) fn changed(from: &Attributes, to: &Attributes) -> Vec<(String, Value)> {
    let gone = from.keys().filter(|name| !to.contains_key(*name));
    let mut change: Vec<_> = gone.map(|name| (name.clone(), Value::Null)).collect();
    let set = to
        .iter()
        .filter(|(name, value)| from.get(*name) != Some(value));
    change.extend(set.map(|(name, value)| (name.clone(), value.clone())));
    change
}

/// How many characters of `text` take two units.
fn pairs(text: &str) -> usize {
    text.bytes().filter(|byte| *byte >= 0xf0).count()
}

impl Shown {
    /// Whether any character takes two units.
    pub(super) fn has_pairs(&self) -> bool {
        self.pairs > 0
    }

    /// Whether any text has a format.
    pub(super) fn is_formatted(&self) -> bool {
        self.runs.iter().any(|run| !run.attributes.is_empty())
    }

    /// Goes through the text from its beginning.
    pub(super) fn walk(&self) -> Walk<'_> {
        Walk {
            runs: &self.runs,
            taken: 0,
        }
    }
}

/// Goes through runs in pieces.
pub(super) struct Walk<'a> {
    runs: &'a [Run],
    /// How many units of the first run have been passed.
    taken: u32,
}

impl<'a> Walk<'a> {
    /// How much is left with the formats that come next.
    pub(super) fn rest(&self) -> Option<u32> {
        self.runs.first().map(|run| run.units - self.taken)
    }

    /// The next piece of equal formats, at most `most` units long.
    pub(super) fn take(&mut self, most: u32) -> Option<(u32, &'a str, &'a Attributes)> {
        let (run, len) = (self.runs.first()?, self.rest()?.min(most));
        let from = run.byte_of(self.taken).ok()?;
        let to = run.byte_of(self.taken + len).ok()?;
        self.taken += len;
        if self.taken == run.units {
            self.runs = &self.runs[1..];
            self.taken = 0;
        }
        Some((len, &run.text[from..to], &run.attributes))
    }

    /// Passes over `len` units.
    pub(super) fn skip(&mut self, len: u32) -> Option<()> {
        let mut left = len;
        while left > 0 {
            left -= self.take(left)?.0;
        }
        Some(())
    }
}
