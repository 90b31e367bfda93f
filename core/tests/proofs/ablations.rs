//! Each rule is needed: with it broken the same search finds a schedule that goes wrong. That is
//! also the proof that these tests can fail. (The rule that an op waits for what it follows is broken in
//! `schedules::k18_…`: only a server that was restored needs it.)

use crate::world::explore::explore;
use crate::world::{Action, Action::*, FIELDS, Rules, World, Write::*, X, Y, Z};

/// The search finds nothing with all rules, and something that reads like `what` without one.
fn finds(
    breaks: impl FnOnce(&mut Rules),
    (writes, before, actions, depth): (usize, &[Action], &[Action], usize),
    what: &str,
) {
    let start = World::new(FIELDS, true, writes);
    let whole = explore(&start.clone().after(before), actions, depth);
    assert_eq!(whole.broken, None, "with all rules nothing goes wrong");
    let broken = explore(&start.with(breaks).after(before), actions, depth).broken;
    let (schedule, problem) = broken.unwrap();
    assert!(problem.contains(what), "{schedule:?}: {problem}");
}

#[test]
fn without_prev_an_op_has_not_seen_its_own_past() {
    let actions = [Write(X, SetA), Write(X, Remove), Push(X), Pull(X)];
    finds(|r| r.prev = false, (3, &[], &actions, 4), "a loss row");
}

#[test]
fn without_the_op_it_follows_text_goes_on_behind_a_copys() {
    let actions = [
        Write(X, Type),
        Poison(Y, Type),
        Write(Y, Type),
        PushLate(Y),
        Arrive,
        Push(X),
    ];
    finds(
        |r| r.after = false,
        (3, &[Copy], &actions, 6),
        "typed behind",
    );
}

#[test]
fn with_stamps_alone_a_clock_decides_against_the_screen() {
    let before = [Poison(X, SetA), Push(X), ClockBack(X), Retry(X), Reboot(X)];
    let actions = [Push(X)];
    finds(|r| r.seen = false, (2, &before, &actions, 1), "predicted");
}

#[test]
fn without_recorded_verdicts_a_lost_answer_counts_twice() {
    let actions = [Write(X, Count), Push(X), PushLost(X), Pull(X)];
    finds(|r| r.once = false, (2, &[], &actions, 3), "applied twice");
}

#[test]
fn without_verdicts_of_covered_ids_a_copy_applies_them_again() {
    let before = [ClockAhead(X), Write(X, SetA), Copy];
    let actions = [Save(X, SetA), Push(X), Write(Y, SetB), Push(Y)];
    finds(
        |r| r.covered = false,
        (5, &before, &actions, 4),
        "which had seen it",
    );
}

#[test]
fn without_names_of_covered_ids_a_coalesced_write_is_nowhere() {
    let actions = [Write(X, SetA), Save(X, SetA), Push(X), Pull(X)];
    finds(|r| r.names = false, (2, &[], &actions, 4), "are nowhere");
}

#[test]
fn joined_across_a_page_a_write_replaces_what_nobody_looked_at() {
    let before = [Write(Z, SetA), Write(X, SetA), Push(Z)];
    let actions = [Pull(X), Save(X, SetA), Write(X, SetA), Push(X)];
    finds(
        |r| r.unchanged = false,
        (4, &before, &actions, 3),
        "unlooked at",
    );
}

#[test]
fn without_the_earlier_prev_a_coalesced_op_forgets_what_it_saw() {
    let actions = [
        Write(X, SetB),
        Write(X, SetA),
        Save(X, SetBoth),
        Save(X, SetA),
        Push(X),
    ];
    finds(|r| r.take_prev = false, (3, &[], &actions, 3), "a loss row");
}

#[test]
fn leaving_when_accepted_a_write_is_nowhere_until_the_page() {
    let actions = [Write(X, SetA), Push(X), Pull(X)];
    finds(|r| r.by_name = false, (2, &[], &actions, 3), "are nowhere");
}

