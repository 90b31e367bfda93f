//! What the writer remembers of the file from one write to the next.
//!
//! It holds as long as nobody else writes to the file; a write that finds that another process has
//! forgets all of it. So a write looks up nothing that the one before it knew.

use driftline_core::id::{CollectionId, DocumentId};
use rusqlite::Connection;

use super::error::Result;
use super::meta::{self, Standing};
use super::row;
use super::tables::Table;

/// Facts that may be forgotten at any time.
#[derive(Debug, Default)]
pub(super) struct Known {
    standing: Option<Standing>,
    /// Whether there are tombstones; told of more than there are, it only looks for them in vain.
    tombstones: Option<bool>,
    /// Ids that no document of the collection is beyond.
    greatest: Vec<(CollectionId, String)>,
}

impl Known {
    /// Where the file stands. Its newest op may be older than one this process drew since.
    pub(super) fn standing(&mut self, conn: &Connection) -> Result<Standing> {
        match self.standing {
            Some(standing) => Ok(standing),
            None => Ok(*self.standing.insert(meta::standing(conn)?)),
        }
    }

    /// Cursor, contact or floor are about to move.
    pub(super) fn forget_standing(&mut self) {
        self.standing = None;
    }

    /// Whether there may be a tombstone at all.
    pub(super) fn has_tombstones(&mut self, conn: &Connection) -> Result<bool> {
        match self.tombstones {
            Some(any) => Ok(any),
            None => Ok(*self.tombstones.insert(row::any_tombstones(conn)?)),
        }
    }

    /// A document became a tombstone.
    pub(super) fn note_tombstone(&mut self) {
        self.tombstones = Some(true);
    }

    /// Whether no row can have this id, for it is beyond them all: mostly so for a new document, whose
    /// id was drawn from a clock.
    pub(super) fn is_beyond(
        &mut self,
        conn: &Connection,
        table: &Table,
        id: &DocumentId,
    ) -> Result<bool> {
        let found = self.greatest.iter().find(|(c, _)| *c == table.collection);
        if let Some((_, greatest)) = found {
            return Ok(id.as_str() > greatest.as_str());
        }
        let greatest = row::greatest(conn, table)?.unwrap_or_default();
        let beyond = id.as_str() > greatest.as_str();
        self.greatest.push((table.collection, greatest));
        Ok(beyond)
    }

    /// A row was written.
    pub(super) fn note_row(&mut self, collection: CollectionId, id: &DocumentId) {
        let found = self.greatest.iter_mut().find(|(c, _)| *c == collection);
        if let Some((_, greatest)) = found
            && id.as_str() > greatest.as_str()
        {
            id.as_str().clone_into(greatest);
        }
    }
}
