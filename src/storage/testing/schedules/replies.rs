//! What answers, groups and broken pages do to a file.

use super::*;
use crate::storage::apply::PageError;
use crate::storage::{StorageError, stage};

#[test]
fn an_insert_that_joined_is_followed_also_when_no_page_told_of_it() {
    let mut s = Stage::new();
    let mut x = s.device();
    s.write(&mut x, Draft::insert(NOTES, "a").set(TITLE, "first"));
    s.write(&mut x, Draft::insert(NOTES, "a").set(2, "joins"));
    // Accepted; the answer is lost, and the snapshot names no ops.
    let _ = x.send(&mut s.server, 10, 10);
    s.write(&mut x, Draft::update(NOTES, "a").count(1));
    x.bootstrap(&mut s.server);
    check_device(&x, &s.server);
    assert_eq!((x.count(NOTES, "a"), x.pending().len()), (1, 1));
    x.sync(&mut s.server);
    assert_eq!(x.count(NOTES, "a"), 1);
    check_device(&x, &s.server);
}

#[test]
fn a_group_shows_on_all_of_its_documents_or_on_none() {
    let mut s = Stage::new();
    let mut x = s.device();
    let insert = s.write(&mut x, Draft::insert(NOTES, "a").set(TITLE, "base of it"));
    s.time.pass(1_000);
    let drafts = [
        Draft::update(NOTES, "a").count(1),
        Draft::insert(NOTES, "b").set(TITLE, "with it"),
    ];
    let group = x.write(&drafts).unwrap();
    s.server.refuse.insert(insert);
    // Only the insert is sent: the group's verdict is not known, but can be told.
    let exchange = x.send(&mut s.server, 1, 10).unwrap();
    x.take(&exchange).unwrap();
    check_device(&x, &s.server);
    assert_eq!((x.shown(NOTES, "a"), x.shown(NOTES, "b")), (None, None));
    assert_eq!(x.pending(), [group]);
    // It would be decided before the retried insert, so it stays hidden until it is told so.
    x.retry(insert).unwrap();
    check_device(&x, &s.server);
    assert_eq!(x.shown(NOTES, "b"), None);
    x.sync(&mut s.server);
    assert_eq!(x.quarantined(), [group]);
}

#[test]
fn a_hidden_group_shows_again_when_nothing_stands_against_it() {
    let mut s = Stage::new();
    let (mut x, mut z) = s.pair();
    s.time.pass(1_000);
    x.write(&[
        Draft::update(NOTES, "a").count(1),
        Draft::insert(NOTES, "b").set(TITLE, "with it"),
    ])
    .unwrap();
    s.write(&mut z, Draft::update(NOTES, "a").count(i64::MAX));
    z.sync(&mut s.server);
    x.pull(&mut s.server, 10);
    check_device(&x, &s.server);
    assert_eq!(
        (x.count(NOTES, "a"), x.shown(NOTES, "b")),
        (i64::MAX, None),
        "the counter is full"
    );
    s.write(&mut z, Draft::update(NOTES, "a").count(-5));
    z.sync(&mut s.server);
    x.pull(&mut s.server, 10);
    check_device(&x, &s.server);
    assert_eq!(x.count(NOTES, "a"), i64::MAX - 4);
    assert_eq!(x.value(NOTES, "b", TITLE), Some("with it".into()));
    s.heal(&mut [&mut x, &mut z]);
    assert_eq!(z.value(NOTES, "b", TITLE), Some("with it".into()));
}

#[test]
fn a_retried_insert_takes_along_what_it_blocked_in_order() {
    let mut s = Stage::new();
    let (mut x, mut z) = (s.device(), s.device());
    let insert = s.write(&mut x, Draft::insert(NOTES, "a").set(TITLE, "1"));
    s.write(&mut x, Draft::update(NOTES, "a").set(TITLE, "2").count(1));
    s.time.pass(1_000);
    x.write(&[
        Draft::update(NOTES, "a").set(TITLE, "3").count(1),
        Draft::insert(NOTES, "b").set(TITLE, "with 3"),
    ])
    .unwrap();
    s.write(&mut x, Draft::update(NOTES, "b").set(2, "on b"));
    s.write(&mut x, Draft::insert(NOTES, "c").set(TITLE, "on its own"));
    s.server.refuse.insert(insert);
    x.sync(&mut s.server);
    assert_eq!(x.quarantined().len(), 4);
    assert_eq!(x.retry(insert).unwrap().len(), 4);
    assert!(x.quarantined().is_empty());
    check_device(&x, &s.server);
    check_prediction(&x, &s.server);
    s.heal(&mut [&mut x, &mut z]);
    assert_eq!(z.value(NOTES, "a", TITLE), Some("3".into()));
    assert_eq!(
        (z.count(NOTES, "a"), z.value(NOTES, "b", 2)),
        (2, Some("on b".into()))
    );
}

