//! SQLite itself on simulated disks: it survives what it promises to survive, and each fault shows.

#![allow(clippy::unwrap_used)]

mod crashes;
mod faults;
mod fingerprints;
mod processes;

use driftline_simvfs::Process;
use rusqlite::{Connection, OpenFlags, Result};

pub(crate) const FILE: &str = "app.db";

/// Opens the database as an app does.
pub(crate) fn open(process: &Process, journal: &str, synchronous: &str) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let connection = Connection::open_with_flags_and_vfs(FILE, flags, process.vfs())?;
    connection.execute_batch(&format!(
        "PRAGMA journal_mode = {journal}; PRAGMA synchronous = {synchronous};
         CREATE TABLE IF NOT EXISTS birds (id INTEGER PRIMARY KEY, name TEXT);"
    ))?;
    Ok(connection)
}

/// One row, in its own transaction.
pub(crate) fn add(connection: &Connection, id: i64) -> Result<()> {
    let name = format!("bird {id} ").repeat(40);
    connection
        .prepare_cached("INSERT INTO birds VALUES (?1, ?2)")?
        .execute((id, name))
        .map(drop)
}

pub(crate) fn ids(connection: &Connection) -> Result<Vec<i64>> {
    connection
        .prepare("SELECT id FROM birds ORDER BY id")?
        .query_map((), |row| row.get(0))?
        .collect()
}

pub(crate) fn is_sound(connection: &Connection) -> bool {
    connection
        .query_row("PRAGMA integrity_check", (), |row| row.get::<_, String>(0))
        .is_ok_and(|said| said == "ok")
}
