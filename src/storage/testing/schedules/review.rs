//! The schedules that broke a draft of the design, as far as a file and a server show them; the
//! letters are those of the design review. `!` is a rejection.

use driftline_core::protocol::Outcome;

use super::*;
use crate::storage::apply::PageError;
use crate::storage::stage;

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
    let copy = stage::set_aside(&x.storage, 1, |_| Ok(())).unwrap();
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

/// Whoever takes a snapshot stands nowhere that a request could tell of. If the server is restored then, the
/// snapshot itself says so, by ending before the file does.
#[test]
fn a_snapshot_that_ends_before_the_file_does_replaces_nothing() {
    let mut s = Stage::new();
    let (mut x, mut z) = s.pair();
    let backup = s.server.clone();
    for title in ["one", "lost on the server"] {
        s.write(&mut x, Draft::update(NOTES, "a").set(TITLE, title));
        x.sync(&mut s.server);
    }
    let held = x.cursor();
    s.server = backup;
    for (title, ends) in [("shorter", "before"), ("as long", "at the same number")] {
        s.write(&mut z, Draft::update(NOTES, "a").set(TITLE, title));
        z.sync(&mut s.server);
        x.begin_bootstrap(&s.server);
        while !x.stage_some(&s.server, 2) {}
        let swapped = x.try_to_finish_bootstrap(&mut s.server);
        assert!(matches!(swapped, Err(PageError::OtherHistory)), "{ends}");
        assert_eq!(x.cursor(), held);
        assert_eq!(
            x.value(NOTES, "a", TITLE),
            Some("lost on the server".into())
        );
    }
    assert_eq!(held.version, s.server.version());
    change_history(&mut x, &mut s);
    assert_eq!(x.value(NOTES, "a", TITLE), Some("as long".into()));
}
