//! Leaving behind what an earlier process left in a file's log.
//!
//! A process that ended before its sync, or over one that failed, leaves commits in the log that
//! everybody reads. Told to somebody they would be gone when the power goes; and of a sync that failed
//! there are pages that no later sync writes, which take every commit behind them along.

use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::{Connection, ErrorCode};

use super::connection::format_of;
use crate::store::StoreError;

/// Moves what is in the log into the file and begins the log again, so that what is told from now on
/// does not rest on it.
pub(super) fn leave_behind(connection: &Connection) -> rusqlite::Result<()> {
    let moved = "PRAGMA wal_checkpoint(PASSIVE)";
    let (log, moved): (i64, i64) =
        connection.query_row(moved, [], |row| Ok((row.get(1)?, row.get(2)?)))?;
    match log > 0 && log == moved {
        true => begin_again(connection),
        false => Ok(()),
    }
}

/// The same of a file that others may be reading, before anything is committed to it.
///
/// They are waited for: while somebody reads from the log, a commit goes behind all that is in it, even
/// where that is in the file as well.
fn leave_behind_readers_too(connection: &Connection) -> Result<(), StoreError> {
    let moved = "PRAGMA wal_checkpoint(RESTART)";
    let is_busy: bool = connection.query_row(moved, [], |row| row.get(0))?;
    if is_busy {
        let why = "an earlier process's log is being read".to_owned();
        return Err(StoreError::Unavailable(why));
    }
    Ok(begin_again(connection)?)
}

/// A commit that changes nothing. Until there is one the old log is read at the next start, and what the
/// disk kept of it would be put over the file.
fn begin_again(connection: &Connection) -> rusqlite::Result<()> {
    let format = format_of(connection)?;
    connection.pragma_update(None, "user_version", format)
}

/// Whether there was no room.
pub(super) fn is_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DiskFull)
}

/// Whether a file's next commit would rest on a log for which there was no room to leave it behind.
///
/// A full disk was tolerated when a file was opened, for the sake of those who read. Once there was room
/// again commits went behind pages that the disk had lost: answered for, and gone when the power went.
#[derive(Debug, Default)]
pub(super) struct RestsOnLog(AtomicBool);

impl RestsOnLog {
    pub(super) fn new(rests: bool) -> RestsOnLog {
        RestsOnLog(AtomicBool::new(rests))
    }

    /// Its writer was opened anew. That it could leave the log behind takes nothing back: it did not wait for
    /// who reads. Who calls this or [`Self::end`] holds the writer.
    pub(super) fn opened_anew(&self, rests: bool) {
        self.0.fetch_or(rests, Ordering::Relaxed);
    }

    /// Has the log left behind, if it was not; before every commit.
    ///
    /// # Errors
    /// There is still no room, or somebody goes on reading: nothing may be committed.
    pub(super) fn end(&self, writer: &Connection) -> Result<(), StoreError> {
        if self.0.load(Ordering::Relaxed) {
            leave_behind_readers_too(writer)?;
            self.0.store(false, Ordering::Relaxed);
        }
        Ok(())
    }
}
