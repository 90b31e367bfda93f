//! What differs between two states of one document, component by component.
//!
//! The server sends it as the result of a version; a device keeps the way back from what it shows to
//! base.

use super::{DocumentState, SetState};
use crate::id::FieldId;
use crate::op::FieldMap;

/// The way from one state to another of the same document.
#[derive(Clone, PartialEq, Debug)]
pub struct Difference {
    /// The target's head, and those of its components that differ. An element without tags is gone.
    pub part: DocumentState,
    /// Registers the target does not have.
    pub absent_registers: Vec<FieldId>,
    /// Counters the target does not have.
    pub absent_counters: Vec<FieldId>,
}

impl Difference {
    /// What turns `from` into `to`.
    pub fn between(from: &DocumentState, to: &DocumentState) -> Difference {
        let registers = to
            .registers
            .iter()
            .filter(|(f, r)| from.registers.get(*f) != Some(r))
            .map(|(f, r)| (f, r.clone()))
            .collect();
        let counters = to
            .counters
            .iter()
            .filter(|(f, n)| from.counters.get(*f) != Some(n))
            .map(|(f, n)| (f, *n))
            .collect();
        Difference {
            part: DocumentState {
                registers,
                counters,
                sets: set_differences(from, to),
                updates: to.updates.clone(),
                ..head(to)
            },
            absent_registers: from
                .registers
                .iter()
                .map(|(f, _)| f)
                .filter(|f| to.registers.get(*f).is_none())
                .collect(),
            absent_counters: from
                .counters
                .iter()
                .map(|(f, _)| f)
                .filter(|f| to.counters.get(*f).is_none())
                .collect(),
        }
    }

    /// Goes that way.
    pub fn apply(self, from: &mut DocumentState) {
        from.take(self.part);
        from.registers
            .retain(|field, _| !self.absent_registers.contains(&field));
        from.counters
            .retain(|field, _| !self.absent_counters.contains(&field));
    }
}

/// A state without components.
fn head(state: &DocumentState) -> DocumentState {
    DocumentState {
        registers: FieldMap::default(),
        counters: FieldMap::default(),
        sets: FieldMap::default(),
        updates: Vec::new(),
        ..*state
    }
}

fn set_differences(from: &DocumentState, to: &DocumentState) -> FieldMap<SetState> {
    let empty = SetState::default();
    let mut all = FieldMap::default();
    let fields = from
        .sets
        .iter()
        .chain(to.sets.iter())
        .map(|(field, _)| field);
    for field in fields {
        let (old, new) = (
            from.sets.get(field).unwrap_or(&empty),
            to.sets.get(field).unwrap_or(&empty),
        );
        let mut changed = SetState::default();
        for (element, tags) in &new.elements {
            if old.elements.get(element) != Some(tags) {
                changed.elements.insert(element.clone(), tags.clone());
            }
        }
        for element in old
            .elements
            .keys()
            .filter(|element| !new.elements.contains_key(*element))
        {
            changed.elements.insert(element.clone(), Vec::new());
        }
        if !changed.elements.is_empty() {
            all.insert(field, changed);
        }
    }
    all
}
