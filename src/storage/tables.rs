//! The tables of the app's collections: what they look like, without touching a file.
//!
//! A collection with number 3 lives in `_dl_c_3`, a field with number 5 in its column `f5`. The app
//! reads a view with the collection's name. Renames touch the view only; a removed field keeps its
//! column, hidden, and its values.

use std::sync::Arc;

use driftline_core::id::{CollectionId, FieldId};
use driftline_core::merge::DocumentState;
use driftline_core::schema::{Collection, FieldKind, Schema, StableIds};
use driftline_core::text::TextKind;
use driftline_core::value::Value;

use super::column::Column;
use super::error::{Result, StorageError};
use super::insert::TOGETHER;

/// All tables of a file under one schema.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) schema: Arc<Schema>,
    tables: Vec<Arc<Table>>,
}

/// One collection's table.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) collection: CollectionId,
    /// `_dl_c_<n>`.
    pub(crate) name: String,
    /// Fields with a column, declared or removed since, in order of their numbers.
    pub(crate) columns: Vec<Column>,
    /// Texts and lists, declared or removed since: they stand in a table of their own.
    pub(crate) texts: Vec<(FieldId, TextKind)>,
    pub(crate) search: Option<Search>,
    /// Whether the schema declares the collection.
    pub(crate) declared: bool,
    /// The declared fields' names, in the order of their numbers.
    pub(crate) names: Arc<[String]>,
    /// Reads a live document's declared fields.
    pub(crate) get: String,
    pub(super) select: String,
    pub(super) insert: String,
    /// Insert one row, and [`TOGETHER`], of new documents whose op is ?3, provenance ?1, base ?2.
    one_fresh: String,
    some_fresh: String,
    /// Inserts [`TOGETHER`] rows that are base: for each its id, its provenance and the fields.
    pub(super) some_settled: String,
    pub(super) delete: String,
    /// The greatest id.
    pub(super) greatest: String,
    /// Makes what an insert shows base: a new `_state`, where the row is as that insert left it.
    pub(super) settle_insert: String,
}

/// A collection's full-text index.
#[derive(Debug)]
pub(crate) struct Search {
    /// `<collection>_search`.
    pub(crate) name: String,
    pub(crate) fields: Vec<(FieldId, String)>,
    pub(super) insert: String,
    pub(super) delete: String,
}

impl Layout {
    /// The tables for `schema` in a file whose record of numbers is `ids`.
    pub(crate) fn new(schema: Arc<Schema>, ids: &StableIds) -> Result<Layout> {
        let mut tables = Vec::new();
        let former = ids
            .former
            .keys()
            .filter(|id| schema.collection_by_id(**id).is_none());
        for id in schema.collections.iter().map(|c| &c.id).chain(former) {
            tables.push(Arc::new(Table::new(
                *id,
                schema.collection_by_id(*id),
                columns(&schema, *id, ids)?,
            )));
        }
        tables.sort_by_key(|table| table.collection);
        Ok(Layout { schema, tables })
    }

    /// The table of a collection this file has known.
    pub(crate) fn table(&self, collection: CollectionId) -> Option<&Arc<Table>> {
        let at = self
            .tables
            .binary_search_by_key(&collection, |table| table.collection)
            .ok()?;
        self.tables.get(at)
    }

    pub(crate) fn tables(&self) -> impl Iterator<Item = &Arc<Table>> {
        self.tables.iter()
    }
}

fn columns(schema: &Schema, id: CollectionId, ids: &StableIds) -> Result<Vec<Column>> {
    let mut columns: Vec<Column> = Vec::new();
    if let Some(collection) = schema.collection_by_id(id) {
        for field in &collection.fields {
            let default = field.default.clone().unwrap_or_else(|| start(field.kind));
            columns.push(Column {
                field: field.id,
                kind: field.kind,
                default,
            });
        }
    }
    let now = ids
        .collections
        .get(&id)
        .into_iter()
        .flat_map(|(_, fields)| fields.iter().map(|(id, (_, kind))| (id, kind)));
    let before = ids
        .former
        .get(&id)
        .into_iter()
        .flat_map(|former| former.fields.iter().map(|(id, f)| (id, &f.kind)));
    for (field, kind) in now.chain(before) {
        if !columns.iter().any(|column| column.field == *field) {
            let kind = kind_named(kind);
            let kind = kind.ok_or_else(|| StorageError::unreadable("schema record"))?;
            columns.push(Column {
                field: *field,
                kind,
                default: start(kind),
            });
        }
    }
    columns.sort_by_key(|column| column.field);
    Ok(columns)
}

