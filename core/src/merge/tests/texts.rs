//! Texts: what fits, what must be written again, what is refused, and what becomes of it.

use super::*;
use crate::op::{TextEdit, Update};
use crate::text::Mark;

const TEXT: u16 = 5;
const SHORT: u16 = 6;
const LIST: u16 = 7;

/// An update as Yrs writes it: `writer` types `text` at its clock `from`, behind the character `at`
/// or at the beginning, and then deletes ranges.
fn typed(
    writer: u8,
    from: u8,
    at: Option<(u8, u8)>,
    text: &str,
    deletes: &[(u8, u8, u8)],
) -> Update {
    let mut bytes = Vec::new();
    if text.is_empty() {
        bytes.push(0);
    } else {
        bytes.extend([1, 1, writer, from]);
        match at {
            Some((origin, clock)) => bytes.extend([0x84, origin, clock]),
            None => bytes.extend([4, 1, 1, b't']),
        }
        bytes.push(text.len() as u8);
        bytes.extend(text.bytes());
    }
    bytes.push(deletes.len() as u8);
    for (of, clock, length) in deletes {
        bytes.extend([*of, 1, *clock, *length]);
    }
    Update(bytes)
}

fn edit(writer: u8, update: Update, after: Option<u8>) -> TextEdit {
    TextEdit {
        writer: writer.into(),
        update,
        after: after.map(id),
    }
}

/// An update of the document that `1` inserted, by one edit.
fn write(n: u8, edit: TextEdit) -> Op {
    write_to(TEXT, n, edit)
}

fn write_to(field: u16, n: u8, edit: TextEdit) -> Op {
    let mut change = aimed(1, change(FIELDS, ChangeKind::Update));
    change.texts.insert(field, edit);
    op(n, 1, vec![change])
}

/// A server with a document and "hello" in it by writer 7, as op 2.
fn hello() -> Server {
    let mut server = Server::new();
    server.accepts(&insert(1, FIELDS));
    server.accepts(&write(2, edit(7, typed(7, 0, None, "hello", &[]), None)));
    server
}

fn rebases(server: &mut Server, op: &Op) {
    let (version, records) = (server.version, server.records.len());
    let decision = server.decide(op);
    assert_eq!(decision.verdict, None);
    assert!(decision.accepted.is_none() && decision.records.is_empty());
    assert_eq!((server.version, server.records.len()), (version, records));
}

fn text(server: &Server) -> &TextState {
    server.state(FIELDS).texts.get(TEXT).unwrap()
}

#[test]
fn an_edit_moves_its_writers_mark_and_goes_out_as_it_came() {
    let mut server = hello();
    let update = typed(8, 0, Some((7, 4)), " world", &[(7, 0, 1)]);
    let accepted = server.accepts(&write(3, edit(8, update.clone(), None)));
    let mark = |writer, next, last, version| Mark {
        writer,
        next,
        last: id(last),
        version,
    };
    assert_eq!(text(&server).marks, [mark(7, 5, 2, 2), mark(8, 6, 3, 3)]);
    assert_eq!(
        (text(&server).root, text(&server).last, text(&server).bytes),
        (id(1), id(3), 11)
    );
    let result = accepted.documents[0].result();
    assert_eq!(result.texts.get(TEXT), Some(&update));
    let part = result.state.texts.get(TEXT).unwrap();
    assert_eq!(part.marks, [mark(8, 6, 3, 3)], "the changed one alone");
    assert_eq!(accepted.new_writers, [8]);
    assert!(accepted.lost.is_empty() && accepted.echo.is_some());
}

