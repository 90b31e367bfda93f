//! The binary form of a [`DocumentState`]: on the wire, in the server's rows, in a device's rows.
//!
//! Most values of a document share one write, so writes stand once in a table and fields point
//! into it: 8 fields of one insert cost 26 bytes of provenance instead of 200.

use minicbor::bytes::ByteArray;
use minicbor::decode::{self, Decoder};
use minicbor::encode::{self, Encoder, Write as Output};

use super::{DocumentState, Generation, Life, Register, Reopened, SetState, Write};
use crate::id::{FieldId, OpId, PENDING, Version};
use crate::op::FieldMap;
use crate::time::Stamp;
use crate::value::Value;

// Keys of the map. Absent means empty, zero or alive.
const GENERATION: u8 = 0;
const VERSION: u8 = 1;
const DELETED: u8 = 2;
const REOPENED: u8 = 3;
const CLOCK: u8 = 4;
const WRITES: u8 = 5;
const REGISTERS: u8 = 6;
const COUNTERS: u8 = 7;
const SETS: u8 = 8;
const UPDATES: u8 = 9;
const FORGOTTEN: u8 = 10;

/// Which register values are left out because they stand elsewhere (in a device's columns).
pub(crate) type Elsewhere<'a> = &'a dyn Fn(FieldId) -> bool;

impl DocumentState {
    /// Encodes all of it but the register values for which `elsewhere` says so.
    pub fn encode_provenance<W: Output>(
        &self,
        e: &mut Encoder<W>,
        elsewhere: Elsewhere<'_>,
    ) -> Result<(), encode::Error<W::Error>> {
        let mut table: Vec<Write> = Vec::new();
        for (_, register) in self.registers.iter() {
            if !table.contains(&register.write) {
                table.push(register.write);
            }
        }
        let keys = 2
            + usize::from(!self.is_alive())
            + usize::from(self.reopened.is_some())
            + usize::from(self.clock > 0)
            + 2 * usize::from(!table.is_empty())
            + usize::from(!self.counters.is_empty())
            + usize::from(!self.sets.is_empty())
            + usize::from(!self.updates.is_empty())
            + usize::from(self.updates_forgotten > 0);
        e.map(keys as u64)?;
        e.u8(GENERATION)?
            .array(2)?
            .bytes(&self.generation.opener.0)?;
        version(e, self.generation.version)?;
        e.u8(VERSION)?;
        version(e, self.version)?;
        if let Life::Deleted(by) = self.life {
            e.u8(DELETED)?;
            write(e, &by)?;
        }
        if let Some(reopened) = self.reopened {
            e.u8(REOPENED)?
                .array(3)?
                .bytes(&reopened.generation.0)?
                .bytes(&reopened.delete.0)?;
            version(e, reopened.delete_version)?;
        }
        if self.clock > 0 {
            e.u8(CLOCK)?.u64(self.clock)?;
        }
        if !table.is_empty() {
            e.u8(WRITES)?.array(table.len() as u64)?;
            for entry in &table {
                write(e, entry)?;
            }
            e.u8(REGISTERS)?.map(self.registers.len() as u64)?;
            for (field, register) in self.registers.iter() {
                let at = table
                    .iter()
                    .position(|w| *w == register.write)
                    .unwrap_or_default();
                e.u16(field)?;
                if elsewhere(field) {
                    e.array(1)?.u32(at as u32)?;
                } else {
                    e.array(2)?.u32(at as u32)?.encode(&register.value)?;
                }
            }
        }
        if !self.counters.is_empty() {
            e.u8(COUNTERS)?.encode(&self.counters)?;
        }
        if !self.sets.is_empty() {
            e.u8(SETS)?.map(self.sets.len() as u64)?;
            for (field, set) in self.sets.iter() {
                e.u16(field)?.encode(set)?;
            }
        }
        if !self.updates.is_empty() {
            e.u8(UPDATES)?;
            tags(e, &self.updates)?;
        }
        if self.updates_forgotten > 0 {
            e.u8(FORGOTTEN)?.u64(self.updates_forgotten)?;
        }
        Ok(())
    }

