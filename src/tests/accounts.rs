use driftline_core::op::ChangeKind;

use super::{Fixture, SCHEMA, config, ops_in, path};
use crate::storage::Origin;
use crate::storage::attach::{self, Pace};
use crate::{Config, Database, Value, file_for};

fn guest() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    Fixture {
        db: open_guest(&dir),
        dir,
    }
}

fn open_guest(dir: &tempfile::TempDir) -> Database {
    let config = Config {
        account: None,
        ..config(dir, SCHEMA)
    };
    Database::open(config).unwrap()
}

fn insert(db: &Database, id: &str) {
    db.write(|tx| {
        tx.insert_with_id("birds", id, [("species", "Adelie")])?;
        tx.increment("birds", id, "sightings", 2)?;
        tx.add_to_set("birds", id, "tags", ["b", "a"])
    })
    .unwrap();
}

fn record(db: &Database) {
    db.storage()
        .write_tx(Origin::Local, |tx| attach::begin(tx, "ann", Some("w1")))
        .unwrap();
}

#[test]
fn a_write_to_a_document_not_yet_turned_turns_it_in_the_same_transaction() {
    let fixture = guest();
    insert(&fixture, "x");
    insert(&fixture, "y");
    record(&fixture);
    assert_eq!(fixture.unsynced().unwrap(), 0);
    fixture
        .write(|tx| tx.update("birds", "x", [("mass", 7)]))
        .unwrap();
    let raw = fixture.raw();
    let ops = ops_in(&raw);
    assert_eq!(ops.len(), 2);
    let (first, second) = (&ops[0].changes[0], &ops[1].changes[0]);
    assert_eq!(first.kind, ChangeKind::Insert);
    assert_eq!(first.registers.get(1), Some(&Value::Text("Adelie".into())));
    assert_eq!(first.increments.get(11), Some(&2));
    assert_eq!(
        first.adds.get(12),
        Some(&vec!["a".to_owned(), "b".to_owned()])
    );
    assert_eq!(second.kind, ChangeKind::Update);
    let id: [u8; 16] = raw
        .query_row("SELECT min(op_id) FROM _dl_outbox", [], |row| row.get(0))
        .unwrap();
    assert_eq!(
        second.prev.map(|prev| prev.0),
        Some(id),
        "linked to its insert"
    );
    // One that fails leaves the document as it was.
    let refused = fixture.write(|tx| {
        tx.update("birds", "y", [("mass", 7)])?;
        Err::<(), _>(crate::Error::aborted("no"))
    });
    assert_eq!(refused.unwrap_err().code(), "aborted");
    assert_eq!(fixture.unsynced().unwrap(), 2);
    let turned = attach::turn_all(fixture.storage(), Pace::UpToTheLimit).unwrap();
    assert_eq!((turned.documents, turned.complete), (1, true));
    assert_eq!(fixture.unsynced().unwrap(), 3);
    let bird = fixture.get("birds", "x").unwrap().unwrap();
    assert_eq!(
        (bird.integer("mass"), bird.integer("sightings")),
        (Some(7), Some(2))
    );
}

#[test]
fn an_attach_cut_off_after_any_step_goes_on_and_queues_the_same() {
    let whole = {
        let fixture = guest();
        for n in 0..5 {
            insert(&fixture, &format!("bird {n}"));
        }
        fixture.db.close().unwrap();
        fixture
    };
    let queue = |dir: &tempfile::TempDir| {
        let raw = rusqlite::Connection::open(path(dir)).unwrap();
        let mut statement = raw
            .prepare("SELECT hex(op_id) || hex(body) || wall FROM _dl_outbox ORDER BY op_id")
            .unwrap();
        let rows = statement
            .query_map([], |row| row.get::<_, String>(0))
            .unwrap();
        rows.map(Result::unwrap).collect::<Vec<_>>()
    };
    let mut expected = None;
    for cut in 0..3 {
        let dir = tempfile::tempdir().unwrap();
        std::fs::copy(path(&whole.dir), path(&dir)).unwrap();
        let db = open_guest(&dir);
        if cut > 0 {
            record(&db);
        }
        if cut > 1 {
            db.write(|tx| tx.update("birds", "bird 3", [("mass", 1)]))
                .unwrap();
            db.outbox()
                .discard(&db.outbox().list(None, 9).unwrap()[1].id)
                .unwrap();
        }
        db.close().unwrap();
        let db = match cut {
            0 => open_guest(&dir),
            _ => Database::open(config(&dir, SCHEMA)).unwrap(),
        };
        let attached = db.attach_account("ann", "w1").unwrap();
        assert!(attached.complete);
        assert_eq!(db.attach_account("ann", "w1").unwrap().queued, 0);
        db.close().unwrap();
        let queued = queue(&dir)[..5].to_vec();
        let expected = expected.get_or_insert_with(|| queued.clone());
        assert_eq!(&queued, expected, "cut {cut}");
    }
}

