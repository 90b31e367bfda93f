//! Collections with `merge = "document"`.

use super::*;

#[test]
fn a_losing_document_leaves_rows_for_all_its_fields() {
    let mut server = Server::new();
    server.accepts(&insert(9, WHOLE));
    let late = op(
        1,
        0,
        vec![set(WHOLE, ChangeKind::Insert, &[(1, 9), (2, 5)])],
    );
    let lost: Vec<_> = server
        .accepts(&late)
        .lost
        .into_iter()
        .map(|(_, _, lost)| lost)
        .collect();
    let [lost] = lost.as_slice() else {
        panic!("{lost:?}")
    };
    assert_eq!(
        lost.part,
        LostPart::Register(2, Value::Integer(5)),
        "the other value is equal"
    );
    assert_eq!((lost.rule, lost.winner.op), (LossRule::TooLate, id(9)));
}

#[test]
fn what_an_older_write_left_in_a_document_is_lost_by_whoever_had_not_seen_it() {
    let mut server = Server::new();
    let first = set(WHOLE, ChangeKind::Insert, &[(1, 1), (2, 1)]);
    server.accepts(&op(1, 0, vec![first]));
    // It wins the document with one field alone, and its author goes on with the other.
    server.accepts(&insert(2, WHOLE));
    let mut other = aimed(2, set(WHOLE, ChangeKind::Update, &[(2, 3)]));
    other.prev = Some(id(2));
    let lost = server.accepts(&op(3, 0, vec![other])).lost;
    let [(_, _, lost)] = lost.as_slice() else {
        panic!("{lost:?}")
    };
    assert_eq!(lost.part, LostPart::Register(2, Value::Integer(1)));
    assert_eq!((lost.rule, lost.loser.op), (LossRule::Overwritten, id(1)));
    let mut again = aimed(2, set(WHOLE, ChangeKind::Update, &[(2, 4)]));
    again.prev = Some(id(3));
    assert_eq!(server.accepts(&op(4, 0, vec![again])).lost, []);
}

#[test]
fn revision_clocks_are_capped_by_what_an_author_could_know() {
    let mut server = Server::new();
    server.accepts(&insert(1, WHOLE));
    let mut broken = set(WHOLE, ChangeKind::Update, &[(1, 2)]);
    broken.clock = u64::MAX;
    server.accepts(&op(2, 0, vec![aimed(1, broken)]));
    assert_eq!(server.state(WHOLE).clock, 2);
    let mut honest = set(WHOLE, ChangeKind::Update, &[(1, 3)]);
    honest.clock = 2;
    server.accepts(&op(3, 0, vec![aimed(1, honest)]));
    assert_eq!(
        server.state(WHOLE).value(1),
        Some(&Value::Integer(3)),
        "equal clocks: the later stamp"
    );
}
