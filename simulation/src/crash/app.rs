//! What the app does: each call, and what it was told.

use driftline::{Database, NewDocument, SignOut, TextEdit, TextSession, Transaction};
use serde_json::json;

use super::model::Told;
use super::schemas::STRICT_BODY;
use super::world::{Ended, Step, World, is_settled};
use crate::machine::{Fate, WORKSPACE, Weather};

/// A field of a document.
pub(super) type Place<'a> = (&'a str, &'a str, &'a str);

/// What becomes of unsent writes when somebody signs out.
#[derive(Clone, Copy, Debug)]
pub(super) enum Leaving {
    Keep,
    Export,
    /// They are lost; these marks are among them.
    Drop(&'static [u32]),
}

/// Answers take their time.
struct Slow(u64);

impl Weather for Slow {
    fn request(&mut self, _: usize) -> Fate {
        Fate::Arrives(0)
    }

    fn answer(&mut self, _: usize) -> Fate {
        Fate::Arrives(self.0)
    }
}

impl World {
    /// From now on an answer takes so long.
    pub(super) fn answers_take(&self, millis: u64) {
        self.network.set_weather(Box::new(Slow(millis)));
    }

    /// A write that leaves a mark: it counts and has a document of its own, all in one transaction.
    pub(super) fn write(&mut self, number: u32) -> Step {
        self.write_with(number, "short", |_| Ok(()))
    }

    /// A write that the server refuses.
    pub(super) fn write_refused(&mut self, number: u32) -> Step {
        let body = "long ".repeat(STRICT_BODY);
        self.write_with(number, &body, |_| Ok(()))
    }

