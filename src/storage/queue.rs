//! What is known of the outbox in memory: how full it is, which ops nobody else has seen, and the
//! greatest id drawn.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use driftline_core::id::OpId;
use driftline_core::time::Reading;
use rusqlite::Connection;

use super::election::{self, Lease, Seat};
use super::error::Result;
use super::hooks::{Capacity, Origin};
use super::{Storage, meta, outbox};
use driftline_core::mutant::{Mutant, planted};

/// Facts that may be lost: all of them are derived again from the file or forgotten safely.
#[derive(Default)]
pub(super) struct Queue {
    counts: Mutex<Option<Counts>>,
    exposure: Mutex<Exposure>,
    released: Condvar,
    newest: Mutex<Option<OpId>>,
    /// Whether the app was told that the outbox is nearly full.
    told: AtomicBool,
    /// Counts what may have changed the outbox.
    changes: AtomicU64,
    /// How many ops there were, as of that many changes.
    counted: Mutex<Option<(u64, outbox::Counts)>>,
}

#[derive(Clone, Copy)]
struct Counts {
    ops: u64,
    bytes: u64,
    /// Whether it may be less.
    at_most: bool,
    /// Monotonic milliseconds of the last look, once another process has committed since.
    looked_at: Option<i64>,
}

/// While another process writes too, the outbox is counted again no more often than this, as long as
/// it was less than half full: counting reads all of it.
const MILLIS_BETWEEN_COUNTS: i64 = 100;

fn count(conn: &Connection) -> Result<Counts> {
    let sql = "SELECT count(*), ifnull(sum(length(body)), 0) FROM _dl_outbox";
    let (ops, bytes): (i64, i64) = conn.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(Counts {
        ops: ops.unsigned_abs(),
        bytes: bytes.unsigned_abs(),
        at_most: false,
        looked_at: None,
    })
}

/// Who may have seen an op.
#[derive(Default)]
struct Exposure {
    /// The election that what follows is true of: no other process has been elected since. `None`
    /// while another one is.
    term: Option<i64>,
    /// Written by this process since it opened the file, and never handed to the sender.
    fresh: HashSet<OpId>,
    in_flight: HashSet<OpId>,
    /// A write that makes an op superfluous is about to commit: nothing is handed out meanwhile.
    held: bool,
}

impl Exposure {
    fn hand_out(&mut self, ids: Vec<OpId>) {
        for id in &ids {
            if !planted(Mutant::JoinsWhatWasSent) {
                self.fresh.remove(id);
            }
        }
        self.in_flight.extend(ids);
    }
}

/// More fresh ops than this are not remembered one by one: none of the forgotten ones is joined.
const MOST_FRESH: usize = 100_000;

impl Queue {
    fn counts(&self) -> MutexGuard<'_, Option<Counts>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn forget_counts(&self) {
        *self.counts() = None;
    }

    /// Another process has committed: the outbox may hold more than is known.
    pub(super) fn another_wrote(&self, now: i64) {
        if let Some(known) = &mut *self.counts() {
            known.looked_at.get_or_insert(now);
        }
    }

    /// The outbox may be another than it was.
    pub(super) fn changed(&self) {
        self.changes.fetch_add(1, Ordering::AcqRel);
    }

    /// No id is drawn at or below this one.
    pub(super) fn draw_above(&self, id: OpId) {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        *newest = (*newest).max(Some(id));
    }

    /// Nobody has been elected to sync in another process, as of `term`.
    pub(super) fn nobody_else_syncs(&self, term: i64) {
        self.exposure().term = Some(term);
    }

    fn exposure(&self) -> MutexGuard<'_, Exposure> {
        self.exposure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Exposure, once no write holds the sender off.
    fn exposure_released(&self) -> MutexGuard<'_, Exposure> {
        let mut exposure = self.exposure();
        while exposure.held {
            exposure = self
                .released
                .wait(exposure)
                .unwrap_or_else(PoisonError::into_inner);
        }
        exposure
    }
}

impl Storage {
    /// The sender's word on which ops are under way now. An op named here once is never joined with
    /// a later one, also when it is not under way any more.
    pub(crate) fn set_in_flight(&self, ids: &[OpId]) {
        let mut exposure = self.queue.exposure_released();
        exposure.in_flight = ids.iter().copied().collect();
        for id in ids {
            exposure.fresh.remove(id);
        }
    }

    /// Lets the sender choose ops and marks them as under way, with no local write between the two.
    pub(crate) fn hand_out<T>(&self, choose: impl FnOnce() -> Result<(T, Vec<OpId>)>) -> Result<T> {
        let mut exposure = self.queue.exposure_released();
        let (chosen, ids) = choose()?;
        exposure.in_flight.clear();
        exposure.hand_out(ids);
        Ok(chosen)
    }

    /// The same beside those that are under way.
    pub(crate) fn hand_out_also<T>(
        &self,
        choose: impl FnOnce() -> Result<(T, Vec<OpId>)>,
    ) -> Result<T> {
        let mut exposure = self.queue.exposure_released();
        let (chosen, ids) = choose()?;
        exposure.hand_out(ids);
        Ok(chosen)
    }

    /// How many ops there are; counted again only after a change, for that reads all of the outbox.
    pub(crate) fn queued(&self) -> Result<outbox::Counts> {
        let changes = self.queue.changes.load(Ordering::Acquire);
        let mut counted = self
            .queue
            .counted
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some((as_of, counts)) = *counted
            && as_of == changes
        {
            return Ok(counts);
        }
        let counts = self.with_reader(|tx| outbox::counts(tx.conn()))?;
        *counted = Some((changes, counts));
        Ok(counts)
    }

