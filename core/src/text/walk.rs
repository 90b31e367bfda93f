//! Going through what a text shows, piece by piece of equal formats.

use super::delta::Attributes;
use super::shown::Run;

/// Goes through runs in pieces.
pub(super) struct Walk<'a> {
    pub(super) runs: &'a [Run],
    /// How many units of the first run have been passed.
    pub(super) taken: u32,
}

impl<'a> Walk<'a> {
    /// How much is left with the formats that come next.
    pub(super) fn rest(&self) -> Option<u32> {
        self.runs.first().map(|run| run.units - self.taken)
    }

    /// The next piece of equal formats, at most `most` units long.
    pub(super) fn take(&mut self, most: u32) -> Option<(u32, &'a str, &'a Attributes)> {
        let (run, rest) = self.runs.split_first()?;
        let len = self.rest()?.min(most);
        let from = run.byte_of(self.taken).ok()?;
        let to = run.byte_of(self.taken + len).ok()?;
        self.taken += len;
        if self.taken == run.units {
            self.runs = rest;
            self.taken = 0;
        }
        Some((len, run.text.get(from..to)?, &run.attributes))
    }

    /// Passes over `len` units.
    pub(super) fn skip(&mut self, len: u32) -> Option<()> {
        let mut left = len;
        while left > 0 {
            left -= self.take(left)?.0;
        }
        Some(())
    }
}
