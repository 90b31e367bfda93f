//! Which SQL an app may run: reads of its own views and search tables, nothing else.
//!
//! SQLite asks an authorizer about every table, column and function while it compiles a statement.
//! Our own statements pass unasked; for an app's, [`Gate`] answers, and notes which collections the
//! statement reads.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use driftline_core::id::CollectionId;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};

use super::error::StorageError;
use super::sql::names_private_table;
use super::tables::{Layout, TEXTS};

/// The longest statement an app may send.
const LONGEST_SQL: usize = 100_000;

const OWN: u8 = 0;
const COMPILING: u8 = 1;
const RUNNING: u8 = 2;

/// Functions an app may call: none that read files, load code, sleep or return random or current
/// values of the machine (a watched query would never rest).
const FUNCTIONS: &[&str] = &[
    "->",
    "->>",
    "abs",
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "avg",
    "bm25",
    "ceil",
    "ceiling",
    "char",
    "coalesce",
    "concat",
    "concat_ws",
    "cos",
    "cosh",
    "count",
    "cume_dist",
    "date",
    "datetime",
    "degrees",
    "dense_rank",
    "exp",
    "first_value",
    "floor",
    "format",
    "glob",
    "group_concat",
    "hex",
    "highlight",
    "if",
    "ifnull",
    "iif",
    "instr",
    "json",
    "json_array",
    "json_array_length",
    "json_extract",
    "json_group_array",
    "json_group_object",
    "json_insert",
    "json_object",
    "json_patch",
    "json_pretty",
    "json_quote",
    "json_remove",
    "json_replace",
    "json_set",
    "json_type",
    "json_valid",
    "julianday",
    "lag",
    "last_value",
    "lead",
    "length",
    "like",
    "likelihood",
    "likely",
    "ln",
    "log",
    "log10",
    "log2",
    "lower",
    "ltrim",
    "match",
    "max",
    "median",
    "min",
    "mod",
    "nth_value",
    "ntile",
    "nullif",
    "octet_length",
    "percent_rank",
    "percentile",
    "percentile_cont",
    "percentile_disc",
    "pi",
    "pow",
    "power",
    "printf",
    "quote",
    "radians",
    "rank",
    "replace",
    "round",
    "row_number",
    "rtrim",
    "sign",
    "sin",
    "sinh",
    "snippet",
    "soundex",
    "sqrt",
    "strftime",
    "string_agg",
    "substr",
    "substring",
    "subtype",
    "sum",
    "tan",
    "tanh",
    "time",
    "timediff",
    "total",
    "trim",
    "trunc",
    "typeof",
    "unhex",
    "unicode",
    "unistr",
    "unixepoch",
    "unlikely",
    "upper",
    "zeroblob",
];

/// Table-valued functions without a table behind them.
const TABLE_FUNCTIONS: &[&str] = &["json_each", "json_tree"];

/// The authorizer of one connection.
pub(crate) struct Gate {
    mode: AtomicU8,
    layout: Arc<RwLock<Arc<Layout>>>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    collections: BTreeSet<CollectionId>,
    denied: Option<String>,
}

/// Puts the gate back to our own statements.
pub(crate) struct Opened<'g>(&'g Gate);

impl Drop for Opened<'_> {
    fn drop(&mut self) {
        self.0.mode.store(OWN, Ordering::Relaxed);
    }
}

impl Gate {
    pub(crate) fn new(layout: Arc<RwLock<Arc<Layout>>>) -> Gate {
        Gate {
            mode: AtomicU8::new(OWN),
            layout,
            seen: Mutex::default(),
        }
    }

