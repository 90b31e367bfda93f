//! The words storage has for the app and the engine: queue, ledger, runs.

use std::collections::HashSet;

use driftline_core::id::{DocumentId, OpId};
use driftline_core::ledger::{Loss, LossRule};
use driftline_core::time::Stamp;
use driftline_core::value::Value;

use super::*;
use crate::storage::ledger::{self, Filter, Restoration};
use crate::storage::outbox::{self, Batch};
use crate::storage::runs::{self, Run};
use crate::storage::{Origin, StorageError};

const NOTES: u16 = 1;

fn one() -> (tempfile::TempDir, Time, Device) {
    let (directory, time) = (tempfile::tempdir().unwrap(), Time::new());
    let device = Device::open(directory.path(), "d", &time, 1);
    (directory, time, device)
}

fn batch(
    device: &Device,
    max_ops: usize,
    max_bytes: usize,
    accepted: &[OpId],
    set_aside: &[OpId],
    only: Option<OpId>,
) -> Vec<OpId> {
    let accepted: HashSet<OpId> = accepted.iter().copied().collect();
    let batch = Batch {
        max_ops,
        max_bytes,
        accepted: &accepted,
        set_aside,
        only,
        behind: OpId::ZERO,
    };
    let ops = device
        .storage
        .read(|tx| outbox::next_batch(tx.conn(), &batch))
        .unwrap();
    ops.iter()
        .for_each(|op| assert_eq!(op.body.is_empty(), accepted.contains(&op.id)));
    ops.into_iter().map(|op| op.id).collect()
}

#[test]
fn a_batch_keeps_order_limits_and_what_must_wait() {
    let (_directory, _time, mut d) = one();
    let mut write = |drafts: &[Draft]| d.write(drafts).unwrap();
    let a = write(&[Draft::insert(NOTES, "a").set(1, "a")]);
    let b = write(&[Draft::insert(NOTES, "b").set(1, "b")]);
    let ab = write(
        &[
            Draft::update(NOTES, "a").count(1),
            Draft::update(NOTES, "c2").count(1),
        ]
        .as_slice()[..1],
    );
    let both = write(&[
        Draft::update(NOTES, "a").count(1),
        Draft::insert(NOTES, "c").set(1, "c"),
    ]);
    let c = write(&[Draft::update(NOTES, "c").count(1)]);
    let b2 = write(&[Draft::update(NOTES, "b").count(1)]);
    let all = [a, b, ab, both, c, b2];
    assert_eq!(batch(&d, 100, 1 << 20, &[], &[], None), all);
    assert_eq!(batch(&d, 2, 1 << 20, &[], &[], None), [a, b]);
    assert_eq!(
        batch(&d, 100, 1, &[], &[], None),
        [a],
        "one larger op travels alone"
    );
    assert_eq!(
        batch(&d, 100, 1 << 20, &[], &[a], None),
        [b, b2],
        "through shared documents, further"
    );
    assert_eq!(batch(&d, 100, 1 << 20, &[], &[b], None), [a, ab, both, c]);
    assert_eq!(batch(&d, 100, 1 << 20, &[], &[a], Some(a)), [a]);
    assert_eq!(
        batch(&d, 4, 1 << 20, &[a, b, ab], &[], None),
        [a, both, c, b2],
        "accepted ones leave room"
    );
    assert!(batch(&d, 100, 1 << 20, &[], &[], Some(OpId([9; 16]))).is_empty());
    let size = d.storage.read(|tx| outbox::size(tx.conn())).unwrap();
    assert_eq!((size.pending, size.quarantined), (6, 0));
    assert!(size.pending_bytes > 100 && size.oldest.is_some());
}

