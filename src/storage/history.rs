//! The queue as the fold reads it: ops by id, and the chain of one document's own ops.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::convert::Infallible;
use std::rc::Rc;

use driftline_core::fold::{self, Folded, Pending};
use driftline_core::id::{BootId, CollectionId, DocumentId, OpId, Version};
use driftline_core::merge::{DocumentState, History, Linked};
use driftline_core::op::{Change, OpBody};
use driftline_core::schema::Collection;
use driftline_core::time::{Contact, Reading, Stamp, place};
use rusqlite::{Connection, OptionalExtension};

use super::departed;
use super::error::{Result, StorageError};

/// Bytes of decoded ops kept between look-ups: one op may hold thousands of documents, each of which
/// asks for it.
const CACHED_BYTES: usize = 8 << 20;

/// Changes above which an op gets an index by document.
const INDEX_ABOVE: usize = 16;

/// What became of a queued op so far. Numbers are those of `_dl_outbox.state`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum OpState {
    /// It is sent until a page names it.
    Pending,
    /// The server rejected it; it is not folded and not sent.
    Quarantined,
    /// The server cannot digest it: a withdrawal is sent in its place, and its content waits here
    /// for the quarantine.
    Withdrawing,
    /// Pending, but expected to be rejected because of one of its documents: it shows on none of
    /// them.
    Hidden,
}

impl OpState {
    pub(super) fn number(self) -> i64 {
        match self {
            OpState::Pending => 0,
            OpState::Quarantined => 1,
            OpState::Withdrawing => 2,
            OpState::Hidden => 3,
        }
    }

    pub(super) fn from_number(number: i64) -> Result<OpState> {
        match number {
            0 => Ok(OpState::Pending),
            1 => Ok(OpState::Quarantined),
            2 => Ok(OpState::Withdrawing),
            3 => Ok(OpState::Hidden),
            _ => Err(StorageError::unreadable("outbox state")),
        }
    }
}

/// A queued op, decoded.
#[derive(Debug)]
pub(crate) struct QueuedOp {
    pub(crate) id: OpId,
    pub(crate) written: Reading,
    pub(crate) state: OpState,
    pub(crate) body: OpBody,
    /// Changes by document, for ops with many.
    index: HashMap<(CollectionId, DocumentId), Vec<u32>>,
    size: usize,
}

impl QueuedOp {
    pub(super) fn decode(id: OpId, written: Reading, state: OpState, body: &[u8]) -> Result<QueuedOp> {
        let size = body.len();
        let body: OpBody = minicbor::decode(body)?;
        let mut index: HashMap<_, Vec<u32>> = HashMap::new();
        if body.changes.len() > INDEX_ABOVE {
            for (at, change) in body.changes.iter().enumerate() {
                index.entry((change.collection, change.document.clone())).or_default().push(at as u32);
            }
        }
        Ok(QueuedOp { id, written, state, body, index, size })
    }

    /// The id its followers know it by.
    pub(crate) fn name(&self) -> OpId {
        self.body.retry_of.unwrap_or(self.id)
    }

    /// Whether its documents show it, unless it is expected to be rejected.
    pub(super) fn is_folded(&self) -> bool {
        self.state != OpState::Quarantined && !self.body.withdraw
    }

    /// Whether the server rejected it.
    pub(crate) fn is_quarantined(&self) -> bool {
        self.state == OpState::Quarantined
    }

    /// Whether the server still has to say something about it.
    pub(super) fn is_undecided(&self) -> bool {
        self.state != OpState::Quarantined
    }

    /// What it does to one document.
    pub(super) fn changes_on(&self, collection: CollectionId, document: &DocumentId) -> Vec<&Change> {
        if self.index.is_empty() {
            return self.body.changes.iter().filter(|c| c.is_on(collection, document)).collect();
        }
        let at = self.index.get(&(collection, document.clone())).map(Vec::as_slice).unwrap_or_default();
        at.iter().filter_map(|at| self.body.changes.get(*at as usize)).collect()
    }

    /// Its `prev` on a document.
    pub(super) fn prev_on(&self, collection: CollectionId, document: &DocumentId) -> Option<OpId> {
        self.changes_on(collection, document).first().and_then(|c| c.prev)
    }

    /// Whether it is about more than one document.
    pub(super) fn is_group(&self) -> bool {
        let first = self.body.changes.first();
        self.body.changes.iter().any(|c| first.is_some_and(|first| !c.is_on(first.collection, &first.document)))
    }

    /// Whether it may have been kept from showing, so that its other documents have to be looked at
    /// when one of them changes.
    pub(super) fn may_be_hidden(&self) -> bool {
        matches!(self.state, OpState::Hidden | OpState::Withdrawing)
    }

    fn opens(&self, collection: CollectionId, document: &DocumentId) -> bool {
        self.changes_on(collection, document).iter().any(|change| change.kind.is_opener())
    }

