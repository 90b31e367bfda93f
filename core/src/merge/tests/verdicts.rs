//! Which verdict an op gets, and who else gets it with it.

use super::*;
use crate::protocol::limits::MAX_COVERS;

#[test]
fn the_first_answer_is_the_answer() {
    let mut server = Server::new();
    server.accepts(&insert(1, FIELDS));
    let again = server.decide(&insert(1, FIELDS));
    assert_eq!(again.verdict, Some(Verdict::Accepted(1)));
    assert!(again.accepted.is_none() && again.records.is_empty());
}

#[test]
fn ids_of_another_account_are_not_taken_over() {
    let mut server = Server::new();
    let first = insert(1, FIELDS);
    server.decide_for("other", &first, Some(Refusal::new(refusal::QUOTA, "full")));
    assert_eq!(server.refuses(&first), refusal::ID_TAKEN);
    // Named as the first id of a retry, it would leave the other account's quarantine.
    assert_eq!(server.refuses(&retry(&first, 2, 0)), refusal::ID_TAKEN);
    let mut covering = insert(3, FIELDS);
    covering.body.covers = vec![id(1)];
    assert_eq!(server.refuses(&covering), refusal::ID_TAKEN);
    assert_eq!(server.records.len(), 1, "and nothing is recorded");
}

#[test]
fn a_withdrawal_is_final_and_comes_too_late_for_what_is_decided() {
    let mut server = Server::new();
    let written = insert(1, FIELDS);
    let withdrawn = Op {
        body: written.body.withdrawn(),
        ..written.clone()
    };
    assert_eq!(server.refuses(&withdrawn), refusal::WITHDRAWN);
    assert_eq!(server.refuses(&written), refusal::WITHDRAWN);
    let other = insert(2, FIELDS);
    server.accepts(&other);
    let late = Op {
        body: other.body.withdrawn(),
        ..other
    };
    assert_eq!(server.decide(&late).verdict, Some(Verdict::Accepted(1)));
}

#[test]
fn what_builds_on_a_rejected_insert_is_blocked_until_it_is_retried() {
    let mut server = Server::new();
    let first = insert(1, FIELDS);
    server.decide_for(
        "one",
        &first,
        Some(Refusal::new(refusal::READ_ONLY, "reader")),
    );
    let on_top = || vec![aimed(1, set(FIELDS, ChangeKind::Update, &[(2, 2)]))];
    assert_eq!(server.refuses(&op(2, 0, on_top())), refusal::BLOCKED_BY);
    let accepted = server.accepts(&retry(&first, 3, 0));
    assert_eq!(accepted.names, [id(3), id(1)]);
    assert_eq!(server.records[&id(1)].verdict, Verdict::Accepted(1));
    assert_eq!(
        server.state(FIELDS).generation.opener,
        id(1),
        "named by its first id"
    );
    server.accepts(&op(4, 1, on_top()));
    assert_eq!(server.state(FIELDS).value(2), Some(&Value::Integer(2)));
}

#[test]
fn followers_of_a_retried_insert_are_led_to_where_it_landed() {
    let mut server = Server::new();
    let first = insert(1, FIELDS);
    server.decide_for("one", &first, Some(Refusal::new(refusal::QUOTA, "full")));
    server.accepts(&insert(2, FIELDS));
    server.accepts(&retry(&first, 3, 1));
    // A copy's retry of the same op gets the same answer, and leads there too.
    assert_eq!(
        server.decide(&retry(&first, 4, 1)).verdict,
        Some(Verdict::Accepted(2))
    );
    for (n, opener) in [(5, 1), (6, 3), (7, 4)] {
        let follower = op(
            n,
            server.version,
            vec![aimed(
                opener,
                set(FIELDS, ChangeKind::Update, &[(2, n.into())]),
            )],
        );
        let lost = server.accepts(&follower).lost;
        assert!(lost.is_empty(), "{lost:?}");
        assert_eq!(
            server.state(FIELDS).value(2),
            Some(&Value::Integer(n.into())),
            "by {opener}"
        );
    }
}

