//! The queue of own ops: what to send next, what waits in quarantine, and what the app can do about
//! it.
//!
//! Which ops are in flight is known to the engine alone; the file holds *pending* and *quarantined*.

use std::collections::{BTreeSet, HashSet};
use std::ops::ControlFlow;
use std::rc::Rc;

use driftline_core::fold::{self, Pending};
use driftline_core::id::{CollectionId, DocumentId, OpId};
use driftline_core::merge::DocumentState;
use driftline_core::op::{Change, OpBody, Refusal, refusal};
use driftline_core::time::Reading;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::departed;
use super::error::{Result, StorageError};
use super::history::{self, Chain, as_of_now, Leaving, OpState, QueuedOp, reading};
use super::ledger;
use super::rebase::{Moved, Rebase};
use super::write::WriteTx;

/// The code of an op that the server could not digest, alone and repeatedly.
pub(crate) const UNDELIVERABLE: &str = "undeliverable";

/// One op to send.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Queued {
    pub(crate) id: OpId,
    /// The clocks when it was written.
    pub(crate) written: Reading,
    /// Its body, encoded; empty if the id alone is to be sent.
    pub(crate) body: Vec<u8>,
}

/// What a request may carry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Batch<'a> {
    pub(crate) max_ops: usize,
    /// A single larger op travels alone.
    pub(crate) max_bytes: usize,
    /// Accepted, not named yet: sent by id alone.
    pub(crate) accepted: &'a HashSet<OpId>,
    /// Ops that wait. Those that would overtake them on a shared document wait too.
    pub(crate) set_aside: &'a [OpId],
    /// The one op to carry instead.
    pub(crate) only: Option<OpId>,
}

/// Accepted ops fill no more than this part of a request: those that wait to be named must not keep
/// others from being sent.
const ACCEPTED_PART: usize = 4;

/// The next ops to send, in queue order.
pub(crate) fn next_batch(conn: &Connection, batch: &Batch<'_>) -> Result<Vec<Queued>> {
    let mut filling = Filling { batch, held: Held::of(batch.set_aside), queued: Vec::new(), bytes: 0, accepted: 0 };
    let from = batch.only.unwrap_or(OpId::ZERO);
    let mut statement = conn.prepare_cached(
        "SELECT op_id, wall, boot, mono, state, body FROM _dl_outbox WHERE op_id >= ?1 AND state <> 1 ORDER BY op_id",
    )?;
    let mut rows = statement.query([from.0])?;
    while let Some(row) = rows.next()? {
        let id = OpId(row.get(0)?);
        if batch.only.is_some_and(|only| only != id) || filling.offer(id, row)?.is_break() {
            break;
        }
    }
    Ok(filling.queued)
}

struct Filling<'a> {
    batch: &'a Batch<'a>,
    held: Held<'a>,
    queued: Vec<Queued>,
    bytes: usize,
    accepted: usize,
}

impl Filling<'_> {
    /// Takes an op into the batch, unless it must wait; breaks when the batch is full.
    fn offer(&mut self, id: OpId, row: &Row<'_>) -> Result<ControlFlow<()>> {
        if self.queued.len() >= self.batch.max_ops {
            return Ok(ControlFlow::Break(()));
        }
        let written = reading(row, 1)?;
        if self.batch.accepted.contains(&id) {
            if self.accepted < self.batch.max_ops.div_ceil(ACCEPTED_PART) {
                self.accepted += 1;
                self.queued.push(Queued { id, written, body: Vec::new() });
            }
            return Ok(ControlFlow::Continue(()));
        }
        let body = row.get_ref(5)?.as_blob().map_err(|_| StorageError::unreadable("outbox body"))?;
        if self.batch.only.is_none() && self.held.holds(id, body)? {
            return Ok(ControlFlow::Continue(()));
        }
        let body = match OpState::from_number(row.get(4)?)? {
            OpState::Withdrawing => encoded(&minicbor::decode::<OpBody>(body)?.withdrawn())?,
            _ => body.to_vec(),
        };
        if !self.queued.is_empty() && self.bytes + body.len() > self.batch.max_bytes {
            return Ok(ControlFlow::Break(()));
        }
        self.bytes += body.len();
        self.queued.push(Queued { id, written, body });
        Ok(ControlFlow::Continue(()))
    }
}