    /// Whether an op is under way.
    pub(crate) fn is_in_flight(&self, op: OpId) -> bool {
        self.queue.exposure().in_flight.contains(&op)
    }

    /// Whether nobody but this process can have seen `op`, asked within a write. If so nothing is handed
    /// to the sender until [`Storage::release`].
    pub(super) fn hold_if_fresh(&self, conn: &Connection, op: OpId) -> Result<bool> {
        if !self.queue.exposure().fresh.contains(&op) {
            return Ok(false);
        }
        // Nobody is elected while this transaction lasts.
        let (term, holder) = election::standing(conn)?;
        let mut exposure = self.queue.exposure();
        let others = holder.is_some_and(|holder| holder != self.name);
        if others || exposure.term != Some(term) {
            // Another process may have sent any of them.
            exposure.fresh.clear();
            exposure.term = (!others).then_some(term);
            return Ok(false);
        }
        exposure.held = exposure.fresh.contains(&op);
        Ok(exposure.held)
    }

    /// Notes that this process was elected, in place of what was `found`.
    pub(super) fn elected(&self, found: &Seat, lease: &Lease) {
        let mut exposure = self.queue.exposure();
        if found.holder.is_some() || exposure.term != Some(found.term) {
            exposure.fresh.clear();
        }
        exposure.term = Some(lease.term);
    }

    pub(super) fn release(&self) {
        self.queue.exposure().held = false;
        self.queue.released.notify_all();
    }

    /// Notes an op as this process's own and unseen; `absorbed` is gone.
    pub(super) fn note_fresh(&self, op: OpId, absorbed: Option<OpId>) {
        let mut exposure = self.queue.exposure();
        if let Some(absorbed) = absorbed {
            exposure.fresh.remove(&absorbed);
        }
        if exposure.fresh.len() < MOST_FRESH {
            exposure.fresh.insert(op);
        }
    }

    /// How full the outbox is with another op of `bytes` on its way. Exact where it matters: what may
    /// be less than known is counted again before a write is refused or the app is told.
    pub(crate) fn capacity(&self, conn: &Connection, bytes: u64) -> Result<Capacity> {
        let mut counts = self.queue.counts();
        let known = match *counts {
            Some(known) if self.is_outdated(known) => count(conn)?,
            Some(known) if !known.at_most => known,
            Some(known) if !self.capacity_with(known).is_high_with(bytes) => known,
            _ => count(conn)?,
        };
        *counts = Some(known);
        Ok(self.capacity_with(known))
    }

    /// Whether what another process added since may matter now.
    fn is_outdated(&self, known: Counts) -> bool {
        let Some(looked_at) = known.looked_at else {
            return false;
        };
        let now = self.environment.clock.monotonic();
        let capacity = self.capacity_with(known);
        now.saturating_sub(looked_at) >= MILLIS_BETWEEN_COUNTS
            || capacity.ops > capacity.max_ops / 2
            || capacity.bytes > capacity.max_bytes / 2
    }

    /// Tells the app when the outbox was too full for a write, and once when it has become four fifths
    /// full.
    pub(crate) fn after_local_write(&self, was_too_full: bool) {
        let known = *self.queue.counts();
        let Some(capacity) = known.map(|known| self.capacity_with(known)) else {
            return;
        };
        let told = self
            .queue
            .told
            .swap(capacity.is_high_with(0), Ordering::Relaxed);
        if was_too_full || (capacity.is_high_with(0) && !told) {
            self.hooks().capacity(&Capacity {
                refused: was_too_full,
                ..capacity
            });
        }
    }

    fn capacity_with(&self, known: Counts) -> Capacity {
        let layout = self.layout();
        let limits = &layout.schema.limits;
        Capacity {
            ops: known.ops,
            bytes: known.bytes,
            max_ops: limits.max_queue_ops.into(),
            max_bytes: limits.max_queue_bytes,
            refused: false,
        }
    }

    /// Follows what a committed transaction did to the outbox: bytes of the op it added and of the one
    /// it took out. Of the server's answers it is known that they add nothing.
    pub(super) fn follow_queue(&self, counted: Option<(u64, Option<u64>)>, origin: Origin) {
        let mut counts = self.queue.counts();
        *counts = match (*counts, counted) {
            (Some(known), Some((added, removed))) => Some(Counts {
                ops: known.ops + 1 - u64::from(removed.is_some()),
                bytes: (known.bytes + added).saturating_sub(removed.unwrap_or(0)),
                ..known
            }),
            (Some(known), None) if origin == Origin::Remote => Some(Counts {
                at_most: true,
                ..known
            }),
            _ => None,
        };
    }

    /// A new id above every one the file has drawn: the clock's, unless that has gone back.
    pub(super) fn draw_op_id(&self, conn: &Connection, now: Reading) -> Result<OpId> {
        Ok(self.next_op_id(meta::standing(conn)?.newest, now))
    }

    /// The same, given the greatest the file knows. Another process may draw as well, so that is
    /// read in the transaction the id is drawn in.
    pub(super) fn next_op_id(&self, greatest: Option<OpId>, now: Reading) -> OpId {
        let mut newest = self
            .queue
            .newest
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut random = [0; 10];
        self.environment().ids.fill(&mut random);
        let millis = u64::try_from(now.wall).unwrap_or(0);
        let last = greatest.max(*newest);
        let last = last.filter(|_| !planted(Mutant::IdsNotAboveTheLast));
        let id = OpId::next(millis, random, last);
        *newest = Some(id);
        id
    }
}
