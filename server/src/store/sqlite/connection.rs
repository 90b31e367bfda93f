//! Opening files: settings and format versions.

use std::path::Path;

use driftline_core::mutant::{Mutant, planted};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::log::{is_full, leave_behind};
use crate::store::StoreError;

/// Statements kept prepared on each connection; there are fewer than that in all.
const STATEMENTS: usize = 64;

/// How long a lock is waited for. Only operators' tools and a dying predecessor hold any.
const BUSY_MILLIS: u32 = 5_000;

/// The numbered files of a format, oldest first.
pub(super) type Format = &'static [&'static str];

/// The control file's format.
pub(super) const CONTROL: Format = &[include_str!("schema/control_0001.sql")];

/// A workspace file's format.
pub(super) const WORKSPACE: Format = &[
    include_str!("schema/workspace_0001.sql"),
    include_str!("schema/workspace_0002.sql"),
];

/// Opens a file for writing, in write-ahead mode, every commit durable, and brings it to its
/// format. Says whether it could do no more than that, for want of room: what is committed then would rest on
/// what is in the log ([`super::log::RestsOnLog`]).
pub(super) fn open_writer(
    path: &Path,
    vfs: Option<&str>,
    format: Format,
) -> Result<(Connection, bool), StoreError> {
    let mut connection = open_for_writing(path, vfs)?;
    match leave_behind(&connection) {
        // Reads go on. An older format could not be read, and to change it takes a commit.
        Err(error) if is_full(&error) && format_of(&connection)? == format.len() as i64 => {
            tracing::warn!("there is no room to move the log into the file");
            return Ok((connection, true));
        }
        left => left?,
    }
    migrate(&mut connection, format)?;
    Ok((connection, false))
}

/// The same of a file that may have to be made: what `first` writes into it stands there with the format,
/// or neither does.
pub(super) fn open_maker(
    path: &Path,
    vfs: Option<&str>,
    format: Format,
    first: impl FnOnce(&Connection) -> rusqlite::Result<()>,
) -> Result<Connection, StoreError> {
    let mut connection = open_for_writing(path, vfs)?;
    // Nobody reads yet what is being made: without room it fails.
    leave_behind(&connection)?;
    let making = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    migrate_within(&making, format)?;
    first(&making)?;
    making.commit()?;
    Ok(connection)
}

/// Opens a file that a writer has open, for moving its log alone.
pub(super) fn open_checkpointer(path: &Path, vfs: Option<&str>) -> Result<Connection, StoreError> {
    open_for_writing(path, vfs)
}

fn open_for_writing(path: &Path, vfs: Option<&str>) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = open(path, vfs, flags)?;
    write_ahead(&connection)?;
    // FULL: an answer is given only for what survives a loss of power. Checkpoints run beside the
    // writer, not within its commits. On Apple a plain fsync leaves content in the drive's cache.
    // References are to numbers that the same transaction has looked up or given: looking for them
    // again with every row would cost a tenth of what writing it does.
    let waits = match planted(Mutant::ServerDoesNotWait) {
        true => "NORMAL",
        false => "FULL",
    };
    connection.pragma_update(None, "synchronous", waits)?;
    connection.execute_batch(
        "PRAGMA fullfsync = ON; PRAGMA checkpoint_fullfsync = ON;
         PRAGMA wal_autocheckpoint = 0; PRAGMA cache_size = -16384; PRAGMA foreign_keys = OFF;",
    )?;
    Ok(connection)
}

/// Switches the file to a write-ahead log, unless it has one.
fn write_ahead(connection: &Connection) -> Result<(), StoreError> {
    let mut statement = connection.prepare("PRAGMA journal_mode = WAL")?;
    let mut rows = statement.query([])?;
    let mut mode = String::new();
    // SQLite answers first and commits the switch then: only the statement's end says that it took
    // place. One that failed leaves a rollback journal, whose commits a loss of power may take back.
    while let Some(row) = rows.next()? {
        mode = row.get(0)?;
    }
    if mode == "wal" {
        Ok(())
    } else {
        Err(StoreError::Unavailable(format!(
            "the journal mode is {mode}, not wal"
        )))
    }
}

/// Opens a file for reading.
pub(super) fn open_reader(path: &Path, vfs: Option<&str>) -> Result<Connection, StoreError> {
    // Not read-only: a read-only connection cannot recover a write-ahead log left by a crash.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = open(path, vfs, flags)?;
    connection.execute_batch("PRAGMA query_only = ON; PRAGMA cache_size = -8192;")?;
    Ok(connection)
}

fn open(path: &Path, vfs: Option<&str>, flags: OpenFlags) -> Result<Connection, StoreError> {
    let connection = match vfs {
        Some(vfs) => Connection::open_with_flags_and_vfs(path, flags, vfs)?,
        None => Connection::open_with_flags(path, flags)?,
    };
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    // Else SQLite peeks at bound values and prepares a statement again whenever one changes: a
    // third of the time of a batch.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.execute_batch(&format!(
        "PRAGMA busy_timeout = {BUSY_MILLIS}; PRAGMA temp_store = MEMORY; PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;"
    ))?;
    Ok(connection)
}

fn migrate(connection: &mut Connection, format: Format) -> Result<(), StoreError> {
    if format_of(connection)? == format.len() as i64 {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Looked at again inside: another connection may have been faster.
    migrate_within(&transaction, format)?;
    Ok(transaction.commit()?)
}

fn migrate_within(transaction: &Connection, format: Format) -> Result<(), StoreError> {
    let known = format.len() as i64;
    let found = format_of(transaction)?;
    let Ok(done) = usize::try_from(found) else {
        return Err(StoreError::Newer { found, known });
    };
    if done > format.len() {
        return Err(StoreError::Newer { found, known });
    }
    for step in format.iter().skip(done) {
        transaction.execute_batch(step)?;
    }
    if done < format.len() {
        transaction.pragma_update(None, "user_version", known)?;
    }
    Ok(())
}

pub(super) fn format_of(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_a_newer_build_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w.sqlite");
        let (connection, _) = open_writer(&path, None, WORKSPACE).unwrap();
        connection.pragma_update(None, "user_version", 99).unwrap();
        drop(connection);
        let refused = open_writer(&path, None, WORKSPACE).map(drop);
        assert_eq!(
            refused,
            Err(StoreError::Newer {
                found: 99,
                known: 2
            })
        );
    }

    #[test]
    fn the_linked_sqlite_has_no_known_wal_reset_fault() {
        assert!(
            rusqlite::version_number() >= 3_051_003,
            "{}",
            rusqlite::version()
        );
    }
}
