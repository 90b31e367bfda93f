//! Deletes, and the updates they had seen or not.

use super::*;

#[test]
fn a_delete_has_seen_any_number_of_its_own_updates() {
    let mut server = Server::new();
    server.accepts(&insert(1, UPDATE_WINS));
    let mut prev = None;
    for n in 2..=101 {
        let mut counts = aimed(1, change(UPDATE_WINS, ChangeKind::Update));
        counts.increments.insert(3, 1);
        counts.prev = prev.replace(id(n));
        server.accepts(&op(n, 1, vec![counts]));
    }
    assert_eq!(
        server.state(UPDATE_WINS).updates,
        [(id(101), 101)],
        "who saw the last saw all"
    );
    let delete = Change {
        prev,
        ..aimed(1, change(UPDATE_WINS, ChangeKind::Delete))
    };
    assert!(server.accepts(&op(102, 1, vec![delete])).lost.is_empty());
    assert!(!server.state(UPDATE_WINS).is_alive());
}

#[test]
fn more_concurrent_updates_than_are_remembered_cancel_a_delete() {
    let mut server = Server::new();
    server.accepts(&insert(1, UPDATE_WINS));
    for n in 2..=70 {
        let mut counts = aimed(1, change(UPDATE_WINS, ChangeKind::Update));
        counts.increments.insert(3, 1);
        server.accepts(&op(n, 1, vec![counts]));
    }
    let state = server.state(UPDATE_WINS);
    assert_eq!((state.updates.len(), state.updates_forgotten), (64, 6));
    let delete = || vec![aimed(1, change(UPDATE_WINS, ChangeKind::Delete))];
    let lost = server.accepts(&op(90, 5, delete())).lost;
    assert_eq!(lost[0].2.rule, LossRule::DeleteCancelled);
    assert_eq!(
        lost[0].2.winner.op,
        id(70),
        "the latest update it had not seen"
    );
    assert!(
        server.accepts(&op(91, 71, delete())).lost.is_empty(),
        "one that saw them all deletes"
    );
}

#[test]
fn a_mapped_delete_spares_an_insert_it_had_not_seen_where_updates_win() {
    for (collection, alive) in [(UPDATE_WINS, true), (FIELDS, false)] {
        let mut server = Server::new();
        server.accepts(&insert(1, collection));
        server.accepts(&insert(2, collection));
        let delete = Change {
            prev: Some(id(2)),
            ..aimed(2, change(collection, ChangeKind::Delete))
        };
        let lost = server.accepts(&op(3, 0, vec![delete])).lost;
        assert_eq!(server.state(collection).is_alive(), alive);
        assert_eq!(lost.is_empty(), !alive, "{lost:?}");
    }
}
