//! Reading the primitives of update format v1 without allocating.

use super::Why;

/// A Yrs item's name: its writer and the clock of one of its units.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Unit {
    pub(crate) writer: u64,
    pub(crate) clock: u32,
}

/// What is left of an update.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes }
    }

    pub(crate) fn left(&self) -> usize {
        self.bytes.len()
    }

    #[inline]
    pub(crate) fn byte(&mut self) -> Result<u8, Why> {
        let (byte, rest) = self.bytes.split_first().ok_or(Why::Truncated)?;
        self.bytes = rest;
        Ok(*byte)
    }

    #[inline]
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], Why> {
        let (taken, rest) = self.bytes.split_at_checked(count).ok_or(Why::Truncated)?;
        self.bytes = rest;
        Ok(taken)
    }

    /// A number in as few bytes as it takes, of at most 53 bits. Yrs itself takes longer forms and
    /// masks what is too large, so that two names could mean one writer.
    #[inline]
    pub(crate) fn number(&mut self) -> Result<u64, Why> {
        let first = self.byte()?;
        if first < 0x80 {
            return Ok(first.into());
        }
        let mut value = u64::from(first & 0x7f);
        for shift in (7..56).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                let canonical = byte != 0 && value >> 53 == 0;
                return if canonical {
                    Ok(value)
                } else {
                    Err(Why::Number)
                };
            }
        }
        Err(Why::Number)
    }

    #[inline]
    pub(crate) fn number32(&mut self) -> Result<u32, Why> {
        u32::try_from(self.number()?).map_err(|_| Why::Number)
    }

    #[inline]
    pub(crate) fn unit(&mut self) -> Result<Unit, Why> {
        Ok(Unit {
            writer: self.number()?,
            clock: self.number32()?,
        })
    }

    /// Bytes after their count.
    #[inline]
    pub(crate) fn counted(&mut self) -> Result<&'a [u8], Why> {
        let count = self.number32()?;
        self.take(count as usize)
    }

    /// Text after its count. Halves of surrogate pairs are no UTF-8.
    #[inline]
    pub(crate) fn text(&mut self) -> Result<&'a str, Why> {
        std::str::from_utf8(self.counted()?).map_err(|_| Why::Utf8)
    }
}
