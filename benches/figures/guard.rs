//! What it costs to check honest updates, beside applying them.

use driftline_core::id::OpId;
use driftline_core::text::guard::{self, Check, GuardLimits};
use driftline_core::text::{Mark, TextKind};

use crate::Outcome;
use crate::bare::BareText;
use crate::bench::Bench;
use crate::figure::{Figure, Target};
use crate::recording::{Recording, Step};
use crate::stats::{interleave, millis, timed};

use super::recordings::{BATCH, ONE_AUTHOR};

const WRITER: u64 = 1;

pub(super) fn measure(bench: &Bench) -> Outcome<Vec<Figure>> {
    let Some(recording) = Recording::load(ONE_AUTHOR, BATCH)? else {
        return Ok(Vec::new());
    };
    let author = BareText::new(WRITER);
    let updates: Vec<Vec<u8>> = recording
        .steps
        .iter()
        .filter_map(|step| match step {
            Step::Type { edits, .. } => Some(author.edit(edits)),
            Step::Exchange => None,
        })
        .collect();
    let pair = interleave(
        bench.rounds(9),
        |_| Ok(millis(timed(|| check_all(&updates))?.1)),
        |_| {
            let apply = || {
                let text = BareText::new(2);
                updates.iter().try_for_each(|update| text.apply(update))
            };
            Ok(millis(timed(apply)?.1))
        },
    )?;
    Ok(vec![Figure::of(
        "guard_share",
        "ms",
        &pair.ours,
        &pair.baseline,
        Target::RatioAtMost(0.05),
    )])
}

/// Checks all updates in order.
fn check_all(updates: &[Vec<u8>]) -> Outcome<()> {
    let limits = GuardLimits::default();
    let mut marks: Vec<Mark> = Vec::new();
    for update in updates {
        match guard::check(update, WRITER, TextKind::RichText, &marks, &limits) {
            Ok(Check::Fits(checked)) => {
                let mark = Mark {
                    writer: WRITER,
                    next: checked.next(),
                    last: OpId::ZERO,
                    version: 1,
                };
                Mark::put(&mut marks, mark);
            }
            // Typed and taken back within the batch.
            Ok(Check::Contained) => {}
            Err(_) => return Err("an honest update was refused".into()),
        }
    }
    Ok(())
}
