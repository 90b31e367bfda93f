//! The schedules that broke earlier designs, K1 to K22. X and Y are copies of one file, Z is another
//! device. (K23 is about two processes on one file.)
//!
//! Every step is checked as in [`crate::worlds`]; what is asserted here is the point of each.

use driftline_core::ledger::LossRule;

use crate::world::{Action::*, FIELDS, FIELDS_UPDATE_WINS, Seen, World, Write::*, X, Y, Z, op_id};

fn world() -> World {
    World::new(FIELDS, true, usize::MAX)
}

fn empty() -> World {
    World::new(FIELDS, false, usize::MAX)
}

/// What everybody shows in the end.
fn end(world: &World) -> Seen {
    let healed = world.healed().well();
    let all: Vec<Seen> = [X, Y, Z]
        .into_iter()
        .filter_map(|at| healed.seen(at))
        .collect();
    assert!(all.windows(2).all(|pair| pair[0] == pair[1]), "{all:?}");
    all[0].clone()
}

#[test]
fn k01_a_restored_file_draws_new_ids() {
    let world = world().after(&[
        Backup,
        Write(X, Count), // 1, in the life that the backup does not know
        Push(X),
        Revert,
        Write(X, Count), // 2
        Pull(X),
    ]);
    assert_eq!(
        world.file(X).queue.len(),
        1,
        "the new write is still to be sent"
    );
    assert_eq!(end(&world).count, (1 << 1) + (1 << 2));
}

#[test]
fn k02_both_files_count_after_a_copy() {
    let world = world().after(&[Copy, Write(X, Count), Write(Y, Count)]);
    assert_eq!(end(&world).count, (1 << 1) + (1 << 2));
}

#[test]
fn k03_a_copy_joins_what_the_original_sends() {
    let world = world().after(&[
        Write(X, SetA), // 1: a
        Write(X, SetA), // 2: b
        Copy,
        Save(Y, SetA),  // 3 stands for b
        Write(X, SetA), // 4: c, after b
        Push(X),
        Push(Y),
    ]);
    // Y's value and c had not seen each other: one stands, the other has a row.
    assert_eq!(world.losses.len(), 1, "{:?}", world.losses);
    let applied: Vec<_> = world
        .server
        .log
        .iter()
        .map(|entry| entry.names[0])
        .collect();
    assert_eq!(
        applied,
        [op_id(0), op_id(1), op_id(2), op_id(4), op_id(3)],
        "b only once"
    );
    end(&world);
}

#[test]
fn k04_another_op_becomes_the_version_an_op_was_accepted_as() {
    let world = world().after(&[
        ServerBackup,
        Write(X, Count), // 1, accepted as version 2
        Push(X),
        ServerRestore,
        Write(Z, Count), // 2, version 2 of the other history
        Push(Z),
        Pull(X),
    ]);
    assert_eq!(world.file(X).queue.len(), 1, "not named, so not gone");
    assert_eq!(end(&world).count, (1 << 1) + (1 << 2));
}

#[test]
fn k05_a_page_names_ids_for_every_device() {
    let world = world().after(&[Write(X, Count), Copy, Push(Y), Pull(X)]);
    assert!(world.file(X).queue.is_empty());
    assert_eq!(world.seen(X).unwrap().count, 1 << 1);
    end(&world);
}

#[test]
fn k06_a_remove_sees_through_a_discarded_op() {
    let actions = [
        Write(X, Add),
        Write(X, SetA),
        Write(X, Remove),
        Discard(X, 1),
        Push(X),
    ];
    assert!(end(&world().after(&actions)).tags.is_empty());
}

#[test]
fn k07_a_retry_comes_after_what_its_author_saw_and_before_what_not() {
    let own = world().after(&[Poison(X, SetA), Push(X), Write(X, SetA), Push(X), Retry(X)]);
    assert_eq!(
        end(&own).a,
        Some(1),
        "the retried value is the author's last word"
    );
    assert!(own.healed().losses.is_empty());
    let others = world().after(&[
        Poison(X, SetA),
        Push(X),
        Write(Z, SetA),
        Push(Z),
        Retry(X),
        Push(X),
    ]);
    assert_eq!(others.losses.len(), 1, "Z's author is told");
    assert_eq!(others.losses[0].loser.op, op_id(2));
    end(&others);
}

#[test]
fn k08_a_retried_add_is_a_new_add() {
    let start = world().after(&[Poison(X, Add), Write(X, Remove), Push(X), Pull(X)]);
    assert!(start.seen(X).unwrap().tags.is_empty());
    let retried = start.after(&[Retry(X)]);
    assert_eq!(
        retried.seen(X).unwrap().tags,
        ["e"],
        "shown as it will be decided"
    );
    assert_eq!(end(&retried).tags, ["e"]);
}

