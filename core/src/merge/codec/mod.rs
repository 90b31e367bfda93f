//! The binary form of a [`DocumentState`]: on the wire, in the server's rows, in a device's rows.
//!
//! Most values of a document share one write, so writes stand once in a table and fields point
//! into it: 8 fields of one insert cost 26 bytes of provenance instead of 200.

mod parts;
mod plain;
mod texts;

use minicbor::decode::{self, Decoder};
use minicbor::encode::{self, Encoder, Write as Output};

use super::{DocumentState, Generation, Life, Register, Reopened, SetState, Write};
use crate::id::{FieldId, OpId};
use crate::op::{FieldMap, room_for};
use crate::value::Value;
use parts::{
    expect_array, length, op, op_or, op_unless, read_tags, read_version, read_write, tags, version,
    write,
};
pub use plain::encode_inserted;
pub(super) use plain::encode_whole;
use texts::{read_text, write_text};

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
const TEXTS: u8 = 12;
/// In a device's rows alone: for each of the writes, the fields it wrote whose values stand
/// elsewhere.
const FIELDS: u8 = 11;

/// Which register values are left out because they stand elsewhere (in a device's columns).
pub(crate) type Elsewhere<'a> = &'a dyn Fn(FieldId) -> bool;

/// A register, and where its write stands in the table.
struct Placed<'s> {
    field: FieldId,
    at: usize,
    value: &'s Value,
    elsewhere: bool,
}

impl DocumentState {
    /// Encodes all of it but the register values for which `elsewhere` says so.
    ///
    /// # Errors
    /// What the output says.
    pub fn encode_provenance<W: Output>(
        &self,
        e: &mut Encoder<W>,
        elsewhere: Elsewhere<'_>,
    ) -> Result<(), encode::Error<W::Error>> {
        self.encode_with(e, elsewhere, false, None)
    }

    /// The same for a device's row, in fewer bytes: the op that the row names anyway is left out.
    ///
    /// # Errors
    /// What the output says.
    pub fn encode_row<W: Output>(
        &self,
        e: &mut Encoder<W>,
        elsewhere: Elsewhere<'_>,
        named: Option<OpId>,
    ) -> Result<(), encode::Error<W::Error>> {
        self.encode_with(e, elsewhere, true, named)
    }

    fn encode_with<W: Output>(
        &self,
        e: &mut Encoder<W>,
        elsewhere: Elsewhere<'_>,
        compact: bool,
        named: Option<OpId>,
    ) -> Result<(), encode::Error<W::Error>> {
        if compact && let Some(by) = self.one_write_apart(elsewhere) {
            let fields = self.registers.iter().map(|(field, _)| field);
            return plain::encode(e, (self.generation, self.version), by, named, fields);
        }
        let mut table: Vec<Write> = Vec::new();
        // Asked once for each register: every row of a device is written through here.
        let mut placed: Vec<Placed<'_>> = Vec::with_capacity(self.registers.len());
        for (field, register) in self.registers.iter() {
            let known = table.iter().position(|write| *write == register.write);
            let at = known.unwrap_or_else(|| {
                table.push(register.write);
                table.len() - 1
            });
            placed.push(Placed {
                field,
                at,
                value: &register.value,
                elsewhere: elsewhere(field),
            });
        }
        let is_apart = |placed: &Placed<'_>| compact && placed.elsewhere;
        let apart_count = placed.iter().filter(|placed| is_apart(placed)).count();
        let together = self.registers.len() - apart_count;
        let keys = 2
            + usize::from(!self.is_alive())
            + usize::from(self.reopened.is_some())
            + usize::from(self.clock > 0)
            + usize::from(!table.is_empty())
            + usize::from(apart_count > 0)
            + usize::from(together > 0)
            + usize::from(!self.counters.is_empty())
            + usize::from(!self.sets.is_empty())
            + usize::from(!self.texts.is_empty())
            + usize::from(!self.updates.is_empty())
            + usize::from(self.updates_forgotten > 0);
        e.map(keys as u64)?;
        e.u8(GENERATION)?.array(2)?;
        op_unless(e, self.generation.opener, named)?;
        version(e, self.generation.version)?;
        e.u8(VERSION)?;
        version(e, self.version)?;
        if let Life::Deleted(by) = self.life {
            e.u8(DELETED)?;
            write(e, &by, named)?;
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
                write(e, entry, named)?;
            }
        }
        if apart_count > 0 {
            e.u8(FIELDS)?.array(table.len() as u64)?;
            for at in 0..table.len() {
                let mine = || {
                    placed
                        .iter()
                        .filter(|placed| is_apart(placed) && placed.at == at)
                };
                e.array(mine().count() as u64)?;
                for placed in mine() {
                    e.u16(placed.field)?;
                }
            }
        }
        if together > 0 {
            e.u8(REGISTERS)?.map(together as u64)?;
            for placed in placed.iter().filter(|placed| !is_apart(placed)) {
                e.u16(placed.field)?;
                if placed.elsewhere {
                    e.array(1)?.u32(placed.at as u32)?;
                } else {
                    e.array(2)?.u32(placed.at as u32)?.encode(placed.value)?;
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
        if !self.texts.is_empty() {
            e.u8(TEXTS)?.map(self.texts.len() as u64)?;
            for (field, text) in self.texts.iter() {
                write_text(e.u16(field)?, text, named)?;
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
        DocumentState::decode_with(d, elsewhere, false, None)
    }

    /// Decodes what [`DocumentState::encode_row`] made, given the op that the row names.
    ///
    /// # Errors
    /// Malformed or truncated bytes; an op left out that the row does not name.
    pub fn decode_row(
        d: &mut Decoder<'_>,
        elsewhere: &mut dyn FnMut(FieldId) -> Value,
        named: Option<OpId>,
    ) -> Result<DocumentState, decode::Error> {
        DocumentState::decode_with(d, elsewhere, true, named)
    }

    fn decode_with(
        d: &mut Decoder<'_>,
        elsewhere: &mut dyn FnMut(FieldId) -> Value,
        compact: bool,
        named: Option<OpId>,
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
                        opener: op_or(d, named)?,
                        version: read_version(d)?,
                    };
                    opened = true;
                }
                VERSION => state.version = read_version(d)?,
                DELETED => state.life = Life::Deleted(read_write(d, named)?),
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
                        table.push(read_write(d, named)?);
                    }
                }
                REGISTERS => {
                    let count = length(d.map()?)?;
                    state.registers.reserve(room_for(count));
                    for _ in 0..count {
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
                FIELDS if compact => {
                    for at in 0..length(d.array()?)? {
                        let write = usize::try_from(at)
                            .ok()
                            .and_then(|at| table.get(at).copied());
                        for _ in 0..length(d.array()?)? {
                            let field = d.u16()?;
                            let write = write.ok_or_else(|| {
                                decode::Error::message("a register names no write")
                            })?;
                            state.registers.insert(
                                field,
                                Register {
                                    value: elsewhere(field),
                                    write,
                                },
                            );
                        }
                    }
                }
                COUNTERS => state.counters = d.decode()?,
                SETS => state.sets = d.decode::<FieldMap<SetState>>()?,
                TEXTS => {
                    for _ in 0..length(d.map()?)? {
                        let field = d.u16()?;
                        state.texts.insert(field, read_text(d, named)?);
                    }
                }
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

#[cfg(test)]
pub(super) mod tests;
