//! The usual update, let through at a glance: one author who typed, in a rich text, and deleted.
//!
//! It says yes or nothing. Whatever it does not know, and whatever is wrong, goes through the pass in
//! full, which alone refuses and says why; what it lets through, the pass lets through with the same
//! answer.

use super::block::{HAS_ORIGIN, HAS_RIGHT, STRING, utf16_len};
use super::pass::MAX_CLOCK;
use super::{Checked, GuardLimits};
use crate::text::{Mark, TextKind};

/// A block without neighbours names its parent: the root.
const ROOT: &[u8] = &[1, 1, b't'];

/// The bit that says that a number goes on, in each of eight bytes.
const GOES_ON: u64 = 0x8080_8080_8080_8080;

/// Whether `update`, by `writer` whose mark is `mark`, is usual and fits.
pub(super) fn fits<'a>(
    update: &'a [u8],
    (writer, mark): (u64, u32),
    kind: TextKind,
    marks: &[Mark],
    limits: &GuardLimits,
) -> Option<Checked<'a>> {
    if kind != TextKind::RichText {
        return None;
    }
    let mut glance = Glance {
        rest: Rest(update),
        own: Writer::new(writer, mark),
        // No writer is 0, so it ends at 0.
        other: Writer::new(0, 0),
        marks,
        pieces: limits.max_pieces,
    };
    let inserted_bytes = match glance.rest.small()? {
        0 => 0,
        1 => glance.section(mark)?,
        _ => return None,
    };
    glance.deletions()?;
    glance.rest.0.is_empty().then_some(Checked {
        update,
        kind,
        writer,
        from: mark,
        next: glance.own.next,
        inserted_bytes,
    })
}

struct Glance<'a, 'm> {
    rest: Rest<'a>,
    own: Writer,
    /// The other writer met last: neighbours are mostly by one.
    other: Writer,
    marks: &'m [Mark],
    /// How many more blocks and ranges there may be.
    pieces: u32,
}

/// A writer, and how far its clocks are known.
struct Writer {
    id: u64,
    next: u32,
    /// The bytes that name it, and which of eight they are; before they were met, none that can be.
    name: u64,
    mask: u64,
}

impl Writer {
    fn new(id: u64, next: u32) -> Writer {
        Writer {
            id,
            next,
            name: u64::MAX,
            mask: u64::MAX,
        }
    }
}

impl Glance<'_, '_> {
    /// The author's blocks, from `mark` on; answers the bytes of what was typed.
    fn section(&mut self, mark: u32) -> Option<u64> {
        let blocks = self.count()?;
        let author = self.rest.number()?;
        if blocks == 0 || author.value != self.own.id || self.rest.small()? != mark {
            return None;
        }
        (self.own.name, self.own.mask) = (author.bytes, author.mask);
        let mut typed = 0;
        for _ in 0..blocks {
            typed += u64::from(self.block()?);
        }
        Some(typed)
    }

    /// One block of characters.
    #[inline]
    fn block(&mut self) -> Option<u32> {
        let info = self.rest.byte()?;
        if info & !(HAS_ORIGIN | HAS_RIGHT) != STRING {
            return None;
        }
        if info & HAS_ORIGIN != 0 {
            self.neighbour()?;
        }
        if info & HAS_RIGHT != 0 {
            self.neighbour()?;
        }
        if info == STRING && self.rest.take(ROOT.len())? != ROOT {
            return None;
        }
        let len = self.rest.small()?;
        let text = self.rest.take(len as usize)?;
        // ASCII without NUL: a byte is a character is a clock.
        let plain = text
            .iter()
            .fold(true, |plain, byte| plain & matches!(byte, 1..0x80));
        let units = match plain {
            true => len,
            false => utf16_len(std::str::from_utf8(text).ok()?).ok()?,
        };
        let next = self.own.next.checked_add(units)?;
        self.own.next = next;
        (units > 0 && next <= MAX_CLOCK).then_some(len)
    }

