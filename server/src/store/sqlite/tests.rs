//! The contract, and what is SQLite's own.

use std::path::Path;
use std::sync::Arc;

use super::SqliteStore;
use crate::store::contract::{Harness, contract};
use crate::store::{ServerStore, StoreError, WorkspaceName};

struct Directory(tempfile::TempDir, tempfile::TempDir);

impl Directory {
    fn new() -> Directory {
        Directory(tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap())
    }
}

impl Harness for Directory {
    fn open(&self) -> Arc<dyn ServerStore> {
        Arc::new(SqliteStore::open(self.0.path(), None).unwrap())
    }

    fn after_crash(&self) -> Arc<dyn ServerStore> {
        copy(self.0.path(), self.1.path());
        Arc::new(SqliteStore::open(self.1.path(), None).unwrap())
    }
}

/// The files as they are on the disk: what is only in the process's memory is lost.
fn copy(from: &Path, to: &Path) {
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        // The index of the log is memory shared by processes; no crash leaves it behind intact.
        if !file.file_name().to_string_lossy().ends_with("-shm") {
            std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
    }
}

contract!(Directory::new());

#[test]
fn two_servers_do_not_share_a_directory() {
    let directory = Directory::new();
    let first = directory.open();
    let second = SqliteStore::open(directory.0.path(), None).map(drop);
    assert!(matches!(second, Err(StoreError::InUse(_))));
    drop(first);
    directory.open();
}

#[test]
fn a_log_that_is_nearly_moved_begins_again() {
    let directory = Directory::new();
    let store = directory.open();
    let name = WorkspaceName::new("w").unwrap();
    store.create(&name, [1; 16], 0).unwrap();
    let workspace = store.open(&name).unwrap().unwrap();
    let put = |id: &str, bytes: usize| {
        let state = minicbor::to_vec(minicbor::bytes::ByteVec::from(vec![7; bytes])).unwrap();
        let document = driftline_core::id::DocumentId::new(id).unwrap();
        let mut tx = workspace.begin().unwrap();
        let new = crate::store::NewDocument {
            collection: 1,
            document: &document,
            state: &state,
            body: None,
            version: 1,
        };
        tx.put_document(&new).unwrap();
        tx.commit().unwrap();
    };
    put("large", 20 << 20);
    // What is committed behind its view stays in the log.
    let view = workspace.read().unwrap();
    put("small", 10);
    workspace.checkpoint().unwrap();
    drop(view);
    put("moves the rest first", 10);
    let other = rusqlite::Connection::open(directory.0.path().join(name.file_name())).unwrap();
    let pages: i64 = other
        .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get(1))
        .unwrap();
    assert!(pages < 100, "{pages} pages in the log");
}

#[test]
fn a_log_left_long_is_moved_into_the_file() {
    let directory = Directory::new();
    let store = directory.open();
    let name = WorkspaceName::new("w").unwrap();
    store.create(&name, [1; 16], 0).unwrap();
    let workspace = store.open(&name).unwrap().unwrap();
    let big = vec![7; 20 << 20];
    let state = minicbor::to_vec(minicbor::bytes::ByteVec::from(big)).unwrap();
    let document = driftline_core::id::DocumentId::new("d").unwrap();
    assert!(!workspace.wants_checkpoint());
    let mut tx = workspace.begin().unwrap();
    let new = crate::store::NewDocument {
        collection: 1,
        document: &document,
        state: &state,
        body: None,
        version: 1,
    };
    tx.put_document(&new).unwrap();
    tx.commit().unwrap();
    assert!(workspace.wants_checkpoint());
    workspace.checkpoint().unwrap();
    assert!(!workspace.wants_checkpoint());
    let file = directory.0.path().join(name.file_name());
    assert!(std::fs::metadata(file).unwrap().len() > 20 << 20);
}

#[test]
fn what_a_process_left_in_the_log_is_in_the_file_before_it_is_read() {
    let (directory, file_alone) = (Directory::new(), tempfile::tempdir().unwrap());
    let name = WorkspaceName::new("w").unwrap();
    let first = directory.open();
    first.create(&name, [1; 16], 0).unwrap();
    let workspace = first.open(&name).unwrap().unwrap();
    let document = driftline_core::id::DocumentId::new("d").unwrap();
    let mut tx = workspace.begin().unwrap();
    let new = crate::store::NewDocument {
        collection: 1,
        document: &document,
        state: &minicbor::to_vec(minicbor::bytes::ByteVec::from(vec![7; 9])).unwrap(),
        body: None,
        version: 1,
    };
    tx.put_document(&new).unwrap();
    tx.commit().unwrap();

    let second = directory.after_crash();
    let _open = second.open(&name).unwrap().unwrap();
    let file = name.file_name();
    std::fs::copy(
        directory.1.path().join(&file),
        file_alone.path().join(&file),
    )
    .unwrap();
    let alone = rusqlite::Connection::open(file_alone.path().join(&file)).unwrap();
    let count: i64 = alone
        .query_row("SELECT count(*) FROM documents", [], |row| row.get(0))
        .unwrap();
    assert_eq!(count, 1);
    // The log begins again, so that what is left of the old one is not put over the file.
    let log = directory.1.path().join(format!("{file}-wal"));
    let old = directory.0.path().join(format!("{file}-wal"));
    let salt =
        |log: std::path::PathBuf| std::fs::read(log).unwrap().get(16..24).map(<[u8]>::to_vec);
    assert_ne!(salt(log), salt(old));
}

#[test]
fn a_damaged_file_is_an_error_and_not_a_panic() {
    let directory = Directory::new();
    let name = WorkspaceName::new("w").unwrap();
    let store = directory.open();
    store.create(&name, [1; 16], 0).unwrap();
    // What was just made is still open: whoever comes next gets that.
    drop(store.open(&name).unwrap());
    let file = directory.0.path().join(name.file_name());
    for wal in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{wal}", file.display()));
    }
    std::fs::write(&file, b"SQLite format 3\0 and then nonsense").unwrap();
    assert!(matches!(
        store.open(&name).map(drop),
        Err(StoreError::Damaged(_))
    ));
}

#[test]
fn what_was_just_made_is_opened_as_it_is_and_only_once() {
    let directory = Directory::new();
    let (made, other) = (
        WorkspaceName::new("made").unwrap(),
        WorkspaceName::new("other").unwrap(),
    );
    let store = directory.open();
    assert!(store.create(&other, [1; 16], 0).unwrap());
    assert!(store.create(&made, [2; 16], 0).unwrap());
    assert!(!store.create(&made, [3; 16], 0).unwrap());
    let seed = |name: &WorkspaceName| {
        let workspace = store.open(name).unwrap().unwrap();
        let mut view = workspace.read().unwrap();
        view.hash_at(0).unwrap()
    };
    // Twice each: kept open since it was made, and opened again.
    assert_eq!(seed(&made), seed(&made));
    assert_eq!(seed(&other), seed(&other));
    assert_ne!(seed(&made), seed(&other));
}
