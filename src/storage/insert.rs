//! Inserting rows one after the other: what documents of one transaction have in common is compiled,
//! encoded and bound once.

use driftline_core::id::{CollectionId, DocumentId, OpId};
use driftline_core::merge::{DocumentState, Register, Write};
use driftline_core::op::Change;
use driftline_core::protocol::DocumentResult;
use driftline_core::value::Value;
use minicbor::Encoder;
use rusqlite::{CachedStatement, Connection};

use super::error::{Result, StorageError};
use super::meta::Bind;
use super::row::{StoredDocument, absent_base, encoded, provenance};
use super::tables::Table;

/// What inserts into a collection's table, kept from row to row.
pub(super) struct Insert<'c> {
    collection: CollectionId,
    statement: CachedStatement<'c>,
    last: Option<Last>,
}

/// The provenance of the row before. Documents of one transaction mostly differ in their values alone.
struct Last {
    opener: OpId,
    pending: Option<OpId>,
    bytes: Vec<u8>,
    /// Its state, once a second one of the same opener has come.
    state: Option<DocumentState>,
}

/// New documents that hold what one change each inserts, registers and nothing else.
pub(super) struct Fresh<'d> {
    /// Of one collection, all with the same fields.
    pub(super) changes: &'d [&'d Change],
    /// Who wrote all of it.
    pub(super) write: Write,
    /// Whether base is still to hear of it; a guest's documents are base at once.
    pub(super) pending: bool,
}

/// Rows that one statement inserts where there are that many: half of what a row costs is beginning
/// and ending its statement.
pub(super) const TOGETHER: usize = 16;

impl<'c> Insert<'c> {
    /// The one that is kept, unless it is of another collection.
    fn of<'i>(
        conn: &'c Connection,
        table: &Table,
        kept: &'i mut Option<Insert<'c>>,
    ) -> Result<&'i mut Insert<'c>> {
        let insert = match kept.take_if(|insert| insert.collection == table.collection) {
            Some(insert) => insert,
            None => Insert {
                collection: table.collection,
                statement: conn.prepare_cached(&table.insert)?,
                last: None,
            },
        };
        Ok(kept.insert(insert))
    }

    /// Inserts a document's row, whose full-text entry is `search`.
    pub(super) fn row(
        conn: &'c Connection,
        table: &Table,
        (id, document): (&DocumentId, &StoredDocument),
        search: Option<i64>,
        kept: &mut Option<Insert<'c>>,
    ) -> Result<()> {
        let Insert {
            statement, last, ..
        } = Insert::of(conn, table, kept)?;
        statement.raw_bind_parameter(1, id.as_str())?;
        statement.raw_bind_parameter(2, !document.shown.is_alive())?;
        statement.raw_bind_parameter(3, Last::or_of(last, table, document)?)?;
        statement.raw_bind_parameter(4, document.image.as_ref().map(encoded))?;
        statement.raw_bind_parameter(5, document.pending.map(|op| op.0))?;
        statement.raw_bind_parameter(6, search)?;
        for (at, column) in table.columns.iter().enumerate() {
            let cell = column.cell(&document.shown);
            statement.raw_bind_parameter(7 + at, Bind(cell.value_ref()))?;
        }
        statement.raw_execute()?;
        Ok(())
    }
}

impl Fresh<'_> {
    /// Inserts their rows, from their changes: no state of them is made.
    pub(super) fn insert(&self, conn: &Connection, table: &Table) -> Result<()> {
        let mut rest = self.changes;
        while let Some((first, behind)) = rest.split_at_checked(TOGETHER) {
            self.insert_some(conn, table, first)?;
            rest = behind;
        }
        rest.chunks(1)
            .try_for_each(|one| self.insert_some(conn, table, one))
    }

    fn insert_some(&self, conn: &Connection, table: &Table, some: &[&Change]) -> Result<()> {
        let Some(first) = some.first() else {
            return Ok(());
        };
        let mut statement = conn.prepare_cached(table.insert_fresh(some.len()))?;
        let pending = self.pending.then_some(self.write.op);
        statement.raw_bind_parameter(1, self.provenance(table, first)?)?;
        statement.raw_bind_parameter(2, self.pending.then(absent_base))?;
        statement.raw_bind_parameter(3, pending.map(|op| op.0))?;
        let mut next = 4;
        for change in some {
            statement.raw_bind_parameter(next, change.document.as_str())?;
            for (at, column) in table.columns.iter().enumerate() {
                let cell = column.cell_of(change.registers.get(column.field));
                statement.raw_bind_parameter(next + 1 + at, Bind(cell.value_ref()))?;
            }
            next += 1 + table.columns.len();
        }
        statement.raw_execute()?;
        Ok(())
    }

    /// They differ in their values alone, which stand in their columns.
    fn provenance(&self, table: &Table, change: &Change) -> Result<Vec<u8>> {
        let Write { op, version, .. } = self.write;
        let mut state = DocumentState::opened(op, version);
        let valueless = |(field, _)| {
            let register = Register {
                value: Value::Null,
                write: self.write,
            };
            (field, register)
        };
        state.registers = change.registers.iter().map(valueless).collect();
        provenance(table, &state, self.pending.then_some(op))
    }
}

/// Inserts the rows of [`TOGETHER`] live documents of one collection that are base, every register of
/// which has a column.
pub(super) fn insert_settled(
    conn: &Connection,
    table: &Table,
    documents: &[DocumentResult],
) -> Result<()> {
    let mut statement = conn.prepare_cached(&table.some_settled)?;
    let mut next = 1;
    let mut bytes: Vec<u8> = Vec::with_capacity(128);
    for document in documents {
        let state = &document.state;
        bytes.clear();
        let encoded = state.encode_row(&mut Encoder::new(&mut bytes), &|_| true, None);
        encoded.map_err(|error| StorageError::Internal(error.to_string()))?;
        statement.raw_bind_parameter(next, document.document.as_str())?;
        statement.raw_bind_parameter(next + 1, &bytes[..])?;
        for (at, column) in table.columns.iter().enumerate() {
            statement.raw_bind_parameter(next + 2 + at, Bind(column.cell(state).value_ref()))?;
        }
        next += 2 + table.columns.len();
    }
    statement.raw_execute()?;
    Ok(())
}

impl Last {
    /// That of `document`, encoded anew unless it is that of the row before.
    fn or_of<'l>(
        last: &'l mut Option<Last>,
        table: &Table,
        document: &StoredDocument,
    ) -> Result<&'l [u8]> {
        let shown = &document.shown;
        let (opener, pending) = (shown.generation.opener, document.pending);
        let alike = last.take_if(|last| last.opener == opener && last.pending == pending);
        let now = match alike {
            Some(last) if last.is_of(shown) => last,
            alike => Last {
                opener,
                pending,
                bytes: provenance(table, shown, pending)?,
                state: alike
                    .filter(|_| !table.lacks_a_column_for(shown))
                    .map(|_| shown.without_values()),
            },
        };
        Ok(&last.insert(now).bytes)
    }

    fn is_of(&self, shown: &DocumentState) -> bool {
        let state = self.state.as_ref();
        state.is_some_and(|state| state.differs_in_values_alone(shown))
    }
}
