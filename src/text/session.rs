//! A rich text that an editor keeps open.
//!
//! What is typed shows at once and is stored within a frame; what others type arrives as positions.

use std::future::poll_fn;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use driftline_core::text::{Delta, Side, TextBody, TextChange, TextError};
use tokio::sync::Notify;

use super::untold::{Untold, check_within, difference, moved, moved_past};
use super::{Offsets, RichText, TextEdit, failed};
use crate::error::{Error, Fault, Result, Retry};
use crate::storage::text::{Editing, News, TextPlace, refuse_readers};
use crate::storage::{Changes, Origin, Storage};

/// What is typed is stored so many milliseconds later at the latest.
const FRAME: u64 = 16;
/// After so many milliseconds without an edit the next one begins another step to undo, as in other
/// editors; without it one undo would take back all of a session.
const PAUSE: i64 = 500;

/// What others did to an open text.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub enum TextNews {
    /// They edited it: a delta as JSON, by positions in UTF-16 units on what the editor shows, for
    /// example `[{"retain":5},{"insert":"Hello"},{"delete":2}]`.
    Edited(String),
    /// It is to be read anew: an edit was rejected or taken back, or the document began another text.
    /// Steps to undo are gone.
    Anew,
}

/// A rich text that is open in an editor. Cloning shares it. Several sessions, in one process or
/// several, may have the same text open; each undoes its own edits only.
///
/// Offsets count UTF-16 units. Dropping the last clone stores what was typed.
#[derive(Clone)]
pub struct TextSession {
    inner: Arc<Session>,
}

/// One open text.
pub(crate) struct Session {
    storage: Arc<Storage>,
    place: TextPlace,
    state: Mutex<State>,
    signal: Mutex<Signal>,
    raised: Condvar,
    frame: Arc<Notify>,
}

/// Whether there may be news. Never held while anything else is done.
#[derive(Default)]
struct Signal {
    dirty: bool,
    closed: bool,
    wakers: Vec<Waker>,
}

struct State {
    /// `None` once closed.
    editing: Option<Editing>,
    /// What others did that nobody has asked for yet.
    untold: Untold,
    /// Where the selection begins and ends, in what the editor was told.
    selection: (u32, u32),
    /// Whether the last attempt to store failed.
    failed: bool,
    /// When the last edit was made, on the monotonic clock.
    edited: i64,
}

impl TextSession {
    pub(crate) fn open(storage: &Arc<Storage>, place: TextPlace) -> Result<TextSession> {
        let editing = storage.read(|tx| Editing::open(tx, &place))?;
        let inner = Arc::new(Session {
            storage: Arc::clone(storage),
            place,
            state: Mutex::new(State {
                editing: Some(editing),
                untold: Untold::default(),
                selection: (0, 0),
                failed: false,
                edited: 0,
            }),
            signal: Mutex::default(),
            raised: Condvar::new(),
            frame: Arc::default(),
        });
        store_by_frames(&inner);
        Ok(TextSession { inner })
    }

    pub(crate) fn inner(&self) -> &Arc<Session> {
        &self.inner
    }

    /// Makes edits in order, each on what the one before left: all of them or none. They show at once,
    /// and are stored within a frame, all edits of a frame as one. Offsets are those of the text as the
    /// editor knows it from [`TextSession::content`] and [`TextSession::news`], whatever others did since.
    ///
    /// # Errors
    /// The first that does not fit; `read_only` if the account is known to be a reader; `text_closed` after the session was closed; the last frame could
    /// not be stored (it is kept, and stored with the next).
    pub fn edit(&self, edits: impl IntoIterator<Item = TextEdit>) -> Result<()> {
        self.edit_in(Offsets::Utf16, edits)
    }

    /// The same with offsets and lengths that count something else.
    ///
    /// # Errors
    /// As [`TextSession::edit`]. Offsets in bytes cannot be moved over what others did and
    /// [`TextSession::news`] has not told: `text_has_news`; ask for it and edit then.
    pub fn edit_in(
        &self,
        offsets: Offsets,
        edits: impl IntoIterator<Item = TextEdit>,
    ) -> Result<()> {
        let mut changes: Vec<TextChange> = Vec::new();
        for edit in edits {
            edit.changes(&mut changes)?;
        }
        self.inner.stage(|state| state.edit(&changes, offsets))?;
        Ok(())
    }

