//! An open list: ordered JSON values that people put in, take out and move together.
//!
//! Yrs has no move. A moved element is put in again at its new place under its id and taken out of
//! the old one. Two devices that move one element at the same time leave it twice, with one id: the
//! first of them shows, and whoever moves or removes the element next takes out both. So nothing is
//! doubled, a move beats a removal that had not seen it, and no move loses a value.

use std::collections::HashSet;
use std::sync::Arc;

use yrs::{Any, Array, ArrayRef, Out, ReadTxn, Transaction};

use super::body::BodyLimits;
use super::document::Document;
use super::guard::{Checked, CheckedState, Element, Unit};
use super::list_edit::{Draft, ElementId, ListChange, Slot, slot_after, slot_at};
use super::renumber::Neighbours;
use super::sticky::{self, Side};
use super::{TextError, TextKind};

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
        self.document.apply(std::slice::from_ref(update))
    }

    /// Makes `changes` in order, as one update; answers nothing if they change nothing.
    ///
    /// # Errors
    /// The first of them that does not fit, with no effect of any.
    pub fn edit(&mut self, changes: &[ListChange]) -> Result<Option<Vec<u8>>, TextError> {
        let writer = self.document.writer();
        let clock = self.document.next(writer)?;
        let mut draft = Draft::new(self.slots()?.to_vec(), writer, clock, self.limits);
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
        let (array, limits) = (&self.array, &self.limits.guard);
        let update = self.document.author(limits, |txn| {
            for action in &draft.actions {
                action.perform(array, txn);
            }
        })?;
        self.slots = Some(draft.slots);
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
