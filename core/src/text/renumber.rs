//! An update under other names: what a writer wrote under clocks that turned out to be taken, or
//! after something that is gone, made to fit again.

use std::collections::BTreeMap;

use super::TextKind;
use super::guard::{Block, Content, Grammar, GuardLimits, Reader, Unit, Why};
use super::mark::Mark;
use super::sticky::write_number;

const STRING: u8 = 4;
const FORMAT: u8 = 6;
const ANY: u8 = 8;
const ANY_BYTES: u8 = 116;
const HAS_RIGHT: u8 = 0x40;
const HAS_ORIGIN: u8 = 0x80;

/// Clocks that have got another name.
struct Moved {
    writer: u64,
    from: u32,
    next: u32,
    to: Unit,
}

/// What is known of units by their old names.
pub(super) struct Names {
    /// Of these writers only the clocks below are what their updates mean.
    agreed: BTreeMap<u64, u32>,
    moved: Vec<Moved>,
}

/// Where things stand that a block may have to hold on to instead of what is missing.
pub(super) trait Neighbours {
    /// What stands left of `unit`.
    fn left_of(&self, unit: Unit) -> Option<Unit>;
    /// The last unit.
    fn last(&self) -> Option<Unit>;
}

/// What a block stands between, under the names of now.
#[derive(Clone, Copy)]
struct Place {
    origin: Option<Unit>,
    right: Option<Unit>,
    /// Whether it stood behind something else.
    lost: bool,
}

/// The blocks of an update so far. The text does not have them yet.
struct Own {
    writer: u64,
    /// By its old clock, each block that stood behind something else, and what it was put behind.
    origins: BTreeMap<u32, Option<Unit>>,
    /// The end of the last one that has lost both its neighbours: the next that has goes behind it.
    adrift: Option<Unit>,
}

impl Own {
    fn of(writer: u64) -> Own {
        Own {
            writer,
            origins: BTreeMap::new(),
            adrift: None,
        }
    }

    fn put(&mut self, block: &Block<'_>, at: u32, now: Unit, place: Place) {
        if !place.lost {
            return;
        }
        self.origins.insert(at, place.origin);
        if place.right.is_none() {
            let clock = now.clock.saturating_add(block.len.saturating_sub(1));
            self.adrift = Some(Unit { clock, ..now });
        }
    }

    /// What the block that begins with `unit` was put behind, if that is not what it stood behind.
    fn left_of(&self, unit: Unit) -> Option<Option<Unit>> {
        let origin = self.origins.get(&unit.clock).copied();
        origin.filter(|_| unit.writer == self.writer)
    }
}

impl Names {
    pub(super) fn new(agreed: BTreeMap<u64, u32>) -> Names {
        Names {
            agreed,
            moved: Vec::new(),
        }
    }

    /// `writer` was taken at its word up to `next`.
    pub(super) fn extend(&mut self, writer: u64, next: u32) {
        if let Some(agreed) = self.agreed.get_mut(&writer) {
            *agreed = next.max(*agreed);
        }
    }

    /// The first clock of `writer` that is not there.
    pub(super) fn ends(&self, writer: u64, marks: &[Mark]) -> u32 {
        let next = Mark::next_of(marks, writer);
        let agreed = self.agreed.get(&writer);
        agreed.map_or(next, |agreed| next.min(*agreed))
    }

    /// Whether anything has got another name.
    pub(super) fn have_moved(&self) -> bool {
        !self.moved.is_empty()
    }

    /// The new name of `unit`, if it is there at all.
    fn now(&self, unit: Unit, marks: &[Mark]) -> Option<Unit> {
        let of = |moved: &&Moved| moved.writer == unit.writer && moved.holds(unit.clock);
        if let Some(moved) = self.moved.iter().find(of) {
            return Some(Unit {
                writer: moved.to.writer,
                clock: moved.to.clock + (unit.clock - moved.from),
            });
        }
        (unit.clock < self.ends(unit.writer, marks)).then_some(unit)
    }

