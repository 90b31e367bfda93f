//! Whose data a file holds: attaching a guest's file, signing out, one file for each account.

use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};

use driftline_core::mutant::{Mutant, planted};

use crate::database::Database;
use crate::error::{Error, Fault, Result, Retry};
use crate::storage::attach::{self, Pace};
use crate::storage::{Origin, outbox};

/// What becomes of unsynced writes when a user signs out. The documents stay in the file in each
/// case; whoever wants them gone removes the file once it is closed.
pub enum SignOut<'a> {
    /// They stay in the file, and are sent when this account opens it again.
    Keep,
    /// They stay, and are written to this as well: one JSON object a line, which
    /// [`Outbox::import`](crate::Outbox::import) takes into another file of the same account.
    Export(&'a mut dyn Write),
    /// They are dropped for good. Says how many the user was told of ([`Database::unsynced`]): if
    /// there are others by now, nothing is dropped and nobody is signed out.
    Drop {
        /// How many unsynced writes the user agreed to lose.
        unsynced: u64,
    },
}

/// How a sign-out went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct SignedOut {
    /// Writes that the server has not named: pending, in flight, or in quarantine.
    pub unsynced: u64,
    /// How many of them were exported.
    pub exported: u64,
    /// How many were dropped.
    pub dropped: u64,
}

/// How far a guest's file is attached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Attached {
    /// Documents queued by this call.
    pub queued: u64,
    /// Whether all are. If not, the outbox is full: sync goes on with the rest as it drains.
    pub complete: bool,
}

/// The file of an account and a workspace in `folder`; of a guest without an account. Each pair has
/// its own, the name tells neither of the two, and it is fit for every file system.
///
/// A guest's file keeps its name when it is attached to an account. An app with guests opens what
/// [`find_file`](crate::find_file) finds instead: under the account's own name it would open an empty file.
pub fn file_for(folder: impl AsRef<Path>, account: Option<&str>, workspace: &str) -> PathBuf {
    let name = driftline_core::digest::file_name(account, workspace);
    folder.as_ref().join(format!("driftline-{name}.db"))
}

impl Database {
    /// Whose file it is; `None` for a guest's.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn account(&self) -> Result<Option<String>> {
        Ok(self.storage().account()?)
    }

    /// The workspace it is a replica of.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn workspace(&self) -> Result<String> {
        Ok(self.storage().workspace()?)
    }

    /// How many writes the server has not named yet: what a sign-out has to tell its user. What is typed
    /// into an editor becomes one within a frame. What an attach has not queued yet (it was cut short, or
    /// the outbox was full) is queued by this, whatever the outbox' limits are, and counted.
    ///
    /// # Errors
    /// A file that cannot be read, or not be written while it is being attached.
    pub fn unsynced(&self) -> Result<u64> {
        if self.storage().is_attaching() {
            attach::turn_all(self.storage(), Pace::AtOnce)?;
        }
        let size = self.outbox().size()?;
        Ok(size.pending + size.quarantined)
    }

    /// Signs the user out: has editors store what was typed, does with unsynced writes as `choice` says,
    /// stops sync, and closes the database for every clone. The next account opens a file of its own,
    /// see [`file_for`].
    ///
    /// A write that was on its way when it was dropped may have reached the server. What is written
    /// while this runs stays in the file; with [`SignOut::Drop`], what is typed then may be lost.
    ///
    /// # Errors
    /// `unsynced_changed`: there are other writes than the user agreed to drop; what keeps an editor's
    /// words from being stored, see [`TextSession::flush`](crate::TextSession::flush), until they are
    /// given up ([`TextSession::discard`](crate::TextSession::discard)); `export_failed`; a file that
    /// cannot be read or written. Nothing is dropped then, and the database stays open. But
    /// where only its closing failed it is closed, and what was written under `Durability::Normal` may
    /// not be on the disk; [`Database::close`] tries again.
    pub fn sign_out(&self, choice: SignOut<'_>) -> Result<SignedOut> {
        self.editors().flush()?;
        let mut done = SignedOut {
            unsynced: self.unsynced()?,
            exported: 0,
            dropped: 0,
        };
        match choice {
            SignOut::Keep => {}
            SignOut::Export(out) => done.exported = self.outbox().export(out)?,
            SignOut::Drop { unsynced } => {
                done.dropped = self.drop_seen(unsynced)?;
                done.unsynced = done.dropped;
                // What was typed since goes the same way.
                self.editors().end();
                // What was dropped cannot be had back: an error would say that nothing was.
                if let Err(error) = self.close() {
                    tracing::warn!(%error, "the file could not be closed well after a sign-out");
                }
                return Ok(done);
            }
        }
        self.close()?;
        Ok(done)
    }

    fn drop_seen(&self, seen: u64) -> Result<u64> {
        self.storage().write_tx(Origin::Local, |tx| {
            let size = outbox::size(tx.conn())?;
            if size.pending + size.quarantined != seen {
                return Err(Error::other(
                    "unsynced_changed",
                    Fault::App,
                    Retry::AfterAction,
                    format!(
                        "{} writes are unsynced, not {seen}; ask again",
                        size.pending + size.quarantined
                    ),
                ));
            }
            if planted(Mutant::DropForgotten) {
                return Ok(seen);
            }
            Ok(outbox::drop_all(tx)? as u64)
        })
    }

    /// Makes a guest's file `account`'s replica of `workspace`: each of its documents is queued as an
    /// insert. It may be called again, by another process too: what is queued already is not queued
    /// twice, and the same document of a copy of the file is the same write. From the first call on
    /// the file is opened with this account and workspace; it stays where it is, and
    /// [`find_file`](crate::find_file) finds it there.
    ///
    /// # Errors
    /// `wrong_account`, `wrong_workspace`: the file is another one's; a file that cannot be written.
    /// What was queued before the error stays queued.
    pub fn attach_account(&self, account: &str, workspace: &str) -> Result<Attached> {
        crate::database::check_names(Some(account), workspace)?;
        let storage = self.storage();
        storage.write_tx(Origin::Local, |tx| {
            attach::begin(tx, account, Some(workspace))
        })?;
        let turned = attach::turn_all(storage, Pace::UpToTheLimit)?;
        Ok(Attached {
            queued: turned.documents,
            complete: turned.complete,
        })
    }
}

impl crate::Outbox {
    /// Takes an export of the same account and workspace into this file's empty outbox, as the same
    /// writes under the same ids: what the server has of them it does not apply again. All of it or
    /// nothing; repeated, it changes nothing. Returns how many were taken.
    ///
    /// # Errors
    /// `invalid_import`: a line that is none of an export; `wrong_account`, `wrong_workspace`;
    /// `newer_schema`; `outbox_not_empty`: other writes wait in it; `queue_full`; what is not
    /// admissible under the schema; `invalid_text`: an edit of a text that no device writes; a file that cannot be written.
    pub fn import(&self, input: &mut dyn BufRead) -> Result<u64> {
        crate::export::import(self, input)
    }
}

impl std::fmt::Debug for SignOut<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            SignOut::Keep => f.write_str("Keep"),
            SignOut::Export(_) => f.write_str("Export"),
            SignOut::Drop { unsynced } => write!(f, "Drop({unsynced})"),
        }
    }
}
