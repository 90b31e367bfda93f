//! Looking into a file from outside: for support, for the command line, for tests.
//!
//! Another process may have the file open and write to it; nothing in it changes. What is read is one
//! consistent view.

mod follow;

use std::collections::BTreeMap;
use std::path::Path;

use driftline_core::id::CollectionId;
use driftline_core::value::Value;
use serde::Serialize;

pub use crate::diagnostics::SyncRun;
pub use driftline_core::digest::Digest;
pub use follow::{DocumentChange, FieldChange, FileChange, Follower};

use crate::document::FieldValue;
use crate::error::Result;
use crate::storage::inspect::{Inspected, inspect};

/// A consistent view of a file, while the closure given to [`read`] runs.
pub struct View(Inspected);

/// Runs `work` on a consistent view of the file at `path`. Where somebody changes the file meanwhile
/// it may run again.
///
/// # Errors
/// No such file, no file of ours (`not_a_database`, `foreign_file`), one of a newer build
/// (`newer_file`), a damaged one, and whatever `work` fails with.
pub fn read<T>(path: impl AsRef<Path>, work: impl Fn(&View) -> Result<T>) -> Result<T> {
    inspect(path.as_ref(), |inspected| work(&View(inspected)))
}

impl View {
    /// Whose file it is and where it stands.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn facts(&self) -> Result<FileFacts> {
        Ok(self.0.facts()?)
    }

    /// How much is in each collection, by the collections' numbers.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn collections(&self) -> Result<Vec<CollectionCounts>> {
        Ok(self.0.collections()?)
    }

    /// A digest of all that the app sees: equal on every device and on the server when they show the
    /// same.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn digest(&self) -> Result<Digest> {
        Ok(self.0.digest()?)
    }

    /// The live documents of a collection, in order of their ids; `None` if the file has no such
    /// collection.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn documents(&self, collection: &str) -> Result<Option<Vec<InspectedDocument>>> {
        Ok(self.0.documents(collection)?)
    }

    /// How much is queued.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn queue(&self) -> Result<QueueCounts> {
        Ok(self.0.queue()?)
    }

    /// Queued and quarantined writes, the oldest first, at most `limit`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn queued(&self, limit: usize) -> Result<Vec<QueuedWrite>> {
        Ok(self.0.queued(limit)?)
    }

    /// How many rows the ledger has, and the latest of them, at most `limit`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn losses(&self, limit: usize) -> Result<(u64, Vec<LedgerRow>)> {
        Ok(self.0.losses(limit)?)
    }

    /// The process elected to sync the file, in the machine's terms; `None` if nobody is.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn syncer(&self) -> Result<Option<String>> {
        Ok(self.0.syncer()?)
    }

    /// The latest syncs, the last one first, at most `limit`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn runs(&self, limit: usize) -> Result<Vec<SyncRun>> {
        Ok(self.0.runs(limit)?)
    }
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("View")
    }
}

/// Whose file it is and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FileFacts {
    /// Whose data it is; `None` for a guest's.
    pub account: Option<String>,
    /// The workspace.
    pub workspace: String,
    /// The file's name as a device.
    pub device: String,
    /// What people call the device.
    pub device_label: String,
    /// The server's version the file stands at.
    pub version: u64,
    /// The chain hash there, in hex.
    pub hash: String,
    /// When the server last answered: Unix milliseconds by the device's clock.
    pub last_contact: Option<i64>,
    /// The version of the private tables.
    pub tables_version: u32,
    /// The version of the app's schema.
    pub schema_version: u32,
    /// Its fingerprint.
    pub schema_fingerprint: String,
    /// Whether a bootstrap is under way.
    pub bootstrapping: bool,
    /// Whether documents that a guest wrote are still to be queued for the account.
    pub attaching: bool,
    /// Bytes of the file.
    pub bytes: u64,
    /// Bytes of its log.
    pub log_bytes: u64,
}

/// How much is in a collection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CollectionCounts {
    /// Its number.
    pub id: CollectionId,
    /// Its name.
    pub name: String,
    /// Documents that the app sees.
    pub live: u64,
    /// Documents with writes that the server has not named yet.
    pub pending: u64,
    /// Deleted documents that are remembered.
    pub tombstones: u64,
    /// Texts and lists that say something,
    pub texts: u64,
    /// and their bytes, as queries see them.
    pub text_bytes: u64,
}

