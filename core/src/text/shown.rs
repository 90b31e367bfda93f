//! What a text shows, as runs of text with equal formats.
//!
//! Yrs keeps text as a chain of blocks: it can say neither what stands at an offset, nor whether an
//! offset halves a character, without walking. The runs here answer both, hold what an undo has to
//! bring back, and are the plain text for the asking.

use std::sync::Arc;

use serde_json::Value;

use super::TextError;
use super::delta::{Attributes, Delta, Step, units};
use super::walk::Walk;

/// Where a run is cut: small enough to search and to move, large enough to keep few.
pub(super) const MOST: usize = 1024;

#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) text: String,
    pub(super) units: u32,
    pub(super) attributes: Arc<Attributes>,
}

impl Run {
    fn is_ascii(&self) -> bool {
        self.units as usize == self.text.len()
    }

    /// The byte that `unit` begins at.
    pub(super) fn byte_of(&self, unit: u32) -> Result<usize, TextError> {
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
    pub(super) fn cut(&mut self, unit: u32) -> Result<Run, TextError> {
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
    pub(super) runs: Vec<Run>,
    pub(super) units: u32,
    pub(super) bytes: usize,
    /// Characters of two units.
    pairs: usize,
}

/// A place among the runs: `within` units into run `run`, never 0 units but in the first run.
pub(super) struct Place {
    pub(super) run: usize,
    pub(super) within: u32,
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

    pub(super) fn count_in(&mut self, text: &str) -> u32 {
        let units = units(text);
        self.units += units;
        self.bytes += text.len();
        self.pairs += pairs(text);
        units
    }

    pub(super) fn count_out(&mut self, text: &str, units: u32) {
        self.units -= units;
        self.bytes -= text.len();
        self.pairs -= pairs(text);
    }

    pub(super) fn insert_run(&mut self, at: usize, text: String, attributes: Arc<Attributes>) {
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
    pub(super) fn place(&self, unit: u32) -> Result<Place, TextError> {
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
    pub(super) fn split(&mut self, unit: u32) -> Result<usize, TextError> {
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
