//! The usual answer to a push: own inserts that did exactly what they say.
//!
//! What such an op becomes in base its document shows already, and no later op stands on it. Decoding
//! it, making that state and forgetting both again took longer than the rows it leads to.

use driftline_core::id::{CollectionId, DocumentId, FieldId, OpId, Version};
use driftline_core::merge::{DocumentState, Write, encode_inserted};
use driftline_core::mutant::{Mutant, planted};
use driftline_core::op::PlainInsert;
use driftline_core::protocol::{OpResult, Outcome, VersionEntry};
use driftline_core::schema::MergePolicy;
use driftline_core::time::Stamp;
use minicbor::Encoder;
use rusqlite::{CachedStatement, Connection, Row};

use super::error::{Result, StorageError};
use super::queued::OpState;
use super::rebase::Rebase;
use super::row;
use super::tables::{Layout, Table};

/// What an answer says of an op that it speaks of by name alone.
struct Named {
    op: OpId,
    stamp: Stamp,
    version: Version,
}

/// Settles inserts at the beginning of an answer, and returns how many. Their results and versions are
/// done with; those from the first other op on are not looked at.
pub(super) fn settle_inserts(
    rebase: &mut Rebase<'_, '_>,
    results: &[OpResult],
    versions: &[VersionEntry],
) -> Result<usize> {
    let named = results.iter().zip(versions);
    let named: Vec<Named> = named.map_while(|(r, e)| named_alone(r, e)).collect();
    let in_order = named.is_sorted_by(|a, b| a.op < b.op);
    let (Some(first), Some(last)) = (named.first(), named.last()) else {
        return Ok(0);
    };
    // One alone goes the way of all others, which looks at less before it begins.
    if named.len() < 2 || !in_order || planted(Mutant::VerdictEarly) {
        return Ok(0);
    }
    let tx = rebase.tx;
    let (conn, layout, schema) = (tx.conn(), tx.layout(), tx.schema());
    let merges_fields = |collection| {
        let declared = schema.collection_by_id(collection);
        declared.is_some_and(|collection| collection.merge != MergePolicy::Document)
    };
    let mut statement = conn.prepare_cached(
        "SELECT op_id, state, authored_again, body FROM _dl_outbox WHERE seq BETWEEN ?1 AND ?2 ORDER BY seq",
    )?;
    let mut rows = statement.query((first.op.head(), last.op.head()))?;
    let (mut fields, mut provenance): (Vec<FieldId>, _) = (Vec::new(), Vec::with_capacity(128));
    let mut settle: Option<SettleInsert<'_>> = None;
    let mut settled = Vec::with_capacity(named.len());
    for named in &named {
        // Ops that nothing was said of may stand between them.
        let Some(row) = rows.next()?.filter(|row| is_pending(row, named.op)) else {
            break;
        };
        let body = row.get_ref(3)?.as_blob();
        let body = body.map_err(|_| StorageError::unreadable("outbox body"))?;
        fields.clear();
        let insert = PlainInsert::glance(body, |field, d| {
            fields.push(field);
            d.skip()
        });
        let Some(PlainInsert {
            collection,
            document,
            ..
        }) = insert
        else {
            break;
        };
        let known = settle.take_if(|settle| settle.collection() == collection);
        let next = match known {
            Some(known) => Some(known),
            None if merges_fields(collection) => SettleInsert::of(conn, layout, collection)?,
            None => None,
        };
        let Some(next) = next.filter(|next| next.takes(&fields)) else {
            break;
        };
        let by = Write {
            op: named.op,
            stamp: named.stamp,
            version: named.version,
        };
        provenance.clear();
        encode_inserted(&mut Encoder::new(&mut provenance), &by, &fields)
            .map_err(|error| StorageError::Internal(error.to_string()))?;
        if !settle
            .insert(next)
            .settle(&document, named.op, &provenance)?
        {
            break;
        }
        settled.push(named.op);
    }
    drop(rows);
    let count = settled.len();
    rebase.leave_settled(settled);
    Ok(count)
}

/// What is said of one op alone: that it did what it says, as a version of its own.
fn named_alone(result: &OpResult, entry: &VersionEntry) -> Option<Named> {
    let alone = entry.ids == [result.id] && entry.documents.is_empty() && entry.landed.is_empty();
    let version = entry.version;
    let accepted = result.outcome == Outcome::Accepted { version };
    let stamp = entry.echo.filter(|_| alone && accepted)?;
    Some(Named {
        op: result.id,
        stamp,
        version,
    })
}

/// Whether a row of the queue is that op, waiting as it was written.
fn is_pending(row: &Row<'_>, op: OpId) -> bool {
    let is_it = row.get(0).is_ok_and(|id: [u8; 16]| OpId(id) == op);
    let pending = row.get(1) == Ok(OpState::Pending.number());
    let again: Option<bool> = row.get(2).unwrap_or(Some(true));
    is_it && pending && again != Some(true)
}

/// A document whose only own op, its first insert, is in base now exactly as it was written: the row
/// shows `state` already, and takes over its provenance. Returns whether that is how the row was.
pub(super) fn settle_insert(
    conn: &Connection,
    layout: &Layout,
    collection: CollectionId,
    id: &DocumentId,
    insert: OpId,
    state: &DocumentState,
) -> Result<bool> {
    match SettleInsert::of(conn, layout, collection)? {
        Some(mut settle) if !settle.table.lacks_a_column_for(state) => {
            let provenance = row::provenance(settle.table, state, None)?;
            settle.settle(id, insert, &provenance)
        }
        _ => Ok(false),
    }
}

/// The same for many documents of one collection.
pub(super) struct SettleInsert<'c> {
    table: &'c Table,
    statement: CachedStatement<'c>,
}

impl<'c> SettleInsert<'c> {
    /// `None` for a collection that this file does not know.
    pub(super) fn of(
        conn: &'c Connection,
        layout: &'c Layout,
        collection: CollectionId,
    ) -> Result<Option<SettleInsert<'c>>> {
        let Some(table) = layout.table(collection) else {
            return Ok(None);
        };
        let mut statement = conn.prepare_cached(&table.settle_insert)?;
        statement.raw_bind_parameter(4, row::absent_base())?;
        Ok(Some(SettleInsert { table, statement }))
    }

    pub(super) fn collection(&self) -> CollectionId {
        self.table.collection
    }

    /// Whether each of these fields, which are in order, has a column.
    pub(super) fn takes(&self, fields: &[FieldId]) -> bool {
        fields.iter().all(|field| self.table.has(*field))
    }

    /// Makes what the row shows base, by this provenance. Returns whether it is as `insert` left it.
    pub(super) fn settle(
        &mut self,
        id: &DocumentId,
        insert: OpId,
        provenance: &[u8],
    ) -> Result<bool> {
        let statement = &mut self.statement;
        statement.raw_bind_parameter(1, id.as_str())?;
        statement.raw_bind_parameter(2, provenance)?;
        statement.raw_bind_parameter(3, insert.0)?;
        Ok(statement.raw_execute()? == 1)
    }
}
