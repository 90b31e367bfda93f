//! An open text behind its sessions: edits are staged in memory, stored by frames, and what comes into
//! the file is taken in.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Waker;

use driftline_core::text::{Delta, TextBody, TextError};
use tokio::sync::Notify;

use super::failed;
use super::state::{CLOSED, State};
use super::untold::{Untold, changes_something};
use crate::error::{Error, Result};
use crate::storage::text::{Editing, News, TextPlace, refuse_readers};
use crate::storage::{self, Changes, Origin, Storage};

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
        let steps = state.steps()?;
        let made = edit(&mut state)?;
        let shows_otherwise = state.steps()? != steps;
        drop(state);
        self.frame.notify_one();
        if shows_otherwise {
            // An editor's buttons may be another clone's.
            self.raise(false);
        }
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
        self.settle(&mut state)?;
        let editing = state.editing()?;
        let news = self.storage.read(|tx| editing.catch_up(tx))?;
        state.tell(news)
    }

    pub(crate) fn flush(&self) -> Result<()> {
        self.when_stored(|_| Ok(()))
    }

    /// Reads the text once nothing of it is ahead of the file.
    pub(super) fn stored<T>(
        &self,
        read: impl FnOnce(&mut TextBody, &Untold) -> std::result::Result<T, TextError>,
    ) -> Result<T> {
        self.when_stored(|state| {
            let untold = state.untold.clone();
            read(state.editing()?.body()?, &untold).map_err(failed)
        })
    }

    pub(crate) fn close(&self) -> Result<()> {
        // At once: what is typed between the two would be lost.
        self.when_stored(|state| {
            state.editing = None;
            Ok(())
        })?;
        self.closed();
        Ok(())
    }

    /// Closes without storing.
    pub(crate) fn end(&self) {
        self.state().editing = None;
        self.closed();
    }

    fn closed(&self) {
        self.raise(true);
        self.frame.notify_one();
    }

    /// Has another frame stored, if anything is ahead of the file.
    pub(super) fn try_again(&self) {
        self.frame.notify_one();
    }

    /// Does `then` once nothing is ahead of the file, before anything else is typed.
    fn when_stored<T>(&self, then: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
        let mut state = self.state();
        let ahead = state.editing()?.is_ahead()?;
        let stored = match ahead {
            true => self.store(&mut state),
            false => Ok(()),
        };
        let was_too_full = stored.as_ref().is_err_and(Error::is_queue_full);
        let done = stored.and_then(|()| then(&mut state));
        drop(state);
        if ahead {
            self.storage.after_local_write(was_too_full);
        }
        done
    }

    fn store(&self, state: &mut State) -> Result<()> {
        loop {
            self.settle(state)?;
            let editing = state.editing()?;
            let stored = self.storage.write_tx(Origin::Local, |tx| editing.store(tx));
            if let Ok(None) = stored {
                editing.settled();
            }
            // Also where nothing was stored: it shows, and the editor's offsets are to be moved over it.
            let heard = editing.take_heard();
            state.untold.add(heard);
            match stored {
                Ok(None) => {
                    state.failed = false;
                    return Ok(());
                }
                // On the text as it is now, in another transaction.
                Ok(Some(anew)) => state.tell(News::Anew(anew))?,
                Err(error) => {
                    state.failed = true;
                    if let Err(error) = self.settle(state) {
                        tracing::debug!(%error, "a text could not be opened anew yet");
                    }
                    return Err(error.into());
                }
            }
        }
    }

    /// After a transaction that did not end well the text that is open has what the file lacks, and
    /// nothing can be stored on top of that: it is opened anew, and that put on top. Where that fails it
    /// waits as it is for the next call.
    fn settle(&self, state: &mut State) -> Result<()> {
        let editing = state.editing()?;
        if !editing.is_unsettled() {
            return Ok(());
        }
        let (anew, is_stored) = self.storage.read(|tx| -> storage::Result<_> {
            let anew = Editing::open(tx, &self.place)?;
            let is_stored = editing.is_stored_in(tx, &anew)?;
            Ok((anew, is_stored))
        })?;
        if is_stored {
            editing.settled();
        }
        let steps = state.steps()?;
        let others = state.go_on_with(anew)?;
        let is_told = changes_something(&others);
        if is_told {
            state.untold.begin_anew(others);
        }
        if is_told || state.steps()? != steps {
            self.raise(false);
        }
        Ok(())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        match self.flush() {
            Err(error) if error.code() != CLOSED => {
                tracing::warn!(%error, "what was typed last into an editor is lost");
            }
            _ => {}
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
