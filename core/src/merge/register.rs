//! Registers: the last write wins, and what an op had seen it beats.

use super::{Seen, Write};
use crate::id::OpId;
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
            Contest::Follows(stamp.max(current.stamp.after()))
        }
        Some(current) if (stamp, op) > (current.stamp, current.op) => Contest::Beats(stamp),
        Some(_) => Contest::Loses,
    }
}
