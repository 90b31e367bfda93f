//! The merge, written a second time: from `docs/merge.md`, without a database, on plain maps, op by
//! op in the server's order. Nothing of `core`'s merge is called; only its words for ops are used.
//!
//! Texts and lists are not merged here: see the oracle on words.

mod chain;
mod losses;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use driftline_core::id::{OpId, Version};
use driftline_core::op::{Change, ChangeKind, OpBody};
use driftline_core::schema::{DeletePolicy, MergePolicy, Schema};
use driftline_core::value::Value;

use crate::oracles::Key;
use chain::{Chain, Decided};
use driftline_core::ledger::LossRule;
pub use losses::Lost;

/// A write's place: its stamp, and who and which version wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct By {
    /// The effective stamp.
    pub stamp: u64,
    /// The op.
    pub op: OpId,
    /// Its version.
    pub version: Version,
}

/// A document.
#[derive(Clone, Debug, PartialEq)]
pub struct Doc {
    /// Who opened its generation, and at which version.
    pub opened: (OpId, Version),
    /// Who deleted it, if it is.
    pub deleted: Option<(OpId, Version)>,
    /// Registers by field.
    pub registers: BTreeMap<u16, (Value, By)>,
    /// Counters by field.
    pub counters: BTreeMap<u16, i64>,
    /// The adds that hold each element, by field.
    pub sets: BTreeMap<u16, BTreeMap<String, Vec<(OpId, Version)>>>,
    /// The revision clock of a document that merges whole.
    pub clock: u64,
    /// The generation, and the delete that took it, of a document that an update brought back.
    reopened: Option<(OpId, (OpId, Version))>,
    /// Updates that no later one has seen.
    updates: Vec<(OpId, Version)>,
}

/// An op that the server accepted.
#[derive(Clone, Copy, Debug)]
pub struct Accepted<'a> {
    /// Its id.
    pub id: OpId,
    /// What it says.
    pub body: &'a OpBody,
    /// Its version.
    pub version: Version,
    /// The version its author stood at, as it said when it was sent: a history that changed makes it
    /// 0.
    pub base: Version,
    /// Where it was placed in time, in Unix milliseconds.
    pub written: i64,
}

/// All documents of a workspace, and what is known of decided ops.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// The documents, deleted ones included.
    pub documents: BTreeMap<Key, Doc>,
    decided: BTreeMap<OpId, Decided>,
}

/// What one change may look at.
struct Context<'a> {
    op: Accepted<'a>,
    /// What followers know the op by.
    name: OpId,
    stamp: u64,
    seen: Chain,
    generation: Option<OpId>,
    whole: bool,
    update_wins: bool,
    lost: Vec<Lost>,
}

impl Doc {
    fn opened(opener: OpId, version: Version) -> Doc {
        Doc {
            opened: (opener, version),
            deleted: None,
            registers: BTreeMap::new(),
            counters: BTreeMap::new(),
            sets: BTreeMap::new(),
            clock: 0,
            reopened: None,
            updates: Vec::new(),
        }
    }
}

impl Model {
    /// The next version of the log. Answers what somebody lost by it.
    ///
    /// # Errors
    /// Why the op could not have been accepted.
    pub fn accept(&mut self, schema: &Schema, op: Accepted<'_>) -> Result<Vec<Lost>, String> {
        let name = op.body.retry_of.unwrap_or(op.id);
        let mut landed: BTreeMap<Key, OpId> = BTreeMap::new();
        let mut lost = Vec::new();
        for change in &op.body.changes {
            let key = (change.collection, change.document.as_str().to_owned());
            let rules = schema.collection_by_id(change.collection);
            let rules = rules.ok_or("a collection that is not declared")?;
            let before = self.documents.remove(&key);
            let behind = op.body.stands_for().into_iter();
            let behind = behind.chain(op.body.prev_on(change.collection, &change.document));
            let mut context = Context {
                op,
                name,
                stamp: (op.written.max(0) as u64) << 16,
                seen: Chain::of(&self.decided, op.id, op.base, behind.collect(), &key),
                generation: self.meant(change, before.as_ref(), name, (&key, &landed))?,
                whole: rules.merge == MergePolicy::Document,
                update_wins: rules.on_conflict_delete == DeletePolicy::UpdateWins,
                lost: Vec::new(),
            };
            let (after, at) = context.merge(before, change)?;
            lost.append(&mut context.lost);
            landed.insert(key.clone(), at);
            self.documents.insert(key, after);
        }
        chain::record(&mut self.decided, &op, &landed);
        Ok(lost)
    }