/// Ops that wait, and the documents later ops must not touch before them.
struct Held<'a> {
    ops: &'a [OpId],
    documents: HashSet<(CollectionId, DocumentId)>,
}

impl<'a> Held<'a> {
    fn of(ops: &'a [OpId]) -> Held<'a> {
        Held { ops, documents: HashSet::new() }
    }

    fn holds(&mut self, id: OpId, body: &[u8]) -> Result<bool> {
        let aside = self.ops.contains(&id);
        if !aside && self.documents.is_empty() {
            return Ok(false);
        }
        let body: OpBody = minicbor::decode(body)?;
        let key = |c: &Change| (c.collection, c.document.clone());
        let held = aside || body.changes.iter().any(|change| self.documents.contains(&key(change)));
        if held {
            self.documents.extend(body.changes.iter().map(key));
        }
        Ok(held)
    }
}

/// How much is queued.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct QueueSize {
    /// Ops that are sent or to be sent.
    pub(crate) pending: u64,
    /// Their bytes.
    pub(crate) pending_bytes: u64,
    /// Rejected ops.
    pub(crate) quarantined: u64,
    /// Their bytes.
    pub(crate) quarantined_bytes: u64,
    /// When the oldest pending one was written, as its clock said.
    pub(crate) oldest: Option<i64>,
}

/// Counts the queue. Reads all of its leaves, no content.
pub(crate) fn size(conn: &Connection) -> Result<QueueSize> {
    let mut statement = conn.prepare_cached(
        "SELECT count(*) FILTER (WHERE state <> 1), coalesce(sum(length(body)) FILTER (WHERE state <> 1), 0), \
         count(*) FILTER (WHERE state = 1), coalesce(sum(length(body)) FILTER (WHERE state = 1), 0) FROM _dl_outbox",
    )?;
    let mut size = statement.query_row([], |row| {
        Ok(QueueSize {
            pending: row.get::<_, i64>(0)?.cast_unsigned(),
            pending_bytes: row.get::<_, i64>(1)?.cast_unsigned(),
            quarantined: row.get::<_, i64>(2)?.cast_unsigned(),
            quarantined_bytes: row.get::<_, i64>(3)?.cast_unsigned(),
            oldest: None,
        })
    })?;
    size.oldest = conn
        .prepare_cached("SELECT wall FROM _dl_outbox WHERE state <> 1 ORDER BY op_id LIMIT 1")?
        .query_row([], |row| row.get(0))
        .optional()?;
    Ok(size)
}

/// One op of the queue or of quarantine, with why it is there.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) op: QueuedOp,
    pub(crate) bytes: usize,
    pub(crate) refusal: Option<Refusal>,
}

/// Ops behind `after` in queue order, at most `limit`; only quarantined ones if asked so.
pub(crate) fn list(conn: &Connection, after: OpId, quarantined: Option<bool>, limit: usize) -> Result<Vec<Listed>> {
    let mut statement = conn.prepare_cached(
        "SELECT op_id, wall, boot, mono, state, body, error_code, error_message FROM _dl_outbox \
         WHERE op_id > ?1 AND (?2 IS NULL OR (state = 1) = ?2) ORDER BY op_id LIMIT ?3",
    )?;
    let mut rows = statement.query(params![after.0, quarantined, i64::try_from(limit).unwrap_or(i64::MAX)])?;
    let mut listed = Vec::new();
    while let Some(row) = rows.next()? {
        let state = OpState::from_number(row.get(4)?)?;
        let body = row.get_ref(5)?.as_blob().map_err(|_| StorageError::unreadable("outbox body"))?;
        let (code, message): (Option<String>, Option<String>) = (row.get(6)?, row.get(7)?);
        listed.push(Listed {
            op: QueuedOp::decode(OpId(row.get(0)?), reading(row, 1)?, state, body)?,
            bytes: body.len(),
            refusal: code.map(|code| Refusal { code, message: message.unwrap_or_default() }),
        });
    }
    Ok(listed)
}

