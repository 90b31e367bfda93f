//! O3: a write that returned is in the outbox in the same transaction; one that failed is not.

use std::collections::BTreeSet;

use driftline_core::id::OpId;
use driftline_core::value::Value;

use super::{FileView, Histories, Judgement, object};

const ORACLE: &str = "O3 acknowledged";

/// The file has an op that it did not have before the write.
pub fn acknowledged_is_queued(before: &BTreeSet<OpId>, view: &FileView, what: &str) -> Judgement {
    match view.queue.iter().any(|queued| !before.contains(&queued.id)) {
        true => Ok(()),
        false => object(ORACLE, format!("{what} returned, and nothing is queued")),
    }
}

/// The file has no op that it did not have before a write that failed.
pub fn failed_changed_nothing(before: &BTreeSet<OpId>, view: &FileView, what: &str) -> Judgement {
    match view
        .queue
        .iter()
        .find(|queued| !before.contains(&queued.id))
    {
        None => Ok(()),
        Some(queued) => object(
            ORACLE,
            format!("{what} failed, and {} is queued", queued.id),
        ),
    }
}

/// What a failed write would have said is in no op, also not after a crash that brings back what lay on
/// the disk. Every value is written once in a world.
pub fn undone_stays_undone(
    before: &BTreeSet<OpId>,
    view: &FileView,
    undone: &BTreeSet<String>,
) -> Judgement {
    let new = view.queue.iter().filter(|op| !before.contains(&op.id));
    for queued in new {
        let changes = queued.body.changes.iter();
        let values = changes.flat_map(|change| change.registers.iter());
        for (_, value) in values {
            if let Value::Text(text) = value
                && undone.contains(text)
            {
                return object(
                    ORACLE,
                    format!("the write of {text} failed, and {} says it", queued.id),
                );
            }
        }
    }
    Ok(())
}

/// Under `Normal` a loss of power takes the last commits, never one before another that is there.
pub fn lost_a_suffix(before: &FileView, view: &FileView, histories: &Histories) -> Judgement {
    let lost = |id: &OpId| !view.holds(*id) && !histories.ever_named(*id);
    let ids: Vec<OpId> = before.queue.iter().map(|queued| queued.id).collect();
    let Some(first) = ids.iter().copied().filter(lost).min() else {
        return Ok(());
    };
    match ids.iter().find(|id| **id > first && view.holds(**id)) {
        Some(id) => object(
            ORACLE,
            format!("the loss of power took {first} and left {id}"),
        ),
        None => Ok(()),
    }
}

/// What was acknowledged on a machine that several people use is in what is shown there at the end.
pub fn marks_are_there<'m>(shown: &str, marks: impl IntoIterator<Item = &'m str>) -> Judgement {
    match marks.into_iter().find(|mark| !shown.contains(mark)) {
        Some(mark) => object(ORACLE, format!("{mark} was acknowledged and is not there")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracles::testing::{self, id, update, view_with, wrote};

    #[test]
    fn a_loss_of_power_that_takes_one_before_another_is_refused() {
        let queue = |ids: &[u8]| {
            let ops: Vec<_> = ids.iter().map(|n| (*n, update("a", "x"))).collect();
            view_with(&ops)
        };
        let before = queue(&[1, 2, 3]);
        let histories = testing::histories(&[]);
        assert_eq!(
            lost_a_suffix(&before, &queue(&[1, 2, 3]), &histories),
            Ok(())
        );
        assert_eq!(lost_a_suffix(&before, &queue(&[1]), &histories), Ok(()));
        assert_eq!(lost_a_suffix(&before, &queue(&[]), &histories), Ok(()));
        assert!(lost_a_suffix(&before, &queue(&[1, 3]), &histories).is_err());
        assert!(lost_a_suffix(&before, &queue(&[2, 3]), &histories).is_err());
        // The first is with the server.
        let named = testing::histories(&[wrote(1, "a", "x")]);
        assert_eq!(lost_a_suffix(&before, &queue(&[2, 3]), &named), Ok(()));
    }

    #[test]
    fn a_write_that_is_not_there_or_was_not_to_be_is_refused() {
        let before = BTreeSet::from([id(1)]);
        let both = view_with(&[(1, update("a", "x")), (2, update("a", "y"))]);
        let one = view_with(&[(1, update("a", "x"))]);
        assert_eq!(acknowledged_is_queued(&before, &both, "w"), Ok(()));
        assert!(acknowledged_is_queued(&before, &one, "w").is_err());
        assert_eq!(failed_changed_nothing(&before, &one, "w"), Ok(()));
        assert!(failed_changed_nothing(&before, &both, "w").is_err());
    }

    #[test]
    fn what_was_acknowledged_and_is_not_there_is_refused() {
        assert_eq!(marks_are_there("a one, a two", ["one", "two"]), Ok(()));
        assert!(marks_are_there("a one", ["one", "two"]).is_err());
    }

    #[test]
    fn a_failed_write_that_comes_back_is_refused() {
        let undone = BTreeSet::from(["x".to_owned()]);
        let said = view_with(&[(1, update("a", "x"))]);
        assert!(undone_stays_undone(&BTreeSet::new(), &said, &undone).is_err());
        let other = view_with(&[(1, update("a", "y"))]);
        assert_eq!(
            undone_stays_undone(&BTreeSet::new(), &other, &undone),
            Ok(())
        );
    }
}
