//! What editors hold when the file is let go of, and when it cannot be stored.

use std::sync::Arc;

use super::{SCHEMA, journal_in, page};
use crate::environment::{BoxFuture, Executor, ThreadExecutor};
use crate::storage::{Origin, StorageError};
use crate::tests::{Fixture, config, path};
use crate::{Database, SignOut, TextEdit, TextNews, TextSession};

/// Stores no frames, so that what was typed waits for whoever asks.
struct Frameless(ThreadExecutor);

impl Executor for Frameless {
    fn spawn(&self, name: &str, task: BoxFuture<()>) {
        if name != "driftline-text" {
            self.0.spawn(name, task);
        }
    }

    fn sleep(&self, millis: u64) -> BoxFuture<()> {
        self.0.sleep(millis)
    }
}

/// What runs all but frames.
pub(in crate::tests) fn frameless() -> Arc<dyn Executor> {
    Arc::new(Frameless(ThreadExecutor))
}

/// A journal with a page that is open in an editor, in which nothing is stored by itself.
struct Desk {
    fixture: Fixture,
    id: String,
    session: TextSession,
}

impl Desk {
    fn new() -> Desk {
        Desk::with_room_for(1_000)
    }

    /// The page is the first of the writes that the queue takes.
    fn with_room_for(ops: u32) -> Desk {
        let dir = tempfile::tempdir().unwrap();
        let schema = format!("{SCHEMA}\n[limits]\nmax_queue_ops = {ops}\n");
        let mut config = config(&dir, &schema);
        config.environment.executor = frameless();
        let db = Database::open(config).unwrap();
        let id = page(&db);
        let session = db.open_text("pages", &id, "body").unwrap();
        let fixture = Fixture { db, dir };
        Desk {
            fixture,
            id,
            session,
        }
    }

    fn another(&self) -> TextSession {
        self.db().open_text("pages", &self.id, "body").unwrap()
    }

    fn db(&self) -> &Database {
        &self.fixture.db
    }

    fn types(&self, words: &str) {
        let end = self.session.len().unwrap();
        self.session.edit([TextEdit::insert(end, words)]).unwrap();
    }

    fn shown(&self) -> String {
        self.session.content().unwrap().text().to_owned()
    }

    fn stored(&self) -> String {
        stored(self.db(), &self.id)
    }

    /// How large the file may become, in pages.
    fn pages(&self, most: i64) {
        let written = self.db().storage().write_tx(Origin::Remote, |tx| {
            let set = tx
                .conn()
                .pragma_update_and_check(None, "max_page_count", most, |row| row.get::<_, i64>(0));
            set.map(drop).map_err(StorageError::from)
        });
        written.unwrap();
    }

    /// Fills the file, and lets it grow no more until a write finds out.
    fn fills_the_disk(&self) {
        self.pages(1);
        let title = "x".repeat(900);
        let fills = || page_called(self.db(), &title);
        while fills().is_ok() {}
        self.pages(1);
    }

    /// Takes the file away from whoever opens it while `work` runs; who has it open keeps it.
    fn hidden<T>(&self, work: impl FnOnce() -> T) -> T {
        let (here, away) = (
            path(&self.fixture.dir),
            self.fixture.dir.path().join("away"),
        );
        std::fs::rename(&here, &away).unwrap();
        self.db().storage().close_idle_readers();
        let done = work();
        std::fs::rename(&away, &here).unwrap();
        done
    }
}

fn page_called(db: &Database, title: &str) -> crate::Result<()> {
    db.write(|tx| tx.insert("pages", [("title", title)]).map(drop))
}

fn stored(db: &Database, id: &str) -> String {
    let content = db.rich_text("pages", id, "body").unwrap().unwrap();
    content.text().to_owned()
}

fn code<T: std::fmt::Debug>(result: crate::Result<T>) -> &'static str {
    result.unwrap_err().code()
}

#[test]
fn what_was_typed_last_is_among_what_a_sign_out_counts_exports_and_drops() {
    let desk = Desk::new();
    desk.types("kept");
    let done = desk.db().sign_out(SignOut::Keep).unwrap();
    assert_eq!(done.unsynced, 2, "the page and the words");
    assert_eq!(desk.fixture.ops().len(), 2);

    let desk = Desk::new();
    desk.types("exported");
    let mut lines = Vec::new();
    let done = desk.db().sign_out(SignOut::Export(&mut lines)).unwrap();
    assert_eq!((done.unsynced, done.exported), (2, 2));
    let mut other = config(&desk.fixture.dir, SCHEMA);
    other.path = desk.fixture.dir.path().join("other.db");
    let other = Database::open(other).unwrap();
    other.outbox().import(&mut &*lines).unwrap();
    assert_eq!(stored(&other, &desk.id), "exported");

    let desk = Desk::new();
    desk.types("dropped");
    let told = desk.db().sign_out(SignOut::Drop { unsynced: 1 });
    assert_eq!(
        code(told),
        "unsynced_changed",
        "nobody was told of the words"
    );
    assert_eq!(
        (desk.shown(), desk.stored()),
        ("dropped".into(), "dropped".into())
    );
    let done = desk.db().sign_out(SignOut::Drop { unsynced: 2 }).unwrap();
    assert_eq!((done.unsynced, done.dropped), (2, 2));
    assert_eq!(desk.fixture.ops().len(), 0, "nothing is queued anew");
    assert_eq!(code(desk.session.content()), "text_closed");
}

