//! What devices write.

use driftline_core::op::{Change, ChangeKind, OpBody, TextEdit, Update};
use driftline_core::protocol::{SentOp, When};
use driftline_core::value::Value;

use super::*;

pub(crate) fn insert() -> Change {
    let mut change = Change::new(BIRDS, document(1), ChangeKind::Insert);
    change.registers = [
        (SPECIES, "Adélie".into()),
        (TAGGED, true.into()),
        (MASS, 3_750.into()),
        (FLIPPER, 18.1.into()),
        (OBSERVED, NOON.into()),
        (CHIP, "6f9619ff-8b86-4011-b42d-00c04fc964ff".into()),
        (NEST, r#"{"row":3,"eggs":[1,2]}"#.into()),
        (PLACE, Value::Null),
    ]
    .into_iter()
    .collect();
    change.increments.insert(SIGHTINGS, 1);
    change
        .adds
        .insert(MARKS, vec!["banded".into(), "left-handed".into()]);
    change
}

pub(super) fn update() -> Change {
    let mut change = Change::new(BIRDS, document(2), ChangeKind::Update);
    change.generation = Some(op(1));
    change.prev = Some(op(2));
    change.registers.insert(TAGGED, false.into());
    change.increments.insert(SIGHTINGS, -2);
    change.adds.insert(MARKS, vec!["moulting".into()]);
    change.removes.insert(MARKS, vec!["banded".into()]);
    change
}

/// What the JSON form cannot carry as a number, or not at all without base64.
pub(super) fn wide_values() -> Change {
    let mut change = Change::new(BIRDS, named("adelie/N1A1"), ChangeKind::Update);
    change.registers = [
        (MASS, i64::MIN.into()),
        (OBSERVED, 9_007_199_254_740_993_i64.into()),
        (RAW, vec![0x00, 0xff, 0x10].into()),
    ]
    .into_iter()
    .collect();
    change.increments.insert(SIGHTINGS, i64::MAX);
    change
}

pub(super) fn revision() -> Change {
    let mut change = Change::new(TEAMS, document(3), ChangeKind::Update);
    change.generation = Some(op(3));
    change.registers.insert(1, "Dream".into());
    change.clock = 7;
    change
}

pub(super) fn aimed(kind: ChangeKind, n: u8) -> Change {
    let mut change = Change::new(BIRDS, document(n), kind);
    if kind == ChangeKind::Delete {
        change.generation = Some(op(4));
    }
    change
}

pub(crate) fn body(changes: Vec<Change>) -> OpBody {
    OpBody {
        base: 41,
        schema: 1,
        changes,
        ..OpBody::default()
    }
}

pub(super) fn full(n: u8, when: When, body: OpBody) -> SentOp {
    SentOp::Full {
        id: op(n),
        when,
        body,
    }
}

/// "hi" by writer 7 at the beginning of a text: the update as Yrs writes it.
pub(crate) fn typed() -> Update {
    Update(b"\x01\x01\x07\x00\x04\x01\x01t\x02hi\x00".to_vec())
}

pub(super) fn text_edit() -> Change {
    let mut change = Change::new(BIRDS, document(2), ChangeKind::Update);
    change.generation = Some(op(1));
    change.texts.insert(
        NOTES,
        TextEdit {
            writer: 7,
            update: typed(),
            after: Some(op(15)),
        },
    );
    change
}

/// One boolean of a document known by packed UUIDs, with numbers as an app in use has them.
pub(crate) fn one_boolean() -> SentOp {
    let mut change = Change::new(12, document(1), ChangeKind::Update);
    change.generation = Some(op(1));
    change.registers.insert(30, true.into());
    let body = OpBody {
        base: 70_000,
        schema: 3,
        changes: vec![change],
        ..OpBody::default()
    };
    full(2, When::Age(3_600_000), body)
}
