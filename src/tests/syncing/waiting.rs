use std::time::{Duration, Instant};

use super::{Backend, Line, PATIENCE, insert};

/// The status published last is from before the write, and says that nothing is pending.
#[test]
fn waiting_does_not_end_before_what_was_written_has_left() {
    let backend = Backend::new();
    let (db, sync) = backend.device();
    assert!(sync.wait_until_synced(PATIENCE), "the first round");
    for _ in 0..5 {
        backend.line(Line::Frozen);
        insert(&db);
        assert!(!sync.wait_until_synced(Duration::from_millis(200)));
        assert!(db.unsynced().unwrap() > 0);
        backend.line(Line::Up);
        sync.sync_now();
        assert!(sync.wait_until_synced(PATIENCE), "{:?}", sync.status());
        assert_eq!(db.unsynced().unwrap(), 0);
    }
}

#[test]
fn waiting_for_nothing_ends_at_once_and_after_a_connection_never() {
    let backend = Backend::new();
    let (db, sync) = backend.device();
    insert(&db);
    assert!(sync.sync_until(PATIENCE));
    let began = Instant::now();
    assert!(sync.wait_until_synced(PATIENCE));
    assert!(began.elapsed() < PATIENCE / 4);
    sync.pause();
    assert!(!sync.wait_until_synced(Duration::from_millis(100)));
    db.close().unwrap();
    assert!(!sync.wait_until_synced(PATIENCE));
}
