//! The guard before Yrs: any bytes are answered, and what is let through is what it says.

use driftline_core::id::OpId;
use driftline_core::text::guard::{Check, GuardLimits, check, check_state, inserted};
use driftline_core::text::{Mark, TextKind};

/// Two writers that a field knows.
const KNOWN: [(u64, u32); 2] = [(5, 10), (9, 20)];

/// The first byte says what the field is and who writes; the rest is the update, or a state.
pub(crate) fn run(data: &[u8]) -> bool {
    let Some((flags, bytes)) = data.split_first() else {
        return false;
    };
    let kind = match flags & 1 {
        0 => TextKind::RichText,
        _ => TextKind::List,
    };
    let known = KNOWN.get(..usize::from(flags >> 1 & 3).min(2));
    let marks: Vec<Mark> = known.unwrap_or_default().iter().map(mark).collect();
    let writer = match flags >> 3 & 3 {
        0 => 5,
        1 => 9,
        2 => 77,
        _ => 0,
    };
    let limits = GuardLimits::default();
    // Whoever shows a refused text asks this of any bytes.
    let text = inserted(bytes, kind, &limits);
    assert!(
        text.len() <= bytes.len() * 8 + 64,
        "{} bytes shown",
        text.len()
    );
    if flags & 0x20 != 0 {
        return check_state(bytes, kind, &marks, &limits).is_ok();
    }
    match check(bytes, writer, kind, &marks, &limits) {
        Ok(Check::Fits(checked)) => {
            assert_eq!(checked.update(), bytes);
            assert_eq!(checked.from(), Mark::next_of(&marks, writer));
            let clocks = u64::from(checked.next() - checked.from());
            // Every clock has at least a byte: nothing claims more than it brings.
            assert!(clocks <= bytes.len() as u64, "{clocks} clocks");
            assert!(checked.inserted_bytes() <= bytes.len() as u64);
            true
        }
        Ok(Check::Contained) => {
            assert!(!marks.is_empty(), "a field of nobody contains nothing");
            false
        }
        Err(_) => false,
    }
}

fn mark(known: &(u64, u32)) -> Mark {
    Mark {
        writer: known.0,
        next: known.1,
        last: OpId::next(known.0, [7; 10], None),
        version: 1,
    }
}