    /// An op that the server rejected; later ops may be linked through it.
    pub fn reject(&mut self, id: OpId, body: &OpBody) {
        chain::record_rejected(&mut self.decided, id, body);
    }

    /// The generation that a change means.
    fn meant(
        &self,
        change: &Change,
        before: Option<&Doc>,
        name: OpId,
        (key, landed): (&Key, &BTreeMap<Key, OpId>),
    ) -> Result<Option<OpId>, String> {
        let Some(opener) = change.generation.filter(|_| !change.kind.is_opener()) else {
            return Ok(None);
        };
        if before.is_some_and(|doc| doc.opened.0 == opener) {
            return Ok(Some(opener));
        }
        if opener == name {
            return Ok(Some(landed.get(key).copied().unwrap_or(opener)));
        }
        match self.decided.get(&opener) {
            None => Ok(Some(opener)),
            Some(decided) if decided.accepted.is_none() => {
                Err(format!("it builds on {opener}, which was rejected"))
            }
            Some(decided) => Ok(Some(decided.landed.get(key).copied().unwrap_or(opener))),
        }
    }
}

impl Context<'_> {
    fn seen(&self, (op, version): (OpId, Version)) -> bool {
        self.seen.has(op, version)
    }

    /// The document after the change, and the generation that the change landed in.
    fn merge(&mut self, before: Option<Doc>, change: &Change) -> Result<(Doc, OpId), String> {
        use ChangeKind::{Delete, Insert, Restore, Update};
        let fresh = || Doc::opened(self.name, self.op.version);
        let alive = before.as_ref().is_some_and(|doc| doc.deleted.is_none());
        let mut doc = match (before, change.kind) {
            (None, Insert) => fresh(),
            (None, kind) => return Err(format!("{kind:?} of a document that never was")),
            (Some(_), Insert) if !alive => fresh(),
            (Some(doc), _) => doc,
        };
        match change.kind {
            Insert => {
                self.write(&mut doc, change);
                if alive && self.update_wins {
                    self.remember(&mut doc);
                }
            }
            Restore if !alive => self.reopen(&mut doc, None),
            Restore => {}
            Update | Delete => return Ok(self.aimed(doc, change)),
        }
        let at = doc.opened.0;
        Ok((doc, at))
    }

    /// An update or delete, which means one generation.
    fn aimed(&mut self, mut doc: Doc, change: &Change) -> (Doc, OpId) {
        let current = self.generation.is_none_or(|meant| meant == doc.opened.0);
        let undone = doc.reopened.is_some_and(|(generation, delete)| {
            Some(generation) == self.generation && !self.seen(delete)
        });
        let late = self.generation.unwrap_or(doc.opened.0);
        if !current && (!undone || doc.deleted.is_some()) {
            self.lose_all(change, LossRule::GenerationGone);
            return (doc, late);
        }
        match (change.kind, doc.deleted) {
            (ChangeKind::Delete, Some(_)) => {}
            (ChangeKind::Delete, None) => {
                let opener = doc.opened;
                let mapped = change.generation.is_some_and(|meant| meant != opener.0);
                let unseen = doc.updates.iter().any(|update| !self.seen(*update))
                    || (mapped && !self.seen(opener));
                if self.update_wins && unseen {
                    self.lose_all(change, LossRule::DeleteCancelled);
                    return (doc, late);
                }
                self.lose_unseen(&doc, change);
                doc.deleted = Some((self.op.id, self.op.version));
            }
            (_, None) => self.write(&mut doc, change),
            (_, Some(delete)) if self.update_wins && !self.seen(delete) => {
                let generation = doc.opened.0;
                self.reopen(&mut doc, Some((generation, delete)));
                self.write(&mut doc, change);
            }
            (_, Some(_)) => {
                self.lose_all(change, LossRule::Deleted);
                return (doc, late);
            }
        }
        let at = doc.opened.0;
        (doc, at)
    }

    fn reopen(&self, doc: &mut Doc, undone: Option<(OpId, (OpId, Version))>) {
        doc.opened = (self.name, self.op.version);
        doc.deleted = None;
        doc.reopened = undone;
        doc.updates.clear();
    }

    fn write(&mut self, doc: &mut Doc, change: &Change) {
        if self.whole {
            self.write_whole(doc, change);
        } else {
            for (field, value) in change.registers.iter() {
                let there = doc.registers.get(&field);
                match self.stamp_over(there.map(|(_, by)| *by)) {
                    Some(stamp) => {
                        self.lose_there(there, (change, field, value));
                        self.set(doc, field, value, stamp);
                    }
                    None => self.lose_late(there, (change, field, value)),
                }
            }
        }
        for (field, delta) in change.increments.iter() {
            *doc.counters.entry(field).or_default() += delta;
        }
        for (field, elements) in change.removes.iter() {
            let set = doc.sets.entry(field).or_default();
            for element in elements {
                set.entry(element.clone())
                    .or_default()
                    .retain(|tag| !self.seen(*tag));
            }
        }
        for (field, elements) in change.adds.iter() {
            let set = doc.sets.entry(field).or_default();
            for element in elements {
                let tags = set.entry(element.clone()).or_default();
                tags.retain(|tag| !self.seen(*tag));
                tags.push((self.op.id, self.op.version));
            }
        }
        for set in doc.sets.values_mut() {
            set.retain(|_, tags| !tags.is_empty());
        }
        if self.update_wins && change.kind == ChangeKind::Update {
            self.remember(doc);
        }
    }

    /// The stamp with which this write replaces another; none if it came too late.
    fn stamp_over(&self, current: Option<By>) -> Option<u64> {
        match current {
            None => Some(self.stamp),
            Some(by) if self.seen((by.op, by.version)) => Some(self.stamp.max(by.stamp + 1)),
            Some(by) => ((self.stamp, self.op.id) > (by.stamp, by.op)).then_some(self.stamp),
        }
    }

    fn set(&self, doc: &mut Doc, field: u16, value: &Value, stamp: u64) {
        let by = By {
            stamp,
            op: self.op.id,
            version: self.op.version,
        };
        doc.registers.insert(field, (value.clone(), by));
    }

    /// All registers as one, under a clock that is capped by what its author could know.
    fn write_whole(&mut self, doc: &mut Doc, change: &Change) {
        if change.registers.is_empty() {
            return;
        }
        let writes = doc.registers.values().map(|(_, by)| *by);
        let newest = writes.max_by_key(|by| (by.version, by.stamp, by.op));
        let own_before = self.seen.own_before();
        let cap = |clock: u64| change.clock.min(clock + 1 + own_before);
        let stamp = match newest {
            None => {
                doc.clock = change.clock.min(1 + own_before);
                self.stamp
            }
            Some(by) if self.seen((by.op, by.version)) => {
                doc.clock = cap(doc.clock).max(doc.clock + 1);
                self.stamp.max(by.stamp + 1)
            }
            Some(by) => {
                let mine = (cap(doc.clock), self.stamp, self.op.id);
                if mine <= (doc.clock, by.stamp, by.op) {
                    for (field, value) in change.registers.iter() {
                        self.lose_late(doc.registers.get(&field), (change, field, value));
                    }
                    return;
                }
                doc.clock = mine.0;
                self.stamp
            }
        };
        for (field, value) in change.registers.iter() {
            self.lose_there(doc.registers.get(&field), (change, field, value));
            self.set(doc, field, value, stamp);
        }
    }

    fn remember(&self, doc: &mut Doc) {
        doc.updates.retain(|update| !self.seen(*update));
        doc.updates.push((self.op.id, self.op.version));
    }
}
