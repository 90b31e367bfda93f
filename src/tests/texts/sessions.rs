//! Texts that are open in editors.

use std::time::Duration;

use super::{journal, page};
use crate::{Database, Offsets, Side, TextEdit, TextNews, TextSession};

fn open(db: &Database, id: &str) -> TextSession {
    db.open_text("pages", id, "body").unwrap()
}

fn text(session: &TextSession) -> String {
    session.content().unwrap().text().to_owned()
}

fn stored(db: &Database, id: &str) -> String {
    let content = db.rich_text("pages", id, "body").unwrap().unwrap();
    content.text().to_owned()
}

#[test]
fn what_is_typed_shows_at_once_and_is_stored_within_a_frame() {
    let db = journal();
    let id = page(&db);
    let session = open(&db, &id);
    for word in ["Snow ", "and ", "wind"] {
        let at = session.len().unwrap();
        session.edit([TextEdit::insert(at, word)]).unwrap();
    }
    assert_eq!(text(&session), "Snow and wind");
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while stored(&db, &id) != "Snow and wind" {
        assert!(std::time::Instant::now() < deadline, "it was never stored");
        std::thread::sleep(Duration::from_millis(5));
    }
    let edits = db.ops().len() - 1;
    assert!((1..=3).contains(&edits), "{edits} ops");
    session.edit([TextEdit::insert(0, "!")]).unwrap();
    session.close().unwrap();
    assert_eq!(stored(&db, &id), "!Snow and wind");
    let refused = session.edit([TextEdit::insert(0, "x")]).unwrap_err();
    assert_eq!(refused.code(), "text_closed");
    assert_eq!(session.content().unwrap_err().code(), "text_closed");
    assert_eq!(session.close().unwrap_err().code(), "text_closed");
}

