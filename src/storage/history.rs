//! The queue as the fold reads it: ops by id, and the chain of one document's own ops.

use std::collections::{BTreeSet, HashMap};
use std::convert::Infallible;
use std::rc::Rc;

use driftline_core::fold::{self, Folded, Pending};
use driftline_core::id::{CollectionId, DocumentId, OpId, Version};
use driftline_core::merge::{DocumentState, History, Linked};
use driftline_core::schema::Collection;
use driftline_core::time::{Contact, Reading, Stamp, place};
use rusqlite::Connection;

use super::departed;
use super::error::Result;
use super::queued;
pub(super) use super::queued::{OpState, QueuedOp, read};

/// Bytes of decoded ops kept between look-ups: one op may hold thousands of documents, each of which
/// asks for it.
const CACHED_BYTES: usize = 8 << 20;

/// So many ops are read and deleted one by one.
const FEW: usize = 8;

/// An op that leaves in the transaction under way: its links, should a later op still need them.
#[derive(Clone, Debug)]
pub(super) struct Leaving {
    pub(super) op: Rc<QueuedOp>,
    /// The version that names it, if one does.
    pub(super) accepted: Option<Version>,
    /// Every id it was named by.
    pub(super) names: Vec<OpId>,
    /// Where its openers landed, if not in generations of their own.
    pub(super) landed: Vec<(CollectionId, DocumentId, OpId)>,
}

impl Leaving {
    /// An op that leaves without being part of base.
    pub(super) fn unnamed(op: Rc<QueuedOp>) -> Leaving {
        Leaving {
            op,
            accepted: None,
            names: Vec::new(),
            landed: Vec::new(),
        }
    }

    /// Where an op that is in base since `version` landed, worked out from base where no page told:
    /// generations only follow each other, so one that is there since before was there then.
    pub(super) fn landings(
        op: &QueuedOp,
        version: Version,
        mut base: impl FnMut(CollectionId, &DocumentId) -> Result<Option<DocumentState>>,
    ) -> Result<Vec<(CollectionId, DocumentId, OpId)>> {
        let mut landed = Vec::new();
        for (collection, document) in op.documents() {
            if op.opens(collection, document)
                && let Some(base) = base(collection, document)?
                && base.generation.version <= version
            {
                landed.push((collection, document.clone(), base.generation.opener));
            }
        }
        Ok(landed)
    }

    pub(super) fn landed_on(
        &self,
        collection: CollectionId,
        document: &DocumentId,
    ) -> Option<OpId> {
        self.landed
            .iter()
            .find(|(c, d, _)| *c == collection && d == document)
            .map(|(_, _, opener)| *opener)
    }

    fn linked(&self, collection: CollectionId, document: &DocumentId) -> Linked {
        Linked {
            prev: self.op.prev_on(collection, document),
            covers: self.op.body.stands_for(),
            accepted: self.accepted,
            landed: self.landed_on(collection, document),
        }
    }
}

/// Reads queued ops by id, remembering what it decoded.
pub(super) struct Ops<'c> {
    conn: &'c Connection,
    known: HashMap<OpId, Option<Rc<QueuedOp>>>,
    bytes: usize,
    leaving: HashMap<OpId, Rc<Leaving>>,
    /// Ops that left and are still in the table: they are deleted at once, at the end.
    undeleted: Vec<OpId>,
    /// Ops that left and nobody asks for the links of, in their order.
    settled: Vec<OpId>,
}

