use super::{Fixture, fixture};
use crate::{Params, Value};

fn filled() -> Fixture {
    let db = fixture();
    db.write_bulk(
        "birds",
        (0..60).map(|n| {
            let species = ["Adelie", "Gentoo", "Chinstrap"][n % 3];
            let fields: Vec<(&str, Value)> = vec![
                ("species", species.into()),
                ("mass", (n as i64).into()),
                ("notes", format!("bird number{n}").into()),
            ];
            fields
        }),
    )
    .unwrap();
    db
}

fn plan(db: &Fixture, sql: &str) -> String {
    let rows = db.query(&format!("EXPLAIN QUERY PLAN {sql}"), ()).unwrap();
    rows.iter()
        .filter_map(|row| row.get("detail"))
        .map(|detail| format!("{detail:?}\n"))
        .collect()
}

#[test]
fn declared_indexes_and_the_full_text_index_are_used() {
    let db = filled();
    for (sql, expected) in [
        (
            "SELECT species FROM birds WHERE island = 'Dream'",
            "USING INDEX _dl_i_1_by_island_mass (f2=?)",
        ),
        (
            "SELECT species FROM birds WHERE island = 'Dream' AND mass > 4",
            "(f2=? AND f3>?)",
        ),
        (
            "SELECT id FROM birds ORDER BY place",
            "USING COVERING INDEX _dl_i_1_by_place",
        ),
        (
            "SELECT species FROM birds WHERE id = 'x'",
            "USING PRIMARY KEY (id=?)",
        ),
        (
            "SELECT id FROM birds_search WHERE birds_search MATCH 'adelie'",
            "VIRTUAL TABLE INDEX",
        ),
        (
            "SELECT b.species FROM birds_search s JOIN birds b ON b.id = s.id WHERE birds_search MATCH 'adelie' ORDER BY rank",
            "USING PRIMARY KEY (id=?)",
        ),
    ] {
        let plan = plan(&db, sql);
        assert!(plan.contains(expected), "{sql}\n{plan}");
        assert!(
            !plan.contains("SCAN _dl_c_1\"") && !plan.contains("TEMP B-TREE"),
            "{sql}\n{plan}"
        );
    }
}

#[test]
fn rows_are_typed_and_parameters_positional_or_named() {
    let db = filled();
    let rows = db
        .query(
            "SELECT species, mass, mass / 2.0 AS half, NULL AS none FROM birds WHERE mass = ?",
            [7],
        )
        .unwrap();
    assert_eq!(rows.columns(), ["species", "mass", "half", "none"]);
    let row = rows.get(0).unwrap();
    assert_eq!(
        row.values(),
        ["Gentoo".into(), 7.into(), 3.5.into(), Value::Null]
    );
    let named = Params::named([("least", Value::from(50)), ("kind", "Adelie".into())]);
    let rows = db
        .query(
            "SELECT count(*) FROM birds WHERE mass >= :least AND species = :kind",
            named,
        )
        .unwrap();
    assert_eq!(rows.scalar(), Some(&Value::Integer(3)));
    for (sql, params) in [
        ("SELECT ?", Params::none()),
        ("SELECT 1", Params::positional([1])),
        ("SELECT :a", Params::named([("b", 1)])),
        ("SELECT :a, :b", Params::named([("a", 1), ("a", 2)])),
    ] {
        assert_eq!(
            db.query(sql, params.clone()).unwrap_err().code(),
            "invalid_parameters",
            "{sql}"
        );
        let watched = db.watch(sql, params).unwrap_err();
        assert_eq!(watched.code(), "invalid_parameters", "watched, {sql}");
    }
}

#[test]
fn what_an_app_needs_of_sql_is_there() {
    let db = filled();
    for (sql, expected) in [
        (
            "WITH heavy AS (SELECT * FROM birds WHERE mass > 50) SELECT count(*) FROM heavy",
            9,
        ),
        (
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5) SELECT sum(i) FROM n",
            15,
        ),
        ("WITH n AS (SELECT 1) SELECT count(*) FROM n", 1),
        (
            "SELECT count(*) FROM (SELECT species, avg(mass) FROM birds GROUP BY species HAVING max(mass) > 1)",
            3,
        ),
        ("SELECT count(*) FROM birds, json_each(birds.tags)", 0),
        (
            "SELECT sum(row_number) FROM (SELECT row_number() OVER (ORDER BY mass) AS row_number FROM birds LIMIT 3)",
            6,
        ),
        (
            "SELECT count(*) FROM birds_search WHERE birds_search MATCH 'number1*'",
            11,
        ),
        ("SELECT count(*) FROM birds WHERE notes LIKE '%_dl_%'", 0),
        (
            "SELECT length(highlight(birds_search, 2, '<', '>')) FROM birds_search WHERE birds_search MATCH 'number7'",
            14,
        ),
        (
            "SELECT mass FROM birds WHERE id IN (SELECT id FROM birds_search WHERE birds_search MATCH 'number7')",
            7,
        ),
    ] {
        assert_eq!(
            db.query(sql, ()).unwrap().scalar(),
            Some(&Value::Integer(expected)),
            "{sql}"
        );
    }
}