    /// Decodes; `elsewhere` supplies the register values that were left out.
    ///
    /// # Errors
    /// Malformed or truncated bytes.
    pub fn decode_provenance(
        d: &mut Decoder<'_>,
        elsewhere: &mut dyn FnMut(FieldId) -> Value,
    ) -> Result<DocumentState, decode::Error> {
        let mut state = DocumentState::opened(OpId::ZERO, 0);
        let mut table: Vec<Write> = Vec::new();
        let mut opened = false;
        for _ in 0..length(d.map()?)? {
            // Keys of later versions may be wider than ours.
            match u8::try_from(d.u32()?).unwrap_or(u8::MAX) {
                GENERATION => {
                    expect_array(d, 2)?;
                    state.generation = Generation {
                        opener: op(d)?,
                        version: read_version(d)?,
                    };
                    opened = true;
                }
                VERSION => state.version = read_version(d)?,
                DELETED => state.life = Life::Deleted(read_write(d)?),
                REOPENED => {
                    expect_array(d, 3)?;
                    state.reopened = Some(Reopened {
                        generation: op(d)?,
                        delete: op(d)?,
                        delete_version: read_version(d)?,
                    });
                }
                CLOCK => state.clock = d.u64()?,
                WRITES => {
                    for _ in 0..length(d.array()?)? {
                        table.push(read_write(d)?);
                    }
                }
                REGISTERS => {
                    for _ in 0..length(d.map()?)? {
                        let field = d.u16()?;
                        let parts = length(d.array()?)?;
                        let at = d.u32()? as usize;
                        let write = *table
                            .get(at)
                            .ok_or_else(|| decode::Error::message("a register names no write"))?;
                        let value = match parts {
                            1 => elsewhere(field),
                            2 => d.decode()?,
                            _ => {
                                return Err(decode::Error::message(
                                    "a register has one or two parts",
                                ));
                            }
                        };
                        state.registers.insert(field, Register { value, write });
                    }
                }
                COUNTERS => state.counters = d.decode()?,
                SETS => state.sets = d.decode::<FieldMap<SetState>>()?,
                UPDATES => state.updates = read_tags(d)?,
                FORGOTTEN => state.updates_forgotten = d.u64()?,
                _ => d.skip()?,
            }
        }
        if opened {
            Ok(state)
        } else {
            Err(decode::Error::message("a document has a generation"))
        }
    }
}

impl<C> minicbor::Encode<C> for DocumentState {
    fn encode<W: Output>(
        &self,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        self.encode_provenance(e, &|_| false)
    }
}

impl<'b, C> minicbor::Decode<'b, C> for DocumentState {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        DocumentState::decode_provenance(d, &mut |_| Value::Null)
    }
}

impl<C> minicbor::Encode<C> for SetState {
    fn encode<W: Output>(
        &self,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        e.map(self.elements.len() as u64)?;
        for (element, held) in &self.elements {
            e.str(element)?;
            tags(e, held)?;
        }
        Ok(())
    }
}

impl<'b, C> minicbor::Decode<'b, C> for SetState {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        let mut set = SetState::default();
        for _ in 0..length(d.map()?)? {
            let element = d.str()?.to_owned();
            set.elements.insert(element, read_tags(d)?);
        }
        Ok(set)
    }
}

