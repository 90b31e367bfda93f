//! One block of an update: what a writer did at one place.

use super::reader::{Reader, Unit};
use super::{GuardLimits, Why, json};
use crate::text::TextKind;

const DELETED: u8 = 1;
pub(super) const STRING: u8 = 4;
const FORMAT: u8 = 6;
const ANY: u8 = 8;

const CONTENT: u8 = 0b0000_1111;
pub(super) const HAS_RIGHT: u8 = 0b0100_0000;
pub(super) const HAS_ORIGIN: u8 = 0b1000_0000;

/// The tag of raw bytes among Yrs' values: what a list's elements are kept in.
const ANY_BYTES: u8 = 116;

/// What the blocks of one field may look like.
#[derive(Clone, Copy)]
pub(crate) struct Grammar<'l> {
    pub(crate) kind: TextKind,
    pub(crate) limits: &'l GuardLimits,
    /// Whether blocks may stand for what was deleted and forgotten. Only a compacted state holds
    /// such; an author sends what was written, even if it was deleted at once.
    pub(crate) compacted: bool,
}

/// One block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block<'a> {
    /// What stood left of it when it was written.
    pub(crate) origin: Option<Unit>,
    /// What stood right of it when it was written.
    pub(crate) right: Option<Unit>,
    pub(crate) content: Content<'a>,
    /// How many clocks it takes; never 0.
    pub(crate) len: u32,
}

/// What a block holds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Content<'a> {
    /// Characters; each UTF-16 unit has a clock.
    Text(&'a str),
    /// A format begins or ends; the value is a JSON scalar.
    Format { key: &'a str, value: &'a str },
    /// Elements of a list, each one clock.
    Elements(Elements<'a>),
    /// Something that was deleted and forgotten.
    Deleted,
}

impl Content<'_> {
    /// How many bytes of content its author gave.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Content::Text(text) => text.len() as u64,
            Content::Format { key, value } => (key.len() + value.len()) as u64,
            Content::Elements(elements) => elements.map(|e| e.json.len() as u64).sum(),
            Content::Deleted => 0,
        }
    }
}

/// One element of a list as an update carries it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Element<'a> {
    /// The unit that first held the element. A moved one keeps it.
    pub(crate) id: Unit,
    /// Its value.
    pub(crate) json: &'a str,
}

impl<'a> Element<'a> {
    /// Reads what one list slot holds: the element's id, then its value as JSON.
    pub(crate) fn read(slot: &'a [u8]) -> Result<Element<'a>, Why> {
        let mut reader = Reader::new(slot);
        let id = reader.unit()?;
        let json = reader.take(reader.left())?;
        let json = std::str::from_utf8(json).map_err(|_| Why::Utf8)?;
        Ok(Element { id, json })
    }
}

/// The elements of one block, found well-formed when the block was read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Elements<'a> {
    count: u32,
    rest: Reader<'a>,
}

impl<'a> Iterator for Elements<'a> {
    type Item = Element<'a>;

    fn next(&mut self) -> Option<Element<'a>> {
        self.count = self.count.checked_sub(1)?;
        self.rest.byte().ok()?;
        Element::read(self.rest.counted().ok()?).ok()
    }
}

impl Grammar<'_> {
    /// Reads one block, and takes the values in it off what is left of `pieces`.
    #[inline]
    pub(crate) fn block<'a>(
        &self,
        reader: &mut Reader<'a>,
        pieces: &mut u32,
    ) -> Result<Block<'a>, Why> {
        let info = reader.byte()?;
        if info & !(CONTENT | HAS_ORIGIN | HAS_RIGHT) != 0 {
            return Err(Why::Flags);
        }
        let origin = (info & HAS_ORIGIN != 0)
            .then(|| reader.unit())
            .transpose()?;
        let right = (info & HAS_RIGHT != 0).then(|| reader.unit()).transpose()?;
        // A block without neighbours names its parent. There is one: the field's root.
        if origin.is_none() && right.is_none() {
            let named = reader.byte()? == 1;
            if !named || reader.counted()? != self.kind.root().as_bytes() {
                return Err(Why::Root);
            }
        }
        let (content, len) = self.content(info & CONTENT, reader, pieces)?;
        if len == 0 {
            return Err(Why::EmptyBlock);
        }
        Ok(Block {
            origin,
            right,
            content,
            len,
        })
    }

    #[inline]
    fn content<'a>(
        &self,
        content: u8,
        reader: &mut Reader<'a>,
        pieces: &mut u32,
    ) -> Result<(Content<'a>, u32), Why> {
        match (content, self.kind) {
            (STRING, TextKind::RichText) => {
                let text = reader.text()?;
                Ok((Content::Text(text), utf16_len(text)?))
            }
            (FORMAT, TextKind::RichText) => {
                let (key, value) = (reader.text()?, reader.text()?);
                self.format(key, value)?;
                Ok((Content::Format { key, value }, 1))
            }
            (ANY, TextKind::List) => {
                let count = reader.number32()?;
                let before = *reader;
                for _ in 0..count {
                    self.element(reader, pieces)?;
                }
                let used = before.left() - reader.left();
                let rest = Reader::new(before.clone().take(used)?);
                Ok((Content::Elements(Elements { count, rest }), count))
            }
            (DELETED, _) if self.compacted => Ok((Content::Deleted, reader.number32()?)),
            _ => Err(Why::Content),
        }
    }

    fn format(&self, key: &str, value: &str) -> Result<(), Why> {
        if key.is_empty() || key.len() > self.limits.max_format_key || key.contains('\0') {
            return Err(Why::FormatKey);
        }
        if value.len() > self.limits.max_format_value || json::check_scalar(value).is_err() {
            return Err(Why::FormatValue);
        }
        Ok(())
    }

    fn element(&self, reader: &mut Reader<'_>, pieces: &mut u32) -> Result<(), Why> {
        if reader.byte()? != ANY_BYTES {
            return Err(Why::Content);
        }
        let element = Element::read(reader.counted()?)?;
        if element.json.len() > self.limits.max_element {
            return Err(Why::ElementSize);
        }
        json::check(element.json, self.limits.max_depth, pieces)
    }
}

/// How many UTF-16 units `text` takes; NUL is refused, at which SQLite's text functions stop.
#[inline]
pub(super) fn utf16_len(text: &str) -> Result<u32, Why> {
    // One typed character.
    if let [1..0x80] = text.as_bytes() {
        return Ok(1);
    }
    let (mut units, mut nul) = (0usize, false);
    // Counters of one byte let the compiler count many bytes at a time; 127 bytes at most two
    // units each cannot overflow them.
    for chunk in text.as_bytes().chunks(127) {
        let mut count = 0u8;
        for byte in chunk {
            // Every character has one byte that does not continue one; those beyond the basic
            // plane start with 0xf0 or above and take a second unit.
            count += u8::from(byte & 0xc0 != 0x80) + u8::from(*byte >= 0xf0);
            nul |= *byte == 0;
        }
        units += usize::from(count);
    }
    if nul {
        return Err(Why::Nul);
    }
    u32::try_from(units).map_err(|_| Why::Number)
}