/// Everything that is well-formed and was written on something else.
#[test]
fn what_does_not_fit_is_not_decided_and_leaves_nothing() {
    let mut server = hello();
    for (why, edit) in [
        (
            "a gap",
            edit(7, typed(7, 6, Some((7, 4)), "x", &[]), Some(2)),
        ),
        (
            "clocks taken",
            edit(7, typed(7, 0, None, "other", &[]), None),
        ),
        (
            "clocks taken in part",
            edit(7, typed(7, 4, None, "xy", &[]), Some(2)),
        ),
        (
            "K16: another op's clocks",
            edit(7, typed(7, 5, Some((7, 4)), "x", &[]), Some(9)),
        ),
        (
            "no op named",
            edit(7, typed(7, 5, Some((7, 4)), "x", &[]), None),
        ),
        (
            "an op named without a mark",
            edit(8, typed(8, 0, Some((7, 4)), "x", &[]), Some(2)),
        ),
        (
            "behind what is not there",
            edit(8, typed(8, 0, Some((7, 5)), "x", &[]), None),
        ),
        (
            "deletes what is not there",
            edit(8, typed(8, 0, None, "", &[(7, 3, 5)]), None),
        ),
        (
            "deletes its own on a copy's",
            edit(7, typed(7, 0, None, "", &[(7, 0, 1)]), Some(9)),
        ),
    ] {
        let before = server.documents.clone();
        rebases(&mut server, &write(3, edit));
        assert_eq!(server.documents, before, "{why}");
    }
    // The same op, written again under a new writer, is decided.
    server.accepts(&write(
        3,
        edit(9, typed(9, 0, Some((7, 4)), "x", &[]), None),
    ));
}

#[test]
fn what_no_device_writes_is_rejected_with_its_whole_group() {
    let mut server = hello();
    let malformed = edit(8, Update(vec![1, 1, 8, 0, 4, 1]), None);
    let mut group = write(3, malformed);
    group.body.changes.push(Change::new(
        FIELDS,
        DocumentId::new("beside").unwrap(),
        ChangeKind::Insert,
    ));
    assert_eq!(server.refuses(&group), refusal::INVALID_TEXT);
    assert_eq!(server.documents.len(), 1, "nothing of the group is there");
    // Clocks under a rejected op are not the server's: what follows is written again.
    rebases(
        &mut server,
        &write(4, edit(8, typed(8, 3, None, "x", &[]), Some(3))),
    );
    let twice = |field| {
        let mut op = write(5, edit(8, typed(8, 0, None, "x", &[]), None));
        let mut again = aimed(1, change(FIELDS, ChangeKind::Update));
        again
            .texts
            .insert(field, edit(8, typed(8, 1, None, "y", &[]), Some(5)));
        op.body.changes.push(again);
        op
    };
    assert_eq!(server.refuses(&twice(TEXT)), refusal::MALFORMED);
    for (n, field, code) in [
        (6, 1, refusal::WRONG_KIND),
        (7, 99, refusal::UNKNOWN_FIELD),
        // The root of a list has another name.
        (8, LIST, refusal::INVALID_TEXT),
    ] {
        let op = write_to(field, n, edit(9, typed(9, 0, None, "x", &[]), None));
        assert_eq!(server.refuses(&op), code);
    }
}

#[test]
fn a_group_whose_text_does_not_fit_waits_whole() {
    let mut server = hello();
    let mut group = write(3, edit(7, typed(7, 9, None, "x", &[]), Some(2)));
    group
        .body
        .changes
        .push(aimed(1, set(FIELDS, ChangeKind::Update, &[(2, 5)])));
    rebases(&mut server, &group);
    assert_eq!(server.state(FIELDS).value(2), None);
}

#[test]
fn a_writer_belongs_to_the_account_it_first_wrote_for() {
    let mut server = hello();
    let stolen = write(3, edit(7, typed(7, 5, Some((7, 4)), "x", &[]), Some(2)));
    let decision = server.decide_for("two", &stolen, None);
    assert_eq!(decision.verdict, None);
    assert_eq!(text(&server).marks.len(), 1);
    // Also where the writer has written nothing in this field.
    let elsewhere = write_to(SHORT, 4, edit(7, typed(7, 0, None, "x", &[]), None));
    assert_eq!(server.decide_for("two", &elsewhere, None).verdict, None);
    server.accepts(&elsewhere);
}

