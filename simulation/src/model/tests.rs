#![allow(clippy::unwrap_used)]

use driftline_core::id::{DocumentId, OpId};
use driftline_core::op::{Change, ChangeKind, OpBody};
use driftline_core::value::Value;

use super::{Accepted, Model, Register};
use crate::world::Schemas;

const NOTES: u16 = 1;
const PLANS: u16 = 2;

fn id(n: u8) -> OpId {
    OpId([n; 16])
}

fn change(collection: u16, kind: ChangeKind, title: Option<&str>) -> OpBody {
    let mut change = Change::new(collection, DocumentId::new("a").unwrap(), kind);
    if let Some(title) = title {
        change.registers.insert(1, Value::Text(title.to_owned()));
    }
    if !kind.is_opener() {
        change.generation = Some(id(1));
    }
    OpBody {
        changes: vec![change],
        ..OpBody::default()
    }
}

/// Ops in the server's order: id, base, moment.
fn after(ops: &[(u8, u64, i64, OpBody)]) -> Model {
    let schema = Schemas::new().app;
    let mut model = Model::default();
    for (at, (n, base, written, body)) in ops.iter().enumerate() {
        let op = Accepted {
            id: id(*n),
            body,
            version: at as u64 + 1,
            base: *base,
            written: *written,
        };
        model.accept(&schema, op).unwrap();
    }
    model
}

fn title(model: &Model, collection: u16) -> Option<String> {
    let doc = model.documents.get(&(collection, "a".to_owned())).unwrap();
    match (doc.deleted, doc.registers.get(&1)) {
        (
            None,
            Some(Register {
                value: Value::Text(text),
                ..
            }),
        ) => Some(text.clone()),
        _ => None,
    }
}

#[test]
fn the_later_one_wins_unless_it_was_seen() {
    use ChangeKind::{Insert, Update};
    let insert = || (1, 0, 100, change(NOTES, Insert, Some("x")));
    let late = (2, 0, 50, change(NOTES, Update, Some("late")));
    let model = after(&[insert(), late]);
    assert_eq!(title(&model, NOTES).as_deref(), Some("x"));
    let seen = (2, 1, 50, change(NOTES, Update, Some("seen")));
    let model = after(&[insert(), seen]);
    assert_eq!(title(&model, NOTES).as_deref(), Some("seen"));
    let mut linked = change(NOTES, Update, Some("linked"));
    linked.changes[0].prev = Some(id(1));
    let model = after(&[insert(), (2, 0, 50, linked)]);
    assert_eq!(title(&model, NOTES).as_deref(), Some("linked"));
}

#[test]
fn deletes_follow_the_collections_policy() {
    use ChangeKind::{Delete, Insert, Restore, Update};
    let run = |collection| {
        after(&[
            (1, 0, 100, change(collection, Insert, Some("x"))),
            (2, 1, 110, change(collection, Delete, None)),
            (3, 1, 120, change(collection, Update, Some("y"))),
        ])
    };
    assert_eq!(title(&run(NOTES), NOTES), None);
    assert_eq!(title(&run(PLANS), PLANS).as_deref(), Some("y"));
    let restored = after(&[
        (1, 0, 100, change(NOTES, Insert, Some("x"))),
        (2, 1, 110, change(NOTES, Delete, None)),
        (3, 2, 120, change(NOTES, Restore, None)),
    ]);
    assert_eq!(title(&restored, NOTES).as_deref(), Some("x"));
}

#[test]
fn what_builds_on_a_rejected_insert_cannot_be_accepted() {
    let schema = Schemas::new().app;
    let mut model = after(&[(2, 0, 1, change(NOTES, ChangeKind::Insert, Some("x")))]);
    model.reject(id(1), &change(NOTES, ChangeKind::Insert, Some("z")));
    let body = &change(NOTES, ChangeKind::Update, Some("y"));
    let op = Accepted {
        id: id(3),
        body,
        version: 2,
        base: 0,
        written: 2,
    };
    assert!(model.accept(&schema, op).is_err());
}