/// The kind a schema's record calls by this name.
pub(super) fn kind_named(name: &str) -> Option<FieldKind> {
    FieldKind::ALL
        .iter()
        .copied()
        .find(|kind| kind.name() == name)
}

/// What a field of a kind holds before anybody wrote it, where the schema does not say.
pub(super) fn start(kind: FieldKind) -> Value {
    match kind {
        FieldKind::Counter => Value::Integer(0),
        FieldKind::Set => Value::Text("[]".to_owned()),
        _ => Value::Null,
    }
}

impl Table {
    /// The table of `collection`, whose fields are given, declared or removed since; without a
    /// declaration it has no view.
    pub(crate) fn new(
        id: CollectionId,
        collection: Option<&Collection>,
        fields: Vec<Column>,
    ) -> Table {
        let name = table_name(id);
        let texts = fields
            .iter()
            .filter_map(|field| Some((field.field, TextKind::of(field.kind)?)))
            .collect();
        let columns: Vec<Column> = fields
            .into_iter()
            .filter(|field| !field.kind.is_text())
            .collect();
        let names: Vec<String> = columns
            .iter()
            .map(|column| column_name(column.field))
            .collect();
        let fields: String = names
            .iter()
            .fold(String::new(), |list, name| list + ", " + name);
        let marks = numbered(7, columns.len());
        // After a failure none of the transaction is kept: nothing has to be remembered for taking the
        // statement alone back.
        let into = format!(
            "INSERT OR FAIL INTO {name} (id, _deleted, _state, _base, _pending, _search{fields})"
        );
        let fresh = |count| {
            let row = |first| {
                let values = numbered(first + 1, columns.len());
                format!("(?{first}, 0, ?1, ?2, ?3, NULL{values})")
            };
            format!("{into} VALUES {}", rows(4, 1 + columns.len(), count, row))
        };
        let settled = |first| {
            let values = numbered(first + 2, columns.len());
            format!("(?{first}, 0, ?{}, NULL, NULL, NULL{values})", first + 1)
        };
        let settled = rows(1, 2 + columns.len(), TOGETHER, settled);
        let declared = collection.map_or(&[][..], |collection| &collection.fields);
        let shown = declared
            .iter()
            .map(|field| shown_in(id, field.id, TextKind::of(field.kind)))
            .collect::<Vec<_>>()
            .join(", ");
        Table {
            collection: id,
            select: format!(
                "SELECT _state, _base, _pending, _search{fields} FROM {name} WHERE id = ?1"
            ),
            insert: format!("{into} VALUES (?1, ?2, ?3, ?4, ?5, ?6{marks})"),
            one_fresh: fresh(1),
            some_fresh: fresh(TOGETHER),
            some_settled: format!("{into} VALUES {settled}"),
            delete: format!("DELETE FROM {name} WHERE id = ?1"),
            greatest: format!("SELECT max(id) FROM {name}"),
            settle_insert: format!(
                "UPDATE {name} SET _state = ?2, _base = NULL, _pending = NULL \
                 WHERE id = ?1 AND _pending = ?3 AND _base = ?4 AND _deleted = 0"
            ),
            search: collection.and_then(Search::of),
            declared: collection.is_some(),
            names: declared.iter().map(|field| field.name.clone()).collect(),
            get: format!("SELECT {shown} FROM {name} WHERE id = ?1 AND _deleted = 0"),
            columns,
            texts,
            name,
        }
    }

    /// Inserts so many rows of new documents: one or [`TOGETHER`].
    pub(super) fn insert_fresh(&self, rows: usize) -> &str {
        match rows {
            1 => &self.one_fresh,
            _ => &self.some_fresh,
        }
    }

    /// Whether the full-text index covers a text or list.
    pub(super) fn has_searched_text(&self) -> bool {
        let searched = self.search.iter().flat_map(|search| &search.fields);
        searched
            .into_iter()
            .any(|(field, _)| self.text_kind(*field).is_some())
    }

    /// The kind of a text or list.
    pub(crate) fn text_kind(&self, field: FieldId) -> Option<TextKind> {
        let at = self.texts.binary_search_by_key(&field, |(field, _)| *field);
        self.texts.get(at.ok()?).map(|(_, kind)| *kind)
    }

