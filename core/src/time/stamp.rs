//! The hybrid logical clock: 48 bits of milliseconds, 16 bits of counter.

use std::fmt;

use serde::{Deserialize, Serialize};

const COUNTER_BITS: u32 = 16;
const MAX_MILLIS: i64 = (1 << 48) - 1;

/// A point in a workspace's time. Ties between stamps end at the op id's bytes.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    Serialize,
    Deserialize,
    minicbor::Encode,
    minicbor::Decode,
)]
#[serde(transparent)]
#[cbor(transparent)]
pub struct Stamp(#[serde(with = "crate::protocol::json")] pub u64);

impl Stamp {
    /// Below every write; what defaults carry.
    pub const ZERO: Stamp = Stamp(0);

    /// The first stamp of a millisecond (Unix time; clamped to what 48 bits hold).
    pub fn at(millis: i64) -> Stamp {
        Stamp((millis.clamp(0, MAX_MILLIS) as u64) << COUNTER_BITS)
    }

    /// The next stamp; carries from the counter into the milliseconds.
    pub fn after(self) -> Stamp {
        Stamp(self.0.saturating_add(1))
    }

    /// The Unix milliseconds in it.
    pub fn millis(self) -> i64 {
        (self.0 >> COUNTER_BITS) as i64
    }
}

impl fmt::Debug for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.millis(), self.0 & 0xffff)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counter_overflow_carries_into_the_time() {
        let last = Stamp(Stamp::at(7).0 | 0xffff);
        assert_eq!(last.after(), Stamp::at(8));
        assert_eq!(Stamp(u64::MAX).after(), Stamp(u64::MAX));
        assert_eq!(Stamp::at(-5), Stamp::ZERO);
        assert_eq!(Stamp::at(i64::MAX).millis(), MAX_MILLIS);
    }
}