    /// Takes the last step of this session's edits back, whatever others wrote since. Returns the
    /// changes to make in order, as [`TextNews::Edited`] has them, what others did and nobody asked for
    /// yet among them; `None` if there is nothing to take back.
    ///
    /// # Errors
    /// As [`TextSession::edit`].
    pub fn undo(&self) -> Result<Option<Vec<String>>> {
        self.inner
            .travel(|editing| editing.body()?.stage_undo().map_err(failed))
    }

    /// Makes the step that was last taken back again.
    ///
    /// # Errors
    /// As [`TextSession::edit`].
    pub fn redo(&self) -> Result<Option<Vec<String>>> {
        self.inner
            .travel(|editing| editing.body()?.stage_redo().map_err(failed))
    }

    /// Ends the step that the next undo takes back: after a word, say. A step also ends by itself,
    /// after half a second without an edit or a hundred changes.
    ///
    /// # Errors
    /// `text_closed`.
    pub fn end_undo_step(&self) -> Result<()> {
        let mut state = self.inner.state();
        state.editing()?.body()?.close_undo_step();
        Ok(())
    }

    /// All of it, with what was taken in of others: that [`TextSession::news`] does not tell again.
    ///
    /// # Errors
    /// `text_closed`.
    pub fn content(&self) -> Result<RichText> {
        let mut state = self.inner.state();
        let content = state.editing()?.body()?.content().map_err(failed)?;
        state.take_news();
        Ok(RichText::of(content))
    }

    /// Its length in UTF-16 units, as the editor knows it.
    ///
    /// # Errors
    /// `text_closed`.
    pub fn len(&self) -> Result<u32> {
        self.inner.state().units()
    }

    /// Whether it is empty.
    ///
    /// # Errors
    /// `text_closed`.
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Says where the selection is; it moves along with everybody's edits.
    ///
    /// # Errors
    /// An offset beyond the end or inside a character; `text_closed`.
    pub fn select(&self, from: u32, to: u32) -> Result<()> {
        let mut state = self.inner.state();
        let end = state.units()?;
        for at in [from, to] {
            let now = state.untold.place(at);
            let body = state.editing()?.body()?;
            body.to_utf16(now, Offsets::Utf16.unit()).map_err(failed)?;
            check_within(at, end)?;
        }
        state.selection = (from, to);
        Ok(())
    }

    /// Where the selection is now.
    pub fn selection(&self) -> (u32, u32) {
        self.inner.state().selection
    }

    /// A name for a place that stays with the character on its `side`, whatever is written around it; here
    /// and on every device that has the text. What was typed is stored first.
    ///
    /// # Errors
    /// An offset beyond the end or inside a character; what [`TextSession::flush`] fails with.
    pub fn position(&self, at: u32, side: Side) -> Result<Vec<u8>> {
        let unit = Offsets::Utf16.unit();
        self.inner
            .stored(|body, untold| body.position(untold.place(at), unit, side))
    }

    /// Where a position is in the text as the editor knows it. What was typed is stored first.
    ///
    /// # Errors
    /// `text_not_a_position`: it names no place of this text; what [`TextSession::flush`] fails with.
    pub fn resolve(&self, position: &[u8]) -> Result<u32> {
        let unit = Offsets::Utf16.unit();
        self.inner
            .stored(|body, untold| Ok(untold.place_before(body.resolve(position, unit)?)))
    }

    /// What others did since the last call, in order; returns at once.
    ///
    /// # Errors
    /// `text_closed`; the document is not there any more (`not_found`); a file that cannot be read.
    pub fn news(&self) -> Result<Vec<TextNews>> {
        self.inner.look()?;
        Ok(self.inner.state().take_news())
    }