#[test]
fn a_text_grows_to_its_limit_and_what_was_deleted_counts_no_more() {
    let mut server = Server::new();
    server.accepts(&insert(1, FIELDS));
    let types = |n: u8, from: u8, text: &str, after| {
        let at = (from > 0).then(|| (7, from - 1));
        write_to(SHORT, n, edit(7, typed(7, from, at, text, &[]), after))
    };
    server.accepts(&types(2, 0, "12345678", None));
    assert_eq!(
        server.refuses(&types(3, 8, "9", Some(2))),
        refusal::VALUE_TOO_LARGE
    );
    let delete = edit(7, typed(7, 0, None, "", &[(7, 0, 8)]), Some(2));
    server.accepts(&write_to(SHORT, 4, delete));
    // As long as nobody has looked what is left of it, nothing is said that stands for ever.
    server.counted = false;
    let decision = server.decide(&types(5, 8, "9", Some(4)));
    assert_eq!((decision.verdict, decision.put_off), (None, true));
    assert!(decision.records.is_empty());
    // What fits however it is counted does not wait.
    let delete = edit(7, typed(7, 0, None, "", &[(7, 0, 8)]), Some(4));
    server.accepts(&write_to(SHORT, 6, delete));
    server.counted = true;
    assert_eq!(
        server.refuses(&types(7, 8, "9", Some(6))),
        refusal::VALUE_TOO_LARGE
    );
    // Whoever keeps the text has found it empty meanwhile.
    server.deleted_bytes = 8;
    server.accepts(&types(5, 8, "9", Some(6)));
    server.deleted_bytes = 0;
    let state = server.state(FIELDS).texts.get(SHORT).unwrap();
    assert_eq!((state.bytes, server.state(FIELDS).size()), (1, 8 + 1));
}

/// Of a list `max_bytes` bounds each element, and what values may take bounds all of them.
#[test]
fn a_list_grows_beyond_what_an_element_may_be() {
    let declared = r#"[schema]
        name = "lists"
        version = 1
        [collections.c]
        id = 1
        [collections.c.fields]
        l = { id = 7, kind = "list", max_bytes = 4 }"#;
    let schema = crate::schema::Schema::parse(declared).unwrap();
    let collection = schema.collection_by_id(1).unwrap();
    let mut list = crate::text::ListBody::new(7, Default::default());
    let mut state = DocumentState::opened(id(1), 1);
    let mut put = |n: u8, value: &str, after: Option<u8>| {
        let insert = crate::text::ListChange::Insert {
            at: 0,
            values: vec![value.into()],
        };
        let update = Update(list.edit(&[insert]).unwrap().unwrap());
        let edited = edit(7, update, after);
        crate::merge::text::write(&mut state, LIST, &edited, collection, (id(n), n.into()))
    };
    put(2, "12", None).unwrap();
    put(3, "34", Some(2)).unwrap();
    match put(4, "567", Some(3)) {
        Err(Unmerged::Rejected(refused)) => assert_eq!(refused.code, refusal::INVALID_TEXT),
        other => panic!("{other:?}"),
    }
    assert_eq!(state.texts.get(LIST).unwrap().marks[0].next, 2);
}

#[test]
fn a_fresh_insert_begins_an_empty_text_and_a_restore_keeps_it() {
    let mut server = hello();
    server.accepts(&op(
        3,
        2,
        vec![aimed(1, change(FIELDS, ChangeKind::Delete))],
    ));
    server.accepts(&op(4, 3, vec![change(FIELDS, ChangeKind::Restore)]));
    assert_eq!((text(&server).root, text(&server).marks.len()), (id(1), 1));
    let mut more = write(5, edit(7, typed(7, 5, Some((7, 4)), "!", &[]), Some(2)));
    more.body.changes[0].generation = Some(id(4));
    server.accepts(&more);
    let mut again = aimed(4, change(FIELDS, ChangeKind::Delete));
    again.prev = Some(id(5));
    server.accepts(&op(6, 4, vec![again]));
    let mut fresh = change(FIELDS, ChangeKind::Insert);
    fresh
        .texts
        .insert(TEXT, edit(7, typed(7, 0, None, "anew", &[]), None));
    let accepted = server.accepts(&op(7, 6, vec![fresh]));
    assert_eq!((text(&server).root, text(&server).bytes), (id(7), 4));
    assert!(accepted.documents[0].result().texts.get(TEXT).is_some());
}

