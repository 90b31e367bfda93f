//! Keeping a collection's full-text index in step with its documents.

use driftline_core::id::DocumentId;
use driftline_core::merge::DocumentState;
use rusqlite::Connection;

use super::error::Result;
use super::meta::Bind;
use super::tables::{Table, empty_text};
use super::text::shown;

/// Brings the full-text index in step with a document whose entry was `entry`; returns the entry now.
pub(super) fn index_text(
    conn: &Connection,
    table: &Table,
    id: &DocumentId,
    state: &DocumentState,
    entry: Option<i64>,
) -> Result<Option<i64>> {
    let Some(search) = &table.search else {
        return Ok(entry);
    };
    unindex_text(conn, table, entry)?;
    if !state.is_alive() {
        return Ok(None);
    }
    let mut statement = conn.prepare_cached(&search.insert)?;
    statement.raw_bind_parameter(1, entry)?;
    statement.raw_bind_parameter(2, id.as_str())?;
    for (at, (field, _)) in search.fields.iter().enumerate() {
        match (table.column(*field), table.text_kind(*field)) {
            (Some(column), _) => {
                statement.raw_bind_parameter(3 + at, Bind(column.cell(state).value_ref()))?
            }
            (None, Some(kind)) => {
                let shown = shown::read(conn, table.collection, id, *field)?;
                let shown = shown.as_deref().unwrap_or(empty_text(kind));
                statement.raw_bind_parameter(3 + at, shown)?;
            }
            (None, None) => statement.raw_bind_parameter(3 + at, None::<i64>)?,
        }
    }
    statement.raw_execute()?;
    Ok(Some(conn.last_insert_rowid()))
}

/// Takes an entry out of the full-text index.
pub(super) fn unindex_text(conn: &Connection, table: &Table, entry: Option<i64>) -> Result<()> {
    if let (Some(search), Some(entry)) = (&table.search, entry) {
        conn.prepare_cached(&search.delete)?.execute([entry])?;
    }
    Ok(())
}