#[test]
fn dropping_everything_shows_what_the_server_said() {
    let (_directory, time, mut d) = one();
    let mut server = Server::new(schema(), time);
    d.write(&[Draft::insert(NOTES, "a").set(1, "base")])
        .unwrap();
    d.sync(&mut server);
    d.write(&[Draft::update(NOTES, "a").set(1, "mine")])
        .unwrap();
    d.write(&[Draft::insert(NOTES, "b").set(1, "mine")])
        .unwrap();
    d.write(&[Draft::delete(NOTES, "a")]).unwrap();
    let dropped = d.storage.write_tx(Origin::Local, outbox::drop_all).unwrap();
    assert_eq!(dropped, 3);
    check_device(&d, &server);
    assert_eq!(d.value(NOTES, "a", 1), Some("base".into()));
    assert_eq!(d.shown(NOTES, "b"), None);
}

#[test]
fn a_rejected_write_is_in_the_ledger_with_what_was_there_before() {
    let (_directory, time, mut d) = one();
    let mut server = Server::new(schema(), time);
    d.write(&[Draft::insert(NOTES, "a").set(1, "before").count(5)])
        .unwrap();
    d.sync(&mut server);
    let op = d
        .write(&[Draft::update(NOTES, "a")
            .set(1, "after")
            .count(2)
            .remove("x")
            .add("y")])
        .unwrap();
    server.refuse.insert(op);
    d.sync(&mut server);
    let entries = d
        .storage
        .read(|tx| ledger::query(tx.conn(), &Filter::default(), 10))
        .unwrap();
    let mut restorations = Vec::new();
    for entry in &entries {
        assert_eq!((entry.loss.rule, entry.loss.op), (LossRule::Rejected, op));
        let field = entry.loss.field.unwrap();
        restorations.push(entry.restoration(field == 3, field == 4).unwrap());
        match field {
            1 => assert_eq!(
                (&entry.loss.value, &entry.loss.base_value),
                (&"after".into(), &"before".into())
            ),
            3 => assert_eq!(
                (&entry.loss.value, &entry.loss.base_value),
                (&2.into(), &5.into())
            ),
            _ => assert!(entry.loss.base_value.is_null()),
        }
    }
    restorations.sort_by_key(|r| format!("{r:?}"));
    let expected = [
        Restoration::Add(4, vec!["y".to_owned()]),
        Restoration::Increment(3, 2),
        Restoration::Remove(4, vec!["x".to_owned()]),
        Restoration::Set(1, "after".into()),
    ];
    assert_eq!(restorations, expected);
    // Told once more, nothing doubles; tried again, the rows are gone.
    d.pull(&mut server, 10);
    assert_eq!(d.storage.read(|tx| ledger::count(tx.conn())).unwrap(), 4);
    d.retry(op).unwrap();
    assert_eq!(d.storage.read(|tx| ledger::count(tx.conn())).unwrap(), 0);
}

fn loss(number: u64, document: &str, at: i64) -> Loss {
    Loss {
        number,
        collection: NOTES,
        document: DocumentId::new(document).unwrap(),
        field: Some(1),
        value: "lost".into(),
        base_value: Value::Null,
        winner_value: "stands".into(),
        op: OpId([number as u8; 16]),
        winner: OpId([200; 16]),
        stamp: Stamp::at(5),
        winner_stamp: Stamp::at(6),
        winner_device: "other".to_owned(),
        rule: LossRule::Overwritten,
        at,
        removed: false,
    }
}

