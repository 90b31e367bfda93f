//! What a file was found to be when it was opened, and whether it still is.
//!
//! Another process may upgrade tables or schema while this one has the file open. A commit of
//! another process shows in `PRAGMA data_version`; only after one are the facts read again, in the
//! IMMEDIATE transaction of the next write.

use rusqlite::Connection;

use super::error::{Result, StorageError};
use super::migrations;

/// Facts that every write relies on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    tables: u32,
    /// The schema's record as it is stored.
    schema: Option<String>,
    /// Whether it has an account.
    pub(super) account: bool,
    /// Whether a guest's documents are still being turned into ops.
    pub(super) attaching: bool,
    /// Whether the account may only read.
    pub(super) reader: bool,
    /// The boot session whose commits may not be on the disk.
    pub(super) unsettled: Option<i64>,
}

impl Facts {
    pub(super) fn read(conn: &Connection) -> Result<Facts> {
        let mut statement = conn.prepare_cached(
            "SELECT (SELECT value FROM _dl_meta WHERE key = 'schema'), \
             EXISTS (SELECT 1 FROM _dl_meta WHERE key = 'account'), \
             EXISTS (SELECT 1 FROM _dl_meta WHERE key = 'attach'), \
             EXISTS (SELECT 1 FROM _dl_meta WHERE key = 'role'), \
             (SELECT value FROM _dl_meta WHERE key = 'unsettled')",
        )?;
        let tables = migrations::version(conn)?;
        Ok(statement.query_row([], |row| {
            Ok(Facts {
                tables,
                schema: row.get(0)?,
                account: row.get(1)?,
                attaching: row.get(2)?,
                reader: row.get(3)?,
                unsettled: row.get(4)?,
            })
        })?)
    }

    /// Whether a file of which this was true can be written to now that `now` is.
    pub(super) fn check(&self, now: &Facts) -> Result<()> {
        if now.tables != self.tables {
            return Err(StorageError::NewerFile {
                found: now.tables,
                known: self.tables,
            });
        }
        match now.schema == self.schema {
            true => Ok(()),
            false => Err(StorageError::SchemaChanged),
        }
    }
}
