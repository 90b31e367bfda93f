//! What documents are at the server: their values, and which write each comes from.

use driftline_core::id::OpId;
use driftline_core::merge::{
    DocumentState, Generation, Life, Register, Reopened, SetState, TextState, Write,
};
use driftline_core::op::FieldMap;
use driftline_core::text::Mark;
use driftline_core::value::Value;

use super::*;

fn write(by: u8, seconds: i64, version: u64) -> Write {
    Write {
        op: op(by),
        stamp: stamp(seconds),
        version,
    }
}

pub(super) fn register(value: Value, by: u8, seconds: i64, version: u64) -> Register {
    Register {
        value,
        write: write(by, seconds, version),
    }
}

pub(super) fn set(elements: &[(&str, &[(u8, u64)])]) -> SetState {
    let tags = |held: &[(u8, u64)]| held.iter().map(|(by, at)| (op(*by), *at)).collect();
    SetState {
        elements: elements
            .iter()
            .map(|(element, held)| ((*element).to_owned(), tags(held)))
            .collect(),
    }
}

/// A text with these marks: writer, next, last op and its version.
pub(super) fn text(version: u64, marks: &[(u64, u32, u8, u64)]) -> TextState {
    let mark = |(writer, next, last, version): &(u64, u32, u8, u64)| Mark {
        writer: *writer,
        next: *next,
        last: op(*last),
        version: *version,
    };
    let marks: Vec<Mark> = marks.iter().map(mark).collect();
    TextState {
        root: op(1),
        last: marks.last().map_or(OpId::ZERO, |mark| mark.last),
        version,
        bytes: marks.iter().map(|mark| u64::from(mark.next)).sum(),
        marks,
    }
}

pub(crate) fn document_plain() -> DocumentState {
    let mut state = DocumentState::opened(op(1), 17);
    state.registers = [
        (SPECIES, register("Adélie".into(), 1, 0, 17)),
        (TAGGED, register(true.into(), 1, 0, 17)),
        (MASS, register(3_900.into(), 16, 2, 42)),
    ]
    .into_iter()
    .collect();
    state.version = 42;
    state
}

pub(crate) fn document_full() -> DocumentState {
    let mut state = document_plain();
    state.clock = 7;
    state.version = 44;
    state
        .registers
        .insert(FLIPPER, register(18.1.into(), 9, 4, 44));
    state
        .registers
        .insert(RAW, register(vec![0x00, 0xff].into(), 9, 4, 44));
    state
        .registers
        .insert(PLACE, register(Value::Null, 9, 4, 44));
    state.counters = [(SIGHTINGS, -3)].into_iter().collect::<FieldMap<i64>>();
    state.sets.insert(
        MARKS,
        set(&[("banded", &[(1, 17), (16, 42)]), ("moulting", &[(9, 44)])]),
    );
    state.texts.insert(
        NOTES,
        text(44, &[(7, 2, 16, 42), (4_503_599_627_370_495, 1_200, 9, 44)]),
    );
    state.updates = vec![(op(16), 42), (op(9), 44)];
    state.updates_forgotten = 16;
    state
}

pub(crate) fn document_tombstone() -> DocumentState {
    let mut state = document_plain();
    state.life = Life::Deleted(write(11, 5, 45));
    state.version = 45;
    state
}

pub(crate) fn document_reopened() -> DocumentState {
    let mut state = document_plain();
    state.generation = Generation {
        opener: op(12),
        version: 46,
    };
    state.reopened = Some(Reopened {
        generation: op(1),
        delete: op(11),
        delete_version: 45,
    });
    state.version = 46;
    state
}