impl<'c> Ops<'c> {
    pub(super) fn new(conn: &'c Connection) -> Ops<'c> {
        Ops {
            conn,
            known: HashMap::new(),
            bytes: 0,
            leaving: HashMap::new(),
            undeleted: Vec::new(),
            settled: Vec::new(),
        }
    }

    /// A queued op; `None` if it is not in the queue.
    pub(super) fn get(&mut self, id: OpId) -> Result<Option<Rc<QueuedOp>>> {
        if let Some(known) = self.known.get(&id) {
            return Ok(known.clone());
        }
        if self.has_left(id) {
            return Ok(None);
        }
        let op = read(self.conn, id)?.map(Rc::new);
        if self.bytes > CACHED_BYTES {
            self.known.clear();
            self.bytes = 0;
        }
        self.bytes += op.as_ref().map_or(0, |op| op.size);
        self.known.insert(id, op.clone());
        Ok(op)
    }

    /// Reads ops that will be asked for, in one go: mostly they stand beside each other.
    pub(super) fn read_ahead(&mut self, ids: impl Iterator<Item = OpId>) -> Result<()> {
        let mut ids: Vec<OpId> = ids.filter(|id| !self.known.contains_key(id)).collect();
        ids.sort_unstable();
        let (Some(first), Some(last)) = (ids.first(), ids.last()) else {
            return Ok(());
        };
        if ids.len() <= FEW {
            return Ok(());
        }
        // Where others stand between them, those are read one by one.
        let most = 2 * ids.len();
        let mut statement = self.conn.prepare_cached(
            "SELECT op_id, state, wall, boot, mono, body, authored_again FROM _dl_outbox WHERE seq BETWEEN ?1 AND ?2 ORDER BY seq LIMIT ?3",
        )?;
        let mut rows = statement.query((first.head(), last.head(), most as i64))?;
        let mut wanted = ids.iter().peekable();
        while let Some(row) = rows.next()? {
            let id = OpId(row.get(0)?);
            while wanted.next_if(|wanted| **wanted < id).is_some() {}
            if self.bytes > CACHED_BYTES {
                break;
            }
            if wanted.peek() == Some(&&id) && !self.has_left(id) {
                let op = queued::of_row(id, row)?;
                self.bytes += op.size;
                self.known.insert(id, Some(Rc::new(op)));
            }
        }
        Ok(())
    }

    fn has_left(&self, id: OpId) -> bool {
        let leaving = self.leaving.get(&id);
        leaving.is_some_and(|leaving| leaving.op.id == id)
            || self.settled.binary_search(&id).is_ok()
    }

    /// To be told of every change made to an op.
    pub(super) fn changed(&mut self, id: OpId) {
        self.known.remove(&id);
    }

    /// Takes an op out of the queue, keeping its links at hand. It is out of the table only after
    /// [`Ops::delete_left`].
    pub(super) fn leave(&mut self, leaving: Leaving) -> Rc<Leaving> {
        let id = leaving.op.id;
        self.undeleted.push(id);
        self.known.insert(id, None);
        let leaving = Rc::new(leaving);
        for name in &leaving.names {
            self.leaving.insert(*name, Rc::clone(&leaving));
        }
        self.leaving.insert(id, Rc::clone(&leaving));
        leaving
    }

    /// Takes ops out of the queue, once and in their order, whose links nobody needs.
    pub(super) fn leave_settled(&mut self, ops: Vec<OpId>) {
        self.undeleted.extend_from_slice(&ops);
        self.settled = ops;
    }

    /// Deletes what has left, all at once where nothing else stands between.
    pub(super) fn delete_left(&mut self) -> Result<()> {
        let mut left = std::mem::take(&mut self.undeleted);
        left.sort_unstable();
        left.dedup();
        if let (Some(first), Some(last)) = (left.first(), left.last())
            && left.len() > FEW
        {
            let (from, to) = (first.head(), last.head());
            let between: i64 = self
                .conn
                .prepare_cached(
                    "SELECT count(*) FROM (SELECT 1 FROM _dl_outbox WHERE seq BETWEEN ?1 AND ?2 LIMIT ?3)",
                )?
                .query_row((from, to, left.len() as i64 + 1), |row| row.get(0))?;
            if usize::try_from(between) == Ok(left.len()) {
                self.conn
                    .prepare_cached("DELETE FROM _dl_outbox WHERE seq BETWEEN ?1 AND ?2")?
                    .execute((from, to))?;
                return Ok(());
            }
        }
        let mut delete = self
            .conn
            .prepare_cached("DELETE FROM _dl_outbox WHERE seq = ?1 AND op_id = ?2")?;
        for id in left {
            delete.execute((id.head(), id.0))?;
        }
        Ok(())
    }

    /// The links of an op on a document, wherever it is now.
    fn linked(
        &mut self,
        op: OpId,
        collection: CollectionId,
        document: &DocumentId,
    ) -> Result<Option<Linked>> {
        if let Some(leaving) = self.leaving.get(&op) {
            return Ok(Some(leaving.linked(collection, document)));
        }
        departed::linked(self.conn, op, collection, document)
    }

    /// The document's own ops from `newest` back through `prev`.
    pub(super) fn chain(
        &mut self,
        collection: CollectionId,
        document: &DocumentId,
        newest: OpId,
    ) -> Result<Chain> {
        let mut chain = Chain::default();
        let mut next = Some(newest);
        while let Some(id) = next {
            if chain.links.contains_key(&id) {
                break;
            }
            let linked = match self.get(id)? {
                Some(op) => {
                    let prev = op.prev_on(collection, document);
                    let linked = Linked {
                        prev,
                        covers: op.body.stands_for(),
                        accepted: None,
                        landed: None,
                    };
                    chain.undecided |= op.is_undecided();
                    if op.is_folded() {
                        chain.folded.push(op);
                    } else if op.opens(collection, document) {
                        chain.refused_openers.push(op.name());
                    }
                    linked
                }
                None => match self.linked(id, collection, document)? {
                    Some(linked) => linked,
                    None => break,
                },
            };
            next = linked.prev;
            chain.links.insert(id, linked);
        }
        chain.folded.reverse();
        chain
            .refused_openers
            .retain(|name| !chain.folded.iter().any(|op| op.name() == *name));
        self.add_openers(&mut chain, collection, document)?;
        Ok(chain)
    }

    /// A generation may be named by the first id of a retried op, which no `prev` leads to.
    fn add_openers(
        &mut self,
        chain: &mut Chain,
        collection: CollectionId,
        document: &DocumentId,
    ) -> Result<()> {
        let named: Vec<OpId> = chain
            .folded
            .iter()
            .flat_map(|op| op.changes_on(collection, document))
            .filter_map(|change| change.generation)
            .filter(|opener| !chain.links.contains_key(opener))
            .collect();
        for opener in named {
            if let Some(linked) = self.linked(opener, collection, document)? {
                chain.links.insert(opener, linked);
            }
        }
        Ok(())
    }
}

/// One document's own ops that base may not contain yet, and the links of those that left.
#[derive(Debug, Default)]
pub(super) struct Chain {
    links: HashMap<OpId, Linked>,
    /// What the document shows on top of base, oldest first.
    folded: Vec<Rc<QueuedOp>>,
    /// Openers that were rejected or taken back: what names them will be rejected as well.
    refused_openers: Vec<OpId>,
    undecided: bool,
}

impl Chain {
    /// Whether the server still has to say something about an op in it.
    pub(super) fn is_undecided(&self) -> bool {
        self.undecided
    }