/// A document.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct InspectedDocument {
    /// Its id.
    pub id: String,
    /// Its fields by name; what was never set is not there.
    pub fields: BTreeMap<String, FieldValue>,
}

/// How much is queued.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct QueueCounts {
    /// Writes to be sent or named.
    pub pending: u64,
    /// Their bytes.
    pub pending_bytes: u64,
    /// Writes the server refused.
    pub quarantined: u64,
    /// Their bytes.
    pub quarantined_bytes: u64,
    /// When the oldest pending one was written: Unix milliseconds by the device's clock.
    pub oldest: Option<i64>,
}

/// A queued write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct QueuedWrite {
    /// The op's id.
    pub id: String,
    /// `pending`, `quarantined` or `withdrawing`.
    pub state: &'static str,
    /// When it was written: Unix milliseconds by the device's clock.
    pub written: i64,
    /// Its bytes.
    pub bytes: u64,
    /// What it changes.
    pub changes: Vec<QueuedChange>,
    /// Why it last failed: a stable code.
    pub code: Option<String>,
    /// The same for a person.
    pub message: Option<String>,
}

/// One change of a queued write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct QueuedChange {
    /// The collection.
    pub collection: String,
    /// The document.
    pub document: String,
    /// `insert`, `update`, `delete` or `restore`.
    pub kind: &'static str,
}

