//! Bringing a file's tables, views, indexes and full-text indexes to a new schema, in the
//! transaction that opens it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use driftline_core::id::CollectionId;
use driftline_core::schema::{Schema, StableIds};
use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use super::ddl::{create_indexes, create_view, literal};
use super::error::{Result, StorageError};
use super::meta;
use super::row;
use super::tables::{Layout, Table, column_name, quoted, shown_in};
use super::text;

/// What a file remembers of the schema it was last opened with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct SchemaRecord {
    pub(super) fingerprint: String,
    /// What every number has ever meant.
    pub(super) ids: StableIds,
    /// `collection.field`, by numbers, to the default its rows were written with.
    defaults: BTreeMap<String, String>,
}

impl SchemaRecord {
    pub(super) fn read(conn: &Connection) -> Result<Option<SchemaRecord>> {
        let Some(json) = meta::get::<String>(conn, meta::key::SCHEMA)? else {
            return Ok(None);
        };
        serde_json::from_str(&json)
            .map(Some)
            .map_err(|_| StorageError::unreadable("schema record"))
    }

    fn write(&self, conn: &Connection) -> Result<()> {
        let json = serde_json::to_string(self)
            .map_err(|error| StorageError::Internal(error.to_string()))?;
        meta::set(conn, meta::key::SCHEMA, json)
    }
}

/// Makes the file fit `schema`, given what it remembers. Nothing is dropped but what can be made
/// again: views, indexes, full-text indexes.
pub(super) fn reshape(
    conn: &Connection,
    old: Option<&SchemaRecord>,
    schema: &Arc<Schema>,
    now: i64,
) -> Result<SchemaRecord> {
    let ids = match old {
        None => schema.stable_ids(),
        Some(old) if schema.version < old.ids.version => {
            return Err(StorageError::NewerSchema {
                found: old.ids.version,
                declared: schema.version,
            });
        }
        Some(old) => {
            old.ids.check_reload(schema)?;
            old.ids.succeeded_by(schema)
        }
    };
    let layout = Layout::new(Arc::clone(schema), &ids)?;
    let record = SchemaRecord {
        fingerprint: schema.fingerprint(),
        ids,
        defaults: defaults(&layout),
    };

    drop_views(conn)?;
    let stale = stale_tables(conn, &layout, old, &record)?;
    for table in layout
        .tables()
        .filter(|table| stale.contains(&table.collection))
    {
        rewrite(conn, table)?;
    }
    make_indexes(conn, schema)?;
    make_search(conn, &layout, &stale)?;
    for collection in &schema.collections {
        conn.execute_batch(&create_view(collection))?;
    }
    text::note_unshown(conn)?;
    record.write(conn)?;
    conn.execute(
        "INSERT INTO _dl_migrations (kind, version, name, at) VALUES ('schema', ?1, ?2, ?3) ON CONFLICT DO NOTHING",
        (schema.version, &schema.name, now),
    )?;
    Ok(record)
}

fn defaults(layout: &Layout) -> BTreeMap<String, String> {
    let each = layout
        .tables()
        .filter(|table| table.declared)
        .flat_map(|table| {
            table.columns.iter().map(move |c| {
                (
                    format!("{}.{}", table.collection, c.field),
                    literal(&c.default),
                )
            })
        });
    each.collect()
}