    /// The ranges that the clocks `from..next` of `writer` have become; what is not there is left
    /// out.
    fn range(
        &self,
        writer: u64,
        (from, next): (u32, u32),
        marks: &[Mark],
        into: &mut BTreeMap<u64, Vec<(u32, u32)>>,
    ) {
        let mut add = |writer, from: u32, next: u32| {
            if from < next {
                into.entry(writer).or_default().push((from, next));
            }
        };
        add(writer, from, next.min(self.ends(writer, marks)));
        for moved in self.moved.iter().filter(|moved| moved.writer == writer) {
            let (start, end) = (from.max(moved.from), next.min(moved.next));
            if start < end {
                let shift = |clock| moved.to.clock + (clock - moved.from);
                add(moved.to.writer, shift(start), shift(end));
            }
        }
    }

    /// `update`, of a text of this kind, under new names: its first block is called `to`.
    ///
    /// What it stood at and is missing is replaced by what stands nearest.
    pub(super) fn rewrite(
        &mut self,
        update: &[u8],
        (kind, to): (TextKind, Unit),
        limits: &GuardLimits,
        marks: &[Mark],
        around: &dyn Neighbours,
    ) -> Result<Vec<u8>, Why> {
        let mut reader = Reader::new(update);
        let mut pieces = u32::MAX;
        let grammar = Grammar {
            kind,
            limits,
            compacted: false,
        };
        let mut bytes = Vec::with_capacity(update.len() + 16);
        match reader.number()? {
            0 => bytes.push(0),
            1 => {
                let blocks = reader.number32()?;
                let mut at = reader.unit()?;
                bytes.push(1);
                write_number(&mut bytes, blocks.into());
                write_unit(&mut bytes, to);
                let (mut now, mut own) = (to, Own::of(at.writer));
                for _ in 0..blocks {
                    let block = grammar.block(&mut reader, &mut pieces)?;
                    let place = self.place(&block, &own, marks, around);
                    own.put(&block, at.clock, now, place);
                    self.block(&block, kind, (at, now), place, marks, &mut bytes);
                    let next = at.clock.checked_add(block.len).ok_or(Why::Clock)?;
                    self.add(at, next, now);
                    at.clock = next;
                    now.clock = now.clock.checked_add(block.len).ok_or(Why::Clock)?;
                }
            }
            _ => return Err(Why::Author),
        }
        self.deletions(&mut reader, marks, &mut bytes)?;
        Ok(bytes)
    }

    /// The clocks from `at` to `next` are called `now` and following.
    fn add(&mut self, at: Unit, next: u32, now: Unit) {
        let goes_on = |moved: &&mut Moved| {
            let shift = at.clock.wrapping_sub(moved.from);
            let same = moved.writer == at.writer && moved.to.writer == now.writer;
            same && moved.next == at.clock && moved.to.clock.wrapping_add(shift) == now.clock
        };
        match self.moved.last_mut().filter(goes_on) {
            Some(moved) => moved.next = next,
            None => self.moved.push(Moved {
                writer: at.writer,
                from: at.clock,
                next,
                to: now,
            }),
        }
    }

    /// What a block stands between. What it stood behind and is missing is replaced by what stands
    /// nearest.
    fn place(
        &self,
        block: &Block<'_>,
        own: &Own,
        marks: &[Mark],
        around: &dyn Neighbours,
    ) -> Place {
        let origin = block.origin.and_then(|unit| self.now(unit, marks));
        let right = block.right.and_then(|unit| self.now(unit, marks));
        let lost = block.origin.is_some() && origin.is_none();
        let hangs = origin.is_none() && right.is_none() && block.right.is_some();
        let moved = block.right.and_then(|unit| own.left_of(unit));
        let origin = match (moved, right) {
            (Some(left), _) if origin.is_none() => left,
            _ if !lost && !hangs => origin,
            (_, Some(right)) => around.left_of(right),
            (_, None) => own.adrift.or_else(|| around.last()),
        };
        let lost = lost || hangs;
        Place {
            origin,
            right,
            lost,
        }
    }