#[test]
fn k09_two_copies_retry_one_rejected_op() {
    let world = world().after(&[Poison(X, Count), Push(X), Copy, Retry(X), Push(X), Retry(Y)]);
    assert_eq!(end(&world).count, 1 << 1);
    let before = world.after(&[Pull(Y)]);
    assert!(before.file(Y).queue.is_empty() && before.file(Y).quarantine.is_empty());
}

#[test]
fn k10_what_an_op_had_seen_it_beats() {
    let world = world().after(&[
        ClockAhead(X),
        Write(X, SetA), // 1: a, on a clock an hour ahead
        Write(X, SetA), // 2: b
        Copy,
        Write(Z, Count), // time goes on
        PushOne(Y),      // another boot session: a is placed as the wall clock says, at now
        Push(X),
    ]);
    assert_eq!(end(&world).a, Some(2));
    assert!(world.losses.is_empty());
}

#[test]
fn k11_links_of_departed_ops_keep_an_element_removed() {
    let actions = [
        Write(X, Add),
        Write(X, SetB),
        Write(X, Add),
        Push(X),
        Write(X, Remove),
        Pull(X),
    ];
    let world = world().after(&actions);
    assert_eq!(world.file(X).queue.len(), 1, "only the remove is left");
    assert!(world.seen(X).unwrap().tags.is_empty());
    assert!(end(&world).tags.is_empty());
}

#[test]
fn k12_an_update_names_the_generation_its_file_has_just_opened() {
    let world = world().after(&[Write(X, Delete), Write(X, Insert), Write(X, SetB), Push(X)]);
    assert!(world.losses.is_empty(), "{:?}", world.losses);
    assert_eq!(end(&world).b, Some(3));
}

#[test]
fn k13_a_delete_applies_to_the_generation_its_own_update_reopened() {
    let world = World::new(FIELDS_UPDATE_WINS, true, usize::MAX).after(&[
        Write(Z, SetA),
        Write(Z, Delete),
        Write(X, Delete),
        Push(X),
        Push(Z),
    ]);
    assert!(world.losses.is_empty(), "{:?}", world.losses);
    assert!(!end(&world).alive);
}

#[test]
fn k14_an_update_that_opens_a_generation_is_an_opener() {
    let world = World::new(FIELDS_UPDATE_WINS, true, usize::MAX).after(&[
        Write(X, Delete),
        Push(X),
        Write(Z, SetA), // 2, had not seen the delete
        Write(Z, SetB), // 3, on top of it
        Push(Z),
        Pull(Z),
        Pull(X),
        Write(X, SetB), // 4, in the generation that 2 opened
        Push(X),
        Write(Z, Count), // 5, named from Z's base
    ]);
    let end_ = end(&world);
    assert_eq!(
        (end_.alive, end_.a, end_.b, end_.count),
        (true, Some(2), Some(4), 1 << 5)
    );
    assert!(world.losses.is_empty(), "{:?}", world.losses);
}

#[test]
fn k15_an_update_does_not_land_in_a_strangers_generation() {
    let world = empty().after(&[
        ServerBackup,
        Write(X, Insert), // 0 becomes version 1 and is lost
        Push(X),
        Pull(X),
        Write(X, SetB), // 1 names it
        ServerRestore,
        Write(Z, Insert), // 2 becomes version 1
        Push(Z),
        Push(X), // another history
        Push(X),
    ]);
    let end_ = end(&world);
    assert_eq!((end_.a, end_.b), (Some(2), None));
    assert_eq!(world.losses.len(), 1);
    assert_eq!(
        (world.losses[0].loser.op, world.losses[0].rule),
        (op_id(1), LossRule::GenerationGone)
    );
    assert_ne!(
        world.file(X).aside,
        0,
        "the lost insert is in the copy set aside"
    );
}

/// Both files have the same writer; each types under the same clocks.
#[test]
fn k16_text_of_a_copy_does_not_follow_text_of_the_original() {
    let world = world().after(&[
        Copy,
        Write(X, Type),  // 1: the writer's first clocks
        Poison(Y, Type), // 2: the same clocks, and rejected
        Write(Y, Type),  // 3: goes on behind 2
    ]);
    let old = world.file(X).writer;
    assert_eq!(world.file(Y).writer, old);
    // Before Y knows that 2 was rejected: 3 would fit the clocks that 1 has moved to.
    let world = world.after(&[PushLate(Y), Push(X), Arrive]);
    assert_eq!(world.server.head(), 2, "3 did not go on behind 1");
    let world = world.after(&[Push(Y)]);
    assert_ne!(world.file(Y).writer, old, "Y drew a new one");
    assert_eq!(
        letters(&world),
        2,
        "what X typed and what Y typed, each once"
    );
    let ahead = self::world().with(|rules| rules.after = false);
    let broken = ahead.after(&[Copy, Write(X, Type), Poison(Y, Type), Write(Y, Type)]);
    let broken = broken.after(&[PushLate(Y), Push(X), Arrive]).healed();
    assert!(
        broken.problems[0].contains("typed behind"),
        "{:?}",
        broken.problems
    );
}