    /// Checks an app's statement before SQLite sees it; what is compiled until the result is dropped
    /// is judged.
    pub(crate) fn compile(&self, sql: &str) -> Result<Opened<'_>, StorageError> {
        if sql.len() > LONGEST_SQL {
            return Err(StorageError::InvalidQuery(format!(
                "longer than {LONGEST_SQL} bytes"
            )));
        }
        if sql.as_bytes().contains(&0) {
            return Err(StorageError::InvalidQuery("contains NUL".to_owned()));
        }
        // A common table expression may take a view's name and so pass for it: see `judge_table`.
        if names_private_table(sql) {
            return Err(StorageError::NotAllowed(
                "names beginning with _dl_ are private".to_owned(),
            ));
        }
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Seen::default();
        self.mode.store(COMPILING, Ordering::Relaxed);
        Ok(Opened(self))
    }

    /// From now on the statement runs: a full-text index may read its own tables.
    pub(crate) fn run(&self) -> Opened<'_> {
        self.mode.store(RUNNING, Ordering::Relaxed);
        Opened(self)
    }

    /// The collections that the statement compiled last reads.
    pub(crate) fn collections(&self) -> BTreeSet<CollectionId> {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .collections
            .clone()
    }

    /// What was refused in the statement compiled last.
    pub(crate) fn denied(&self) -> Option<String> {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .denied
            .clone()
    }

    /// SQLite's question.
    pub(crate) fn judge(&self, context: &AuthContext<'_>) -> Authorization {
        let mode = self.mode.load(Ordering::Relaxed);
        if mode == OWN {
            return Authorization::Allow;
        }
        let refusal = match context.action {
            AuthAction::Select | AuthAction::Recursive => None,
            AuthAction::Function { function_name } => {
                let known = FUNCTIONS
                    .iter()
                    .any(|name| name.eq_ignore_ascii_case(function_name));
                (!known).then(|| format!("function {function_name}"))
            }
            AuthAction::Read {
                table_name,
                column_name,
            } => {
                let allowed = self.judge_table(table_name, context.accessor, mode)
                    || column_name.is_empty() && is_common_table(table_name);
                (!allowed).then(|| format!("table {table_name}"))
            }
            // A running full-text index asks whether another connection has written.
            AuthAction::Pragma {
                pragma_name: "data_version",
                pragma_value: None,
            } if mode == RUNNING => None,
            AuthAction::Pragma { pragma_name, .. } => Some(format!("PRAGMA {pragma_name}")),
            AuthAction::Attach { .. } => Some("ATTACH".to_owned()),
            _ => Some("anything but reading".to_owned()),
        };
        match refusal {
            None => Authorization::Allow,
            Some(refusal) => {
                self.seen
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .denied
                    .get_or_insert(refusal);
                Authorization::Deny
            }
        }
    }

    fn judge_table(&self, name: &str, accessor: Option<&str>, mode: u8) -> bool {
        if TABLE_FUNCTIONS.contains(&name) {
            return true;
        }
        let layout = Arc::clone(&self.layout.read().unwrap_or_else(PoisonError::into_inner));
        for collection in &layout.schema.collections {
            let Some(table) = layout.table(collection.id) else {
                continue;
            };
            let found = if name.eq_ignore_ascii_case(&collection.name) {
                true
            } else if name == table.name || name == TEXTS {
                // The view reads it. The accessor alone proves nothing, since a common table
                // expression can have the view's name, but none can name these tables.
                accessor.is_some_and(|view| view.eq_ignore_ascii_case(&collection.name))
            } else {
                table
                    .search
                    .as_ref()
                    .is_some_and(|search| is_search_table(name, &search.name, mode))
            };
            if found {
                self.seen
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .collections
                    .insert(collection.id);
                return true;
            }
        }
        false
    }
}

/// Tables that exist without being made: modules of SQLite's that could be read by their names.
pub(super) const MODULES: &[&str] = &[
    "dbstat",
    "fts3",
    "fts3tokenize",
    "fts4",
    "fts4aux",
    "fts5",
    "fts5vocab",
    "rtree",
    "rtree_i32",
];

/// Asked about without a column, a name may be that of a common table expression, of which no column
/// is read (`SELECT count(*) FROM n`). What it reads itself is judged on its own.
fn is_common_table(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let reserved = ["_dl_", "sqlite_", "pragma_"]
        .iter()
        .any(|prefix| name.starts_with(prefix));
    let behind_search = SHADOWS.iter().any(|suffix| name.ends_with(suffix));
    !reserved && !behind_search && !MODULES.contains(&name.as_str())
}

/// What the names of a full-text index' own tables end with.
const SHADOWS: &[&str] = &["_data", "_idx", "_content", "_docsize"];

/// The full-text table, or a table behind it: those are for the index itself, while it runs. Its
/// settings (a version number) it reads when it is first compiled.
fn is_search_table(name: &str, search: &str, mode: u8) -> bool {
    if name.eq_ignore_ascii_case(search) {
        return true;
    }
    match name.strip_prefix(search) {
        Some("_config") => true,
        Some(suffix) => mode == RUNNING && SHADOWS.contains(&suffix),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::{MODULES, TABLE_FUNCTIONS, is_common_table};

    #[test]
    fn every_module_of_this_sqlite_is_known() {
        let conn = rusqlite::Connection::open_in_memory().unwrap();
        let mut statement = conn.prepare("SELECT name FROM pragma_module_list").unwrap();
        let names = statement
            .query_map([], |row| row.get::<_, String>(0))
            .unwrap();
        for name in names.map(Result::unwrap) {
            let known = TABLE_FUNCTIONS.contains(&name.as_str()) || !is_common_table(&name);
            assert!(known, "{name} is not in {MODULES:?}");
        }
    }
}