/// Two devices make one document: what both typed is there, under one root.
#[test]
fn inserts_of_one_document_join_their_texts() {
    let mut server = Server::new();
    for (n, writer) in [(1, 7), (2, 8)] {
        let mut insert = change(FIELDS, ChangeKind::Insert);
        let update = typed(writer, 0, None, "hi", &[]);
        insert.texts.insert(TEXT, edit(writer, update, None));
        server.accepts(&op(n, 0, vec![insert]));
    }
    assert_eq!((text(&server).root, text(&server).marks.len()), (id(1), 2));
    let mut on = aimed(2, change(FIELDS, ChangeKind::Update));
    on.texts
        .insert(TEXT, edit(8, typed(8, 2, Some((8, 1)), "!", &[]), Some(2)));
    server.accepts(&op(3, 0, vec![on]));
}

#[test]
fn late_text_and_text_under_a_delete_go_to_the_ledger() {
    let mut server = hello();
    let lost = server
        .accepts(&op(
            3,
            1,
            vec![aimed(1, change(FIELDS, ChangeKind::Delete))],
        ))
        .lost;
    let [(_, _, lost)] = lost.as_slice() else {
        panic!("the register was seen, the text not: {lost:?}")
    };
    assert_eq!(lost.part, LostPart::Typed(TEXT, 7));
    assert_eq!(
        (lost.rule, lost.loser.op, lost.loser.version),
        (LossRule::Deleted, id(2), 2)
    );
    let late = write(4, edit(8, typed(8, 0, Some((7, 4)), "too late", &[]), None));
    let accepted = server.accepts(&late);
    assert_eq!(
        accepted.lost[0].2.part,
        LostPart::Text(TEXT, "too late".to_owned())
    );
    assert!(accepted.documents.is_empty() && accepted.new_writers.is_empty());
    // Whoever only deletes loses nothing that could be shown.
    let nothing = write(5, edit(8, typed(8, 0, None, "", &[(7, 0, 1)]), None));
    assert!(server.accepts(&nothing).lost.is_empty());
    let mut seen = hello();
    let delete = op(3, 2, vec![aimed(1, change(FIELDS, ChangeKind::Delete))]);
    assert!(seen.accepts(&delete).lost.is_empty());
}

/// An op that replaces the document it wrote to: only what stands is told.
#[test]
fn an_edit_of_a_text_that_its_own_op_replaced_is_not_told() {
    let mut server = hello();
    let mut group = write(3, edit(7, typed(7, 5, Some((7, 4)), "!", &[]), Some(2)));
    group
        .body
        .changes
        .push(aimed(1, change(FIELDS, ChangeKind::Delete)));
    group.body.changes.push(change(FIELDS, ChangeKind::Insert));
    let accepted = server.accepts(&group);
    let result = accepted.documents[0].result();
    assert!(result.texts.is_empty() && result.state.texts.is_empty());
}

#[test]
fn an_update_that_undoes_a_delete_writes_on_in_the_same_text() {
    let mut server = Server::new();
    server.accepts(&insert(1, UPDATE_WINS));
    let write = |n, from, at, after| {
        let mut change = aimed(1, change(UPDATE_WINS, ChangeKind::Update));
        let update = typed(7, from, at, "ab", &[]);
        change.texts.insert(TEXT, edit(7, update, after));
        op(n, 1, vec![change])
    };
    server.accepts(&write(2, 0, None, None));
    server.accepts(&op(
        3,
        2,
        vec![aimed(1, change(UPDATE_WINS, ChangeKind::Delete))],
    ));
    let accepted = server.accepts(&write(4, 2, Some((7, 1)), Some(2)));
    let state = server.state(UPDATE_WINS);
    assert_eq!(state.generation.opener, id(4));
    let text = state.texts.get(TEXT).unwrap();
    assert_eq!((text.root, text.marks[0].next), (id(1), 4));
    assert!(accepted.documents[0].result().texts.get(TEXT).is_some());
}
