//! One text in two files: copies, exports, a guest's file.

use std::path::Path;

use driftline::{Config, Database, Schema, SignOut, SyncConfig, TextEdit};

use super::{agree, go_on, newcomer, once, settle, story, tell, words};
use crate::support::device::WORKSPACE;
use crate::support::{Device, SCHEMA, Server};

/// K16: a file is copied with text in it that no server has seen; both go on, in turn and at once.
#[test]
fn k16_a_copied_file_and_its_original_type_on() {
    let server = Server::start(SCHEMA);
    let folder = tempfile::tempdir().unwrap();
    let (path, copy) = (folder.path().join("a.db"), folder.path().join("copy.db"));
    let a = Device::at(&path, "original");
    let id = a.note("a journal");
    tell(&a.db, &id, "base ");
    a.connect(&server);
    a.sync();
    a.db.sync().unwrap().pause();
    let offline = a.note("offline");
    for n in 0..3 {
        go_on(&a.db, &id, &format!("before{n} "));
        go_on(&a.db, &offline, &format!("new{n} "));
    }
    a.db.close().unwrap();
    std::fs::copy(&path, &copy).unwrap();
    let (a, b) = (Device::at(&path, "original"), Device::at(&copy, "copy"));
    let mut expected: Vec<String> = (0..3).map(|n| format!("before{n}")).collect();
    expected.push("base".to_owned());
    for round in 0..3 {
        for (device, name) in [(&a, "original"), (&b, "copy")] {
            for n in 0..3 {
                let word = format!("{name}{round}-{n}");
                match n {
                    0 => tell(&device.db, &id, &format!("{word} ")),
                    _ => go_on(&device.db, &id, &format!("{word} ")),
                }
                expected.push(word);
            }
            go_on(&device.db, &offline, &format!("{name}{round} "));
        }
        if round == 0 {
            // The copy is the first to tell what both have written.
            b.connect(&server);
            b.sync();
            a.connect(&server);
        }
        for device in [[&a, &b], [&b, &a]][round % 2] {
            device.sync();
        }
    }
    settle(&[&a, &b]);
    let third = newcomer(&server);
    assert_eq!(words(&agree(&[&a, &b, &third], &id)), once(expected));
    let told = agree(&[&a, &b, &third], &offline);
    let mut expected: Vec<String> = (0..3).map(|n| format!("new{n}")).collect();
    for n in 0..3 {
        expected.extend([format!("original{n}"), format!("copy{n}")]);
    }
    assert_eq!(words(&told), once(expected));
    assert_eq!(third.count("notes"), 2);
}

/// What was typed and never synced is taken into another file, and told by both.
#[test]
fn exported_text_is_taken_into_another_file_and_stands_there_once() {
    let server = Server::start(SCHEMA);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("old.db");
    let old = Device::at(&path, "old");
    let id = old.note("a journal");
    tell(&old.db, &id, "base ");
    old.connect(&server);
    old.sync();
    old.db.sync().unwrap().pause();
    let own = old.note("offline");
    for n in 0..3 {
        go_on(&old.db, &id, &format!("typed{n} "));
        go_on(&old.db, &own, &format!("own{n} "));
    }
    old.db
        .write(|tx| {
            tx.list("notes", &own, "steps")?
                .insert(0, ["1", "2"])
                .map(drop)
        })
        .unwrap();
    let mut export = Vec::new();
    old.db.sign_out(SignOut::Export(&mut export)).unwrap();
    // Meanwhile somebody else writes into the same text.
    let other = newcomer(&server);
    go_on(&other.db, &id, "meanwhile ");
    other.sync();

    let new = newcomer(&server);
    assert_eq!(new.db.outbox().import(&mut export.as_slice()).unwrap(), 8);
    assert_eq!(new.db.outbox().import(&mut export.as_slice()).unwrap(), 0);
    go_on(&new.db, &id, "after ");
    new.sync();
    // The old file tells the same once more, and goes on.
    let old = Device::at(&path, "old");
    go_on(&old.db, &id, "late ");
    old.connect(&server);
    settle(&[&old, &new, &other]);
    let told = agree(&[&old, &new, &other, &newcomer(&server)], &id);
    let expected = [
        "base",
        "typed0",
        "typed1",
        "typed2",
        "meanwhile",
        "after",
        "late",
    ];
    assert_eq!(words(&told), once(expected));
    assert_eq!(story(&other.db, &own), "own0 own1 own2 ");
    let steps = other.db.list("notes", &own, "steps").unwrap().unwrap();
    assert_eq!(steps.len(), 2);
}

