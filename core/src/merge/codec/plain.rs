//! The usual document: a live one of registers alone that one op wrote.

use minicbor::encode::{self, Encoder, Write as Output};

use super::parts::{op_unless, version, write};
use super::{Elsewhere, FIELDS, GENERATION, REGISTERS, VERSION, WRITES};
use crate::id::{FieldId, OpId, Version};
use crate::merge::{DocumentState, Generation, Write};
use crate::value::ValueRef;

impl DocumentState {
    /// The one write of a live document of registers alone, all of whose values stand elsewhere: as most
    /// are that nobody has changed since their insert.
    pub(super) fn one_write_apart(&self, elsewhere: Elsewhere<'_>) -> Option<&Write> {
        let registers = Some(&self.registers).filter(|_| self.is_of_registers_alone())?;
        let (_, first) = registers.iter().next()?;
        let mut others = registers.iter();
        others
            .all(|(field, register)| register.write == first.write && elsewhere(field))
            .then_some(&first.write)
    }
}

/// What [`DocumentState::encode_row`] makes of a document that the insert `by` brought into being with
/// registers alone, all of whose values stand elsewhere. There is at least one.
///
/// # Errors
/// What the output says.
pub fn encode_inserted<W: Output>(
    e: &mut Encoder<W>,
    by: &Write,
    fields: &[FieldId],
) -> Result<(), encode::Error<W::Error>> {
    let generation = Generation {
        opener: by.op,
        version: by.version,
    };
    let fields = fields.iter().copied();
    encode(e, (generation, by.version), by, None, fields)
}

/// Encodes such a document without looking at each part of it.
pub(super) fn encode<W: Output>(
    e: &mut Encoder<W>,
    (generation, at): (Generation, Version),
    by: &Write,
    named: Option<OpId>,
    fields: impl ExactSizeIterator<Item = FieldId>,
) -> Result<(), encode::Error<W::Error>> {
    e.map(4)?.u8(GENERATION)?.array(2)?;
    op_unless(e, generation.opener, named)?;
    version(e, generation.version)?;
    e.u8(VERSION)?;
    version(e, at)?;
    e.u8(WRITES)?.array(1)?;
    write(e, by, named)?;
    e.u8(FIELDS)?.array(1)?.array(fields.len() as u64)?;
    for field in fields {
        e.u16(field)?;
    }
    Ok(())
}

/// What a [`DocumentState`] is encoded as that the insert `by` brought into being with these values
/// alone. There is at least one.
///
/// # Errors
/// What the output says.
pub(in crate::merge) fn encode_whole<W: Output>(
    e: &mut Encoder<W>,
    by: &Write,
    values: &[(FieldId, ValueRef<'_>)],
) -> Result<(), encode::Error<W::Error>> {
    e.map(4)?.u8(GENERATION)?.array(2)?;
    op_unless(e, by.op, None)?;
    version(e, by.version)?;
    e.u8(VERSION)?;
    version(e, by.version)?;
    e.u8(WRITES)?.array(1)?;
    write(e, by, None)?;
    e.u8(REGISTERS)?.map(values.len() as u64)?;
    for (field, value) in values {
        e.u16(*field)?.array(2)?.u32(0)?.encode(value)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merge::Register;
    use crate::time::Stamp;
    use crate::value::Value;

    #[test]
    fn an_insert_is_written_as_its_state_is() {
        let by = Write {
            op: OpId([7; 16]),
            stamp: Stamp::at(1_700_000_000_000),
            version: 70_000,
        };
        for fields in [vec![1], vec![1, 2, 3, 30, 300]] {
            let mut state = DocumentState::opened(by.op, by.version);
            for field in &fields {
                let value = Value::Integer(i64::from(*field));
                state
                    .registers
                    .insert(*field, Register { value, write: by });
            }
            let (mut row, mut inserted) = (Vec::new(), Vec::new());
            state
                .encode_row(&mut Encoder::new(&mut row), &|_| true, None)
                .unwrap();
            encode_inserted(&mut Encoder::new(&mut inserted), &by, &fields).unwrap();
            assert_eq!(inserted, row);

            let registers = state.registers.iter();
            let values: Vec<_> = registers.map(|(f, r)| (f, r.value.as_ref())).collect();
            let mut whole = Vec::new();
            encode_whole(&mut Encoder::new(&mut whole), &by, &values).unwrap();
            assert_eq!(whole, minicbor::to_vec(&state).unwrap());
        }
    }
}
