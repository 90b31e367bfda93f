//! A device's file in a small world: base, pending, quarantine, departed links and a cursor,
//! written straight from the design.

use std::convert::Infallible;
use std::sync::Arc;

use driftline_core::fold::{Folded, Pending, fold_telling, named_generation};
use driftline_core::id::{BootId, CollectionId, DocumentId, OpId, Version};
use driftline_core::merge::{DocumentState, History, Linked, Verdict};
use driftline_core::op::{Op, OpBody, absorbs, refusal, take_over};
use driftline_core::protocol::Cursor;
use driftline_core::schema::Schema;
use driftline_core::time::{Contact, Reading, place};

use super::server::{Documents, Entry, Outcome, Request, Sent, Server};
use super::{Key, Rules, mask};

/// An op of this file that the base does not contain.
#[derive(Clone, Debug)]
pub(crate) struct Queued {
    pub(crate) op: Op,
    /// The version it was accepted as, while no page has named it.
    pub(crate) accepted: Option<Version>,
    /// Quarantined because of the insert it builds on.
    pub(crate) blocked: bool,
}

impl Queued {
    /// An op nobody has answered yet.
    pub(crate) fn new(op: Op) -> Queued {
        Queued {
            op,
            accepted: None,
            blocked: false,
        }
    }

    /// The id its followers know it by.
    fn name(&self) -> OpId {
        self.op.body.retry_of.unwrap_or(self.op.id)
    }

    /// The ids by which it leaves.
    pub(crate) fn names(&self) -> u64 {
        mask(self.op.id) | self.op.body.retry_of.map_or(0, mask)
    }

    /// Every write it stands for.
    pub(crate) fn stands_for(&self) -> u64 {
        self.op
            .body
            .covers
            .iter()
            .fold(self.names(), |all, id| all | mask(*id))
    }
}

/// What is kept of an op that left, until the queue of its time has drained.
#[derive(Clone, Debug)]
pub(crate) struct Departed {
    pub(crate) op: OpId,
    pub(crate) name: OpId,
    pub(crate) prevs: Vec<(Key, Option<OpId>)>,
    pub(crate) covers: Vec<OpId>,
    pub(crate) named: Option<(Version, Vec<(Key, OpId)>)>,
}

/// A bootstrap under way: state pinned at a cursor, and the answer for the ids asked about.
#[derive(Clone, Debug)]
pub(crate) struct Staged {
    cursor: Cursor,
    documents: Arc<Documents>,
    named: Vec<Named>,
    all_names: u64,
}

impl Staged {
    /// Where it was pinned.
    pub(crate) fn cursor(&self) -> Cursor {
        self.cursor
    }
}

/// An id that base contains from here on.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    ids: u64,
    version: Version,
    landed: Vec<(Key, OpId)>,
}

/// The file.
#[derive(Clone)]
pub(crate) struct File {
    pub(crate) base: Arc<Documents>,
    pub(crate) cursor: Cursor,
    pub(crate) queue: Vec<Queued>,
    pub(crate) quarantine: Vec<Queued>,
    pub(crate) departed: Vec<Departed>,
    pub(crate) staged: Option<Staged>,
    pub(crate) boot: u32,
    pub(crate) booted: i64,
    pub(crate) skew: i64,
    /// All ids named by the versions in base. For the watcher, not for the device.
    pub(crate) base_names: u64,
    /// Every id its screen ever showed. For the watcher.
    pub(crate) ever: u64,
    /// Everything written here, discarded here, set aside here. For the watcher.
    pub(crate) written: u64,
    pub(crate) discarded: u64,
    pub(crate) aside: u64,
    /// Everything the app asked to take back, in time or not. For the watcher.
    pub(crate) took_back: u64,
    /// Taken back in time: never to be applied. For the watcher.
    pub(crate) gone: u64,
}

struct Memory<'a>(&'a File);

