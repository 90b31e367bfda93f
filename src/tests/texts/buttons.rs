//! Whether an editor's undo and redo have anything to do.

use std::sync::Arc;
use std::time::Duration;

use super::{SCHEMA, journal, page};
use crate::environment::{BoxFuture, Executor};
use crate::tests::config;
use crate::{Database, TextEdit, TextSession};

/// Runs nothing in the background: what is told was done by a call here.
struct Still;

impl Executor for Still {
    fn spawn(&self, _: &str, _: BoxFuture<()>) {}

    fn sleep(&self, _: u64) -> BoxFuture<()> {
        Box::pin(std::future::pending())
    }
}

fn open(db: &Database, id: &str) -> TextSession {
    db.open_text("pages", id, "body").unwrap()
}

/// Whether there is anything to take back, and to make again.
fn buttons(session: &TextSession) -> (bool, bool) {
    (session.can_undo().unwrap(), session.can_redo().unwrap())
}

#[test]
fn they_say_what_undo_and_redo_would_do() {
    let db = journal();
    let id = page(&db);
    let session = open(&db, &id);
    assert_eq!(buttons(&session), (false, false));
    session.edit([TextEdit::insert(0, "snow")]).unwrap();
    assert_eq!(buttons(&session), (true, false));
    session.flush().unwrap();
    assert_eq!(buttons(&session), (true, false));
    session.undo().unwrap().unwrap();
    assert_eq!(buttons(&session), (false, true));
    assert_eq!(session.undo().unwrap(), None);
    session.redo().unwrap().unwrap();
    assert_eq!(buttons(&session), (true, false));
    session.undo().unwrap().unwrap();
    session.edit([TextEdit::insert(0, "fog")]).unwrap();
    assert_eq!(
        buttons(&session),
        (true, false),
        "what was taken back is gone"
    );
    session.close().unwrap();
    assert_eq!(session.can_undo().unwrap_err().code(), "text_closed");
    assert_eq!(session.can_redo().unwrap_err().code(), "text_closed");
}

#[test]
fn others_edits_are_no_step_and_may_take_one_away() {
    let db = journal();
    let id = page(&db);
    let (one, two) = (open(&db, &id), open(&db, &id));
    one.edit([TextEdit::insert(0, "snow")]).unwrap();
    one.flush().unwrap();
    two.news().unwrap();
    assert_eq!(buttons(&two), (false, false));
    two.edit([TextEdit::delete(0, 3)]).unwrap();
    two.flush().unwrap();
    one.news().unwrap();
    assert_eq!(buttons(&one), (true, false), "a letter is left");
    two.edit([TextEdit::delete(0, 1)]).unwrap();
    two.flush().unwrap();
    assert!(one.wait(Duration::from_secs(5)));
    one.news().unwrap();
    assert_eq!(buttons(&one), (false, false));
    assert_eq!(one.undo().unwrap(), None);
    // What is written now is a step of its own.
    one.edit([TextEdit::insert(0, "fog")]).unwrap();
    assert_eq!(buttons(&one), (true, false));
    assert_eq!(one.undo().unwrap().map(|made| made.len()), Some(1));
}

/// A toolbar has a clone of the editor's session, and is woken when its buttons change: at once, not when
/// a frame is stored.
#[test]
fn another_clone_is_told_when_they_change() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(&dir, SCHEMA);
    config.environment.executor = Arc::new(Still);
    let db = Database::open(config).unwrap();
    let editor = open(&db, &page(&db));
    let toolbar = editor.clone();
    let told = |wanted: (bool, bool)| {
        assert!(toolbar.wait(Duration::ZERO), "{wanted:?}");
        assert_eq!(buttons(&toolbar), wanted);
        editor.flush().unwrap();
        toolbar.news().unwrap();
        assert!(!toolbar.wait(Duration::ZERO), "nothing changed since");
    };
    editor.edit([TextEdit::insert(0, "snow")]).unwrap();
    told((true, false));
    editor.edit([TextEdit::insert(0, "deep ")]).unwrap();
    assert!(!toolbar.wait(Duration::ZERO), "there was a step before");
    editor.flush().unwrap();
    toolbar.news().unwrap();
    editor.undo().unwrap();
    told((false, true));
    editor.redo().unwrap();
    told((true, false));
}
