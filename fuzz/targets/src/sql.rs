//! An app's SQL on a database: any text is an error or an answer. It never writes, never shows what
//! is in private tables, and never leaves a file behind.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use driftline::{Config, Database, Schema, Value};

const SCHEMA: &str = r#"
[schema]
name = "sql"
version = 1

[collections.notes]
id = 1
on_conflict_delete = "update_wins"
search = ["title"]

[collections.notes.fields]
title = { id = 1, kind = "text" }
rank = { id = 2, kind = "integer" }
tags = { id = 3, kind = "set" }
stars = { id = 4, kind = "counter" }

[collections.tasks]
id = 2

[collections.tasks.fields]
done = { id = 1, kind = "boolean" }
due = { id = 2, kind = "timestamp" }
"#;

/// Found only in private tables: a deleted document, the device's label.
const DELETED: &str = "canary-2f0c1d7b4e9a";
const LABEL: &str = "canary-b83a6610f5c2";

/// A query is ended after so long.
const TIMEOUT: Duration = Duration::from_millis(30);
/// Ending takes time too, and other work may be going on.
const SLOWEST: Duration = Duration::from_secs(10);

struct Place {
    folder: tempfile::TempDir,
    db: Database,
    before: BTreeMap<String, Vec<u8>>,
}

thread_local! {
    /// Made once a thread: opening costs more than a thousand queries.
    static PLACE: Place = Place::new();
}

pub(crate) fn run(data: &[u8]) -> bool {
    let Ok(sql) = std::str::from_utf8(data) else {
        return false;
    };
    PLACE.with(|place| place.judge(sql))
}

impl Place {
    fn new() -> Place {
        let folder = tempfile::tempdir().unwrap();
        let schema = Schema::parse(SCHEMA).unwrap();
        let mut config = Config::new(folder.path().join("device.db"), schema, "garden")
            .with_account("ada")
            .with_device_label(LABEL);
        config.query_timeout = TIMEOUT;
        let db = Database::open(config).unwrap();
        db.write(|tx| {
            for rank in 0..20 {
                let id = format!("note-{rank}");
                let fields = [
                    ("title", Value::from("Gentoo")),
                    ("rank", Value::from(rank)),
                ];
                tx.insert_with_id("notes", &id, fields)?;
                tx.add_to_set("notes", &id, "tags", ["banded"])?;
            }
            tx.insert_with_id("tasks", "task", [("done", true)])?;
            tx.insert_with_id("notes", "gone", [("title", DELETED)])
        })
        .unwrap();
        db.write(|tx| tx.delete("notes", "gone")).unwrap();
        // The log is moved into the file now, not by chance later.
        db.suspend().unwrap();
        db.resume().unwrap();
        db.query("SELECT count(*) FROM notes", ()).unwrap();
        let before = files(folder.path());
        Place { folder, db, before }
    }

    fn judge(&self, sql: &str) -> bool {
        // A fuzzer that watches comparisons learns the words that must not show, and says them itself.
        if shows_canary(sql) {
            return false;
        }
        let began = Instant::now();
        let answer = self.db.query(sql, ());
        let took = began.elapsed();
        assert!(took < SLOWEST, "{took:?}");
        let after = files(self.folder.path());
        assert!(after == self.before, "the file changed");
        match answer {
            Ok(rows) => {
                for row in &rows {
                    let row = format!("{row:?}");
                    assert!(!shows_canary(&row), "a private value was shown");
                    assert!(!names_private(&row, sql), "a private name was shown: {row}");
                }
                true
            }
            Err(error) => {
                assert!(!error.code().is_empty());
                assert_ne!(error.code(), "internal", "{error}");
                assert!(!shows_canary(&error.to_string()));
                false
            }
        }
    }
}

/// Whether a row has the name of a private table that the query did not bring along.
fn names_private(row: &str, sql: &str) -> bool {
    let sql = sql.to_ascii_lowercase();
    let own = |word: &str| row.contains(&format!("_dl_{word}")) && !sql.contains(word);
    ["outbox", "meta", "tombstones", "losses"]
        .into_iter()
        .any(own)
}

fn shows_canary(text: &str) -> bool {
    text.contains(DELETED) || text.contains(LABEL)
}

/// All files with their bytes, but for the shared memory: readers note in it where they read.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| {
            (
                entry.file_name().to_string_lossy().into_owned(),
                entry.path(),
            )
        })
        .filter(|(name, _)| !name.ends_with("-shm"))
        .map(|(name, path)| (name, std::fs::read(path).unwrap_or_default()))
        .collect()
}