/// The refusal of an op that never got a verdict of its own.
pub(super) fn undeliverable() -> Refusal {
    Refusal::new(UNDELIVERABLE, "the server failed on it each time it was sent alone; it was withdrawn")
}

/// Every queued and quarantined op, in queue order.
pub(super) fn ids(conn: &Connection) -> Result<Vec<OpId>> {
    let mut statement = conn.prepare_cached("SELECT op_id FROM _dl_outbox ORDER BY op_id")?;
    let ids = statement.query_map([], |row| Ok(OpId(row.get(0)?)))?;
    Ok(ids.collect::<rusqlite::Result<_>>()?)
}

/// Puts a rejected op into quarantine. Its documents are to be folded again.
pub(super) fn set_quarantined(tx: &WriteTx<'_>, id: OpId, refused: &Refusal) -> Result<()> {
    tx.touch_queue();
    tx.conn().prepare_cached(
        "UPDATE _dl_outbox SET state = 1, error_code = ?2, error_message = ?3, next_attempt = NULL WHERE op_id = ?1",
    )?
    .execute(params![id.0, refused.code, refused.message])?;
    Ok(())
}

/// From now on a withdrawal is sent in place of an op the server cannot digest. It stays visible
/// until the verdict puts it into quarantine, content and all. Returns whether it was pending.
pub(crate) fn withdraw_undeliverable(tx: &WriteTx<'_>, id: OpId) -> Result<bool> {
    let changed = tx
        .conn()
        .prepare_cached("UPDATE _dl_outbox SET state = 2 WHERE op_id = ?1 AND state IN (0, 3)")?
        .execute([id.0])?;
    Ok(changed == 1)
}

/// Takes an op back: at once for the eye, settled by the server's answer to the withdrawal that
/// takes its place in the queue. `None` if it is not in the queue or taken back already.
pub(crate) fn discard(tx: &WriteTx<'_>, id: OpId) -> Result<Option<Moved>> {
    let mut rebase = Rebase::new(tx)?;
    let Some(op) = rebase.ops.get(id)?.filter(|op| !op.body.withdraw) else { return Ok(None) };
    tx.conn()
        .prepare_cached(
            "UPDATE _dl_outbox SET state = 0, body = ?2, error_code = NULL, error_message = NULL WHERE op_id = ?1",
        )?
        .execute(params![id.0, encoded(&op.body.withdrawn())?])?;
    tx.touch_queue();
    rebase.refold(id)?;
    rebase.finish().map(Some)
}

/// Tries a quarantined op again, as a new op at the queue's end; an insert or restore takes along
/// the ops that were rejected because they build on it. Returns the new ids, `None` if the op is not
/// in quarantine.
pub(crate) fn retry(tx: &WriteTx<'_>, id: OpId) -> Result<Option<Vec<OpId>>> {
    let mut ids = Vec::new();
    for op in with_blocked(tx.conn(), id)? {
        // One after the other: each builds on what the one before it made of the document.
        ids.push(retry_one(tx, op)?);
    }
    Ok((!ids.is_empty()).then_some(ids))
}

/// A quarantined op, and those that its rejection blocked, in queue order.
fn with_blocked(conn: &Connection, id: OpId) -> Result<Vec<QueuedOp>> {
    let Some(first) = history::read(conn, id)?.filter(|op| op.state == OpState::Quarantined) else {
        return Ok(Vec::new());
    };
    let mut openers = HashSet::from([first.name()]);
    let mut taken = vec![first];
    let mut after = OpId::ZERO;
    loop {
        let page = list(conn, after, Some(true), 500)?;
        let Some(last) = page.last() else { return Ok(taken) };
        after = last.op.id;
        for Listed { op, refusal: refused, .. } in page {
            let blocked = refused.is_some_and(|refused| refused.code == refusal::BLOCKED_BY);
            let names = |opener: OpId| openers.contains(&opener);
            if op.id != id && blocked && op.body.changes.iter().any(|c| c.generation.is_some_and(names)) {
                openers.insert(op.name());
                taken.push(op);
            }
        }
    }
}

