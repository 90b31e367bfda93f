//! The statements that make a collection's table, view, indexes and full-text index.

use std::fmt::Write as _;

use driftline_core::schema::{Collection, FieldKind};
use driftline_core::text::TextKind;
use driftline_core::value::Value;

use super::column::Column;
use super::tables::{Search, Table, column_name, quoted, shown_in, table_name};

impl Table {
    /// The statement that creates the table with all its columns.
    pub(super) fn create(&self) -> String {
        let mut sql = format!(
            "CREATE TABLE IF NOT EXISTS {} (\n    id TEXT PRIMARY KEY NOT NULL,\n    \
             -- 1 while the document is deleted, by a pending op or with pending ops on it\n    \
             _deleted INTEGER NOT NULL,\n",
            self.name
        );
        for column in &self.columns {
            let _ = writeln!(sql, "    {},", column.declaration());
        }
        sql += "    -- who wrote what and when; values stand in the columns\n    _state BLOB NOT NULL,\n    \
                -- the way from here to what the server said, NULL if there is none\n    _base BLOB,\n    \
                -- the newest own op on the document that the server's answer does not contain yet\n    _pending BLOB,\n    \
                -- the row in the full-text index\n    _search INTEGER\n) WITHOUT ROWID";
        sql
    }
}

impl Column {
    /// Name, type and default, as in CREATE TABLE and ADD COLUMN.
    pub(super) fn declaration(&self) -> String {
        let kind = match self.kind {
            FieldKind::Boolean | FieldKind::Integer | FieldKind::Timestamp | FieldKind::Counter => {
                "INTEGER"
            }
            FieldKind::Real => "REAL",
            FieldKind::Bytes => "BLOB",
            _ => "TEXT",
        };
        format!(
            "{} {kind} DEFAULT {}",
            column_name(self.field),
            literal(&self.default)
        )
    }
}

impl Search {
    /// The statement that creates the full-text index.
    pub(super) fn create(&self) -> String {
        let columns = self
            .fields
            .iter()
            .fold("id UNINDEXED".to_owned(), |list, (_, name)| {
                format!("{list}, {}", quoted(name))
            });
        format!(
            "CREATE VIRTUAL TABLE {} USING fts5({columns})",
            quoted(&self.name)
        )
    }
}

/// The view the app reads.
pub(super) fn create_view(collection: &Collection) -> String {
    let columns = collection
        .fields
        .iter()
        .fold("id".to_owned(), |list, field| {
            format!(
                "{list}, {} AS {}",
                shown_in(collection.id, field.id, TextKind::of(field.kind)),
                quoted(&field.name)
            )
        });
    format!(
        "CREATE VIEW {} AS SELECT {columns} FROM {} WHERE _deleted = 0",
        quoted(&collection.name),
        table_name(collection.id)
    )
}

/// The declared indexes, name and statement. They hold live documents only, as the view does.
pub(super) fn create_indexes(collection: &Collection) -> Vec<(String, String)> {
    let create = |index: &driftline_core::schema::Index| {
        let name = format!("_dl_i_{}_{}", collection.id, index.name);
        let columns: Vec<String> = index
            .fields
            .iter()
            .map(|field| column_name(*field))
            .collect();
        let sql = format!(
            "CREATE INDEX {} ON {} ({}) WHERE _deleted = 0",
            quoted(&name),
            table_name(collection.id),
            columns.join(", ")
        );
        (name, sql)
    };
    collection.indexes.iter().map(create).collect()
}

/// A value written out in SQL.
pub(super) fn literal(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Boolean(b) => i64::from(*b).to_string(),
        Value::Integer(n) => n.to_string(),
        Value::Real(x) => format!("{x:?}"),
        Value::Text(text) => format!("'{}'", text.replace('\'', "''")),
        Value::Bytes(bytes) => {
            bytes
                .iter()
                .fold("X'".to_owned(), |hex, byte| format!("{hex}{byte:02x}"))
                + "'"
        }
    }
}