impl History for Memory<'_> {
    type Error = Infallible;
    fn linked(
        &mut self,
        id: OpId,
        collection: CollectionId,
        document: &DocumentId,
    ) -> Result<Option<Linked>, Infallible> {
        let file = self.0;
        let queued = file
            .queue
            .iter()
            .chain(&file.quarantine)
            .find(|q| q.op.id == id);
        if let Some(queued) = queued {
            let body = &queued.op.body;
            let prev = body.prev_on(collection, document);
            return Ok(Some(Linked {
                prev,
                covers: body.stands_for(),
                ..Linked::default()
            }));
        }
        let key = (collection, document.clone());
        Ok(file
            .departed
            .iter()
            .rev()
            .find(|d| d.op == id)
            .map(|departed| {
                let prev = departed
                    .prevs
                    .iter()
                    .find(|(k, _)| *k == key)
                    .and_then(|(_, prev)| *prev);
                let named = departed.named.as_ref();
                let landed = named
                    .and_then(|(_, l)| l.iter().find(|(k, _)| *k == key))
                    .map(|l| l.1);
                Linked {
                    prev,
                    covers: departed.covers.clone(),
                    accepted: named.map(|n| n.0),
                    landed,
                }
            }))
    }
}

impl File {
    pub(crate) fn new(server: &Server, boot: u32, time: i64) -> File {
        let mut file = File {
            base: Arc::default(),
            cursor: server.cursor(),
            queue: Vec::new(),
            quarantine: Vec::new(),
            departed: Vec::new(),
            staged: None,
            boot,
            booted: time,
            skew: 0,
            base_names: 0,
            ever: 0,
            written: 0,
            discarded: 0,
            aside: 0,
            took_back: 0,
            gone: 0,
        };
        file.adopt(server);
        file
    }

    pub(crate) fn reading(&self, time: i64) -> Reading {
        Reading {
            wall: time + self.skew,
            boot: BootId(self.boot),
            mono: time - self.booted,
        }
    }

    /// What a document shows: pending folded over base. A group that one of its documents refuses
    /// is shown on none.
    pub(crate) fn shown(&self, schema: &Schema, key: &Key, time: i64) -> Option<DocumentState> {
        let mut refused: Vec<OpId> = Vec::new();
        loop {
            let more: Vec<OpId> = self
                .group_keys()
                .iter()
                .flat_map(|key| self.folded(schema, key, time, &refused).refused)
                .collect();
            if more.is_empty() {
                return self.folded(schema, key, time, &refused).shown;
            }
            refused.extend(more);
        }
    }

    fn folded(&self, schema: &Schema, key: &Key, time: i64, refused: &[OpId]) -> Folded {
        let mut pending = self.pending(key, time);
        pending.retain(|op| !refused.contains(&op.id));
        let base = self.base.get(key).cloned();
        let collection = schema.collection_by_id(key.0).unwrap();
        let Ok(folded) = fold_telling(collection, base, &pending, &mut Memory(self));
        folded
    }

    /// The documents of ops that have several.
    fn group_keys(&self) -> Vec<Key> {
        let groups = self.queue.iter().filter(|q| q.op.body.changes.len() > 1);
        let changes = groups.flat_map(|q| &q.op.body.changes);
        let mut keys: Vec<Key> = changes
            .map(|c| (c.collection, c.document.clone()))
            .collect();
        keys.sort();
        keys.dedup();
        keys
    }

    fn pending(&self, key: &Key, time: i64) -> Vec<Pending> {
        let contact = Contact {
            device: self.reading(time),
            server: time,
        };
        let mut pending = Vec::new();
        // What builds on an insert that is taken back or quarantined will be rejected as a whole.
        let mut hopeless = self.rejected();
        for queued in &self.queue {
            let body = &queued.op.body;
            let blocked = body
                .changes
                .iter()
                .filter_map(|c| c.generation)
                .any(|g| hopeless.contains(&g));
            if body.withdraw || blocked {
                hopeless.push(queued.name());
                continue;
            }
            hopeless.retain(|id| *id != queued.name());
            let changes: Vec<_> = body
                .changes
                .iter()
                .filter(|c| c.is_on(key.0, &key.1))
                .cloned()
                .collect();
            if !changes.is_empty() {
                pending.push(Pending {
                    id: queued.op.id,
                    name: queued.name(),
                    stamp: place(queued.op.written, &contact),
                    base: body.base,
                    covers: body.covers.clone(),
                    changes,
                });
            }
        }
        pending
    }

    /// First ids of ops that were rejected and not accepted since.
    fn rejected(&self) -> Vec<OpId> {
        let departed = self
            .departed
            .iter()
            .filter(|d| d.named.is_none())
            .map(|d| d.name);
        self.quarantine
            .iter()
            .map(Queued::name)
            .chain(departed)
            .collect()
    }

