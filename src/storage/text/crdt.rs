//! What the server said of texts: a state, and the updates that came after it.
//!
//! Nothing here looks into the bytes. They pass the guard when they arrive and again when they are
//! read, so a damaged file is as harmless as a hostile server.

use driftline_core::id::{CollectionId, DocumentId, FieldId, OpId};
use driftline_core::text::Mark;
use minicbor::{Decoder, Encoder};
use rusqlite::{Connection, params};

use super::super::error::{Result, StorageError};

/// One text: a field of a document.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct TextPlace {
    pub(crate) collection: CollectionId,
    pub(crate) document: DocumentId,
    pub(crate) field: FieldId,
}

/// What base holds of a text, in the order it is applied.
#[derive(Debug, Default)]
pub(crate) struct Base {
    pub(crate) state: Option<State>,
    pub(crate) tail: Vec<Tail>,
}

/// Everything up to one update, folded.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) seq: i64,
    pub(crate) marks: Vec<Mark>,
    pub(crate) body: Vec<u8>,
}

/// One update behind the state.
#[derive(Debug)]
pub(crate) struct Tail {
    pub(crate) seq: i64,
    pub(crate) writer: u64,
    pub(crate) op: OpId,
    pub(crate) body: Vec<u8>,
}

impl Base {
    /// Bytes behind the state.
    pub(crate) fn tail_bytes(&self) -> usize {
        self.tail.iter().map(|tail| tail.body.len()).sum()
    }
}

/// Reads what base holds of a text behind the update with number `after`. A state with a greater
/// number is among it: whoever knew everything up to `after` cannot go on from there.
pub(crate) fn load(conn: &Connection, place: &TextPlace, root: OpId, after: i64) -> Result<Base> {
    let mut statement = conn.prepare_cached(
        "SELECT seq, writer, op_id, marks, body FROM _dl_crdt \
         WHERE collection = ?1 AND document = ?2 AND field = ?3 AND root = ?4 AND seq > ?5 ORDER BY seq",
    )?;
    let mut rows = statement.query(params![
        place.collection,
        place.document.as_str(),
        place.field,
        root.0,
        after
    ])?;
    let mut base = Base::default();
    while let Some(row) = rows.next()? {
        let (seq, body) = (row.get(0)?, row.get(4)?);
        match row.get::<_, Option<Vec<u8>>>(3)? {
            Some(marks) => {
                let marks = decode_marks(&marks)?;
                base.state = Some(State { seq, marks, body });
            }
            None => base.tail.push(Tail {
                seq,
                writer: row.get::<_, i64>(1)?.cast_unsigned(),
                op: OpId(row.get(2)?),
                body,
            }),
        }
    }
    Ok(base)
}

/// Appends an update.
pub(crate) fn append(
    conn: &Connection,
    place: &TextPlace,
    root: OpId,
    (op, writer): (OpId, u64),
    update: &[u8],
) -> Result<()> {
    conn.prepare_cached(
        "INSERT INTO _dl_crdt (collection, document, field, root, seq, writer, op_id, body) \
         VALUES (?1, ?2, ?3, ?4, 1 + ifnull((SELECT seq FROM _dl_crdt \
         WHERE collection = ?1 AND document = ?2 AND field = ?3 AND root = ?4 \
         ORDER BY seq DESC LIMIT 1), 0), ?5, ?6, ?7)",
    )?
    .execute(params![
        place.collection,
        place.document.as_str(),
        place.field,
        root.0,
        writer.cast_signed(),
        op.0,
        update
    ])?;
    Ok(())
}

/// Puts a state in place of everything up to the update with number `seq`.
pub(crate) fn put_state(
    conn: &Connection,
    place: &TextPlace,
    root: OpId,
    seq: i64,
    marks: &[Mark],
    state: &[u8],
) -> Result<()> {
    let key = (place.collection, place.document.as_str(), place.field);
    conn.prepare_cached(
        "DELETE FROM _dl_crdt \
         WHERE collection = ?1 AND document = ?2 AND field = ?3 AND root = ?4 AND seq <= ?5",
    )?
    .execute(params![key.0, key.1, key.2, root.0, seq])?;
    conn.prepare_cached(
        "INSERT INTO _dl_crdt (collection, document, field, root, seq, marks, body) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![
        key.0,
        key.1,
        key.2,
        root.0,
        seq,
        encode_marks(marks),
        state
    ])?;
    Ok(())
}

/// Forgets everything of a text that has another root than `root`; with none, all of it.
pub(crate) fn forget_others(
    conn: &Connection,
    place: &TextPlace,
    root: Option<OpId>,
) -> Result<()> {
    conn.prepare_cached(
        "DELETE FROM _dl_crdt \
         WHERE collection = ?1 AND document = ?2 AND field = ?3 AND root IS NOT ?4",
    )?
    .execute(params![
        place.collection,
        place.document.as_str(),
        place.field,
        root.map(|root| root.0)
    ])?;
    Ok(())
}

/// Forgets all texts: base is replaced.
pub(crate) fn clear(conn: &Connection) -> Result<()> {
    conn.execute_batch("DELETE FROM _dl_crdt")?;
    Ok(())
}

/// `[writer, next, last, …]`: versions of marks stand in the document's row.
fn encode_marks(marks: &[Mark]) -> Vec<u8> {
    let mut encoder = Encoder::new(Vec::with_capacity(3 + 32 * marks.len()));
    // Writing to memory cannot fail.
    let _ = encoder.array(3 * marks.len() as u64);
    for mark in marks {
        let _ = encoder
            .u64(mark.writer)
            .and_then(|e| e.u32(mark.next))
            .and_then(|e| e.bytes(&mark.last.0));
    }
    encoder.into_writer()
}

fn decode_marks(bytes: &[u8]) -> Result<Vec<Mark>> {
    let damaged = || StorageError::unreadable("text marks");
    let mut decoder = Decoder::new(bytes);
    let parts = decoder.array()?.ok_or_else(damaged)?;
    if !parts.is_multiple_of(3) {
        return Err(damaged());
    }
    let mut marks: Vec<Mark> = Vec::new();
    for _ in 0..parts / 3 {
        let mark = Mark {
            writer: decoder.u64()?,
            next: decoder.u32()?,
            last: OpId::from_slice(decoder.bytes()?).ok_or_else(damaged)?,
            version: 0,
        };
        if marks
            .last()
            .is_some_and(|before| before.writer >= mark.writer)
        {
            return Err(damaged());
        }
        marks.push(mark);
    }
    Ok(marks)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(writer: u64, next: u32) -> Mark {
        Mark {
            writer,
            next,
            last: OpId([7; 16]),
            version: 0,
        }
    }

    #[test]
    fn marks_read_back_and_must_stand_in_order() {
        let marks = vec![mark(3, 7), mark(1 << 52, u32::MAX)];
        assert_eq!(decode_marks(&encode_marks(&marks)).unwrap(), marks);
        assert!(decode_marks(&encode_marks(&[mark(2, 1), mark(2, 2)])).is_err());
        assert!(decode_marks(&[0x82, 1, 1]).is_err());
        assert!(decode_marks(&[0x83, 1, 1]).is_err());
    }
}
