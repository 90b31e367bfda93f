//! A server on a full disk, over a log that a process left whose sync had failed.
//!
//! What was committed once there was room went behind pages that the disk had lost: answered for, and
//! gone when the power went.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;

use driftline_core::id::{DocumentId, OpId};
use driftline_core::merge::DocumentState;
use driftline_core::schema::Schema;
use driftline_server::store::sqlite::SqliteStore;
use driftline_server::store::{
    NewDocument, ServerStore, StoreError, WorkspaceName, WorkspaceStore,
};
use driftline_simvfs::{Disk, Fault, PowerLoss, Process};

/// Syncs that fail in a row: those of any one commit are fewer.
const SYNCS: u64 = 40;

fn store(process: &Process) -> SqliteStore {
    SqliteStore::open(Path::new("/server"), Some(process.vfs().to_owned())).unwrap()
}

fn workspace(store: &SqliteStore) -> Arc<dyn WorkspaceStore> {
    store.open(&name()).unwrap().unwrap()
}

fn name() -> WorkspaceName {
    WorkspaceName::new("field").unwrap()
}

fn put(workspace: &Arc<dyn WorkspaceStore>, id: &str) -> Result<(), StoreError> {
    let op = OpId::next(1, [1; 10], None);
    let state = minicbor::to_vec(DocumentState::opened(op, 1)).unwrap();
    let document = DocumentId::new(id).unwrap();
    let mut tx = workspace.begin()?;
    tx.put_document(&NewDocument {
        collection: 1,
        document: &document,
        state: &state,
        body: Some("{}"),
        version: 1,
    })?;
    tx.commit()
}

fn has(workspace: &Arc<dyn WorkspaceStore>, id: &str) -> bool {
    let document = DocumentId::new(id).unwrap();
    let mut view = workspace.read().unwrap();
    view.document(1, &document).unwrap().is_some()
}

/// Ends the process over `commit`, of which no sync succeeds, and leaves no room.
fn ends_over_a_failed_sync(
    process: &Process,
    commit: impl FnOnce() -> Result<(), StoreError>,
) -> Process {
    let next = process.calls() + 1;
    (next..next + SYNCS).for_each(|call| process.arm(call, Fault::SyncLoss));
    commit().unwrap_err();
    process.kill();
    let disk = process.disk();
    disk.set_capacity(disk.used());
    Process::start(disk, 2)
}

/// A workspace opened on a full disk, over a log of which the disk has lost a part.
fn workspace_on_a_full_disk(disk: &Disk) -> (Process, Arc<dyn WorkspaceStore>) {
    let first = Process::start(disk, 1);
    let running = store(&first);
    running.create(&name(), [7; 16], 5).unwrap();
    let field = workspace(&running);
    put(&field, "before").unwrap();
    let second = ends_over_a_failed_sync(&first, || put(&field, "lost"));
    let field = workspace(&store(&second));
    (second, field)
}

fn is_full(outcome: &Result<(), StoreError>) -> bool {
    matches!(outcome, Err(StoreError::Unavailable(why)) if why == "DiskFull")
}

fn power_goes(disk: &Disk) -> Process {
    disk.power_loss(PowerLoss::LoseUnsynced);
    Process::start(disk, 3)
}

#[test]
fn what_a_workspace_commits_once_there_is_room_survives() {
    // A commit that fails has the file opened anew, which may heal it: so both.
    for tries_before in [false, true] {
        let disk = Disk::new(1);
        let (_running, field) = workspace_on_a_full_disk(&disk);
        assert!(has(&field, "before"), "reads stay possible");
        if tries_before {
            let refused = put(&field, "refused");
            assert!(is_full(&refused), "{refused:?}");
            assert!(has(&field, "before"), "and remain so");
        }
        disk.set_capacity(usize::MAX);
        put(&field, "acknowledged").unwrap();

        let after = power_goes(&disk);
        let field = workspace(&store(&after));
        assert!(has(&field, "before"));
        assert!(has(&field, "acknowledged"), "after a try: {tries_before}");
        assert!(!has(&field, "refused"));
    }
}

/// While somebody reads from the log it does not begin again: what is in the file already stays before
/// what is committed.
#[test]
fn nothing_is_committed_behind_such_a_log_while_it_is_read() {
    let disk = Disk::new(1);
    let (_running, field) = workspace_on_a_full_disk(&disk);
    let view = field.read().unwrap();
    disk.set_capacity(usize::MAX);
    let early = put(&field, "early");
    drop(view);
    put(&field, "late").unwrap();

    let after = power_goes(&disk);
    let field = workspace(&store(&after));
    assert!(has(&field, "late"));
    assert_eq!(has(&field, "early"), early.is_ok());
}

#[test]
fn what_the_control_file_is_told_once_there_is_room_survives() {
    let disk = Disk::new(1);
    let first = Process::start(&disk, 1);
    let running = store(&first);
    let ids = |version: u32| {
        let fields = "[collections.notes.fields]\ntitle = { id = 1, kind = \"text\" }";
        let head = format!("[schema]\nname = \"field\"\nversion = {version}");
        let schema = format!("{head}\n[collections.notes]\nid = 1\n{fields}\n");
        Schema::parse(&schema).unwrap().stable_ids()
    };
    let second = ends_over_a_failed_sync(&first, || running.set_stable_ids(&ids(1)));
    let running = store(&second);
    assert!(running.names().unwrap().is_empty(), "reads stay possible");
    let refused = running.check_writable();
    assert!(is_full(&refused), "{refused:?}");
    disk.set_capacity(usize::MAX);
    running.set_stable_ids(&ids(2)).unwrap();
    assert!(running.create(&name(), [7; 16], 5).unwrap());

    let after = power_goes(&disk);
    let found = store(&after);
    assert_eq!(found.stable_ids().unwrap(), Some(ids(2)));
    assert_eq!(found.names().unwrap(), [name()]);
}
