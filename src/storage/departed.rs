//! Links of ops that left while newer ops of the same documents are still queued.
//!
//! What a queued op had seen is told by its chain of `prev`. The chain runs through ops that base
//! contains already, so their links are kept until no op of that time is queued: without them a
//! removed set element came back on the device's own screen (K11).

use driftline_core::id::{CollectionId, DocumentId, OpId, Version};
use driftline_core::merge::Linked;
use rusqlite::{Connection, OptionalExtension, params};

use super::error::{Result, StorageError};

/// One op's link on one document.
#[derive(Clone, Debug)]
pub(super) struct Departure<'a> {
    pub(super) op: OpId,
    pub(super) collection: CollectionId,
    pub(super) document: &'a DocumentId,
    /// Whether `op` is another id of the op that leaves: its first id, or one it covers.
    pub(super) alias: bool,
    pub(super) prev: Option<OpId>,
    pub(super) covers: &'a [OpId],
    /// Its version, where the server named it.
    pub(super) accepted: Option<Version>,
    /// The generation it landed in, where that is not its own.
    pub(super) landed: Option<OpId>,
}

/// Keeps a link. What is known of an op already is kept where this knows less.
pub(super) fn keep(conn: &Connection, departure: &Departure<'_>) -> Result<()> {
    let covers = (!departure.covers.is_empty())
        .then(|| minicbor::to_vec(departure.covers))
        .transpose()
        .map_err(|_| StorageError::Internal("covers do not encode".to_owned()))?;
    // Under another id than its own an op brings its verdict only: that id's place in the chain stays.
    // Overwritten by a retry's, it no longer led to an add that a later remove had seen.
    let sql = match departure.alias {
        false => {
            "INSERT INTO _dl_departed (op_id, collection, document, prev, covers, accepted, landed) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO UPDATE SET \
             prev = coalesce(excluded.prev, prev), covers = coalesce(excluded.covers, covers), \
             accepted = coalesce(excluded.accepted, accepted), landed = coalesce(excluded.landed, landed)"
        }
        true => {
            "INSERT INTO _dl_departed (op_id, collection, document, prev, covers, accepted, landed) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO UPDATE SET \
             accepted = coalesce(excluded.accepted, accepted), landed = coalesce(excluded.landed, landed)"
        }
    };
    conn.prepare_cached(sql)?.execute(params![
        departure.op.0,
        departure.collection,
        departure.document.as_str(),
        departure.prev.map(|id| id.0),
        covers,
        departure.accepted.map(u64::cast_signed),
        departure.landed.map(|id| id.0),
    ])?;
    Ok(())
}

/// What is kept of `op` on a document.
pub(super) fn linked(
    conn: &Connection,
    op: OpId,
    collection: CollectionId,
    document: &DocumentId,
) -> Result<Option<Linked>> {
    let row = conn
        .prepare_cached(
            "SELECT prev, covers, accepted, landed FROM _dl_departed \
             WHERE op_id = ?1 AND collection = ?2 AND document = ?3",
        )?
        .query_row(params![op.0, collection, document.as_str()], |row| {
            Ok((
                row.get::<_, Option<[u8; 16]>>(0)?,
                row.get::<_, Option<Vec<u8>>>(1)?,
                row.get::<_, Option<i64>>(2)?,
                row.get::<_, Option<[u8; 16]>>(3)?,
            ))
        })
        .optional()?;
    let Some((prev, covers, accepted, landed)) = row else {
        return Ok(None);
    };
    let covers: Vec<OpId> = match covers {
        Some(bytes) => minicbor::decode(&bytes)?,
        None => Vec::new(),
    };
    let accepted = accepted.map(i64::cast_unsigned);
    Ok(Some(Linked {
        prev: prev.map(OpId),
        covers,
        accepted,
        landed: landed.map(OpId),
    }))
}

/// Forgets everything: the queue has drained.
pub(super) fn clear(conn: &Connection) -> Result<()> {
    conn.prepare_cached("DELETE FROM _dl_departed")?
        .execute([])?;
    Ok(())
}
