//! What differs between two states of one document, component by component.
//!
//! The server sends it as the result of a version; a device keeps the way back from what it shows to
//! base.

use super::{DocumentState, SetState, TextState};
use crate::id::{FieldId, OpId};
use crate::mutant::{Mutant, planted};
use crate::op::FieldMap;
use crate::text::Mark;

/// The way from one state to another of the same document.
#[derive(Clone, PartialEq, Debug)]
pub struct Difference {
    /// The target's head, and those of its components that differ. An element without tags is gone.
    pub part: DocumentState,
    /// Registers the target does not have.
    pub absent_registers: Vec<FieldId>,
    /// Counters the target does not have.
    pub absent_counters: Vec<FieldId>,
    /// Texts the target does not have.
    pub absent_texts: Vec<FieldId>,
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
            .filter(|(f, n)| {
                from.counters.get(*f) != Some(n) && !planted(Mutant::BaseCounterForgotten)
            })
            .map(|(f, n)| (f, *n))
            .collect();
        Difference {
            part: DocumentState {
                registers,
                counters,
                sets: set_differences(from, to),
                texts: text_differences(from, to),
                updates: to.updates.clone(),
                ..head(to)
            },
            absent_registers: from
                .registers
                .iter()
                .map(|(f, _)| f)
                .filter(|f| {
                    to.registers.get(*f).is_none() && !planted(Mutant::BaseAbsenceForgotten)
                })
                .collect(),
            absent_counters: from
                .counters
                .iter()
                .map(|(f, _)| f)
                .filter(|f| to.counters.get(*f).is_none())
                .collect(),
            absent_texts: from
                .texts
                .iter()
                .map(|(f, _)| f)
                .filter(|f| to.texts.get(*f).is_none())
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
        from.texts
            .retain(|field, _| !self.absent_texts.contains(&field));
    }
}

/// A state without components.
fn head(state: &DocumentState) -> DocumentState {
    DocumentState {
        registers: FieldMap::default(),
        counters: FieldMap::default(),
        sets: FieldMap::default(),
        texts: FieldMap::default(),
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
            .filter(|_| !planted(Mutant::BaseElementForgotten))
        {
            changed.elements.insert(element.clone(), Vec::new());
        }
        if !changed.elements.is_empty() {
            all.insert(field, changed);
        }
    }
    all
}

/// The texts that differ, each with the marks that do; all of its marks where it begins anew.
fn text_differences(from: &DocumentState, to: &DocumentState) -> FieldMap<TextState> {
    let mut all = FieldMap::default();
    for (field, new) in to.texts.iter() {
        let old = from.texts.get(field);
        if old == Some(new) {
            continue;
        }
        let mut part = new.clone();
        if let Some(old) = old.filter(|old| old.root == new.root) {
            part.marks.retain(|mark| !old.marks.contains(mark));
            for mark in &old.marks {
                if Mark::of(&new.marks, mark.writer).is_none() {
                    let gone = Mark {
                        writer: mark.writer,
                        next: 0,
                        last: OpId::ZERO,
                        version: 0,
                    };
                    Mark::put(&mut part.marks, gone);
                }
            }
        }
        all.insert(field, part);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(root: u8, marks: &[(u64, u32)]) -> DocumentState {
        let by = OpId([9; 16]);
        let mark = |(writer, next): &(u64, u32)| Mark {
            writer: *writer,
            next: *next,
            last: by,
            version: 1,
        };
        let mut state = DocumentState::opened(OpId([1; 16]), 1);
        let text = TextState {
            marks: marks.iter().map(mark).collect(),
            ..TextState::empty(OpId([root; 16]), by, 1)
        };
        state.texts.insert(4, text);
        state
    }

    #[test]
    fn a_text_goes_from_any_state_to_any_other_by_what_differs() {
        let states = [
            DocumentState::opened(OpId([1; 16]), 1),
            text(1, &[]),
            text(1, &[(7, 2)]),
            text(1, &[(7, 5), (9, 1)]),
            text(1, &[(8, 1), (9, 1)]),
            text(2, &[(7, 1)]),
        ];
        for from in &states {
            for to in &states {
                let difference = Difference::between(from, to);
                let mut reached = from.clone();
                difference.apply(&mut reached);
                assert_eq!(reached, *to);
            }
        }
        let part = Difference::between(&states[2], &states[3]).part;
        let marks = &part.texts.get(4).unwrap().marks;
        assert_eq!(marks.len(), 2, "the changed and the new one");
        let part = Difference::between(&states[3], &states[4]).part;
        let marks = &part.texts.get(4).unwrap().marks;
        assert_eq!(marks.iter().map(|m| m.writer).collect::<Vec<_>>(), [7, 8]);
    }
}