fn guest(path: &Path) -> Database {
    Database::open(Config::new(path, Schema::parse(SCHEMA).unwrap(), WORKSPACE)).unwrap()
}

/// A guest's texts become the account's with everything in them, once, also from a copy of the file.
#[test]
fn a_guests_texts_become_the_accounts() {
    let server = Server::start(SCHEMA);
    let folder = tempfile::tempdir().unwrap();
    let (path, copy) = (folder.path().join("a.db"), folder.path().join("copy.db"));
    let db = guest(&path);
    let mut ids = Vec::new();
    for n in 0..10 {
        let id = db
            .write(|tx| {
                let id = tx.insert("notes", [("title", format!("guest {n}"))])?;
                tx.rich_text("notes", id.as_str(), "story")?
                    .insert(0, &format!("told{n} "))?;
                tx.list("notes", id.as_str(), "steps")?
                    .insert(0, ["\"first\"", "\"second\"", "\"third\""])?;
                Ok(id.to_string())
            })
            .unwrap();
        // Taken away again, typed around, made bold.
        db.write(|tx| {
            let mut story = tx.rich_text("notes", &id, "story")?;
            story.insert(0, "regretted ")?;
            story.edit([TextEdit::format(10, 4, [("bold", true)])])
        })
        .unwrap();
        db.write(|tx| tx.rich_text("notes", &id, "story")?.delete(0, 10))
            .unwrap();
        db.write(|tx| {
            let mut steps = tx.list("notes", &id, "steps")?;
            let elements = steps.read()?;
            steps.remove(elements[1].id)?;
            steps.move_to(elements[2].id, 0)
        })
        .unwrap();
        ids.push(id);
    }
    let emptied = &ids[9];
    db.write(|tx| {
        let mut story = tx.rich_text("notes", emptied, "story")?;
        let len = story.len()?;
        story.delete(0, len)
    })
    .unwrap();
    assert_eq!(db.unsynced().unwrap(), 0, "a guest queues nothing");
    let delta = |db: &Database, id: &str| {
        let text = db.rich_text("notes", id, "story").unwrap();
        text.unwrap().delta().to_owned()
    };
    let told = delta(&db, &ids[0]);
    db.close().unwrap();
    std::fs::copy(&path, &copy).unwrap();

    let db = guest(&path);
    // An editor that is open meanwhile goes on.
    let editor = db.open_text("notes", &ids[1], "story").unwrap();
    editor.edit([TextEdit::insert(0, "edited ")]).unwrap();
    let attached = db.attach_account("ada", WORKSPACE).unwrap();
    assert!(attached.complete);
    assert_eq!(attached.queued, 10);
    editor.edit([TextEdit::insert(0, "again ")]).unwrap();
    editor.close().unwrap();
    assert_eq!(story(&db, &ids[1]), "again edited told1 ");
    assert_eq!(story(&db, &ids[0]), "told0 ");
    assert_eq!(delta(&db, &ids[0]), told);
    go_on(&db, &ids[0], "as ada ");
    let token = server.token("ada", WORKSPACE, "writer", "1h");
    let connect = |db: &Database| {
        let token = token.clone();
        let mut config = SyncConfig::new(&server.url, move || Ok(token.clone()));
        config.settings.live = false;
        let sync = db.connect(config).unwrap();
        assert!(sync.sync_until(super::PATIENCE), "{:?}", sync.status());
        sync
    };
    connect(&db);
    assert_eq!(db.unsynced().unwrap(), 0);

    let again = guest(&copy);
    assert!(again.attach_account("ada", WORKSPACE).unwrap().complete);
    go_on(&again, &ids[0], "from a copy ");
    connect(&again);
    let third = newcomer(&server);
    assert_eq!(third.count("notes"), 10);
    assert_eq!(
        words(&story(&third.db, &ids[0])),
        once(["told0", "as", "ada", "from", "a", "copy"])
    );
    for (n, id) in ids.iter().enumerate().take(9).skip(2) {
        assert_eq!(story(&third.db, id), format!("told{n} "));
    }
    assert_eq!(story(&third.db, emptied), "");
    let steps = third.db.list("notes", &ids[0], "steps").unwrap().unwrap();
    let steps: Vec<&str> = steps.iter().map(|step| step.json.as_str()).collect();
    assert_eq!(steps, ["\"third\"", "\"first\""]);
    assert_eq!(delta(&third.db, &ids[2]), told.replace("0 ", "2 "));
    assert!(told.contains("bold"), "{told}");
}

