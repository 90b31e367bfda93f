//! All texts of a database that are open in editors.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::open::Session;
use super::session::TextSession;
use super::state::CLOSED;
use crate::error::{Error, Result};
use crate::storage::{Changes, StorageError};

/// The sessions of a database, as long as somebody holds them.
#[derive(Clone, Default)]
pub(crate) struct Editors(Arc<Mutex<Vec<Weak<Session>>>>);

impl Editors {
    fn held(&self) -> MutexGuard<'_, Vec<Weak<Session>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add(&self, session: &TextSession) {
        let mut held = self.held();
        held.retain(|session| session.strong_count() > 0);
        held.push(Arc::downgrade(session.inner()));
    }

    /// Whether anything is open.
    pub(crate) fn any(&self) -> bool {
        self.held().iter().any(|session| session.strong_count() > 0)
    }

    fn open(&self) -> Vec<Arc<Session>> {
        self.held().iter().filter_map(Weak::upgrade).collect()
    }

    /// A commit may have changed a text.
    pub(crate) fn committed(&self, changes: &Changes) {
        let open = self.open();
        open.iter().for_each(|session| session.committed(changes));
    }

    /// Stores what all of them hold. One that cannot be stored keeps the others from nothing; the first
    /// error is told.
    pub(crate) fn flush(&self) -> Result<()> {
        let stored = self.open().into_iter().map(|session| session.flush());
        stored.map(unless_closed).fold(Ok(()), Result::and)
    }

    /// Stores what all of them hold and closes them, up to the first that cannot be stored.
    pub(crate) fn close(&self) -> Result<()> {
        let mut open = self.open().into_iter();
        open.try_for_each(|session| unless_closed(session.close()))
    }

    /// Closes them with nothing stored.
    pub(crate) fn end(&self) {
        self.open().iter().for_each(|session| session.end());
    }

    /// The file can be written again.
    pub(crate) fn try_again(&self) {
        self.open().iter().for_each(|session| session.try_again());
    }
}

/// The app may have closed one itself, or opened it while the database was closed.
fn unless_closed(stored: Result<()>) -> Result<()> {
    let closed: Error = StorageError::Closed.into();
    match stored {
        Err(error) if [CLOSED, closed.code()].contains(&error.code()) => Ok(()),
        other => other,
    }
}
