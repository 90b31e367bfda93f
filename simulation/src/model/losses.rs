//! What somebody loses by a version: every value that its overwriter had not seen, and every write that
//! came to nothing.

use driftline_core::id::OpId;
use driftline_core::ledger::LossRule;
use driftline_core::op::ChangeKind;
use driftline_core::value::Value;

use super::rules::Merge;
use super::{Doc, Register, key_of};
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

impl Merge<'_> {
    fn lose(&mut self, field: Option<u16>, op: OpId, rule: LossRule) {
        let (key, rule) = (key_of(self.change), rule.name());
        let lost = Lost {
            key,
            field,
            op,
            rule,
        };
        self.lost.push(lost);
    }

    /// A value meets the one that is there, and takes its place with that stamp, or none: lost is the other,
    /// if whoever wrote this one did not know of it, or this one, unless both say the same.
    pub(super) fn lose_either(
        &mut self,
        there: Option<&Register>,
        (field, value): (u16, &Value),
        stamp: Option<u64>,
    ) {
        let there = match there {
            Some(there) if there.value == *value => return,
            there => there.filter(|there| !self.seen(there.by)),
        };
        match (stamp, there) {
            (None, _) => self.lose(Some(field), self.op.id, LossRule::TooLate),
            (_, Some(there)) => self.lose(Some(field), there.by.0, LossRule::Overwritten),
            (_, None) => {}
        }
    }

    /// All that the change says comes to nothing. (What was typed is found by the words.)
    pub(super) fn lose_all(&mut self, rule: LossRule) {
        let change = self.change;
        let registers = change.registers.iter().map(|(field, _)| field);
        let increments = change.increments.iter().map(|(field, _)| field);
        let adds = change.adds.iter().map(|(field, _)| field);
        let removes = change.removes.iter().map(|(field, _)| field);
        for field in registers.chain(increments).chain(adds).chain(removes) {
            self.lose(Some(field), self.op.id, rule);
        }
        if change.kind == ChangeKind::Delete {
            self.lose(None, self.op.id, rule);
        }
    }

    /// A delete takes away what its author had not seen.
    pub(super) fn lose_unseen(&mut self, doc: &Doc) {
        let registers = doc.registers.iter();
        let values = registers.filter(|(_, there)| !there.value.is_null());
        let values = values.map(|(field, there)| (*field, there.by));
        let sets = doc.sets.iter();
        let adds = sets.flat_map(|((field, _), tags)| tags.iter().map(|tag| (*field, *tag)));
        for (field, tag) in values.chain(adds) {
            if !self.seen(tag) {
                self.lose(Some(field), tag.0, LossRule::Deleted);
            }
        }
    }
}