#[test]
fn nobody_is_signed_out_while_an_editor_holds_words_that_cannot_be_stored() {
    let desk = Desk::with_room_for(1);
    desk.types("words");
    let mut lines = Vec::new();
    for choice in [
        SignOut::Keep,
        SignOut::Export(&mut lines),
        SignOut::Drop { unsynced: 1 },
    ] {
        assert_eq!(code(desk.db().sign_out(choice)), "queue_full");
        assert_eq!(desk.shown(), "words");
        assert_eq!(desk.db().unsynced().unwrap(), 1);
    }
    assert!(lines.is_empty());
    // The way out for who does not want them.
    desk.session.discard();
    assert_eq!(code(desk.session.content()), "text_closed");
    let done = desk.db().sign_out(SignOut::Drop { unsynced: 1 }).unwrap();
    assert_eq!(done.dropped, 1);
}

#[test]
fn words_that_cannot_be_stored_are_told_and_kept_by_who_lets_go_of_the_file() {
    let desk = Desk::with_room_for(1);
    // One that can is stored all the same, and one that the app closed is no matter.
    let closed = desk.another();
    closed.close().unwrap();
    desk.types("words");
    let db = desk.db();
    assert_eq!(code(db.flush()), "queue_full");
    assert_eq!(code(db.suspend()), "queue_full");
    assert_eq!(
        code(db.get("pages", &desk.id)),
        "suspended",
        "it was let go of"
    );
    assert_eq!(code(db.suspend()), "suspended");
    assert_eq!(code(db.close()), "suspended");
    assert_eq!(desk.shown(), "words");
    db.resume().unwrap();
    assert_eq!(code(db.close()), "queue_full");
    assert_eq!(
        (desk.shown(), desk.stored()),
        ("words".into(), String::new())
    );
    desk.session.discard();
    db.close().unwrap();
    db.close().unwrap();
}

#[test]
fn on_a_full_disk_words_are_told_and_kept() {
    let desk = Desk::new();
    desk.fills_the_disk();
    desk.types(&"x".repeat(1_000));
    assert_eq!(code(desk.db().flush()), "disk_full");
    desk.pages(1);
    assert_eq!(code(desk.db().close()), "disk_full");
    desk.pages(1);
    assert_eq!(code(desk.db().suspend()), "disk_full");
    // There is room again.
    desk.db().resume().unwrap();
    assert_eq!((desk.shown().len(), desk.stored().len()), (1_000, 0));
    desk.db().close().unwrap();
    let again = journal_in(desk.fixture.dir);
    assert_eq!(stored(&again, &desk.id).len(), 1_000);
}

#[test]
fn the_last_clone_stores_what_was_typed_also_where_the_text_has_to_be_opened_anew() {
    let desk = Desk::new();
    desk.types("taken back ");
    desk.session.flush().unwrap();
    let ops = desk.db().outbox().list(None, 9).unwrap();
    desk.db().outbox().discard(&ops[1].id).unwrap();
    desk.types("kept");
    let Desk {
        fixture,
        id,
        session,
    } = desk;
    drop(session);
    assert_eq!(stored(&fixture, &id), "kept");
}

#[test]
fn words_wait_while_neither_storing_nor_opening_the_text_anew_works() {
    let desk = Desk::new();
    desk.types("first ");
    desk.session.flush().unwrap();
    let other = desk.another();
    desk.fills_the_disk();
    let long = "x".repeat(1_000);
    desk.types(&long);
    let failed = desk.hidden(|| desk.session.flush());
    assert_eq!(code(failed), "disk_full");
    // Whoever asks meanwhile sees the words, and throws nothing away.
    let asked = desk.hidden(|| {
        let codes = [code(desk.session.flush()), code(desk.session.news())];
        assert_eq!(desk.shown(), format!("first {long}"));
        codes
    });
    assert_eq!(asked, ["cannot_open"; 2]);
    desk.pages(1 << 30);
    // Others go on before it is stored.
    other.edit([TextEdit::insert(0, "0: ")]).unwrap();
    other.flush().unwrap();
    assert_eq!(desk.session.news().unwrap(), [TextNews::Anew]);
    assert_eq!(desk.shown(), format!("0: first {long}"));
    desk.types("!");
    desk.session.flush().unwrap();
    assert_eq!(desk.stored(), format!("0: first {long}!"));
    assert_eq!(other.news().unwrap().len(), 1);
    assert_eq!(other.content().unwrap().text(), desk.stored());
}

#[test]
fn words_of_a_commit_of_which_nothing_is_known_are_not_written_twice() {
    let desk = Desk::new();
    desk.types("once");
    desk.db().storage().fail_next_commit();
    // It took effect; but nobody can look.
    let failed = desk.hidden(|| desk.session.flush());
    assert_eq!(code(failed), "commit_unknown");
    assert_eq!(desk.shown(), "once");
    desk.session.flush().unwrap();
    assert_eq!(
        (desk.shown(), desk.stored()),
        ("once".into(), "once".into())
    );
    desk.types(", twice");
    desk.session.flush().unwrap();
    assert_eq!(desk.stored(), "once, twice");
    assert_eq!(desk.fixture.ops().len(), 3);
}

#[test]
fn what_others_wrote_is_told_also_if_the_frame_that_took_it_in_was_not_stored() {
    let desk = Desk::with_room_for(2);
    let other = desk.another();
    other.edit([TextEdit::insert(0, " other")]).unwrap();
    other.flush().unwrap();
    desk.types("own");
    assert_eq!(code(desk.session.flush()), "queue_full");
    // It is told of the words that stand behind its own when it asks.
    assert_eq!(desk.session.len().unwrap(), 3);
    let news = desk.session.news().unwrap();
    assert_eq!(
        news,
        [TextNews::Edited(
            r#"[{"retain":3},{"insert":" other"}]"#.into()
        )]
    );
    assert_eq!(desk.shown(), "own other");
}
