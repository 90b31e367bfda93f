//! Sortable places in a list of documents: fractional indexes that never run out of room.
//!
//! A key is a fraction in base 62 written as text that sorts as bytes, followed by `!` and the op id
//! of the write that made it, so that two devices inserting at the same place get different keys.

use crate::id::OpId;

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const SEPARATOR: char = '!';

/// The longest fraction; reaching it takes thousands of inserts at one place.
const MAX_FRACTION: usize = 512;

/// Why no key fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OrderKeyError {
    /// A neighbour is no order key.
    #[error("a neighbour is not an order key")]
    Invalid,
    /// The first neighbour does not sort before the second.
    #[error("the neighbours are not in order")]
    NotInOrder,
    /// The place was split too often; renumber the list.
    #[error("no room is left between the neighbours")]
    Full,
}

/// A key between `before` and `after` (`None`: the list's start or end), made by the write `op`.
///
/// # Errors
/// When a neighbour is no key, or they are not in order.
///
/// ```
/// use driftline_core::{id::OpId, order_key};
/// let first = order_key::between(None, None, OpId([1; 16]))?;
/// let last = order_key::between(Some(&first), None, OpId([2; 16]))?;
/// let middle = order_key::between(Some(&first), Some(&last), OpId([3; 16]))?;
/// assert!(first < middle && middle < last);
/// # Ok::<(), order_key::OrderKeyError>(())
/// ```
pub fn between(
    before: Option<&str>,
    after: Option<&str>,
    op: OpId,
) -> Result<String, OrderKeyError> {
    let low = before.map(fraction).transpose()?.unwrap_or_default();
    let high = after.map(fraction).transpose()?;
    if let (Some(before), Some(after)) = (before, after)
        && before >= after
    {
        return Err(OrderKeyError::NotInOrder);
    }
    let digits = match high {
        // Two devices chose the same place: equal fractions, different op ids. Nothing fits between
        // them, so the new key goes right behind both.
        Some(high) if high == low && low.len() < MAX_FRACTION => [low.as_slice(), &[1]].concat(),
        high => midpoint(&low, high.as_deref())?,
    };
    #[expect(
        clippy::indexing_slicing,
        reason = "every digit is below the base: `fraction` and `midpoint` make no others"
    )]
    let text: String = digits
        .iter()
        .map(|d| DIGITS[usize::from(*d)] as char)
        .collect();
    Ok(format!(
        "{text}{SEPARATOR}{:032x}",
        u128::from_be_bytes(op.0)
    ))
}

/// Whether `text` was made by [`between`].
pub fn is_valid(text: &str) -> bool {
    fraction(text).is_ok()
}

fn fraction(key: &str) -> Result<Vec<u8>, OrderKeyError> {
    let (digits, op) = key.split_once(SEPARATOR).ok_or(OrderKeyError::Invalid)?;
    let hex = op.len() == 32
        && op
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if !hex || digits.is_empty() || digits.len() > MAX_FRACTION || digits.ends_with('0') {
        return Err(OrderKeyError::Invalid);
    }
    digits
        .bytes()
        .map(|b| {
            DIGITS
                .iter()
                .position(|d| *d == b)
                .map(|d| d as u8)
                .ok_or(OrderKeyError::Invalid)
        })
        .collect()
}

/// A fraction strictly between `low` and `high` (1 if `None`), never ending in zero.
fn midpoint(low: &[u8], high: Option<&[u8]>) -> Result<Vec<u8>, OrderKeyError> {
    let mut out = Vec::new();
    let mut high = high;
    for i in 0..MAX_FRACTION {
        let a = low.get(i).copied().unwrap_or(0);
        let b = high.map_or(62, |h| h.get(i).copied().unwrap_or(0));
        if b > a + 1 {
            // Appending at an end stays short: step by one instead of halving what is left.
            let step = if high.is_none() { 1 } else { (b - a) / 2 };
            out.push(a + step);
            return Ok(out);
        }
        out.push(a);
        if b > a {
            high = None;
        }
    }
    Err(OrderKeyError::Full)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn op(n: u128) -> OpId {
        OpId(n.to_be_bytes())
    }

    #[test]
    fn ten_thousand_appends_stay_short() {
        let mut last = between(None, None, op(0)).unwrap();
        for n in 1..10_000u128 {
            let next = between(Some(&last), None, op(n)).unwrap();
            assert!(next > last);
            last = next;
        }
        assert!(last.len() < 33 + 200, "{}", last.len());
    }

    #[test]
    fn neighbours_are_checked() {
        let key = between(None, None, op(1)).unwrap();
        assert_eq!(
            between(Some(&key), Some(&key), op(2)),
            Err(OrderKeyError::NotInOrder)
        );
        assert_eq!(between(Some("x"), None, op(2)), Err(OrderKeyError::Invalid));
        assert!(!is_valid("a0!00000000000000000000000000000001"));
        assert!(!is_valid("a!1"));
    }

    #[test]
    fn between_two_keys_of_one_place_lands_behind_both() {
        let (a, b) = (
            between(None, None, op(1)).unwrap(),
            between(None, None, op(2)).unwrap(),
        );
        let next = between(Some(&b), None, op(3)).unwrap();
        let new = between(Some(&a), Some(&b), op(4)).unwrap();
        assert!(b < new && new < next);
    }

    proptest! {
        #[test]
        fn every_key_lands_between_its_neighbours(places in prop::collection::vec(any::<prop::sample::Index>(), 1..200)) {
            let mut list: Vec<String> = Vec::new();
            for (n, place) in places.into_iter().enumerate() {
                let at = place.index(list.len() + 1);
                let before = at.checked_sub(1).map(|i| list[i].clone());
                let after = list.get(at).cloned();
                match between(before.as_deref(), after.as_deref(), op(n as u128)) {
                    Ok(key) => {
                        prop_assert!(is_valid(&key));
                        prop_assert!(before.is_none_or(|b| b < key));
                        prop_assert!(after.is_none_or(|a| key < a));
                        list.insert(at, key);
                    }
                    Err(error) => prop_assert_eq!(error, OrderKeyError::Full),
                }
            }
        }
    }
}