/// An op is taken back when the server has accepted it; the next one takes its clocks.
#[test]
fn k17_text_typed_after_a_discard_takes_no_clock_twice() {
    let world = world().after(&[
        Write(X, Type), // 1
        PushLost(X),    // accepted, and X does not know
        Discard(X, 0),
        Write(X, Type), // 2: on what X shows, which is nothing
    ]);
    let old = world.file(X).writer;
    let world = world.after(&[Push(X)]);
    assert_eq!(world.server.head(), 2, "2 is not decided");
    assert_ne!(world.file(X).writer, old);
    assert_eq!(letters(&world), 2, "1 was too late to take back");
}

/// How many letters everybody's text has in the end, each typed once.
fn letters(world: &World) -> u32 {
    let healed = world.healed().well();
    let typed = |at| healed.content(at).first()?.as_ref()?.typed;
    let all: Vec<_> = [X, Y, Z].into_iter().filter_map(typed).collect();
    assert!(all.windows(2).all(|pair| pair[0] == pair[1]), "{all:?}");
    // Each comes with a copy of the one before it.
    all[0].0 / 2
}

#[test]
fn k18_a_remove_waits_for_the_add_the_restored_server_forgot() {
    let actions = [
        ServerBackup,
        Write(X, Add),
        Push(X),
        Write(X, Remove),
        ServerRestore,
        Push(X), // asks about the add, which is unknown, and brings the remove
    ];
    let world = world().after(&actions);
    assert_eq!(
        world.server.head(),
        1,
        "the remove was not decided ahead of the add"
    );
    assert!(end(&world).tags.is_empty());
    // Without that rule the element would be back.
    let ahead = World::new(FIELDS, true, usize::MAX).with(|rules| rules.hold = false);
    assert_eq!(ahead.after(&actions).healed().seen(X).unwrap().tags, ["e"]);
}

#[test]
fn k19_the_cursor_stands_still_during_a_bootstrap() {
    let world = world().after(&[
        Write(X, Count), // 1
        Push(X),
        ServerBackup,
        Write(Z, Count), // 2
        Push(Z),
        Ask(X),
    ]);
    assert!(
        world.step(Pull(X)).is_none(),
        "pages are not applied meanwhile"
    );
    let world = world.after(&[ServerRestore, Swap(X)]);
    assert!(world.file(X).queue.is_empty());
    assert_eq!(
        end(&world).count,
        (1 << 1) + (1 << 2),
        "kept, and sent again"
    );
}

#[test]
fn k19_what_a_lost_history_had_accepted_is_set_aside() {
    let world = world().after(&[
        ServerBackup,
        Write(X, Count),
        Push(X),
        Ask(X), // names the op
        ServerRestore,
        Swap(X),
        Pull(X),
    ]);
    assert_eq!(
        world.file(X).aside,
        1 << 1,
        "in the copy that was set aside"
    );
    assert_eq!(end(&world).count, 0);
}

#[test]
fn k20_a_history_of_equal_length_is_noticed() {
    let world = world().after(&[
        ServerBackup,
        Write(X, Count), // 1, version 2
        Push(X),
        Pull(X),
        ServerRestore,
        Write(Z, Count), // 2, version 2 as well
        Push(Z),
        Pull(X),
    ]);
    assert_eq!(
        world.file(X).aside,
        1 << 1,
        "X noticed and set its file aside"
    );
    assert_eq!(end(&world).count, 1 << 2);
}

#[test]
fn k21_copies_that_nobody_noticed_tell_of_losses() {
    let world = world().after(&[Copy, Write(X, SetA), Write(Y, SetA), Push(X), Push(Y)]);
    assert_eq!(world.losses.len(), 1);
    assert_eq!(world.losses[0].loser.op, op_id(1));
    assert_eq!(end(&world).a, Some(2));
}

/// The batch of one op that cannot be answered is the sync state machine's; what it ends with, a
/// withdrawal into quarantine, must hold nobody.
#[test]
fn k22_a_withdrawn_op_holds_nobody() {
    let world = world().after(&[
        Write(X, SetA),        // 1: the culprit
        Write(X, InsertOther), // 2: another document
        Write(X, SetA),        // 3: behind the culprit
        Discard(X, 0),
        Push(X),
    ]);
    assert_eq!(world.server.log.len(), 3, "both others are accepted");
    assert_eq!(end(&world).a, Some(3));
}