#[test]
fn quarantine_not_left_by_name_keeps_what_is_applied() {
    let actions = [
        Poison(X, Count),
        Push(X),
        Copy,
        Retry(X),
        Push(Y),
        Pull(X),
        Pull(Y),
    ];
    let what = "quarantined though applied";
    finds(
        |r| r.quarantine_by_name = false,
        (3, &[], &actions, 5),
        what,
    );
}

#[test]
fn without_departed_links_a_removed_element_is_back_on_the_screen() {
    let actions = [
        Write(X, Add),
        Write(X, SetA),
        Write(X, Remove),
        Push(X),
        Pull(X),
    ];
    finds(|r| r.departed = false, (3, &[], &actions, 5), "predicted");
}

#[test]
fn discarded_without_a_word_a_sent_op_is_applied_later() {
    let actions = [
        Write(X, Count),
        PushLate(X),
        Discard(X, 0),
        Push(X),
        Pull(X),
    ];
    finds(
        |r| r.withdraw = false,
        (2, &[], &actions, 4),
        "taken back in time",
    );
}

#[test]
fn a_withdrawal_without_prev_cuts_the_chain() {
    let actions = [
        Write(X, Add),
        Write(X, SetA),
        Write(X, Remove),
        Discard(X, 1),
        Push(X),
    ];
    finds(
        |r| r.withdraw_prev = false,
        (3, &[], &actions, 4),
        "gone is not what was seen",
    );
}

#[test]
fn a_retry_in_its_old_place_forgets_what_came_between() {
    let actions = [Poison(X, SetA), Write(X, SetA), Push(X), Retry(X), Pull(X)];
    finds(
        |r| r.retry_at_end = false,
        (3, &[], &actions, 4),
        "which it had seen",
    );
}

#[test]
fn a_retry_that_does_not_name_the_first_id_is_applied_twice() {
    let before = [Poison(X, Count), Push(X), Copy];
    let actions = [Retry(X), Retry(Y), Push(X), Push(Y), Pull(X), Pull(Y)];
    finds(
        |r| r.retry_of = false,
        (4, &before, &actions, 4),
        "applied twice",
    );
}

#[test]
fn without_relinking_a_follower_of_a_copied_retry_forgets_what_it_saw() {
    let before = [Poison(X, SetB), Write(X, SetA), Push(X), Copy, Retry(Y)];
    let actions = [Write(Y, SetA), Retry(X), Push(X), Pull(Y)];
    finds(
        |r| r.relink = false,
        (6, &before, &actions, 4),
        "a loss row",
    );
}

#[test]
fn naming_the_generation_in_base_misses_ones_own() {
    let actions = [
        Write(X, Delete),
        Write(X, Insert),
        Write(X, SetA),
        Push(X),
        Pull(X),
    ];
    finds(
        |r| r.own_opener = false,
        (3, &[], &actions, 3),
        "does not see its own",
    );
}

#[test]
fn pulling_during_a_bootstrap_is_undone_by_the_swap() {
    let actions = [
        Write(X, Count),
        Write(Z, Count),
        Push(X),
        Push(Z),
        Ask(X),
        Pull(X),
        Swap(X),
    ];
    finds(|r| r.still = false, (3, &[], &actions, 6), "are nowhere");
}

#[test]
fn a_chain_of_numbers_misses_another_history() {
    let before = [ServerBackup, Write(X, Count), Push(X), Pull(X)];
    let actions = [ServerRestore, Write(Z, Count), Push(Z), Pull(Z), Pull(X)];
    finds(
        |r| r.chain = false,
        (3, &before, &actions, 4),
        "base is not the server's state",
    );
}

#[test]
fn wall_clocks_within_a_session_put_writes_in_the_wrong_order() {
    let actions = [
        Write(X, SetA),
        Write(Z, SetA),
        ClockBack(X),
        ClockAhead(X),
        Push(X),
        Push(Z),
    ];
    finds(
        |r| r.age = false,
        (2, &[], &actions, 4),
        "not the later one won",
    );
}
