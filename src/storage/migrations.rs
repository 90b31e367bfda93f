//! The private tables' own versions, in one transaction each time a file is behind.

use rusqlite::Connection;

use super::error::{Result, StorageError};

/// One numbered SQL file.
pub(super) struct Migration {
    pub(super) number: u32,
    pub(super) name: &'static str,
    pub(super) sql: &'static str,
}

include!(concat!(env!("OUT_DIR"), "/migrations.rs"));

/// The version this build writes.
pub(super) fn latest() -> u32 {
    ALL.last().map_or(0, |migration| migration.number)
}

/// The version a file has.
pub(super) fn version(conn: &Connection) -> Result<u32> {
    let version: i64 = conn.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    u32::try_from(version)
        .map_err(|_| StorageError::Corrupt("the table version is negative".to_owned()))
}

/// Brings the tables up to date. The caller holds an IMMEDIATE transaction.
pub(super) fn apply(conn: &Connection, now: i64) -> Result<()> {
    let found = version(conn)?;
    if found > latest() {
        return Err(StorageError::NewerFile {
            found,
            known: latest(),
        });
    }
    for migration in ALL.iter().filter(|migration| migration.number > found) {
        conn.execute_batch(migration.sql)?;
        conn.execute(
            "INSERT INTO _dl_migrations (kind, version, name, at) VALUES ('tables', ?1, ?2, ?3)",
            (migration.number, migration.name, now),
        )?;
    }
    conn.pragma_update(None, "user_version", latest())?;
    Ok(())
}
