//! One document as its row holds it.
//!
//! A live document, and a deleted one with pending ops, is a row of its collection's table; a
//! deleted one without pending ops is a tombstone. [`load`] and [`store`] know the difference, their
//! callers do not.

use std::fmt::Write as _;

use driftline_core::fold::BaseImage;
use driftline_core::id::{CollectionId, DocumentId, FieldId, OpId};
use driftline_core::merge::DocumentState;
use driftline_core::mutant::{Mutant, planted};
use driftline_core::value::Value;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};

use super::column::value_of;
use super::error::{Result, StorageError};
use super::insert::Insert;
use super::meta::Bind;
use super::tables::{Table, column_name};
use super::text_index::{index_text, unindex_text};

/// A document as the device holds it: what it shows, and what is needed to get back to base.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StoredDocument {
    /// What the app sees.
    pub(crate) shown: DocumentState,
    /// The way back to base; `None` where base is what is shown.
    pub(crate) image: Option<BaseImage>,
    /// The newest own op on it that base does not contain yet.
    pub(crate) pending: Option<OpId>,
    place: Place,
}

/// Where a document was found.
#[derive(Clone, Copy, Debug, Default)]
enum Place {
    #[default]
    Nowhere,
    /// In the collection's table, with its row in the full-text index.
    Row {
        search: Option<i64>,
    },
    Tombstone,
}

/// Where it was found says nothing about what it is.
impl PartialEq for Place {
    fn eq(&self, _: &Place) -> bool {
        true
    }
}

impl StoredDocument {
    /// A document that is not in the file yet, or is about to replace what is.
    pub(crate) fn new(
        shown: DocumentState,
        image: Option<BaseImage>,
        pending: Option<OpId>,
    ) -> StoredDocument {
        StoredDocument {
            shown,
            image,
            pending,
            place: Place::Nowhere,
        }
    }

    /// The way back to what the server said from what is `shown` now.
    pub(crate) fn image_of(&self, shown: &DocumentState) -> Option<BaseImage> {
        match &self.image {
            None => BaseImage::between(Some(&self.shown), shown),
            Some(BaseImage::Absent) => Some(BaseImage::Absent),
            Some(_) => BaseImage::between(self.base().as_ref(), shown),
        }
    }

    /// What the server said, as far as this device knows; `None` if it does not have the document.
    pub(crate) fn base(&self) -> Option<DocumentState> {
        BaseImage::base(self.image.clone(), self.shown.clone())
    }

    pub(super) fn is_tombstone(&self) -> bool {
        matches!(self.place, Place::Tombstone)
    }

    /// Live documents and those with pending ops keep their row.
    fn belongs_in_row(&self) -> bool {
        self.shown.is_alive() || self.image.is_some() || self.pending.is_some()
    }
}

/// The document's row.
pub(super) fn load_row(
    conn: &Connection,
    table: &Table,
    id: &DocumentId,
) -> Result<Option<StoredDocument>> {
    let mut statement = conn.prepare_cached(&table.select)?;
    let mut rows = statement.query([id.as_str()])?;
    rows.next()?.map(|row| read_row(table, row)).transpose()
}

/// The greatest id that has a row.
pub(super) fn greatest(conn: &Connection, table: &Table) -> Result<Option<String>> {
    let mut statement = conn.prepare_cached(&table.greatest)?;
    Ok(statement.query_row([], |row| row.get(0))?)
}

/// The document's tombstone.
pub(super) fn load_tombstone(
    conn: &Connection,
    collection: CollectionId,
    id: &DocumentId,
) -> Result<Option<StoredDocument>> {
    let mut statement =
        conn.prepare_cached("SELECT state FROM _dl_tombstones WHERE collection = ?1 AND id = ?2")?;
    let mut rows = statement.query((collection, id.as_str()))?;
    let Some(row) = rows.next()? else {
        return Ok(None);
    };
    let shown = minicbor::decode(blob(row, 0, "tombstone")?)?;
    Ok(Some(StoredDocument {
        shown,
        image: None,
        pending: None,
        place: Place::Tombstone,
    }))
}

/// Whether there is a tombstone at all.
pub(super) fn any_tombstones(conn: &Connection) -> Result<bool> {
    let mut statement = conn.prepare_cached("SELECT EXISTS (SELECT 1 FROM _dl_tombstones)")?;
    Ok(statement.query_row([], |row| row.get(0))?)
}

/// Reads the columns of a [`Table::select`].
pub(super) fn read_row(table: &Table, row: &Row<'_>) -> Result<StoredDocument> {
    let mut damage = None;
    let mut elsewhere = |field: FieldId| match value_in(table, row, field) {
        Ok(value) => value,
        Err(error) => {
            damage = Some(error);
            Value::Null
        }
    };
    let pending = match optional_blob(row, 2, "pending op")? {
        None => None,
        Some(bytes) => {
            Some(OpId::from_slice(bytes).ok_or_else(|| StorageError::unreadable("pending op"))?)
        }
    };
    let mut state = minicbor::Decoder::new(blob(row, 0, "state")?);
    let shown = DocumentState::decode_row(&mut state, &mut elsewhere, pending)?;
    if let Some(damage) = damage {
        return Err(damage);
    }
    let image = optional_blob(row, 1, "base")?
        .map(minicbor::decode)
        .transpose()?;
    let search = row.get(3)?;
    Ok(StoredDocument {
        shown,
        image,
        pending,
        place: Place::Row { search },
    })
}

