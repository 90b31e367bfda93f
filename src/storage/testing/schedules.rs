//! The schedules that broke a draft of the design, as far as a file and a server show them; the
//! letters are those of the design review. `!` is a rejection.

use driftline_core::protocol::Outcome;
use tempfile::TempDir;

use super::*;
use crate::storage::apply::PageError;
use crate::storage::{StorageError, stage};

const NOTES: u16 = 1;
const TITLE: u16 = 1;

struct Stage {
    directory: TempDir,
    time: Time,
    server: Server,
    opened: u64,
}

impl Stage {
    fn new() -> Stage {
        let time = Time::new();
        let server = Server::new(schema(), time.clone());
        Stage {
            directory: tempfile::tempdir().unwrap(),
            time,
            server,
            opened: 0,
        }
    }

    fn device(&mut self) -> Device {
        self.opened += 1;
        Device::open(
            self.directory.path(),
            &format!("d{}", self.opened),
            &self.time,
            self.opened,
        )
    }

    fn copy(&mut self, device: &Device) -> Device {
        self.opened += 1;
        device.copy(
            self.directory.path(),
            &format!("d{}", self.opened),
            self.opened,
        )
    }

    /// One write, the clock going on.
    fn write(&self, device: &mut Device, draft: Draft) -> driftline_core::id::OpId {
        self.time.pass(1_000);
        device.write(&[draft]).unwrap()
    }

    /// A device and another one that both have document `a`.
    fn pair(&mut self) -> (Device, Device) {
        let (mut x, mut z) = (self.device(), self.device());
        self.write(&mut x, Draft::insert(NOTES, "a").set(TITLE, "first"));
        x.sync(&mut self.server);
        z.sync(&mut self.server);
        (x, z)
    }

    fn heal(&mut self, devices: &mut [&mut Device]) {
        for _ in 0..3 {
            for device in devices.iter_mut() {
                self.time.pass(1_000);
                device.sync(&mut self.server);
                device.pull(&mut self.server, 1_000);
                check_device(device, &self.server);
            }
        }
    }
}

#[test]
fn k2_a_copied_file_counts_for_itself() {
    let mut s = Stage::new();
    let (mut x, _) = s.pair();
    let mut y = s.copy(&x);
    s.write(&mut x, Draft::update(NOTES, "a").count(1));
    s.write(&mut y, Draft::update(NOTES, "a").count(1));
    s.heal(&mut [&mut x, &mut y]);
    assert_eq!((x.count(NOTES, "a"), y.count(NOTES, "a")), (2, 2));
}

#[test]
fn k3_a_joined_write_never_beats_what_came_after_it() {
    let mut s = Stage::new();
    let (mut x, _) = s.pair();
    s.write(&mut x, Draft::update(NOTES, "a").set(TITLE, "a"));
    let mut y = s.copy(&x);
    // Y joins the copied write with another; X sends the copied one and a later one.
    s.write(&mut y, Draft::update(NOTES, "a").set(TITLE, "b"));
    s.write(&mut x, Draft::update(NOTES, "a").set(TITLE, "c"));
    x.sync(&mut s.server);
    y.sync(&mut s.server);
    s.heal(&mut [&mut x, &mut y]);
    assert_eq!(x.value(NOTES, "a", TITLE), y.value(NOTES, "a", TITLE));
    assert_eq!(x.value(NOTES, "a", TITLE), Some("c".into()));
}

#[test]
fn k4_an_answer_of_a_lost_history_takes_no_op_away() {
    let mut s = Stage::new();
    let (mut x, mut z) = (s.device(), s.device());
    s.write(&mut x, Draft::insert(NOTES, "a").set(TITLE, "mine"));
    let backup = s.server.clone();
    let exchange = x.send(&mut s.server, 10, 0).unwrap();
    assert!(matches!(
        exchange.response.results[0].outcome,
        Outcome::Accepted { version: 1 }
    ));
    x.take(&exchange).unwrap();
    s.server = backup;
    s.write(&mut z, Draft::insert(NOTES, "b").set(TITLE, "other"));
    z.sync(&mut s.server);
    // Version 1 is another op now. X's is unknown, and is sent in full again.
    assert_eq!(x.sync(&mut s.server).unknown.len(), 1);
    s.heal(&mut [&mut x, &mut z]);
    assert_eq!(z.value(NOTES, "a", TITLE), Some("mine".into()));
}

#[test]
fn k5_a_write_that_a_copy_sent_leaves_by_its_name() {
    let mut s = Stage::new();
    let (mut x, _) = s.pair();
    s.write(&mut x, Draft::update(NOTES, "a").count(1));
    let mut y = s.copy(&x);
    y.sync(&mut s.server);
    x.pull(&mut s.server, 10);
    check_device(&x, &s.server);
    assert_eq!((x.count(NOTES, "a"), x.pending().len()), (1, 0));
}

