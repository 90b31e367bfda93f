//! Counters: an op carries its delta, and the server adds it once per op id.

use crate::mutant::{Mutant, planted};
use crate::op::{Refusal, refusal};

/// Adds `delta` to what the counter shows.
///
/// # Errors
/// When the sum leaves the 64-bit range: wrapping would turn a count into nonsense for everyone.
pub(super) fn add(current: Option<i64>, delta: i64) -> Result<i64, Refusal> {
    let current = current.filter(|_| !planted(Mutant::CounterForgets));
    current.unwrap_or(0).checked_add(delta).ok_or_else(|| {
        Refusal::new(
            refusal::COUNTER_OVERFLOW,
            "the counter would leave the 64-bit range",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_beyond_64_bits_is_refused_not_wrapped() {
        assert_eq!(add(None, -3), Ok(-3));
        assert_eq!(add(Some(40), 2), Ok(42));
        assert_eq!(
            add(Some(i64::MAX), 1).unwrap_err().code,
            refusal::COUNTER_OVERFLOW
        );
        assert_eq!(
            add(Some(i64::MIN), -1).unwrap_err().code,
            refusal::COUNTER_OVERFLOW
        );
    }
}
