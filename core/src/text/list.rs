//! An open list: ordered JSON values that people put in, take out and move together.
//!
//! Yrs has no move. A moved element is put in again at its new place under its id and taken out of
//! the old one. Two devices that move one element at the same time leave it twice, with one id: the
//! first of them shows, and whoever moves or removes the element next takes out both. So nothing is
//! doubled, a move beats a removal that had not seen it, and no move loses a value.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::Value;
use yrs::{Any, Array, ArrayRef, Out, ReadTxn, Transaction, TransactionMut};

use super::body::BodyLimits;
use super::document::Document;
use super::guard::{Checked, CheckedState, Element, GuardLimits, MAX_JSON_DEPTH, Unit};
use super::renumber::Neighbours;
use super::sticky::{self, Side, write_number};
use super::{TextError, TextKind};

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

/// One element's place in Yrs' array.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Slot {
    pub(super) id: ElementId,
    pub(super) json: Arc<str>,
    /// Whether it shows; another slot of the same element may.
    pub(super) shows: bool,
}

/// An open list.
///
/// As with [`super::TextBody`], an edit that is refused changes nothing.
pub struct ListBody {
    document: Document,
    array: ArrayRef,
    limits: BodyLimits,
    /// Built when it is first needed.
    slots: Option<Vec<Slot>>,
}

impl ListBody {
    /// An empty list that `writer` edits.
    pub fn new(writer: u64, limits: BodyLimits) -> ListBody {
        let document = Document::new(writer, TextKind::List);
        let array = document.doc().get_or_insert_array(TextKind::List.root());
        ListBody {
            document,
            array,
            limits,
            slots: None,
        }
    }

    /// A list with the content of `state`.
    ///
    /// # Errors
    /// If the state is of another kind of field, or Yrs does not take it.
    pub fn load(
        writer: u64,
        state: CheckedState<'_>,
        limits: BodyLimits,
    ) -> Result<ListBody, TextError> {
        let mut body = ListBody::new(writer, limits);
        body.document.load(state)?;
        Ok(body)
    }

    /// Takes an update in.
    ///
    /// # Errors
    /// If it does not go on where this list ends.
    pub fn apply(&mut self, update: &Checked<'_>) -> Result<(), TextError> {
        self.slots = None;
        self.document.apply(update)
    }

    /// Makes `changes` in order, as one update; answers nothing if they change nothing.
    ///
    /// # Errors
    /// The first of them that does not fit, with no effect of any.
    pub fn edit(&mut self, changes: &[ListChange]) -> Result<Option<Vec<u8>>, TextError> {
        let mut draft = Draft {
            slots: self.slots()?.to_vec(),
            writer: self.document.writer(),
            clock: self.document.next(self.document.writer())?,
            limits: self.limits,
            actions: Vec::new(),
        };
        for change in changes {
            draft.make(change)?;
        }
        if draft.actions.is_empty() {
            return Ok(None);
        }
        self.write(draft).map(Some)
    }

    /// Makes in Yrs what has been made in the draft.
    fn write(&mut self, draft: Draft) -> Result<Vec<u8>, TextError> {
        let array = &self.array;
        let update = self.document.author(|txn| {
            for action in &draft.actions {
                perform(array, txn, action);
            }
        })?;
        self.slots = Some(draft.slots);
        if update.len() > self.limits.guard.max_update {
            self.document.give_up();
            return Err(TextError::TooLarge);
        }
        Ok(update)
    }

    /// Who edits.
    pub fn writer(&self) -> u64 {
        self.document.writer()
    }

    /// The first free clock of `writer` in this list.
    ///
    /// # Errors
    /// If the list is [`TextError::Broken`].
    pub fn next(&self, writer: u64) -> Result<u32, TextError> {
        self.document.next(writer)
    }

    /// The elements in order: their names and their values as JSON.
    ///
    /// # Errors
    /// If the list is [`TextError::Broken`].
    pub fn elements(&mut self) -> Result<Vec<(ElementId, &str)>, TextError> {
        let shown = self.slots()?.iter().filter(|slot| slot.shows);
        Ok(shown.map(|slot| (slot.id, &*slot.json)).collect())
    }

    /// The whole list as one JSON array.
    ///
    /// # Errors
    /// If the list is [`TextError::Broken`].
    pub fn json(&mut self) -> Result<String, TextError> {
        let mut json = String::from("[");
        for (_, value) in self.elements()? {
            if json.len() > 1 {
                json.push(',');
            }
            json.push_str(value);
        }
        json.push(']');
        Ok(json)
    }

    /// The whole Yrs state, compacted.
    ///
    /// # Errors
    /// If the list is [`TextError::Broken`].
    pub fn state(&self) -> Result<Vec<u8>, TextError> {
        self.document.encode()
    }

