//! What texts show, for queries: written when a page or a transaction changed a text, and for an
//! editor that types once a second at most.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use driftline_core::id::{CollectionId, DocumentId, FieldId};
use rusqlite::{Connection, OptionalExtension, params};

use super::super::error::{Result, StorageError};
use super::crdt::TextPlace;

/// How often a text's row is written while it keeps changing.
pub(crate) const SHOWN_EVERY: i64 = 1_000;

/// More places than this are not remembered: those are due.
const MOST_KNOWN: usize = 1_000;

/// When texts were last shown, so that one that keeps changing is not written at every change.
#[derive(Default)]
pub(crate) struct Showing {
    last: Mutex<HashMap<TextPlace, i64>>,
    /// Whether a text's row is behind and nobody has set out to write it.
    behind: AtomicBool,
    /// Whether somebody has.
    armed: AtomicBool,
}

impl Showing {
    /// A text's row is behind now, or will be with the commit.
    pub(crate) fn note_behind(&self) {
        self.behind.store(true, Ordering::Relaxed);
    }

    /// Whether a row is behind that nobody has set out to write; whoever asks does now.
    pub(crate) fn take_up(&self) -> bool {
        self.behind.load(Ordering::Relaxed)
            && !self.armed.swap(true, Ordering::AcqRel)
            && self.behind.swap(false, Ordering::AcqRel)
    }

    /// Whoever set out has arrived.
    pub(crate) fn arrived(&self) {
        self.armed.store(false, Ordering::Release);
    }

    fn last(&self) -> MutexGuard<'_, HashMap<TextPlace, i64>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a text may be written again; if so it counts as written `now`.
    pub(crate) fn is_due(&self, place: &TextPlace, now: i64) -> bool {
        let mut last = self.last();
        if (last.get(place)).is_some_and(|last| (0..SHOWN_EVERY).contains(&(now - last))) {
            return false;
        }
        if last.len() >= MOST_KNOWN {
            last.retain(|_, at| (0..SHOWN_EVERY).contains(&(now - *at)));
        }
        if last.len() < MOST_KNOWN {
            last.insert(place.clone(), now);
        }
        true
    }
}

/// Writes what a text shows.
pub(crate) fn write(conn: &Connection, place: &TextPlace, body: &str) -> Result<()> {
    conn.prepare_cached(
        "INSERT INTO _dl_texts (collection, document, field, body) VALUES (?1, ?2, ?3, ?4) \
         ON CONFLICT DO UPDATE SET body = excluded.body",
    )?
    .execute(params![
        place.collection,
        place.document.as_str(),
        place.field,
        body
    ])?;
    refreshed(conn, place)
}

/// Reads what a text shows; `None` if nobody has written it.
pub(crate) fn read(
    conn: &Connection,
    collection: CollectionId,
    document: &DocumentId,
    field: FieldId,
) -> Result<Option<String>> {
    Ok(conn
        .prepare_cached(
            "SELECT body FROM _dl_texts WHERE collection = ?1 AND document = ?2 AND field = ?3",
        )?
        .query_row(params![collection, document.as_str(), field], |row| {
            row.get(0)
        })
        .optional()?)
}

/// Takes away what a text showed: nobody has written it.
pub(crate) fn remove(conn: &Connection, place: &TextPlace) -> Result<()> {
    conn.prepare_cached(
        "DELETE FROM _dl_texts WHERE collection = ?1 AND document = ?2 AND field = ?3",
    )?
    .execute(params![
        place.collection,
        place.document.as_str(),
        place.field
    ])?;
    refreshed(conn, place)
}

/// Notes that a text shows something else than its row says.
pub(crate) fn note_stale(conn: &Connection, place: &TextPlace) -> Result<()> {
    conn.prepare_cached(
        "INSERT INTO _dl_texts_stale (collection, document, field) VALUES (?1, ?2, ?3) \
         ON CONFLICT DO NOTHING",
    )?
    .execute(params![
        place.collection,
        place.document.as_str(),
        place.field
    ])?;
    Ok(())
}

fn refreshed(conn: &Connection, place: &TextPlace) -> Result<()> {
    conn.prepare_cached(
        "DELETE FROM _dl_texts_stale WHERE collection = ?1 AND document = ?2 AND field = ?3",
    )?
    .execute(params![
        place.collection,
        place.document.as_str(),
        place.field
    ])?;
    Ok(())
}

/// Texts whose row is behind, at most `limit`.
pub(crate) fn stale(conn: &Connection, limit: usize) -> Result<Vec<TextPlace>> {
    let mut statement =
        conn.prepare_cached("SELECT collection, document, field FROM _dl_texts_stale LIMIT ?1")?;
    let mut rows = statement.query([i64::try_from(limit).unwrap_or(i64::MAX)])?;
    let mut places = Vec::new();
    while let Some(row) = rows.next()? {
        let document = DocumentId::new(row.get::<_, String>(1)?);
        places.push(TextPlace {
            collection: row.get(0)?,
            document: document.map_err(|_| StorageError::unreadable("document id"))?,
            field: row.get(2)?,
        });
    }
    Ok(places)
}

/// Forgets what all texts show: base is replaced.
pub(crate) fn clear_shown(conn: &Connection) -> Result<()> {
    conn.execute_batch("DELETE FROM _dl_texts; DELETE FROM _dl_texts_stale")?;
    Ok(())
}

/// After a change of schema: texts that a newer app wrote and that have a field now have no row yet.
pub(crate) fn note_unshown(conn: &Connection) -> Result<()> {
    conn.execute_batch(
        "INSERT INTO _dl_texts_stale (collection, document, field) \
         SELECT DISTINCT collection, document, field FROM _dl_crdt WHERE NOT EXISTS ( \
         SELECT 1 FROM _dl_texts WHERE _dl_texts.collection = _dl_crdt.collection \
         AND _dl_texts.document = _dl_crdt.document AND _dl_texts.field = _dl_crdt.field) \
         ON CONFLICT DO NOTHING",
    )?;
    Ok(())
}
