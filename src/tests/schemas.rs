use driftline_core::id::DocumentId;
use driftline_core::merge::{DocumentState, Register, Write};
use driftline_core::time::Stamp;
use driftline_core::{id::OpId, op::FieldMap};

use super::{SCHEMA, fixture};
use crate::Value;
use crate::storage::{Origin, StorageError, StoredDocument};

/// The schema with every `from` replaced; both must differ.
fn changed(replacements: &[(&str, &str)]) -> String {
    replacements
        .iter()
        .fold(SCHEMA.to_owned(), |schema, (from, to)| {
            assert!(schema.contains(from), "{from}");
            schema.replace(from, to)
        })
}

#[test]
fn fields_indexes_and_search_are_added_to_what_is_there() {
    let db = fixture();
    let id = db
        .write(|tx| tx.insert("birds", [("species", "Adelie"), ("notes", "shy")]))
        .unwrap()
        .to_string();
    let gone = db
        .write(|tx| tx.insert("birds", [("species", "Adelie")]))
        .unwrap()
        .to_string();
    db.write(|tx| tx.delete("birds", &gone)).unwrap();
    let schema = changed(&[
        ("version = 1", "version = 2"),
        (
            "notes     = { id = 13, kind = \"text\" }",
            "notes     = { id = 13, kind = \"text\" }\nsex = { id = 14, kind = \"text\", default = \"it's unknown\" }\ncount = { id = 15, kind = \"counter\" }\nmarks = { id = 16, kind = \"set\" }",
        ),
        (
            "search = [\"species\", \"notes\"]",
            "search = [\"notes\", \"sex\"]",
        ),
        (
            "{ name = \"by_place\", fields = [\"place\"] }",
            "{ name = \"by_sex\", fields = [\"sex\"] }",
        ),
        (
            "title = { id = 1, kind = \"text\" }\nstate",
            "title = { id = 1, kind = \"text\" }\nlabel = { id = 3, kind = \"text\" }\nstate",
        ),
    ]);
    let db = db.reopen(&schema).unwrap();
    let document = db.get("birds", &id).unwrap().unwrap();
    assert_eq!(document.text("sex"), Some("it's unknown"));
    assert_eq!(document.integer("count"), Some(0));
    assert_eq!(document.set("marks"), Some(&[][..]));
    assert_eq!(
        db.count("SELECT count(*) FROM birds WHERE sex = 'it''s unknown'"),
        1
    );
    let plan = db
        .query(
            "EXPLAIN QUERY PLAN SELECT species FROM birds WHERE sex = 'f'",
            (),
        )
        .unwrap();
    assert!(format!("{plan:?}").contains("_dl_i_1_by_sex"), "{plan:?}");
    assert_eq!(
        db.raw()
            .query_row(
                "SELECT count(*) FROM sqlite_schema WHERE name = '_dl_i_1_by_place'",
                [],
                |r| r.get::<_, i64>(0)
            )
            .unwrap(),
        0
    );
    for (text, found) in [("shy", 1), ("unknown", 1), ("adelie", 0)] {
        assert_eq!(
            db.count(&format!(
                "SELECT count(*) FROM birds_search WHERE birds_search MATCH '{text}'"
            )),
            found,
            "{text}"
        );
    }
    db.write(|tx| {
        tx.update("birds", &id, [("notes", "bold")])?;
        tx.increment("birds", &id, "count", 2)?;
        tx.restore("birds", &gone)
    })
    .unwrap();
    assert_eq!(
        db.count("SELECT count(*) FROM birds_search WHERE birds_search MATCH 'bold'"),
        1
    );
    assert_eq!(
        db.count("SELECT count(*) FROM birds_search WHERE birds_search MATCH 'shy'"),
        0
    );
    assert_eq!(db.count("SELECT count(*) FROM birds"), 2);
    db.raw()
        .execute(
            "INSERT INTO birds_search (birds_search) VALUES ('integrity-check')",
            [],
        )
        .unwrap();
}

