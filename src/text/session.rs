//! A rich text that an editor keeps open.
//!
//! What is typed shows at once and is stored within a frame; what others type arrives as positions.

use std::future::poll_fn;
use std::sync::{Arc, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use driftline_core::text::{Side, TextChange};

use super::open::Session;
use super::untold::check_within;
use super::{Offsets, RichText, TextEdit, failed};
use crate::error::Result;
use crate::storage::Storage;
use crate::storage::text::TextPlace;

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
/// Offsets count UTF-16 units. Dropping the last clone stores what was typed; but it cannot say so if
/// that fails, and inside a write it does: [`TextSession::close`] tells.
#[derive(Clone)]
pub struct TextSession {
    inner: Arc<Session>,
}

impl TextSession {
    pub(crate) fn open(storage: &Arc<Storage>, place: TextPlace) -> Result<TextSession> {
        let inner = Session::open(storage, place)?;
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
    /// The first edit that does not fit; `read_only` if the account is known to be a reader; `text_closed`
    /// after the session was closed; what kept the last frame from being stored (the frame is kept, and
    /// stored with the next).
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

    /// Whether [`TextSession::undo`] has anything to take back, of which others left something. It changes
    /// with each edit and with news; [`TextSession::wait`] and [`TextSession::changed`] return when it does.
    ///
    /// # Errors
    /// `text_closed`.
    pub fn can_undo(&self) -> Result<bool> {
        Ok(self.inner.state().steps()?.0)
    }

    /// Whether [`TextSession::redo`] has anything to make again.
    ///
    /// # Errors
    /// `text_closed`.
    pub fn can_redo(&self) -> Result<bool> {
        Ok(self.inner.state().steps()?.1)
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

    /// Waits until there may be news, or another clone of this session changed what can be undone. Returns
    /// false when the time is over, or the session is closed.
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

    /// Closes without storing what was typed since the last frame: for words that nothing will ever make
    /// room for, of a document that is gone, say. [`TextSession::content`] has them until then.
    pub fn discard(&self) {
        self.inner.end();
    }
}

impl std::fmt::Debug for TextSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TextSession")
    }
}