#[test]
fn another_open_handle_follows_an_attach() {
    let fixture = guest();
    insert(&fixture, "x");
    let other = open_guest(&fixture.dir);
    insert(&other, "y");
    assert!(fixture.attach_account("ann", "w1").unwrap().complete);
    insert(&other, "z");
    assert_eq!(
        fixture.unsynced().unwrap(),
        3,
        "what the other one writes is queued now"
    );
    assert_eq!(other.account().unwrap().as_deref(), Some("ann"));
}

#[test]
fn a_guests_deletes_are_forgotten_and_its_workspace_may_be_named_anew() {
    let fixture = guest();
    insert(&fixture, "x");
    insert(&fixture, "y");
    fixture.write(|tx| tx.delete("birds", "y")).unwrap();
    let attached = fixture.attach_account("ann", "expedition").unwrap();
    assert_eq!((attached.queued, attached.complete), (1, true));
    assert_eq!(fixture.workspace().unwrap(), "expedition");
    let raw = fixture.raw();
    let tombstones: i64 = raw
        .query_row("SELECT count(*) FROM _dl_tombstones", [], |row| row.get(0))
        .unwrap();
    assert_eq!(tombstones, 0);
    fixture.db.close().unwrap();
    let open = |workspace: &str| {
        let mut config = config(&fixture.dir, SCHEMA);
        config.workspace = workspace.to_owned();
        Database::open(config).map(drop)
    };
    assert_eq!(open("w1").unwrap_err().code(), "wrong_workspace");
    open("expedition").unwrap();
    for (account, workspace) in [("", "w"), ("a", "")] {
        let guest = guest();
        let refused = guest.attach_account(account, workspace).unwrap_err();
        assert_eq!(refused.code(), "invalid_config");
        assert_eq!(guest.account().unwrap(), None);
    }
}

#[test]
fn every_account_and_workspace_has_a_file_of_its_own() {
    let names = [
        file_for("/data", None, "w"),
        file_for("/data", Some("w"), ""),
        file_for("/data", Some("../../etc/passwd"), "w"),
        file_for("/data", Some("ADA"), "w"),
        file_for("/data", Some("ada"), "w"),
    ];
    let different: std::collections::BTreeSet<_> = names.iter().collect();
    assert_eq!(different.len(), names.len());
    for name in names {
        assert_eq!(name.parent(), Some(std::path::Path::new("/data")));
        let name = name.file_name().unwrap().to_str().unwrap();
        assert!(name.len() < 64 && !name.contains("passwd"), "{name}");
        assert_eq!(name, name.to_lowercase());
    }
}

/// A text by a guest has no op that could carry it: the file is left as it was.
#[test]
fn a_guests_texts_are_refused_before_anything_is_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config {
        account: None,
        ..config(&dir, super::texts::SCHEMA)
    };
    let guest = Database::open(config).unwrap();
    let id = super::texts::page(&guest);
    guest
        .write(|tx| tx.rich_text("pages", &id, "body")?.insert(0, "kept"))
        .unwrap();
    let refused = guest.attach_account("ann", "w1").unwrap_err();
    assert_eq!(refused.code(), "guest_texts");
    assert_eq!(guest.account().unwrap(), None);
    assert_eq!(guest.unsynced().unwrap(), 0);
    let page = guest.get("pages", &id).unwrap().unwrap();
    assert_eq!(page.text("body"), Some("kept"));
}