#[test]
fn k6_a_discarded_write_still_links_what_came_before_it() {
    let mut s = Stage::new();
    let (mut x, mut z) = s.pair();
    s.write(&mut x, Draft::update(NOTES, "a").add("e"));
    let set = s.write(
        &mut x,
        Draft::update(NOTES, "a").set(TITLE, "typed by mistake"),
    );
    s.write(&mut x, Draft::update(NOTES, "a").remove("e"));
    assert!(x.discard(set));
    assert_eq!(x.value(NOTES, "a", TITLE), Some("first".into()));
    s.heal(&mut [&mut x, &mut z]);
    assert!(z.tags(NOTES, "a").is_empty() && x.tags(NOTES, "a").is_empty());
    assert_eq!(z.value(NOTES, "a", TITLE), Some("first".into()));
}

#[test]
fn k7_a_retry_is_a_write_of_now() {
    let mut s = Stage::new();
    let (mut x, mut z) = s.pair();
    let a = s.write(&mut x, Draft::update(NOTES, "a").set(TITLE, "a"));
    s.write(&mut x, Draft::update(NOTES, "a").set(TITLE, "b").count(1));
    s.server.refuse.insert(a);
    x.sync(&mut s.server);
    assert_eq!(x.value(NOTES, "a", TITLE), Some("b".into()));
    assert_eq!(x.quarantined(), [a]);
    x.retry(a).unwrap();
    assert_eq!(
        x.value(NOTES, "a", TITLE),
        Some("a".into()),
        "what is retried has seen everything"
    );
    s.heal(&mut [&mut x, &mut z]);
    assert_eq!(z.value(NOTES, "a", TITLE), Some("a".into()));
}

#[test]
fn k8_a_rejected_add_that_was_removed_comes_back_only_when_retried() {
    let mut s = Stage::new();
    let (mut x, mut z) = s.pair();
    let add = s.write(&mut x, Draft::update(NOTES, "a").add("e"));
    s.write(&mut x, Draft::update(NOTES, "a").remove("e"));
    s.server.refuse.insert(add);
    s.heal(&mut [&mut x, &mut z]);
    assert!(z.tags(NOTES, "a").is_empty());
    x.retry(add).unwrap();
    assert_eq!(x.tags(NOTES, "a"), ["e"]);
    s.heal(&mut [&mut x, &mut z]);
    assert_eq!(z.tags(NOTES, "a"), ["e"]);
}

#[test]
fn k9_two_files_retry_one_write_and_it_counts_once() {
    let mut s = Stage::new();
    let (mut x, mut z) = s.pair();
    let op = s.write(&mut x, Draft::update(NOTES, "a").count(1));
    s.server.refuse.insert(op);
    x.sync(&mut s.server);
    let mut y = s.copy(&x);
    let mut idle = s.copy(&x);
    x.retry(op).unwrap();
    s.time.pass(1_000);
    y.retry(op).unwrap();
    x.sync(&mut s.server);
    // Both hear of it by name before they say anything themselves.
    for copy in [&mut y, &mut idle] {
        copy.pull(&mut s.server, 10);
        check_device(copy, &s.server);
        assert_eq!(copy.count(NOTES, "a"), 1, "folded once");
        assert!(copy.queue().is_empty());
    }
    s.heal(&mut [&mut x, &mut y, &mut z, &mut idle]);
    for device in [&x, &y, &z, &idle] {
        assert_eq!(device.count(NOTES, "a"), 1);
        assert!(device.pending().is_empty() && device.quarantined().is_empty());
    }
}

#[test]
fn k10_what_was_on_the_screen_is_beaten_whatever_the_clocks() {
    let mut s = Stage::new();
    let (mut x, mut z) = s.pair();
    s.write(&mut x, Draft::update(NOTES, "a").set(TITLE, "a").count(1));
    let mut y = s.copy(&x);
    s.write(&mut x, Draft::update(NOTES, "a").set(TITLE, "b"));
    s.time.pass(1_000_000);
    y.sync(&mut s.server);
    s.heal(&mut [&mut x, &mut y, &mut z]);
    assert_eq!(z.value(NOTES, "a", TITLE), Some("b".into()));
}

#[test]
fn k11_links_of_departed_writes_are_kept_until_the_queue_drains() {
    let mut s = Stage::new();
    let (mut x, mut z) = s.pair();
    s.write(&mut x, Draft::update(NOTES, "a").add("e"));
    s.write(&mut x, Draft::update(NOTES, "a").add("f"));
    // Sent and accepted, not named yet.
    let exchange = x.send(&mut s.server, 10, 0).unwrap();
    x.take(&exchange).unwrap();
    s.write(&mut x, Draft::update(NOTES, "a").remove("e"));
    // Named one after the other: both have left when the remove is folded, and it names the later
    // one alone.
    x.frame(&s.server, 1).unwrap();
    check_device(&x, &s.server);
    x.frame(&s.server, 1).unwrap();
    check_device(&x, &s.server);
    s.write(&mut z, Draft::update(NOTES, "a").count(1));
    z.sync(&mut s.server);
    x.pull(&mut s.server, 10);
    assert_eq!(x.tags(NOTES, "a"), ["f"]);
    s.heal(&mut [&mut x, &mut z]);
    assert_eq!(z.tags(NOTES, "a"), ["f"]);
}

