//! A thread that writes gathered rows while the next are being decided.
//!
//! The connection goes to the thread with the rows and comes back with the outcome: one of the two
//! has it at any time, so what is written, and in which order, is what one thread would write.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use rusqlite::Connection;

use super::gathered::Gathered;
use crate::store::StoreError;

/// The thread of one transaction.
pub(super) struct Beside {
    rows: SyncSender<(Connection, Gathered)>,
    written: Receiver<Written>,
    is_writing: bool,
}

/// What comes back: the connection, the rows' memory, and whether they are written.
type Written = (Connection, Gathered, Result<(), StoreError>);

impl Beside {
    /// Starts the thread; `None` if there is none to be had.
    pub(super) fn start() -> Option<Beside> {
        let (rows, given) = sync_channel::<(Connection, Gathered)>(1);
        let (back, written) = sync_channel(1);
        let work = move || {
            while let Ok((connection, rows)) = given.recv() {
                let outcome = rows.write(&connection);
                if back.send((connection, rows, outcome)).is_err() {
                    return;
                }
            }
        };
        let started = std::thread::Builder::new()
            .name("driftline-rows".to_owned())
            .spawn(work);
        match started {
            Ok(_) => Some(Beside {
                rows,
                written,
                is_writing: false,
            }),
            Err(error) => {
                tracing::debug!(%error, "no thread to write rows");
                None
            }
        }
    }

    /// Hands over the connection and rows.
    ///
    /// # Errors
    /// The thread is gone, and both with it.
    pub(super) fn write(
        &mut self,
        connection: Connection,
        rows: Gathered,
    ) -> Result<(), StoreError> {
        self.rows.send((connection, rows)).map_err(|_| gone())?;
        self.is_writing = true;
        Ok(())
    }

    /// Waits until what was handed over is written; `None` if nothing is away.
    ///
    /// # Errors
    /// The thread is gone, and the connection with it.
    pub(super) fn wait(&mut self) -> Result<Option<Written>, StoreError> {
        if !std::mem::take(&mut self.is_writing) {
            return Ok(None);
        }
        self.written.recv().map(Some).map_err(|_| gone())
    }
}

fn gone() -> StoreError {
    StoreError::Failed("the thread that writes rows is gone".to_owned())
}
