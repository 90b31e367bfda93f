//! Ids of new documents, each above the one before it.
//!
//! Documents made in one millisecond then sort as they were made, in whatever transactions. It is more
//! than looks: the server need not look for a document whose id is beyond all that it has.

use std::sync::{Mutex, PoisonError};

use driftline_core::id::OpId;

use super::Storage;

/// The last id that this open file drew.
#[derive(Default)]
pub(super) struct Drawn(Mutex<Option<OpId>>);

impl Drawn {
    fn next(&self, millis: u64, random: [u8; 10]) -> OpId {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let next = OpId::next(millis, random, *last);
        *last = Some(next);
        next
    }
}

impl Storage {
    /// A UUIDv7 for a document made at `millis` (Unix time), above all that this open file drew.
    pub(crate) fn draw_document_id(&self, millis: u64, random: [u8; 10]) -> OpId {
        self.drawn.next(millis, random)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_grow_within_a_millisecond_and_when_the_clock_goes_back() {
        let drawn = Drawn::default();
        let times = [5, 5, 5, 4, 1, 6, 6].map(|millis| drawn.next(millis, [millis as u8; 10]));
        assert!(times.is_sorted_by(|a, b| a < b), "{times:?}");
    }
}
