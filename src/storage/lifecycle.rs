//! Taking the file up and letting go of it.

use super::connection::FileSpec;
use super::entered::Entered;
use super::error::{Result, StorageError};
use super::writer::commit_fence;
use super::{Storage, checkpoint, power};
use crate::config::Durability;

/// Whether the file may be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Lifecycle {
    Open,
    Suspended,
    Closed,
}

impl Lifecycle {
    pub(super) fn check(self) -> Result<()> {
        match self {
            Lifecycle::Open => Ok(()),
            Lifecycle::Suspended => Err(StorageError::Suspended),
            Lifecycle::Closed => Err(StorageError::Closed),
        }
    }
}

impl Storage {
    /// Makes every returned write survive a power loss, under `NORMAL` too.
    pub(crate) fn flush(&self) -> Result<()> {
        let _entered = Entered::new(self)?;
        let mut writer = self.writer();
        let connection = self.connected(&mut writer)?;
        full_commit(&connection.conn, &self.spec)?;
        checkpoint::passive(&connection.conn).map(drop)
    }

    /// Checkpoints and lets go of the file: no connection, no lock. Calls fail until
    /// [`Storage::resume`].
    pub(crate) fn suspend(&self) -> Result<()> {
        self.let_go(Lifecycle::Suspended)
    }

    /// Takes the file up again.
    pub(crate) fn resume(&self) -> Result<()> {
        let _entered = Entered::new(self)?;
        let mut writer = self.writer();
        if writer.lifecycle == Lifecycle::Closed {
            return Err(StorageError::Closed);
        }
        writer.lifecycle = Lifecycle::Open;
        if let Err(error) = self.connected(&mut writer) {
            writer.lifecycle = Lifecycle::Suspended;
            return Err(error);
        }
        self.readers.reopen();
        self.queue.forget_counts();
        Ok(())
    }

    /// Checkpoints and closes for good.
    pub(crate) fn close(&self) -> Result<()> {
        let closed = self.let_go(Lifecycle::Closed);
        self.hooks.clear();
        self.checkpoints.close();
        closed
    }

    fn let_go(&self, lifecycle: Lifecycle) -> Result<()> {
        let _entered = Entered::new(self)?;
        let mut writer = self.writer();
        if writer.lifecycle != Lifecycle::Closed {
            self.readers.shut(lifecycle);
            self.checkpoints.let_go();
            writer.lifecycle = lifecycle;
        }
        writer.failed = None;
        let connection = match writer.connection.take() {
            Some(connection) => connection,
            None if !writer.unsettled => return Ok(()),
            // Lost to a failure, or let go of by a call that failed: what was committed before is
            // not settled by that.
            None => self.spec.open_writer(&self.shared)?.0,
        };
        let settled = match self.spec.durability {
            Durability::Full => Ok(()),
            Durability::Normal => power::settle(&connection.conn),
        };
        let flushed = settled.and_then(|()| checkpoint::passive(&connection.conn).map(drop));
        // The file is let go of whatever the checkpoint said: the log holds what it did not move.
        drop(connection);
        writer.unsettled = flushed.is_err();
        flushed
    }
}

/// Under `NORMAL` a commit does not wait for the disk; one that does takes all before it along.
fn full_commit(conn: &rusqlite::Connection, spec: &FileSpec) -> Result<()> {
    match spec.durability {
        Durability::Full => Ok(()),
        Durability::Normal => commit_fence(conn, spec),
    }
}
