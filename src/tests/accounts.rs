use driftline_core::op::ChangeKind;

use super::{Fixture, SCHEMA, config, ops_in, path};
use crate::storage::Origin;
use crate::storage::attach::{self, Pace};
use crate::{Config, Database, Schema, SignOut, TextEdit, Value, file_for};

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
    assert_eq!(fixture.outbox().size().unwrap().pending, 0);
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
    assert_eq!(fixture.outbox().size().unwrap().pending, 2);
    let turned = attach::turn_all(fixture.storage(), Pace::UpToTheLimit).unwrap();
    assert_eq!((turned.documents, turned.complete), (1, true));
    assert_eq!(fixture.unsynced().unwrap(), 3);
    let bird = fixture.get("birds", "x").unwrap().unwrap();
    assert_eq!(
        (bird.integer("mass"), bird.integer("sightings")),
        (Some(7), Some(2))
    );
}

/// Whoever signs out is told of everything, and takes everything along.
#[test]
fn what_an_attach_has_not_queued_yet_is_unsynced_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let small = SCHEMA.replace("max_queue_ops = 1000", "max_queue_ops = 3");
    let open = |name: &str, account: Option<&str>| {
        let schema = Schema::parse(&small).unwrap();
        let mut config = Config::new(dir.path().join(name), schema, "w1");
        config.account = account.map(str::to_owned);
        Database::open(config).unwrap()
    };
    let guests = |name: &str| {
        let db = open(name, None);
        for n in 0..8 {
            insert(&db, &format!("bird {n}"));
        }
        let attached = db.attach_account("ann", "w1").unwrap();
        assert_eq!((attached.queued, attached.complete), (3, false));
        db
    };
    let mut lines = Vec::new();
    let signed_out = guests("one.db").sign_out(SignOut::Export(&mut lines));
    assert_eq!(signed_out.unwrap().exported, 8);
    let file = dir.path().join("two.db");
    let config = Config::new(&file, Schema::parse(SCHEMA).unwrap(), "w1").with_account("ann");
    let two = Database::open(config).unwrap();
    assert_eq!(two.outbox().import(&mut lines.as_slice()).unwrap(), 8);
    assert_eq!(two.query("SELECT id FROM birds", ()).unwrap().len(), 8);

    let three = guests("three.db");
    drop(three);
    let three = open("three.db", Some("ann"));
    assert_eq!(three.unsynced().unwrap(), 8);
    let dropped = three.sign_out(SignOut::Drop { unsynced: 8 }).unwrap();
    assert_eq!(dropped.dropped, 8);
    let three = open("three.db", Some("ann"));
    assert_eq!(three.query("SELECT id FROM birds", ()).unwrap().len(), 0);
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

