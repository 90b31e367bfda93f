//! What every store must do; each store runs all of it.
#![allow(clippy::unwrap_used)]

mod crash;
mod many;
mod rows;
mod texts;

use std::sync::Arc;

use driftline_core::id::{DocumentId, OpId};
use driftline_core::merge::DocumentState;
use driftline_core::op::ChangeKind;
use driftline_core::protocol::{Cursor, VersionEntry};

use super::*;

/// Opens stores over one place.
pub(super) trait Harness {
    /// The place as it is. No other store is open on it.
    fn open(&self) -> Arc<dyn ServerStore>;

    /// The place as a crash at this very moment would leave it, while a store is open on it.
    fn after_crash(&self) -> Arc<dyn ServerStore>;
}

/// Makes a test of each obligation.
macro_rules! contract {
    ($harness:expr) => {
        $crate::store::contract::contract!($harness,
            workspaces_are_made_once_and_found_by_name,
            an_empty_workspace_has_a_place_of_its_own,
            what_is_committed_is_there_and_what_is_dropped_is_not,
            a_part_is_undone_alone,
            a_view_stands_still_while_others_commit,
            many_read_while_one_writes,
            one_writes_at_a_time,
            a_writer_that_panics_leaves_nothing,
            the_schemas_numbers_are_kept,
            decisions_come_back_as_they_were,
            keys_beyond_all_others_are_found_once_stored,
            documents_come_in_order_of_their_bytes,
            the_log_leads_forward_and_back,
            authors_keep_their_numbers,
            losses_are_each_devices_own,
            edits_stay_in_order_until_a_fold_takes_their_place,
            texts_with_a_tail_are_found_in_order,
            a_writer_is_whoever_wrote_under_it_first,
            a_crash_leaves_what_was_committed,
            many_rows_are_seen_as_if_written_one_by_one,
            a_row_is_read_as_soon_as_it_is_put,
            many_rows_are_undone_wherever_they_are,
            a_row_that_cannot_be_written_is_told_before_the_part_ends,
        );
    };
    ($harness:expr, $($obligation:ident,)*) => {
        $(#[test]
        fn $obligation() {
            $crate::store::contract::$obligation(&$harness);
        })*
    };
}
pub(super) use contract;
pub(super) use crash::*;
pub(super) use many::*;
pub(super) use rows::*;
pub(super) use texts::*;

const ID: [u8; 16] = [7; 16];

fn name(name: &str) -> WorkspaceName {
    WorkspaceName::new(name).unwrap()
}

fn workspace(store: &Arc<dyn ServerStore>) -> Arc<dyn WorkspaceStore> {
    store.create(&name("w"), ID, 5).unwrap();
    store.open(&name("w")).unwrap().unwrap()
}

fn op(n: u64) -> OpId {
    OpId::next(n, [n as u8; 10], None)
}

fn document(id: &str) -> DocumentId {
    DocumentId::new(id).unwrap()
}

fn author() -> Author<'static> {
    Author {
        account: "ann",
        device: "d",
        label: "Ann's",
        writer: 3,
    }
}

