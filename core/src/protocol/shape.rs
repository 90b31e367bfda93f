//! A look at CBOR before anything is built from it: nothing is allocated here, and what passes
//! cannot make the decoder allocate much more than the message weighs.

use super::WireError;
use super::limits::{MAX_DEPTH, MAX_ITEMS};

/// Checks that `bytes` are one well-formed item of definite lengths, neither too deep nor made of
/// too many items.
///
/// Indefinite lengths are refused because they are the one way to make a skipped unknown value cost
/// memory; nobody who knows the length of a message needs them.
pub(super) fn check(bytes: &[u8]) -> Result<(), WireError> {
    let most = MAX_ITEMS.max(bytes.len() / 3);
    // How many items are still to come at each level of nesting.
    let mut open = [0u64; MAX_DEPTH];
    let mut depth = 0;
    let mut at = 0;
    for _ in 0..most {
        let head = *bytes.get(at).ok_or_else(|| truncated(at))?;
        let (argument, start) = argument(bytes, at, head)?;
        at = start;
        let inside = match head >> 5 {
            2 | 3 => {
                let end = usize::try_from(argument)
                    .ok()
                    .and_then(|n| start.checked_add(n));
                at = end
                    .filter(|end| *end <= bytes.len())
                    .ok_or_else(|| truncated(start))?;
                0
            }
            4 => argument,
            5 => argument.saturating_mul(2),
            6 => 1,
            _ => 0,
        };
        if inside > 0 {
            let level = open
                .get_mut(depth)
                .ok_or_else(|| malformed("too deep", at))?;
            *level = inside;
            depth += 1;
            continue;
        }
        // The item is complete, and with it every level it was the last of.
        while let Some(level) = depth.checked_sub(1).and_then(|d| open.get_mut(d)) {
            *level -= 1;
            if *level > 0 {
                break;
            }
            depth -= 1;
        }
        if depth == 0 {
            return match bytes.len() - at {
                0 => Ok(()),
                rest => Err(WireError::Trailing(rest)),
            };
        }
    }
    Err(malformed("too many items", at))
}

/// The argument of the item that begins at `at`, and where its content begins.
fn argument(bytes: &[u8], at: usize, head: u8) -> Result<(u64, usize), WireError> {
    let width = match head & 0x1f {
        small @ 0..=23 => return Ok((u64::from(small), at + 1)),
        24 => 1,
        25 => 2,
        26 => 4,
        27 => 8,
        31 => return Err(malformed("indefinite length", at)),
        _ => return Err(malformed("reserved length", at)),
    };
    let digits = bytes
        .get(at + 1..at + 1 + width)
        .ok_or_else(|| truncated(at))?;
    let argument = digits.iter().fold(0, |n, digit| n << 8 | u64::from(*digit));
    Ok((argument, at + 1 + width))
}

fn truncated(at: usize) -> WireError {
    malformed("truncated", at)
}

fn malformed(what: &str, at: usize) -> WireError {
    WireError::Malformed {
        form: "cbor",
        detail: format!("{what} at byte {at}"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn whole_items_pass_and_everything_else_does_not() {
        for whole in [
            &[0x00][..],
            &[0x80],
            &[0xa0],
            &[0x82, 0x00, 0x81, 0xf6],
            &[0xc1, 0x00],
            &[0xfb, 0, 0, 0, 0, 0, 0, 0, 0],
        ] {
            check(whole).unwrap();
            for cut in 0..whole.len() {
                assert!(check(&whole[..cut]).is_err());
            }
            assert_eq!(
                check(&[whole, &[0x00]].concat()),
                Err(WireError::Trailing(1))
            );
        }
        for broken in [
            &[0x9f, 0xff][..],
            &[0xbf, 0xff],
            &[0x5f, 0xff],
            &[0x7f, 0xff],
            &[0xff],
            &[0x1c],
            &[0x7b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        ] {
            assert!(check(broken).is_err(), "{broken:x?}");
        }
    }

    #[test]
    fn depth_and_number_of_items_are_bounded() {
        let nested = |levels| [vec![0x81; levels], vec![0x00]].concat();
        check(&nested(MAX_DEPTH)).unwrap();
        assert!(check(&nested(MAX_DEPTH + 1)).is_err());
        assert!(check(&nested(1 << 20)).is_err());
        let items = |count: usize| {
            let mut bytes = vec![0x9a];
            bytes.extend((count as u32).to_be_bytes());
            bytes.extend(std::iter::repeat_n(0xf6, count));
            bytes
        };
        check(&items(MAX_ITEMS - 1)).unwrap();
        assert!(check(&items(MAX_ITEMS)).is_err());
    }
}