/// How many columns stand before the fields' in a [`Table::select`].
const BEFORE_FIELDS: usize = 4;

fn value_in(table: &Table, row: &Row<'_>, field: FieldId) -> Result<Value> {
    let at = table
        .columns
        .binary_search_by_key(&field, |column| column.field);
    let at = at.map_err(|_| StorageError::unreadable("field"))?;
    let kind = table
        .columns
        .get(at)
        .map(|column| column.kind)
        .ok_or_else(|| StorageError::unreadable("field"))?;
    value_of(kind, row.get_ref(BEFORE_FIELDS + at)?)
}

fn blob<'r>(row: &'r Row<'_>, at: usize, what: &str) -> Result<&'r [u8]> {
    optional_blob(row, at, what)?.ok_or_else(|| StorageError::unreadable(what))
}

fn optional_blob<'r>(row: &'r Row<'_>, at: usize, what: &str) -> Result<Option<&'r [u8]>> {
    match row.get_ref(at)? {
        ValueRef::Null => Ok(None),
        ValueRef::Blob(bytes) => Ok(Some(bytes)),
        _ => Err(StorageError::unreadable(what)),
    }
}

/// A document on its way into the file.
pub(crate) struct Stored<'d> {
    /// As it was read; `None` if it was not there.
    pub(crate) before: Option<&'d StoredDocument>,
    pub(crate) after: &'d mut StoredDocument,
    /// Whether its texts show something else.
    pub(crate) retexted: bool,
}

/// Writes a document in place of what was there, touching no more than what differs, and keeps the
/// full-text index in step. `now` is when it becomes a tombstone, if it does.
pub(super) fn store<'c>(
    conn: &'c Connection,
    table: &Table,
    id: &DocumentId,
    change: Stored<'_>,
    now: i64,
    insert: &mut Option<Insert<'c>>,
) -> Result<()> {
    let Stored {
        before,
        after,
        retexted,
    } = change;
    let place = before.map_or(Place::Nowhere, |before| before.place);
    after.place = match (place, after.belongs_in_row()) {
        (Place::Row { search }, true) => {
            update_row(conn, table, id, before, after, (search, retexted))?
        }
        (Place::Row { search }, false) => {
            delete_row(conn, table, id, search)?;
            write_tombstone(conn, table.collection, id, &after.shown, now)?
        }
        (Place::Nowhere | Place::Tombstone, false) => {
            write_tombstone(conn, table.collection, id, &after.shown, now)?
        }
        (Place::Tombstone, true) => {
            delete_tombstone(conn, table.collection, id)?;
            insert_row(conn, table, id, after, insert)?
        }
        (Place::Nowhere, true) => insert_row(conn, table, id, after, insert)?,
    };
    Ok(())
}

/// Takes a document out of the file without a trace.
pub(crate) fn remove(
    conn: &Connection,
    table: &Table,
    id: &DocumentId,
    before: &StoredDocument,
) -> Result<()> {
    match before.place {
        Place::Nowhere => Ok(()),
        Place::Tombstone => delete_tombstone(conn, table.collection, id),
        Place::Row { search } => delete_row(conn, table, id, search),
    }
}

fn insert_row<'c>(
    conn: &'c Connection,
    table: &Table,
    id: &DocumentId,
    after: &StoredDocument,
    insert: &mut Option<Insert<'c>>,
) -> Result<Place> {
    let search = index_text(conn, table, id, &after.shown, None)?;
    Insert::row(conn, table, (id, after), search, insert)?;
    Ok(Place::Row { search })
}

