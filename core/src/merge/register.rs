//! Registers: the last write wins, and what an op had seen it beats.

use super::{Seen, Write};
use crate::id::OpId;
use crate::mutant::{Mutant, planted};
use crate::time::Stamp;

/// How a write fared against the value that was there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Contest {
    /// It had seen the value (or there was none) and replaces it with this effective stamp.
    Follows(Stamp),
    /// Neither had seen the other, and it is the later one.
    Beats(Stamp),
    /// Neither had seen the other, and it came too late to win.
    Loses,
}

/// Compares a write by `op`, placed at `stamp`, with the `current` one.
///
/// A write that had seen the current value is raised above it, whatever the clocks say: in K10 a
/// copied file's later clock made the author lose to a value it had on its screen. Between two that
/// had not seen each other the greater stamp wins, then the greater op id.
pub fn contest(op: OpId, stamp: Stamp, current: Option<Write>, seen: &Seen) -> Contest {
    match current {
        None => Contest::Follows(stamp),
        Some(current) if seen.has(current.op, current.version) => {
            Contest::Follows(match planted(Mutant::NotRaisedAboveSeen) {
                true => stamp,
                false => stamp.max(current.stamp.after()),
            })
        }
        Some(current)
            if ((stamp, op) > (current.stamp, current.op)) != planted(Mutant::EarlierWins) =>
        {
            Contest::Beats(stamp)
        }
        Some(_) => Contest::Loses,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn id(n: u8) -> OpId {
        OpId([n; 16])
    }

    fn there(n: u8, millis: i64) -> Option<Write> {
        Some(Write {
            op: id(n),
            stamp: Stamp::at(millis),
            version: 5,
        })
    }

    #[test]
    fn what_was_seen_is_beaten_whatever_the_clocks_say() {
        let seen = Seen::through(5, &[]);
        assert_eq!(
            contest(id(2), Stamp::at(1), there(1, 900), &seen),
            Contest::Follows(Stamp::at(900).after())
        );
        assert_eq!(
            contest(id(2), Stamp::at(901), there(1, 900), &seen),
            Contest::Follows(Stamp::at(901))
        );
        let by_chain = Seen::through(0, &[id(1)]);
        assert_eq!(
            contest(id(2), Stamp::at(1), there(1, 900), &by_chain),
            Contest::Follows(Stamp::at(900).after())
        );
    }

    #[test]
    fn among_the_unseen_the_later_stamp_wins_and_ties_end_at_the_op() {
        let seen = Seen::through(4, &[]);
        assert_eq!(
            contest(id(2), Stamp::at(901), there(1, 900), &seen),
            Contest::Beats(Stamp::at(901))
        );
        assert_eq!(
            contest(id(2), Stamp::at(899), there(1, 900), &seen),
            Contest::Loses
        );
        assert_eq!(
            contest(id(2), Stamp::at(900), there(1, 900), &seen),
            Contest::Beats(Stamp::at(900))
        );
        assert_eq!(
            contest(id(1), Stamp::at(900), there(2, 900), &seen),
            Contest::Loses
        );
        assert_eq!(
            contest(id(1), Stamp::at(3), None, &seen),
            Contest::Follows(Stamp::at(3))
        );
    }
}
