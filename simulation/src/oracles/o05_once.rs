//! O5: each op takes effect once, on the server and on what a device shows.

use driftline_core::id::OpId;
use driftline_core::merge::DocumentState;
use driftline_core::op::OpBody;

use super::{FileView, Judgement, Key, QueueState, Queued, object};

const ORACLE: &str = "O5 once";

/// An id that a version answers to is the answer of that version alone. An op that writes again all
/// that an earlier one wrote may name that one although a copy of the file had sent it.
pub fn named_once(again: &[OpId], body: Option<&OpBody>, version: u64) -> Judgement {
    let covered = |id: &&OpId| body.is_some_and(|body| body.covers.contains(id));
    match again.iter().find(|id| !covered(id)) {
        None => Ok(()),
        Some(id) => object(ORACLE, format!("version {version} names {id} again")),
    }
}

/// A version answers to every id that its op stands for: a copy of the file may wait for one of them.
pub fn names_all(names: &[OpId], op: OpId, body: &OpBody) -> Judgement {
    let owed = std::iter::once(op).chain(body.stands_for());
    match owed.into_iter().find(|id| !names.contains(id)) {
        None => Ok(()),
        Some(id) => object(ORACLE, format!("{op} stands for {id}, and is not named so")),
    }
}

/// In documents that are never deleted, a counter shows base and what the shown ops add to it. What the
/// server cannot digest shows until that is settled, unless it did not before.
pub fn counted_once(view: &FileView, collection: u16) -> Judgement {
    let shown = view.shown.iter().filter(|(key, _)| key.0 == collection);
    for (key, state) in shown {
        for (field, count) in state.counters.iter() {
            let base = counted(view.base.get(key).map(|base| &**base), field);
            let added = added(view.shown_ops(), key, field);
            let unsettled = view.queue.iter();
            let unsettled = unsettled.filter(|queued| queued.state == QueueState::Withdrawing);
            let most = base + added + self::added(unsettled, key, field);
            if !(base + added..=most).contains(count) {
                return object(
                    ORACLE,
                    format!("{key:?} shows {count}; base has {base}, the queue adds {added}"),
                );
            }
        }
    }
    Ok(())
}

fn counted(state: Option<&DocumentState>, field: u16) -> i64 {
    let count = state.and_then(|state| state.counters.get(field));
    count.copied().unwrap_or(0)
}

fn added<'q>(
    ops: impl Iterator<Item = &'q Queued>,
    (collection, document): &Key,
    field: u16,
) -> i64 {
    let changes = ops.flat_map(|queued| &queued.body.changes);
    changes
        .filter(|change| {
            change.collection == *collection && change.document.as_str() == document.as_str()
        })
        .filter_map(|change| change.increments.get(field))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracles::testing::{self, counting, covering, id, update, view_with, wrote};

    #[test]
    fn a_version_that_names_an_op_again_is_refused() {
        let mut histories = testing::histories(&[wrote(1, "a", "x")]);
        let again = histories
            .current
            .append(testing::row(2, wrote(1, "a", "x")));
        assert_eq!(again, [id(1)]);
        assert!(named_once(&again, None, 2).is_err());
        assert!(named_once(&again, Some(&update("a", "x")), 2).is_err());
        let covering = covering(update("a", "x"), 1);
        assert_eq!(named_once(&again, Some(&covering), 2), Ok(()));
    }

    #[test]
    fn a_version_that_does_not_name_what_its_op_stands_for_is_refused() {
        let covering = covering(update("a", "x"), 1);
        assert_eq!(names_all(&[id(2), id(1)], id(2), &covering), Ok(()));
        assert!(names_all(&[id(2)], id(2), &covering).is_err());
        assert!(names_all(&[id(1)], id(2), &covering).is_err());
        let mut retried = update("a", "x");
        retried.retry_of = Some(id(3));
        assert!(names_all(&[id(2)], id(2), &retried).is_err());
    }

    #[test]
    fn a_pending_increment_that_base_holds_too_is_refused() {
        let mut view = view_with(&[(2, counting("t", 1))]);
        let key = (testing::COLLECTION, "t".to_owned());
        view.base.insert(key.clone(), testing::count(4));
        view.shown.insert(key.clone(), testing::count(5));
        assert_eq!(counted_once(&view, testing::COLLECTION), Ok(()));
        view.base.insert(key.clone(), testing::count(5));
        assert!(counted_once(&view, testing::COLLECTION).is_err());
        view.queue[0].state = QueueState::Withdrawing;
        assert_eq!(counted_once(&view, testing::COLLECTION), Ok(()));
        view.base.insert(key.clone(), testing::count(4));
        assert_eq!(counted_once(&view, testing::COLLECTION), Ok(()));
        view.base.insert(key, testing::count(3));
        assert!(counted_once(&view, testing::COLLECTION).is_err());
    }
}