#[test]
fn k12_an_update_means_the_newest_own_opener() {
    let mut s = Stage::new();
    let (mut x, mut z) = s.pair();
    s.write(&mut x, Draft::delete(NOTES, "a"));
    s.write(&mut x, Draft::insert(NOTES, "a").set(TITLE, "again"));
    s.write(&mut x, Draft::update(NOTES, "a").set(2, "more"));
    s.heal(&mut [&mut x, &mut z]);
    assert_eq!(z.value(NOTES, "a", 2), Some("more".into()));
}

#[test]
fn k15_a_generation_goes_by_its_opener_not_by_its_version() {
    let mut s = Stage::new();
    let (mut x, mut z) = (s.device(), s.device());
    let backup = s.server.clone();
    s.write(&mut x, Draft::insert(NOTES, "a").set(TITLE, "mine"));
    x.sync(&mut s.server);
    s.server = backup;
    s.write(&mut z, Draft::insert(NOTES, "a").set(TITLE, "stranger"));
    z.sync(&mut s.server);
    s.write(&mut x, Draft::update(NOTES, "a").set(2, "of mine"));
    change_history(&mut x, &mut s);
    s.heal(&mut [&mut x, &mut z]);
    assert_eq!(
        z.value(NOTES, "a", 2),
        Some(driftline_core::value::Value::Null)
    );
}

/// The server says that the cursor belongs to another history.
fn change_history(x: &mut Device, s: &mut Stage) {
    assert!(x.send(&mut s.server, 0, 10).is_none());
    let copy = stage::set_aside(&x.storage, 1).unwrap();
    assert!(std::path::Path::new(&copy).exists());
    x.accepted.clear();
    x.remember();
    check_device(x, &s.server);
    x.bootstrap(&mut s.server);
    check_device(x, &s.server);
}

#[test]
fn k18_an_accepted_write_is_sent_until_it_is_named() {
    let mut s = Stage::new();
    let (mut x, mut z) = s.pair();
    let backup = s.server.clone();
    s.write(&mut x, Draft::update(NOTES, "a").add("e"));
    let exchange = x.send(&mut s.server, 10, 0).unwrap();
    x.take(&exchange).unwrap();
    s.write(&mut x, Draft::update(NOTES, "a").remove("e"));
    s.server = backup;
    let applied = x.sync(&mut s.server);
    assert_eq!(
        (applied.unknown.len(), applied.retry_later.len()),
        (1, 1),
        "the remove waits for the add"
    );
    s.heal(&mut [&mut x, &mut z]);
    assert!(z.tags(NOTES, "a").is_empty());
}

#[test]
fn k19_frames_are_refused_while_a_bootstrap_is_under_way() {
    let mut s = Stage::new();
    let (mut x, mut z) = s.pair();
    s.write(&mut z, Draft::update(NOTES, "a").set(TITLE, "second"));
    z.sync(&mut s.server);
    x.begin_bootstrap(&s.server);
    let cursor = x.cursor();
    assert!(matches!(
        x.frame(&s.server, 1),
        Err(PageError::Bootstrapping)
    ));
    assert_eq!(x.cursor(), cursor);
    while !x.stage_some(&s.server, 1) {}
    x.finish_bootstrap(&mut s.server);
    check_device(&x, &s.server);
    assert_eq!(x.value(NOTES, "a", TITLE), Some("second".into()));
}

#[test]
fn k20_another_history_is_met_with_a_copy_and_a_new_base() {
    let mut s = Stage::new();
    let (mut x, mut z) = s.pair();
    let backup = s.server.clone();
    s.write(
        &mut x,
        Draft::update(NOTES, "a").set(TITLE, "lost on the server"),
    );
    x.sync(&mut s.server);
    s.write(&mut x, Draft::insert(NOTES, "b").set(TITLE, "queued"));
    s.server = backup;
    s.write(
        &mut z,
        Draft::update(NOTES, "a").set(TITLE, "of the new history"),
    );
    z.sync(&mut s.server);
    assert_eq!(
        x.cursor().version,
        s.server.version(),
        "the numbers look right"
    );
    change_history(&mut x, &mut s);
    assert_eq!(
        x.value(NOTES, "a", TITLE),
        Some("of the new history".into())
    );
    assert_eq!(x.value(NOTES, "b", TITLE), Some("queued".into()));
    assert!(x.queue().iter().all(|(_, body)| body.base == 0));
    s.heal(&mut [&mut x, &mut z]);
    assert_eq!(z.value(NOTES, "b", TITLE), Some("queued".into()));
    let copied = rusqlite::Connection::open(s.directory.path().join("d1.aside-1")).unwrap();
    let title: String = copied
        .query_row("SELECT title FROM notes WHERE id = 'a'", [], |row| {
            row.get(0)
        })
        .unwrap();
    assert_eq!(title, "lost on the server");
}

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
        tx(&|tx| stage::add_documents(tx, &again[..1])),
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