#[test]
fn two_sessions_hear_of_each_other_and_each_undoes_its_own() {
    let db = journal();
    let id = page(&db);
    let (one, two) = (open(&db, &id), open(&db, &id));
    one.edit([TextEdit::insert(0, "Hello world")]).unwrap();
    one.flush().unwrap();
    assert!(two.wait(Duration::from_secs(5)));
    let news = two.news().unwrap();
    assert_eq!(
        news,
        [TextNews::Edited(r#"[{"insert":"Hello world"}]"#.into())]
    );
    two.select(6, 11).unwrap();
    // Both type before either is stored: neither loses a word, also under the same clocks.
    one.edit([TextEdit::insert(0, "A: ")]).unwrap();
    two.edit([TextEdit::insert(11, "!")]).unwrap();
    one.flush().unwrap();
    two.flush().unwrap();
    assert_eq!(text(&two), "A: Hello world!");
    assert_eq!(two.selection(), (9, 14), "it stays with the word");
    one.news().unwrap();
    assert_eq!(text(&one), "A: Hello world!");
    assert_eq!(stored(&db, &id), "A: Hello world!");
    two.undo().unwrap().unwrap();
    assert_eq!(text(&two), "A: Hello world");
    assert_eq!(two.undo().unwrap(), None, "the rest is not its own");
    two.redo().unwrap().unwrap();
    two.close().unwrap();
    one.news().unwrap();
    one.end_undo_step().unwrap();
    assert_eq!(text(&one), "A: Hello world!");
    one.undo().unwrap().unwrap();
    assert_eq!(text(&one), "!");
    one.close().unwrap();
    assert_eq!(stored(&db, &id), "!");
}

#[test]
fn offsets_are_those_of_the_text_as_the_editor_knows_it() {
    let db = journal();
    let id = page(&db);
    let (one, two) = (open(&db, &id), open(&db, &id));
    one.edit([TextEdit::insert(0, "snow wind")]).unwrap();
    one.flush().unwrap();
    two.news().unwrap();
    two.edit([TextEdit::insert(0, "deep ")]).unwrap();
    two.flush().unwrap();
    // Storing takes in what the other wrote; the editor has not asked for it yet.
    one.edit([TextEdit::insert(9, "!")]).unwrap();
    one.flush().unwrap();
    assert_eq!(one.len().unwrap(), 10);
    one.select(4, 10).unwrap();
    assert_eq!(one.select(11, 11).unwrap_err().code(), "text_out_of_range");
    one.edit([TextEdit::replace(5, 4, "fog"), TextEdit::insert(8, ",")])
        .unwrap();
    let refused = one.edit([TextEdit::insert(11, "x")]).unwrap_err();
    assert_eq!(refused.code(), "text_out_of_range");
    let bytes = one.edit_in(Offsets::Utf8, [TextEdit::insert(0, "x")]);
    assert_eq!(bytes.unwrap_err().code(), "text_has_news");
    // What it shows, "snow fog,!", and then the news.
    let news = one.news().unwrap();
    assert_eq!(news, [TextNews::Edited(r#"[{"insert":"deep "}]"#.into())]);
    assert_eq!(one.selection(), (9, 15));
    assert_eq!(text(&one), "deep snow fog,!");
    one.flush().unwrap();
    assert_eq!(stored(&db, &id), "deep snow fog,!");
    // Read as a whole it is told.
    two.news().unwrap();
    two.edit([TextEdit::insert(0, "very ")]).unwrap();
    two.flush().unwrap();
    one.edit([TextEdit::insert(15, "!")]).unwrap();
    one.flush().unwrap();
    assert_eq!(text(&one), "very deep snow fog,!!");
    assert_eq!(one.news().unwrap(), []);
}

#[test]
fn a_transaction_beside_an_open_session_loses_nothing() {
    let db = journal();
    let id = page(&db);
    let session = open(&db, &id);
    session.edit([TextEdit::insert(0, "session")]).unwrap();
    db.write(|tx| {
        tx.rich_text("pages", &id, "body")?
            .insert(0, "transaction ")
    })
    .unwrap();
    session.flush().unwrap();
    let mut words: Vec<String> = stored(&db, &id).split(' ').map(str::to_owned).collect();
    words.sort();
    assert_eq!(words.concat(), "sessiontransaction");
    assert_eq!(text(&session), stored(&db, &id));
    // The document goes: what is typed then is refused, and nothing panics.
    db.write(|tx| tx.delete("pages", &id)).unwrap();
    session.edit([TextEdit::insert(0, "late")]).unwrap();
    assert_eq!(session.flush().unwrap_err().code(), "not_found");
    db.write(|tx| tx.restore("pages", &id)).unwrap();
    session.flush().unwrap();
    assert_eq!(stored(&db, &id).matches("late").count(), 1);
}

#[test]
fn bad_input_is_refused_and_the_text_stays() {
    let db = journal();
    let id = page(&db);
    let session = open(&db, &id);
    session.edit([TextEdit::insert(0, "a😀")]).unwrap();
    let code = |edit| session.edit([edit]).unwrap_err().code();
    assert_eq!(code(TextEdit::insert(2, "x")), "text_inside_character");
    assert_eq!(code(TextEdit::delete(0, 9)), "text_out_of_range");
    assert_eq!(
        code(TextEdit::insert(0, "x".repeat(2_000))),
        "text_too_long"
    );
    assert_eq!(
        session.select(0, 2).unwrap_err().code(),
        "text_inside_character"
    );
    assert_eq!(text(&session), "a😀");
    let code = |field| db.open_text("pages", &id, field).unwrap_err().code();
    assert_eq!((code("title"), code("steps")), ("wrong_kind", "wrong_kind"));
    let nobody = db.open_text("pages", "nobody", "body").unwrap_err();
    assert_eq!(nobody.code(), "not_found");
}

#[test]
fn suspending_and_closing_store_what_was_typed() {
    let db = journal();
    let id = page(&db);
    let session = open(&db, &id);
    session.edit([TextEdit::insert(0, "one")]).unwrap();
    db.suspend().unwrap();
    db.resume().unwrap();
    assert_eq!(stored(&db, &id), "one");
    assert_eq!(
        db.query("SELECT body FROM pages", ()).unwrap().scalar(),
        Some(&"one".into()),
        "queries see it too"
    );
    session.edit([TextEdit::insert(3, " two")]).unwrap();
    let db = db.reopen(super::SCHEMA).unwrap();
    assert_eq!(stored(&db, &id), "one two");
    assert_eq!(session.edit([]).unwrap_err().code(), "text_closed");
    // Dropped without a word it stores as well.
    let session = open(&db, &id);
    session.edit([TextEdit::insert(0, "zero ")]).unwrap();
    drop(session);
    assert_eq!(stored(&db, &id), "zero one two");
}

#[test]
fn keystrokes_leave_the_document_s_row_and_watches_alone() {
    let db = journal();
    let id = page(&db);
    let session = open(&db, &id);
    session
        .edit([TextEdit::insert(0, "x".repeat(500))])
        .unwrap();
    session.flush().unwrap();
    db.flush().unwrap();
    let mut watch = db.watch("SELECT body FROM pages", ()).unwrap();
    watch.next().unwrap();
    session.edit([TextEdit::insert(0, "y")]).unwrap();
    session.flush().unwrap();
    let shown = |db: &Database| {
        let rows = db.query("SELECT length(body) FROM pages", ()).unwrap();
        rows.scalar().cloned()
    };
    assert_eq!(shown(&db), Some(500.into()), "queries see it later");
    assert_eq!(stored(&db, &id).len(), 501);
    db.flush().unwrap();
    assert_eq!(shown(&db), Some(501.into()));
    watch.next().unwrap();
}

#[test]
fn formats_of_the_wrong_kind_are_refused() {
    let db = journal();
    let id = page(&db);
    let session = open(&db, &id);
    session.edit([TextEdit::insert(0, "words")]).unwrap();
    let code = |name: &str, value: crate::Value| {
        let formats = [(name, value)];
        let refused = session.edit([TextEdit::format(0, 2, formats.clone())]);
        let inserted = session.edit([TextEdit::insert_formatted(0, "x", formats)]);
        let code = refused.unwrap_err().code();
        assert_eq!(inserted.unwrap_err().code(), code);
        code
    };
    let long = "x".repeat(5_000);
    let codes = [
        code("", true.into()),
        code(&long, true.into()),
        code("f", crate::Value::Bytes(vec![1])),
        code("f", crate::Value::Real(f64::INFINITY)),
        code("f", long.as_str().into()),
    ];
    let (name, value) = ("text_format_name", "text_format_value");
    assert_eq!(codes, [name, name, value, value, value]);
    let content = session.content().unwrap();
    assert_eq!(content.delta(), r#"[{"insert":"words"}]"#);
}

#[test]
fn a_position_stays_where_it_was_put_and_means_the_same_to_every_session() {
    let db = journal();
    let id = page(&db);
    let (one, two) = (open(&db, &id), open(&db, &id));
    one.edit([TextEdit::insert(0, "Hello world")]).unwrap();
    let before_world = one.position(6, Side::Right).unwrap();
    let behind_hello = one.position(5, Side::Left).unwrap();
    two.news().unwrap();
    two.edit([TextEdit::insert(5, "!!"), TextEdit::insert(0, "Oh, ")])
        .unwrap();
    assert_eq!(two.resolve(&before_world).unwrap(), 12);
    assert_eq!(two.resolve(&behind_hello).unwrap(), 9);
    one.news().unwrap();
    assert_eq!(text(&one), "Oh, Hello!! world");
    assert_eq!(one.resolve(&before_world).unwrap(), 12);
    // What it stayed with is gone: it is where that was.
    one.edit([TextEdit::delete(9, 8)]).unwrap();
    assert_eq!(one.resolve(&before_world).unwrap(), 9);
    for nonsense in [&[][..], &[9], &[2, 0xff], b"words"] {
        let refused = one.resolve(nonsense).unwrap_err();
        assert_eq!(refused.code(), "text_not_a_position");
    }
    assert_eq!(
        one.position(100, Side::Left).unwrap_err().code(),
        "text_out_of_range"
    );
    one.close().unwrap();
    assert_eq!(
        one.resolve(&before_world).unwrap_err().code(),
        "text_closed"
    );
}

#[test]
fn what_is_selected_stays_selected_and_no_more() {
    let db = journal();
    let id = page(&db);
    let (one, two) = (open(&db, &id), open(&db, &id));
    one.edit([TextEdit::insert(0, "one two three")]).unwrap();
    one.flush().unwrap();
    two.news().unwrap();
    two.select(4, 7).unwrap();
    one.edit([
        TextEdit::insert(7, "[after]"),
        TextEdit::insert(4, "[before]"),
    ])
    .unwrap();
    one.edit([TextEdit::insert(0, "zero ")]).unwrap();
    one.flush().unwrap();
    two.news().unwrap();
    let (from, to) = two.selection();
    assert_eq!(&text(&two)[from as usize..to as usize], "two");
    // It goes with what was selected.
    one.edit([TextEdit::delete(0, 20)]).unwrap();
    one.flush().unwrap();
    two.news().unwrap();
    assert_eq!((two.selection(), &*text(&two)), ((0, 0), "[after] three"));
}
