//! What whole worlds found in the driver, each by itself.

use super::{Backend, PATIENCE, insert, wait_for};
use crate::storage::{Origin, StorageError, stage};
use crate::{Cause, State};

/// A commit that reports an error may have taken effect: the bootstrap had begun, and whoever asked for it had
/// been told that it had not. The device asked for pages that it could not take, again at once, for ever.
#[test]
fn a_bootstrap_that_had_begun_unnoticed_goes_on() {
    let backend = Backend::new();
    let (db, sync) = backend.device();
    insert(&db);
    assert!(sync.sync_until(PATIENCE));
    let begun: Result<(), StorageError> = db.storage().write_tx(Origin::Remote, stage::begin);
    begun.unwrap();
    let before = backend.world().requests;

    insert(&db);
    assert!(sync.sync_until(PATIENCE), "{:?}", sync.status());
    let asked = backend.world().requests - before;
    assert!(asked < 20, "{asked} requests");
    let staged = db.storage().with_reader(|tx| stage::status(tx.conn()));
    assert!(staged.unwrap().is_none());
    assert_eq!(db.count("SELECT count(*) FROM birds"), 2);
}

/// While the file was let go of the status told the version 0.
#[test]
fn a_file_that_is_let_go_of_stands_where_it_stood() {
    let backend = Backend::new();
    let (db, sync) = backend.device();
    insert(&db);
    assert!(sync.sync_until(PATIENCE));
    let stood = wait_for(&sync, |s| s.version > 0).version;
    let events = sync.events();
    db.suspend().unwrap();
    wait_for(&sync, |s| s.cause == Cause::Suspended);
    db.resume().unwrap();
    wait_for(&sync, |s| s.state == State::Idle);
    let told = std::iter::from_fn(|| events.next_timeout(std::time::Duration::from_millis(50)));
    let versions = told.filter_map(|event| match event {
        crate::SyncEvent::Status(status) => Some(status.version),
        _ => None,
    });
    let versions: Vec<u64> = versions.collect();
    assert!(!versions.is_empty());
    assert!(versions.iter().all(|told| *told == stood), "{versions:?}");
}