#[test]
fn a_rename_moves_the_view_and_the_search_and_nothing_else() {
    let db = fixture();
    let id = db
        .write(|tx| tx.insert("birds", [("species", "Adelie")]))
        .unwrap()
        .to_string();
    let schema = changed(&[
        ("[collections.birds]", "[collections.penguins]"),
        (
            "[collections.birds.fields]",
            "[collections.penguins.fields]",
        ),
        ("species   =", "kind      ="),
        ("\"species\"", "\"kind\""),
    ]);
    let db = db.reopen(&schema).unwrap();
    assert_eq!(
        db.get("penguins", &id).unwrap().unwrap().text("kind"),
        Some("Adelie")
    );
    assert_eq!(
        db.count("SELECT count(*) FROM penguins_search WHERE penguins_search MATCH 'kind:adelie'"),
        1
    );
    assert_eq!(
        db.query("SELECT * FROM birds", ()).unwrap_err().code(),
        "invalid_query"
    );
    assert_eq!(
        db.query("SELECT * FROM birds_search", ())
            .unwrap_err()
            .code(),
        "invalid_query"
    );
}

#[test]
fn a_removed_field_is_hidden_and_comes_back_with_its_values() {
    let db = fixture();
    let id = db
        .write(|tx| tx.insert("birds", [("species", "Adelie"), ("notes", "shy")]))
        .unwrap()
        .to_string();
    let without = changed(&[
        ("notes     = { id = 13, kind = \"text\" }", ""),
        (
            "search = [\"species\", \"notes\"]",
            "search = [\"species\"]",
        ),
    ]);
    let db = db.reopen(&without).unwrap();
    assert_eq!(
        db.query("SELECT notes FROM birds", ()).unwrap_err().code(),
        "invalid_query"
    );
    assert_eq!(
        db.write(|tx| tx.update("birds", &id, [("notes", "x")]))
            .unwrap_err()
            .code(),
        "unknown_field"
    );
    db.write(|tx| tx.update("birds", &id, [("mass", 4)]))
        .unwrap();
    let db = db.reopen(SCHEMA).unwrap();
    let document = db.get("birds", &id).unwrap().unwrap();
    assert_eq!(
        (document.text("notes"), document.integer("mass")),
        (Some("shy"), Some(4))
    );
    assert_eq!(
        db.count("SELECT count(*) FROM birds_search WHERE birds_search MATCH 'shy'"),
        1
    );
}

#[test]
fn a_new_default_shows_where_nobody_wrote() {
    let db = fixture();
    let untouched = db
        .write(|tx| tx.insert("birds", [("species", "a")]))
        .unwrap()
        .to_string();
    let set = db
        .write(|tx| tx.insert("birds", [("species", "b"), ("island", "Torgersen")]))
        .unwrap()
        .to_string();
    let db = db
        .reopen(&changed(&[(
            "default = \"Torgersen\"",
            "default = \"Dream\"",
        )]))
        .unwrap();
    assert_eq!(
        db.get("birds", &untouched).unwrap().unwrap().text("island"),
        Some("Dream")
    );
    assert_eq!(
        db.get("birds", &set).unwrap().unwrap().text("island"),
        Some("Torgersen")
    );
    assert_eq!(
        db.count("SELECT count(*) FROM birds WHERE island = 'Dream'"),
        1
    );
}