/// The insert that a guest's document becomes carries its texts, byte for byte the same from a copy of
/// the file.
#[test]
fn a_guests_texts_are_part_of_the_insert_and_the_same_from_a_copy() {
    let dir = tempfile::tempdir().unwrap();
    let guest = |path: &std::path::Path| {
        let config = Config {
            account: None,
            path: path.to_owned(),
            ..config(&dir, super::texts::SCHEMA)
        };
        Database::open(config).unwrap()
    };
    let (path, copy) = (dir.path().join("guest.db"), dir.path().join("copy.db"));
    let db = guest(&path);
    let (id, gone) = (super::texts::page(&db), super::texts::page(&db));
    db.write(|tx| {
        let mut body = tx.rich_text("pages", &id, "body")?;
        body.insert(0, "plain bold both")?;
        let formats = |names: &[&str]| names.iter().map(|n| ((*n).to_owned(), true)).collect();
        let (one, many): (Vec<_>, Vec<_>) =
            (formats(&["bold"]), formats(&["bold", "link", "mark"]));
        body.edit([TextEdit::format(6, 4, one), TextEdit::format(11, 4, many)])?;
        tx.list("pages", &id, "steps")?
            .insert(0, ["1", r#"{"b":1,"a":[null]}"#])?;
        tx.rich_text("pages", &gone, "body")?.insert(0, "gone")
    })
    .unwrap();
    db.write(|tx| tx.delete("pages", &gone)).unwrap();
    let shown = |db: &Database| {
        let text = db.rich_text("pages", &id, "body").unwrap().unwrap();
        let rows = db.query("SELECT body, steps FROM pages", ()).unwrap();
        let found = db.query("SELECT id FROM pages_search('both')", ()).unwrap();
        (text.delta().to_owned(), format!("{rows:?}"), found.len())
    };
    let before = shown(&db);
    db.close().unwrap();
    std::fs::copy(&path, &copy).unwrap();
    let mut queues = Vec::new();
    for path in [&path, &copy] {
        let db = guest(path);
        assert_eq!(db.attach_account("ann", "w1").unwrap().queued, 1);
        assert_eq!(shown(&db), before);
        let ops = ops_in(&rusqlite::Connection::open(path).unwrap());
        let changes = ops.iter().flat_map(|op| &op.changes);
        assert_eq!(changes.map(|c| c.texts.len()).collect::<Vec<_>>(), [2]);
        let queued = db.outbox().list(None, 10).unwrap();
        queues.push((queued[0].id.clone(), ops));
        // It goes on where it was, under the file's own writer.
        db.write(|tx| tx.rich_text("pages", &id, "body")?.insert(0, "more "))
            .unwrap();
        let text = db.rich_text("pages", &id, "body").unwrap().unwrap();
        assert_eq!(text.text(), "more plain bold both");
        let rows = db.query("SELECT id FROM pages_search('gone')", ()).unwrap();
        assert!(rows.is_empty());
    }
    assert_eq!(queues[0], queues[1]);
}

/// An editor that was opened before goes on after, also where nobody has turned its document yet.
#[test]
fn an_editor_that_is_open_while_a_guests_file_is_attached_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    // Room for one write: the attach stops behind it.
    let schema = format!("{}\n[limits]\nmax_queue_ops = 1\n", super::texts::SCHEMA);
    let mut config = Config {
        account: None,
        ..config(&dir, &schema)
    };
    // A frame that came before the attach would store what is typed as the guest's.
    config.environment.executor = super::texts::frameless();
    let db = Database::open(config).unwrap();
    let mut ids = [super::texts::page(&db), super::texts::page(&db)];
    ids.sort();
    let editors: Vec<_> = ids
        .iter()
        .map(|id| {
            db.write(|tx| tx.rich_text("pages", id, "body")?.insert(0, "base"))
                .unwrap();
            db.open_text("pages", id, "body").unwrap()
        })
        .collect();
    for editor in &editors {
        editor.edit([TextEdit::insert(0, "before ")]).unwrap();
        editor.flush().unwrap();
        editor.edit([TextEdit::insert(0, "typed ")]).unwrap();
    }
    assert!(!db.attach_account("ann", "w1").unwrap().complete);
    for (editor, id) in editors.iter().zip(&ids) {
        // Nothing of what is typed fits into the queue; it shows, and is kept.
        assert_eq!(editor.flush().unwrap_err().code(), "queue_full");
        assert_eq!(editor.content().unwrap().text(), "typed before base");
        let stored = db.rich_text("pages", id, "body").unwrap().unwrap();
        assert_eq!(stored.text(), "before base");
    }
    attach::turn_all(db.storage(), Pace::AtOnce).unwrap();
    assert_eq!(db.outbox().size().unwrap().pending, 2);
    for (editor, id) in editors.iter().zip(&ids) {
        assert_eq!(editor.content().unwrap().text(), "typed before base");
        let stored = db.rich_text("pages", id, "body").unwrap().unwrap();
        assert_eq!(stored.text(), "before base");
    }
}

#[test]
fn a_guest_queues_nothing() {
    let db = guest();
    let id = db
        .write(|tx| tx.insert("birds", [("species", "Adelie")]))
        .unwrap()
        .to_string();
    db.write(|tx| tx.update("birds", &id, [("mass", 3)]))
        .unwrap();
    let second = db
        .write(|tx| tx.insert("birds", [("species", "Gentoo")]))
        .unwrap()
        .to_string();
    db.write(|tx| tx.delete("birds", &second)).unwrap();
    assert!(db.write(|tx| tx.restore("birds", &second)).unwrap());
    db.write(|tx| tx.delete("birds", &second)).unwrap();
    assert!(db.ops().is_empty());
    let raw = db.raw();
    let count = |sql: &str| raw.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(
        count("SELECT count(*) FROM _dl_c_1 WHERE _base IS NULL AND _pending IS NULL"),
        1
    );
    assert_eq!(count("SELECT count(*) FROM _dl_tombstones"), 1);
    db.close().unwrap();
    let under_an_account = Database::open(config(&db.dir, SCHEMA));
    assert_eq!(under_an_account.unwrap_err().code(), "guest_file");
    let again = open_guest(&db.dir);
    assert_eq!(
        again.get("birds", &id).unwrap().unwrap().integer("mass"),
        Some(3)
    );
}