    /// Waits until there may be news. Returns false when the time is over, or the session is closed.
    pub fn wait(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut signal = self.inner.signal();
        while !signal.dirty && !signal.closed {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.inner.raised.wait_timeout(signal, left);
            signal = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        !signal.closed
    }

    /// The same for tasks, without an end of time.
    pub async fn changed(&self) -> bool {
        poll_fn(|context| {
            let mut signal = self.inner.signal();
            if signal.dirty || signal.closed {
                return Poll::Ready(!signal.closed);
            }
            signal.wakers.push(context.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// Stores what was typed, now.
    ///
    /// # Errors
    /// What a write fails with: a full outbox or disk, a document that is gone; what was typed is kept
    /// and shown. `text_closed`.
    pub fn flush(&self) -> Result<()> {
        self.inner.flush()
    }

    /// Stores what was typed and closes: further calls fail with `text_closed`.
    ///
    /// # Errors
    /// What [`TextSession::flush`] fails with; the session stays open then.
    pub fn close(&self) -> Result<()> {
        self.inner.close()
    }
}

impl Session {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn signal(&self) -> MutexGuard<'_, Signal> {
        self.signal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A commit may have changed the text.
    pub(crate) fn committed(&self, changes: &Changes) {
        if changes.may_touch(self.place.collection, &self.place.document) {
            self.raise(false);
        }
    }

    fn raise(&self, closed: bool) {
        let mut signal = self.signal();
        signal.dirty = true;
        signal.closed |= closed;
        let wakers = std::mem::take(&mut signal.wakers);
        drop(signal);
        self.raised.notify_all();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Edits what is shown.
    fn stage<T>(&self, edit: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
        refuse_readers(&self.storage)?;
        let mut state = self.state();
        if state.failed {
            // What cannot be stored must not grow without end.
            self.store(&mut state)?;
        }
        let now = self.storage.environment().clock.monotonic();
        if now.saturating_sub(std::mem::replace(&mut state.edited, now)) > PAUSE {
            state.editing()?.body()?.close_undo_step();
        }
        let made = edit(&mut state)?;
        drop(state);
        self.frame.notify_one();
        Ok(made)
    }

    /// Takes a step back, or makes it again; answers what the editor is to do.
    fn travel(
        &self,
        step: impl FnOnce(&mut Editing) -> Result<Vec<Delta>>,
    ) -> Result<Option<Vec<String>>> {
        self.stage(|state| {
            let made = step(state.editing()?)?;
            if made.is_empty() {
                return Ok(None);
            }
            // Its positions are those of the text with all that others did.
            state.untold.add(made);
            Ok(Some(state.take_edits()))
        })
    }

    /// Takes in what the file has got.
    fn look(&self) -> Result<()> {
        let mut state = self.state();
        // What comes from here on raises it again.
        self.signal().dirty = false;
        let editing = state.editing()?;
        let news = self.storage.read(|tx| editing.catch_up(tx))?;
        state.tell(news)
    }

    pub(crate) fn flush(&self) -> Result<()> {
        let mut state = self.state();
        if !state.editing()?.is_ahead()? {
            return Ok(());
        }
        let stored = self.store(&mut state);
        self.storage
            .after_local_write(stored.as_ref().is_err_and(Error::is_queue_full));
        stored
    }

    /// Reads the text once nothing of it is ahead of the file.
    fn stored<T>(
        &self,
        read: impl FnOnce(&mut TextBody, &Untold) -> std::result::Result<T, TextError>,
    ) -> Result<T> {
        let mut state = self.state();
        let ahead = state.editing()?.is_ahead()?;
        if ahead {
            self.store(&mut state)?;
        }
        let untold = state.untold.clone();
        let found = read(state.editing()?.body()?, &untold).map_err(failed);
        drop(state);
        if ahead {
            self.storage.after_local_write(false);
        }
        found
    }

    fn store(&self, state: &mut State) -> Result<()> {
        loop {
            let editing = state.editing()?;
            let news = self.storage.write_tx(Origin::Local, |tx| editing.store(tx));
            match news {
                Ok(News::Edits(edits)) => {
                    editing.stored();
                    state.failed = false;
                    return state.tell(News::Edits(edits));
                }
                // On the text as it is now, in another transaction.
                Ok(anew) => state.tell(anew)?,
                Err(error) => {
                    state.failed = true;
                    self.open_again(state)?;
                    return Err(error.into());
                }
            }
        }
    }

    /// The open text is ahead of the file: it is opened anew, and what is not stored put on top.
    fn open_again(&self, state: &mut State) -> Result<()> {
        let editing = state.editing()?;
        let mut unstored = editing.stored();
        if unstored.is_empty() {
            return Ok(());
        }
        unstored.append(&mut editing.body()?.unstage().map_err(failed)?);
        let mut anew = match self.storage.read(|tx| Editing::open(tx, &self.place)) {
            Ok(anew) => anew,
            Err(error) => {
                editing.keep_unstored(unstored);
                return Err(error.into());
            }
        };
        let before = editing.body()?.text().map_err(failed)?;
        for change in unstored {
            anew.put_back(change)?;
        }
        let after = anew.body()?.text().map_err(failed)?;
        if after != before {
            state.untold.begin_anew(difference(&before, &after));
            self.raise(false);
        }
        state.editing = Some(anew);
        Ok(())
    }

    pub(crate) fn close(&self) -> Result<()> {
        match self.flush() {
            Err(error) if error.code() == CLOSED => return Err(error),
            other => other?,
        }
        self.end();
        Ok(())
    }

    /// Closes without storing.
    pub(crate) fn end(&self) {
        self.state().editing = None;
        self.raise(true);
        self.frame.notify_one();
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(editing) = &mut state.editing {
            let stored = self.storage.write_tx(Origin::Local, |tx| editing.store(tx));
            if let Err(error) = stored {
                tracing::warn!(%error, "an editor's last frame could not be stored");
            }
        }
        self.frame.notify_one();
    }
}

const CLOSED: &str = "text_closed";
const HAS_NEWS: &str = "text_has_news";

impl State {
    fn editing(&mut self) -> Result<&mut Editing> {
        self.editing
            .as_mut()
            .ok_or_else(|| Error::other(CLOSED, Fault::App, Retry::No, "the text was closed"))
    }

    fn tell(&mut self, news: News) -> Result<()> {
        match news {
            News::Edits(edits) => self.untold.add(edits),
            News::Anew(mut anew) => {
                let before = self.editing()?.body()?;
                let staged = before.unstage().map_err(failed)?;
                let change = difference(
                    &before.text().map_err(failed)?,
                    &anew.body()?.text().map_err(failed)?,
                );
                let mut others = change;
                for own in staged {
                    let next = others.under(&own);
                    let moved = own.over(&others);
                    others = next;
                    anew.body()?.stage_deltas(vec![moved]).map_err(failed)?;
                }
                self.editing = Some(*anew);
                self.untold.begin_anew(others);
            }
        }
        Ok(())
    }

    /// Makes edits by the offsets of an editor that may not have been told everything.
    fn edit(&mut self, changes: &[TextChange], offsets: Offsets) -> Result<()> {
        if self.untold.is_empty() {
            let made = self.editing()?.body()?.stage(changes, offsets.unit());
            let made = made.map_err(failed)?;
            made.iter().for_each(|change| self.move_selection(change));
            return Ok(());
        }
        if offsets != Offsets::Utf16 {
            let message = "others edited the text: ask for the news first";
            return Err(Error::other(HAS_NEWS, Fault::App, Retry::Later, message));
        }
        let end = self.units()?;
        let mut untold = self.untold.clone();
        let (own, moved) = untold.pass(changes, end).map_err(failed)?;
        let made = self.editing()?.body()?.stage(&moved, offsets.unit());
        made.map_err(failed)?;
        own.iter().for_each(|change| self.move_selection(change));
        self.untold = untold;
        Ok(())
    }

    /// How long the text is for the editor.
    fn units(&mut self) -> Result<u32> {
        let units = self.editing()?.body()?.units().map_err(failed)?;
        Ok(self.untold.units_before(units))
    }

    /// Tells everything.
    fn take_news(&mut self) -> Vec<TextNews> {
        let anew = self.untold.is_anew();
        let edits = self.take_edits();
        match anew {
            true => vec![TextNews::Anew],
            false => edits.into_iter().map(TextNews::Edited).collect(),
        }
    }

    fn take_edits(&mut self) -> Vec<String> {
        let edits = std::mem::take(&mut self.untold).into_edits();
        edits.iter().for_each(|change| self.move_selection(change));
        edits.iter().map(json).collect()
    }

    fn move_selection(&mut self, change: &Delta) {
        let (from, to) = self.selection;
        // A caret stays before what comes right there; what is selected stays selected, and no more.
        self.selection = match from < to {
            true => (
                moved_past(from, change).min(moved(to, change)),
                moved(to, change),
            ),
            false => (moved(from, change), moved(to, change)),
        };
    }
}

fn json(change: &Delta) -> String {
    // Strings and scalars always have a JSON form.
    serde_json::to_string(change).unwrap_or_else(|_| "[]".to_owned())
}

/// Stores what is typed, a frame after it began to be.
fn store_by_frames(session: &Arc<Session>) {
    let executor = Arc::clone(&session.storage.environment().executor);
    let (timer, frame) = (Arc::clone(&executor), Arc::clone(&session.frame));
    let weak: Weak<Session> = Arc::downgrade(session);
    let task = async move {
        loop {
            frame.notified().await;
            if weak.strong_count() == 0 {
                return;
            }
            timer.sleep(FRAME).await;
            // The last clone stores by itself.
            let Some(session) = weak.upgrade() else {
                return;
            };
            match session.flush() {
                Err(error) if error.code() == CLOSED => return,
                Err(error) => tracing::debug!(%error, "an editor's frame could not be stored"),
                Ok(()) => {}
            }
        }
    };
    executor.spawn("driftline-text", Box::pin(task));
}

impl std::fmt::Debug for TextSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TextSession")
    }
}
