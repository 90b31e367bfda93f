//! Examples of the design review that concern records: what an op had seen (S1), counters (S3),
//! base held once (S5), `update_wins` in both orders (S8, F8), generations (S9) and clocks (S10,
//! F10).

use driftline_core::ledger::{LossRule, LostPart};

use crate::world::{A, Action::*, FIELDS, FIELDS_UPDATE_WINS, World, Write::*, X, Z, op_id};

fn world(collection: u16) -> World {
    World::new(collection, true, usize::MAX)
}

#[test]
fn s01_an_op_has_seen_its_own_past() {
    let sets = world(FIELDS)
        .after(&[Write(X, Add), Write(X, Remove), Push(X)])
        .healed()
        .well();
    assert!(sets.seen(Z).unwrap().tags.is_empty());
    let deletes = world(FIELDS_UPDATE_WINS)
        .after(&[Write(X, SetA), Write(X, Delete), Push(X)])
        .healed();
    assert!(
        !deletes.well().seen(Z).unwrap().alive,
        "not cancelled by its own update"
    );
    let edits = world(FIELDS).after(&[Write(X, SetA), Write(X, SetA), Write(X, SetA), Push(X)]);
    assert!(
        edits.well().losses.is_empty(),
        "one's own edits are no losses"
    );
}

#[test]
fn s01_a_delete_has_seen_all_of_its_own_updates() {
    let mut world = world(FIELDS_UPDATE_WINS);
    for _ in 0..55 {
        world = world.after(&[Write(X, Count)]);
    }
    let world = world.after(&[Write(X, Delete)]);
    assert!(!world.seen(X).unwrap().alive);
    assert!(!world.healed().well().seen(Z).unwrap().alive);
}

#[test]
fn s03_a_rejected_increment_is_counted_when_it_is_retried_and_once() {
    let world = world(FIELDS).after(&[Poison(X, Count), Write(X, Count), Push(X), Pull(X)]);
    assert_eq!(world.seen(X).unwrap().count, 1 << 2);
    let world = world
        .after(&[Retry(X), PushLost(X), Push(X)])
        .healed()
        .well();
    assert_eq!(world.seen(Z).unwrap().count, (1 << 1) + (1 << 2));
}

#[test]
fn s05_base_is_right_after_a_rejection_and_a_loss() {
    let world = world(FIELDS).after(&[
        Poison(X, SetA), // 1, will be rejected
        Write(X, SetA),  // 2, earlier than Z's
        Write(Z, SetA),  // 3
        Push(Z),
        Push(X), // 2 had not seen 3 and comes too late
    ]);
    let losses: Vec<_> = world
        .losses
        .iter()
        .map(|l| (l.loser.op, l.winner.op, l.rule))
        .collect();
    assert_eq!(losses, [(op_id(2), op_id(3), LossRule::TooLate)]);
    assert_eq!(world.healed().well().seen(X).unwrap().a, Some(3));
}

#[test]
fn s08_update_wins_in_both_orders() {
    let actions = [Write(X, Delete), Write(Z, SetA)];
    for pushes in [[Push(X), Push(Z)], [Push(Z), Push(X)]] {
        let world = world(FIELDS_UPDATE_WINS).after(&actions).after(&pushes);
        let seen = world.healed().well().seen(X).unwrap();
        assert_eq!((seen.alive, seen.a), (true, Some(2)), "{pushes:?}");
    }
}

#[test]
fn f08_delete_restore_and_a_late_write() {
    // D and R by X, W offline by Z: W is in the document or in the ledger, whatever the order.
    for collection in [FIELDS, FIELDS_UPDATE_WINS] {
        for late in [true, false] {
            let world =
                world(collection).after(&[Write(X, Delete), Write(X, Restore), Write(Z, SetA)]);
            let pushes = if late {
                [Push(X), Push(Z)]
            } else {
                [Push(Z), Push(X)]
            };
            let world = world.after(&pushes).healed().well();
            let seen = world.seen(X).unwrap();
            assert!(seen.alive, "it was restored");
            let shown = seen.a == Some(3);
            let row = world.losses.iter().any(|l| l.loser.op == op_id(3));
            assert!(shown || row, "{collection} {late}");
        }
    }
}

#[test]
fn s09_two_offline_restores_share_a_generation() {
    let world = world(FIELDS).after(&[Write(X, Delete), Push(X), Pull(Z), Pull(X)]);
    let world = world.after(&[
        Write(X, Restore), // 2
        Write(X, SetA),    // 3 names 2
        Write(Z, Restore), // 4, joins 2's generation
        Write(Z, SetB),    // 5 names 4
        Push(X),
        Push(Z),
    ]);
    let seen = world.healed().well().seen(X).unwrap();
    assert_eq!((seen.alive, seen.a, seen.b), (true, Some(3), Some(5)));
    assert!(world.losses.is_empty(), "{:?}", world.losses);
}

