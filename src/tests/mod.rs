//! The local half of a database, through its public words.

#![allow(clippy::unwrap_used)]

mod accounts;
mod bad_calls;
mod bad_input;
mod coalesce;
mod files;
mod inserts;
mod lifecycle;
mod numbering;
mod power;
mod provenance;
mod queries;
mod schemas;
mod sharing;
mod syncing;
mod texts;
mod watches;
mod writes;

use std::path::PathBuf;

use driftline_core::op::OpBody;
use driftline_core::schema::Schema;
use tempfile::TempDir;

use crate::{Config, Database};

pub(crate) const SCHEMA: &str = r#"
[schema]
name = "field-notes"
version = 1

[limits]
max_value = "1 KiB"
max_document = "2 KiB"
max_group = "4 KiB"
max_set_elements = 5
max_queue_ops = 1000
max_queue_bytes = "64 KiB"

[collections.birds]
id = 1
search = ["species", "notes"]
indexes = [ { fields = ["island", "mass"] }, { name = "by_place", fields = ["place"] } ]

[collections.birds.fields]
species   = { id = 1, kind = "text", required = true, max_bytes = 40 }
island    = { id = 2, kind = "text", default = "Torgersen" }
mass      = { id = 3, kind = "integer" }
ringed    = { id = 4, kind = "boolean", default = false }
beak      = { id = 5, kind = "real" }
seen_at   = { id = 6, kind = "timestamp" }
token     = { id = 7, kind = "uuid" }
extra     = { id = 8, kind = "json" }
photo     = { id = 9, kind = "bytes" }
place     = { id = 10, kind = "order_key" }
sightings = { id = 11, kind = "counter" }
tags      = { id = 12, kind = "set", max_bytes = "20 B" }
notes     = { id = 13, kind = "text" }

[collections.forms]
id = 2
merge = "document"

[collections.forms.fields]
title = { id = 1, kind = "text" }
state = { id = 2, kind = "text" }

[collections.jobs]
id = 3
on_conflict_delete = "update_wins"

[collections.jobs.fields]
title = { id = 1, kind = "text" }
"#;

/// A database in a folder of its own.
pub(crate) struct Fixture {
    pub(crate) db: Database,
    pub(crate) dir: TempDir,
}

impl std::ops::Deref for Fixture {
    type Target = Database;
    fn deref(&self) -> &Database {
        &self.db
    }
}

pub(crate) fn config(dir: &TempDir, schema: &str) -> Config {
    Config::new(path(dir), Schema::parse(schema).unwrap(), "w1").with_account("ann")
}

pub(crate) fn path(dir: &TempDir) -> PathBuf {
    dir.path().join("notes.db")
}

pub(crate) fn fixture() -> Fixture {
    fixture_of(SCHEMA)
}

pub(crate) fn fixture_of(schema: &str) -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    Fixture {
        db: Database::open(config(&dir, schema)).unwrap(),
        dir,
    }
}

impl Fixture {
    /// A connection that no gate watches.
    pub(crate) fn raw(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(path(&self.dir)).unwrap()
    }

    /// The queue, decoded.
    pub(crate) fn ops(&self) -> Vec<OpBody> {
        ops_in(&self.raw())
    }

    /// Closes and opens again under another schema.
    pub(crate) fn reopen(self, schema: &str) -> crate::Result<Fixture> {
        self.db.close().unwrap();
        Ok(Fixture {
            db: Database::open(config(&self.dir, schema))?,
            dir: self.dir,
        })
    }

    pub(crate) fn count(&self, sql: &str) -> i64 {
        match self.query(sql, ()).unwrap().scalar() {
            Some(crate::Value::Integer(n)) => *n,
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) fn ops_in(conn: &rusqlite::Connection) -> Vec<OpBody> {
    let mut statement = conn
        .prepare("SELECT body FROM _dl_outbox ORDER BY op_id")
        .unwrap();
    let bodies = statement
        .query_map([], |row| row.get::<_, Vec<u8>>(0))
        .unwrap();
    bodies
        .map(|body| minicbor::decode(&body.unwrap()).unwrap())
        .collect()
}
