//! A document as the app sees it.

use std::fmt;
use std::sync::Arc;

use driftline_core::id::{DocumentId, FieldId};
use driftline_core::merge::DocumentState;
use driftline_core::schema::{Collection, FieldKind};
use driftline_core::value::Value;
use rusqlite::Row;

use crate::storage::{Result, StorageError, Table, value_of};

/// A live document: its id and the values of all declared fields.
#[derive(Clone, PartialEq)]
pub struct Document {
    id: DocumentId,
    names: Arc<[String]>,
    values: Vec<FieldValue>,
}

/// What a field holds.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub enum FieldValue {
    /// A register or a counter.
    Value(Value),
    /// A set: its elements in order of their bytes.
    Set(Vec<String>),
}

impl Document {
    /// Its id.
    pub fn id(&self) -> &DocumentId {
        &self.id
    }

    /// The value of a register or a counter; `None` for a set and for what the schema does not have.
    pub fn get(&self, field: &str) -> Option<&Value> {
        match self.field(field)? {
            FieldValue::Value(value) => Some(value),
            FieldValue::Set(_) => None,
        }
    }

    /// The text in a field, if it holds text.
    pub fn text(&self, field: &str) -> Option<&str> {
        match self.get(field)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The integer in a field (a timestamp and a counter are integers), if it holds one.
    pub fn integer(&self, field: &str) -> Option<i64> {
        match self.get(field)? {
            Value::Integer(n) => Some(*n),
            _ => None,
        }
    }

    /// The elements of a set, in order of their bytes.
    pub fn set(&self, field: &str) -> Option<&[String]> {
        match self.field(field)? {
            FieldValue::Set(elements) => Some(elements),
            FieldValue::Value(_) => None,
        }
    }

    /// What a field holds, whatever its kind.
    pub fn field(&self, field: &str) -> Option<&FieldValue> {
        let at = self.names.iter().position(|name| name == field)?;
        self.values.get(at)
    }

    /// Every declared field with what it holds, in the order of the schema's numbers.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &FieldValue)> {
        self.names.iter().map(String::as_str).zip(&self.values)
    }

    /// What `state` shows under the schema's `collection`, with what its texts show.
    pub(crate) fn of_state(
        id: DocumentId,
        collection: &Collection,
        table: &Table,
        state: &DocumentState,
        mut texts: Vec<(FieldId, String)>,
    ) -> Document {
        let mut text_of = |field| {
            let found = texts.iter_mut().find(|(of, _)| *of == field);
            found.map(|(_, text)| std::mem::take(text))
        };
        let value = |field: &driftline_core::schema::Field| match field.kind {
            FieldKind::RichText => {
                FieldValue::Value(Value::Text(text_of(field.id).unwrap_or_default()))
            }
            FieldKind::List => {
                let json = text_of(field.id).unwrap_or_else(|| "[]".to_owned());
                FieldValue::Value(Value::Text(json))
            }
            FieldKind::Set => {
                let elements = state
                    .sets
                    .get(field.id)
                    .map(|set| set.elements.keys().cloned().collect());
                FieldValue::Set(elements.unwrap_or_default())
            }
            FieldKind::Counter => FieldValue::Value(Value::Integer(
                state.counters.get(field.id).copied().unwrap_or(0),
            )),
            _ => {
                let default = || table.column(field.id).map(|column| column.default.clone());
                FieldValue::Value(
                    state
                        .value(field.id)
                        .cloned()
                        .or_else(default)
                        .unwrap_or_default(),
                )
            }
        };
        Document {
            id,
            names: Arc::clone(&table.names),
            values: collection.fields.iter().map(value).collect(),
        }
    }

    /// The document in a row whose columns are the declared fields.
    pub(crate) fn of_row(
        id: DocumentId,
        collection: &Collection,
        table: &Table,
        row: &Row<'_>,
    ) -> Result<Document> {
        let mut values = Vec::with_capacity(collection.fields.len());
        for (at, field) in collection.fields.iter().enumerate() {
            let cell = row.get_ref(at)?;
            values.push(match field.kind {
                FieldKind::Set => {
                    let json = cell.as_str().map_err(|_| StorageError::unreadable("set"))?;
                    FieldValue::Set(
                        serde_json::from_str(json).map_err(|_| StorageError::unreadable("set"))?,
                    )
                }
                kind => FieldValue::Value(value_of(kind, cell)?),
            });
        }
        Ok(Document {
            id,
            names: Arc::clone(&table.names),
            values,
        })
    }
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        map.entry(&"id", &self.id.as_str());
        for (name, value) in self.fields() {
            map.entry(&name, value);
        }
        map.finish()
    }
}
