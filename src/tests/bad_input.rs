use super::{Fixture, fixture};
use crate::{Config, Database, State, SyncConfig, Transaction, Value};

type Call = fn(&mut Transaction<'_>, &str) -> crate::Result<()>;

/// Everything a call can get wrong: what it says, and that nothing changes.
const CASES: &[(&str, &str, Call)] = &[
    ("unknown_collection", "fish", |tx, _| {
        tx.insert("fish", [("a", 1)]).map(drop)
    }),
    ("unknown_collection", "fish", |tx, id| {
        tx.update("fish", id, [("a", 1)]).map(drop)
    }),
    ("unknown_collection", "fish", |tx, id| {
        tx.delete("fish", id).map(drop)
    }),
    ("unknown_collection", "fish", |tx, id| {
        tx.restore("fish", id).map(drop)
    }),
    ("unknown_collection", "fish", |tx, id| {
        tx.get("fish", id).map(drop)
    }),
    ("unknown_field", "birds.wings", |tx, _| {
        tx.insert("birds", [("species", "x"), ("wings", "2")])
            .map(drop)
    }),
    ("unknown_field", "birds.wings", |tx, id| {
        tx.update("birds", id, [("wings", 2)]).map(drop)
    }),
    ("unknown_field", "birds.wings", |tx, id| {
        tx.increment("birds", id, "wings", 2)
    }),
    ("unknown_field", "birds.id", |tx, id| {
        tx.update("birds", id, [("id", "x")]).map(drop)
    }),
    ("required", "birds.species", |tx, _| {
        tx.insert("birds", [("mass", 1)]).map(drop)
    }),
    ("required", "birds.species", |tx, id| {
        tx.update("birds", id, [("species", Value::Null)]).map(drop)
    }),
    ("wrong_kind", "birds.species", |tx, _| {
        tx.insert("birds", [("species", 1)]).map(drop)
    }),
    ("wrong_kind", "birds.mass", |tx, id| {
        tx.update("birds", id, [("mass", "heavy")]).map(drop)
    }),
    ("wrong_kind", "birds.mass", |tx, id| {
        tx.update("birds", id, [("mass", 1.5)]).map(drop)
    }),
    ("wrong_kind", "birds.ringed", |tx, id| {
        tx.update("birds", id, [("ringed", 1)]).map(drop)
    }),
    ("wrong_kind", "birds.beak", |tx, id| {
        tx.update("birds", id, [("beak", f64::NAN)]).map(drop)
    }),
    ("wrong_kind", "birds.beak", |tx, id| {
        tx.update("birds", id, [("beak", f64::INFINITY)]).map(drop)
    }),
    ("wrong_kind", "birds.seen_at", |tx, id| {
        tx.update("birds", id, [("seen_at", "now")]).map(drop)
    }),
    ("wrong_kind", "birds.token", |tx, id| {
        tx.update(
            "birds",
            id,
            [("token", "0190A3B4-0000-7000-8000-000000000001")],
        )
        .map(drop)
    }),
    ("wrong_kind", "birds.extra", |tx, id| {
        tx.update("birds", id, [("extra", "{")]).map(drop)
    }),
    ("wrong_kind", "birds.photo", |tx, id| {
        tx.update("birds", id, [("photo", "not base64!")]).map(drop)
    }),
    ("wrong_kind", "birds.place", |tx, id| {
        tx.update("birds", id, [("place", "first")]).map(drop)
    }),
    ("wrong_kind", "birds.species", |tx, id| {
        tx.update("birds", id, [("species", "a\0b")]).map(drop)
    }),
    ("wrong_kind", "birds.sightings", |tx, id| {
        tx.update("birds", id, [("sightings", 4)]).map(drop)
    }),
    ("wrong_kind", "birds.tags", |tx, id| {
        tx.update("birds", id, [("tags", "[]")]).map(drop)
    }),
    ("wrong_kind", "birds.mass", |tx, id| {
        tx.increment("birds", id, "mass", 1)
    }),
    ("wrong_kind", "birds.tags", |tx, id| {
        tx.increment("birds", id, "tags", 1)
    }),
    ("wrong_kind", "birds.sightings", |tx, id| {
        tx.add_to_set("birds", id, "sightings", ["a"])
    }),
    ("wrong_kind", "birds.mass", |tx, id| {
        tx.remove_from_set("birds", id, "mass", ["a"])
    }),
    ("wrong_kind", "birds", |tx, id| {
        tx.add_to_set("birds", id, "tags", ["a\0"])
    }),
    ("value_too_large", "birds.species", |tx, id| {
        tx.update("birds", id, [("species", "x".repeat(41))])
            .map(drop)
    }),
    ("value_too_large", "birds.notes", |tx, id| {
        tx.update("birds", id, [("notes", "x".repeat(1025))])
            .map(drop)
    }),
    ("value_too_large", "birds", |tx, id| {
        tx.add_to_set("birds", id, "tags", ["x".repeat(21)])
    }),
    ("set_too_large", "birds", |tx, id| {
        tx.add_to_set("birds", id, "tags", (0..6).map(|n| n.to_string()))
    }),
    ("document_too_large", "birds", |tx, id| {
        tx.update("birds", id, [("notes", "x".repeat(1024))])?;
        tx.update(
            "birds",
            id,
            [("extra", format!("\"{}\"", "x".repeat(1022)))],
        )
        .map(drop)
    }),
    ("group_too_large", "transaction", |tx, _| {
        (0..5).try_for_each(|_| tx.insert("forms", [("title", "x".repeat(1000))]).map(drop))
    }),
    ("counter_overflow", "64-bit", |tx, id| {
        tx.increment("birds", id, "sightings", i64::MAX)?;
        tx.increment("birds", id, "sightings", 1)
    }),
    ("not_found", "birds", |tx, _| {
        tx.update("birds", "nobody", [("mass", 1)]).map(drop)
    }),
    ("not_found", "birds", |tx, _| {
        tx.increment("birds", "nobody", "sightings", 1)
    }),
    ("not_found", "birds", |tx, _| {
        tx.restore("birds", "nobody").map(drop)
    }),
    ("invalid_document_id", "255", |tx, _| {
        tx.insert_with_id("birds", "", [("species", "x")])
    }),
    ("invalid_document_id", "255", |tx, _| {
        tx.insert_with_id("birds", &"x".repeat(256), [("species", "x")])
    }),
    ("invalid_document_id", "255", |tx, _| {
        tx.insert_with_id("birds", "a\0b", [("species", "x")])
    }),
    ("invalid_document_id", "255", |tx, _| {
        tx.delete("birds", "").map(drop)
    }),
    ("invalid_order_key", "order key", |tx, _| {
        tx.order_key_between(Some("x"), None).map(drop)
    }),
];

fn state(db: &Fixture) -> (Vec<crate::Row>, usize) {
    (
        db.query("SELECT * FROM birds ORDER BY id", ())
            .unwrap()
            .into_iter()
            .collect(),
        db.ops().len(),
    )
}

#[test]
fn every_mistake_is_named_and_changes_nothing() {
    let db = fixture();
    let id = db
        .write(|tx| tx.insert("birds", [("species", "Adelie")]))
        .unwrap()
        .to_string();
    let before = state(&db);
    for (n, (code, place, call)) in CASES.iter().enumerate() {
        let error = match db.write(|tx| call(tx, &id)) {
            Err(error) => error,
            Ok(()) => panic!("case {n} ({code}) passed"),
        };
        assert_eq!(error.code(), *code, "case {n}: {error}");
        assert!(error.to_string().contains(place), "case {n}: {error}");
        assert_eq!(error.fault(), crate::Fault::App, "case {n}");
        assert_eq!(state(&db), before, "case {n}");
    }
}

#[test]
fn a_mistake_in_a_configuration_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let cases: [fn(&mut Config); 4] = [
        |config| config.workspace = String::new(),
        |config| config.workspace = "w".repeat(256),
        |config| config.account = Some(String::new()),
        |config| config.device_label = "d".repeat(256),
    ];
    for change in cases {
        let mut config = super::config(&dir, super::SCHEMA);
        change(&mut config);
        assert_eq!(Database::open(config).unwrap_err().code(), "invalid_config");
    }
    assert_eq!(
        std::fs::read_dir(dir.path()).unwrap().count(),
        0,
        "no file was made"
    );
}

