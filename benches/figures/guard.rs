//! What it costs to check honest updates, beside applying them.

use driftline_core::id::OpId;
use driftline_core::text::guard::{self, Check, GuardLimits};
use driftline_core::text::{BodyLimits, Mark, OffsetUnit, TextBody, TextChange, TextKind};

use crate::Outcome;
use crate::bare::BareText;
use crate::bench::Bench;
use crate::figure::{Figure, Target};
use crate::recording::{Edit, Recording, Step};
use crate::stats::{interleave, millis, timed};

use super::recordings::{BATCH, ONE_AUTHOR};

/// 53 bits, like the writers that devices draw: eight bytes wherever an update names one.
const WRITER: u64 = 0x1c_d3b8_21f6_94a7;

pub(super) fn measure(bench: &Bench) -> Outcome<Vec<Figure>> {
    let Some(recording) = Recording::load(ONE_AUTHOR, BATCH)? else {
        return Ok(Vec::new());
    };
    let mut author = TextBody::new(WRITER, BodyLimits::default());
    let mut updates = Vec::new();
    for step in &recording.steps {
        if let Step::Type { edits, .. } = step {
            let changes: Vec<TextChange> = edits.iter().flat_map(changes).collect();
            let edited = author.edit(&changes, OffsetUnit::Utf16)?;
            updates.extend(edited.map(|edited| edited.update));
        }
    }
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

/// An edit as a session makes it: what it deletes, then what it inserts.
fn changes(edit: &Edit) -> impl Iterator<Item = TextChange> {
    let (at, len) = (edit.at, edit.delete);
    let delete = (len > 0).then_some(TextChange::Delete { at, len });
    let insert = (!edit.insert.is_empty()).then(|| TextChange::Insert {
        at,
        text: edit.insert.clone(),
        attributes: None,
    });
    delete.into_iter().chain(insert)
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
