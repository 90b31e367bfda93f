//! What documents, sets and texts are made of: tags, writes, versions, op ids.

use minicbor::bytes::ByteArray;
use minicbor::decode::{self, Decoder};
use minicbor::encode::{self, Encoder, Write as Output};

use super::super::Write;
use crate::id::{OpId, PENDING, Version};
use crate::time::Stamp;

pub(super) fn tags<W: Output>(
    e: &mut Encoder<W>,
    held: &[(OpId, Version)],
) -> Result<(), encode::Error<W::Error>> {
    e.array(2 * held.len() as u64)?;
    for (op, at) in held {
        e.bytes(&op.0)?;
        version(e, *at)?;
    }
    Ok(())
}

pub(super) fn read_tags(d: &mut Decoder<'_>) -> Result<Vec<(OpId, Version)>, decode::Error> {
    let mut held = Vec::new();
    let parts = length(d.array()?)?;
    if !parts.is_multiple_of(2) {
        return Err(decode::Error::message("tags are pairs of op and version"));
    }
    for _ in 0..parts / 2 {
        held.push((op(d)?, read_version(d)?));
    }
    Ok(held)
}

pub(super) fn write<W: Output>(
    e: &mut Encoder<W>,
    write: &Write,
    named: Option<OpId>,
) -> Result<(), encode::Error<W::Error>> {
    e.array(3)?;
    op_unless(e, write.op, named)?;
    e.u64(write.stamp.0)?;
    version(e, write.version)
}

pub(super) fn read_write(d: &mut Decoder<'_>, named: Option<OpId>) -> Result<Write, decode::Error> {
    expect_array(d, 3)?;
    Ok(Write {
        op: op_or(d, named)?,
        stamp: Stamp(d.u64()?),
        version: read_version(d)?,
    })
}

/// [`PENDING`] is null: nine bytes less in every row with a pending write.
pub(super) fn version<W: Output>(
    e: &mut Encoder<W>,
    version: Version,
) -> Result<(), encode::Error<W::Error>> {
    if version == PENDING {
        e.null()?.ok()
    } else {
        e.u64(version)?.ok()
    }
}

pub(super) fn read_version(d: &mut Decoder<'_>) -> Result<Version, decode::Error> {
    if d.datatype()? == minicbor::data::Type::Null {
        d.null()?;
        return Ok(PENDING);
    }
    d.u64()
}

pub(super) fn op(d: &mut Decoder<'_>) -> Result<OpId, decode::Error> {
    let bytes: ByteArray<16> = d.decode()?;
    Ok(OpId(bytes.into()))
}

/// The op that is named anyway is null.
pub(super) fn op_unless<W: Output>(
    e: &mut Encoder<W>,
    op: OpId,
    named: Option<OpId>,
) -> Result<(), encode::Error<W::Error>> {
    if named == Some(op) {
        e.null()?.ok()
    } else {
        e.bytes(&op.0)?.ok()
    }
}

pub(super) fn op_or(d: &mut Decoder<'_>, named: Option<OpId>) -> Result<OpId, decode::Error> {
    match named {
        Some(named) if d.datatype()? == minicbor::data::Type::Null => {
            d.null()?;
            Ok(named)
        }
        _ => op(d),
    }
}

pub(super) fn length(length: Option<u64>) -> Result<u64, decode::Error> {
    length.ok_or_else(|| decode::Error::message("a length must be given"))
}

pub(super) fn expect_array(d: &mut Decoder<'_>, parts: u64) -> Result<(), decode::Error> {
    if d.array()? == Some(parts) {
        Ok(())
    } else {
        Err(decode::Error::message(
            "an array of another length was expected",
        ))
    }
}
