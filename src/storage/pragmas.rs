//! How every connection is set up.

use std::time::Duration;

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::checkpoint;
use super::error::{Result, StorageError};
use crate::config::Durability;
use driftline_core::mutant::{Mutant, planted};

/// Below this, WAL mode with two connections can corrupt a file (fixed in 3.51.3).
const OLDEST_SQLITE: i32 = 3_051_003;

/// Marks our files in their header, so that no other program's file is ever migrated.
pub(super) const APPLICATION_ID: i32 = 0x4472_4c6e;

/// How long a call waits for another process's write.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// SQLite waits 1, 2, 5, then up to 100 ms between two tries. Against a process that writes without
/// pause, whose lock is free for a moment only, the long waits lose for ever; so it waits in turns of
/// the short ones.
const BUSY_TURN: Duration = Duration::from_millis(16);
const BUSY_TURNS: u128 = BUSY_TIMEOUT.as_millis() / BUSY_TURN.as_millis();

/// After a checkpoint the log shrinks to this when it starts over: one huge transaction should not
/// keep its space for ever, and an ordinary log is never truncated (re-used pages are 40 times
/// faster to commit to than new ones).
const LARGEST_IDLE_LOG: i64 = 64 << 20;

pub(super) fn check_version() -> Result<()> {
    if rusqlite::version_number() >= OLDEST_SQLITE {
        Ok(())
    } else {
        Err(StorageError::SqliteTooOld(rusqlite::version()))
    }
}

/// Settings of the one connection that writes. Returns whether what it commits would rest on what is in the
/// log: see [`leave_the_log_behind`].
pub(super) fn set_up_writer(conn: &Connection, durability: Durability) -> Result<bool> {
    harden(conn)?;
    conn.busy_timeout(BUSY_TIMEOUT)?;
    write_ahead(conn)?;
    set_durability(conn, durability)?;
    conn.execute_batch(&format!(
        "PRAGMA wal_autocheckpoint=0; PRAGMA journal_size_limit={LARGEST_IDLE_LOG}; PRAGMA temp_store=MEMORY;"
    ))?;
    conn.set_prepared_statement_cache_capacity(256);
    conn.busy_timeout(BUSY_TURN)?;
    match durability {
        Durability::Full if !planted(Mutant::LogTrusted) => match leave_the_log_behind(conn) {
            // Reads go on. No commit may be made before there is room.
            Err(StorageError::DiskFull) => {
                tracing::warn!("there is no room to move the log into the file");
                Ok(true)
            }
            left => left.map(|()| false),
        },
        Durability::Full | Durability::Normal => Ok(false),
    }
}

/// Moves what is in the log into the file, so that what is committed from now on does not rest on it.
///
/// A process that ended over a failed sync leaves pages in the log that everybody reads and that no
/// later sync writes. Commits behind them would be acknowledged, and gone with them when the power goes.
/// Once all of the log is in the file the next commit begins it again from its start.
fn leave_the_log_behind(conn: &Connection) -> Result<()> {
    checkpoint::passive(conn).map(drop)
}

/// The same before a commit, of a log that is known to be no ground to stand on. Who reads is waited for:
/// while somebody reads from the log, a commit goes behind all that is in it, also where that is in the
/// file as well.
pub(super) fn leave_a_lost_log_behind(conn: &Connection) -> Result<()> {
    for _ in 0..BUSY_TURNS {
        let is_read: bool =
            conn.query_row("PRAGMA wal_checkpoint(RESTART)", [], |row| row.get(0))?;
        if !is_read {
            return Ok(());
        }
    }
    Err(StorageError::Busy)
}

/// Switches the file to a write-ahead log, unless it has one.
fn write_ahead(conn: &Connection) -> Result<()> {
    let mut statement = conn.prepare("PRAGMA journal_mode=WAL")?;
    let mut rows = statement.query([])?;
    let mut mode = String::new();
    // SQLite answers first and commits the switch then: only the statement's end says that it took
    // place. One that failed leaves a rollback journal, whose commits a loss of power may take back.
    while let Some(row) = rows.next()? {
        mode = row.get(0)?;
    }
    // A VFS without shared memory answers with another mode: say so instead of running without.
    if mode == "wal" {
        Ok(())
    } else {
        Err(StorageError::CannotOpen(format!(
            "journal mode {mode} instead of wal"
        )))
    }
}

/// Begins a transaction that writes, once no other process is in one.
pub(super) fn begin(conn: &Connection) -> Result<()> {
    let mut statement = conn.prepare_cached("BEGIN IMMEDIATE")?;
    let mut turns = BUSY_TURNS;
    loop {
        turns -= 1;
        match statement.raw_execute().map_err(StorageError::from) {
            Err(StorageError::Busy) if turns > 0 => {}
            begun => return begun.map(drop),
        }
    }
}

/// A transaction that is rolled back unless it is committed.
pub(super) struct Within<'c>(&'c Connection);

impl<'c> Within<'c> {
    pub(super) fn begin(conn: &'c Connection) -> Result<Within<'c>> {
        begin(conn)?;
        Ok(Within(conn))
    }

    pub(super) fn commit(self) -> Result<()> {
        Ok(self.0.execute_batch("COMMIT")?)
    }
}

impl Drop for Within<'_> {
    fn drop(&mut self) {
        if !self.0.is_autocommit()
            && let Err(error) = self.0.execute_batch("ROLLBACK")
        {
            tracing::warn!(%error, "a transaction could not be rolled back");
        }
    }
}

/// Whether a returned commit survives a power loss.
pub(super) fn set_durability(conn: &Connection, durability: Durability) -> Result<()> {
    match durability {
        Durability::Full if planted(Mutant::NormalInsteadOfFull) => {
            conn.execute_batch("PRAGMA synchronous=NORMAL;")?
        }
        Durability::Full => conn.execute_batch("PRAGMA synchronous=FULL;")?,
        Durability::Normal => conn.execute_batch("PRAGMA synchronous=NORMAL;")?,
    }
    // Plain fsync does not empty the drive's cache on Apple's systems.
    if cfg!(target_vendor = "apple") && durability == Durability::Full {
        conn.execute_batch("PRAGMA fullfsync=1; PRAGMA checkpoint_fullfsync=1;")?;
    }
    Ok(())
}

/// Settings of a connection that only reads.
pub(super) fn set_up_reader(conn: &Connection) -> Result<()> {
    harden(conn)?;
    conn.busy_timeout(BUSY_TIMEOUT)?;
    conn.execute_batch("PRAGMA query_only=1; PRAGMA temp_store=MEMORY;")?;
    conn.set_prepared_statement_cache_capacity(64);
    Ok(())
}

/// Settings of every connection. A file may come from a backup that somebody tampered with.
fn harden(conn: &Connection) -> Result<()> {
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DDL, false)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DML, false)?;
    conn.execute_batch("PRAGMA cell_size_check=1;")?;
    // Plans do not depend on what is bound: a kept statement whose plan might is compiled again at each
    // use, which cost an open text more than reading what others had typed.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}