    /// The generation that a new update or delete names.
    pub(crate) fn generation(&self, key: &Key, shown: &DocumentState, time: i64) -> OpId {
        named_generation(shown, &self.pending(key, time))
    }

    /// The file's previous op on a document, if base does not contain it. One that was taken back
    /// counts: what it covered may have been accepted.
    pub(crate) fn prev(&self, key: &Key) -> Option<OpId> {
        let on = |q: &&Queued| q.op.body.changes.iter().any(|c| c.is_on(key.0, &key.1));
        let queued = self.queue.iter().filter(on).map(|q| q.op.id).max();
        let on = |d: &&Departed| d.named.is_none() && d.prevs.iter().any(|(k, _)| k == key);
        queued.max(self.departed.iter().filter(on).map(|d| d.op).max())
    }

    /// Appends a write; `save` lets it stand for the one before where that is allowed.
    pub(crate) fn append(&mut self, rules: &Rules, mut op: Op, save: bool) -> bool {
        let mut absorbed = false;
        if save && let Some(at) = self.absorbable(rules, &op.body) {
            let earlier = self.queue.remove(at);
            take_over(&mut op.body, earlier.op);
            if !rules.take_prev {
                op.body.changes.iter_mut().for_each(|c| c.prev = None);
            }
            absorbed = true;
        }
        self.queue.push(Queued::new(op));
        absorbed
    }

    fn absorbable(&self, rules: &Rules, later: &OpBody) -> Option<usize> {
        let [change] = later.changes.as_slice() else {
            return None;
        };
        let last = self.prev(&(change.collection, change.document.clone()))?;
        let at = self.queue.iter().position(|q| q.op.id == last)?;
        let earlier = &self.queue[at].op.body;
        let base = self.base.get(&(change.collection, change.document.clone()));
        let unchanged = |field: u16| {
            let in_base = base.and_then(|b| b.registers.get(field));
            in_base.is_none_or(|r| r.write.version <= earlier.base)
        };
        let fits = absorbs(later, earlier)
            && (!rules.unchanged
                || earlier.changes[0]
                    .registers
                    .iter()
                    .all(|(field, _)| unchanged(field)));
        fits.then_some(at)
    }

    /// The request that carries the queue, or the oldest op alone.
    pub(crate) fn request(&self, time: i64, alone: bool) -> Option<Request> {
        let ops = self.queue.iter().map(|queued| match queued.accepted {
            Some(_) => Sent::Named(queued.op.id),
            None => Sent::Full(queued.op.clone()),
        });
        let ops: Vec<Sent> = ops.take(if alone { 1 } else { usize::MAX }).collect();
        let now = self.reading(time);
        (!ops.is_empty()).then(|| Request {
            cursor: self.cursor,
            now,
            ops,
        })
    }

    /// Takes the results of a request that was asked at `asked`.
    pub(crate) fn answer(&mut self, rules: &Rules, asked: Cursor, results: &[(OpId, Outcome)]) {
        let mut contained = Vec::new();
        for (id, outcome) in results {
            let Some(at) = self.queue.iter().position(|q| q.op.id == *id) else {
                continue;
            };
            match outcome {
                Outcome::Decided(Verdict::Accepted(version)) => {
                    let below = asked == self.cursor && *version <= asked.version;
                    if below || !rules.by_name {
                        let landed = Vec::new();
                        contained.push(Named {
                            ids: mask(*id),
                            version: *version,
                            landed,
                        });
                    } else {
                        self.queue[at].accepted = Some(*version);
                    }
                }
                Outcome::Decided(Verdict::Rejected(why)) => {
                    let mut queued = self.queue.remove(at);
                    queued.accepted = None;
                    let rejected = self.rejected();
                    let mut named = queued.op.body.changes.iter().filter_map(|c| c.generation);
                    queued.blocked = why.code == refusal::BLOCKED_BY
                        || named.any(|opener| rejected.contains(&opener));
                    if queued.op.body.withdraw {
                        self.gone |= mask(queued.op.id);
                        self.discarded |= queued.stands_for();
                        self.depart(rules, &queued, None);
                    } else {
                        self.quarantine.push(queued);
                        for departed in self.departed.clone() {
                            if let Some((_, landed)) = &departed.named {
                                self.settle_quarantined(departed.op, landed);
                            }
                        }
                    }
                }
                Outcome::Unknown => self.queue[at].accepted = None,
                Outcome::RetryLater => {}
            }
        }
        self.leave(rules, &contained);
    }

