//! The queue of own ops: what to send next, what waits in quarantine, and what the app can do about
//! it.
//!
//! Which ops are in flight is known to the engine alone; the file holds *pending* and *quarantined*.

use std::collections::HashSet;
use std::ops::ControlFlow;

use driftline_core::id::{CollectionId, DocumentId, OpId};
use driftline_core::op::{Change, OpBody, Refusal};
use driftline_core::time::Reading;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::error::{Result, StorageError};
use super::queued::{OpState, QueuedOp, reading};
pub(crate) use super::repeal::{discard, drop_all, retry, withdraw_undeliverable};

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
    /// Only ops behind this one: all up to it are answered, and the answer is about to be stored.
    pub(crate) behind: OpId,
}

/// Accepted ops fill no more than this part of a request: those that wait to be named must not keep
/// others from being sent.
const ACCEPTED_PART: usize = 4;

/// The next ops to send, in queue order.
pub(crate) fn next_batch(conn: &Connection, batch: &Batch<'_>) -> Result<Vec<Queued>> {
    let mut filling = Filling {
        batch,
        held: Held::of(batch.set_aside),
        queued: Vec::new(),
        bytes: 0,
        accepted: 0,
    };
    let from = batch.only.unwrap_or(batch.behind);
    let mut statement = conn.prepare_cached(
        "SELECT op_id, wall, boot, mono, state, body FROM _dl_outbox WHERE seq >= ?1 AND state <> 1 ORDER BY seq",
    )?;
    let mut rows = statement.query([from.head()])?;
    while let Some(row) = rows.next()? {
        let id = OpId(row.get(0)?);
        if id <= batch.behind {
            continue;
        }
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
                self.queued.push(Queued {
                    id,
                    written,
                    body: Vec::new(),
                });
            }
            return Ok(ControlFlow::Continue(()));
        }
        let body = row
            .get_ref(5)?
            .as_blob()
            .map_err(|_| StorageError::unreadable("outbox body"))?;
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
        Held {
            ops,
            documents: HashSet::new(),
        }
    }

    fn holds(&mut self, id: OpId, body: &[u8]) -> Result<bool> {
        let aside = self.ops.contains(&id);
        if !aside && self.documents.is_empty() {
            return Ok(false);
        }
        let body: OpBody = minicbor::decode(body)?;
        let key = |c: &Change| (c.collection, c.document.clone());
        let held = aside
            || body
                .changes
                .iter()
                .any(|change| self.documents.contains(&key(change)));
        if held {
            self.documents.extend(body.changes.iter().map(key));
        }
        Ok(held)
    }
}

/// How many ops there are, for the status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Ops that are sent or to be sent.
    pub(crate) pending: u64,
    /// Rejected ops.
    pub(crate) quarantined: u64,
}

/// Counts ops without looking at any: asked after every answer, it must cost little however many
/// wait.
pub(crate) fn counts(conn: &Connection) -> Result<Counts> {
    let count =
        |sql| -> Result<i64> { Ok(conn.prepare_cached(sql)?.query_row([], |row| row.get(0))?) };
    let all = count("SELECT count(*) FROM _dl_outbox")?;
    let quarantined = count("SELECT count(*) FROM _dl_outbox WHERE state = 1")?;
    Ok(Counts {
        pending: all.saturating_sub(quarantined).unsigned_abs(),
        quarantined: quarantined.unsigned_abs(),
    })
}

/// Whether there are ops that are sent or to be sent.
pub(crate) fn has_pending(conn: &Connection) -> Result<bool> {
    super::refold::has_undecided(conn)
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
        .prepare_cached("SELECT wall FROM _dl_outbox WHERE state <> 1 ORDER BY seq LIMIT 1")?
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
pub(crate) fn list(
    conn: &Connection,
    after: OpId,
    quarantined: Option<bool>,
    limit: usize,
) -> Result<Vec<Listed>> {
    let mut statement = conn.prepare_cached(
        "SELECT op_id, wall, boot, mono, state, body, error_code, error_message FROM _dl_outbox \
         WHERE seq > ?1 AND (?2 IS NULL OR (state = 1) = ?2) ORDER BY seq LIMIT ?3",
    )?;
    let mut rows = statement.query(params![
        after.head(),
        quarantined,
        i64::try_from(limit).unwrap_or(i64::MAX)
    ])?;
    let mut listed = Vec::new();
    while let Some(row) = rows.next()? {
        let state = OpState::from_number(row.get(4)?)?;
        let body = row
            .get_ref(5)?
            .as_blob()
            .map_err(|_| StorageError::unreadable("outbox body"))?;
        let (code, message): (Option<String>, Option<String>) = (row.get(6)?, row.get(7)?);
        listed.push(Listed {
            op: QueuedOp::decode(OpId(row.get(0)?), reading(row, 1)?, state, body)?,
            bytes: body.len(),
            refusal: code.map(|code| Refusal {
                code,
                message: message.unwrap_or_default(),
            }),
        });
    }
    Ok(listed)
}

/// Appends an op.
pub(super) fn insert(
    conn: &Connection,
    id: OpId,
    body: &[u8],
    written: Reading,
    retry_of: Option<OpId>,
) -> Result<()> {
    conn.prepare_cached("INSERT INTO _dl_outbox (seq, op_id, body, wall, boot, mono, retry_of) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?
        .execute(params![id.head(), id.0, body, written.wall, written.boot.0, written.mono, retry_of.map(|id| id.0)])?;
    Ok(())
}

pub(crate) fn encoded(body: &OpBody) -> Result<Vec<u8>> {
    minicbor::to_vec(body).map_err(|_| StorageError::Internal("an op does not encode".to_owned()))
}
