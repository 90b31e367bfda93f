use super::*;
use crate::id::{PENDING, Version};
use crate::time::Stamp;

pub(super) fn encoded(write: impl FnOnce(&mut Encoder<&mut Vec<u8>>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut Encoder::new(&mut bytes));
    bytes
}

pub(super) fn decode(bytes: &[u8]) -> Result<DocumentState, decode::Error> {
    minicbor::decode(bytes)
}

pub(super) fn generation(e: &mut Encoder<&mut Vec<u8>>) {
    e.u8(GENERATION)
        .unwrap()
        .array(2)
        .unwrap()
        .bytes(&[1; 16])
        .unwrap()
        .u64(1)
        .unwrap();
}

#[test]
fn what_is_malformed_is_refused() {
    let no_generation = encoded(|e| {
        e.map(1).unwrap().u8(VERSION).unwrap().u64(1).unwrap();
    });
    assert!(decode(&no_generation).is_err());
    let dangling = encoded(|e| {
        generation(e.map(2).unwrap());
        e.u8(REGISTERS).unwrap().map(1).unwrap().u16(1).unwrap();
        e.array(2).unwrap().u32(0).unwrap().null().unwrap();
    });
    assert!(
        decode(&dangling)
            .unwrap_err()
            .to_string()
            .contains("names no write")
    );
    let odd = encoded(|e| {
        generation(e.map(2).unwrap());
        e.u8(UPDATES).unwrap().array(3).unwrap();
        e.bytes(&[1; 16])
            .unwrap()
            .u64(1)
            .unwrap()
            .bytes(&[2; 16])
            .unwrap();
    });
    assert!(decode(&odd).unwrap_err().to_string().contains("pairs"));
    let endless = encoded(|e| {
        e.begin_map().unwrap().end().unwrap();
    });
    assert!(decode(&endless).is_err());
}

#[test]
fn hostile_lengths_reserve_nothing() {
    let huge = encoded(|e| {
        generation(e.map(2).unwrap());
        e.u8(WRITES).unwrap().array(u64::MAX).unwrap();
    });
    assert!(decode(&huge).is_err());
}

#[test]
fn unknown_keys_of_a_newer_version_are_skipped() {
    let newer = encoded(|e| {
        generation(e.map(2).unwrap());
        e.u8(99).unwrap().array(1).unwrap().str("later").unwrap();
    });
    assert_eq!(
        decode(&newer).unwrap(),
        DocumentState::opened(OpId([1; 16]), 1).with_version(0)
    );
}

#[test]
fn fields_of_one_write_share_its_provenance() {
    let mut state = DocumentState::opened(OpId([1; 16]), 1);
    let write = super::super::Write {
        op: OpId([1; 16]),
        stamp: Stamp::at(1_700_000_000_000),
        version: 1,
    };
    let mut sizes = Vec::new();
    for field in 1..=8 {
        state.registers.insert(
            field,
            Register {
                value: Value::Null,
                write,
            },
        );
        sizes.push(minicbor::to_vec(&state).unwrap().len());
    }
    assert!(
        sizes.windows(2).all(|pair| pair[1] - pair[0] == 4),
        "{sizes:?}"
    );
}

impl DocumentState {
    fn with_version(mut self, version: Version) -> DocumentState {
        self.version = version;
        self
    }
}

fn written_by(op: u8, n: i64) -> Register {
    let write = Write {
        op: OpId([op; 16]),
        stamp: Stamp::at(7),
        version: PENDING,
    };
    Register {
        value: Value::Integer(n),
        write,
    }
}

fn in_a_row() -> DocumentState {
    let mut state = DocumentState::opened(OpId([1; 16]), PENDING);
    for (field, op) in [(1, 1), (2, 1), (3, 2), (9, 1)] {
        state.registers.insert(field, written_by(op, field.into()));
    }
    state.counters.insert(4, 3);
    state
        .texts
        .insert(5, super::texts::tests::typed(&[(7, 1), (9, 2)]));
    state.life = Life::Deleted(written_by(2, 0).write);
    state
}

#[test]
fn a_row_leaves_out_what_stands_in_it_anyway() {
    let state = in_a_row();
    let elsewhere = |field: FieldId| field < 9;
    let plain = encoded(|e| state.encode_provenance(e, &elsewhere).unwrap());
    for named in [None, Some(OpId([1; 16])), Some(OpId([2; 16]))] {
        let row = encoded(|e| state.encode_row(e, &elsewhere, named).unwrap());
        assert!(row.len() < plain.len());
        let mut value = |field: FieldId| Value::Integer(field.into());
        let back = DocumentState::decode_row(&mut Decoder::new(&row), &mut value, named);
        assert_eq!(back.unwrap(), state);
    }
}

#[test]
fn an_op_left_out_must_be_named() {
    let named = Some(OpId([1; 16]));
    let row = encoded(|e| in_a_row().encode_row(e, &|_| true, named).unwrap());
    let mut nothing = |_: FieldId| Value::Null;
    assert!(DocumentState::decode_row(&mut Decoder::new(&row), &mut nothing, None).is_err());
    assert!(decode(&row).is_err());
}