    /// The same with more in the transaction.
    pub(super) fn write_with(
        &mut self,
        number: u32,
        body: &str,
        more: impl FnOnce(&mut Transaction<'_>) -> driftline::Result<()>,
    ) -> Step {
        self.pass(7);
        let (told, _) = self.call(|database| {
            database.write(|tx| {
                if tx.get("notes", "tally")?.is_none() {
                    tx.insert_with_id("notes", "tally", [("title", "tally")])?;
                }
                tx.increment("notes", "tally", "count", 1 << number)?;
                let title = format!("write {number}");
                let fields = [("title", title.as_str()), ("body", body)];
                tx.insert_with_id("notes", &format!("w{number:02}"), fields)?;
                more(tx)
            })
        })?;
        self.model.mark(number, told);
        self.unless_ended()
    }

    /// Sets a field of a document that is there, in a transaction of its own.
    pub(super) fn set(&mut self, (collection, id): (&str, &str), field: &str, value: &str) -> Step {
        self.pass(3);
        let (told, _) =
            self.call(|database| database.write(|tx| tx.update(collection, id, [(field, value)])))?;
        let document = self.key(collection, id);
        self.model.field(&document, field, json!(value), told);
        self.unless_ended()
    }

    /// Makes a document with a title.
    pub(super) fn insert(&mut self, collection: &str, id: &str) -> Step {
        let (told, _) = self.call(|database| {
            database.write(|tx| tx.insert_with_id(collection, id, [("title", "made")]))
        })?;
        let document = self.key(collection, id);
        self.model.document(&document, true, told);
        self.unless_ended()
    }

    pub(super) fn delete(&mut self, collection: &str, id: &str) -> Step {
        let (told, _) = self.call(|database| database.write(|tx| tx.delete(collection, id)))?;
        let document = self.key(collection, id);
        self.model.document(&document, false, told);
        self.unless_ended()
    }

    pub(super) fn restore(&mut self, collection: &str, id: &str) -> Step {
        let (told, _) = self.call(|database| database.write(|tx| tx.restore(collection, id)))?;
        let document = self.key(collection, id);
        self.model.document(&document, true, told);
        self.unless_ended()
    }

    /// A call whose outcome no write depends on.
    pub(super) fn app<T>(
        &mut self,
        call: impl FnOnce(&Database) -> driftline::Result<T>,
    ) -> Result<Option<T>, Ended> {
        let (_, value) = self.call(call)?;
        self.unless_ended().map(|()| value)
    }

    /// A call after which everything told so far survives a loss of power, if it says so.
    pub(super) fn settles(
        &mut self,
        call: impl FnOnce(&Database) -> driftline::Result<()>,
    ) -> Step {
        let (told, _) = self.call(call)?;
        if told == Told::Done {
            self.model.all_durable();
        }
        self.unless_ended()
    }

    /// Closes the database.
    pub(super) fn close(&mut self) -> Step {
        self.database()?;
        if self.device.close().is_ok() && self.device.is_alive() {
            self.model.all_durable();
        }
        self.unless_ended()
    }

    /// Inserts many documents.
    pub(super) fn write_bulk(
        &mut self,
        collection: &str,
        ids: &[String],
        documents: Vec<NewDocument>,
    ) -> Step {
        let database = self.database()?;
        let (written, result) = match database.write_bulk(collection, documents) {
            Ok(written) => (written, Ok(())),
            Err(failure) => (failure.written, Err(failure.error)),
        };
        let told = self.told(&result);
        for (place, id) in ids.iter().enumerate() {
            let told = if (place as u64) < written {
                Told::Done
            } else {
                told
            };
            let document = self.key(collection, id);
            self.model.document(&document, true, told);
        }
        self.unless_ended()
    }

    /// Drops everything queued; `numbers` are the marks among it.
    pub(super) fn drop_all(&mut self, numbers: &[u32]) -> Step {
        let (told, _) = self.call(|database| database.outbox().drop_all())?;
        if told != Told::Failed {
            self.model.all_dropped(numbers);
        }
        self.unless_ended()
    }

    /// Takes a marked write back.
    pub(super) fn discard(&mut self, number: u32) -> Step {
        let Some(id) = self.queued(number)? else {
            self.comes_to(
                false,
                &format!("discarding write {number}, which is not queued"),
            );
            return Ok(());
        };
        let (told, _) = self.call(|database| database.outbox().discard(&id))?;
        self.comes_to(told == Told::Done, &format!("discarding write {number}"));
        for mark in &mut self.model.marks {
            // One that failed may still be sent; one that may have been discarded may be gone.
            mark.discarded |= mark.number == number && told != Told::Failed;
        }
        self.unless_ended()
    }

    /// Tries a refused write again.
    pub(super) fn retry(&mut self, number: u32) -> Step {
        let Some(id) = self.queued(number)? else {
            self.comes_to(
                false,
                &format!("retrying write {number}, which is not queued"),
            );
            return Ok(());
        };
        let (told, _) = self.call(|database| database.outbox().retry(&id).map(drop))?;
        self.comes_to(told == Told::Done, &format!("retrying write {number}"));
        self.unless_ended()
    }

    /// The id of a marked write in the outbox.
    fn queued(&mut self, number: u32) -> Result<Option<String>, Ended> {
        let listed = self.app(|database| database.outbox().list(None, 1_000))?;
        let name = format!("w{number:02}");
        let of_it = |write: &driftline::QueuedWrite| {
            write.changes.iter().any(|change| change.document == name)
        };
        let listed = listed.unwrap_or_default();
        Ok(listed.into_iter().find(of_it).map(|write| write.id))
    }

    /// Begins to sync.
    pub(super) fn connect(&mut self) -> Step {
        self.database()?;
        // What it fails with shows when nothing is synced.
        let _ = self.device.connect();
        self.unless_ended()
    }

    /// Syncs until nothing is left to do, or for so long.
    pub(super) fn sync_for(&mut self, millis: i64) -> Step {
        self.database()?;
        if self.device.sync().is_none() {
            self.connect()?;
        }
        if let Some(sync) = self.device.sync() {
            sync.sync_now();
        }
        let deadline = self.tasks.now() + millis;
        let device = &self.device;
        let done = || is_settled(device) || !device.is_alive();
        self.run_until(deadline, done);
        self.unless_ended()
    }

    /// Syncs for as long as two or three retries take.
    pub(super) fn sync(&mut self) -> Step {
        self.sync_for(5_000)
    }

    /// Puts a word at the end of a text.
    pub(super) fn say(&mut self, place: Place<'_>, word: &str) -> Step {
        self.pass(3);
        let (collection, id, field) = place;
        let (told, _) = self.call(|database| {
            database.write(|tx| {
                let mut text = tx.rich_text(collection, id, field)?;
                let end = text.len()?;
                text.insert(end, &format!("{word} "))
            })
        })?;
        self.word(place, word, told);
        self.unless_ended()
    }

    /// Puts an element at the end of a list.
    pub(super) fn push(&mut self, place: Place<'_>, word: &str) -> Step {
        let (collection, id, field) = place;
        let (told, _) = self.call(|database| {
            database.write(|tx| {
                let mut list = tx.list(collection, id, field)?;
                let end = list.read()?.len();
                list.insert(end as u32, [json!(word).to_string()]).map(drop)
            })
        })?;
        self.word(place, word, told);
        self.unless_ended()
    }

    fn word(&mut self, (collection, id, field): Place<'_>, word: &str, told: Told) {
        let document = self.key(collection, id);
        self.model.word((&document, field), word, told);
    }

    /// Opens a text as an editor does.
    pub(super) fn edit(
        &mut self,
        (collection, id, field): Place<'_>,
    ) -> Result<Option<TextSession>, Ended> {
        self.app(|database| database.open_text(collection, id, field))
    }

    /// Types words into an editor; they are stored a frame later, or when it is flushed.
    pub(super) fn type_in(
        &mut self,
        editor: &TextSession,
        place: Place<'_>,
        words: &[&str],
    ) -> Step {
        for word in words {
            let typed = editor
                .len()
                .and_then(|end| editor.edit([TextEdit::insert(end, format!("{word} "))]));
            // One that did not fit in was not stored; but the editor may be ahead of its file.
            let told = if typed.is_ok() {
                Told::Unknown
            } else {
                self.told(&typed)
            };
            self.word(place, word, told);
        }
        self.unless_ended()
    }

    /// Has what was typed stored.
    pub(super) fn flush_editor(
        &mut self,
        editor: &TextSession,
        place: Place<'_>,
        words: &[&str],
    ) -> Step {
        if editor.flush().is_ok() && self.device.is_alive() {
            let document = self.key(place.0, place.1);
            self.model.words_done((&document, place.2), words);
        }
        self.unless_ended()
    }

    /// Signs out: the database is closed then.
    pub(super) fn sign_out(&mut self, leaving: Leaving) -> Step {
        let Some(unsynced) = self.app(Database::unsynced)? else {
            return Ok(());
        };
        let mut exported = Vec::new();
        let choice = match leaving {
            Leaving::Keep => SignOut::Keep,
            Leaving::Export => SignOut::Export(&mut exported),
            Leaving::Drop(_) => SignOut::Drop { unsynced },
        };
        let (told, done) = self.call(|database| database.sign_out(choice))?;
        if let Some(done) = done {
            let lines = exported
                .split(|byte| *byte == b'\n')
                .filter(|line| !line.is_empty());
            assert_eq!(done.exported, lines.count() as u64);
            self.model.all_durable();
        }
        if let (Leaving::Drop(numbers), Told::Done | Told::Unknown) = (leaving, told) {
            self.model.all_dropped(numbers);
        }
        self.unless_ended()
    }

    /// Makes the guest's file the account's; says whether it is, all of it.
    pub(super) fn attach(&mut self) -> Result<bool, Ended> {
        let name = self.device.options.account.name.clone();
        let attached = self.app(|database| database.attach_account(&name, WORKSPACE))?;
        Ok(attached.is_some_and(|attached| attached.complete))
    }

    /// Starts another process on the device's file, which wants to sync as well.
    pub(super) fn start_widget(&mut self) -> Step {
        let mut widget = self.device.companion();
        widget.start(|_| {});
        // Nothing fails in it; but a process that was killed in a checkpoint leaves it a log to recover.
        let opened = widget.open().and_then(|()| widget.connect());
        assert!(opened.is_ok(), "{opened:?}");
        self.widget = Some(widget);
        self.unless_ended()
    }

    /// From here on the other process is the one that acts.
    pub(super) fn change_places(&mut self) {
        if let Some(widget) = &mut self.widget {
            std::mem::swap(&mut self.device, widget);
        }
    }
}