#[test]
fn an_answer_about_a_discarded_write_is_asked_for_again() {
    let mut s = Stage::new();
    let (mut x, _) = s.pair();
    let op = s.write(
        &mut x,
        Draft::update(NOTES, "a").set(TITLE, "sent, then regretted"),
    );
    let exchange = x.send(&mut s.server, 10, 10).unwrap();
    assert!(exchange.response.versions[0].echo.is_some());
    assert!(x.discard(op));
    assert_eq!(x.value(NOTES, "a", TITLE), Some("first".into()));
    x.take(&exchange).unwrap();
    check_device(&x, &s.server);
    let applied = x.pull(&mut s.server, 10);
    assert_eq!(applied.discarded_too_late, [op]);
    check_device(&x, &s.server);
    assert_eq!(
        x.value(NOTES, "a", TITLE),
        Some("sent, then regretted".into())
    );
}

#[test]
fn an_op_that_cannot_be_delivered_goes_to_quarantine_with_its_content() {
    let mut s = Stage::new();
    let (mut x, _) = s.pair();
    let op = s.write(&mut x, Draft::update(NOTES, "a").set(TITLE, "poison"));
    assert!(x.withdraw_undeliverable(op));
    assert_eq!(x.value(NOTES, "a", TITLE), Some("poison".into()));
    let applied = x.sync(&mut s.server);
    assert_eq!(
        applied.quarantined[0].1.code,
        crate::storage::repeal::UNDELIVERABLE
    );
    assert_eq!(x.value(NOTES, "a", TITLE), Some("first".into()));
    x.retry(op).unwrap();
    x.sync(&mut s.server);
    assert_eq!(x.value(NOTES, "a", TITLE), Some("poison".into()));
    check_device(&x, &s.server);
}

#[test]
fn a_page_that_does_not_fit_changes_nothing() {
    let mut s = Stage::new();
    let (mut x, mut z) = s.pair();
    s.write(&mut x, Draft::update(NOTES, "a").set(TITLE, "mine"));
    for n in 0..3 {
        s.write(
            &mut z,
            Draft::update(NOTES, "a")
                .set(TITLE, &format!("other {n}"))
                .count(1),
        );
    }
    z.sync(&mut s.server);
    let good = x.send(&mut s.server, 0, 10).unwrap();
    let refused = |x: &Device, exchange: &Exchange| {
        let before = x
            .storage
            .read(|tx| tx.load(NOTES, &"a".to_owned().try_into_id()))
            .unwrap();
        let cursor = x.cursor();
        let page = crate::storage::apply::Page {
            from: exchange.asked_at,
            to: exchange.response.cursor,
            versions: &exchange.response.versions,
        };
        let result = x.storage.write_tx(crate::storage::Origin::Remote, |tx| {
            crate::storage::apply::apply_page(tx, page)
        });
        assert_eq!(
            x.storage
                .read(|tx| tx.load(NOTES, &"a".to_owned().try_into_id()))
                .unwrap(),
            before
        );
        assert_eq!(x.cursor(), cursor);
        result.unwrap_err()
    };
    let bent = |bend: &dyn Fn(&mut Exchange)| {
        let mut exchange = Exchange {
            asked_at: good.asked_at,
            response: good.response.clone(),
            contact: good.contact,
        };
        bend(&mut exchange);
        exchange
    };
    let other = bent(&|e| e.asked_at.hash.0[0] ^= 1);
    assert!(matches!(refused(&x, &other), PageError::NotAtCursor));
    let gap = bent(&|e| drop(e.response.versions.remove(1)));
    assert!(matches!(refused(&x, &gap), PageError::Malformed(_)));
    let short = bent(&|e| drop(e.response.versions.pop()));
    assert!(matches!(refused(&x, &short), PageError::Malformed(_)));
    let nameless = bent(&|e| e.response.versions[2].ids.clear());
    assert!(matches!(refused(&x, &nameless), PageError::Malformed(_)));
    let kind = bent(&|e| {
        e.response.versions[1].documents[0]
            .state
            .registers
            .get_mut(TITLE)
            .unwrap()
            .value = 7.into()
    });
    assert!(matches!(refused(&x, &kind), PageError::Malformed(_)));
    let stranger =
        bent(&|e| e.response.versions[1].documents[0].document = "nobody".to_owned().try_into_id());
    assert!(matches!(refused(&x, &stranger), PageError::BaseMissing));
    x.take(&good).unwrap();
    check_device(&x, &s.server);
}

