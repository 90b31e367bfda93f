//! Updates put together by hand, honest in form or not.

use driftline_core::text::MAX_WRITER;

/// Update format v1, written byte by byte.
#[derive(Clone, Default)]
pub(crate) struct Bytes(pub(crate) Vec<u8>);

pub(crate) const ORIGIN: u8 = 0x80;
pub(crate) const RIGHT: u8 = 0x40;
pub(crate) const SUB: u8 = 0x20;

impl Bytes {
    /// One author's section with `blocks` blocks from `clock` on.
    pub(crate) fn section(writer: u64, clock: u64, blocks: u64) -> Bytes {
        Bytes::default()
            .number(1)
            .number(blocks)
            .number(writer)
            .number(clock)
    }

    pub(crate) fn number(mut self, mut number: u64) -> Bytes {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
        self
    }

    pub(crate) fn byte(mut self, byte: u8) -> Bytes {
        self.0.push(byte);
        self
    }

    pub(crate) fn raw(mut self, bytes: &[u8]) -> Bytes {
        self.0.extend_from_slice(bytes);
        self
    }

    /// Bytes after their count.
    pub(crate) fn counted(self, bytes: impl AsRef<[u8]>) -> Bytes {
        self.number(bytes.as_ref().len() as u64).raw(bytes.as_ref())
    }

    /// The beginning of a block in the root of rich texts.
    pub(crate) fn in_text(self, content: u8) -> Bytes {
        self.byte(content).number(1).counted("t")
    }

    /// The beginning of a block in the root of lists.
    pub(crate) fn in_list(self, content: u8) -> Bytes {
        self.byte(content).number(1).counted("l")
    }

    /// The beginning of a block right of a unit.
    pub(crate) fn right_of(self, content: u8, writer: u64, clock: u64) -> Bytes {
        self.byte(content | ORIGIN).number(writer).number(clock)
    }

    /// A block of text.
    pub(crate) fn text(self, text: impl AsRef<[u8]>) -> Bytes {
        self.in_text(4).counted(text)
    }

    /// One element of a list, inside of a block.
    pub(crate) fn element(self, writer: u64, clock: u64, json: impl AsRef<[u8]>) -> Bytes {
        let slot = Bytes::default()
            .number(writer)
            .number(clock)
            .raw(json.as_ref());
        self.byte(116).counted(slot.0)
    }

    /// Nothing deleted: the end.
    pub(crate) fn end(self) -> Vec<u8> {
        self.number(0).0
    }

    /// Ranges deleted of one author: the end.
    pub(crate) fn deleted(self, writer: u64, ranges: &[(u64, u64)]) -> Vec<u8> {
        let start = self.number(1).number(writer).number(ranges.len() as u64);
        let ranges = ranges.iter();
        ranges
            .fold(start, |bytes, (clock, len)| {
                bytes.number(*clock).number(*len)
            })
            .0
    }
}

/// A writer beyond 53 bits.
pub(crate) const TOO_LARGE: u64 = MAX_WRITER + 1;