/// SQL that tries to leave the views. Each must be refused by its code, before anything runs.
const ATTACKS: &[(&str, &str)] = &[
    ("query_not_allowed", "INSERT INTO birds (id) VALUES ('x')"),
    ("query_not_allowed", "SELECT * FROM _dl_c_1"),
    ("query_not_allowed", "SELECT * FROM \"_dl_meta\""),
    ("query_not_allowed", "SELECT * FROM '_dl_outbox'"),
    ("query_not_allowed", "SELECT * FROM [_DL_OUTBOX]"),
    ("query_not_allowed", "SELECT * FROM `_dl_losses`"),
    ("query_not_allowed", "SELECT * FROM main._dl_meta"),
    ("query_not_allowed", "SELECT * FROM/**/_dl_meta"),
    (
        "query_not_allowed",
        "WITH birds AS (SELECT * FROM _dl_c_1) SELECT * FROM birds",
    ),
    (
        "query_not_allowed",
        "WITH birds AS (SELECT hex(_state) FROM \"_dl_c_1\") SELECT * FROM birds",
    ),
    ("query_not_allowed", "SELECT * FROM sqlite_schema"),
    ("query_not_allowed", "SELECT sql FROM sqlite_master"),
    ("query_not_allowed", "SELECT * FROM sqlite_temp_schema"),
    ("query_not_allowed", "SELECT * FROM pragma_table_list"),
    (
        "query_not_allowed",
        "SELECT * FROM pragma_table_info('birds')",
    ),
    ("query_not_allowed", "SELECT * FROM dbstat"),
    ("query_not_allowed", "SELECT count(*) FROM dbstat"),
    ("query_not_allowed", "SELECT count(*) FROM sqlite_schema"),
    (
        "query_not_allowed",
        "SELECT count(*) FROM birds_search_content",
    ),
    (
        "query_not_allowed",
        "SELECT count(*) FROM pragma_database_list",
    ),
    ("query_not_allowed", "SELECT * FROM birds_search_data"),
    ("query_not_allowed", "SELECT * FROM birds_search_content"),
    ("query_not_allowed", "SELECT * FROM birds_search_idx"),
    ("query_not_allowed", "SELECT * FROM birds_search_docsize"),
    (
        "query_not_allowed",
        "INSERT INTO birds_search (birds_search) VALUES ('delete-all')",
    ),
    ("query_not_allowed", "DELETE FROM birds_search"),
    ("query_not_allowed", "UPDATE birds_search SET species = 'x'"),
    ("query_not_allowed", "ATTACH 'other.db' AS other"),
    ("query_not_allowed", "ATTACH ':memory:' AS other"),
    ("query_not_allowed", "DETACH main"),
    ("query_not_allowed", "PRAGMA writable_schema = 1"),
    ("query_not_allowed", "PRAGMA user_version"),
    ("query_not_allowed", "PRAGMA query_only = 0"),
    ("query_not_allowed", "SELECT load_extension('evil.so')"),
    ("invalid_query", "SELECT readfile('/etc/passwd')"),
    ("query_not_allowed", "SELECT fts5(?)"),
    ("query_not_allowed", "SELECT sqlite_version()"),
    ("query_not_allowed", "SELECT randomblob(1000000000)"),
    ("query_not_allowed", "SELECT random()"),
    ("query_not_allowed", "BEGIN IMMEDIATE"),
    ("query_not_allowed", "COMMIT"),
    ("query_not_allowed", "SAVEPOINT s"),
    ("query_not_allowed", "CREATE TABLE t (a)"),
    (
        "query_not_allowed",
        "CREATE TEMP TABLE t AS SELECT * FROM birds",
    ),
    (
        "query_not_allowed",
        "CREATE TEMP VIEW v AS SELECT * FROM birds",
    ),
    (
        "query_not_allowed",
        "CREATE TEMP TRIGGER t INSTEAD OF INSERT ON birds BEGIN SELECT 1; END",
    ),
    (
        "query_not_allowed",
        "CREATE VIRTUAL TABLE t USING fts5vocab('birds_search', 'row')",
    ),
    ("query_not_allowed", "DROP VIEW birds"),
    ("query_not_allowed", "DROP TABLE birds_search"),
    ("invalid_query", "ALTER TABLE birds RENAME TO fish"),
    ("invalid_query", "DELETE FROM birds"),
    ("invalid_query", "UPDATE birds SET mass = 1"),
    ("query_not_allowed", "REPLACE INTO birds (id) VALUES ('x')"),
    ("query_not_allowed", "PRAGMA data_version"),
    (
        "query_not_allowed",
        "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1",
    ),
    ("query_not_allowed", "ANALYZE"),
    ("query_not_allowed", "REINDEX"),
    ("invalid_query", "SELECT 1; SELECT 2"),
    ("query_not_allowed", "SELECT 1; DROP VIEW birds"),
    ("invalid_query", "VACUUM INTO 'copy.db'"),
    ("invalid_query", "SELECT _state FROM birds"),
    ("invalid_query", "SELECT f1 FROM birds"),
    ("invalid_query", "SELECT rowid FROM birds"),
    (
        "invalid_query",
        "SELECT species FROM birds WHERE notes = \"text\"",
    ),
    ("invalid_query", "SELECT * FROM fish"),
    ("invalid_query", "SELEKT"),
    ("invalid_query", ""),
    ("invalid_query", "-- nothing"),
    ("invalid_query", "SELECT 'a\0b'"),
];

