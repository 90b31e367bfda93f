use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::{Backend, Line, PATIENCE, insert, wait_for};
use crate::{Cause, Database, OpState, OutboxSize, QueuedWrite, State, SyncRun};

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

fn queue(db: &Database) -> Vec<QueuedWrite> {
    db.outbox().list(None, 10).unwrap()
}

/// Waits until all that is queued is in that state.
fn wait_until(db: &Database, state: OpState) {
    let deadline = Instant::now() + PATIENCE;
    while queue(db).iter().any(|write| write.state != state) {
        assert!(Instant::now() < deadline, "{:?}", queue(db));
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Pending, in flight, and pending again when nobody answers; gone when the server has named it.
#[test]
fn a_write_says_where_it_stands_and_the_outbox_how_much_it_holds() {
    let backend = Backend::new();
    let (db, sync) = backend.device();
    assert!(sync.sync_until(PATIENCE));
    sync.pause();
    wait_for(&sync, |s| s.cause == Cause::Paused);
    let began = now();
    let first = insert(&db);
    db.write(|tx| tx.increment("birds", &first, "sightings", 2))
        .unwrap();
    let waiting = queue(&db);
    assert_eq!(waiting.len(), 2);
    assert!(waiting.iter().all(|write| write.state == OpState::Pending));
    assert!((began..=now()).contains(&waiting[0].written));
    let change = &waiting[1].changes[0];
    assert_eq!(
        (
            change.collection.as_str(),
            change.document.as_str(),
            change.kind
        ),
        ("birds", first.as_str(), "update")
    );
    assert_eq!(change.increments, [("sightings".to_owned(), 2)]);
    let size = db.outbox().size().unwrap();
    let bytes: usize = waiting.iter().map(|write| write.bytes).sum();
    assert_eq!((size.pending, size.pending_bytes), (2, bytes as u64));
    assert_eq!(size.oldest, Some(waiting[0].written));
    let behind = db.outbox().list(Some(&waiting[0].id), 10).unwrap();
    assert_eq!(behind, waiting[1..]);

    backend.line(Line::Frozen);
    sync.resume();
    wait_until(&db, OpState::InFlight);
    assert_eq!(
        db.outbox().size().unwrap(),
        size,
        "they are the file's still"
    );
    // The request is given up, and with it what it says of the writes.
    backend.line(Line::Down);
    wait_for(&sync, |s| s.state == State::Waiting);
    wait_until(&db, OpState::Pending);
    backend.line(Line::Up);
    assert!(sync.sync_until(PATIENCE));
    assert_eq!(queue(&db), []);
    assert_eq!(db.outbox().size().unwrap(), OutboxSize::default());
}

fn latest(db: &Database, wanted: impl Fn(&SyncRun) -> bool) -> SyncRun {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let runs = db.sync_runs(1).unwrap();
        if let Some(run) = runs.into_iter().find(&wanted) {
            return run;
        }
        assert!(Instant::now() < deadline, "{:?}", db.sync_runs(5));
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn runs_and_status_say_what_was_sent_when_and_how_it_ended() {
    let backend = Backend::new();
    let (db, sync) = backend.device();
    assert!(sync.sync_until(PATIENCE));
    let before = sync.status();
    let began = now();
    assert!(before.last_sync.is_some_and(|at| at <= began));
    insert(&db);
    assert!(sync.sync_until(PATIENCE));
    let run = latest(&db, |run| run.cause == "push");
    assert_eq!((run.sent, run.outcome.as_deref()), (1, Some("done")));
    assert!((began..=now()).contains(&run.started));
    assert!(run.ended.is_some_and(|ended| ended >= run.started));
    let after = wait_for(&sync, |s| s.last_sync >= Some(run.started));
    assert!(run.bytes_up > 0 && after.bytes_up >= before.bytes_up + run.bytes_up);
    assert!(run.bytes_down > 0 && after.bytes_down >= before.bytes_down + run.bytes_down);

    backend.line(Line::Refuses(503, "busy", None));
    insert(&db);
    sync.sync_now();
    let run = latest(&db, |run| run.outcome.as_deref() == Some("failed"));
    assert!(run.error_code.is_some_and(|code| code.contains("503")));
    let failing = wait_for(&sync, |s| s.state == State::Waiting);
    assert_eq!(failing.last_sync, after.last_sync, "not a complete one");
}