#[test]
fn an_address_that_cannot_be_asked_is_refused_when_connecting() {
    let db = fixture();
    let connect = |db: &Fixture, url: &str| {
        db.connect(SyncConfig::new(url, || Ok("t.o.k".to_owned())))
            .map(drop)
    };
    // Nobody is there; that is found out later, and is no mistake.
    connect(&db, "http://127.0.0.1:1/base/").unwrap();
    let running = db.sync().unwrap();
    for url in [
        "",
        " ",
        "not a url",
        "secret.example.com",
        "secret.example.com:4100",
        "/secret",
        "ftp://secret.example.com",
        "ws://secret.example.com",
        "http://",
        "http:///secret",
        "http://ann:secret@example.com",
        "https://secret.example.com?a=b",
        "https://secret.example.com/#a",
        "https://secret.example.com/\n",
        "https://-secret-.example.com",
    ] {
        let error = connect(&db, url).unwrap_err();
        assert_eq!(error.code(), "bad_address", "{url:?}: {error}");
        assert_eq!(error.fault(), crate::Fault::App);
        assert!(error.to_string().contains("address"), "{error}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
    assert_ne!(running.status().state, State::Stopped, "it goes on");
    let named = |workspace: &str| {
        let dir = tempfile::tempdir().unwrap();
        let mut config = super::config(&dir, super::SCHEMA);
        config.workspace = workspace.to_owned();
        let db = Database::open(config).unwrap();
        connect(&Fixture { db, dir }, "http://127.0.0.1:1")
    };
    named("camp_2-north").unwrap();
    for workspace in ["our notes", "a/b", "a?b", "..", "_a", "\u{e9}"] {
        let error = named(workspace).unwrap_err();
        assert_eq!(error.code(), "bad_address", "{workspace}: {error}");
    }
}

#[test]
fn a_full_queue_refuses_writes_and_says_so() {
    let db = fixture();
    let told = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let hook = std::sync::Arc::clone(&told);
    db.storage()
        .hooks()
        .on_capacity(move |capacity| hook.lock().unwrap().push(*capacity));
    let mut written = 0;
    let error = loop {
        match db.write(|tx| tx.insert("birds", [("species", "Adelie")])) {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.code(), "queue_full");
    assert_eq!(error.retry(), crate::Retry::AfterAction);
    assert_eq!(db.count("SELECT count(*) FROM birds"), written);
    assert_eq!(db.ops().len() as i64, written);
    let told = told.lock().unwrap();
    assert_eq!(
        told.len(),
        2,
        "once at four fifths, once for the write refused"
    );
    assert!(told[0].bytes < told[1].bytes && told[1].bytes <= told[1].max_bytes);
    let bytes: i64 = db
        .raw()
        .query_row("SELECT sum(length(body)) FROM _dl_outbox", [], |row| {
            row.get(0)
        })
        .unwrap();
    assert_eq!(bytes as u64, told[1].bytes, "the count in memory is exact");
}

#[test]
fn a_write_inside_a_write_is_refused_and_not_waited_for() {
    let db = fixture();
    db.write(|tx| {
        tx.insert("birds", [("species", "Adelie")])?;
        for nested in [
            db.write(|_| Ok(())),
            db.flush(),
            db.suspend(),
            db.resume(),
            db.poll_external().map(drop),
            db.close(),
        ] {
            assert_eq!(nested.unwrap_err().code(), "nested_write");
        }
        Ok(())
    })
    .unwrap();
    assert_eq!(db.count("SELECT count(*) FROM birds"), 1);
}
