//! Writes that a loss of power may have taken away, under `NORMAL`.

use std::path::Path;
use std::sync::Arc;

use driftline_core::id::BootId;

use super::texts::{self, page};
use crate::environment::{Clock, SystemClock};
use crate::{Config, Database, Durability, Schema};

/// The machine's clocks in another boot session.
struct Booted(SystemClock, u32);

impl Clock for Booted {
    fn wall(&self) -> i64 {
        self.0.wall()
    }
    fn monotonic(&self) -> i64 {
        self.0.monotonic()
    }
    fn boot(&self) -> BootId {
        BootId(self.1)
    }
}

fn open(path: &Path, durability: Durability, boot: u32) -> Database {
    let schema = Schema::parse(texts::SCHEMA).unwrap();
    let mut config = Config::new(path, schema, "w1").with_account("ann");
    config.durability = durability;
    config.environment.clock = Arc::new(Booted(SystemClock::new(), boot));
    Database::open(config).unwrap()
}

fn says(db: &Database, id: &str, words: &str) {
    db.write(|tx| tx.rich_text("pages", id, "body")?.insert(0, words))
        .unwrap();
}

/// Under which name text is written from now on, and who wrote what is queued.
fn writers(db: &Database, id: &str) -> (u64, Vec<u64>) {
    says(db, id, ".");
    let raw = rusqlite::Connection::open(db.storage().path()).unwrap();
    let ops = super::ops_in(&raw);
    let edits = ops
        .iter()
        .flat_map(|op| &op.changes)
        .flat_map(|c| c.texts.iter());
    let mut all: Vec<u64> = edits.map(|(_, edit)| edit.writer).collect();
    (all.pop().unwrap(), all)
}

/// What the machine's end leaves: the files as they are, with everybody still in them.
fn crash(path: &Path, into: &Path) {
    for ending in ["", "-wal"] {
        let name = |path: &Path| format!("{}{ending}", path.display());
        // Whoever lets go of a file last takes its log along.
        if Path::new(&name(path)).exists() {
            std::fs::copy(name(path), name(into)).unwrap();
        }
    }
}

#[test]
fn text_is_written_under_a_new_name_after_the_machine_ended_without_a_word() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let db = open(&path("a.db"), Durability::Normal, 1);
    let id = page(&db);
    says(&db, &id, "words");
    let (first, _) = writers(&db, &id);
    crash(&path("a.db"), &path("same.db"));
    crash(&path("a.db"), &path("other.db"));
    crash(&path("a.db"), &path("full.db"));
    // Only the process ended: nothing is lost.
    let same = open(&path("same.db"), Durability::Normal, 1);
    assert_eq!(writers(&same, &id).0, first);
    // The machine did.
    let other = open(&path("other.db"), Durability::Normal, 2);
    let (second, queued) = writers(&other, &id);
    assert_ne!(second, first);
    assert_eq!(
        queued,
        [second, second],
        "what is queued of a text is under one name"
    );
    assert_eq!(writers(&other, &id).0, second, "once");
    let text = other.rich_text("pages", &id, "body").unwrap().unwrap();
    assert_eq!(text.text(), "...words");
    // It does not help to be careful from now on.
    let full = open(&path("full.db"), Durability::Full, 2);
    let (third, _) = writers(&full, &id);
    assert_ne!(third, first);
    full.close().unwrap();
    assert_eq!(
        writers(&open(&path("full.db"), Durability::Full, 3), &id).0,
        third
    );
}

#[test]
fn a_file_that_was_let_go_of_keeps_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let db = open(&path("a.db"), Durability::Normal, 1);
    let id = page(&db);
    let (first, _) = writers(&db, &id);
    db.suspend().unwrap();
    crash(&path("a.db"), &path("suspended.db"));
    let suspended = open(&path("suspended.db"), Durability::Normal, 2);
    assert_eq!(writers(&suspended, &id).0, first);
    db.resume().unwrap();
    assert_eq!(writers(&db, &id).0, first);
    crash(&path("a.db"), &path("resumed.db"));
    let resumed = open(&path("resumed.db"), Durability::Normal, 2);
    assert_ne!(writers(&resumed, &id).0, first);
    db.close().unwrap();
    let reopened = open(&path("a.db"), Durability::Normal, 2);
    assert_eq!(writers(&reopened, &id).0, first);
    let full = open(&path("b.db"), Durability::Full, 1);
    let id = page(&full);
    let (first, _) = writers(&full, &id);
    crash(&path("b.db"), &path("c.db"));
    let again = open(&path("c.db"), Durability::Full, 2);
    assert_eq!(writers(&again, &id).0, first, "nothing returned is lost");
}

/// Of two processes one lets go of the file; the other's writes are at risk all the same.
#[test]
fn what_one_process_settles_another_does_not_rely_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let one = open(&path("a.db"), Durability::Normal, 1);
    // Where the system does not name its sessions each process has its own.
    let two = open(&path("a.db"), Durability::Normal, 7);
    let id = page(&one);
    let (first, _) = writers(&one, &id);
    let (second, _) = writers(&two, &id);
    for _ in 0..3 {
        assert_eq!(writers(&one, &id).0, second, "they take it from the file");
        assert_eq!(writers(&two, &id).0, second, "and do not draw in turns");
    }
    assert_ne!(first, second);
    one.close().unwrap();
    says(&two, &id, "at risk");
    crash(&path("a.db"), &path("b.db"));
    let after = open(&path("b.db"), Durability::Normal, 9);
    assert_ne!(writers(&after, &id).0, second);
}
