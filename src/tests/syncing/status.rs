use std::time::{Duration, Instant};

use driftline_core::protocol::SnapshotFrame;

use super::{Backend, Line, PATIENCE, insert, piece, wait_for};
use crate::{Cause, State, SyncEvent};

/// Whatever keeps writes from being sent, the status counts them.
#[test]
fn pending_is_told_while_nothing_can_be_sent() {
    let backend = Backend::new();
    let (db, sync) = backend.device();
    assert!(sync.sync_until(PATIENCE));

    sync.pause();
    wait_for(&sync, |s| s.cause == Cause::Paused);
    (0..3).for_each(|_| drop(insert(&db)));
    wait_for(&sync, |s| s.state == State::Stopped && s.pending == 3);
    sync.resume();
    wait_for(&sync, |s| s.state == State::Idle && s.pending == 0);

    sync.network_changed(false);
    wait_for(&sync, |s| s.cause == Cause::NoNetwork);
    (0..3).for_each(|_| drop(insert(&db)));
    wait_for(&sync, |s| s.cause == Cause::NoNetwork && s.pending == 3);
    sync.network_changed(true);
    wait_for(&sync, |s| s.state == State::Idle && s.pending == 0);

    backend.line(Line::Down);
    for written in 1..30 {
        insert(&db);
        if written % 7 == 0 {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    wait_for(&sync, |s| s.cause == Cause::Unreachable && s.pending == 29);
}

/// Each count reads the queue: many writes are one of them.
#[test]
fn many_writes_are_told_together() {
    let backend = Backend::new();
    let (db, sync) = backend.device();
    assert!(sync.sync_until(PATIENCE));
    sync.pause();
    wait_for(&sync, |s| s.cause == Cause::Paused);
    let events = sync.events();
    let began = Instant::now();
    (0..300).for_each(|_| drop(insert(&db)));
    wait_for(&sync, |s| s.pending == 300);
    let most = 2 + began.elapsed().as_millis() / 100;
    let told = std::iter::from_fn(|| events.next_timeout(Duration::from_millis(300)))
        .filter(|event| matches!(event, SyncEvent::Status(_)))
        .count();
    assert!((2..=most as usize).contains(&told), "{told}, not {most}");
}

#[test]
fn a_bootstraps_progress_is_in_the_status_too() {
    let backend = Backend::new();
    let (a, at_a) = backend.device();
    (0..30).for_each(|_| drop(insert(&a)));
    assert!(at_a.sync_until(PATIENCE));

    let pieces = backend.offer_snapshot();
    let (b, at_b) = backend.device();
    let (documents, cursor) = {
        let world = backend.world();
        (world.server.snapshot(), world.server.cursor())
    };
    let send = |frame: &SnapshotFrame| pieces.send(piece(frame)).unwrap();
    let some = |at: usize| SnapshotFrame::Documents {
        documents: documents[at..at + 10].to_vec(),
    };
    let begin = SnapshotFrame::Begin {
        cursor,
        documents: 30,
    };
    for (frame, so_far) in [(begin, 0), (some(0), 10), (some(10), 20)] {
        send(&frame);
        let status = wait_for(&at_b, |s| s.bootstrap == Some((so_far, 30)));
        assert_eq!(status.state, State::Bootstrapping);
    }
    send(&some(20));
    send(&SnapshotFrame::End);
    let status = wait_for(&at_b, |s| s.state == State::Idle);
    assert_eq!(status.bootstrap, None);
    assert_eq!(b.count("SELECT count(*) FROM birds"), 30);
}