    /// Applies one version of the log.
    pub(crate) fn page(
        &mut self,
        rules: &Rules,
        (version, entry): (Version, &Entry),
        to: Cursor,
        last: bool,
    ) {
        let documents = Arc::make_mut(&mut self.base);
        for part in &entry.parts {
            match documents.get_mut(&part.key) {
                Some(document) if !part.whole => document.take(part.state.clone()),
                _ => {
                    documents.insert(part.key.clone(), part.state.clone());
                }
            }
        }
        self.cursor = to;
        let ids = entry.names.iter().fold(0, |all, id| all | mask(*id));
        self.base_names |= ids;
        self.leave(
            rules,
            &[Named {
                ids,
                version,
                landed: entry.landed.clone(),
            }],
        );
        self.forget(last);
    }

    /// Links are needed while something is queued, and until base holds what was decided by then.
    fn forget(&mut self, at_head: bool) {
        if at_head && self.queue.is_empty() {
            self.departed.clear();
        }
    }

    /// Every op that is named from here on leaves, queue and quarantine alike.
    fn leave(&mut self, rules: &Rules, named: &[Named]) {
        let find = |queued: &Queued| named.iter().find(|n| n.ids & queued.names() != 0).cloned();
        let mut gone = Vec::new();
        self.queue.retain(|queued| match find(queued) {
            None => true,
            Some(by) => {
                gone.push((queued.clone(), by));
                false
            }
        });
        for (queued, by) in gone {
            if by.ids & mask(queued.op.id) == 0 {
                // A copy's retry was accepted instead: the same content under another id.
                self.discarded |= mask(queued.op.id);
                if rules.relink {
                    self.relink(&queued);
                }
            }
            self.settle_quarantined(queued.name(), &by.landed);
            self.depart(rules, &queued, Some((by.version, by.landed)));
        }
        if rules.quarantine_by_name {
            self.quarantine.retain(|queued| find(queued).is_none());
        }
    }

    /// A retry that left because a copy's retry was accepted is an id the server never heard of:
    /// what follows it follows what it followed.
    fn relink(&mut self, left: &Queued) {
        for change in self.queue.iter_mut().flat_map(|q| &mut q.op.body.changes) {
            if change.prev == Some(left.op.id) {
                change.prev = left.op.body.prev_on(change.collection, &change.document);
            }
        }
    }

    /// Quarantined ops outlive the departed links: they name the generation itself from now on.
    fn settle_quarantined(&mut self, opener: OpId, landed: &[(Key, OpId)]) {
        for change in self
            .quarantine
            .iter_mut()
            .flat_map(|q| &mut q.op.body.changes)
        {
            let there = landed.iter().find(|(key, _)| change.is_on(key.0, &key.1));
            if let Some((_, landed)) = there.filter(|_| change.generation == Some(opener)) {
                change.generation = Some(*landed);
            }
        }
    }

    fn depart(
        &mut self,
        rules: &Rules,
        queued: &Queued,
        named: Option<(Version, Vec<(Key, OpId)>)>,
    ) {
        if rules.departed {
            let prevs = queued.op.body.changes.iter();
            let prevs: Vec<_> = prevs
                .map(|c| ((c.collection, c.document.clone()), c.prev))
                .collect();
            let covers = queued.op.body.stands_for();
            if let (Some(first), true) = (queued.op.body.retry_of, named.is_some()) {
                // Followers name an opener by its first id; its place in the chain stays.
                match self.departed.iter_mut().find(|d| d.op == first) {
                    Some(known) => known.named = named.clone(),
                    None => {
                        let (prevs, covers, named) = (prevs.clone(), covers.clone(), named.clone());
                        self.departed.push(Departed {
                            op: first,
                            name: first,
                            prevs,
                            covers,
                            named,
                        });
                    }
                }
            }
            let (op, name) = (queued.op.id, queued.name());
            self.departed.push(Departed {
                op,
                name,
                prevs,
                covers,
                named,
            });
        }
    }

