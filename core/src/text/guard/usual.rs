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
mod tests {
    use super::super::{Check, Reader, check_in_full};
    use super::*;
    use crate::id::OpId;
    use crate::text::{BodyLimits, OffsetUnit, TextBody, TextChange};

    const LIMITS: GuardLimits = GuardLimits {
        max_update: 512 << 10,
        max_pieces: 1 << 15,
        max_state: 64 << 20,
        max_format_key: 64,
        max_format_value: 2048,
        max_element: 64 << 10,
        max_depth: 32,
    };
    /// Names of one byte, of two and of eight.
    const WRITERS: [u64; 3] = [5, 300, 0x1c_d3b8_21f6_94a7];

    /// Repeatable chance (SplitMix64).
    struct Chance(u64);

    impl Chance {
        fn below(&mut self, bound: usize) -> usize {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((z ^ (z >> 31)) % bound.max(1) as u64) as usize
        }
    }

    /// What the glance says is what the pass says. Returns whether it said yes.
    fn same(update: &[u8], writer: u64, marks: &[Mark], limits: &GuardLimits) -> bool {
        let mark = Mark::next_of(marks, writer);
        let glance = fits(update, (writer, mark), TextKind::RichText, marks, limits);
        if let Some(checked) = glance {
            let in_full = check_in_full(update, writer, TextKind::RichText, marks, limits);
            assert_eq!(in_full, Ok(Check::Fits(checked)), "{update:?}");
        }
        glance.is_some()
    }

    /// What three people write who hear each other at once, and the marks that each update was written on.
    fn written(chance: &mut Chance) -> Vec<(Vec<u8>, u64, Vec<Mark>)> {
        let mut bodies = WRITERS.map(|writer| TextBody::new(writer, BodyLimits::default()));
        let (mut marks, mut updates): (Vec<Mark>, Vec<_>) = (Vec::new(), Vec::new());
        for _ in 0..40 {
            let by = chance.below(3);
            for _ in 0..chance.below(5) + 1 {
                let change = change(bodies[by].units().unwrap(), chance);
                // It may halve a character.
                let _ = bodies[by].stage(&[change], OffsetUnit::Utf16);
            }
            let Some(edited) = bodies[by].commit().unwrap() else {
                continue;
            };
            let (update, writer) = (edited.update, WRITERS[by]);
            let found = check_in_full(&update, writer, TextKind::RichText, &marks, &LIMITS);
            let Ok(Check::Fits(checked)) = found else {
                panic!("an honest update was refused: {found:?}");
            };
            for body in bodies.iter_mut().filter(|body| body.writer() != writer) {
                body.apply(&checked).unwrap();
            }
            let mark = Mark {
                writer,
                next: checked.next(),
                last: OpId::ZERO,
                version: 1,
            };
            updates.push((update.clone(), writer, marks.clone()));
            Mark::put(&mut marks, mark);
        }
        updates
    }

    fn change(units: u32, chance: &mut Chance) -> TextChange {
        let at = chance.below(units as usize + 1) as u32;
        let len = (chance.below(6) as u32).min(units - at);
        match chance.below(8) {
            0..2 => TextChange::Delete { at, len },
            2 => TextChange::Format {
                at,
                len,
                attributes: [("bold".to_owned(), true.into())].into(),
            },
            n => TextChange::Insert {
                at,
                text: ["a", "bc ", "d\u{e9}f", "\u{1f600}", "lorem ipsum dolor "][n - 3]
                    .repeat(chance.below(9) + 1),
                attributes: None,
            },
        }
    }

    fn mutate(bytes: &mut Vec<u8>, chance: &mut Chance) {
        for _ in 0..chance.below(3) + 1 {
            let at = chance.below(bytes.len());
            let byte = chance.below(256) as u8;
            match chance.below(6) {
                0 if !bytes.is_empty() => bytes[at] ^= 1 << chance.below(8),
                1 if !bytes.is_empty() => {
                    bytes[at] = [0, 1, 4, 0x7f, 0x80, 0x84, 0xc4, 0xff][chance.below(8)]
                }
                2 if !bytes.is_empty() => bytes[at] = bytes[at].wrapping_add(1),
                3 if !bytes.is_empty() => drop(bytes.remove(at)),
                4 => bytes.truncate(at),
                _ => bytes.insert(at, byte),
            }
        }
    }

    #[test]
    fn a_glance_lets_through_what_the_pass_lets_through_and_nothing_else() {
        let mut chance = Chance(1);
        let (mut honest, mut usual, mut mutants, mut passed) = (0, 0, 0, 0);
        for _ in 0..60 {
            for (update, writer, marks) in written(&mut chance) {
                honest += 1;
                usual += u32::from(same(&update, writer, &marks, &LIMITS));
                for most in 0..6 {
                    // With few pieces, or another author, it is another question.
                    let tight = GuardLimits {
                        max_pieces: most,
                        ..LIMITS
                    };
                    same(&update, writer, &marks, &tight);
                    let by = WRITERS[chance.below(3)];
                    let mut mutant = update.clone();
                    mutate(&mut mutant, &mut chance);
                    mutants += 1;
                    passed += u32::from(same(&mutant, by, &marks, &LIMITS));
                }
            }
        }
        let seen = format!("{usual} of {honest} honest updates, {passed} of {mutants} mutants");
        // Otherwise it would say nothing.
        assert!(usual * 2 > honest && mutants > 10_000, "{seen}");
        assert!(passed * 200 > mutants, "{seen}");
    }

    #[test]
    fn numbers_are_read_as_the_pass_reads_them() {
        let mut chance = Chance(2);
        for _ in 0..200_000 {
            let mut bytes = [0u8; 9];
            for byte in &mut bytes {
                *byte = (chance.below(256) as u8) | [0, 0x80][chance.below(2)];
            }
            let bytes = &bytes[..chance.below(10)];
            let (mut rest, mut reader) = (Rest(bytes), Reader::new(bytes));
            let (at_once, one_by_one) = (rest.number(), reader.number());
            assert_eq!(
                at_once.map(|number| number.value),
                one_by_one.ok(),
                "{bytes:?}"
            );
            if one_by_one.is_ok() {
                assert_eq!(rest.0.len(), reader.left());
            }
        }
    }
}