/// A row of the loss ledger.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct LedgerRow {
    /// The collection.
    pub collection: String,
    /// The document.
    pub document: String,
    /// The field, unless it is about a whole delete.
    pub field: Option<String>,
    /// What was lost.
    pub value: Value,
    /// What its author had before writing it.
    pub base_value: Value,
    /// What stands instead.
    pub winner_value: Value,
    /// The device that wrote what stands.
    pub winner_device: String,
    /// Why: `overwritten`, `too_late`, `deleted`, `generation_gone`, `delete_cancelled`, `rejected`.
    pub rule: &'static str,
    /// When it was decided: the server's Unix milliseconds.
    pub at: i64,
    /// Whether somebody wrote the value again.
    pub restored: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Config, Database, Schema};

    const SCHEMA: &str = "[schema]\nname = \"birds\"\nversion = 1\n\n[collections.birds]\nid = 1\n\n\
        [collections.birds.fields]\nname = { id = 1, kind = \"text\" }\nseen = { id = 2, kind = \"counter\" }\n\
        tags = { id = 3, kind = \"set\" }\n\
        story = { id = 4, kind = \"rich_text\" }\nsteps = { id = 5, kind = \"list\" }\n";

    fn open(path: &Path) -> Database {
        let schema = Schema::parse(SCHEMA).unwrap();
        let config = Config::new(path, schema, "garden")
            .with_account("ada")
            .with_device_label("phone");
        Database::open(config).unwrap()
    }

    fn write(db: &Database, id: &str) {
        db.write(|tx| {
            tx.insert_with_id("birds", id, [("name", "Adelie")])?;
            tx.increment("birds", id, "seen", 3)?;
            tx.add_to_set("birds", id, "tags", ["banded"])
        })
        .unwrap();
    }

    fn everything_in(directory: &Path) -> BTreeMap<String, Vec<u8>> {
        let files = std::fs::read_dir(directory)
            .unwrap()
            .map(|file| file.unwrap().path());
        files
            .map(|path| (path.display().to_string(), std::fs::read(&path).unwrap()))
            .collect()
    }

    #[test]
    fn a_closed_file_is_read_without_a_trace() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a #1?%.db");
        let db = open(&path);
        write(&db, "a");
        db.close().unwrap();
        drop(db);
        let before = everything_in(directory.path());
        let (facts, counts, queue) = read(&path, |view| {
            Ok((view.facts()?, view.collections()?, view.queue()?))
        })
        .unwrap();
        assert_eq!(
            (
                facts.account.as_deref(),
                facts.workspace.as_str(),
                facts.version
            ),
            (Some("ada"), "garden", 0)
        );
        assert_eq!(
            (counts[0].live, counts[0].pending, queue.pending),
            (1, 1, 1)
        );
        assert_eq!(everything_in(directory.path()), before);
    }

    #[test]
    fn a_file_in_use_is_read_as_it_is_now() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.db");
        let db = open(&path);
        write(&db, "a");
        let one = read(&path, View::digest).unwrap();
        write(&db, "b");
        let two = read(&path, View::digest).unwrap();
        assert_eq!((one.documents(), two.documents()), (1, 2));
        assert_ne!(one, two);
        let documents = read(&path, |view| view.documents("birds"))
            .unwrap()
            .unwrap();
        assert_eq!(documents[1].id, "b");
        assert_eq!(
            documents[1].fields.get("tags"),
            Some(&FieldValue::Set(vec!["banded".to_owned()]))
        );
        assert_eq!(
            documents[1].fields.get("seen"),
            Some(&FieldValue::Value(Value::Integer(3)))
        );
        let queued = read(&path, |view| view.queued(10)).unwrap();
        assert_eq!(
            (queued.len(), queued[0].state, queued[0].changes[0].kind),
            (2, "pending", "insert")
        );
        assert!(
            read(&path, |view| view.documents("none"))
                .unwrap()
                .is_none()
        );
        // And it goes on working.
        write(&db, "c");
        db.close().unwrap();
    }

    #[test]
    fn texts_and_lists_are_read_as_queries_see_them() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.db");
        let db = open(&path);
        write(&db, "a");
        write(&db, "b");
        let fields = |id: &str| {
            let documents = read(&path, |view| view.documents("birds")).unwrap();
            let mut documents = documents.unwrap().into_iter();
            documents.rfind(|d| d.id == id).unwrap().fields
        };
        assert!(!fields("a").contains_key("story"));
        db.write(|tx| {
            tx.rich_text("birds", "a", "story")?.insert(0, "It flew.")?;
            tx.list("birds", "a", "steps")?.insert(0, ["1"]).map(drop)
        })
        .unwrap();
        let text = |text: &str| Some(FieldValue::Value(text.into()));
        assert_eq!(fields("a").get("story").cloned(), text("It flew."));
        assert_eq!(fields("a").get("steps").cloned(), text("[1]"));
        assert!(!fields("b").contains_key("story"));
    }

    #[test]
    fn equal_content_has_an_equal_digest_whoever_wrote_it() {
        let directory = tempfile::tempdir().unwrap();
        let (a, b) = (directory.path().join("a.db"), directory.path().join("b.db"));
        let (first, second) = (open(&a), open(&b));
        write(&first, "x");
        write(&first, "y");
        write(&second, "y");
        assert_ne!(
            read(&a, View::digest).unwrap(),
            read(&b, View::digest).unwrap()
        );
        write(&second, "x");
        assert_eq!(
            read(&a, View::digest).unwrap(),
            read(&b, View::digest).unwrap()
        );
        first.write(|tx| tx.delete("birds", "x").map(drop)).unwrap();
        second
            .write(|tx| tx.delete("birds", "x").map(drop))
            .unwrap();
        assert_eq!(
            read(&a, View::digest).unwrap(),
            read(&b, View::digest).unwrap()
        );
    }

    #[test]
    fn what_is_no_file_of_ours_says_so() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.db");
        let code = |path: &Path| read(path, View::facts).unwrap_err().code();
        assert_eq!(code(&path), "cannot_open");
        assert!(!path.exists());
        assert_eq!(code(directory.path()), "cannot_open");
        std::fs::write(
            &path,
            "not a database, but long enough to look like one ".repeat(40),
        )
        .unwrap();
        assert_eq!(code(&path), "not_a_database");
        std::fs::write(&path, "").unwrap();
        assert_eq!(code(&path), "foreign_file");
        std::fs::remove_file(&path).unwrap();
        rusqlite::Connection::open(&path)
            .unwrap()
            .execute_batch("CREATE TABLE a (b)")
            .unwrap();
        assert_eq!(code(&path), "foreign_file");
        let newer = directory.path().join("newer.db");
        open(&newer).close().unwrap();
        rusqlite::Connection::open(&newer)
            .unwrap()
            .execute_batch("PRAGMA user_version = 99")
            .unwrap();
        assert_eq!(code(&newer), "newer_file");
    }
}
