//! What an accepted op makes of the documents it touches.

use super::*;

#[test]
fn one_op_may_touch_a_document_several_times() {
    let mut server = Server::new();
    server.accepts(&insert(1, FIELDS));
    let changes = vec![
        aimed(1, change(FIELDS, ChangeKind::Delete)),
        set(FIELDS, ChangeKind::Insert, &[(1, 7)]),
        aimed(2, set(FIELDS, ChangeKind::Update, &[(2, 8)])),
    ];
    let accepted = server.accepts(&op(2, 1, changes));
    assert!(accepted.lost.is_empty() && accepted.echo.is_none());
    let [touched] = accepted.documents.as_slice() else {
        panic!("one document")
    };
    assert!(touched.whole && touched.part() == touched.after);
    assert_eq!(server.state(FIELDS).value(2), Some(&Value::Integer(8)));
}

#[test]
fn an_update_that_changes_nothing_else_is_a_part() {
    let mut server = Server::new();
    server.accepts(&insert(1, FIELDS));
    let accepted = server.accepts(&op(
        2,
        1,
        vec![aimed(1, set(FIELDS, ChangeKind::Update, &[(2, 8)]))],
    ));
    assert_eq!(accepted.echo, Some(Stamp::at(2_000)));
    let part = accepted.documents[0].part();
    assert_eq!(part.registers.len(), 1, "only what changed");
    let restored = server.accepts(&op(3, 2, vec![change(FIELDS, ChangeKind::Restore)]));
    assert!(
        restored.documents.is_empty(),
        "a restore of a live document changes nothing"
    );
}

#[test]
fn what_builds_on_a_ledgered_op_means_what_that_one_meant() {
    let mut server = Server::new();
    server.accepts(&insert(1, FIELDS));
    server.accepts(&op(
        2,
        1,
        vec![aimed(1, change(FIELDS, ChangeKind::Delete))],
    ));
    server.accepts(&insert(3, FIELDS));
    let late = op(
        4,
        1,
        vec![aimed(1, set(FIELDS, ChangeKind::Update, &[(2, 4)]))],
    );
    assert_eq!(
        server.accepts(&late).lost[0].2.rule,
        LossRule::GenerationGone
    );
    let delete = op(5, 1, vec![aimed(4, change(FIELDS, ChangeKind::Delete))]);
    assert_eq!(server.accepts(&delete).lost[0].2.part, LostPart::Delete);
    assert!(
        server.state(FIELDS).is_alive(),
        "it never meant the third op's document"
    );
}