    /// The app takes an op back: it is folded no more, and the server is told at its place.
    pub(crate) fn discard(&mut self, rules: &Rules, at: usize) -> bool {
        let Some(queued) = self.queue.get_mut(at).filter(|q| !q.op.body.withdraw) else {
            return false;
        };
        self.took_back |= queued.stands_for();
        let id = queued.op.id;
        queued.op.body = queued.op.body.withdrawn();
        if !rules.withdraw_prev {
            queued
                .op
                .body
                .changes
                .iter_mut()
                .for_each(|c| c.prev = None);
        }
        if !rules.withdraw {
            let queued = self.queue.remove(at);
            self.discarded |= queued.stands_for();
            self.gone |= mask(id);
        }
        true
    }

    /// The app gives up a quarantined op: it was rejected for good, so it is simply gone.
    pub(crate) fn give_up(&mut self, rules: &Rules) -> bool {
        if self.quarantine.is_empty() {
            return false;
        }
        let queued = self.quarantine.remove(0);
        self.discarded |= queued.stands_for();
        self.depart(rules, &queued, None);
        true
    }

    /// Whether the oldest quarantined op can succeed: what builds on a rejected insert cannot
    /// before that insert is tried again.
    pub(crate) fn can_retry(&self) -> bool {
        let Some(first) = self.quarantine.first() else {
            return false;
        };
        first
            .op
            .body
            .changes
            .iter()
            .filter(|_| first.blocked)
            .all(|change| {
                let base = self.base.get(&(change.collection, change.document.clone()));
                let current = base.map(|base| base.generation.opener);
                let queued = self.queue.iter().filter(|q| !q.op.body.withdraw);
                let mut openers = queued.map(Queued::name).chain(current);
                change
                    .generation
                    .is_none_or(|named| openers.any(|opener| opener == named))
            })
    }

    /// A quarantined op is tried again under a new id: the old one stays in the chain.
    pub(crate) fn put_aside(&mut self, rules: &Rules, old: &Queued) {
        if old.op.body.retry_of.is_some() {
            self.discarded |= mask(old.op.id);
        }
        self.depart(rules, old, None);
    }

    /// Asks for a bootstrap; the answer covers the queued and quarantined ids.
    pub(crate) fn ask_bootstrap(&mut self, server: &Server) -> bool {
        if self.staged.is_some() || !server.knows(&self.cursor) || self.cursor == server.cursor() {
            return false;
        }
        self.staged = Some(Staged {
            cursor: server.cursor(),
            documents: Arc::clone(server.now()),
            named: self.answers(server),
            all_names: all_names(server),
        });
        true
    }

    /// Swaps the staged state in.
    pub(crate) fn swap(&mut self, rules: &Rules) -> bool {
        let Some(staged) = self.staged.take() else {
            return false;
        };
        self.base = staged.documents;
        self.cursor = staged.cursor;
        self.base_names = staged.all_names;
        self.leave(rules, &staged.named);
        self.forget(true);
        true
    }

    /// The server has another history: the file is copied aside, verdicts and base versions of
    /// queued ops are forgotten, base is taken anew.
    pub(crate) fn history_changed(&mut self, rules: &Rules, server: &Server) {
        let held = self
            .queue
            .iter()
            .chain(&self.quarantine)
            .fold(0, |all, q| all | q.stands_for());
        self.aside |= self.written & !held;
        for queued in &mut self.queue {
            queued.accepted = None;
            queued.op.body.base = 0;
        }
        for (_, landed) in self.departed.iter_mut().filter_map(|d| d.named.as_mut()) {
            landed.clear();
        }
        self.staged = None;
        let named = self.answers(server);
        self.adopt(server);
        self.leave(rules, &named);
        self.forget(true);
    }

    fn adopt(&mut self, server: &Server) {
        self.base = Arc::clone(server.now());
        self.cursor = server.cursor();
        self.base_names = all_names(server);
    }

    fn answers(&self, server: &Server) -> Vec<Named> {
        let mut named = Vec::new();
        for queued in self.queue.iter().chain(&self.quarantine) {
            let ids = [Some(queued.op.id), queued.op.body.retry_of];
            for id in ids.into_iter().flatten() {
                if let Some((version, entry)) = server.named(id) {
                    named.push(Named {
                        ids: mask(id),
                        version,
                        landed: entry.landed.clone(),
                    });
                }
            }
        }
        named
    }
}

fn all_names(server: &Server) -> u64 {
    server
        .log
        .iter()
        .flat_map(|entry| &entry.names)
        .fold(0, |all, id| all | mask(*id))
}
