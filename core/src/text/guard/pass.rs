//! One pass over the bytes: every block and every deletion held against what is known.

use super::{Block, Content, Grammar, GuardLimits, Reader, Unit, Why};
use crate::text::{Mark, TextKind};

/// The largest clock. Yrs computes with signed 32-bit differences of clocks.
pub(super) const MAX_CLOCK: u32 = 1 << 30;

/// One pass over an update or a state.
pub(super) struct Pass<'a, 'l> {
    reader: Reader<'a>,
    grammar: Grammar<'l>,
    known: Known<'l>,
    /// How many more blocks, values and ranges there may be.
    pieces: u32,
    /// The first thing that does not fit what the field contains. What is malformed counts for
    /// more, so the pass goes on.
    misfit: Option<Why>,
    inserted_bytes: u64,
}

impl<'a, 'l> Pass<'a, 'l> {
    pub(super) fn over_update(
        update: &'a [u8],
        kind: TextKind,
        marks: &'l [Mark],
        limits: &'l GuardLimits,
    ) -> Pass<'a, 'l> {
        Pass::over(update, kind, marks, limits, false)
    }

    pub(super) fn over_state(
        state: &'a [u8],
        kind: TextKind,
        marks: &'l [Mark],
        limits: &'l GuardLimits,
    ) -> Pass<'a, 'l> {
        Pass::over(state, kind, marks, limits, true)
    }

    fn over(
        bytes: &'a [u8],
        kind: TextKind,
        marks: &'l [Mark],
        limits: &'l GuardLimits,
        compacted: bool,
    ) -> Pass<'a, 'l> {
        Pass {
            reader: Reader::new(bytes),
            grammar: Grammar {
                kind,
                limits,
                compacted,
            },
            known: Known::new(marks),
            // A state is as large as it is; an update must be refused in time.
            pieces: if compacted {
                u32::MAX
            } else {
                limits.max_pieces
            },
            misfit: None,
            inserted_bytes: 0,
        }
    }

    pub(super) fn number(&mut self) -> Result<u64, Why> {
        self.reader.number()
    }

    pub(super) fn at_end(&self) -> bool {
        self.reader.left() == 0
    }

    /// The first thing that does not fit what the field contains.
    pub(super) fn misfit(&self) -> Option<Why> {
        self.misfit
    }

    pub(super) fn inserted_bytes(&self) -> u64 {
        self.inserted_bytes
    }

    /// One author's blocks; answers the first and the first free clock.
    pub(super) fn section(
        &mut self,
        author: impl Fn(u64) -> Result<(), Why>,
    ) -> Result<(u32, u32), Why> {
        let blocks = self.count()?;
        if blocks == 0 {
            return Err(Why::NoBlocks);
        }
        let first = self.reader.unit()?;
        author(first.writer)?;
        let mut at = first;
        for _ in 0..blocks {
            let block = self.grammar.block(&mut self.reader, &mut self.pieces)?;
            self.references(&block, at);
            self.inserted_bytes += block.content.bytes();
            at.clock = at.clock.checked_add(block.len).ok_or(Why::Clock)?;
            if at.clock > MAX_CLOCK {
                return Err(Why::Clock);
            }
        }
        Ok((first.clock, at.clock))
    }

    /// A count of things that take at least a byte each.
    fn count(&mut self) -> Result<u32, Why> {
        let count = self.reader.number32()?;
        if count as usize > self.reader.left() {
            return Err(Why::Truncated);
        }
        self.spend(count)?;
        Ok(count)
    }

    fn spend(&mut self, pieces: u32) -> Result<(), Why> {
        self.pieces = self.pieces.checked_sub(pieces).ok_or(Why::Pieces)?;
        Ok(())
    }

    /// Whether all that the block at `at` refers to is known.
    #[inline]
    fn references(&mut self, block: &Block<'_>, at: Unit) {
        let origin = block.origin.is_none_or(|unit| self.known.has(unit, at));
        let right = block.right.is_none_or(|unit| self.known.has(unit, at));
        if !(origin && right) {
            self.misfit.get_or_insert(Why::Reference);
        }
        if let Content::Elements(elements) = block.content {
            let mut own = at;
            for element in elements {
                // An element is new, and then named by its own place, or it was moved here.
                if element.id != own && !self.known.has(element.id, own) {
                    self.misfit.get_or_insert(Why::Reference);
                }
                own.clock = own.clock.saturating_add(1);
            }
        }
    }

    /// What is deleted: known units, in order. Of `writer` those below `next` are known.
    pub(super) fn deletions(&mut self, writer: u64, next: u32) -> Result<(), Why> {
        let own = Unit {
            writer,
            clock: next,
        };
        let mut before = None;
        for _ in 0..self.count()? {
            let author = self.reader.number()?;
            if before.is_some_and(|before| before >= author) {
                return Err(Why::Deletions);
            }
            before = Some(author);
            let ranges = self.count()?;
            if ranges == 0 {
                return Err(Why::Deletions);
            }
            let mut end = 0;
            for _ in 0..ranges {
                let (start, len) = (self.reader.number32()?, self.reader.number32()?);
                if len == 0 || start < end {
                    return Err(Why::Deletions);
                }
                end = start.checked_add(len).ok_or(Why::Deletions)?;
            }
            let last = Unit {
                writer: author,
                clock: end - 1,
            };
            if !self.known.has(last, own) {
                self.misfit.get_or_insert(Why::DeletedUnknown);
            }
        }
        Ok(())
    }
}

/// What the field contains.
struct Known<'m> {
    marks: &'m [Mark],
    /// The author looked up last: neighbours are mostly by one.
    last: (u64, u32),
}

impl<'m> Known<'m> {
    fn new(marks: &'m [Mark]) -> Known<'m> {
        Known {
            marks,
            // No writer is 0, so it ends at 0.
            last: (0, 0),
        }
    }

    /// Whether `unit` is there for a block at `at`, whose author's earlier clocks are.
    #[inline]
    fn has(&mut self, unit: Unit, at: Unit) -> bool {
        if unit.writer == at.writer {
            return unit.clock < at.clock;
        }
        if self.last.0 != unit.writer {
            self.last = (unit.writer, Mark::next_of(self.marks, unit.writer));
        }
        unit.clock < self.last.1
    }
}
