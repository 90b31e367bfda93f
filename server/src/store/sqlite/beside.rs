//! A thread that writes gathered rows while the next are being decided.
//!
//! The connection goes to the thread before the first rows and comes back when it is asked for: one of
//! the two has it at any time, so what is written, and in which order, is what one thread would write.
//! Rows queue before the thread in between. Given one lot at a time it rested after each, and a thread
//! that rests is woken on the processor of whoever wakes it, where it waits for a turn.

use std::sync::mpsc::{Receiver, Sender, channel};

use rusqlite::Connection;

use super::gathered::Gathered;
use crate::store::StoreError;

/// Lots of rows that may wait for the thread; each is held in memory.
const WAITING: usize = 8;

/// Bytes of rows after which their pages go to the log. Left to the commit, all of them were written
/// when nobody had anything else to do; much sooner, a page would be written each time it is filled.
const FLUSH_BYTES: usize = 512 << 10;

/// The thread of one transaction.
pub(super) struct Beside {
    work: Sender<Work>,
    done: Receiver<Done>,
    /// Whether the thread has the connection.
    is_away: bool,
    /// Lots that it has been given and has not given back.
    waiting: usize,
}

enum Work {
    Begin(Connection),
    Write(Gathered),
    End,
}

enum Done {
    /// Rows are written, or given up after an error; their memory is free.
    Written(Gathered),
    Ended(Home),
}

/// The connection, and whether all rows that went before it were written.
pub(super) type Home = (Connection, Result<(), StoreError>);

impl Beside {
    /// Starts the thread; `None` if there is none to be had.
    pub(super) fn start() -> Option<Beside> {
        let (work, given) = channel();
        let (back, done) = channel();
        let started = std::thread::Builder::new()
            .name("driftline-rows".to_owned())
            .spawn(move || write_what_comes(&given, &back));
        match started {
            Ok(_) => Some(Beside {
                work,
                done,
                is_away: false,
                waiting: 0,
            }),
            Err(error) => {
                tracing::debug!(%error, "no thread to write rows");
                None
            }
        }
    }

    /// Whether the thread has the connection.
    pub(super) fn is_away(&self) -> bool {
        self.is_away
    }

    /// Hands over the connection.
    ///
    /// # Errors
    /// The thread is gone, and the connection with it.
    pub(super) fn begin(&mut self, connection: Connection) -> Result<(), StoreError> {
        self.send(Work::Begin(connection))?;
        self.is_away = true;
        Ok(())
    }

    /// Hands over rows; returns room for the next. That they could not be written is told at the end.
    ///
    /// # Errors
    /// The thread is gone, and the connection with it.
    pub(super) fn write(&mut self, rows: Gathered) -> Result<Gathered, StoreError> {
        self.send(Work::Write(rows))?;
        self.waiting += 1;
        let written = match self.waiting > WAITING {
            true => self.done.recv().map_err(|_| gone())?,
            false => match self.done.try_recv() {
                Ok(written) => written,
                Err(_) => return Ok(Gathered::default()),
            },
        };
        self.waiting -= 1;
        match written {
            Done::Written(room) => Ok(room),
            Done::Ended(_) => Err(gone()),
        }
    }

    /// Waits until everything is written and takes the connection back; `None` if it is not away.
    ///
    /// # Errors
    /// The thread is gone, and the connection with it.
    pub(super) fn end(&mut self) -> Result<Option<Home>, StoreError> {
        if !std::mem::take(&mut self.is_away) {
            return Ok(None);
        }
        self.send(Work::End)?;
        loop {
            match self.done.recv().map_err(|_| gone())? {
                Done::Written(_) => self.waiting = self.waiting.saturating_sub(1),
                Done::Ended(home) => return Ok(Some(home)),
            }
        }
    }

    fn send(&self, work: Work) -> Result<(), StoreError> {
        self.work.send(work).map_err(|_| gone())
    }
}

/// The thread's life: until nobody can give it work any more.
fn write_what_comes(given: &Receiver<Work>, back: &Sender<Done>) {
    let mut away = None;
    while let Ok(work) = given.recv() {
        let done = match work {
            Work::Begin(connection) => {
                away = Some(Away::new(connection));
                continue;
            }
            Work::Write(mut rows) => {
                if let Some(away) = &mut away {
                    away.write(&rows);
                }
                rows.clear();
                Done::Written(rows)
            }
            Work::End => match away.take() {
                Some(away) => Done::Ended((away.connection, away.outcome)),
                None => return,
            },
        };
        if back.send(done).is_err() {
            return;
        }
    }
}

/// The connection while the thread has it.
struct Away {
    connection: Connection,
    outcome: Result<(), StoreError>,
    /// Bytes of rows since pages went to the log.
    unflushed: usize,
}

impl Away {
    fn new(connection: Connection) -> Away {
        Away {
            connection,
            outcome: Ok(()),
            unflushed: 0,
        }
    }

    /// Writes rows; after an error none, for everything will be undone.
    fn write(&mut self, rows: &Gathered) {
        if self.outcome.is_err() {
            return;
        }
        self.outcome = rows.write(&self.connection);
        self.unflushed += rows.size();
        if self.unflushed >= FLUSH_BYTES {
            self.unflushed = 0;
            // What cannot be written now is tried again by the commit, which tells.
            let _ = self.connection.cache_flush();
        }
    }
}

fn gone() -> StoreError {
    StoreError::Failed("the thread that writes rows is gone".to_owned())
}