    /// The documents it touches, each once, in order.
    pub(super) fn documents(&self) -> Vec<(CollectionId, &DocumentId)> {
        let mut seen = HashSet::new();
        let all = self.body.changes.iter().map(|c| (c.collection, &c.document));
        all.filter(|key| seen.insert(*key)).collect()
    }
}

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
        Leaving { op, accepted: None, names: Vec::new(), landed: Vec::new() }
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

    pub(super) fn landed_on(&self, collection: CollectionId, document: &DocumentId) -> Option<OpId> {
        self.landed.iter().find(|(c, d, _)| *c == collection && d == document).map(|(_, _, opener)| *opener)
    }

    fn linked(&self, collection: CollectionId, document: &DocumentId) -> Linked {
        Linked {
            prev: self.op.prev_on(collection, document),
            covers: self.op.body.covers.clone(),
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
}

impl<'c> Ops<'c> {
    pub(super) fn new(conn: &'c Connection) -> Ops<'c> {
        Ops { conn, known: HashMap::new(), bytes: 0, leaving: HashMap::new() }
    }

    /// A queued op; `None` if it is not in the queue.
    pub(super) fn get(&mut self, id: OpId) -> Result<Option<Rc<QueuedOp>>> {
        if let Some(known) = self.known.get(&id) {
            return Ok(known.clone());
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

    /// To be told of every change made to an op.
    pub(super) fn changed(&mut self, id: OpId) {
        self.known.remove(&id);
    }

    /// Takes an op out of the queue, keeping its links at hand.
    pub(super) fn leave(&mut self, leaving: Leaving) -> Result<Rc<Leaving>> {
        let id = leaving.op.id;
        self.conn.prepare_cached("DELETE FROM _dl_outbox WHERE op_id = ?1")?.execute([id.0])?;
        self.known.insert(id, None);
        let leaving = Rc::new(leaving);
        for name in &leaving.names {
            self.leaving.insert(*name, Rc::clone(&leaving));
        }
        self.leaving.insert(id, Rc::clone(&leaving));
        Ok(leaving)
    }

    /// The links of an op on a document, wherever it is now.
    fn linked(&mut self, op: OpId, collection: CollectionId, document: &DocumentId) -> Result<Option<Linked>> {
        if let Some(leaving) = self.leaving.get(&op) {
            return Ok(Some(leaving.linked(collection, document)));
        }
        departed::linked(self.conn, op, collection, document)
    }

    /// The document's own ops from `newest` back through `prev`.
    pub(super) fn chain(&mut self, collection: CollectionId, document: &DocumentId, newest: OpId) -> Result<Chain> {
        let mut chain = Chain::default();
        let mut next = Some(newest);
        while let Some(id) = next {
            if chain.links.contains_key(&id) {
                break;
            }
            let linked = match self.get(id)? {
                Some(op) => {
                    let prev = op.prev_on(collection, document);
                    let linked = Linked { prev, covers: op.body.covers.clone(), accepted: None, landed: None };
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
        chain.refused_openers.retain(|name| !chain.folded.iter().any(|op| op.name() == *name));
        self.add_openers(&mut chain, collection, document)?;
        Ok(chain)
    }

    /// A generation may be named by the first id of a retried op, which no `prev` leads to.
    fn add_openers(&mut self, chain: &mut Chain, collection: CollectionId, document: &DocumentId) -> Result<()> {
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
            changes: op.changes_on(collection, document).into_iter().cloned().collect(),
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
            return Folded { shown: base, refused: Vec::new() };
        }
        let mut pending = self.pending(collection.id, document, contact, without);
        let blocked = |op: &Pending| {
            let mut generations = op.changes.iter().filter_map(|change| change.generation);
            generations.any(|opener| opener != op.name && self.refused_openers.contains(&opener))
        };
        let refused: Vec<OpId> = pending.extract_if(.., |op| blocked(op)).map(|op| op.id).collect();
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

    fn linked(&mut self, op: OpId, _: CollectionId, _: &DocumentId) -> std::result::Result<Option<Linked>, Infallible> {
        Ok(self.links.get(&op).cloned())
    }
}

/// Where the server is expected to place an op; its own clock as read before the first contact.
/// `contact` is [`as_of_now`]: a stamp is capped by the server's time when it places, not by what
/// that was at the last contact.
pub(super) fn predict(written: Reading, contact: Option<&Contact>) -> Stamp {
    contact.map_or_else(|| Stamp::at(written.wall), |contact| place(written, contact))
}

/// What a contact made now would say, as far as the last one tells.
pub(super) fn as_of_now(contact: Option<Contact>, now: Reading) -> Option<Contact> {
    contact.map(|contact| Contact { device: now, server: contact.server_time_at(now) })
}

/// Reads one op of the queue.
pub(super) fn read(conn: &Connection, id: OpId) -> Result<Option<QueuedOp>> {
    let row = conn
        .prepare_cached("SELECT state, wall, boot, mono, body FROM _dl_outbox WHERE op_id = ?1")?
        .query_row([id.0], |row| {
            Ok((row.get::<_, i64>(0)?, reading(row, 1)?, row.get::<_, Vec<u8>>(4)?))
        })
        .optional()?;
    let Some((state, written, body)) = row else { return Ok(None) };
    QueuedOp::decode(id, written, OpState::from_number(state)?, &body).map(Some)
}

/// The three clock columns from column `at` on.
pub(super) fn reading(row: &rusqlite::Row<'_>, at: usize) -> rusqlite::Result<Reading> {
    Ok(Reading { wall: row.get(at)?, boot: BootId(row.get(at + 1)?), mono: row.get(at + 2)? })
}
