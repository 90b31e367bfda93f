//! O4: an op leaves the outbox only when a page named it, when an op that says the same stands for
//! it, or when the app chose so and the server agreed.

use std::collections::{BTreeMap, BTreeSet};

use driftline_core::id::OpId;

use super::{FileView, Histories, Judgement, object};

const ORACLE: &str = "O4 leaving";

/// What the app asked for, and which ops stand for which.
#[derive(Clone, Debug, Default)]
pub struct Farewells {
    /// Ops the app discarded.
    pub discarded: BTreeSet<OpId>,
    /// Ops that the server rejected, whenever it was asked.
    pub rejected: BTreeSet<OpId>,
    /// Ops that may be gone: everything was dropped, or the file went back to an earlier day.
    pub excused: BTreeSet<OpId>,
    /// Ops of which no app was told that they are there, in a file that lost power since: where a sync
    /// had failed, what the next process still saw may be gone.
    pub untold: BTreeSet<OpId>,
    /// Later ops that stand for an op: they cover it, or try it again.
    pub successors: BTreeMap<OpId, BTreeSet<OpId>>,
    /// All retries of an op, by its first id.
    tries: BTreeMap<OpId, BTreeSet<OpId>>,
    /// The first id of each retry: a copy of the file may have tried the same op again, and the version
    /// then names that id.
    firsts: BTreeMap<OpId, OpId>,
}

impl Farewells {
    /// Learns which ops stand for which.
    pub fn learn(&mut self, view: &FileView) {
        for queued in &view.queue {
            for earlier in queued.body.stands_for() {
                self.stands_for(queued.id, earlier);
            }
            // A retry names the first try; it stands for those between as well.
            if let Some(first) = queued.body.retry_of {
                self.firsts.insert(queued.id, first);
                let tries = self.tries.entry(first).or_default();
                tries.insert(queued.id);
                for earlier in tries.range(..queued.id).copied().collect::<Vec<_>>() {
                    self.stands_for(queued.id, earlier);
                }
            }
        }
    }

    fn stands_for(&mut self, later: OpId, earlier: OpId) {
        self.successors.entry(earlier).or_default().insert(later);
    }

    fn may_be_gone(&self, id: OpId, view: &FileView, histories: &Histories) -> bool {
        let mut names = [Some(id), self.firsts.get(&id).copied()]
            .into_iter()
            .flatten();
        // A page may have come right before the notice that the history is gone.
        let begins_anew = view.cursor.version == 0 && histories.changed();
        let named = names.any(|name| {
            histories.named_at(name, view.cursor) || begins_anew && histories.ever_named(name)
        });
        let taken_back = self.discarded.contains(&id) && self.rejected.contains(&id);
        named || taken_back || self.excused.contains(&id) || self.untold.contains(&id)
    }
}

/// Every op that was there and is gone had a reason to go.
pub fn nothing_left_without_a_reason(
    before: &BTreeSet<OpId>,
    view: &FileView,
    histories: &Histories,
    farewells: &Farewells,
) -> Judgement {
    for id in before.iter().filter(|id| !view.holds(**id)) {
        // Along whatever stands for it, to one that is still there or had its own reason.
        let mut ahead = vec![*id];
        let mut visited = BTreeSet::new();
        let mut reason = false;
        while let Some(next) = ahead.pop() {
            if !visited.insert(next) {
                continue;
            }
            reason |= view.holds(next) || farewells.may_be_gone(next, view, histories);
            ahead.extend(farewells.successors.get(&next).into_iter().flatten());
        }
        if !reason {
            let version = view.cursor.version;
            return object(
                ORACLE,
                format!("{id} left the outbox, and no version up to {version} names it"),
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracles::testing::{self, covering, id, update, view_with, wrote};

    #[test]
    fn an_op_that_left_unnamed_is_refused() {
        let before = BTreeSet::from([id(1), id(2)]);
        let histories = testing::histories(&[wrote(1, "a", "x")]);
        let none = Farewells::default();
        let mut view = testing::at(&histories, 1);
        let refused = nothing_left_without_a_reason(&before, &view, &histories, &none);
        assert!(refused.is_err(), "2 is named nowhere");
        view.queue = view_with(&[(2, update("a", "y"))]).queue;
        let judged = nothing_left_without_a_reason(&before, &view, &histories, &none);
        assert_eq!(judged, Ok(()));
        let mut behind = testing::at(&histories, 0);
        behind.queue = view.queue;
        let refused = nothing_left_without_a_reason(&before, &behind, &histories, &none);
        assert!(refused.is_err(), "1 is named behind the cursor");
    }

    #[test]
    fn what_covers_it_may_stand_for_it_and_a_discard_alone_is_no_reason() {
        let before = BTreeSet::from([id(1)]);
        let histories = Histories::default();
        let mut farewells = Farewells::default();
        let covered = view_with(&[(2, covering(update("a", "y"), 1))]);
        farewells.learn(&covered);
        let judged = nothing_left_without_a_reason(&before, &covered, &histories, &farewells);
        assert_eq!(judged, Ok(()));
        let mut farewells = Farewells::default();
        farewells.discarded.insert(id(1));
        let empty = view_with(&[]);
        let judged = nothing_left_without_a_reason(&before, &empty, &histories, &farewells);
        assert!(judged.is_err());
        farewells.rejected.insert(id(1));
        let judged = nothing_left_without_a_reason(&before, &empty, &histories, &farewells);
        assert_eq!(judged, Ok(()));
        let mut untold = Farewells::default();
        untold.untold.insert(id(2));
        let judged = nothing_left_without_a_reason(&before, &empty, &histories, &untold);
        assert!(judged.is_err(), "another one was not told of");
    }

    #[test]
    fn a_retry_may_be_gone_when_a_copys_retry_of_the_same_op_was_accepted() {
        let before = BTreeSet::from([id(3)]);
        let mut retried = update("a", "y");
        retried.retry_of = Some(id(1));
        let mut farewells = Farewells::default();
        farewells.learn(&view_with(&[(3, retried)]));
        // The version names the first id of what it retries.
        let histories = testing::histories(&[wrote(1, "a", "x")]);
        let judge = |version| {
            let view = testing::at(&histories, version);
            nothing_left_without_a_reason(&before, &view, &histories, &farewells)
        };
        assert_eq!(judge(1), Ok(()));
        assert!(judge(0).is_err());
    }
}
