//! Which of the processes that have a file open syncs it.
//!
//! An election is a row in the file, never an operating system's lock: a process may be frozen with
//! whatever it holds, and some systems end an app for holding a lock then. Nobody reads another's
//! clock: whoever wants the office asks, waits by its own clock, and takes it if nobody answered.
//! A syncer that slept through that finds out before it changes anything, because every transaction
//! of the engine begins with [`check`].

use rusqlite::{Connection, OptionalExtension, params};

use super::error::{Result, StorageError};
use super::write::WriteTx;
use driftline_core::mutant::{Mutant, planted};

/// A name of one open file in one process, drawn at random.
pub(crate) type Name = [u8; 16];

/// The right to sync, as long as nobody else was elected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) term: i64,
    holder: Name,
}

/// Who syncs, and what was asked of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seat {
    pub(crate) term: i64,
    pub(crate) holder: Option<Name>,
    /// The holder's process, in the machine's terms.
    pub(crate) process: Option<String>,
    pub(crate) asked: i64,
    pub(crate) wanted: i64,
    pub(crate) answered: i64,
    pub(crate) served: i64,
}

impl Seat {
    /// Whether `lease` is the current one.
    pub(crate) fn is_held_by(&self, lease: &Lease) -> bool {
        self.term == lease.term && self.holder == Some(lease.holder)
    }
}

/// Reads the row; a file that was never synced has none.
pub(crate) fn seat(conn: &Connection) -> Result<Seat> {
    let mut statement = conn.prepare_cached(
        "SELECT term, holder, process, asked, wanted, answered, served FROM _dl_syncer",
    )?;
    let seat = statement.query_row([], |row| {
        Ok(Seat {
            term: row.get(0)?,
            holder: row.get(1)?,
            process: row.get(2)?,
            asked: row.get(3)?,
            wanted: row.get(4)?,
            answered: row.get(5)?,
            served: row.get(6)?,
        })
    });
    Ok(seat.optional()?.unwrap_or_default())
}

/// The term and who holds it.
pub(super) fn standing(conn: &Connection) -> Result<(i64, Option<Name>)> {
    let mut statement = conn.prepare_cached("SELECT term, holder FROM _dl_syncer")?;
    let found = statement.query_row([], |row| Ok((row.get(0)?, row.get(1)?)));
    Ok(found.optional()?.unwrap_or_default())
}

/// Fails if somebody else has been elected since.
pub(crate) fn check(conn: &Connection, lease: Option<&Lease>) -> Result<()> {
    let lease = lease.ok_or(StorageError::NotElected)?;
    if planted(Mutant::LeaseUnchecked) {
        return Ok(());
    }
    match standing(conn)? == (lease.term, Some(lease.holder)) {
        true => Ok(()),
        false => Err(StorageError::NotElected),
    }
}

/// Elects `name`, if the row is still the one that `seen` was read from; `None` if it is not.
pub(crate) fn take(
    tx: &WriteTx<'_>,
    seen: &Seat,
    name: Name,
    process: &str,
) -> Result<Option<Lease>> {
    let found = seat(tx.conn())?;
    if (found.term, found.holder) != (seen.term, seen.holder) || found.answered > seen.answered {
        return Ok(None);
    }
    let lease = Lease {
        term: found.term + 1,
        holder: name,
    };
    tx.conn().execute(
        "INSERT INTO _dl_syncer (one, term, holder, process) VALUES (1, ?1, ?2, ?3) \
         ON CONFLICT (one) DO UPDATE SET term = ?1, holder = ?2, process = ?3",
        params![lease.term, name, process],
    )?;
    tx.storage().elected(&found, &lease);
    Ok(Some(lease))
}

/// Asks the holder whether it is there; with `sync`, to make a sync too. Returns the question's number.
pub(crate) fn ask(tx: &WriteTx<'_>, sync: bool) -> Result<i64> {
    let mut statement = tx.conn().prepare_cached(
        "UPDATE _dl_syncer SET asked = asked + 1, wanted = CASE WHEN ?1 THEN asked + 1 ELSE wanted END \
         RETURNING asked",
    )?;
    Ok(statement.query_row([sync], |row| row.get(0))?)
}

/// Answers every question so far.
pub(crate) fn answer(tx: &WriteTx<'_>, lease: Option<&Lease>) -> Result<()> {
    check(tx.conn(), lease)?;
    tx.conn()
        .execute("UPDATE _dl_syncer SET answered = asked", [])?;
    Ok(())
}

/// Says that a sync was complete that began after question `wanted`.
pub(crate) fn serve(tx: &WriteTx<'_>, lease: Option<&Lease>, wanted: i64) -> Result<()> {
    check(tx.conn(), lease)?;
    tx.conn()
        .execute("UPDATE _dl_syncer SET served = max(served, ?1)", [wanted])?;
    Ok(())
}

/// Lets go of the office. Somebody else's is left alone.
pub(crate) fn release(tx: &WriteTx<'_>, lease: &Lease) -> Result<()> {
    if seat(tx.conn())?.is_held_by(lease) {
        tx.conn().execute(
            "UPDATE _dl_syncer SET holder = NULL, process = NULL, answered = asked",
            [],
        )?;
    }
    Ok(())
}