#[test]
fn covered_ids_get_the_verdict_and_one_leads_to_the_next() {
    let mut server = Server::new();
    server.accepts(&insert(1, FIELDS));
    let mut covering = op(
        5,
        1,
        vec![aimed(1, set(FIELDS, ChangeKind::Update, &[(1, 5)]))],
    );
    covering.body.covers = vec![id(2), id(3), id(4)];
    let names = server.accepts(&covering).names;
    assert_eq!(names, [id(5), id(2), id(3), id(4)]);
    let covers: Vec<_> = [2, 3, 4]
        .map(|n| server.records[&id(n)].covers.clone())
        .into();
    assert_eq!(covers, [vec![], vec![id(2)], vec![id(3)]]);
    let Ok(seen) = Seen::follow(
        &mut server,
        (FIELDS, &document()),
        id(9),
        0,
        Some(id(4)),
        &[],
    );
    assert!(
        seen.has(id(2), 99),
        "who follows the last of them has seen all"
    );
}

#[test]
fn a_group_is_rejected_whole() {
    let mut server = Server::new();
    server.accepts(&insert(1, FIELDS));
    let missing = Change {
        document: DocumentId::new("e").unwrap(),
        ..change(FIELDS, ChangeKind::Delete)
    };
    let pair = op(
        2,
        1,
        vec![
            aimed(1, set(FIELDS, ChangeKind::Update, &[(1, 2)])),
            missing,
        ],
    );
    assert_eq!(server.refuses(&pair), refusal::NOT_FOUND);
    assert_eq!(server.state(FIELDS).value(1), Some(&Value::Integer(1)));
    assert_eq!(server.version, 1);
}

#[test]
fn limits_hold_for_what_an_op_leads_to() {
    let mut server = Server::new();
    server.accepts(&insert(1, FIELDS));
    let mut adds = change(FIELDS, ChangeKind::Update);
    adds.adds.insert(4, vec!["x".into(), "y".into()]);
    server.accepts(&op(2, 1, vec![adds.clone()]));
    adds.adds.insert(4, vec!["z".into()]);
    assert_eq!(
        server.refuses(&op(3, 2, vec![adds])),
        refusal::SET_TOO_LARGE
    );
    let mut counts = change(FIELDS, ChangeKind::Update);
    counts.increments.insert(3, i64::MAX);
    server.accepts(&op(4, 2, vec![counts.clone()]));
    assert_eq!(
        server.refuses(&op(5, 2, vec![counts])),
        refusal::COUNTER_OVERFLOW
    );
    let nowhere = op(6, 2, vec![Change::new(99, document(), ChangeKind::Delete)]);
    assert_eq!(server.refuses(&nowhere), refusal::UNKNOWN_COLLECTION);
}

/// A record is kept of each id that an op answers for, with a link for each of its changes: a group that
/// claimed a thousand ids would be kept a thousand times.
#[test]
fn what_a_group_claims_to_cover_is_not_kept() {
    for withdraw in [false, true] {
        let mut server = Server::new();
        let mut claims = insert(1, FIELDS);
        let other = Change::new(FIELDS, DocumentId::new("e").unwrap(), ChangeKind::Insert);
        claims.body.changes.push(other);
        claims.body.covers = vec![id(2), id(3)];
        claims.body.withdraw = withdraw;
        assert_eq!(server.refuses(&claims), refusal::MALFORMED);
        assert_eq!(server.records.keys().collect::<Vec<_>>(), [&id(1)]);
        claims.id = id(4);
        claims.body.changes.truncate(1);
        claims.body.covers = vec![id(5); MAX_COVERS + 1];
        assert_eq!(server.refuses(&claims), refusal::MALFORMED);
        assert_eq!(server.records.keys().collect::<Vec<_>>(), [&id(1), &id(4)]);
    }
}