fn tags<W: Output>(
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

fn read_tags(d: &mut Decoder<'_>) -> Result<Vec<(OpId, Version)>, decode::Error> {
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

fn write<W: Output>(e: &mut Encoder<W>, write: &Write) -> Result<(), encode::Error<W::Error>> {
    e.array(3)?.bytes(&write.op.0)?.u64(write.stamp.0)?;
    version(e, write.version)
}

fn read_write(d: &mut Decoder<'_>) -> Result<Write, decode::Error> {
    expect_array(d, 3)?;
    Ok(Write {
        op: op(d)?,
        stamp: Stamp(d.u64()?),
        version: read_version(d)?,
    })
}

/// [`PENDING`] is null: nine bytes less in every row with a pending write.
fn version<W: Output>(e: &mut Encoder<W>, version: Version) -> Result<(), encode::Error<W::Error>> {
    if version == PENDING {
        e.null()?.ok()
    } else {
        e.u64(version)?.ok()
    }
}

fn read_version(d: &mut Decoder<'_>) -> Result<Version, decode::Error> {
    if d.datatype()? == minicbor::data::Type::Null {
        d.null()?;
        return Ok(PENDING);
    }
    d.u64()
}

fn op(d: &mut Decoder<'_>) -> Result<OpId, decode::Error> {
    let bytes: ByteArray<16> = d.decode()?;
    Ok(OpId(bytes.into()))
}

fn length(length: Option<u64>) -> Result<u64, decode::Error> {
    length.ok_or_else(|| decode::Error::message("a length must be given"))
}

fn expect_array(d: &mut Decoder<'_>, parts: u64) -> Result<(), decode::Error> {
    if d.array()? == Some(parts) {
        Ok(())
    } else {
        Err(decode::Error::message(
            "an array of another length was expected",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(write: impl FnOnce(&mut Encoder<&mut Vec<u8>>)) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(&mut Encoder::new(&mut bytes));
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<DocumentState, decode::Error> {
        minicbor::decode(bytes)
    }

    fn generation(e: &mut Encoder<&mut Vec<u8>>) {
        e.u8(GENERATION)
            .unwrap()
            .array(2)
            .unwrap()
            .bytes(&[1; 16])
            .unwrap()
            .u64(1)
            .unwrap();
    }

    #[test]
    fn what_is_malformed_is_refused() {
        let no_generation = encoded(|e| {
            e.map(1).unwrap().u8(VERSION).unwrap().u64(1).unwrap();
        });
        assert!(decode(&no_generation).is_err());
        let dangling = encoded(|e| {
            generation(e.map(2).unwrap());
            e.u8(REGISTERS).unwrap().map(1).unwrap().u16(1).unwrap();
            e.array(2).unwrap().u32(0).unwrap().null().unwrap();
        });
        assert!(
            decode(&dangling)
                .unwrap_err()
                .to_string()
                .contains("names no write")
        );
        let odd = encoded(|e| {
            generation(e.map(2).unwrap());
            e.u8(UPDATES).unwrap().array(3).unwrap();
            e.bytes(&[1; 16])
                .unwrap()
                .u64(1)
                .unwrap()
                .bytes(&[2; 16])
                .unwrap();
        });
        assert!(decode(&odd).unwrap_err().to_string().contains("pairs"));
        let endless = encoded(|e| {
            e.begin_map().unwrap().end().unwrap();
        });
        assert!(decode(&endless).is_err());
    }

    #[test]
    fn hostile_lengths_reserve_nothing() {
        let huge = encoded(|e| {
            generation(e.map(2).unwrap());
            e.u8(WRITES).unwrap().array(u64::MAX).unwrap();
        });
        assert!(decode(&huge).is_err());
    }

    #[test]
    fn unknown_keys_of_a_newer_version_are_skipped() {
        let newer = encoded(|e| {
            generation(e.map(2).unwrap());
            e.u8(99).unwrap().array(1).unwrap().str("later").unwrap();
        });
        assert_eq!(
            decode(&newer).unwrap(),
            DocumentState::opened(OpId([1; 16]), 1).with_version(0)
        );
    }

    #[test]
    fn fields_of_one_write_share_its_provenance() {
        let mut state = DocumentState::opened(OpId([1; 16]), 1);
        let write = super::super::Write {
            op: OpId([1; 16]),
            stamp: Stamp::at(1_700_000_000_000),
            version: 1,
        };
        let mut sizes = Vec::new();
        for field in 1..=8 {
            state.registers.insert(
                field,
                Register {
                    value: Value::Null,
                    write,
                },
            );
            sizes.push(minicbor::to_vec(&state).unwrap().len());
        }
        assert!(
            sizes.windows(2).all(|pair| pair[1] - pair[0] == 4),
            "{sizes:?}"
        );
    }

    impl DocumentState {
        fn with_version(mut self, version: Version) -> DocumentState {
            self.version = version;
            self
        }
    }
}