#[test]
fn s09_an_insert_joins_a_live_document_and_its_followers_come_along() {
    let world = World::new(FIELDS, false, usize::MAX).after(&[
        Write(X, Insert), // 0
        Write(Z, Insert), // 1
        Write(X, Delete), // 2
        Write(X, Insert), // 3
        Write(X, SetB),   // 4
        Push(Z),
        Push(X),
    ]);
    let seen = world.healed().well().seen(Z).unwrap();
    assert_eq!((seen.alive, seen.a, seen.b), (true, Some(3), Some(4)));
    // X's own delete was mapped to the generation its first insert had joined: Z is told.
    let deleted = world.losses.iter().filter(|l| l.rule == LossRule::Deleted);
    assert_eq!(deleted.map(|l| l.loser.op).collect::<Vec<_>>(), [op_id(1)]);
}

#[test]
fn s09_an_insert_over_an_unseen_tombstone_lives() {
    let world = World::new(FIELDS, false, usize::MAX).after(&[
        Write(X, Insert), // 0
        Write(Z, Insert), // 1, offline, the same id
        Write(X, Delete),
        Push(X),
        Push(Z),
    ]);
    assert_eq!(world.healed().well().seen(X).unwrap().a, Some(1));
}

#[test]
fn s09_an_update_of_what_never_was_is_rejected() {
    // The insert goes into quarantine and takes what builds on it along.
    let world = World::new(FIELDS, false, usize::MAX).after(&[
        Poison(X, Insert), // 0
        Write(X, SetB),    // 1
        Push(X),
    ]);
    assert_eq!(world.file(X).quarantine.len(), 2);
    assert!(world.seen(X).is_none());
    let world = world.after(&[Retry(X), Retry(X), Push(X)]).healed().well();
    let seen = world.seen(Z).unwrap();
    assert_eq!((seen.a, seen.b), (Some(0), Some(1)));
}

#[test]
fn s10_whoever_pulled_first_wins_over_what_it_shows() {
    // X writes at nine, Z at three in the afternoon, X pulls and writes again with a slow clock.
    let world = world(FIELDS).after(&[
        ClockBack(X),
        Write(X, SetA), // 1
        Write(Z, SetA), // 2, later
        Push(Z),
        Pull(X),
        Write(X, SetB), // 3
        Push(X),
    ]);
    let healed = world.healed().well();
    assert_eq!(
        healed.seen(X).unwrap().a,
        Some(2),
        "1 had not seen 2 and is earlier"
    );
    let lost: Vec<_> = healed
        .losses
        .iter()
        .map(|l| (l.loser.op, l.part.clone()))
        .collect();
    assert!(matches!(lost.as_slice(), [(op, LostPart::Register(A, _))] if *op == op_id(1)));
}

#[test]
fn f10_two_writes_around_a_clock_jump_keep_their_order() {
    // W J W P: the second write loses to nothing it had seen, although the clock went back.
    let own = world(FIELDS).after(&[Write(X, SetA), ClockBack(X), Write(X, SetA), Push(X)]);
    assert_eq!(own.healed().well().seen(Z).unwrap().a, Some(2));
    // W P J W against Z's unseen write in between: within the session the distance is exact.
    let exact = world(FIELDS).after(&[
        Write(X, SetA), // 1
        ClockAhead(X),
        Write(Z, SetA), // 2
        Write(X, SetB), // 3
        Push(X),
        Push(Z),
    ]);
    assert_eq!(exact.healed().well().seen(X).unwrap().a, Some(2));
}

#[test]
fn f10_a_clock_an_hour_ahead_of_a_reboot_counts_as_now() {
    let world = world(FIELDS).after(&[
        ClockAhead(X),
        Write(X, SetA), // 1: an hour ahead
        Reboot(X),
        Push(X),        // placed at now
        Write(Z, SetA), // 2: a second later
        Push(Z),
    ]);
    assert_eq!(
        world.healed().well().seen(X).unwrap().a,
        Some(2),
        "the future does not win for ever"
    );
}

#[test]
fn equal_values_are_no_loss() {
    let world = world(FIELDS).after(&[Write(X, Same), Write(Z, Same), Push(X), Push(Z)]);
    assert!(world.losses.is_empty());
    world.healed().well();
}
