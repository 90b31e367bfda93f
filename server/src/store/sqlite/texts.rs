//! Texts and lists in a workspace's file.

use driftline_core::id::{DocumentId, OpId, Version};
use driftline_core::mutant::{Mutant, planted};
use driftline_core::text::Mark;
use rusqlite::{OptionalExtension, Row, params};

use super::error::damaged;
use super::read::{Source, View};
use super::workspace::Writing;
use crate::store::{
    FoldedState, NewEdit, NewFold, Piece, StoreError, StoredText, TailEdit, TextPlace,
};

/// Stands for how much was found deleted, where the document had been counted on meanwhile.
const UNKNOWN: i64 = -1;

impl<C: Source> View<C> {
    pub(super) fn writer_account(&mut self, writer: u64) -> Result<Option<String>, StoreError> {
        let mut query = self.prepare(
            "SELECT accounts.name FROM writers JOIN accounts ON accounts.number = writers.account WHERE writer = ?1",
        )?;
        let account = query.query_row([writer.cast_signed()], |row| row.get(0));
        Ok(account.optional()?)
    }

    pub(super) fn stored_text(
        &mut self,
        place: &TextPlace,
        most: Piece,
    ) -> Result<StoredText, StoreError> {
        let key = params![place.collection, place.document.as_str(), place.field];
        let mut text = StoredText::default();
        {
            let mut query = self.prepare(
                "SELECT version, state, marks, aside FROM texts WHERE collection = ?1 AND document = ?2 AND field = ?3",
            )?;
            let mut rows = query.query(key)?;
            if let Some(row) = rows.next()? {
                text.folded = folded(row)?;
                text.aside = row.get(3)?;
            }
        }
        let behind = match &text.folded {
            Some(folded) if planted(Mutant::FoldedTailKept) => folded.version,
            _ => 0,
        };
        (text.tail, text.more) = self.text_tail(place, behind, most)?;
        Ok(text)
    }

    /// A piece of a text's edits behind a version, and whether there are more.
    pub(super) fn text_tail(
        &mut self,
        place: &TextPlace,
        behind: Version,
        most: Piece,
    ) -> Result<(Vec<TailEdit>, bool), StoreError> {
        let mut query = self.prepare(
            "SELECT version, op_id, writer, edit FROM text_tail
             WHERE collection = ?1 AND document = ?2 AND field = ?3 AND version > ?4
             ORDER BY version LIMIT ?5",
        )?;
        // The one behind them says that there are more.
        let rows = i64::try_from(most.edits.max(1).saturating_add(1)).unwrap_or(i64::MAX);
        let key = params![
            place.collection,
            place.document.as_str(),
            place.field,
            behind.cast_signed(),
            rows
        ];
        let (mut rows, mut bytes, mut tail) = (query.query(key)?, 0_usize, Vec::new());
        while let Some(row) = rows.next()? {
            let edit = row.get_ref(3)?.as_blob();
            let edit = edit.map_err(|_| damaged("an edit of a text"))?;
            bytes = bytes.saturating_add(edit.len());
            let full = tail.len() >= most.edits || bytes > most.bytes;
            if full && !tail.is_empty() {
                return Ok((tail, true));
            }
            tail.push(TailEdit {
                version: row.get::<_, i64>(0)?.cast_unsigned(),
                op: row.get(1).map(OpId)?,
                writer: row.get::<_, i64>(2)?.cast_unsigned(),
                edit: edit.to_vec(),
            });
        }
        Ok((tail, false))
    }

    pub(super) fn found_deleted(
        &mut self,
        place: &TextPlace,
        version: Version,
    ) -> Result<u64, StoreError> {
        let mut query = self.prepare(
            "SELECT deleted FROM texts WHERE collection = ?1 AND document = ?2 AND field = ?3 AND version = ?4",
        )?;
        let key = params![
            place.collection,
            place.document.as_str(),
            place.field,
            version.cast_signed()
        ];
        let deleted = query.query_row(key, |row| row.get::<_, i64>(0));
        let deleted = deleted.optional()?.filter(|deleted| *deleted != UNKNOWN);
        Ok(deleted.unwrap_or(0).unsigned_abs())
    }

