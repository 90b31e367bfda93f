//! What an edit of a list may say, and what it does to the list's slots.

use std::sync::Arc;

use serde_json::Value;
use yrs::{Any, Array, ArrayRef, TransactionMut};

use super::TextError;
use super::body::BodyLimits;
use super::guard::{GuardLimits, MAX_JSON_DEPTH, Unit, check_json};
use super::sticky::write_number;

/// The name of a list's element. It stays when the element moves; when a text is written again
/// under a new writer, the elements that were put in with it get new names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ElementId {
    /// Who put it in.
    pub writer: u64,
    /// The clock it took.
    pub clock: u32,
}

/// Which element is meant.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Which {
    /// The one that shows at an index.
    At(u32),
    /// The one of this name, wherever it is.
    Element(ElementId),
}

/// One edit of a list.
#[derive(Clone, PartialEq, Debug)]
pub enum ListChange {
    /// Puts elements in.
    Insert {
        /// The index of the first of them afterwards.
        at: u32,
        /// Their values.
        values: Vec<Value>,
    },
    /// Takes an element out.
    Remove {
        /// Which.
        element: Which,
    },
    /// Moves an element.
    Move {
        /// Which.
        element: Which,
        /// Its index afterwards.
        to: u32,
    },
}

impl From<Unit> for ElementId {
    fn from(unit: Unit) -> ElementId {
        ElementId {
            writer: unit.writer,
            clock: unit.clock,
        }
    }
}

/// One element's place in Yrs' array.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Slot {
    pub(super) id: ElementId,
    pub(super) json: Arc<str>,
    /// Whether it shows; another slot of the same element may.
    pub(super) shows: bool,
}

/// One call of Yrs that makes a change.
pub(super) enum Action {
    Insert { at: u32, slots: Vec<Vec<u8>> },
    Remove { at: u32 },
}

impl Action {
    pub(super) fn perform(&self, array: &ArrayRef, txn: &mut TransactionMut<'_>) {
        match self {
            Action::Insert { at, slots } => {
                let values = slots.iter().map(|slot| Any::Buffer(slot.as_slice().into()));
                array.insert_range(txn, *at, values);
            }
            Action::Remove { at } => array.remove_range(txn, *at, 1),
        }
    }
}

/// Changes that have been made on the slots and are to be made in Yrs.
pub(super) struct Draft {
    pub(super) slots: Vec<Slot>,
    writer: u64,
    /// The clock that the next slot takes.
    clock: u32,
    limits: BodyLimits,
    /// How many JSON values and how many bytes of them the update has room for.
    pieces: u32,
    bytes: usize,
    pub(super) actions: Vec<Action>,
}

impl Draft {
    /// On these slots, in the name of `writer`, whose next clock is `clock`.
    pub(super) fn new(slots: Vec<Slot>, writer: u64, clock: u32, limits: BodyLimits) -> Draft {
        Draft {
            slots,
            writer,
            clock,
            limits,
            pieces: limits.guard.max_pieces,
            bytes: limits.guard.max_update,
            actions: Vec::new(),
        }
    }

    pub(super) fn make(&mut self, change: &ListChange) -> Result<(), TextError> {
        match change {
            ListChange::Insert { at, values } => {
                let at = slot_after(&self.slots, *at)?;
                let limits = &self.limits.guard;
                let (pieces, bytes) = (&mut self.pieces, &mut self.bytes);
                let admit = |value| admit(value, limits, pieces, bytes);
                let values: Vec<Arc<str>> = values.iter().map(admit).collect::<Result<_, _>>()?;
                let named = |(n, json)| (self.nth(n), json);
                let slots = values.into_iter().enumerate().map(named).collect();
                self.insert(at, slots)?;
                let bytes: usize = self.slots.iter().map(|slot| slot.json.len() + 1).sum();
                if bytes > self.limits.max_bytes {
                    return Err(TextError::TooLong);
                }
                Ok(())
            }
            ListChange::Remove { element } => {
                let id = self.find(*element)?;
                self.remove(id);
                Ok(())
            }
            ListChange::Move { element, to } => {
                let id = self.find(*element)?;
                let shown = self.slots.iter().filter(|slot| slot.shows);
                if *to as usize >= shown.count() {
                    return Err(TextError::OutOfRange);
                }
                let json = self.remove(id).ok_or(TextError::NoSuchElement)?;
                let at = slot_after(&self.slots, *to)?;
                self.insert(at, vec![(id, json)])
            }
        }
    }

