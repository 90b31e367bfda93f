//! The merge, written a second time: from `docs/merge.md`, without a database, on plain maps, op by
//! op in the server's order. Nothing of `core`'s merge is called; only its words for ops are used.
//! It is short, so that one can read it whole; what is lost by a merge (`losses`) follows from it and
//! decides nothing.
//!
//! Texts and lists are not merged here: see the oracle on words.

mod losses;
mod rules;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use driftline_core::id::{OpId, Version};
use driftline_core::op::{Change, OpBody};
use driftline_core::schema::Schema;
use driftline_core::value::Value;

use crate::oracles::Key;
pub use losses::Lost;
use rules::Merge;

/// An op, and its version.
pub type Tag = (OpId, Version);

/// A value, and where the write of it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Register {
    /// What was written.
    pub value: Value,
    /// The effective stamp.
    pub stamp: u64,
    /// Who wrote it.
    pub by: Tag,
}

/// A document.
#[derive(Clone, Debug, PartialEq)]
pub struct Doc {
    /// Who opened its generation.
    pub opened: Tag,
    /// Who deleted it, if it is.
    pub deleted: Option<Tag>,
    /// Registers by field.
    pub registers: BTreeMap<u16, Register>,
    /// Counters by field.
    pub counters: BTreeMap<u16, i64>,
    /// The adds that hold each element of each field; at least one.
    pub sets: BTreeMap<(u16, String), Vec<Tag>>,
    /// The revision clock of a document that merges whole.
    pub clock: u64,
    /// The generation, and the delete that took it, of a document that an update brought back.
    reopened: Option<(OpId, Tag)>,
    /// Updates that no later one has seen.
    updates: Vec<Tag>,
}

impl Doc {
    fn opened(opened: Tag) -> Doc {
        Doc {
            opened,
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

/// What is known of a decided op.
#[derive(Clone, Debug, Default)]
struct Decided {
    body: OpBody,
    /// Ids whose ops it says again.
    stands_for: Vec<OpId>,
    /// Its version, unless it was rejected.
    accepted: Option<Version>,
    /// The generations that its changes landed in.
    landed: BTreeMap<Key, OpId>,
}

fn key_of(change: &Change) -> Key {
    (change.collection, change.document.as_str().to_owned())
}

impl Model {
    /// The next version of the log. Answers what somebody lost by it.
    ///
    /// # Errors
    /// Why the op could not have been accepted.
    pub fn accept(&mut self, schema: &Schema, op: Accepted<'_>) -> Result<Vec<Lost>, String> {
        let name = op.body.retry_of.unwrap_or(op.id);
        let (mut landed, mut lost) = (BTreeMap::new(), Vec::new());
        for change in &op.body.changes {
            let key = key_of(change);
            let before = self.documents.remove(&key);
            let is_before = |opener| before.as_ref().is_some_and(|doc| doc.opened.0 == opener);
            let meant = match change.generation.filter(|_| !change.kind.is_opener()) {
                Some(opener) if is_before(opener) => Some(opener),
                Some(opener) if opener == name => landed.get(&key).copied().or(Some(opener)),
                Some(opener) => Some(self.generation_of(opener, &key)?),
                None => None,
            };
            let rules = schema.collection_by_id(change.collection);
            let mut merge = Merge {
                op,
                name,
                change,
                rules: rules.ok_or("a collection that is not declared")?,
                chain: self.chain(&op, change),
                meant,
                lost: Vec::new(),
            };
            let (after, at) = merge.apply(before)?;
            lost.append(&mut merge.lost);
            landed.insert(key.clone(), at);
            self.documents.insert(key, after);
        }
        self.record(&op, landed);
        Ok(lost)
    }

    /// An op that the server rejected; later ops may be linked through it.
    pub fn reject(&mut self, id: OpId, body: &OpBody) {
        self.decided.entry(id).or_insert_with(|| Decided {
            body: body.clone(),
            stands_for: body.stands_for(),
            ..Decided::default()
        });
    }

    /// Keeps an accepted op and the ids that it answers for, each behind the one before it.
    fn record(&mut self, op: &Accepted<'_>, landed: BTreeMap<Key, OpId>) {
        let own = Decided {
            body: op.body.clone(),
            stands_for: op.body.stands_for(),
            accepted: Some(op.version),
            landed,
        };
        let mut before = None;
        for id in op.body.stands_for() {
            let known = self.decided.entry(id).or_insert_with(|| Decided {
                stands_for: before.into_iter().collect(),
                ..own.clone()
            });
            if known.accepted.is_none() {
                (known.accepted, known.landed) = (own.accepted, own.landed.clone());
            }
            before = Some(id);
        }
        self.decided.insert(op.id, own);
    }

    /// The own ops that an op had seen of a document: every link from it on, through rejected ones, until
    /// one that base contains.
    fn chain(&self, op: &Accepted<'_>, change: &Change) -> BTreeSet<OpId> {
        let behind = |body: &OpBody| body.prev_on(change.collection, &change.document);
        let mut chain = BTreeSet::from([op.id]);
        let mut ahead = op.body.stands_for();
        ahead.extend(behind(op.body));
        while let Some(id) = ahead.pop() {
            let is_new = chain.insert(id);
            let in_base = |known: &Decided| known.accepted.is_some_and(|at| at <= op.base);
            let known = self
                .decided
                .get(&id)
                .filter(|known| is_new && !in_base(known));
            if let Some(known) = known {
                ahead.extend(&known.stands_for);
                ahead.extend(behind(&known.body));
            }
        }
        chain
    }

    /// The generation of a document that an op opened, or merged into.
    fn generation_of(&self, opener: OpId, key: &Key) -> Result<OpId, String> {
        match self.decided.get(&opener) {
            Some(known) if known.accepted.is_none() => {
                Err(format!("it builds on {opener}, which was rejected"))
            }
            Some(known) => Ok(known.landed.get(key).copied().unwrap_or(opener)),
            None => Ok(opener),
        }
    }
}