/// Appends the next version, which writes one document.
fn append(tx: &mut (dyn Transaction + '_), id: &str) -> Cursor {
    let head = tx.head().unwrap();
    let author = tx.author(&author()).unwrap();
    let version = head.cursor.version + 1;
    let entry = VersionEntry {
        version,
        ids: vec![op(version)],
        documents: vec![],
        echo: None,
        landed: vec![],
    };
    let entry = minicbor::to_vec(&entry).unwrap();
    let cursor = head.cursor.next(&entry);
    let document = document(id);
    let before = tx.document(1, &document).unwrap();
    let touched = [Touch {
        collection: 1,
        document: &document,
        kind: ChangeKind::Update,
        previous: before.map(|before| before.version),
    }];
    tx.append(&NewVersion {
        cursor,
        op: op(version),
        author,
        base: version - 1,
        schema: 1,
        written: 10,
        at: 20,
        touched: &touched,
        entry: &entry,
    })
    .unwrap();
    let state = minicbor::to_vec(DocumentState::opened(op(version), version)).unwrap();
    let new = NewDocument {
        collection: 1,
        document: &document,
        state: &state,
        body: Some("{}"),
        version,
    };
    tx.put_document(&new).unwrap();
    tx.set_size(version, 10 * version).unwrap();
    cursor
}

pub(super) fn workspaces_are_made_once_and_found_by_name(harness: &dyn Harness) {
    let store = harness.open();
    assert!(store.open(&name("w")).unwrap().is_none());
    assert!(store.create(&name("w"), ID, 5).unwrap());
    assert!(
        !store.create(&name("w"), [8; 16], 6).unwrap(),
        "it is there"
    );
    assert!(store.create(&name("W"), [9; 16], 6).unwrap(), "another one");
    assert_eq!(store.names().unwrap(), [name("W"), name("w")]);
    let seed = |n: &str| {
        store
            .open(&name(n))
            .unwrap()
            .unwrap()
            .read()
            .unwrap()
            .head()
            .unwrap()
            .cursor
    };
    assert_eq!(
        (seed("w"), seed("W")),
        (Cursor::seed(&ID), Cursor::seed(&[9; 16]))
    );
    store.check_writable().unwrap();
}

pub(super) fn an_empty_workspace_has_a_place_of_its_own(harness: &dyn Harness) {
    let workspace = workspace(&harness.open());
    let mut view = workspace.read().unwrap();
    let head = view.head().unwrap();
    assert_eq!(
        head,
        Head {
            cursor: Cursor::seed(&ID),
            documents: 0,
            bytes: 0
        }
    );
    assert_eq!(view.hash_at(0).unwrap(), Some(head.cursor.hash));
    assert_eq!(view.hash_at(1).unwrap(), None);
    assert_eq!(view.hash_at(u64::MAX).unwrap(), None);
    assert_eq!(view.record(op(1)).unwrap(), None);
    assert_eq!(view.document(1, &document("a")).unwrap(), None);
    assert_eq!(view.device("ann", "d").unwrap(), None);
    view.log(0, &mut |_| panic!("an entry")).unwrap();
    view.documents(None, &mut |_| panic!("a document")).unwrap();
}

pub(super) fn what_is_committed_is_there_and_what_is_dropped_is_not(harness: &dyn Harness) {
    let store = harness.open();
    let first = workspace(&store);
    let mut tx = first.begin().unwrap();
    let cursor = append(&mut *tx, "a");
    tx.commit().unwrap();
    let mut tx = first.begin().unwrap();
    append(&mut *tx, "b");
    drop(tx);
    drop((first, store));
    let again = workspace(&harness.open());
    let mut view = again.read().unwrap();
    assert_eq!(
        view.head().unwrap(),
        Head {
            cursor,
            documents: 1,
            bytes: 10
        }
    );
    assert_eq!(view.hash_at(1).unwrap(), Some(cursor.hash));
    assert!(view.document(1, &document("a")).unwrap().is_some());
    assert!(view.document(1, &document("b")).unwrap().is_none());
}

pub(super) fn a_part_is_undone_alone(harness: &dyn Harness) {
    let workspace = workspace(&harness.open());
    let mut tx = workspace.begin().unwrap();
    for (id, keep) in [("a", true), ("b", false), ("c", true)] {
        tx.begin_part().unwrap();
        append(&mut *tx, id);
        tx.end_part(keep).unwrap();
    }
    tx.commit().unwrap();
    let mut view = workspace.read().unwrap();
    assert_eq!(view.head().unwrap().cursor.version, 2);
    for (id, there) in [("a", true), ("b", false), ("c", true)] {
        assert_eq!(
            view.document(1, &document(id)).unwrap().is_some(),
            there,
            "{id}"
        );
    }
}

pub(super) fn a_view_stands_still_while_others_commit(harness: &dyn Harness) {
    let workspace = workspace(&harness.open());
    let mut tx = workspace.begin().unwrap();
    append(&mut *tx, "a");
    tx.commit().unwrap();
    let mut before = workspace.read().unwrap();
    let mut tx = workspace.begin().unwrap();
    append(&mut *tx, "b");
    let mut during = workspace.read().unwrap();
    tx.commit().unwrap();
    let mut after = workspace.read().unwrap();
    let version = |view: &mut Box<dyn Snapshot + '_>| view.head().unwrap().cursor.version;
    assert_eq!(
        (
            version(&mut before),
            version(&mut during),
            version(&mut after)
        ),
        (1, 1, 2)
    );
    assert!(before.document(1, &document("b")).unwrap().is_none());
    drop((before, during, after));
    assert!(workspace.checkpoint().is_ok());
    assert_eq!(version(&mut workspace.read().unwrap()), 2);
}

pub(super) fn many_read_while_one_writes(harness: &dyn Harness) {
    let workspace = workspace(&harness.open());
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut last = 0;
                while last < 50 {
                    let mut view = workspace.read().unwrap();
                    let head = view.head().unwrap();
                    assert!(head.cursor.version >= last, "versions do not go back");
                    assert_eq!(
                        head.bytes,
                        10 * head.cursor.version,
                        "head and size are of one commit"
                    );
                    last = head.cursor.version;
                }
            });
        }
        for n in 0..50 {
            let mut tx = workspace.begin().unwrap();
            append(&mut *tx, &format!("d{n}"));
            tx.commit().unwrap();
        }
    });
}

pub(super) fn one_writes_at_a_time(harness: &dyn Harness) {
    let workspace = workspace(&harness.open());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..25 {
                    let mut tx = workspace.begin().unwrap();
                    append(&mut *tx, "same");
                    tx.commit().unwrap();
                }
            });
        }
    });
    assert_eq!(
        workspace.read().unwrap().head().unwrap().cursor.version,
        100
    );
}

pub(super) fn a_writer_that_panics_leaves_nothing(harness: &dyn Harness) {
    let workspace = workspace(&harness.open());
    let panicked = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut tx = workspace.begin().unwrap();
            append(&mut *tx, "a");
            panic!("on purpose");
        });
        writer.join().is_err()
    });
    assert!(panicked);
    let mut tx = workspace.begin().unwrap();
    assert_eq!(tx.head().unwrap().cursor.version, 0);
    append(&mut *tx, "b");
    tx.commit().unwrap();
}

pub(super) fn the_schemas_numbers_are_kept(harness: &dyn Harness) {
    let store = harness.open();
    assert_eq!(store.stable_ids().unwrap(), None);
    let mut ids = StableIds {
        version: 3,
        ..StableIds::default()
    };
    store.set_stable_ids(&ids).unwrap();
    ids.version = 4;
    ids.collections.insert(
        1,
        (
            "birds".to_owned(),
            [(2, ("mass".to_owned(), "real".to_owned()))].into(),
        ),
    );
    store.set_stable_ids(&ids).unwrap();
    drop(store);
    assert_eq!(harness.open().stable_ids().unwrap(), Some(ids));
}
