//! O17: an op waits for undecided earlier ops that it shares documents with, directly or through others,
//! and for nothing else.

use std::collections::BTreeSet;

use driftline_core::id::OpId;
use driftline_core::op::OpBody;

use super::{Judgement, Key, QueueState, Queued, object};

const ORACLE: &str = "O17 order";

/// A request that left a device, as far as it is about ops.
#[derive(Clone, Debug, Default)]
pub struct Push {
    /// All ops it names.
    pub ids: BTreeSet<OpId>,
    /// Those whose content it carries.
    pub bodies: Vec<(OpId, OpBody)>,
    /// Those that the device had not sent before.
    pub new: BTreeSet<OpId>,
}

impl Push {
    /// An op whose request failed is tried again alone when its own time has come, whatever has come into
    /// the queue before it since: an app may discard an older one that was in quarantine.
    fn tries_one_alone(&self) -> bool {
        self.ids.len() == 1 && self.new.is_empty()
    }
}

/// What the server has decided is not before something it builds on. `waiting` are the ops of the file
/// that had it, as they stood before it was sent.
pub fn nothing_was_overtaken(
    op: OpId,
    body: &OpBody,
    waiting: &[Queued],
    is_decided: impl Fn(OpId) -> bool,
) -> Judgement {
    let links = body.changes.iter();
    let links = links.flat_map(|change| [change.prev, change.generation]);
    let waits = |id: &OpId| {
        let mut there = waiting.iter().filter(|queued| queued.id == *id);
        *id != op && there.any(|queued| queued.state != QueueState::Quarantined)
    };
    match links.flatten().filter(waits).find(|id| !is_decided(*id)) {
        None => Ok(()),
        Some(earlier) => object(
            ORACLE,
            format!("{op} was decided before {earlier}, which it builds on"),
        ),
    }
}

/// A request takes ops from the oldest on. One that waited the whole time is left out only if it was sent
/// before (it is being tried alone, or known to be accepted), or waits for such a one through documents
/// that they share, or if the request tries another alone; and nothing is sent that shares a document with
/// an undecided one that is left out.
/// `waiting` is the queue as it was some time before; not all of it may have waited until now.
pub fn sends_in_order(
    waiting: &[Queued],
    push: &Push,
    waited: impl Fn(&Queued) -> bool,
    was_sent: impl Fn(OpId) -> bool,
    is_decided: impl Fn(OpId) -> bool,
) -> Judgement {
    let Some(last) = push.bodies.iter().map(|(id, _)| *id).max() else {
        return Ok(());
    };
    let mut held: BTreeSet<Key> = BTreeSet::new();
    let left_out = waiting.iter().filter(|queued| {
        queued.state != QueueState::Quarantined
            && queued.id < last
            && !push.ids.contains(&queued.id)
    });
    for queued in left_out {
        let documents = documents(&queued.body);
        let waits = documents.iter().any(|key| held.contains(key));
        if !waited(queued) {
            held.extend(documents);
            continue;
        }
        if !waits && !push.tries_one_alone() && !was_sent(queued.id) {
            return object(
                ORACLE,
                format!(
                    "{last} was sent, and {}, which is older and waits for nothing, was not",
                    queued.id
                ),
            );
        }
        let later = push.bodies.iter().filter(|(id, _)| *id > queued.id);
        for (id, body) in later.filter(|_| !is_decided(queued.id)) {
            if documents_of(body).any(|key| documents.contains(&key)) {
                return object(ORACLE, format!("{id} was sent without {}", queued.id));
            }
        }
        held.extend(documents);
    }
    Ok(())
}

fn documents(body: &OpBody) -> BTreeSet<Key> {
    documents_of(body).collect()
}

fn documents_of(body: &OpBody) -> impl Iterator<Item = Key> {
    let changes = body.changes.iter();
    changes.map(|change| (change.collection, change.document.as_str().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracles::testing::{id, update, view_with};

    fn push(ops: &[(u8, &str)]) -> Push {
        let ids: BTreeSet<OpId> = ops.iter().map(|(n, _)| id(*n)).collect();
        Push {
            new: ids.clone(),
            ids,
            bodies: ops
                .iter()
                .map(|(n, document)| (id(*n), update(document, "x")))
                .collect(),
        }
    }

    #[test]
    fn an_op_that_is_decided_before_what_it_builds_on_is_refused() {
        let waiting = view_with(&[(1, update("a", "x")), (2, update("a", "y"))]).queue;
        let mut body = update("a", "y");
        body.changes[0].prev = Some(id(1));
        let judge = |decided| nothing_was_overtaken(id(2), &body, &waiting, |_| decided);
        assert_eq!(judge(true), Ok(()));
        assert!(judge(false).is_err());
        assert_eq!(nothing_was_overtaken(id(2), &body, &[], |_| false), Ok(()));
    }

    #[test]
    fn an_op_that_is_left_out_for_nothing_or_overtaken_is_refused() {
        let waiting = view_with(&[
            (1, update("a", "x")),
            (2, update("b", "x")),
            (3, update("a", "x")),
        ])
        .queue;
        let judge = |push: &Push, sent: &[u8]| {
            let sent: Vec<OpId> = sent.iter().map(|n| id(*n)).collect();
            let sent = |id| sent.contains(&id);
            sends_in_order(&waiting, push, |_| true, sent, |_| false)
        };
        let all = push(&[(1, "a"), (2, "b"), (3, "a")]);
        assert_eq!(judge(&all, &[]), Ok(()));
        let second = push(&[(2, "b")]);
        assert_eq!(judge(&second, &[1]), Ok(()), "the first is tried alone");
        assert!(
            judge(&second, &[]).is_err(),
            "the first has no reason to wait"
        );
        let again = |push: Push| Push {
            new: BTreeSet::new(),
            ..push
        };
        assert_eq!(judge(&again(second), &[]), Ok(()), "it is tried alone");
        let two = again(push(&[(2, "b"), (4, "c")]));
        assert!(judge(&two, &[]).is_err(), "two are no trial");
        let last = push(&[(3, "a")]);
        assert!(judge(&last, &[1, 2]).is_err(), "it overtakes the first");
        let last = again(last);
        assert!(judge(&last, &[]).is_err(), "a trial overtakes nothing");
        let beside = push(&[(2, "b"), (4, "c")]);
        assert_eq!(
            judge(&beside, &[1]),
            Ok(()),
            "the third waits for the first"
        );
    }
}
