use std::sync::{Arc, Mutex};

use super::{SCHEMA, config, fixture, path};
use crate::{Config, Database, HostToken, Schema};

fn bytes_of(dir: &tempfile::TempDir) -> Vec<u8> {
    std::fs::read(path(dir)).unwrap()
}

#[test]
fn a_file_that_is_not_ours_is_left_as_it_was() {
    type Make = fn(&std::path::Path);
    let cases: [(&str, Make); 5] = [
        ("not_a_database", |path| {
            std::fs::write(path, vec![7; 8192]).unwrap()
        }),
        ("foreign_file", |path| {
            rusqlite::Connection::open(path)
                .unwrap()
                .execute_batch("CREATE TABLE t (a)")
                .unwrap()
        }),
        ("foreign_file", |path| {
            rusqlite::Connection::open(path)
                .unwrap()
                .execute_batch("PRAGMA application_id = 7")
                .unwrap()
        }),
        ("foreign_file", |path| {
            rusqlite::Connection::open(path)
                .unwrap()
                .execute_batch("PRAGMA user_version = 7")
                .unwrap()
        }),
        ("cannot_open", |path| std::fs::create_dir(path).unwrap()),
    ];
    for (code, make) in cases {
        let dir = tempfile::tempdir().unwrap();
        make(&path(&dir));
        let before = std::fs::read(path(&dir)).ok();
        assert_eq!(
            Database::open(config(&dir, SCHEMA)).unwrap_err().code(),
            code
        );
        assert_eq!(std::fs::read(path(&dir)).ok(), before, "{code}");
    }
    let nowhere = Config::new(
        "/no/such/folder/notes.db",
        Schema::parse(SCHEMA).unwrap(),
        "w1",
    );
    assert_eq!(Database::open(nowhere).unwrap_err().code(), "cannot_open");
}

#[test]
fn a_file_of_a_newer_build_is_refused_and_left_as_it_was() {
    let db = fixture();
    db.write(|tx| tx.insert("birds", [("species", "Adelie")]))
        .unwrap();
    db.close().unwrap();
    db.raw().execute_batch("PRAGMA user_version = 999").unwrap();
    let before = bytes_of(&db.dir);
    let error = Database::open(config(&db.dir, SCHEMA)).unwrap_err();
    assert_eq!(
        (error.code(), error.retry()),
        ("newer_file", crate::Retry::AfterAction)
    );
    assert!(error.to_string().contains("999"));
    assert_eq!(bytes_of(&db.dir), before);
}

#[test]
fn a_file_keeps_its_account_and_workspace() {
    let db = fixture();
    db.close().unwrap();
    let mut other = config(&db.dir, SCHEMA);
    other.workspace = "w2".to_owned();
    assert_eq!(Database::open(other).unwrap_err().code(), "wrong_workspace");
    assert_eq!(
        Database::open(config(&db.dir, SCHEMA).with_account("bob"))
            .unwrap_err()
            .code(),
        "wrong_account"
    );
    let guest = Config {
        account: None,
        ..config(&db.dir, SCHEMA)
    };
    assert_eq!(Database::open(guest).unwrap_err().code(), "wrong_account");
    Database::open(config(&db.dir, SCHEMA)).unwrap();
}

#[test]
fn opening_again_writes_nothing() {
    let db = fixture();
    db.write(|tx| tx.insert("birds", [("species", "Adelie")]))
        .unwrap();
    db.close().unwrap();
    let before = bytes_of(&db.dir);
    let again = Database::open(config(&db.dir, SCHEMA)).unwrap();
    assert_eq!(
        again.query("SELECT count(*) FROM birds", ()).unwrap().len(),
        1
    );
    let log = std::fs::metadata(db.dir.path().join("notes.db-wal"))
        .map(|log| log.len())
        .unwrap_or(0);
    assert_eq!(log, 0);
    again.close().unwrap();
    assert_eq!(bytes_of(&db.dir), before);
}

#[test]
fn a_damaged_file_is_an_error_and_not_a_crash() {
    let db = fixture();
    db.write_bulk(
        "birds",
        (0..200).map(|n| [("species", format!("bird {n}"))]),
    )
    .unwrap();
    db.close().unwrap();
    let whole = bytes_of(&db.dir);
    for page in 1..whole.len() / 4096 {
        let mut damaged = whole.clone();
        damaged[page * 4096..(page + 1) * 4096].fill(0xa5);
        std::fs::write(path(&db.dir), &damaged).unwrap();
        let outcome = Database::open(config(&db.dir, SCHEMA)).and_then(|db| {
            let rows = db.query("SELECT * FROM birds ORDER BY species", ());
            let written = db.write(|tx| tx.insert("birds", [("species", "Gentoo")]));
            let found = db.query(
                "SELECT count(*) FROM birds_search WHERE birds_search MATCH 'bird'",
                (),
            );
            let _ = db.close();
            rows.and(written.map(drop)).and(found.map(drop))
        });
        if let Err(error) = outcome {
            assert!(
                ["corrupt", "not_a_database", "internal"].contains(&error.code()),
                "page {page}: {} {error}",
                error.code()
            );
        }
        for log in ["notes.db-wal", "notes.db-shm"] {
            let _ = std::fs::remove_file(db.dir.path().join(log));
        }
    }
}

/// A host's store in memory.
#[derive(Clone, Default)]
struct Keychain(Arc<Mutex<Option<Vec<u8>>>>);

impl HostToken for Keychain {
    fn load(&self) -> std::io::Result<Option<Vec<u8>>> {
        Ok(self.0.lock().unwrap().clone())
    }
    fn store(&self, token: &[u8]) -> std::io::Result<()> {
        *self.0.lock().unwrap() = Some(token.to_vec());
        Ok(())
    }
}

#[test]
fn a_copy_gets_a_writer_of_its_own() {
    let db = fixture();
    let (dir, keychain) = (&db.dir, Keychain::default());
    let writer_at = |dir: &tempfile::TempDir, keychain: &Keychain| {
        let opened = Database::open(Config {
            host_token: Some(Box::new(keychain.clone())),
            ..config(dir, SCHEMA)
        })
        .unwrap();
        let writer: i64 = opened
            .storage()
            .read(|tx| tx.meta(crate::storage::meta::key::WRITER))
            .unwrap()
            .unwrap();
        opened.close().unwrap();
        writer
    };
    db.close().unwrap();
    let writer = writer_at(dir, &keychain);
    assert!(writer > 0 && writer < 1 << 53);
    let backup = tempfile::tempdir().unwrap();
    std::fs::copy(path(dir), path(&backup)).unwrap();
    assert_eq!(writer_at(dir, &keychain), writer);
    // Ended between the file and the host's store: the token before is known still.
    let before = keychain.0.lock().unwrap().clone();
    writer_at(dir, &keychain);
    *keychain.0.lock().unwrap() = before;
    assert_eq!(writer_at(dir, &keychain), writer);
    assert_ne!(
        writer_at(&backup, &keychain),
        writer,
        "restored from yesterday"
    );
    assert_ne!(
        writer_at(&backup, &Keychain::default()),
        writer,
        "on another device"
    );
}