    /// A name of something that is known.
    #[inline]
    fn neighbour(&mut self) -> Option<()> {
        let ahead = self.rest.ahead();
        let known = if (ahead ^ self.own.name) & self.own.mask == 0 {
            &self.own
        } else if (ahead ^ self.other.name) & self.other.mask == 0 {
            &self.other
        } else {
            let named = number_in(ahead)?;
            self.other = Writer {
                id: named.value,
                next: Mark::next_of(self.marks, named.value),
                name: named.bytes,
                mask: named.mask,
            };
            &self.other
        };
        self.rest.take((known.mask.count_ones() / 8) as usize)?;
        (self.rest.small()? < known.next).then_some(())
    }

    fn deletions(&mut self) -> Option<()> {
        let mut before = None;
        for _ in 0..self.count()? {
            let author = self.rest.number()?.value;
            if before.is_some_and(|before| before >= author) {
                return None;
            }
            before = Some(author);
            let known = match author == self.own.id {
                true => self.own.next,
                false => Mark::next_of(self.marks, author),
            };
            let ranges = self.count()?;
            let mut end = 0;
            for _ in 0..ranges {
                let (start, len) = (self.rest.small()?, self.rest.small()?);
                if len == 0 || start < end {
                    return None;
                }
                end = start.checked_add(len)?;
            }
            if ranges == 0 || end > known {
                return None;
            }
        }
        Some(())
    }

    /// A count of things that take at least a byte each.
    #[inline]
    fn count(&mut self) -> Option<u32> {
        let count = self.rest.small()?;
        self.pieces = self.pieces.checked_sub(count)?;
        (count as usize <= self.rest.0.len()).then_some(count)
    }
}

/// What is left of an update.
struct Rest<'a>(&'a [u8]);

/// A number, and the bytes that say it.
struct Number {
    value: u64,
    bytes: u64,
    mask: u64,
}

impl<'a> Rest<'a> {
    #[inline]
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    #[inline]
    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*byte)
    }

    /// The next eight bytes, with zeros behind the end.
    #[inline]
    fn ahead(&self) -> u64 {
        match self.0.first_chunk() {
            Some(bytes) => u64::from_le_bytes(*bytes),
            None => self
                .0
                .iter()
                .rfold(0, |word, byte| word << 8 | u64::from(*byte)),
        }
    }

    /// A number in as few bytes as it takes.
    #[inline]
    fn number(&mut self) -> Option<Number> {
        let number = number_in(self.ahead())?;
        self.take((number.mask.count_ones() / 8) as usize)?;
        Some(number)
    }

    /// A number that is mostly one byte long.
    #[inline]
    fn small(&mut self) -> Option<u32> {
        match self.0 {
            [byte @ 0..0x80, rest @ ..] => {
                self.0 = rest;
                Some(u32::from(*byte))
            }
            _ => u32::try_from(self.number()?.value).ok(),
        }
    }
}

/// The number that eight bytes begin with, of at most 53 bits and in as few bytes as it takes.
#[inline]
fn number_in(ahead: u64) -> Option<Number> {
    let ends = !ahead & GOES_ON;
    if ends == 0 {
        return None;
    }
    let len = ends.trailing_zeros() + 1;
    let mask = u64::MAX >> (64 - len);
    let bytes = ahead & mask;
    // A last byte of zero says nothing: there is a shorter form.
    if len > 8 && bytes >> (len - 8) == 0 {
        return None;
    }
    let pairs = (bytes & 0x007f_007f_007f_007f) | ((bytes & 0x7f00_7f00_7f00_7f00) >> 1);
    let fours = (pairs & 0x0000_3fff_0000_3fff) | ((pairs & 0x3fff_0000_3fff_0000) >> 2);
    let value = (fours & 0x0fff_ffff) | ((fours & 0x0fff_ffff_0000_0000) >> 4);
    (value >> 53 == 0).then_some(Number { value, bytes, mask })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
