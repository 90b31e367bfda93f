//! The last syncs, for the app's own diagnosis: a ring of rows.

use rusqlite::{Connection, params};

use super::error::Result;
use super::write::WriteTx;

/// Rows kept.
pub(crate) const KEPT: i64 = 200;

/// One sync.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Run {
    /// Unix milliseconds.
    pub(crate) started: i64,
    /// Unix milliseconds; `None` if it was cut off.
    pub(crate) ended: Option<i64>,
    /// What started it.
    pub(crate) cause: String,
    /// How it ended.
    pub(crate) outcome: Option<String>,
    /// The stable code of its failure.
    pub(crate) error_code: Option<String>,
    /// Ops sent.
    pub(crate) sent: u64,
    /// Versions received.
    pub(crate) received: u64,
    /// Bytes sent.
    pub(crate) bytes_up: u64,
    /// Bytes received.
    pub(crate) bytes_down: u64,
}

/// Adds a row and drops the oldest beyond [`KEPT`].
pub(crate) fn record(tx: &WriteTx<'_>, run: &Run) -> Result<()> {
    let conn = tx.conn();
    conn.prepare_cached(
        "INSERT INTO _dl_sync_runs (started, ended, cause, outcome, error_code, sent, received, bytes_up, bytes_down) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?
    .execute(params![
        run.started,
        run.ended,
        run.cause,
        run.outcome,
        run.error_code,
        run.sent.cast_signed(),
        run.received.cast_signed(),
        run.bytes_up.cast_signed(),
        run.bytes_down.cast_signed(),
    ])?;
    let newest = conn.last_insert_rowid();
    conn.prepare_cached("DELETE FROM _dl_sync_runs WHERE id <= ?1")?
        .execute([newest - KEPT])?;
    Ok(())
}

/// The latest runs, the last one first.
pub(crate) fn latest(conn: &Connection, limit: usize) -> Result<Vec<Run>> {
    let mut statement = conn.prepare_cached(
        "SELECT started, ended, cause, outcome, error_code, sent, received, bytes_up, bytes_down \
         FROM _dl_sync_runs ORDER BY id DESC LIMIT ?1",
    )?;
    let number = |row: &rusqlite::Row<'_>, at| row.get::<_, i64>(at).map(i64::cast_unsigned);
    let runs = statement.query_map([i64::try_from(limit).unwrap_or(i64::MAX)], |row| {
        Ok(Run {
            started: row.get(0)?,
            ended: row.get(1)?,
            cause: row.get(2)?,
            outcome: row.get(3)?,
            error_code: row.get(4)?,
            sent: number(row, 5)?,
            received: number(row, 6)?,
            bytes_up: number(row, 7)?,
            bytes_down: number(row, 8)?,
        })
    })?;
    Ok(runs.collect::<rusqlite::Result<_>>()?)
}