    /// The ops that show, oldest first.
    pub(super) fn folded(&self) -> &[Rc<QueuedOp>] {
        &self.folded
    }

    /// Its ops as the fold takes them, without those that are expected to be rejected.
    pub(super) fn pending(
        &self,
        collection: CollectionId,
        document: &DocumentId,
        contact: Option<&Contact>,
        without: &BTreeSet<OpId>,
    ) -> Vec<Pending> {
        let ops = self.folded.iter().filter(|op| !without.contains(&op.id));
        ops.map(|op| Pending {
            id: op.id,
            name: op.name(),
            stamp: predict(op.written, contact),
            base: op.body.base,
            covers: op.body.covers.clone(),
            changes: op
                .changes_on(collection, document)
                .into_iter()
                .cloned()
                .collect(),
        })
        .collect()
    }

    /// Folds over `base`, and tells which ops the server would reject because of this document.
    pub(super) fn fold(
        &mut self,
        collection: &Collection,
        document: &DocumentId,
        base: Option<DocumentState>,
        contact: Option<&Contact>,
        without: &BTreeSet<OpId>,
    ) -> Folded {
        if self.folded.is_empty() {
            return Folded {
                shown: base,
                refused: Vec::new(),
                rebase: Vec::new(),
            };
        }
        let mut pending = self.pending(collection.id, document, contact, without);
        let blocked = |op: &Pending| {
            let mut generations = op.changes.iter().filter_map(|change| change.generation);
            generations.any(|opener| opener != op.name && self.refused_openers.contains(&opener))
        };
        let refused: Vec<OpId> = pending
            .extract_if(.., |op| blocked(op))
            .map(|op| op.id)
            .collect();
        let mut folded = match fold::fold_telling(collection, base, &pending, self) {
            Ok(folded) => folded,
            Err(never) => match never {},
        };
        folded.refused.extend(refused);
        folded
    }
}

impl History for Chain {
    type Error = Infallible;

    fn linked(
        &mut self,
        op: OpId,
        _: CollectionId,
        _: &DocumentId,
    ) -> std::result::Result<Option<Linked>, Infallible> {
        Ok(self.links.get(&op).cloned())
    }
}

/// Where the server is expected to place an op; its own clock as read before the first contact.
/// `contact` is [`as_of_now`]: a stamp is capped by the server's time when it places, not by what
/// that was at the last contact.
pub(super) fn predict(written: Reading, contact: Option<&Contact>) -> Stamp {
    contact.map_or_else(
        || Stamp::at(written.wall),
        |contact| place(written, contact),
    )
}

/// What a contact made now would say, as far as the last one tells.
pub(super) fn as_of_now(contact: Option<Contact>, now: Reading) -> Option<Contact> {
    contact.map(|contact| Contact {
        device: now,
        server: contact.server_time_at(now),
    })
}
