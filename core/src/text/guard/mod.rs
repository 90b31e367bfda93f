//! The guard before Yrs: what lets bytes through, and the only thing that does.
//!
//! It reads update format v1 (the only one on the wire) without allocating, and accepts only what an
//! honest device can have made out of what the field is known to contain. That is: one author; clocks
//! that go on where the author's mark ends; references and deletions below the marks; the one root; the
//! content that the field's kind may hold. Everything that was seen to crash, hang or silently corrupt
//! Yrs is outside of that.
//!
//! Two answers to what does not pass. *Rebase*: the update is well-formed but was written on
//! something else than the field contains (a copied file, a page that was missed); its author
//! draws a new writer and writes the text again. *Invalid*: no honest device makes such bytes.

mod answer;
mod block;
mod json;
mod pass;
mod read;
mod reader;
mod usual;

pub use answer::{Check, Checked, CheckedState, GuardLimits, Refused, Why};
pub(crate) use block::{Block, Content, Element, Grammar};
pub(crate) use json::{MOST_DEPTH as MAX_JSON_DEPTH, check as check_json};
use pass::Pass;
pub(crate) use read::element_ids;
pub use read::inserted;
pub(crate) use reader::{Reader, Unit};

use super::{MAX_WRITER, Mark, TextKind};
use crate::mutant::{Mutant, planted};

/// Checks one update that says it is by `writer`, against the `marks` (sorted by writer) of what
/// the field contains.
///
/// `writer` is told apart from the bytes because an update that only deletes does not name its
/// author.
///
/// # Errors
/// [`Refused`] says whether writing it again can help.
pub fn check<'a>(
    update: &'a [u8],
    writer: u64,
    kind: TextKind,
    marks: &[Mark],
    limits: &GuardLimits,
) -> Result<Check<'a>, Refused> {
    if update.len() > limits.max_update {
        return Err(Why::Size.into());
    }
    if writer == 0 || writer > MAX_WRITER {
        return Err(Why::Author.into());
    }
    match usual::fits(
        update,
        (writer, Mark::next_of(marks, writer)),
        kind,
        marks,
        limits,
    ) {
        Some(checked) => Ok(Check::Fits(checked)),
        None => check_in_full(update, writer, kind, marks, limits),
    }
}

/// Checks whatever it is. Refusals come from here alone.
fn check_in_full<'a>(
    update: &'a [u8],
    writer: u64,
    kind: TextKind,
    marks: &[Mark],
    limits: &GuardLimits,
) -> Result<Check<'a>, Refused> {
    let mark = Mark::next_of(marks, writer);
    let mut pass = Pass::over_update(update, kind, marks, limits);
    let (from, next) = match pass.number()? {
        0 => (mark, mark),
        1 => pass.section(|found| {
            if found == writer {
                Ok(())
            } else {
                Err(Why::Author)
            }
        })?,
        _ => return Err(Why::Author.into()),
    };
    pass.deletions(writer, next)?;
    if !pass.at_end() {
        return Err(Why::Trailing.into());
    }
    if from > mark && !planted(Mutant::TextGapAccepted) {
        return Err(Refused::Rebase(Why::Gap));
    }
    if let Some(why) = pass.misfit() {
        return Err(Refused::Rebase(why));
    }
    if from < mark {
        return if next <= mark {
            Ok(Check::Contained)
        } else {
            Err(Refused::Rebase(Why::Overlap))
        };
    }
    Ok(Check::Fits(Checked {
        update,
        kind,
        writer,
        from,
        next,
        inserted_bytes: pass.inserted_bytes(),
    }))
}

/// Checks a whole state of many authors: every author from clock 0 exactly to the mark, nothing
/// that the marks do not know.
///
/// # Errors
/// [`Refused::Invalid`]: a state is what a server or this device made; there is nothing to write
/// again.
pub fn check_state<'a>(
    state: &'a [u8],
    kind: TextKind,
    marks: &'a [Mark],
    limits: &GuardLimits,
) -> Result<CheckedState<'a>, Refused> {
    if state.len() > limits.max_state {
        return Err(Why::Size.into());
    }
    if !marks.is_sorted_by(|a, b| a.writer < b.writer) {
        return Err(Why::Marks.into());
    }
    let mut pass = Pass::over_state(state, kind, marks, limits);
    // Yrs writes authors from the greatest down. An author who only deleted has no blocks.
    let mut authors = marks.iter().rev().filter(|mark| mark.next > 0);
    for _ in 0..pass.number()? {
        let mark = authors.next().ok_or(Why::Marks)?;
        let (from, next) = pass.section(|found| {
            if found == mark.writer {
                Ok(())
            } else {
                Err(Why::Marks)
            }
        })?;
        if (from, next) != (0, mark.next) {
            return Err(Why::Marks.into());
        }
    }
    if authors.next().is_some() {
        return Err(Why::Marks.into());
    }
    pass.deletions(0, 0)?;
    if !pass.at_end() {
        return Err(Why::Trailing.into());
    }
    match pass.misfit() {
        Some(why) => Err(why.into()),
        None => Ok(CheckedState { state, kind, marks }),
    }
}
