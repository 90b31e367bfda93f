use std::time::Duration;

use driftline_core::id::DocumentId;
use driftline_core::ledger::{Loss, LossRule};
use driftline_core::time::Stamp;

use super::{Backend, Fixture, PATIENCE, insert, wait_for};
use crate::{Cause, EventSubscription, Sync, SyncEvent, Value};

/// Everything there is to read.
fn read(events: &EventSubscription) -> Vec<SyncEvent> {
    std::iter::from_fn(|| events.next_timeout(Duration::from_millis(50))).collect()
}

/// A device that has not sent anything, and what its connection tells from then on.
fn paused(backend: &Backend) -> (Fixture, Sync, EventSubscription) {
    let (db, sync) = backend.device();
    assert!(sync.sync_until(PATIENCE));
    sync.pause();
    wait_for(&sync, |s| s.cause == Cause::Paused);
    let events = sync.events();
    (db, sync, events)
}

/// One push of three ops, one of them refused. Its answer brings the first of four versions of another
/// device's, and the pulls behind it the others and its own: nothing of that is this push's.
#[test]
fn a_push_is_told_when_it_begins_and_with_what_its_answer_decided() {
    let backend = Backend::new();
    backend.world().most = 1;
    let (a, at_a, events) = paused(&backend);
    let (b, at_b) = backend.device();
    (0..4).for_each(|_| drop(insert(&b)));
    assert!(at_b.sync_until(PATIENCE));
    (0..3).for_each(|_| drop(insert(&a)));
    let queued = a.outbox().list(None, 10).unwrap();
    let refused = queued[1].id.parse().unwrap();
    backend.world().server.refuse.insert(refused);
    at_a.resume();
    assert!(at_a.sync_until(PATIENCE));
    assert_eq!(a.count("SELECT count(*) FROM birds"), 6);

    let told = read(&events);
    let size: usize = queued.iter().map(|op| op.bytes).sum();
    let pushes: Vec<_> = told
        .iter()
        .filter(|event| {
            matches!(
                event,
                SyncEvent::PushStarted { .. } | SyncEvent::PushFinished { .. }
            )
        })
        .collect();
    let [SyncEvent::PushStarted { ops: 3, bytes }, finished] = pushes.as_slice() else {
        panic!("{pushes:?}");
    };
    assert!(*bytes >= size, "{bytes}, {size}");
    let decided = SyncEvent::PushFinished {
        accepted: 2,
        rejected: 1,
    };
    assert_eq!(*finished, &decided);
    let rejected = SyncEvent::Rejected {
        op: queued[1].id.clone(),
        code: "quota".to_owned(),
    };
    let at = |event: &SyncEvent| told.iter().position(|told| told == event);
    assert!(at(&decided).is_some() && at(&decided) < at(&rejected));
    let pulled = told.iter().map(|event| match event {
        SyncEvent::Pulled {
            versions,
            live: false,
            ..
        } => *versions,
        _ => 0,
    });
    assert_eq!(
        pulled.sum::<usize>(),
        6,
        "four of the other's and two of its own"
    );
}

#[test]
fn two_values_that_had_not_seen_each_other_are_a_conflict() {
    let backend = Backend::new();
    let (b, at_b) = backend.device();
    let id = insert(&b);
    assert!(at_b.sync_until(PATIENCE));
    let (a, at_a, events) = paused(&backend);
    for (db, species) in [(&b, "by b"), (&a, "by a")] {
        db.write(|tx| tx.update("birds", &id, [("species", species)]))
            .unwrap();
    }
    assert!(at_b.sync_until(PATIENCE));
    at_a.resume();
    assert!(at_a.sync_until(PATIENCE));
    let stands = a.get("birds", &id).unwrap().unwrap();
    let winner = Value::from(stands.text("species").unwrap());
    let conflicts: Vec<_> = read(&events)
        .into_iter()
        .filter(|event| matches!(event, SyncEvent::Conflict { .. }))
        .collect();
    let expected = SyncEvent::Conflict {
        collection: "birds".to_owned(),
        document: id,
        field: "species".to_owned(),
        local: "by a".into(),
        remote: "by b".into(),
        winner,
    };
    assert_eq!(conflicts, [expected]);
}

#[test]
fn losses_are_told_once() {
    let backend = Backend::new();
    let (a, at_a, events) = paused(&backend);
    let id = insert(&a);
    let op = a.outbox().list(None, 1).unwrap()[0].id.parse().unwrap();
    let loss = |number| Loss {
        number,
        collection: 1,
        document: DocumentId::new(&id).unwrap(),
        field: Some(1),
        value: "mine".into(),
        base_value: Value::Null,
        winner_value: "theirs".into(),
        op,
        winner: op,
        stamp: Stamp::at(1),
        winner_stamp: Stamp::at(2),
        winner_device: "b".to_owned(),
        rule: LossRule::Overwritten,
        at: 3,
        removed: false,
    };
    backend.world().losses = vec![loss(1), loss(2)];
    at_a.resume();
    assert!(at_a.sync_until(PATIENCE));
    assert!(at_a.sync_until(PATIENCE));
    let lost: Vec<_> = read(&events)
        .into_iter()
        .filter(|event| matches!(event, SyncEvent::Lost { .. }))
        .collect();
    assert_eq!(lost, [SyncEvent::Lost { losses: 2 }]);
}

/// Also while nothing is sent: that is when it fills up.
#[test]
fn a_queue_that_fills_up_is_told_before_it_is_full_and_for_what_it_refuses() {
    let backend = Backend::new();
    let (db, sync, events) = paused(&backend);
    let full = loop {
        let written = db.write(|tx| tx.insert("birds", [("species", "Adelie")]));
        if let Err(error) = written {
            break error;
        }
    };
    assert_eq!(full.code(), "queue_full");
    let told: Vec<_> = read(&events)
        .into_iter()
        .filter_map(|event| match event {
            SyncEvent::Capacity { ops, bytes, full } => Some((ops, bytes, full)),
            _ => None,
        })
        .collect();
    let size = db.outbox().size().unwrap();
    let [(_, nearly, false), (ops, bytes, true)] = told.as_slice() else {
        panic!("{told:?}");
    };
    assert_eq!((*ops, *bytes), (size.pending, size.pending_bytes));
    assert!(nearly < bytes && *nearly >= bytes / 5 * 4, "{told:?}");
    drop(sync);
}
