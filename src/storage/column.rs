//! One field's column, and what stands in it.

use std::borrow::Cow;

use driftline_core::id::FieldId;
use driftline_core::merge::DocumentState;
use driftline_core::schema::FieldKind;
use driftline_core::value::Value;
use rusqlite::types::ValueRef;

use super::error::{Result, StorageError};

/// One field's column.
#[derive(Debug, Clone)]
pub(crate) struct Column {
    pub(crate) field: FieldId,
    pub(crate) kind: FieldKind,
    /// What a document holds there that never wrote the field.
    pub(crate) default: Value,
}

/// What a column holds, borrowed from a document where possible.
#[derive(PartialEq)]
pub(crate) enum Cell<'a> {
    Value(&'a Value),
    Counter(i64),
    Set(Cow<'a, str>),
}

impl Column {
    /// What the column holds for a document.
    pub(crate) fn cell<'a>(&'a self, state: &'a DocumentState) -> Cell<'a> {
        match self.kind {
            FieldKind::Counter => {
                Cell::Counter(state.counters.get(self.field).copied().unwrap_or(0))
            }
            FieldKind::Set => match state.sets.get(self.field) {
                None => Cell::Set(Cow::Borrowed("[]")),
                Some(set) => Cell::Set(Cow::Owned(json_array(set.elements.keys()))),
            },
            _ => Cell::Value(state.value(self.field).unwrap_or(&self.default)),
        }
    }

    /// What it holds for a document of registers alone, whose register of this field is given.
    pub(super) fn cell_of<'a>(&'a self, register: Option<&'a Value>) -> Cell<'a> {
        match self.kind {
            FieldKind::Counter => Cell::Counter(0),
            FieldKind::Set => Cell::Set(Cow::Borrowed("[]")),
            _ => Cell::Value(register.unwrap_or(&self.default)),
        }
    }

    /// Whether the column holds the same for both.
    pub(crate) fn same(&self, a: &DocumentState, b: &DocumentState) -> bool {
        match self.kind {
            FieldKind::Counter => a.counters.get(self.field) == b.counters.get(self.field),
            FieldKind::Set => a.sets.get(self.field) == b.sets.get(self.field),
            _ => self.cell(a) == self.cell(b),
        }
    }
}

impl Cell<'_> {
    pub(crate) fn value_ref(&self) -> ValueRef<'_> {
        match self {
            Cell::Value(value) => value_ref(value),
            Cell::Counter(n) => ValueRef::Integer(*n),
            Cell::Set(json) => ValueRef::Text(json.as_bytes()),
        }
    }
}

/// A value as SQLite holds it.
pub(crate) fn value_ref(value: &Value) -> ValueRef<'_> {
    match value {
        Value::Null => ValueRef::Null,
        Value::Boolean(b) => ValueRef::Integer(i64::from(*b)),
        Value::Integer(n) => ValueRef::Integer(*n),
        Value::Real(x) => ValueRef::Real(*x),
        Value::Text(text) => ValueRef::Text(text.as_bytes()),
        Value::Bytes(bytes) => ValueRef::Blob(bytes),
    }
}

/// A register's value as its column holds it.
pub(crate) fn value_of(kind: FieldKind, cell: ValueRef<'_>) -> Result<Value> {
    Ok(match (kind, cell) {
        (_, ValueRef::Null) => Value::Null,
        (FieldKind::Boolean, ValueRef::Integer(n)) => Value::Boolean(n != 0),
        (FieldKind::Integer | FieldKind::Timestamp | FieldKind::Counter, ValueRef::Integer(n)) => {
            Value::Integer(n)
        }
        (FieldKind::Real, ValueRef::Real(x)) => Value::Real(x),
        (FieldKind::Bytes, ValueRef::Blob(bytes)) => Value::Bytes(bytes.to_vec()),
        (_, ValueRef::Text(text)) => match std::str::from_utf8(text) {
            Ok(text) => Value::Text(text.to_owned()),
            Err(_) => return Err(StorageError::unreadable("text")),
        },
        _ => return Err(StorageError::unreadable("field")),
    })
}

fn json_array<'a>(elements: impl Iterator<Item = &'a String>) -> String {
    let elements: Vec<&String> = elements.collect();
    // Strings always have a JSON form.
    serde_json::to_string(&elements).unwrap_or_else(|_| "[]".to_owned())
}