#[test]
fn what_a_newer_app_wrote_is_kept_until_it_is_declared() {
    let db = fixture();
    let write = Write {
        op: OpId([9; 16]),
        stamp: Stamp::at(5),
        version: 3,
    };
    let mut state = DocumentState::opened(OpId([9; 16]), 3);
    let registers: FieldMap<Register> = [(1, "Adelie"), (14, "male")]
        .into_iter()
        .map(|(f, v)| {
            (
                f,
                Register {
                    value: v.into(),
                    write,
                },
            )
        })
        .collect();
    state.registers = registers;
    state.counters.insert(15, 4);
    let id = DocumentId::new("b1").unwrap();
    for collection in [1, 9] {
        db.storage()
            .write_tx(Origin::Remote, |tx| {
                let mut stored = StoredDocument::new(state.clone(), None, None);
                tx.store(collection, &id, None, &mut stored)
            })
            .unwrap();
    }
    db.write(|tx| tx.update("birds", "b1", [("mass", 1)]))
        .unwrap();
    let load = |db: &super::Fixture, collection| {
        db.storage()
            .read(|tx| tx.load(collection, &id))
            .unwrap()
            .unwrap()
    };
    assert_eq!(
        load(&db, 1).base().unwrap(),
        state,
        "with a pending op on top"
    );
    assert_eq!(load(&db, 9).shown, state);
    let schema = changed(&[
        (
            "notes     =",
            "sex = { id = 14, kind = \"text\" }\ncount = { id = 15, kind = \"counter\" }\nnotes     =",
        ),
        (
            "[collections.forms]",
            "[collections.fish]\nid = 9\n[collections.fish.fields]\nspecies = { id = 1, kind = \"text\" }\n[collections.forms]",
        ),
    ]);
    let db = db.reopen(&schema).unwrap();
    let document = db.get("birds", "b1").unwrap().unwrap();
    assert_eq!(
        (
            document.text("sex"),
            document.integer("count"),
            document.integer("mass")
        ),
        (Some("male"), Some(4), Some(1))
    );
    assert_eq!(
        db.get("fish", "b1").unwrap().unwrap().text("species"),
        Some("Adelie")
    );
    assert_eq!(load(&db, 1).base().unwrap(), state);
    assert_eq!(load(&db, 9).shown, state);
}

#[test]
fn numbers_keep_their_meaning() {
    for (replacements, place) in [
        (
            vec![(
                "mass      = { id = 3, kind = \"integer\" }",
                "mass      = { id = 3, kind = \"text\" }",
            )],
            "mass",
        ),
        (
            vec![("mass      = { id = 3,", "mass      = { id = 30,")],
            "mass",
        ),
        (
            vec![("[collections.forms]\nid = 2", "[collections.forms]\nid = 4")],
            "forms",
        ),
    ] {
        let db = fixture();
        let id = db
            .write(|tx| tx.insert("birds", [("species", "a")]))
            .unwrap()
            .to_string();
        let dir = {
            let error = db
                .db
                .close()
                .and_then(|()| {
                    crate::Database::open(super::config(&db.dir, &changed(&replacements)))
                })
                .unwrap_err();
            assert_eq!(error.code(), "invalid_schema");
            assert!(
                error
                    .schema_error()
                    .unwrap()
                    .problems
                    .iter()
                    .any(|problem| problem.path.contains(place)),
                "{error}"
            );
            db.dir
        };
        let again = crate::Database::open(super::config(&dir, SCHEMA)).unwrap();
        assert!(
            again.get("birds", &id).unwrap().is_some(),
            "the old schema goes on working"
        );
    }
    let db = fixture()
        .reopen(&changed(&[("version = 1", "version = 2")]))
        .unwrap();
    assert_eq!(db.reopen(SCHEMA).err().unwrap().code(), "newer_schema");
}

#[test]
fn a_value_of_another_kind_is_damage_and_not_a_panic() {
    let db = fixture();
    let id = db
        .write(|tx| tx.insert("birds", [("species", "a"), ("notes", "b")]))
        .unwrap()
        .to_string();
    for damage in [
        "f1 = x'ff'",
        "_state = x'ff'",
        "_state = 'text'",
        "_pending = x'00'",
        "f1 = CAST(x'ff' AS TEXT)",
    ] {
        let raw = db.raw();
        raw.execute_batch("BEGIN").unwrap();
        raw.execute(&format!("UPDATE _dl_c_1 SET {damage}"), [])
            .unwrap();
        raw.execute_batch("COMMIT").unwrap();
        let loaded = db
            .storage()
            .read(|tx| tx.load(1, &DocumentId::new(id.as_str()).unwrap()));
        assert!(
            matches!(loaded, Err(StorageError::Corrupt(_))),
            "{damage}: {loaded:?}"
        );
        assert_eq!(
            db.write(|tx| tx.update("birds", &id, [("mass", 1)]))
                .unwrap_err()
                .code(),
            "corrupt",
            "{damage}"
        );
    }
    let _ = Value::Null;
}