    pub(super) fn has_nothing_to_find(
        &mut self,
        place: &TextPlace,
        version: Version,
    ) -> Result<bool, StoreError> {
        let key = params![place.collection, place.document.as_str(), place.field];
        let folded = self
            .prepare(
                "SELECT version, deleted, aside IS NOT NULL FROM texts
                 WHERE collection = ?1 AND document = ?2 AND field = ?3",
            )?
            .query_row(key, |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get(2)?))
            })
            .optional()?;
        match folded {
            Some((_, _, true)) => return Ok(true),
            Some((_, UNKNOWN, false)) => return Ok(false),
            Some((at, _, false)) if at == version.cast_signed() => return Ok(true),
            Some(_) | None => {}
        }
        // An update ends with what it deletes: a count of 0, or a length that is not.
        let mut query = self.prepare(
            "SELECT EXISTS (SELECT 1 FROM text_tail
             WHERE collection = ?1 AND document = ?2 AND field = ?3 AND substr(edit, -1) <> x'00')",
        )?;
        Ok(!query.query_row(key, |row| row.get::<_, bool>(0))?)
    }

    pub(super) fn with_tail(
        &mut self,
        after: Option<&TextPlace>,
        most: usize,
    ) -> Result<Vec<TextPlace>, StoreError> {
        // Field numbers begin at 1: nothing stands before (collection, document, 0).
        let (collection, document, field) = after.map_or((-1, "", 0), |place| {
            let (id, field) = (place.document.as_str(), i64::from(place.field));
            (i64::from(place.collection), id, field)
        });
        let mut query = self.prepare(
            "SELECT DISTINCT collection, document, field FROM text_tail AS tail
             WHERE (collection, document, field) > (?1, ?2, ?3)
               AND NOT EXISTS (SELECT 1 FROM texts WHERE texts.collection = tail.collection
                 AND texts.document = tail.document AND texts.field = tail.field AND aside IS NOT NULL)
             ORDER BY collection, document, field LIMIT ?4",
        )?;
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let mut rows = query.query(params![collection, document, field, most])?;
        let mut places = Vec::new();
        while let Some(row) = rows.next()? {
            let document = DocumentId::new(row.get::<_, String>(1)?);
            places.push(TextPlace {
                collection: row.get(0)?,
                document: document.map_err(|_| damaged("a document's id"))?,
                field: row.get(2)?,
            });
        }
        Ok(places)
    }
}

fn folded(row: &Row<'_>) -> Result<Option<FoldedState>, StoreError> {
    let (Some(state), Some(marks)) = (row.get(1)?, row.get::<_, Option<Vec<u8>>>(2)?) else {
        return Ok(None);
    };
    Ok(Some(FoldedState {
        version: row.get::<_, i64>(0)?.cast_unsigned(),
        state,
        marks: read_marks(&marks)?,
    }))
}

/// `[[writer, next, last, version], …]`
fn marks_as_cbor(marks: &[Mark]) -> Result<Vec<u8>, StoreError> {
    let marks: Vec<_> = marks
        .iter()
        .map(|mark| (mark.writer, mark.next, mark.last, mark.version))
        .collect();
    minicbor::to_vec(marks).map_err(|_| damaged("the marks of a text"))
}

fn read_marks(bytes: &[u8]) -> Result<Vec<Mark>, StoreError> {
    let marks: Vec<(u64, u32, OpId, Version)> =
        minicbor::decode(bytes).map_err(|_| damaged("the marks of a text"))?;
    let mark = |(writer, next, last, version)| Mark {
        writer,
        next,
        last,
        version,
    };
    Ok(marks.into_iter().map(mark).collect())
}

impl View<Writing<'_>> {
    pub(super) fn bind_writer(&mut self, writer: u64, account: i64) -> Result<(), StoreError> {
        self.prepare("INSERT OR IGNORE INTO writers (writer, account) VALUES (?1, ?2)")?
            .execute(params![writer.cast_signed(), account])?;
        Ok(())
    }

    pub(super) fn append_to_tail(
        &mut self,
        place: &TextPlace,
        edit: &NewEdit<'_>,
    ) -> Result<(), StoreError> {
        self.prepare(
            "INSERT INTO text_tail (collection, document, field, version, op_id, writer, edit)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            place.collection,
            place.document.as_str(),
            place.field,
            edit.version.cast_signed(),
            edit.op.0,
            edit.writer.cast_signed(),
            edit.edit
        ])?;
        Ok(())
    }

    pub(super) fn forget_text(&mut self, place: &TextPlace) -> Result<(), StoreError> {
        for delete in [
            "DELETE FROM texts WHERE collection = ?1 AND document = ?2 AND field = ?3",
            "DELETE FROM text_tail WHERE collection = ?1 AND document = ?2 AND field = ?3",
        ] {
            self.prepare(delete)?.execute(params![
                place.collection,
                place.document.as_str(),
                place.field
            ])?;
        }
        Ok(())
    }

    pub(super) fn store_fold(
        &mut self,
        place: &TextPlace,
        fold: &NewFold,
    ) -> Result<(), StoreError> {
        let version = fold.folded.version.cast_signed();
        self.prepare(
            "INSERT INTO texts (collection, document, field, version, state, marks, deleted, name, body)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
             ON CONFLICT DO UPDATE SET version = ?4, state = ?5, marks = ?6, deleted = ?7, name = ?8, body = ?9",
        )?
        .execute(params![
            place.collection,
            place.document.as_str(),
            place.field,
            version,
            fold.folded.state,
            marks_as_cbor(&fold.folded.marks)?,
            fold.deleted.map_or(UNKNOWN, u64::cast_signed),
            fold.name,
            fold.body
        ])?;
        if planted(Mutant::FoldedTailKept) {
            return Ok(());
        }
        self.prepare(
            "DELETE FROM text_tail WHERE collection = ?1 AND document = ?2 AND field = ?3 AND version <= ?4",
        )?
        .execute(params![
            place.collection,
            place.document.as_str(),
            place.field,
            version
        ])?;
        Ok(())
    }

    pub(super) fn put_aside(&mut self, place: &TextPlace, why: &str) -> Result<(), StoreError> {
        self.prepare(
            "INSERT INTO texts (collection, document, field, version, aside) VALUES (?1, ?2, ?3, 0, ?4)
             ON CONFLICT DO UPDATE SET aside = ?4",
        )?
        .execute(params![
            place.collection,
            place.document.as_str(),
            place.field,
            why
        ])?;
        Ok(())
    }
}
