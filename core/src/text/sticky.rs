//! Positions that stay where they are put: a name for a place between two characters or elements.

use yrs::{Assoc, ClientID, ID, IndexScope, IndexedSequence, ReadTxn, StickyIndex};

use super::guard::{Reader, Unit};
use super::{MAX_WRITER, TextError};

/// What a position stays with.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Side {
    /// What stands left of it: text put exactly there comes after it.
    Left,
    /// What stands right of it: text put exactly there comes before it.
    Right,
}

const START: u8 = 0;
const END: u8 = 1;
const LEFT: u8 = 2;
const RIGHT: u8 = 3;

/// Names the place `at`.
pub(super) fn encode<S: IndexedSequence>(
    sequence: &S,
    txn: &impl ReadTxn,
    at: u32,
    side: Side,
) -> Vec<u8> {
    let assoc = match side {
        Side::Left => Assoc::Before,
        Side::Right => Assoc::After,
    };
    let index = sequence.sticky_index(txn, at, assoc);
    match (index.as_ref().and_then(StickyIndex::id), side) {
        (None, Side::Left) => vec![START],
        (None, Side::Right) => vec![END],
        (Some(id), side) => {
            let mut position = vec![if side == Side::Left { LEFT } else { RIGHT }];
            write_number(&mut position, id.client.get());
            write_number(&mut position, id.clock.into());
            position
        }
    }
}

/// Where the named place is now.
pub(super) fn resolve<S: IndexedSequence>(
    sequence: &S,
    txn: &impl ReadTxn,
    position: &[u8],
) -> Result<u32, TextError> {
    let side = match position {
        [START] => return Ok(0),
        [END] => return Ok(sequence.as_ref().content_len()),
        [LEFT, ..] => Assoc::Before,
        [RIGHT, ..] => Assoc::After,
        _ => return Err(TextError::NotAPosition),
    };
    let unit = read_unit(position).ok_or(TextError::NotAPosition)?;
    let id = ID::new(ClientID::new(unit.writer), unit.clock);
    let place = StickyIndex::new(IndexScope::Relative(id), side).get_offset(txn);
    place
        .map(|place| place.index)
        .ok_or(TextError::NotAPosition)
}

/// The unit that stands left of the place `at`.
pub(super) fn unit_before<S: IndexedSequence>(
    sequence: &S,
    txn: &impl ReadTxn,
    at: u32,
) -> Option<Unit> {
    let index = sequence.sticky_index(txn, at, Assoc::Before)?;
    index.id().map(|id| Unit {
        writer: id.client.get(),
        clock: id.clock,
    })
}

/// What stands left of `unit`.
pub(super) fn left_of<S: IndexedSequence>(
    sequence: &S,
    txn: &impl ReadTxn,
    unit: Unit,
) -> Option<Unit> {
    let id = ID::new(ClientID::new(unit.writer), unit.clock);
    let place = StickyIndex::new(IndexScope::Relative(id), Assoc::After).get_offset(txn)?;
    unit_before(sequence, txn, place.index)
}

fn read_unit(position: &[u8]) -> Option<Unit> {
    let mut reader = Reader::new(position);
    reader.byte().ok()?;
    let unit = reader.unit().ok()?;
    (reader.left() == 0 && unit.writer <= MAX_WRITER).then_some(unit)
}

/// Writes a number the way update format v1 does.
pub(super) fn write_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}