    /// A position between two elements that stays with the one on its `side`.
    ///
    /// # Errors
    /// If the index is beyond the end.
    pub fn position(&mut self, at: u32, side: Side) -> Result<Vec<u8>, TextError> {
        let slots = self.slots()?;
        let beside = match side {
            Side::Left => slot_after(slots, at)?,
            Side::Right => slot_at(slots, at).or_else(|_| slot_after(slots, at))?,
        };
        self.document
            .read(|txn| sticky::encode(&self.array, txn, beside, side))
    }

    /// Where a position is now.
    ///
    /// # Errors
    /// If no position of this list was encoded to these bytes.
    pub fn resolve(&mut self, position: &[u8]) -> Result<u32, TextError> {
        let array = &self.array;
        let slot = self
            .document
            .read(|txn| sticky::resolve(array, txn, position))??;
        let before = self.slots()?.iter().take(slot as usize);
        Ok(before.filter(|slot| slot.shows).count() as u32)
    }

    /// What Yrs' array holds, hidden slots included.
    pub(super) fn slots(&mut self) -> Result<&[Slot], TextError> {
        if self.slots.is_none() {
            let array = &self.array;
            let mut slots = self.document.read(|txn| read_slots(array, txn))?;
            mark_shown(&mut slots);
            self.slots = Some(slots);
        }
        self.slots.as_deref().ok_or(TextError::Broken)
    }
}

impl Neighbours for ListBody {
    fn left_of(&self, unit: Unit) -> Option<Unit> {
        let left = self
            .document
            .read(|txn| sticky::left_of(&self.array, txn, unit));
        left.ok().flatten()
    }

    fn last(&self) -> Option<Unit> {
        let last = |txn: &Transaction<'_>| {
            let end = self.array.len(txn);
            sticky::unit_before(&self.array, txn, end)
        };
        self.document.read(last).ok().flatten()
    }
}

fn read_slots(array: &ArrayRef, txn: &impl ReadTxn) -> Vec<Slot> {
    let slot = |value: Out| match value {
        Out::Any(Any::Buffer(bytes)) => {
            // The guard lets no other content into a list.
            let element = Element::read(&bytes).ok()?;
            Some(Slot {
                id: element.id.into(),
                json: Arc::from(element.json),
                shows: false,
            })
        }
        _ => None,
    };
    array.iter(txn).filter_map(slot).collect()
}

/// Of several slots of one element the first shows.
fn mark_shown(slots: &mut [Slot]) {
    let mut seen = HashSet::with_capacity(slots.len());
    for slot in slots {
        slot.shows = seen.insert(slot.id);
    }
}

impl From<Unit> for ElementId {
    fn from(unit: Unit) -> ElementId {
        ElementId {
            writer: unit.writer,
            clock: unit.clock,
        }
    }
}

/// One call of Yrs that makes a change.
enum Action {
    Insert { at: u32, slots: Vec<Vec<u8>> },
    Remove { at: u32 },
}

fn perform(array: &ArrayRef, txn: &mut TransactionMut<'_>, action: &Action) {
    match action {
        Action::Insert { at, slots } => {
            let values = slots.iter().map(|slot| Any::Buffer(slot.as_slice().into()));
            array.insert_range(txn, *at, values);
        }
        Action::Remove { at } => array.remove_range(txn, *at, 1),
    }
}

/// Changes that have been made on the slots and are to be made in Yrs.
struct Draft {
    slots: Vec<Slot>,
    writer: u64,
    /// The clock that the next slot takes.
    clock: u32,
    limits: BodyLimits,
    actions: Vec<Action>,
}

impl Draft {
    fn make(&mut self, change: &ListChange) -> Result<(), TextError> {
        match change {
            ListChange::Insert { at, values } => {
                let at = slot_after(&self.slots, *at)?;
                let admit = |value| admit(value, &self.limits.guard);
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
fn slot_at(slots: &[Slot], index: u32) -> Result<u32, TextError> {
    let mut shown = slots.iter().enumerate().filter(|(_, slot)| slot.shows);
    let found = shown.nth(index as usize).ok_or(TextError::OutOfRange)?;
    Ok(found.0 as u32)
}

/// The slot right after the one that shows before `index`.
fn slot_after(slots: &[Slot], index: u32) -> Result<u32, TextError> {
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

fn admit(value: &Value, limits: &GuardLimits) -> Result<Arc<str>, TextError> {
    if depth(value) > limits.max_depth.min(MAX_JSON_DEPTH) {
        return Err(TextError::ElementSize);
    }
    let json = value.to_string();
    if json.len() > limits.max_element {
        return Err(TextError::ElementSize);
    }
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