fn retry_one(tx: &WriteTx<'_>, op: QueuedOp) -> Result<OpId> {
    let (new, name) = (tx.draw_op_id()?, op.name());
    let mut body = op.body.clone();
    body.base = tx.version()?;
    body.retry_of = Some(name);
    let contact = as_of_now(tx.contact()?, tx.now());
    let mut rebase = Rebase::new(tx)?;
    let mut met = HashSet::new();
    for change in &mut body.changes {
        // An op's link on a document is that of its first change there.
        let first = met.insert((change.collection, change.document.clone()));
        change.prev = None;
        let Some(stored) = tx.load(change.collection, &change.document)? else { continue };
        change.prev = stored.pending.filter(|_| first);
        let chain = match stored.pending {
            Some(newest) => rebase.ops.chain(change.collection, &change.document, newest)?,
            None => Chain::default(),
        };
        let pending = chain.pending(change.collection, &change.document, contact.as_ref(), &BTreeSet::new());
        point_to_now(change, &stored.shown, &pending, name);
    }
    insert(tx.conn(), new, &encoded(&body)?, tx.now(), Some(name))?;

    ledger::drop_rejected(tx.conn(), op.id)?;
    keep_all_links(tx.conn(), &op)?;
    rebase.leave(Leaving::unnamed(Rc::new(op)))?;
    for change in &body.changes {
        rebase.append(new, change.collection, &change.document)?;
    }
    rebase.finish()?;
    Ok(new)
}

/// A retried change means the document as it is now; one that means what its own op opens still
/// does.
fn point_to_now(change: &mut Change, shown: &DocumentState, pending: &[Pending], name: OpId) {
    if change.generation.is_some_and(|generation| generation != name) {
        change.generation = Some(fold::named_generation(shown, pending));
    }
    if change.clock > 0 {
        change.clock = shown.clock.saturating_add(1);
    }
}

fn keep_all_links(conn: &Connection, op: &QueuedOp) -> Result<()> {
    for (collection, document) in op.documents() {
        let prev = op.prev_on(collection, document);
        let covers = op.body.covers.as_slice();
        let departure = departed::Departure { op: op.id, collection, document, prev, covers, accepted: None, landed: None };
        departed::keep(conn, &departure)?;
    }
    Ok(())
}

/// Appends an op.
pub(super) fn insert(conn: &Connection, id: OpId, body: &[u8], written: Reading, retry_of: Option<OpId>) -> Result<()> {
    conn.prepare_cached("INSERT INTO _dl_outbox (op_id, body, wall, boot, mono, retry_of) VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
        .execute(params![id.0, body, written.wall, written.boot.0, written.mono, retry_of.map(|id| id.0)])?;
    Ok(())
}

/// Ops dropped in one go: their documents are held in memory.
const DROPPED_AT_ONCE: usize = 500;

/// Drops every queued and quarantined op: the app chose so at sign-out. Returns how many.
pub(crate) fn drop_all(tx: &WriteTx<'_>) -> Result<usize> {
    let mut dropped = 0;
    loop {
        let some = list(tx.conn(), OpId::ZERO, None, DROPPED_AT_ONCE)?;
        if some.is_empty() {
            return Ok(dropped);
        }
        dropped += some.len();
        let mut rebase = Rebase::new(tx)?;
        for Listed { op, .. } in some {
            rebase.leave(Leaving::unnamed(Rc::new(op)))?;
        }
        rebase.finish()?;
    }
}

/// After a change of history: what ops had seen is unknown to the server, so they claim nothing.
pub(super) fn forget_bases(conn: &Connection) -> Result<()> {
    for id in ids(conn)? {
        let Some(op) = history::read(conn, id)?.filter(|op| op.body.base != 0) else { continue };
        let body = OpBody { base: 0, ..op.body };
        conn.prepare_cached("UPDATE _dl_outbox SET body = ?2 WHERE op_id = ?1")?.execute(params![id.0, encoded(&body)?])?;
    }
    Ok(())
}

pub(super) fn encoded(body: &OpBody) -> Result<Vec<u8>> {
    minicbor::to_vec(body).map_err(|_| StorageError::Internal("an op does not encode".to_owned()))
}
