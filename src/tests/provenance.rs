//! What a write says of the writes before it, and what the file says of who wrote what.

use driftline_core::id::{DocumentId, OpId};
use driftline_core::op::ChangeKind;

use super::fixture;
use super::writes::bird;
use crate::Value;

#[test]
fn deletes_and_restores_name_their_generation_and_predecessor() {
    let db = fixture();
    let id = bird(&db);
    assert!(db.write(|tx| tx.delete("birds", &id)).unwrap());
    assert!(
        !db.write(|tx| tx.delete("birds", &id)).unwrap(),
        "it is gone already"
    );
    assert!(db.get("birds", &id).unwrap().is_none());
    assert_eq!(
        db.count("SELECT count(*) FROM birds_search WHERE birds_search MATCH 'adelie'"),
        0
    );
    assert_eq!(
        db.write(|tx| tx.update("birds", &id, [("mass", 1)]))
            .unwrap_err()
            .code(),
        "not_found"
    );
    db.write(|tx| tx.insert_with_id("birds", &id, [("species", "Gentoo")]))
        .unwrap();
    db.write(|tx| tx.update("birds", &id, [("mass", 1)]))
        .unwrap();
    let ids: Vec<OpId> = {
        let raw = db.raw();
        let mut statement = raw
            .prepare("SELECT op_id FROM _dl_outbox ORDER BY op_id")
            .unwrap();
        let ids = statement
            .query_map([], |row| Ok(OpId(row.get(0)?)))
            .unwrap();
        ids.map(|id| id.unwrap()).collect()
    };
    let ops = db.ops();
    let links: Vec<_> = ops
        .iter()
        .map(|op| {
            (
                op.changes[0].kind,
                op.changes[0].generation,
                op.changes[0].prev,
            )
        })
        .collect();
    assert_eq!(
        links,
        [
            (ChangeKind::Insert, None, None),
            (ChangeKind::Delete, Some(ids[0]), Some(ids[0])),
            (ChangeKind::Insert, None, Some(ids[1])),
            (ChangeKind::Update, Some(ids[2]), Some(ids[2])),
        ]
    );
    // The second generation has nothing of the first.
    assert_eq!(
        db.get("birds", &id).unwrap().unwrap().text("species"),
        Some("Gentoo")
    );
}

#[test]
fn a_collection_merged_by_document_carries_all_of_it_and_the_next_revision() {
    let db = fixture();
    let id = db
        .write(|tx| tx.insert("forms", [("title", "a"), ("state", "new")]))
        .unwrap()
        .to_string();
    db.write(|tx| {
        tx.update("forms", &id, [("state", "open")])?;
        tx.update("forms", &id, [("title", "b")])
    })
    .unwrap();
    db.write(|tx| tx.update("forms", &id, [("state", "shut")]))
        .unwrap();
    let ops = db.ops();
    let seen: Vec<_> = ops
        .iter()
        .map(|op| {
            (
                op.changes.len(),
                op.changes[0].clock,
                op.changes[0].registers.len(),
            )
        })
        .collect();
    // The second update says all that the first did, and nobody has seen that one: it stands for it.
    assert_eq!(seen, [(1, 1, 2), (1, 3, 2)]);
    assert_eq!(ops[1].changes[0].registers.get(1), Some(&Value::from("b")));
}

#[test]
fn rows_of_one_transaction_keep_each_its_own_provenance() {
    let db = fixture();
    let ids = ["a", "b", "c", "d", "e", "f", "g", "h"];
    db.write(|tx| {
        for (n, id) in ids.iter().enumerate() {
            tx.insert_with_id("jobs", id, [("title", format!("job {n}"))])?;
        }
        tx.insert_with_id("forms", "a", [("title", "one")])?;
        tx.insert_with_id("forms", "b", [("title", "two")])?;
        tx.insert_with_id("forms", "c", [("state", "three")])?;
        tx.insert_with_id("forms", "d", [("title", "four"), ("state", "four")])?;
        tx.insert_with_id("forms", "e", [("title", "five")])?;
        tx.insert_with_id("forms", "f", [("title", "six")])?;
        tx.delete("forms", "f")?;
        tx.insert_with_id("forms", "g", [("title", "seven")])
    })
    .unwrap();
    db.write(|tx| tx.insert_with_id("jobs", "i", [("title", "another op's")]))
        .unwrap();
    let shown = |collection, id: &str| {
        let id = DocumentId::new(id).unwrap();
        let stored = db
            .storage()
            .read(|tx| tx.load(collection, &id))
            .unwrap()
            .unwrap();
        assert_eq!(stored.pending, Some(stored.shown.generation.opener));
        let fields: Vec<u16> = stored.shown.registers.iter().map(|(f, _)| f).collect();
        let by: Vec<_> = stored
            .shown
            .registers
            .iter()
            .map(|(_, r)| r.write.op)
            .collect();
        assert!(by.iter().all(|op| Some(*op) == stored.pending));
        (stored.shown.is_alive(), fields, by.first().copied())
    };
    let first = shown(3, "a").2;
    for id in ids {
        assert_eq!(shown(3, id), (true, vec![1], first));
    }
    assert!(shown(3, "i").2 > first);
    for (id, alive, fields) in [
        ("a", true, vec![1]),
        ("b", true, vec![1]),
        ("c", true, vec![2]),
        ("d", true, vec![1, 2]),
        ("e", true, vec![1]),
        ("f", false, vec![1]),
        ("g", true, vec![1]),
    ] {
        assert_eq!(shown(2, id), (alive, fields, first), "{id}");
    }
}