fn names_of(conn: &Connection, kind: &str) -> Result<Vec<(String, String)>> {
    let mut statement =
        conn.prepare("SELECT name, ifnull(sql, '') FROM sqlite_schema WHERE type = ?1")?;
    let names = statement.query_map([kind], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(names.collect::<rusqlite::Result<_>>()?)
}

fn drop_views(conn: &Connection) -> Result<()> {
    for (name, _) in names_of(conn, "view")? {
        conn.execute_batch(&format!("DROP VIEW {}", quoted(&name)))?;
    }
    Ok(())
}

/// Makes tables and adds columns. Returns the tables whose rows have to be written again: they hold
/// values for fields that get a column now, or an older default.
fn stale_tables(
    conn: &Connection,
    layout: &Layout,
    old: Option<&SchemaRecord>,
    new: &SchemaRecord,
) -> Result<BTreeSet<CollectionId>> {
    let opaque = opaque(conn)?;
    let mut stale = BTreeSet::new();
    for table in layout.tables() {
        let there = existing_columns(conn, &table.name)?;
        if there.is_empty() {
            conn.execute_batch(&table.create())?;
            continue;
        }
        for column in &table.columns {
            let key = format!("{}.{}", table.collection, column.field);
            if !there.contains(&column_name(column.field)) {
                conn.execute_batch(&format!(
                    "ALTER TABLE {} ADD COLUMN {}",
                    table.name,
                    column.declaration()
                ))?;
                if opaque.contains(&table.collection) {
                    stale.insert(table.collection);
                }
            } else if table.declared
                && old.is_none_or(|old| old.defaults.get(&key) != new.defaults.get(&key))
            {
                stale.insert(table.collection);
            }
        }
    }
    Ok(stale)
}

fn existing_columns(conn: &Connection, table: &str) -> Result<BTreeSet<String>> {
    let mut statement = conn.prepare("SELECT name FROM pragma_table_info(?1)")?;
    let names = statement.query_map([table], |row| row.get(0))?;
    Ok(names.collect::<rusqlite::Result<_>>()?)
}

/// Collections whose rows may hold fields without a column: what a newer app wrote.
fn opaque(conn: &Connection) -> Result<BTreeSet<CollectionId>> {
    match meta::get::<String>(conn, meta::key::OPAQUE)? {
        None => Ok(BTreeSet::new()),
        Some(json) => {
            serde_json::from_str(&json).map_err(|_| StorageError::unreadable("list of collections"))
        }
    }
}

/// Notes such a collection, for the day the field is declared.
pub(super) fn note_opaque(conn: &Connection, collection: CollectionId) -> Result<()> {
    let mut known = opaque(conn)?;
    if known.insert(collection) {
        let json = serde_json::to_string(&known)
            .map_err(|error| StorageError::Internal(error.to_string()))?;
        meta::set(conn, meta::key::OPAQUE, json)?;
    }
    Ok(())
}

/// Rows rewritten at a time.
const CHUNK: usize = 500;

/// Writes every row of a table again, so that each value stands where the layout wants it.
fn rewrite(conn: &Connection, table: &Table) -> Result<()> {
    let mut after = String::new();
    loop {
        let page = format!(
            "SELECT id FROM {} WHERE id > ?1 ORDER BY id LIMIT {CHUNK}",
            table.name
        );
        let mut statement = conn.prepare_cached(&page)?;
        let ids: Vec<String> = statement
            .query_map([&after], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        let Some(last) = ids.last() else {
            return Ok(());
        };
        after.clone_from(last);
        for id in &ids {
            row::rewrite(conn, table, id)?;
        }
    }
}

fn make_indexes(conn: &Connection, schema: &Schema) -> Result<()> {
    let wanted: Vec<(String, String)> =
        schema.collections.iter().flat_map(create_indexes).collect();
    let there = names_of(conn, "index")?;
    let ours = there.iter().filter(|(name, _)| name.starts_with("_dl_i_"));
    for (name, _) in ours.filter(|index| !wanted.contains(index)) {
        conn.execute_batch(&format!("DROP INDEX {}", quoted(name)))?;
    }
    for (_, sql) in wanted.iter().filter(|index| !there.contains(index)) {
        conn.execute_batch(sql)?;
    }
    Ok(())
}

/// Full-text indexes that are not as declared are made and filled again.
fn make_search(conn: &Connection, layout: &Layout, stale: &BTreeSet<CollectionId>) -> Result<()> {
    let tables = names_of(conn, "table")?;
    let there: Vec<&(String, String)> = tables
        .iter()
        .filter(|(_, sql)| sql.starts_with("CREATE VIRTUAL TABLE"))
        .collect();
    let is_current = |table: &Table| {
        let wanted = table.search.as_ref().map(|search| search.create());
        !stale.contains(&table.collection)
            && wanted.is_some_and(|wanted| there.iter().any(|(_, sql)| *sql == wanted))
    };
    let kept: BTreeSet<&str> = layout
        .tables()
        .filter(|t| is_current(t))
        .filter_map(|t| t.search.as_ref())
        .map(|s| s.name.as_str())
        .collect();
    for (name, _) in there
        .iter()
        .filter(|(name, _)| !kept.contains(name.as_str()))
    {
        conn.execute_batch(&format!("DROP TABLE {}", quoted(name)))?;
    }
    for table in layout.tables().filter(|table| !is_current(table)) {
        fill_search(conn, table)?;
    }
    Ok(())
}

fn fill_search(conn: &Connection, table: &Table) -> Result<()> {
    let name = &table.name;
    conn.execute_batch(&format!(
        "UPDATE {name} SET _search = NULL WHERE _search IS NOT NULL"
    ))?;
    let Some(search) = &table.search else {
        return Ok(());
    };
    let names = search.fields.iter().fold(String::new(), |list, (_, name)| {
        format!("{list}, {}", quoted(name))
    });
    let columns = search
        .fields
        .iter()
        .fold(String::new(), |list, (field, _)| {
            let text = table.text_kind(*field);
            format!("{list}, {}", shown_in(table.collection, *field, text))
        });
    conn.execute_batch(&format!(
        "{}; \
         UPDATE {name} SET _search = numbered.n \
         FROM (SELECT id, row_number() OVER (ORDER BY id) AS n FROM {name} WHERE _deleted = 0) AS numbered \
         WHERE numbered.id = {name}.id; \
         INSERT INTO {} (rowid, id{names}) SELECT _search, id{columns} FROM {name} WHERE _search IS NOT NULL;",
        search.create(),
        quoted(&search.name),
    ))?;
    Ok(())
}
