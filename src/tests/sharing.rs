//! Two open handles of one file: what two processes are to each other.

use super::{Fixture, SCHEMA, config, fixture, ops_in, path};
use crate::storage::election::{self, Lease};
use crate::storage::{Origin, Result, StorageError};
use crate::{Config, Database};

fn another(fixture: &Fixture) -> Database {
    Database::open(config(&fixture.dir, SCHEMA)).unwrap()
}

fn insert(db: &Database, id: &str) {
    db.write(|tx| tx.insert_with_id("birds", id, [("species", "Adelie")]))
        .unwrap();
}

fn take(db: &Database) -> Option<Lease> {
    let storage = db.storage();
    let seat = storage.with_reader(|tx| election::seat(tx.conn())).unwrap();
    storage
        .write_tx(Origin::Remote, |tx| {
            election::take(tx, &seat, storage.name(), "a process")
        })
        .unwrap()
}

fn checked(db: &Database, lease: Option<&Lease>) -> Result<()> {
    db.storage().write_tx(Origin::Remote, |tx| {
        election::check(tx.conn(), lease)?;
        tx.set_meta("applied", 1)
    })
}

fn release(db: &Database, lease: &Lease) {
    db.storage()
        .write_tx(Origin::Remote, |tx| election::release(tx, lease))
        .unwrap();
}

#[test]
fn whoever_was_replaced_changes_nothing_any_more() {
    let one = fixture();
    let two = another(&one);
    assert!(matches!(checked(&one, None), Err(StorageError::NotElected)));
    let first = take(&one).unwrap();
    checked(&one, Some(&first)).unwrap();
    let second = take(&two).unwrap();
    assert_eq!(second.term, first.term + 1);
    one.raw()
        .execute("DELETE FROM _dl_meta WHERE key = 'applied'", [])
        .unwrap();
    assert!(matches!(
        checked(&one, Some(&first)),
        Err(StorageError::NotElected)
    ));
    let applied: i64 = one
        .raw()
        .query_row(
            "SELECT count(*) FROM _dl_meta WHERE key = 'applied'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(applied, 0);
    // Nor does it take the office from its successor when it ends.
    release(&one, &first);
    checked(&two, Some(&second)).unwrap();
    release(&two, &second);
    assert!(checked(&two, Some(&second)).is_err());
}

#[test]
fn an_office_is_not_taken_from_whoever_answered() {
    let one = fixture();
    let two = another(&one);
    let lease = take(&one).unwrap();
    let storage = two.storage();
    let ask = || storage.write_tx(Origin::Remote, |tx| election::ask(tx, false));
    assert_eq!((ask().unwrap(), ask().unwrap()), (1, 2));
    let seen = storage.with_reader(|tx| election::seat(tx.conn())).unwrap();
    one.storage()
        .write_tx(Origin::Remote, |tx| election::answer(tx, Some(&lease)))
        .unwrap();
    let taken = storage.write_tx(Origin::Remote, |tx| {
        election::take(tx, &seen, storage.name(), "two")
    });
    assert_eq!(taken.unwrap(), None);
    checked(&one, Some(&lease)).unwrap();
}

/// Another process may have sent the earlier one: an update that replaces it must not take it out.
#[test]
fn updates_are_joined_only_while_no_other_process_syncs() {
    let one = fixture();
    let two = another(&one);
    one.write(|tx| tx.insert_with_id("birds", "x", [("species", "Adelie")]))
        .unwrap();
    let queued = || ops_in(&one.raw()).len();
    let set = |db: &Database, mass: i64| {
        db.write(|tx| tx.update("birds", "x", [("mass", mass)]))
            .unwrap();
        queued()
    };
    assert_eq!((set(&one, 1), set(&one, 2)), (2, 2), "joined");
    let lease = take(&two).unwrap();
    assert_eq!(
        (set(&one, 3), set(&one, 4)),
        (3, 4),
        "the other one may send them"
    );
    assert_eq!((set(&two, 5), set(&two, 6)), (5, 5), "its own it knows");
    release(&two, &lease);
    assert_eq!(
        (set(&one, 7), set(&one, 8)),
        (6, 7),
        "it may have sent the first"
    );
    assert_eq!(set(&one, 9), 7, "and nobody this one");
    let own = take(&one).unwrap();
    assert_eq!(set(&one, 10), 7);
    release(&one, &own);
}

#[test]
fn a_full_outbox_is_full_whoever_filled_it() {
    let one = fixture();
    let two = another(&one);
    let fill = |db: &Database, count: usize| {
        for n in 0..count {
            let species = format!("bird {n}");
            db.write(|tx| tx.insert("birds", [("species", species)]).map(drop))?;
        }
        Ok::<_, crate::Error>(())
    };
    fill(&one, 300).unwrap();
    fill(&two, 400).unwrap();
    let error = fill(&one, 200).unwrap_err();
    assert_eq!(error.code(), "queue_full");
    let bytes = one.outbox().size().unwrap().pending_bytes;
    assert!(bytes <= 64 << 10, "{bytes}");
}

#[test]
fn a_write_under_a_schema_that_another_process_replaced_is_refused() {
    let one = fixture();
    let newer = SCHEMA
        .replace("version = 1", "version = 2")
        .replace("mass      = { id = 3, kind", "weight    = { id = 3, kind")
        .replace("\"island\", \"mass\"", "\"island\", \"weight\"");
    let two = Database::open(config(&one.dir, &newer)).unwrap();
    two.write(|tx| tx.insert("birds", [("species", "Gentoo")]))
        .unwrap();
    let error = one
        .write(|tx| tx.insert("birds", [("species", "Adelie")]))
        .unwrap_err();
    assert_eq!(error.code(), "schema_changed");
    assert_eq!(ops_in(&one.raw()).len(), 1);
}

#[test]
fn a_write_sees_what_another_process_wrote_since_the_last_one() {
    let db = fixture();
    let other = another(&db);
    insert(&db, "a");
    insert(&other, "z");
    // Beyond all that this process knew of.
    db.write(|tx| tx.insert_with_id("birds", "z", [("species", "Gentoo")]))
        .unwrap();
    assert_eq!(
        db.get("birds", "z").unwrap().unwrap().text("species"),
        Some("Gentoo")
    );
    let ops = db.ops();
    let links: Vec<bool> = ops.iter().map(|op| op.changes[0].prev.is_some()).collect();
    assert_eq!(links, [false, false, true]);

    let before = ops.len();
    for n in 0..20 {
        insert(&db, &format!("m{n:02}-db"));
        insert(&other, &format!("m{n:02}-other"));
    }
    let order: Vec<String> = db.ops()[before..]
        .iter()
        .map(|op| op.changes[0].document.to_string())
        .collect();
    assert!(
        order.is_sorted(),
        "ids only grow, whoever draws them: {order:?}"
    );
}

#[test]
fn a_write_meets_the_tombstone_another_process_left() {
    let dir = tempfile::tempdir().unwrap();
    let open = || {
        let guest = Config {
            account: None,
            ..config(&dir, SCHEMA)
        };
        Database::open(guest).unwrap()
    };
    let (db, other) = (open(), open());
    insert(&db, "b");
    insert(&other, "m");
    other.write(|tx| tx.delete("birds", "m")).unwrap();
    insert(&db, "m");
    let raw = rusqlite::Connection::open(path(&dir)).unwrap();
    let tombstones: i64 = raw
        .query_row("SELECT count(*) FROM _dl_tombstones", [], |row| row.get(0))
        .unwrap();
    assert_eq!(tombstones, 0, "the document stands in one place");
}