#[test]
fn nothing_but_the_views_can_be_reached() {
    let db = filled();
    let before: Vec<_> = db
        .raw()
        .query_row(
            "SELECT group_concat(sql, ';') FROM sqlite_schema",
            [],
            |row| row.get::<_, String>(0),
        )
        .into_iter()
        .collect();
    for (code, sql) in ATTACKS {
        let error = db.query(sql, ()).unwrap_err();
        assert_eq!(error.code(), *code, "{sql}: {error}");
        let inside = db.write(|tx| tx.query(sql, ())).unwrap_err();
        assert_eq!(inside.code(), *code, "inside a write, {sql}: {inside}");
        assert_eq!(
            db.watch(*sql, ()).unwrap_err().code(),
            *code,
            "watched, {sql}"
        );
    }
    assert_eq!(
        db.query(&format!("SELECT 1 {}", " ".repeat(100_000)), ())
            .unwrap_err()
            .code(),
        "invalid_query"
    );
    let after: Vec<_> = db
        .raw()
        .query_row(
            "SELECT group_concat(sql, ';') FROM sqlite_schema",
            [],
            |row| row.get::<_, String>(0),
        )
        .into_iter()
        .collect();
    assert_eq!(before, after);
    assert_eq!(db.count("SELECT count(*) FROM birds"), 60);
    assert_eq!(
        std::fs::read_dir(db.dir.path())
            .unwrap()
            .filter(|e| !e
                .as_ref()
                .unwrap()
                .file_name()
                .to_string_lossy()
                .starts_with("notes.db"))
            .count(),
        0
    );
}

#[test]
fn what_the_gate_let_through_once_does_not_open_it() {
    let db = filled();
    // The full-text index reads its own tables while it runs; the app still may not.
    for _ in 0..3 {
        assert_eq!(
            db.count("SELECT count(*) FROM birds_search WHERE birds_search MATCH 'adelie'"),
            20
        );
        assert_eq!(
            db.query("SELECT count(*) FROM birds_search_content", ())
                .unwrap_err()
                .code(),
            "query_not_allowed"
        );
    }
}

#[test]
fn a_query_that_never_ends_is_ended() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = super::config(&dir, super::SCHEMA);
    config.query_timeout = std::time::Duration::from_millis(100);
    let db = crate::Database::open(config).unwrap();
    let endless =
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
    assert_eq!(db.query(endless, ()).unwrap_err().code(), "query_timeout");
    assert_eq!(
        db.write(|tx| tx.query(endless, ())).unwrap_err().code(),
        "query_timeout"
    );
    assert_eq!(db.query("SELECT 1", ()).unwrap().len(), 1);
    db.write(|tx| tx.insert("birds", [("species", "Adelie")]))
        .unwrap();
}

#[test]
fn errors_do_not_repeat_values() {
    let db = filled();
    for sql in [
        "SELECT 'secret' 'secret' FROM",
        "SELECT * FROM birds WHERE notes = 'secret' AND 'secret' ! 1",
        "SELECT json('secret')",
    ] {
        let error = db.query(sql, ()).unwrap_err();
        assert!(
            !format!("{error} {error:?}").contains("secret"),
            "{error:?}"
        );
    }
    let error = db
        .query(
            "SELECT 1 FROM birds_search WHERE birds_search MATCH ?",
            ["\"secret"],
        )
        .unwrap_err();
    assert_eq!(error.code(), "invalid_query");
    assert!(
        !format!("{error} {error:?}").contains("secret"),
        "{error:?}"
    );
}
