//! What one change does to one document.

use std::collections::BTreeSet;

use driftline_core::id::OpId;
use driftline_core::ledger::LossRule;
use driftline_core::op::{Change, ChangeKind};
use driftline_core::schema::{Collection, DeletePolicy, MergePolicy};

use super::losses::Lost;
use super::{Accepted, Doc, Register, Tag};

/// A change, and what it may look at.
pub(super) struct Merge<'a> {
    pub(super) op: Accepted<'a>,
    /// What followers know the op by.
    pub(super) name: OpId,
    pub(super) change: &'a Change,
    pub(super) rules: &'a Collection,
    /// Own ops that it had seen, itself among them.
    pub(super) chain: BTreeSet<OpId>,
    /// The generation it means.
    pub(super) meant: Option<OpId>,
    pub(super) lost: Vec<Lost>,
}

impl Merge<'_> {
    /// Everything up to the op's base is seen, and what is on its chain.
    pub(super) fn seen(&self, (op, version): Tag) -> bool {
        version <= self.op.base || self.chain.contains(&op)
    }

    fn tag(&self) -> Tag {
        (self.op.id, self.op.version)
    }

    fn update_wins(&self) -> bool {
        self.rules.on_conflict_delete == DeletePolicy::UpdateWins
    }

    /// The document after the change, and the generation that the change landed in.
    pub(super) fn apply(&mut self, before: Option<Doc>) -> Result<(Doc, OpId), String> {
        use ChangeKind::{Delete, Insert, Restore, Update};
        let kind = self.change.kind;
        let live = before.as_ref().is_some_and(|doc| doc.deleted.is_none());
        let mut doc = match before {
            Some(doc) if live || kind != Insert => doc,
            None if kind != Insert => return Err(format!("{kind:?} of a document that never was")),
            _ => Doc::opened((self.name, self.op.version)),
        };
        match kind {
            Insert => self.write(&mut doc, live),
            Restore if live => {}
            Restore => self.reopen(&mut doc, None),
            Update | Delete => {
                if let Some(rule) = self.aimed(&mut doc) {
                    self.lose_all(rule);
                    let at = self.meant.unwrap_or(doc.opened.0);
                    return Ok((doc, at));
                }
            }
        }
        let at = doc.opened.0;
        Ok((doc, at))
    }

    /// An update or delete, which means one generation; or why it comes to nothing.
    fn aimed(&mut self, doc: &mut Doc) -> Option<LossRule> {
        let current = self.meant.is_none_or(|meant| meant == doc.opened.0);
        let undone = doc.reopened.is_some_and(|(generation, delete)| {
            Some(generation) == self.meant && !self.seen(delete)
        });
        if !current && (!undone || doc.deleted.is_some()) {
            return Some(LossRule::GenerationGone);
        }
        match (self.change.kind, doc.deleted) {
            (ChangeKind::Delete, Some(_)) => {}
            (ChangeKind::Delete, None) => {
                let named = self.change.generation;
                let mapped = named.is_some_and(|named| named != doc.opened.0);
                let unseen = doc.updates.iter().any(|update| !self.seen(*update))
                    || (mapped && !self.seen(doc.opened));
                if self.update_wins() && unseen {
                    return Some(LossRule::DeleteCancelled);
                }
                self.lose_unseen(doc);
                doc.deleted = Some(self.tag());
            }
            (_, None) => self.write(doc, true),
            (_, Some(delete)) if self.update_wins() && !self.seen(delete) => {
                self.reopen(doc, Some((doc.opened.0, delete)));
                self.write(doc, true);
            }
            (_, Some(_)) => return Some(LossRule::Deleted),
        }
        None
    }

    fn reopen(&self, doc: &mut Doc, undone: Option<(OpId, Tag)>) {
        doc.opened = (self.name, self.op.version);
        doc.deleted = None;
        doc.reopened = undone;
        doc.updates.clear();
    }

    /// Writes all that the change says into a document, `joining` others' writes or as its first.
    fn write(&mut self, doc: &mut Doc, joining: bool) {
        let change = self.change;
        let as_one = self.rules.merge == MergePolicy::Document && !change.registers.is_empty();
        let stamp = as_one.then(|| self.stamp_over_all(doc));
        for (field, value) in change.registers.iter() {
            let there = doc.registers.get(&field);
            let stamp = stamp.unwrap_or_else(|| self.stamp_over(there, (0, 0)));
            self.lose_either(there, (field, value), stamp);
            if let Some(stamp) = stamp {
                let (value, by) = (value.clone(), self.tag());
                doc.registers.insert(field, Register { value, stamp, by });
            }
        }
        for (field, delta) in change.increments.iter() {
            *doc.counters.entry(field).or_default() += delta;
        }
        for (edits, add) in [(&change.removes, false), (&change.adds, true)] {
            for (field, elements) in edits.iter() {
                for element in elements {
                    let tags = doc.sets.entry((field, element.clone())).or_default();
                    tags.retain(|tag| !self.seen(*tag));
                    tags.extend(add.then(|| self.tag()));
                }
            }
        }
        doc.sets.retain(|_, tags| !tags.is_empty());
        if self.update_wins() && joining {
            doc.updates.retain(|update| !self.seen(*update));
            doc.updates.push(self.tag());
        }
    }

    /// The stamp with which this write replaces another, where the documents' clocks (its own, and the one
    /// that is there) do not tell; none if it came too late.
    fn stamp_over(&self, there: Option<&Register>, (own, clock): (u64, u64)) -> Option<u64> {
        let stamp = (self.op.written.max(0) as u64) << 16;
        match there {
            Some(there) if self.seen(there.by) => Some(stamp.max(there.stamp + 1)),
            Some(there) => {
                let later = (own, stamp, self.op.id) > (clock, there.stamp, there.by.0);
                later.then_some(stamp)
            }
            None => Some(stamp),
        }
    }

    /// The same for all registers as one, under a clock that is capped by what the author could know.
    fn stamp_over_all(&self, doc: &mut Doc) -> Option<u64> {
        let writes = doc.registers.values();
        let newest = writes.max_by_key(|there| (there.by.1, there.stamp, there.by.0));
        let own = self.change.clock.min(doc.clock + self.chain.len() as u64);
        let stamp = self.stamp_over(newest, (own, doc.clock))?;
        doc.clock = match newest {
            Some(there) if self.seen(there.by) => own.max(doc.clock + 1),
            _ => own,
        };
        Some(stamp)
    }
}
