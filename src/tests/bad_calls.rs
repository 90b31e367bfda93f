//! What the calls beside `write` can get wrong: names, ids, numbers, files of others.

use super::{Fixture, fixture};
use crate::{Fault, LossFilter, SignOut, Value};

/// A database, the id of a document in it, and that of the op that wrote it.
type Call = fn(&Fixture, &str, &str) -> crate::Result<()>;

/// An op that nobody has written.
const NOBODYS: &str = "0190b65c-4e00-7000-8000-000000000001";

const CALLS: &[(&str, &str, Call)] = &[
    ("unknown_collection", "fish", |db, id, _| {
        db.get("fish", id).map(drop)
    }),
    ("invalid_document_id", "255", |db, _, _| {
        db.get("birds", "").map(drop)
    }),
    ("invalid_document_id", "255", |db, _, _| {
        db.get("birds", &"x".repeat(256)).map(drop)
    }),
    ("unknown_collection", "fish", |db, id, _| {
        db.rich_text("fish", id, "species").map(drop)
    }),
    ("unknown_field", "birds.wings", |db, id, _| {
        db.rich_text("birds", id, "wings").map(drop)
    }),
    ("wrong_kind", "birds.mass", |db, id, _| {
        db.rich_text("birds", id, "mass").map(drop)
    }),
    ("wrong_kind", "birds.tags", |db, id, _| {
        db.list("birds", id, "tags").map(drop)
    }),
    ("wrong_kind", "birds.species", |db, id, _| {
        db.open_text("birds", id, "species").map(drop)
    }),
    ("unknown_collection", "fish", |db, id, _| {
        db.open_text("fish", id, "species").map(drop)
    }),
    ("unknown_collection", "fish", |db, _, _| {
        let failed = db.write_bulk("fish", [[("species", "x")]]);
        failed.map(drop).map_err(|failure| failure.error)
    }),
    ("wrong_kind", "birds.mass", |db, _, _| {
        let fine = vec![("species", Value::from("x"))];
        let heavy = vec![("species", Value::from("y")), ("mass", "heavy".into())];
        let failed = db.write_bulk("birds", [fine, heavy]);
        failed.map(drop).map_err(|failure| {
            assert_eq!(failure.written, 0, "one transaction of both");
            failure.error
        })
    }),
    ("invalid_parameters", "parameter", |db, _, _| {
        db.query("SELECT ?", ()).map(drop)
    }),
    ("invalid_parameters", "parameter", |db, _, _| {
        db.watch("SELECT ?", ()).map(drop)
    }),
    ("invalid_id", "UUID", |db, _, _| {
        db.outbox().list(Some("first"), 1).map(drop)
    }),
    ("invalid_id", "UUID", |db, _, _| {
        db.outbox().quarantined(Some(""), 1).map(drop)
    }),
    ("invalid_id", "UUID", |db, _, _| {
        db.outbox().retry("' OR 1 = 1 --").map(drop)
    }),
    ("not_quarantined", "quarantine", |db, _, _| {
        db.outbox().retry(NOBODYS).map(drop)
    }),
    ("not_quarantined", "quarantine", |db, _, op| {
        db.outbox().retry(op).map(drop)
    }),
    ("invalid_id", "UUID", |db, _, _| {
        db.outbox().discard(&"0".repeat(10_000))
    }),
    ("not_queued", "outbox", |db, _, _| {
        db.outbox().discard(NOBODYS)
    }),
    ("no_such_loss", "loss", |db, _, _| {
        db.ledger().restore(1).map(drop)
    }),
    ("no_such_loss", "loss", |db, _, _| {
        db.ledger().restore(i64::MIN).map(drop)
    }),
    ("unknown_collection", "fish", |db, _, _| {
        query(db, |filter| filter.collection = Some("fish".to_owned()))
    }),
    ("unknown_field", "birds.wings", |db, _, _| {
        query(db, |filter| {
            filter.collection = Some("birds".to_owned());
            filter.field = Some("wings".to_owned());
        })
    }),
    ("unknown_field", "species", |db, _, _| {
        query(db, |filter| filter.field = Some("species".to_owned()))
    }),
    ("invalid_document_id", "255", |db, _, _| {
        query(db, |filter| filter.document = Some("x".repeat(256)))
    }),
    ("invalid_config", "account", |db, _, _| {
        db.attach_account("", "w1").map(drop)
    }),
    ("invalid_config", "workspace", |db, _, _| {
        db.attach_account("ann", &"w".repeat(256)).map(drop)
    }),
    ("wrong_account", "account", |db, _, _| {
        db.attach_account("bob", "w1").map(drop)
    }),
    ("wrong_workspace", "workspace", |db, _, _| {
        db.attach_account("ann", "w2").map(drop)
    }),
    ("unsynced_changed", "not 7", |db, _, _| {
        db.sign_out(SignOut::Drop { unsynced: 7 }).map(drop)
    }),
    ("invalid_import", "line 1", |db, _, _| import(db, b"{")),
    ("invalid_import", "line 2", |db, _, _| {
        import(db, b"\n[7]\n")
    }),
    ("invalid_import", "line 1", |db, _, _| {
        import(db, b"\xff\xfe")
    }),
    ("wrong_account", "account", |db, id, op| {
        import(db, line(id, op, "bob", "w1").as_bytes())
    }),
    ("wrong_workspace", "workspace", |db, id, op| {
        import(db, line(id, op, "ann", "../w1").as_bytes())
    }),
    ("invalid_import", "line 1", |db, _, op| {
        import(db, line("not an id", op, "ann", "w1").as_bytes())
    }),
    ("invalid_import", "line 1", |db, _, _| {
        import(db, line(NOBODYS, "gGA=", "ann", "w1").as_bytes())
    }),
];