    /// Reads every row, deleted ones included, in order of their ids: the columns of
    /// [`Table::select`], and `id`.
    pub(super) fn select_all(&self) -> String {
        let columns = self.columns.iter().fold(String::new(), |list, column| {
            list + ", " + &column_name(column.field)
        });
        format!(
            "SELECT _state, _base, _pending, _search{columns}, id FROM {} ORDER BY id",
            self.name
        )
    }

    /// Whether a field's value stands in a column.
    pub(crate) fn has(&self, field: FieldId) -> bool {
        self.column(field).is_some()
    }

    /// Whether a document holds a field that has no column, so that nobody sees it yet.
    pub(super) fn lacks_a_column_for(&self, state: &DocumentState) -> bool {
        let mut written = state.registers.iter().zip(&self.columns);
        let others =
            !(state.counters.is_empty() && state.sets.is_empty() && state.texts.is_empty());
        // Mostly every field was written, and none is gone.
        if !others
            && state.registers.len() <= self.columns.len()
            && written.all(|((field, _), column)| field == column.field)
        {
            return false;
        }
        let registers = state.registers.iter().map(|(field, _)| field);
        let counters = state.counters.iter().map(|(field, _)| field);
        let sets = state.sets.iter().map(|(field, _)| field);
        let mut texts = state.texts.iter().map(|(field, _)| field);
        registers
            .chain(counters)
            .chain(sets)
            .any(|field| !self.has(field))
            || texts.any(|field| self.text_kind(field).is_none())
    }

    pub(crate) fn column(&self, field: FieldId) -> Option<&Column> {
        // Mostly fields are numbered from 1 without a gap.
        let usual = usize::from(field).checked_sub(1);
        let usual = usual.and_then(|at| self.columns.get(at));
        if let Some(column) = usual.filter(|column| column.field == field) {
            return Some(column);
        }
        let at = self
            .columns
            .binary_search_by_key(&field, |column| column.field)
            .ok()?;
        self.columns.get(at)
    }
}

/// `, ?n` for so many parameters.
fn numbered(first: usize, count: usize) -> String {
    (first..first + count).fold(String::new(), |list, n| format!("{list}, ?{n}"))
}

/// So many rows, each of `width` parameters.
fn rows(first: usize, width: usize, count: usize, row: impl Fn(usize) -> String) -> String {
    let rows = (0..count).map(|at| row(first + at * width));
    rows.collect::<Vec<_>>().join(", ")
}

impl Search {
    fn of(collection: &Collection) -> Option<Search> {
        if collection.search.is_empty() {
            return None;
        }
        let fields = collection
            .search
            .iter()
            .filter_map(|id| collection.field_by_id(*id));
        let fields: Vec<(FieldId, String)> =
            fields.map(|field| (field.id, field.name.clone())).collect();
        let name = format!("{}_search", collection.name);
        let columns = fields.iter().fold("id".to_owned(), |list, (_, name)| {
            format!("{list}, {}", quoted(name))
        });
        let marks = (2..3 + fields.len()).fold("?1".to_owned(), |list, n| format!("{list}, ?{n}"));
        Some(Search {
            insert: format!(
                "INSERT INTO {} (rowid, {columns}) VALUES ({marks})",
                quoted(&name)
            ),
            delete: format!("DELETE FROM {} WHERE rowid = ?1", quoted(&name)),
            name,
            fields,
        })
    }
}

pub(crate) fn table_name(collection: CollectionId) -> String {
    format!("_dl_c_{collection}")
}

pub(crate) fn column_name(field: FieldId) -> String {
    format!("f{field}")
}

/// Where texts and lists stand as text.
pub(crate) const TEXTS: &str = "_dl_texts";

/// What a field of the row at hand shows, in SQL: its column, or the text that belongs to the row.
pub(super) fn shown_in(collection: CollectionId, field: FieldId, text: Option<TextKind>) -> String {
    match text {
        None => column_name(field),
        Some(kind) => format!(
            "ifnull((SELECT body FROM {TEXTS} WHERE collection = {collection} \
             AND document = {}.id AND field = {field}), '{}')",
            table_name(collection),
            empty_text(kind)
        ),
    }
}

/// What nobody has written yet shows.
pub(crate) fn empty_text(kind: TextKind) -> &'static str {
    match kind {
        TextKind::RichText => "",
        TextKind::List => "[]",
    }
}

/// An identifier for SQL.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