/// What is more than one edit may hold becomes several writes, in order and once, also from a copy.
#[test]
fn a_guests_large_text_is_attached_in_pieces() {
    let server = Server::start(SCHEMA);
    let folder = tempfile::tempdir().unwrap();
    let (path, copy) = (folder.path().join("a.db"), folder.path().join("copy.db"));
    let db = guest(&path);
    let id = db
        .write(|tx| tx.insert("notes", [("title", "long")]))
        .unwrap()
        .to_string();
    for n in 0..6 {
        go_on(&db, &id, &format!("part{n} {} ", "é😀x".repeat(20_000)));
    }
    for n in 0..20 {
        let elements = (0..200).map(|at| format!("[{n}, {at}]"));
        db.write(|tx| {
            let mut steps = tx.list("notes", &id, "steps")?;
            let end = steps.read()?.len() as u32;
            steps.insert(end, elements).map(drop)
        })
        .unwrap();
    }
    let (told, listed) = (story(&db, &id), db.list("notes", &id, "steps").unwrap());
    assert!(told.len() > 800_000);
    db.close().unwrap();
    std::fs::copy(&path, &copy).unwrap();
    let token = server.token("ada", WORKSPACE, "writer", "1h");
    let mut queues = Vec::new();
    for (path, word) in [(&path, "here "), (&copy, "there ")] {
        let db = guest(path);
        assert_eq!(db.attach_account("ada", WORKSPACE).unwrap().queued, 1);
        let queued = db.outbox().list(None, 100).unwrap();
        assert!(queued.len() > 3, "{}", queued.len());
        let ids: Vec<String> = queued.into_iter().map(|write| write.id).collect();
        queues.push(ids);
        assert_eq!(story(&db, &id), told);
        go_on(&db, &id, word);
        let token = token.clone();
        let mut config = SyncConfig::new(&server.url, move || Ok(token.clone()));
        config.settings.live = false;
        let sync = db.connect(config).unwrap();
        assert!(sync.sync_until(super::PATIENCE), "{:?}", sync.status());
        assert_eq!(db.unsynced().unwrap(), 0);
    }
    assert_eq!(queues[0], queues[1]);
    let device = newcomer(&server);
    assert_eq!(story(&device.db, &id), format!("{told}here there "));
    let values = |list: Option<Vec<driftline::ListElement>>| -> Vec<String> {
        list.unwrap()
            .into_iter()
            .map(|element| element.json)
            .collect()
    };
    let received = device.db.list("notes", &id, "steps").unwrap();
    assert_eq!(values(received), values(listed));
}

/// A file without an account takes the one of its first answer; what was typed since it was connected
/// is taken along.
#[test]
fn what_is_typed_before_the_first_answer_is_not_lost() {
    let server = Server::start(SCHEMA);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    let db = guest(&path);
    let token = server.token("ada", WORKSPACE, "writer", "1h");
    let network = crate::support::Faulty::new(std::sync::Arc::new(
        driftline::transport::BuiltinTransport::new(&driftline::transport::TlsRoots::default())
            .unwrap(),
    ));
    network.always(Some(crate::support::Fault::LoseRequest));
    let mut config = SyncConfig::new(&server.url, move || Ok(token.clone()));
    config.transport = Some(network.clone());
    config.settings.live = false;
    let sync = db.connect(config).unwrap();
    let id = db
        .write(|tx| tx.insert("notes", [("title", "early")]))
        .unwrap()
        .to_string();
    tell(&db, &id, "typed early ");
    network.always(None);
    assert!(sync.sync_until(super::PATIENCE), "{:?}", sync.status());
    assert_eq!(db.account().unwrap().as_deref(), Some("ada"));
    assert_eq!(
        (db.unsynced().unwrap(), story(&db, &id)),
        (0, "typed early ".to_owned())
    );
    assert_eq!(story(&newcomer(&server).db, &id), "typed early ");
}
