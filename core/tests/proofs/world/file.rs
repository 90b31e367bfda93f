//! A device's file in a small world: base, pending, quarantine, departed links and a cursor,
//! written straight from the design.

use std::sync::Arc;

use driftline_core::id::{BootId, OpId, Version};
use driftline_core::op::{Op, OpBody, absorbs, take_over};
use driftline_core::protocol::Cursor;
use driftline_core::time::Reading;

use super::receive::Staged;
use super::server::{Documents, Request, Sent, Server};
use super::typing::Texts;
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
    pub(super) fn name(&self) -> OpId {
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

/// The file.
#[derive(Clone)]
pub(crate) struct File {
    pub(crate) base: Arc<Documents>,
    pub(crate) cursor: Cursor,
    pub(crate) queue: Vec<Queued>,
    pub(crate) quarantine: Vec<Queued>,
    pub(crate) departed: Vec<Departed>,
    pub(crate) staged: Option<Staged>,
    /// The letters that stand in base's texts.
    pub(crate) texts: Arc<Texts>,
    /// The Yrs client id of text written here, and how many were drawn.
    pub(crate) writer: u64,
    pub(crate) draws: u64,
    /// The server said that some text does not fit.
    pub(crate) unfit: bool,
    pub(crate) boot: u32,
    pub(crate) booted: i64,
    pub(crate) skew: i64,
    /// All ids named by the versions in base. For the watcher, not for the device.
    pub(crate) base_names: u64,
    /// Every id its screen ever showed. For the watcher.
    pub(crate) ever: u64,
    /// Every op whose register its screen showed, not below another's. For the watcher.
    pub(crate) displayed: u64,
    /// Everything written here, discarded here, set aside here. For the watcher.
    pub(crate) written: u64,
    pub(crate) discarded: u64,
    pub(crate) aside: u64,
    /// Everything the app asked to take back, in time or not. For the watcher.
    pub(crate) took_back: u64,
    /// Taken back in time: never to be applied. For the watcher.
    pub(crate) gone: u64,
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
            texts: Arc::default(),
            writer: u64::from(boot) * 1_000,
            draws: 0,
            unfit: false,
            boot,
            booted: time,
            skew: 0,
            base_names: 0,
            ever: 0,
            displayed: 0,
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
        (!ops.is_empty()).then_some(Request {
            cursor: self.cursor,
            now,
            ops,
        })
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
}