trait TryIntoId {
    fn try_into_id(self) -> driftline_core::id::DocumentId;
}

impl TryIntoId for String {
    fn try_into_id(self) -> driftline_core::id::DocumentId {
        driftline_core::id::DocumentId::new(self).unwrap()
    }
}

#[test]
fn own_values_that_meet_others_are_told_as_conflicts() {
    let mut s = Stage::new();
    let (mut x, mut z) = s.pair();
    s.write(
        &mut z,
        Draft::update(NOTES, "a")
            .set(TITLE, "theirs")
            .set(2, "body"),
    );
    s.write(&mut x, Draft::update(NOTES, "a").set(TITLE, "mine"));
    z.sync(&mut s.server);
    let moved = x.pull(&mut s.server, 10).moved;
    assert_eq!((moved.documents, moved.conflicts.len()), (1, 1));
    let conflict = &moved.conflicts[0];
    assert_eq!(
        (conflict.field, &conflict.local, &conflict.remote),
        (TITLE, &"mine".into(), &"theirs".into())
    );
    assert_eq!(conflict.winner, "mine".into());
}

#[test]
fn a_bootstrap_goes_on_after_a_restart_and_asks_for_every_fate() {
    let mut s = Stage::new();
    let (mut x, mut z) = s.pair();
    for n in 0..5 {
        s.write(
            &mut z,
            Draft::insert(NOTES, &format!("z{n}")).set(TITLE, "z"),
        );
    }
    z.sync(&mut s.server);
    // Accepted, and the answer is lost: only the server knows.
    s.write(&mut x, Draft::update(NOTES, "a").count(1));
    let _ = x.send(&mut s.server, 10, 10);
    x.begin_bootstrap(&s.server);
    x.stage_some(&s.server, 2);
    let staged = x.storage.read(|tx| stage::status(tx.conn())).unwrap();
    assert_eq!(staged.unwrap().documents, 2);
    // Out of order, or of another snapshot: refused.
    let again = s.server.snapshot();
    let tx = |work: &dyn Fn(&crate::storage::WriteTx<'_>) -> Result<(), PageError>| {
        x.storage
            .write_tx(crate::storage::Origin::Remote, |tx| work(tx))
    };
    assert!(matches!(
        tx(&|tx| stage::add_documents(tx, &again[..1], None)),
        Err(PageError::Malformed(_))
    ));
    assert!(matches!(
        tx(&|tx| stage::pin(tx, s.server.cursor_at(1))),
        Err(PageError::OtherSnapshot)
    ));
    tx(&|tx| stage::pin(tx, s.server.cursor())).unwrap();
    assert!(matches!(
        tx(&|tx| stage::swap(tx, &[]).map(drop)),
        Err(PageError::NotReady)
    ));
    x.accepted.clear();
    while !x.stage_some(&s.server, 2) {}
    // All documents are there, but the fate of the sent op is not known.
    let swap = x
        .storage
        .write_tx(crate::storage::Origin::Remote, |tx| stage::swap(tx, &[]));
    assert!(matches!(swap, Err(PageError::NotReady)));
    check_device(&x, &s.server);
    let applied = x.finish_bootstrap(&mut s.server);
    assert_eq!(applied.moved.left.len(), 1);
    assert_eq!(x.count(NOTES, "a"), 1, "counted once");
    check_device(&x, &s.server);
    let kept: i64 = x
        .storage
        .read(|tx| {
            Ok::<_, StorageError>(tx.conn().query_row(
                "SELECT count(*) FROM _dl_staged",
                [],
                |r| r.get(0),
            )?)
        })
        .unwrap();
    assert_eq!(kept, 0);
}