fn query(db: &Fixture, change: impl FnOnce(&mut LossFilter)) -> crate::Result<()> {
    let mut filter = LossFilter::default();
    change(&mut filter);
    db.ledger().query(&filter, 10).map(drop)
}

fn import(db: &Fixture, mut bytes: &[u8]) -> crate::Result<()> {
    db.outbox().import(&mut bytes).map(drop)
}

/// A line of an export, of that id and body.
fn line(id: &str, body: &str, account: &str, workspace: &str) -> String {
    let op = serde_json::json!({
        "account": account, "workspace": workspace, "body": body, "wall": 1, "boot": 1, "mono": 1,
    });
    serde_json::json!({ "id": id, "op": op }).to_string()
}

/// Every row of every table.
fn everything(db: &Fixture) -> Vec<String> {
    let file = db.raw();
    let tables = "SELECT name FROM sqlite_schema WHERE type = 'table' AND sql NOT LIKE \
                  'CREATE VIRTUAL%' ORDER BY name";
    let mut tables = file.prepare(tables).unwrap();
    let names = tables.query_map([], |row| row.get::<_, String>(0)).unwrap();
    let mut all = Vec::new();
    for name in names.map(Result::unwrap) {
        let mut rows = file.prepare(&format!("SELECT * FROM \"{name}\"")).unwrap();
        let width = rows.column_count();
        let rows = rows.query_map([], |row| {
            let values: rusqlite::Result<Vec<rusqlite::types::Value>> =
                (0..width).map(|at| row.get(at)).collect();
            Ok(format!("{name} {:?}", values?))
        });
        all.extend(rows.unwrap().map(Result::unwrap));
    }
    all
}

#[test]
fn every_call_names_a_mistake_and_changes_nothing() {
    let db = fixture();
    let id = db.write(|tx| tx.insert("birds", [("species", "Adelie")]));
    let id = id.unwrap().to_string();
    let op = db.outbox().list(None, 1).unwrap().remove(0).id;
    let before = everything(&db);
    assert!(before.len() > 5, "{before:?}");
    for (n, (code, word, call)) in CALLS.iter().enumerate() {
        let error = match call(&db, &id, &op) {
            Err(error) => error,
            Ok(()) => panic!("case {n} ({code}) passed"),
        };
        assert_eq!(error.code(), *code, "case {n}: {error}");
        assert!(error.to_string().contains(word), "case {n}: {error}");
        assert!(error.to_string().len() < 200, "case {n}: {error}");
        assert_eq!(error.fault(), Fault::App, "case {n}");
        assert_eq!(everything(&db), before, "case {n} ({code})");
    }
    db.write(|tx| tx.update("birds", &id, [("mass", 4)]))
        .unwrap();
}

/// A place for an export that has no room.
struct Full;

impl std::io::Write for Full {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::StorageFull.into())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Err(std::io::ErrorKind::StorageFull.into())
    }
}

#[test]
fn an_export_that_finds_no_room_says_so_and_signs_nobody_out() {
    let db = fixture();
    for written in 0..2 {
        for out in [
            db.outbox().export(&mut Full).map(drop),
            db.sign_out(SignOut::Export(&mut Full)).map(drop),
        ] {
            let error = out.unwrap_err();
            assert_eq!(error.code(), "export_failed");
            assert_eq!(error.fault(), Fault::Environment);
        }
        assert_eq!(db.unsynced().unwrap(), written, "the database is open");
        db.write(|tx| tx.insert("birds", [("species", "Adelie")]))
            .unwrap();
    }
}