    /// The name of the `n`th slot that is put in next.
    fn nth(&self, n: usize) -> ElementId {
        ElementId {
            writer: self.writer,
            clock: self.clock + n as u32,
        }
    }

    fn find(&self, which: Which) -> Result<ElementId, TextError> {
        match which {
            Which::At(index) => {
                let at = slot_at(&self.slots, index)?;
                let slot = self.slots.get(at as usize);
                slot.map(|slot| slot.id).ok_or(TextError::OutOfRange)
            }
            Which::Element(id) => {
                let there = self.slots.iter().any(|slot| slot.id == id);
                there.then_some(id).ok_or(TextError::NoSuchElement)
            }
        }
    }

    fn insert(&mut self, at: u32, slots: Vec<(ElementId, Arc<str>)>) -> Result<(), TextError> {
        if slots.is_empty() {
            return Ok(());
        }
        let count = u32::try_from(slots.len()).map_err(|_| TextError::TooLarge)?;
        self.clock = self.clock.checked_add(count).ok_or(TextError::TooLarge)?;
        self.actions.push(Action::Insert {
            at,
            slots: slots.iter().map(|(id, json)| encode(*id, json)).collect(),
        });
        let slots = slots.into_iter().map(|(id, json)| Slot {
            id,
            json,
            shows: true,
        });
        self.slots.splice(at as usize..at as usize, slots);
        Ok(())
    }

    /// Takes every slot of an element out; answers its value.
    fn remove(&mut self, id: ElementId) -> Option<Arc<str>> {
        let mut json = None;
        // From the end, so that the slots before stay where they are.
        for at in (0..self.slots.len()).rev() {
            if self.slots.get(at).is_some_and(|slot| slot.id == id) {
                json = Some(self.slots.remove(at).json);
                self.actions.push(Action::Remove { at: at as u32 });
            }
        }
        json
    }
}

/// The slot that shows at `index`.
pub(super) fn slot_at(slots: &[Slot], index: u32) -> Result<u32, TextError> {
    let mut shown = slots.iter().enumerate().filter(|(_, slot)| slot.shows);
    let found = shown.nth(index as usize).ok_or(TextError::OutOfRange)?;
    Ok(found.0 as u32)
}

/// The slot right after the one that shows before `index`.
pub(super) fn slot_after(slots: &[Slot], index: u32) -> Result<u32, TextError> {
    match index.checked_sub(1) {
        None => Ok(0),
        Some(before) => Ok(slot_at(slots, before)? + 1),
    }
}

fn encode(id: ElementId, json: &str) -> Vec<u8> {
    let mut slot = Vec::with_capacity(json.len() + 12);
    write_number(&mut slot, id.writer);
    write_number(&mut slot, id.clock.into());
    slot.extend_from_slice(json.as_bytes());
    slot
}

/// `value` as it is kept, taken off what is left of one update.
fn admit(
    value: &Value,
    limits: &GuardLimits,
    pieces: &mut u32,
    bytes: &mut usize,
) -> Result<Arc<str>, TextError> {
    if depth(value) > limits.max_depth.min(MAX_JSON_DEPTH) {
        return Err(TextError::ElementSize);
    }
    let json = value.to_string();
    if json.len() > limits.max_element {
        return Err(TextError::ElementSize);
    }
    *bytes = bytes.checked_sub(json.len()).ok_or(TextError::TooLarge)?;
    check_json(&json, limits.max_depth, pieces).map_err(|_| TextError::TooLarge)?;
    Ok(json.into())
}

fn depth(value: &Value) -> u32 {
    // A value from outside was parsed with a bound on its depth, so recursion ends in time.
    match value {
        Value::Array(all) => 1 + all.iter().map(depth).max().unwrap_or(0),
        Value::Object(all) => 1 + all.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}
