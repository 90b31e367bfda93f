//! What can be done about a queued op: quarantine, discard, retry, drop.

use std::collections::{BTreeSet, HashSet};
use std::rc::Rc;

use driftline_core::fold::{self, Pending};
use driftline_core::id::OpId;
use driftline_core::merge::DocumentState;
use driftline_core::op::{Change, OpBody, Refusal, refusal};
use rusqlite::{Connection, params};

use super::departed;
use super::error::Result;
use super::history::{Chain, Leaving, as_of_now};
use super::ledger;
use super::outbox::{Listed, encoded, insert, list};
use super::queued::{self, OpState, QueuedOp};
use super::rebase::{Moved, Rebase};
use super::write::WriteTx;

/// The code of an op that the server could not digest, alone and repeatedly.
pub(crate) const UNDELIVERABLE: &str = "undeliverable";

/// The refusal of an op that never got a verdict of its own.
pub(super) fn undeliverable() -> Refusal {
    Refusal::new(
        UNDELIVERABLE,
        "the server failed on it each time it was sent alone; it was withdrawn",
    )
}

/// Every queued and quarantined op, in queue order.
pub(super) fn ids(conn: &Connection) -> Result<Vec<OpId>> {
    let mut statement = conn.prepare_cached("SELECT op_id FROM _dl_outbox ORDER BY seq")?;
    let ids = statement.query_map([], |row| Ok(OpId(row.get(0)?)))?;
    Ok(ids.collect::<rusqlite::Result<_>>()?)
}

/// Puts a rejected op into quarantine. Its documents are to be folded again.
pub(super) fn set_quarantined(tx: &WriteTx<'_>, id: OpId, refused: &Refusal) -> Result<()> {
    tx.touch_queue();
    tx.conn().prepare_cached(
        "UPDATE _dl_outbox SET state = 1, error_code = ?2, error_message = ?3, next_attempt = NULL WHERE seq = ?4 AND op_id = ?1",
    )?
    .execute(params![id.0, refused.code, refused.message, id.head()])?;
    Ok(())
}

/// From now on a withdrawal is sent in place of an op the server cannot digest. It stays visible
/// until the verdict puts it into quarantine, content and all. Returns whether it was pending.
pub(crate) fn withdraw_undeliverable(tx: &WriteTx<'_>, id: OpId) -> Result<bool> {
    let changed = tx
        .conn()
        .prepare_cached(
            "UPDATE _dl_outbox SET state = 2 WHERE seq = ?1 AND op_id = ?2 AND state IN (0, 3)",
        )?
        .execute((id.head(), id.0))?;
    Ok(changed == 1)
}

/// Takes an op back: at once for the eye, settled by the server's answer to the withdrawal that
/// takes its place in the queue. `None` if it is not in the queue or taken back already.
pub(crate) fn discard(tx: &WriteTx<'_>, id: OpId) -> Result<Option<Moved>> {
    let mut rebase = Rebase::new(tx)?;
    let Some(op) = rebase.ops.get(id)?.filter(|op| !op.body.withdraw) else {
        return Ok(None);
    };
    tx.conn()
        .prepare_cached(
            "UPDATE _dl_outbox SET state = 0, body = ?2, error_code = NULL, error_message = NULL WHERE seq = ?3 AND op_id = ?1",
        )?
        .execute(params![id.0, encoded(&op.body.withdrawn())?, id.head()])?;
    tx.touch_queue();
    rebase.leave_out(&op);
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
    let Some(first) = queued::read(conn, id)?.filter(|op| op.state == OpState::Quarantined) else {
        return Ok(Vec::new());
    };
    let mut openers = HashSet::from([first.name()]);
    let mut taken = vec![first];
    let mut after = OpId::ZERO;
    loop {
        let page = list(conn, after, Some(true), 500)?;
        let Some(last) = page.last() else {
            return Ok(taken);
        };
        after = last.op.id;
        for Listed {
            op,
            refusal: refused,
            ..
        } in page
        {
            let blocked = refused.is_some_and(|refused| refused.code == refusal::BLOCKED_BY);
            let names = |opener: OpId| openers.contains(&opener);
            if op.id != id
                && blocked
                && op
                    .body
                    .changes
                    .iter()
                    .any(|c| c.generation.is_some_and(names))
            {
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
        let Some(stored) = tx.load(change.collection, &change.document)? else {
            continue;
        };
        change.prev = stored.pending.filter(|_| first);
        let chain = match stored.pending {
            Some(newest) => rebase
                .ops
                .chain(change.collection, &change.document, newest)?,
            None => Chain::default(),
        };
        let pending = chain.pending(
            change.collection,
            &change.document,
            contact.as_ref(),
            &BTreeSet::new(),
        );
        point_to_now(change, &stored.shown, &pending, name);
    }
    insert(tx.conn(), new, &encoded(&body)?, tx.now(), Some(name))?;

    ledger::drop_rejected(tx.conn(), op.id)?;
    keep_all_links(tx.conn(), &op)?;
    rebase.leave(Leaving::unnamed(Rc::new(op)))?;
    rebase.author_retried(new, &body);
    for change in &body.changes {
        rebase.append(new, change.collection, &change.document)?;
    }
    rebase.finish()?;
    Ok(new)
}

/// A retried change means the document as it is now; one that means what its own op opens still
/// does.
fn point_to_now(change: &mut Change, shown: &DocumentState, pending: &[Pending], name: OpId) {
    if change
        .generation
        .is_some_and(|generation| generation != name)
    {
        change.generation = Some(fold::named_generation(shown, pending));
    }
    if change.clock > 0 {
        change.clock = shown.clock.saturating_add(1);
    }
}

fn keep_all_links(conn: &Connection, op: &QueuedOp) -> Result<()> {
    for (collection, document) in op.documents() {
        let prev = op.prev_on(collection, document);
        let covers = op.body.stands_for();
        let departure = departed::Departure {
            op: op.id,
            collection,
            document,
            alias: false,
            prev,
            covers: &covers,
            accepted: None,
            landed: None,
        };
        departed::keep(conn, &departure)?;
    }
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
            let op = Rc::new(op);
            rebase.leave_out(&op);
            rebase.leave(Leaving::unnamed(op))?;
        }
        rebase.finish()?;
    }
}

/// After a change of history: what ops had seen is unknown to the server, so they claim nothing.
pub(super) fn forget_bases(conn: &Connection) -> Result<()> {
    for id in ids(conn)? {
        let Some(op) = queued::read(conn, id)?.filter(|op| op.body.base != 0) else {
            continue;
        };
        let body = OpBody { base: 0, ..op.body };
        conn.prepare_cached("UPDATE _dl_outbox SET body = ?2 WHERE seq = ?3 AND op_id = ?1")?
            .execute(params![id.0, encoded(&body)?, id.head()])?;
    }
    Ok(())
}