fn update_row(
    conn: &Connection,
    table: &Table,
    id: &DocumentId,
    before: Option<&StoredDocument>,
    after: &StoredDocument,
    (search, retexted): (Option<i64>, bool),
) -> Result<Place> {
    let old = before.map(|before| &before.shown);
    let changed: Vec<_> = table
        .columns
        .iter()
        .filter(|column| old.is_none_or(|old| !column.same(old, &after.shown)))
        .collect();
    let alive = after.shown.is_alive();
    let revived = old.is_none_or(|old| old.is_alive() != alive);
    let retext = revived
        || retexted
        || table.search.as_ref().is_some_and(|s| {
            changed
                .iter()
                .any(|c| s.fields.iter().any(|(f, _)| *f == c.field))
        });
    let search_after = if retext {
        index_text(conn, table, id, &after.shown, search)?
    } else {
        search
    };

    // Columns that stay are not named, so that their indexes are not touched.
    let mut sql = format!(
        "UPDATE {} SET _state = ?2, _base = ?3, _pending = ?4",
        table.name
    );
    let mut next = 5;
    let mut set = |name: &str| {
        let _ = write!(sql, ", {name} = ?{next}");
        next += 1;
    };
    if revived {
        set("_deleted");
    }
    if search_after != search {
        set("_search");
    }
    for column in &changed {
        set(&column_name(column.field));
    }
    sql += " WHERE id = ?1";

    let mut statement = conn.prepare_cached(&sql)?;
    statement.raw_bind_parameter(1, id.as_str())?;
    statement.raw_bind_parameter(2, provenance(table, &after.shown, after.pending)?)?;
    statement.raw_bind_parameter(3, after.image.as_ref().map(encoded))?;
    statement.raw_bind_parameter(4, after.pending.map(|op| op.0))?;
    let mut next = 5;
    if revived {
        statement.raw_bind_parameter(next, !alive)?;
        next += 1;
    }
    if search_after != search {
        statement.raw_bind_parameter(next, search_after)?;
        next += 1;
    }
    for column in &changed {
        statement.raw_bind_parameter(next, Bind(column.cell(&after.shown).value_ref()))?;
        next += 1;
    }
    match statement.raw_execute()? {
        1 => Ok(Place::Row {
            search: search_after,
        }),
        _ => Err(StorageError::Internal(
            "a document's row was not where it was read".to_owned(),
        )),
    }
}

/// Brings the full-text entry of a row in step. It keeps its number, so the row stays as it is.
pub(super) fn reindex(
    conn: &Connection,
    table: &Table,
    id: &DocumentId,
    stored: &StoredDocument,
) -> Result<()> {
    match stored.place {
        Place::Row {
            search: Some(entry),
        } => index_text(conn, table, id, &stored.shown, Some(entry)).map(drop),
        _ => Ok(()),
    }
}

fn delete_row(
    conn: &Connection,
    table: &Table,
    id: &DocumentId,
    search: Option<i64>,
) -> Result<()> {
    unindex_text(conn, table, search)?;
    conn.prepare_cached(&table.delete)?.execute([id.as_str()])?;
    Ok(())
}

fn write_tombstone(
    conn: &Connection,
    collection: CollectionId,
    id: &DocumentId,
    state: &DocumentState,
    now: i64,
) -> Result<Place> {
    if planted(Mutant::TombstoneForgottenOnDevice) {
        delete_tombstone(conn, collection, id)?;
        return Ok(Place::Nowhere);
    }
    let mut statement = conn.prepare_cached(
        "INSERT INTO _dl_tombstones (collection, id, state, version, at) VALUES (?1, ?2, ?3, ?4, ?5) \
         ON CONFLICT DO UPDATE SET state = excluded.state, version = excluded.version",
    )?;
    let version = i64::try_from(state.version).unwrap_or(i64::MAX);
    statement.execute((collection, id.as_str(), encoded(state), version, now))?;
    Ok(Place::Tombstone)
}

fn delete_tombstone(conn: &Connection, collection: CollectionId, id: &DocumentId) -> Result<()> {
    conn.prepare_cached("DELETE FROM _dl_tombstones WHERE collection = ?1 AND id = ?2")?
        .execute((collection, id.as_str()))?;
    Ok(())
}

/// Writes a row again as the table's columns want it now: values that had no column move out of the
/// provenance, fields never written get the default of today. The full-text index is not touched.
pub(super) fn rewrite(conn: &Connection, table: &Table, id: &str) -> Result<()> {
    let mut select = conn.prepare_cached(&table.select)?;
    let document = match select.query([id])?.next()? {
        Some(row) => read_row(table, row)?,
        None => return Ok(()),
    };
    drop(select);
    let mut sql = format!("UPDATE {} SET _state = ?2", table.name);
    for (at, column) in table.columns.iter().enumerate() {
        let _ = write!(sql, ", {} = ?{}", column_name(column.field), at + 3);
    }
    sql += " WHERE id = ?1";
    let mut update = conn.prepare_cached(&sql)?;
    update.raw_bind_parameter(1, id)?;
    update.raw_bind_parameter(2, provenance(table, &document.shown, document.pending)?)?;
    for (at, column) in table.columns.iter().enumerate() {
        update.raw_bind_parameter(at + 3, Bind(column.cell(&document.shown).value_ref()))?;
    }
    update.raw_execute()?;
    Ok(())
}

/// The provenance without what the columns hold.
pub(super) fn provenance(
    table: &Table,
    state: &DocumentState,
    pending: Option<OpId>,
) -> Result<Vec<u8>> {
    let mut encoder = minicbor::Encoder::new(Vec::with_capacity(128));
    match state.encode_row(&mut encoder, &|field| table.has(field), pending) {
        Ok(()) => Ok(encoder.into_writer()),
        Err(error) => Err(StorageError::Internal(error.to_string())),
    }
}

/// `_base` of a document that base does not have.
pub(super) fn absent_base() -> Vec<u8> {
    encoded(&BaseImage::Absent)
}

pub(super) fn encoded(value: &impl minicbor::Encode<()>) -> Vec<u8> {
    // Writing to memory cannot fail.
    minicbor::to_vec(value).unwrap_or_default()
}
