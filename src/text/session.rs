//! A rich text that an editor keeps open.
//!
//! What is typed shows at once and is stored within a frame; what others type arrives as positions.

use std::future::poll_fn;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use driftline_core::text::{Delta, Side, Step, TextBody, TextChange, TextError};
use tokio::sync::Notify;

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
    news: Vec<TextNews>,
    /// Where the selection begins and ends.
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
                news: Vec::new(),
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
    /// and are stored within a frame, all edits of a frame as one.
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
    /// As [`TextSession::edit`].
    pub fn edit_in(
        &self,
        offsets: Offsets,
        edits: impl IntoIterator<Item = TextEdit>,
    ) -> Result<()> {
        let mut changes: Vec<TextChange> = Vec::new();
        for edit in edits {
            edit.changes(&mut changes)?;
        }
        self.inner.stage(|editing| {
            let made = editing.body()?.stage(&changes, offsets.unit());
            made.map_err(failed)
        })?;
        Ok(())
    }

    /// Takes the last step of this session's edits back, whatever others wrote since. Returns the
    /// change, as [`TextNews::Edited`] has it; `None` if there is nothing to take back.
    ///
    /// # Errors
    /// As [`TextSession::edit`].
    pub fn undo(&self) -> Result<Option<Vec<String>>> {
        let made = self
            .inner
            .stage(|editing| editing.body()?.stage_undo().map_err(failed))?;
        Ok(told(&made))
    }

    /// Makes the step that was last taken back again.
    ///
    /// # Errors
    /// As [`TextSession::edit`].
    pub fn redo(&self) -> Result<Option<Vec<String>>> {
        let made = self
            .inner
            .stage(|editing| editing.body()?.stage_redo().map_err(failed))?;
        Ok(told(&made))
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

    /// What the editor shows.
    ///
    /// # Errors
    /// `text_closed`.
    pub fn content(&self) -> Result<RichText> {
        let mut state = self.inner.state();
        let content = state.editing()?.body()?.content().map_err(failed)?;
        Ok(RichText::of(content))
    }

    /// Its length in UTF-16 units.
    ///
    /// # Errors
    /// `text_closed`.
    pub fn len(&self) -> Result<u32> {
        let mut state = self.inner.state();
        state.editing()?.body()?.units().map_err(failed)
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
        let body = state.editing()?.body()?;
        for at in [from, to] {
            body.to_utf16(at, Offsets::Utf16.unit()).map_err(failed)?;
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
        self.inner.stored(|body| body.position(at, unit, side))
    }

    /// Where a position is now. What was typed is stored first.
    ///
    /// # Errors
    /// `text_not_a_position`: it names no place of this text; what [`TextSession::flush`] fails with.
    pub fn resolve(&self, position: &[u8]) -> Result<u32> {
        let unit = Offsets::Utf16.unit();
        self.inner.stored(|body| body.resolve(position, unit))
    }

    /// What others did since the last call, in order; returns at once.
    ///
    /// # Errors
    /// `text_closed`; the document is not there any more (`not_found`); a file that cannot be read.
    pub fn news(&self) -> Result<Vec<TextNews>> {
        self.inner.look()?;
        Ok(std::mem::take(&mut self.inner.state().news))
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
    fn stage(&self, edit: impl FnOnce(&mut Editing) -> Result<Vec<Delta>>) -> Result<Vec<Delta>> {
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
        let made = edit(state.editing()?)?;
        made.iter().for_each(|change| state.move_selection(change));
        drop(state);
        self.frame.notify_one();
        Ok(made)
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
        read: impl FnOnce(&mut TextBody) -> std::result::Result<T, TextError>,
    ) -> Result<T> {
        let mut state = self.state();
        let ahead = state.editing()?.is_ahead()?;
        if ahead {
            self.store(&mut state)?;
        }
        let found = read(state.editing()?.body()?).map_err(failed);
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
        if anew.body()?.text().map_err(failed)? != before {
            state.news.push(TextNews::Anew);
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

impl State {
    fn editing(&mut self) -> Result<&mut Editing> {
        self.editing
            .as_mut()
            .ok_or_else(|| Error::other(CLOSED, Fault::App, Retry::No, "the text was closed"))
    }

    fn tell(&mut self, news: News) -> Result<()> {
        match news {
            News::Edits(edits) => {
                for edit in &edits {
                    self.move_selection(edit);
                }
                self.news
                    .extend(edits.iter().map(|e| TextNews::Edited(json(e))));
            }
            News::Anew(mut anew) => {
                let before = self.editing()?.body()?;
                let staged = before.unstage().map_err(failed)?;
                let change = difference(
                    &before.text().map_err(failed)?,
                    &anew.body()?.text().map_err(failed)?,
                );
                self.move_selection(&change);
                let mut others = change;
                for own in staged {
                    let next = others.before(&own);
                    let moved = own.after(&others);
                    others = next;
                    anew.body()?.stage_deltas(vec![moved]).map_err(failed)?;
                }
                self.editing = Some(*anew);
                self.news.push(TextNews::Anew);
            }
        }
        Ok(())
    }

    fn move_selection(&mut self, change: &Delta) {
        let (from, to) = self.selection;
        self.selection = (moved(from, change), moved(to, change));
    }
}

/// Where a place is after a change.
fn moved(place: u32, change: &Delta) -> u32 {
    let (mut old, mut new) = (0u32, 0u32);
    for step in change.steps() {
        match step {
            Step::Retain { len, .. } => {
                if old + len >= place {
                    break;
                }
                (old, new) = (old + len, new + len);
            }
            Step::Insert { text, .. } => new += text.encode_utf16().count() as u32,
            Step::Delete { len } => {
                if old + len >= place {
                    return new;
                }
                old += len;
            }
        }
    }
    new + place.saturating_sub(old)
}

/// A change that makes one text of another: what they begin and end with stays.
fn difference(before: &str, after: &str) -> Delta {
    let (old, new): (Vec<char>, Vec<char>) = (before.chars().collect(), after.chars().collect());
    let same = |(a, b): &(&char, &char)| a == b;
    let start = old.iter().zip(&new).take_while(same).count();
    let most = old.len().min(new.len()) - start;
    let ends = old.iter().rev().zip(new.iter().rev());
    let end = ends.take(most).take_while(same).count();
    let units = |chars: &[char]| chars.iter().map(|c| c.len_utf16() as u32).sum();
    let part = |all: &[char]| all.get(start..all.len() - end).unwrap_or_default().to_vec();
    Delta::new()
        .retain(units(old.get(..start).unwrap_or_default()))
        .delete(units(&part(&old)))
        .insert(String::from_iter(part(&new)), Default::default())
}

fn json(change: &Delta) -> String {
    // Strings and scalars always have a JSON form.
    serde_json::to_string(change).unwrap_or_else(|_| "[]".to_owned())
}

fn told(changes: &[Delta]) -> Option<Vec<String>> {
    (!changes.is_empty()).then(|| changes.iter().map(json).collect())
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