#[test]
fn losses_are_stored_once_filtered_marked_and_pruned() {
    let (_directory, _time, d) = one();
    let keep = |losses: &[Loss]| {
        d.storage
            .write_tx(Origin::Remote, |tx| ledger::keep(tx, losses))
            .unwrap()
    };
    assert_eq!(keep(&[loss(1, "a", 100), loss(2, "b", 200)]), 2);
    assert_eq!(keep(&[loss(2, "b", 200), loss(3, "a", 300)]), 1);
    assert_eq!(
        d.storage
            .read(|tx| ledger::acknowledged(tx.conn()))
            .unwrap(),
        3
    );
    let numbers = |filter: Filter| -> Vec<u64> {
        let entries = d
            .storage
            .read(|tx| ledger::query(tx.conn(), &filter, 10))
            .unwrap();
        entries.iter().map(|entry| entry.loss.number).collect()
    };
    assert_eq!(numbers(Filter::default()), [3, 2, 1]);
    assert_eq!(
        numbers(Filter {
            document: Some(DocumentId::new("a").unwrap()),
            ..Filter::default()
        }),
        [3, 1]
    );
    assert_eq!(
        numbers(Filter {
            since: Some(200),
            until: Some(300),
            ..Filter::default()
        }),
        [2]
    );
    assert!(
        numbers(Filter {
            rule: Some(LossRule::TooLate),
            ..Filter::default()
        })
        .is_empty()
    );
    assert_eq!(
        numbers(Filter {
            field: Some(1),
            collection: Some(NOTES),
            ..Filter::default()
        }),
        [3, 2, 1]
    );
    let latest = d
        .storage
        .read(|tx| ledger::query(tx.conn(), &Filter::default(), 1))
        .unwrap()
        .remove(0);
    assert_eq!(
        numbers(Filter {
            before: Some(latest.id),
            ..Filter::default()
        }),
        [2, 1]
    );
    let mark = || {
        d.storage
            .write_tx(Origin::Local, |tx| {
                ledger::mark_restored(tx, latest.id, OpId([7; 16]))
            })
            .unwrap()
    };
    assert!(mark() && !mark());
    assert_eq!(
        numbers(Filter {
            restored: Some(false),
            ..Filter::default()
        }),
        [2, 1]
    );
    assert_eq!(
        d.storage
            .write_tx(Origin::Local, |tx| ledger::prune(tx, 250))
            .unwrap(),
        2
    );
    assert_eq!(numbers(Filter::default()), [3]);
    // What was pruned does not come back.
    assert_eq!(keep(&[loss(1, "a", 100)]), 0);
}

#[test]
fn of_the_runs_the_latest_are_kept() {
    let (_directory, _time, d) = one();
    let run = |n: i64| Run {
        started: n,
        cause: "timer".to_owned(),
        sent: n.unsigned_abs(),
        ..Run::default()
    };
    for n in 0..runs::KEPT + 50 {
        d.storage
            .write_tx(Origin::Remote, |tx| runs::record(tx, &run(n)))
            .unwrap();
    }
    let latest = d.storage.read(|tx| runs::latest(tx.conn(), 1_000)).unwrap();
    assert_eq!(latest.len() as i64, runs::KEPT);
    assert_eq!(latest[0], run(runs::KEPT + 49));
}

#[test]
fn ids_never_go_back_after_the_queue_has_drained() {
    let (directory, time, mut d) = one();
    let mut server = Server::new(schema(), time.clone());
    let first = d.write(&[Draft::insert(NOTES, "a").set(1, "x")]).unwrap();
    d.sync(&mut server);
    assert!(d.queue().is_empty());
    drop(d);
    time.pass(-1_000_000);
    let mut d = Device::open(directory.path(), "d", &time, 2);
    assert!(d.write(&[Draft::update(NOTES, "a").set(1, "y")]).unwrap() > first);
}

#[test]
fn a_large_group_is_applied_in_time_that_grows_with_its_size() {
    let (_directory, time, mut d) = one();
    let mut server = Server::new(schema(), time);
    let drafts: Vec<Draft> = (0..2_000)
        .map(|n| Draft::insert(NOTES, &format!("n{n:05}")).set(1, "x"))
        .collect();
    d.write(&drafts).unwrap();
    d.sync(&mut server);
    assert!(d.queue().is_empty());
    check_device(&d, &server);
    let rows: i64 = d
        .storage
        .read(|tx| {
            Ok::<_, StorageError>(
                tx.conn()
                    .query_row("SELECT count(*) FROM notes", [], |row| row.get(0))?,
            )
        })
        .unwrap();
    assert_eq!(rows, 2_000);
}
