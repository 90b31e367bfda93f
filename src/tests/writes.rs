//! What one transaction reads, leaves in the file and queues.

use driftline_core::op::ChangeKind;

use super::{Fixture, fixture};
use crate::{Error, Result, Value};

pub(super) fn bird(db: &Fixture) -> String {
    db.write(|tx| tx.insert("birds", [("species", "Adelie")]))
        .unwrap()
        .to_string()
}

#[test]
fn a_document_comes_back_with_every_kind() {
    let db = fixture();
    let fields: Vec<(&str, Value)> = vec![
        ("species", "Gentoo".into()),
        ("mass", 5_000.into()),
        ("ringed", true.into()),
        ("beak", 4.5.into()),
        ("seen_at", 1_700_000_000_000_i64.into()),
        ("token", "0190a3b4-0000-7000-8000-000000000001".into()),
        ("extra", r#"{"a":[1]}"#.into()),
        ("photo", vec![0_u8, 255].into()),
        ("notes", Value::Null),
    ];
    let id = db
        .write(|tx| {
            let id = tx.insert("birds", fields.clone())?;
            tx.increment("birds", id.as_str(), "sightings", 3)?;
            tx.add_to_set("birds", id.as_str(), "tags", ["b", "a", "b"])?;
            Ok(id)
        })
        .unwrap();
    let document = db.get("birds", id.as_str()).unwrap().unwrap();
    for (name, value) in &fields {
        assert_eq!(document.get(name), Some(value), "{name}");
    }
    assert_eq!(document.text("island"), Some("Torgersen"));
    assert_eq!(document.integer("sightings"), Some(3));
    assert_eq!(document.set("tags").unwrap(), ["a", "b"]);
    assert!(
        document
            .text("place")
            .is_some_and(driftline_core::order_key::is_valid)
    );
    assert!(document.get("tags").is_none() && document.get("nothing").is_none());
    assert_eq!(db.ops().len(), 1);
    let row = db
        .query("SELECT * FROM birds WHERE id = ?", [id.as_str()])
        .unwrap();
    let row = row.get(0).unwrap();
    assert_eq!(row.get("ringed"), Some(&Value::Integer(1)));
    assert_eq!(row.get("tags"), Some(&Value::from(r#"["a","b"]"#)));
    assert_eq!(row.get("photo"), Some(&Value::Bytes(vec![0, 255])));
}

#[test]
fn what_is_written_inside_is_read_inside_also_by_sql() {
    let db = fixture();
    db.write(|tx| {
        let id = tx.insert("birds", [("species", "Adelie")])?.to_string();
        assert_eq!(
            tx.get("birds", &id)?.unwrap().text("species"),
            Some("Adelie")
        );
        assert_eq!(
            tx.query("SELECT count(*) FROM birds", ())?.scalar(),
            Some(&Value::Integer(1))
        );
        let found = tx.query(
            "SELECT id FROM birds_search WHERE birds_search MATCH 'adelie'",
            (),
        )?;
        assert_eq!(
            found.get(0).unwrap().get("id"),
            Some(&Value::from(id.as_str()))
        );
        assert!(tx.update("birds", &id, [("species", "Gentoo")])?);
        let rows = tx.query("SELECT species FROM birds", ())?;
        assert_eq!(rows.scalar(), Some(&Value::from("Gentoo")));
        assert!(
            tx.query(
                "SELECT 1 FROM birds_search WHERE birds_search MATCH 'adelie'",
                ()
            )?
            .is_empty()
        );
        // Nobody outside sees it yet.
        assert_eq!(db.count("SELECT count(*) FROM birds"), 0);
        assert!(tx.delete("birds", &id)?);
        assert!(tx.get("birds", &id)?.is_none());
        assert!(tx.query("SELECT 1 FROM birds", ())?.is_empty());
        assert!(tx.restore("birds", &id)?);
        assert_eq!(
            tx.get("birds", &id)?.unwrap().text("species"),
            Some("Gentoo")
        );
        Ok(())
    })
    .unwrap();
    assert_eq!(db.count("SELECT count(*) FROM birds"), 1);
    assert_eq!(
        db.count("SELECT count(*) FROM birds_search WHERE birds_search MATCH 'gentoo'"),
        1
    );
    let kinds: Vec<_> = db.ops()[0]
        .changes
        .iter()
        .map(|change| change.kind)
        .collect();
    assert_eq!(
        kinds,
        [ChangeKind::Insert, ChangeKind::Delete, ChangeKind::Restore]
    );
}

#[test]
fn an_error_or_a_panic_inside_leaves_nothing() {
    let db = fixture();
    let failed: Result<()> = db.write(|tx| {
        tx.insert("birds", [("species", "Adelie")])?;
        tx.query("SELECT 1 FROM birds", ())?;
        Err(Error::aborted("changed my mind"))
    });
    assert_eq!(failed.unwrap_err().code(), "aborted");
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        db.write(|tx| -> Result<()> {
            tx.insert("birds", [("species", "Adelie")])?;
            tx.query("SELECT 1 FROM birds", ())?;
            panic!("in the app");
        })
    }));
    assert!(panicked.is_err());
    assert_eq!(db.count("SELECT count(*) FROM birds"), 0);
    assert!(db.ops().is_empty());
    bird(&db);
    assert_eq!(
        (db.count("SELECT count(*) FROM birds"), db.ops().len()),
        (1, 1)
    );
}

#[test]
fn a_refused_call_leaves_the_transaction_usable() {
    let db = fixture();
    db.write(|tx| {
        let id = tx.insert("birds", [("species", "Adelie")])?.to_string();
        assert_eq!(
            tx.update("birds", &id, [("mass", "heavy")])
                .unwrap_err()
                .code(),
            "wrong_kind"
        );
        assert_eq!(
            tx.add_to_set("birds", &id, "tags", ["a", "b", "c", "d", "e", "f"])
                .unwrap_err()
                .code(),
            "set_too_large"
        );
        tx.add_to_set("birds", &id, "tags", ["a"])?;
        assert!(tx.update("birds", &id, [("mass", 7)])?);
        Ok(())
    })
    .unwrap();
    let op = &db.ops()[0];
    assert_eq!(op.changes.len(), 1);
    assert_eq!(op.changes[0].registers.get(3), Some(&Value::Integer(7)));
    assert_eq!(op.changes[0].adds.get(12), Some(&vec!["a".to_owned()]));
}

#[test]
fn an_update_writes_what_differs_and_nothing_else() {
    let db = fixture();
    let id = bird(&db);
    let same: Vec<(&str, Value)> = vec![
        ("species", "Adelie".into()),
        ("island", "Torgersen".into()),
        ("mass", Value::Null),
    ];
    assert!(
        !db.write(|tx| tx.update("birds", &id, same.clone()))
            .unwrap()
    );
    assert_eq!(db.ops().len(), 1, "nothing changed, nothing is queued");
    let mut some = same;
    some[2].1 = 9.into();
    assert!(db.write(|tx| tx.update("birds", &id, some)).unwrap());
    let ops = db.ops();
    let written: Vec<u16> = ops[1].changes[0]
        .registers
        .iter()
        .map(|(field, _)| field)
        .collect();
    assert_eq!(written, [3]);
}

#[test]
fn a_default_yields_to_an_explicit_null() {
    let db = fixture();
    let id = bird(&db);
    db.write(|tx| tx.update("birds", &id, [("island", Value::Null)]))
        .unwrap();
    assert_eq!(
        db.get("birds", &id).unwrap().unwrap().get("island"),
        Some(&Value::Null)
    );
    assert_eq!(
        db.count("SELECT count(*) FROM birds WHERE island IS NULL"),
        1
    );
}

#[test]
fn counters_and_sets_join_within_a_transaction() {
    let db = fixture();
    let id = bird(&db);
    db.write(|tx| tx.add_to_set("birds", &id, "tags", ["old", "gone"]))
        .unwrap();
    db.write(|tx| {
        tx.increment("birds", &id, "sightings", 5)?;
        tx.increment("birds", &id, "sightings", -2)?;
        tx.increment("birds", &id, "sightings", 0)?;
        tx.remove_from_set("birds", &id, "tags", ["gone", "never"])?;
        tx.add_to_set("birds", &id, "tags", ["new", "brief", "old"])?;
        tx.remove_from_set("birds", &id, "tags", ["brief"])?;
        Ok(())
    })
    .unwrap();
    let document = db.get("birds", &id).unwrap().unwrap();
    assert_eq!(document.set("tags").unwrap(), ["new", "old"]);
    assert_eq!(document.integer("sightings"), Some(3));
    let op = db.ops().pop().unwrap();
    let [change] = op.changes.as_slice() else {
        panic!("{:?}", op.changes)
    };
    assert_eq!(change.increments.get(11), Some(&3));
    assert_eq!(
        change.adds.get(12),
        Some(&vec!["new".to_owned(), "old".to_owned()])
    );
}

#[test]
fn order_keys_place_documents_between_others() {
    let db = fixture();
    let (first, second) = (bird(&db), bird(&db));
    let key = |id: &str| {
        db.get("birds", id)
            .unwrap()
            .unwrap()
            .text("place")
            .unwrap()
            .to_owned()
    };
    assert!(key(&first) < key(&second), "as written");
    let (last, middle) = db
        .write(|tx| {
            let last = tx.order_key_between(Some(&key(&second)), None)?;
            let middle = tx.order_key_between(Some(&key(&second)), Some(&last))?;
            tx.update("birds", &first, [("place", last.as_str())])?;
            Ok((last, middle))
        })
        .unwrap();
    assert!(key(&second) < middle && middle < last);
    let reversed = db.write(|tx| tx.order_key_between(Some(&last), Some(&middle)));
    assert_eq!(reversed.unwrap_err().code(), "invalid_order_key");
}

#[test]
fn many_documents_are_written_in_several_ops() {
    let db = fixture();
    let documents = (0..200).map(|n| [("species", format!("{n:040}"))]);
    assert_eq!(db.write_bulk("birds", documents).unwrap(), 200);
    assert_eq!(db.count("SELECT count(*) FROM birds"), 200);
    let ops = db.ops();
    assert!(ops.len() > 2, "{}", ops.len());
    let ids = db.query("SELECT id FROM birds ORDER BY rowid_is_not_here", ());
    assert_eq!(ids.unwrap_err().code(), "invalid_query");
    let failure = db
        .write_bulk(
            "birds",
            (0..200).map(|n| [("species", "x".repeat(if n == 150 { 41 } else { 1 }))]),
        )
        .unwrap_err();
    assert_eq!(failure.error.code(), "value_too_large");
    assert_eq!(
        db.count("SELECT count(*) FROM birds"),
        200 + failure.written as i64
    );
    assert!(failure.written > 0 && failure.written <= 150);
}

#[test]
fn a_transaction_of_many_documents_finds_each_again() {
    let db = fixture();
    db.write(|tx| {
        let ids: Vec<String> = (0..12)
            .map(|n| {
                tx.insert("forms", [("title", format!("{n}"))])
                    .map(|id| id.to_string())
            })
            .collect::<Result<_>>()?;
        for (n, id) in ids.iter().enumerate().rev() {
            assert!(tx.update("forms", id, [("state", format!("{n}"))])?);
            tx.insert_with_id("jobs", id, [("title", "same id, another collection")])?;
            assert_eq!(
                tx.get("forms", id)?.unwrap().text("state"),
                Some(n.to_string().as_str())
            );
        }
        Ok(())
    })
    .unwrap();
    assert_eq!(
        db.count("SELECT count(*) FROM forms WHERE title = state"),
        12
    );
    assert_eq!(db.count("SELECT count(*) FROM jobs"), 12);
    let [op] = db.ops().try_into().unwrap();
    assert_eq!(op.changes.len(), 24, "insert and update are one change");
}

#[test]
fn increments_that_add_up_to_nothing_queue_nothing() {
    let db = fixture();
    let id = db
        .write(|tx| tx.insert("birds", [("species", "Adelie")]))
        .unwrap()
        .to_string();
    let back_and_forth = |look: bool| {
        db.write(|tx| {
            tx.increment("birds", &id, "sightings", 5)?;
            if look {
                tx.query("SELECT sightings FROM birds", ())?;
            }
            tx.increment("birds", &id, "sightings", -5)
        })
        .unwrap();
        assert_eq!(db.count("SELECT sightings FROM birds"), 0);
    };
    back_and_forth(false);
    assert_eq!(db.ops().len(), 1, "the insert alone");
    // A query in between has put it into the file; the op is then told what is there.
    back_and_forth(true);
    db.write(|tx| {
        tx.increment("birds", &id, "sightings", 5)?;
        tx.increment("birds", &id, "sightings", -4)
    })
    .unwrap();
    assert_eq!(db.count("SELECT sightings FROM birds"), 1);
    let sum: i64 = db
        .ops()
        .iter()
        .flat_map(|op| &op.changes)
        .flat_map(|change| change.increments.iter())
        .map(|(_, by)| *by)
        .sum();
    assert_eq!(sum, 1);
}
