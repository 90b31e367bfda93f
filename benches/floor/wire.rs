//! Ops one behind the other, each with its number and length in front.

use minicbor::{Decoder, decode};
use rusqlite::Connection;

use crate::Outcome;

/// Appends an op.
pub(super) fn put(body: &mut Vec<u8>, number: i64, op: &[u8]) {
    body.extend_from_slice(&number.to_be_bytes());
    body.extend_from_slice(&(op.len() as u32).to_be_bytes());
    body.extend_from_slice(op);
}

/// The first op of `body` and what is behind it.
pub(super) fn split(body: &[u8]) -> Option<(i64, &[u8], &[u8])> {
    let (number, rest) = body.split_first_chunk::<8>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (op, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    Some((i64::from_be_bytes(*number), op, rest))
}

/// Writes what an op of the raw queue says into the documents' table: the last one wins.
pub(super) fn apply(connection: &Connection, op: &[u8]) -> Outcome<()> {
    let mut d = Decoder::new(op);
    d.array()?;
    let id = uuid_text(d.bytes()?)?;
    let fields = d.map()?.unwrap_or(0);
    if fields == 1 {
        let field = d.u8()?;
        let sql = match field {
            5 => "UPDATE tasks SET done = ?2 WHERE id = ?1",
            _ => "UPDATE tasks SET priority = ?2 WHERE id = ?1",
        };
        let value = if field == 5 {
            i64::from(d.bool()?)
        } else {
            d.i64()?
        };
        connection.prepare_cached(sql)?.execute((id, value))?;
        return Ok(());
    }
    let mut insert = connection.prepare_cached(
        "INSERT OR REPLACE INTO tasks (id, title, note, assignee, status, done, priority, estimate, due)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?;
    insert.execute((
        id,
        text(&mut d)?,
        text(&mut d)?,
        text(&mut d)?,
        text(&mut d)?,
        numbered(&mut d, Decoder::bool)?,
        numbered(&mut d, Decoder::i64)?,
        numbered(&mut d, Decoder::f64)?,
        numbered(&mut d, Decoder::i64)?,
    ))?;
    Ok(())
}

fn text<'b>(d: &mut Decoder<'b>) -> Result<&'b str, decode::Error> {
    numbered(d, Decoder::str)
}

fn numbered<'b, T>(
    d: &mut Decoder<'b>,
    value: impl FnOnce(&mut Decoder<'b>) -> Result<T, decode::Error>,
) -> Result<T, decode::Error> {
    d.u8()?;
    value(d)
}

fn uuid_text(bytes: &[u8]) -> Outcome<String> {
    let id = driftline_core::id::OpId::from_slice(bytes).ok_or("an id has 16 bytes")?;
    Ok(id.to_string())
}
