//! An open text behind its sessions: edits are staged in memory, stored by frames, and what comes into
//! the file is taken in.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Waker;

use driftline_core::text::{Delta, TextBody, TextError};
use tokio::sync::Notify;

use super::failed;
use super::state::{CLOSED, State};
use super::untold::{Untold, difference};
use crate::error::{Error, Result};
use crate::storage::text::{Editing, News, TextPlace, refuse_readers};
use crate::storage::{Changes, Origin, Storage};

/// What is typed is stored so many milliseconds later at the latest.
const FRAME: u64 = 16;
/// After so many milliseconds without an edit the next one begins another step to undo, as in other
/// editors; without it one undo would take back all of a session.
const PAUSE: i64 = 500;

/// One open text.
pub(crate) struct Session {
    storage: Arc<Storage>,
    place: TextPlace,
    state: Mutex<State>,
    signal: Mutex<Signal>,
    pub(super) raised: Condvar,
    frame: Arc<Notify>,
}

/// Whether there may be news. Never held while anything else is done.
#[derive(Default)]
pub(super) struct Signal {
    pub(super) dirty: bool,
    pub(super) closed: bool,
    pub(super) wakers: Vec<Waker>,
}

impl Session {
    pub(super) fn open(storage: &Arc<Storage>, place: TextPlace) -> Result<Arc<Session>> {
        let editing = storage.read(|tx| Editing::open(tx, &place))?;
        let session = Arc::new(Session {
            storage: Arc::clone(storage),
            place,
            state: Mutex::new(State::of(editing)),
            signal: Mutex::default(),
            raised: Condvar::new(),
            frame: Arc::default(),
        });
        store_by_frames(&session);
        Ok(session)
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn signal(&self) -> MutexGuard<'_, Signal> {
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
    pub(super) fn stage<T>(&self, edit: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
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
    pub(super) fn travel(
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
    pub(super) fn look(&self) -> Result<()> {
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
    pub(super) fn stored<T>(
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