    fn block(
        &self,
        block: &Block<'_>,
        kind: TextKind,
        (at, now): (Unit, Unit),
        Place { origin, right, .. }: Place,
        marks: &[Mark],
        bytes: &mut Vec<u8>,
    ) {
        let content = match block.content {
            Content::Text(_) => STRING,
            Content::Format { .. } => FORMAT,
            Content::Elements(_) | Content::Deleted => ANY,
        };
        let flags = if origin.is_some() { HAS_ORIGIN } else { 0 }
            | if right.is_some() { HAS_RIGHT } else { 0 };
        bytes.push(content | flags);
        origin
            .iter()
            .chain(&right)
            .for_each(|unit| write_unit(bytes, *unit));
        if flags == 0 {
            bytes.push(1);
            write_counted(bytes, kind.root().as_bytes());
        }
        match block.content {
            Content::Text(text) => write_counted(bytes, text.as_bytes()),
            Content::Format { key, value } => {
                write_counted(bytes, key.as_bytes());
                write_counted(bytes, value.as_bytes());
            }
            Content::Elements(elements) => {
                write_number(bytes, block.len.into());
                for (n, element) in (0u32..).zip(elements) {
                    let (at, now) = (nth(at, n), nth(now, n));
                    let id = self.element(element.id, (at, now), marks);
                    write_slot(bytes, id, element.json);
                }
            }
            Content::Deleted => {}
        }
    }

    /// The name of an element that was put in at `at`, or moved there. One that is missing is put
    /// in again.
    fn element(&self, id: Unit, (at, now): (Unit, Unit), marks: &[Mark]) -> Unit {
        if id == at {
            return now;
        }
        self.now(id, marks).unwrap_or(now)
    }

    fn deletions(
        &self,
        reader: &mut Reader<'_>,
        marks: &[Mark],
        bytes: &mut Vec<u8>,
    ) -> Result<(), Why> {
        let mut deleted = BTreeMap::new();
        for _ in 0..reader.number32()? {
            let writer = reader.number()?;
            for _ in 0..reader.number32()? {
                let (from, len) = (reader.number32()?, reader.number32()?);
                let next = from.checked_add(len).ok_or(Why::Deletions)?;
                self.range(writer, (from, next), marks, &mut deleted);
            }
        }
        write_number(bytes, deleted.len() as u64);
        for (writer, mut ranges) in deleted {
            ranges.sort_unstable();
            ranges.dedup();
            write_number(bytes, writer);
            write_number(bytes, ranges.len() as u64);
            for (from, next) in ranges {
                write_number(bytes, from.into());
                write_number(bytes, (next - from).into());
            }
        }
        Ok(())
    }
}

impl Moved {
    fn holds(&self, clock: u32) -> bool {
        (self.from..self.next).contains(&clock)
    }
}

fn nth(unit: Unit, n: u32) -> Unit {
    Unit {
        writer: unit.writer,
        clock: unit.clock.saturating_add(n),
    }
}

fn write_slot(bytes: &mut Vec<u8>, id: Unit, json: &str) {
    let mut slot = Vec::with_capacity(json.len() + 12);
    write_unit(&mut slot, id);
    slot.extend_from_slice(json.as_bytes());
    bytes.push(ANY_BYTES);
    write_counted(bytes, &slot);
}

fn write_unit(bytes: &mut Vec<u8>, unit: Unit) {
    write_number(bytes, unit.writer);
    write_number(bytes, unit.clock.into());
}

fn write_counted(bytes: &mut Vec<u8>, content: &[u8]) {
    write_number(bytes, content.len() as u64);
    bytes.extend_from_slice(content);
}
