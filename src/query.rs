//! SQL over the app's views: parameters in, rows out.

use std::collections::BTreeSet;
use std::sync::Arc;

use driftline_core::value::Value;
use rusqlite::types::ValueRef;

use crate::storage::{Bind, GatedConnection, Result, StorageError, value_ref};

/// The values for a statement's `?` or `:name`.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Params {
    positional: Vec<Value>,
    named: Vec<(String, Value)>,
}

impl Params {
    /// No values.
    pub fn none() -> Params {
        Params::default()
    }

    /// Values for `?` in order.
    pub fn positional(values: impl IntoIterator<Item = impl Into<Value>>) -> Params {
        Params {
            positional: values.into_iter().map(Into::into).collect(),
            named: Vec::new(),
        }
    }

    /// Values for `:name`; names without the colon.
    pub fn named(
        values: impl IntoIterator<Item = (impl Into<String>, impl Into<Value>)>,
    ) -> Params {
        let named = values
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()));
        Params {
            positional: Vec::new(),
            named: named.collect(),
        }
    }
}

impl From<()> for Params {
    fn from((): ()) -> Params {
        Params::none()
    }
}

impl<V: Into<Value>, const N: usize> From<[V; N]> for Params {
    fn from(values: [V; N]) -> Params {
        Params::positional(values)
    }
}

impl<V: Into<Value>> From<Vec<V>> for Params {
    fn from(values: Vec<V>) -> Params {
        Params::positional(values)
    }
}

impl From<&[Value]> for Params {
    fn from(values: &[Value]) -> Params {
        Params::positional(values.iter().cloned())
    }
}

/// The result of a query.
#[derive(Clone, Debug, PartialEq)]
pub struct Rows {
    columns: Arc<[String]>,
    rows: Vec<Row>,
}

/// One row of a result. Booleans are 0 and 1, sets are JSON arrays.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    columns: Arc<[String]>,
    values: Arc<[Value]>,
}

impl Rows {
    /// The columns' names, as the statement calls them.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The rows in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Row> {
        self.rows.iter()
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// One row.
    pub fn get(&self, at: usize) -> Option<&Row> {
        self.rows.get(at)
    }

    /// The first value of the first row: what a `SELECT count(*)` is for.
    pub fn scalar(&self) -> Option<&Value> {
        self.rows.first()?.values.first()
    }
}

impl IntoIterator for Rows {
    type Item = Row;
    type IntoIter = std::vec::IntoIter<Row>;
    fn into_iter(self) -> Self::IntoIter {
        self.rows.into_iter()
    }
}

impl<'a> IntoIterator for &'a Rows {
    type Item = &'a Row;
    type IntoIter = std::slice::Iter<'a, Row>;
    fn into_iter(self) -> Self::IntoIter {
        self.rows.iter()
    }
}

impl Row {
    /// The value in a column; of several with one name, the first.
    pub fn get(&self, column: &str) -> Option<&Value> {
        let at = self.columns.iter().position(|name| name == column)?;
        self.values.get(at)
    }

    /// The values in the order of the columns.
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// The columns' names.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }
}

/// Runs an app's statement to its end.
pub(crate) fn run(
    connection: &GatedConnection,
    sql: &str,
    params: &Params,
    timeout_millis: i64,
) -> Result<Rows> {
    let mut statement = connection.compile(sql)?;
    bind(&mut statement, params)?;
    let columns: Arc<[String]> = statement.column_names().map(str::to_owned).collect();
    connection.within(timeout_millis, || {
        let _running = connection.gate.run();
        let mut rows = Vec::new();
        let mut found = statement.raw_query();
        while let Some(row) = found
            .next()
            .map_err(|error| connection.explain_running(error))?
        {
            let values = (0..columns.len())
                .map(|at| value(row.get_ref(at)?))
                .collect::<Result<_>>()?;
            rows.push(Row {
                columns: Arc::clone(&columns),
                values,
            });
        }
        Ok(Rows {
            columns: Arc::clone(&columns),
            rows,
        })
    })
}

/// Refuses what [`run`] refuses before it runs anything.
pub(crate) fn check(connection: &GatedConnection, sql: &str, params: &Params) -> Result<()> {
    let mut statement = connection.compile(sql)?;
    bind(&mut statement, params)
}

fn bind(statement: &mut rusqlite::Statement<'_>, params: &Params) -> Result<()> {
    let expected = statement.parameter_count();
    let given = params.positional.len() + params.named.len();
    if given != expected {
        return Err(StorageError::InvalidParameters(format!(
            "{expected} expected, {given} given"
        )));
    }
    // As many as there are may still be one of them twice, and another left out.
    let mut bound = BTreeSet::new();
    for (at, value) in params.positional.iter().enumerate() {
        bound.insert(at + 1);
        statement.raw_bind_parameter(at + 1, Bind(value_ref(value)))?;
    }
    for (name, value) in &params.named {
        let at = statement.parameter_index(&format!(":{name}"))?;
        let at = at.ok_or_else(|| {
            StorageError::InvalidParameters(format!("the statement has no :{name}"))
        })?;
        if !bound.insert(at) {
            let twice = format!(":{name} is given twice");
            return Err(StorageError::InvalidParameters(twice));
        }
        statement.raw_bind_parameter(at, Bind(value_ref(value)))?;
    }
    Ok(())
}

fn value(cell: ValueRef<'_>) -> Result<Value> {
    Ok(match cell {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(n) => Value::Integer(n),
        ValueRef::Real(x) => Value::Real(x),
        // Text that an expression cut in the middle of a character is shown as far as it is text.
        ValueRef::Text(text) => Value::Text(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Blob(bytes) => Value::Bytes(bytes.to_vec()),
    })
}
