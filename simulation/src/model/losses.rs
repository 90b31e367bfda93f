//! What somebody loses by a version: every value that its overwriter had not seen, and every write that
//! came to nothing.

use driftline_core::id::OpId;
use driftline_core::ledger::LossRule;
use driftline_core::op::{Change, ChangeKind};
use driftline_core::value::Value;

use super::{By, Context, Doc};
use crate::oracles::Key;

/// Something lost.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lost {
    /// In which document.
    pub key: Key,
    /// In which field; none for a delete.
    pub field: Option<u16>,
    /// The op that lost it.
    pub op: OpId,
    /// Why, in the ledger's word.
    pub rule: &'static str,
}

impl Context<'_> {
    fn lose(&mut self, change: &Change, field: Option<u16>, op: OpId, rule: LossRule) {
        self.lost.push(Lost {
            key: (change.collection, change.document.as_str().to_owned()),
            field,
            op,
            rule: rule.name(),
        });
    }

    /// The value that is there is replaced by this op's.
    pub(super) fn lose_there(
        &mut self,
        there: Option<&(Value, By)>,
        (change, field, value): (&Change, u16, &Value),
    ) {
        let unseen = there.filter(|(old, by)| old != value && !self.seen((by.op, by.version)));
        if let Some((_, by)) = unseen {
            self.lose(change, Some(field), by.op, LossRule::Overwritten);
        }
    }

    /// This op's value comes too late to replace the one that is there.
    pub(super) fn lose_late(
        &mut self,
        there: Option<&(Value, By)>,
        (change, field, value): (&Change, u16, &Value),
    ) {
        if there.is_none_or(|(old, _)| old != value) {
            self.lose(change, Some(field), self.op.id, LossRule::TooLate);
        }
    }

    /// All that the change says comes to nothing. (What was typed is found by the words.)
    pub(super) fn lose_all(&mut self, change: &Change, rule: LossRule) {
        let registers = change.registers.iter().map(|(field, _)| field);
        let increments = change.increments.iter().map(|(field, _)| field);
        let adds = change.adds.iter().map(|(field, _)| field);
        let removes = change.removes.iter().map(|(field, _)| field);
        let fields = registers.chain(increments).chain(adds).chain(removes);
        for field in fields.collect::<Vec<_>>() {
            self.lose(change, Some(field), self.op.id, rule);
        }
        if change.kind == ChangeKind::Delete {
            self.lose(change, None, self.op.id, rule);
        }
    }

    /// A delete takes away what its author had not seen.
    pub(super) fn lose_unseen(&mut self, doc: &Doc, change: &Change) {
        let registers = doc.registers.iter();
        let registers = registers
            .filter(|(_, (value, _))| !value.is_null())
            .map(|(field, (_, by))| (*field, (by.op, by.version)));
        let sets = doc.sets.iter();
        let tags = sets.flat_map(|(field, set)| {
            let tags = set.values().flatten();
            tags.map(|tag| (*field, *tag))
        });
        let unseen: Vec<(u16, OpId)> = registers
            .chain(tags)
            .filter(|(_, write)| !self.seen(*write))
            .map(|(field, (op, _))| (field, op))
            .collect();
        for (field, op) in unseen {
            self.lose(change, Some(field), op, LossRule::Deleted);
        }
    }
}
