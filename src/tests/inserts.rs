//! New documents that hold registers alone: their rows are written straight from their changes, many by
//! one statement.

use driftline_core::value::Value;

use super::{Fixture, config, fixture_of};
use crate::{Config, Database};

const SCHEMA: &str = r#"
[schema]
name = "field-notes"
version = 1

[collections.things]
id = 1

[collections.things.fields]
name  = { id = 1, kind = "text", required = true }
size  = { id = 2, kind = "integer", default = 7 }
share = { id = 4, kind = "real" }
photo = { id = 5, kind = "bytes" }
count = { id = 6, kind = "counter" }
tags  = { id = 7, kind = "set" }
notes = { id = 8, kind = "rich_text" }
"#;

/// What a row holds, its id aside.
fn rows(db: &Fixture) -> Vec<Vec<rusqlite::types::Value>> {
    let raw = db.raw();
    let mut statement = raw
        .prepare(
            "SELECT _deleted, _state, _base, _pending, _search, f1, f2, f4, f5, f6, f7 \
             FROM _dl_c_1 ORDER BY id",
        )
        .unwrap();
    let columns = statement.column_count();
    let rows = statement.query_map([], |row| (0..columns).map(|at| row.get(at)).collect());
    rows.unwrap().collect::<Result<_, _>>().unwrap()
}

/// Writes pairs of equal documents, of two shapes; the second of each pair is looked at, so that the
/// merge says what it shows.
fn pairs(db: &Database) {
    db.write(|tx| {
        for pair in 0..40 {
            for is_looked_at in [false, true] {
                let mut fields = vec![
                    ("name", Value::from(format!("thing {pair}"))),
                    ("share", Value::Integer(pair)),
                ];
                if pair >= 25 {
                    fields.push(("size", Value::Null));
                    fields.push(("photo", Value::Bytes(vec![1, 2, 3])));
                }
                let id = tx.insert("things", fields)?;
                if is_looked_at {
                    let shown = tx.get("things", id.as_str())?;
                    assert_eq!(
                        shown.unwrap().text("name"),
                        Some(format!("thing {pair}").as_str())
                    );
                }
            }
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_row_is_the_same_whether_somebody_looked_at_the_document_or_not() {
    for account in [Some("ann".to_owned()), None] {
        let dir = tempfile::tempdir().unwrap();
        let config = Config {
            account,
            ..config(&dir, SCHEMA)
        };
        let db = Fixture {
            db: Database::open(config).unwrap(),
            dir,
        };
        pairs(&db);
        let rows = rows(&db);
        assert_eq!(rows.len(), 80);
        for pair in rows.chunks(2) {
            assert_eq!(pair[0], pair[1]);
        }
        assert_ne!(rows[0], rows[79]);
    }
}

#[test]
fn what_is_done_to_a_new_document_later_in_its_transaction_is_done_to_what_it_holds() {
    let db = fixture_of(SCHEMA);
    db.write(|tx| {
        for id in ["a", "b", "c", "d"] {
            tx.insert_with_id("things", id, [("name", "new")])?;
        }
        tx.update("things", "a", [("name", "changed")])?;
        tx.increment("things", "b", "count", 3)?;
        tx.delete("things", "c")?;
        let merged = [("share", Value::Real(0.5)), ("name", "merged".into())];
        tx.insert_with_id("things", "d", merged)?;
        let seen = tx.query("SELECT name, count FROM things ORDER BY id", ())?;
        assert_eq!(seen.len(), 3);
        assert!(tx.update("things", "c", [("name", "gone")]).is_err());
        Ok(())
    })
    .unwrap();
    let rows = db
        .query(
            "SELECT id, name, size, share, count FROM things ORDER BY id",
            (),
        )
        .unwrap();
    let rows: Vec<_> = rows.iter().map(|row| row.values().to_vec()).collect();
    let row = |id: &str, name: &str, share: Value, count: i64| -> Vec<Value> {
        vec![id.into(), name.into(), 7.into(), share, count.into()]
    };
    assert_eq!(
        rows,
        [
            row("a", "changed", Value::Null, 0),
            row("b", "new", Value::Null, 3),
            row("d", "merged", Value::Real(0.5), 0),
        ]
    );
}

#[test]
fn a_document_that_is_refused_takes_nothing_else_along() {
    let db = fixture_of(SCHEMA);
    db.write(|tx| {
        tx.insert_with_id("things", "a", [("name", "new")])?;
        let refused = tx.insert_with_id("things", "b", [("size", 1)]);
        assert_eq!(refused.unwrap_err().code(), "required");
        let refused = tx.insert_with_id("things", "a", [("size", "large")]);
        assert_eq!(refused.unwrap_err().code(), "wrong_kind");
        Ok(())
    })
    .unwrap();
    assert_eq!(db.count("SELECT count(*) FROM things"), 1);
    assert_eq!(db.ops().len(), 1);
}

#[test]
fn documents_sort_as_they_were_made_in_whatever_transactions() {
    let db = fixture_of(SCHEMA);
    // Many within one millisecond.
    let made = (0..300).map(|_| db.write(|tx| tx.insert("things", [("name", "one")])));
    let made: Vec<_> = made.collect::<crate::Result<_>>().unwrap();
    assert!(made.is_sorted());
}
