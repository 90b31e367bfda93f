//! The transaction's end: the op it becomes, what that makes superfluous, and its place in the queue.

use driftline_core::id::OpId;
use driftline_core::mutant::{Mutant, planted};
use driftline_core::op::{Change, Op, OpBody, absorbs, admit, take_over};
use rusqlite::params;

use super::{LocalWrite, Working};
use crate::storage::error::{Result, StorageError};
use crate::storage::history::{self, QueuedOp};
use crate::storage::rebase::Rebase;
use crate::storage::{meta, text};

/// What a committed transaction did to the outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Queued {
    pub(crate) op: OpId,
    pub(crate) bytes: u64,
    /// The op it made superfluous, and that one's bytes.
    pub(crate) absorbed: Option<(OpId, u64)>,
}

/// Leaves a part of what shows out of the op, where a fault says so.
fn leave_out_what_is_planted(body: &mut OpBody) {
    if planted(Mutant::MemberNotQueued) && body.changes.len() > 1 {
        body.changes.pop();
    }
    if planted(Mutant::ElementNotQueued) {
        for change in &mut body.changes {
            let lists = change.adds.iter_mut().chain(change.removes.iter_mut());
            for (_, list) in lists.filter(|(_, list)| list.len() > 1) {
                list.pop();
            }
        }
    }
}

impl LocalWrite<'_> {
    /// Ends the transaction: rows and op are written, the commit is next. `None` if nothing is queued.
    pub(crate) fn finish(mut self) -> Result<Option<Queued>> {
        if self.broken {
            return Err(StorageError::Io("a part of the write failed".to_owned()));
        }
        self.close_texts(None)?;
        let Some(head) = self.head else {
            return Ok(None);
        };
        // Nothing is in the file yet, and nothing has to be: +5 and -5 are no op.
        let says_nothing = |working: &Working| {
            working.written.is_none() && working.changes.iter().all(Change::says_nothing)
        };
        if !self.tx.storage().is_guest() && self.documents.iter().all(says_nothing) {
            return Ok(None);
        }
        let mut changes: Vec<Change> = Vec::with_capacity(self.documents.len());
        for working in &mut self.documents {
            working.first = changes.len();
            changes.append(&mut working.changes);
        }
        if changes.is_empty() {
            return Ok(None);
        }
        let mut body = OpBody {
            base: head.base,
            schema: self.schema.version,
            changes,
            ..OpBody::default()
        };
        // Each change was admitted when it was made.
        if self.joined || self.size > self.schema.limits.max_group as usize {
            admit(&self.schema, &mut body)?;
        }
        if self.tx.storage().is_guest() {
            self.keep_texts(&body, head.op)?;
            self.write_rows(Some(&body))?;
            self.finish_as_guest(head.op)?;
            return Ok(None);
        }
        let absorbed = self.absorb(&mut body)?;
        self.write_rows(Some(&body))?;
        if planted(Mutant::OutboxApart) {
            self.tx.conn().execute_batch("COMMIT; BEGIN IMMEDIATE")?;
        }
        leave_out_what_is_planted(&mut body);
        let op = Op {
            id: head.op,
            written: self.tx.now(),
            body,
        };
        let queued = self.enqueue(&op, absorbed)?;
        self.author_together()?;
        Ok(Some(queued))
    }

    /// The file has drawn a new writer while texts were queued: they and what was written on them go under
    /// one.
    fn author_together(&self) -> Result<()> {
        if self.apart.is_empty() {
            return Ok(());
        }
        let mut rebase = Rebase::new(self.tx)?;
        for op in &self.apart {
            rebase.author_together(*op)?;
        }
        rebase.finish().map(drop)
    }

    /// Lets the op stand for the one before it, if that says nothing any more.
    ///
    /// Only for an op that nobody else can have seen, and only if no page came between the two: what
    /// a page changed the earlier one had not seen, and joined it would claim that it had (K3).
    fn absorb(&mut self, body: &mut OpBody) -> Result<Option<(OpId, u64)>> {
        let [change] = body.changes.as_slice() else {
            return Ok(None);
        };
        let at = self.find(change.collection, &change.document);
        let Some(working) = at.and_then(|at| self.documents.get_mut(at)) else {
            return Ok(None);
        };
        let Some(earlier) = working.before.as_ref().and_then(|before| before.pending) else {
            return Ok(None);
        };
        if !self.tx.hold_if_fresh(earlier)? {
            return Ok(None);
        }
        let Some(QueuedOp {
            written, body: old, ..
        }) = history::read(self.tx.conn(), earlier)?
        else {
            return Ok(None);
        };
        let apart = old.base != body.base && !planted(Mutant::JoinsAcrossAPage);
        if apart || !absorbs(body, &old) {
            return Ok(None);
        }
        let bytes: i64 = self
            .tx
            .conn()
            .prepare_cached(
                "DELETE FROM _dl_outbox WHERE seq = ?1 AND op_id = ?2 RETURNING length(body)",
            )?
            .query_row((earlier.head(), earlier.0), |row| row.get(0))?;
        take_over(
            body,
            Op {
                id: earlier,
                written,
                body: old,
            },
        );
        if let Some(shown) = &mut working.after {
            shown.updates.retain(|(op, _)| *op != earlier);
            working.dirty = true;
        }
        Ok(Some((earlier, bytes.unsigned_abs())))
    }

    fn enqueue(&self, op: &Op, absorbed: Option<(OpId, u64)>) -> Result<Queued> {
        let conn = self.tx.conn();
        let mut body = Vec::with_capacity(self.size);
        minicbor::encode(&op.body, &mut body)
            .map_err(|error| StorageError::Internal(error.to_string()))?;
        let bytes = body.len() as u64;
        if absorbed.is_none() {
            let capacity = self.tx.storage().capacity(conn, bytes)?;
            if capacity.is_exceeded_by(bytes) {
                return Err(StorageError::QueueFull {
                    ops: capacity.ops,
                    bytes: capacity.bytes,
                });
            }
        }
        conn.prepare_cached(
            "INSERT INTO _dl_outbox (seq, op_id, body, wall, boot, mono) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            op.id.head(),
            op.id.0,
            body,
            op.written.wall,
            op.written.boot.0,
            op.written.mono
        ])?;
        self.tx.touch_queue();
        self.tx.count(bytes, absorbed.map(|(_, bytes)| bytes));
        // Before the commit: afterwards it may be under way already. If the commit fails the op does
        // not exist, and the note says nothing.
        self.tx
            .storage()
            .note_fresh(op.id, absorbed.map(|(absorbed, _)| absorbed));
        let id = op.id;
        self.tx.set_witness(move |conn| {
            let mut statement =
                conn.prepare("SELECT 1 FROM _dl_outbox WHERE seq = ?1 AND op_id = ?2")?;
            Ok(statement.exists((id.head(), id.0))?)
        });
        Ok(Queued {
            op: op.id,
            bytes,
            absorbed,
        })
    }

    /// Without an account edits of texts are base at once.
    fn keep_texts(&mut self, body: &OpBody, op: OpId) -> Result<()> {
        for change in body.changes.iter().filter(|c| !c.texts.is_empty()) {
            let at = self.find(change.collection, &change.document);
            let shown = at.and_then(|at| self.documents.get(at)?.shown());
            if let Some(shown) = shown {
                text::keep_own(self.tx.conn(), change, shown, op)?;
            }
        }
        Ok(())
    }

    /// Without an account nothing is queued; what was written is base. So the write leaves its id
    /// behind: what documents say of it is not always enough to tell whether it took effect.
    fn finish_as_guest(&self, op: OpId) -> Result<()> {
        if self.tx.meta::<i64>(meta::key::GUEST)?.is_none() {
            self.tx.set_meta(meta::key::GUEST, 1)?;
        }
        meta::set(self.tx.conn(), meta::key::GUEST_WRITE, &op.0[..])?;
        self.tx.set_witness(move |conn| {
            let newest = meta::get::<Vec<u8>>(conn, meta::key::GUEST_WRITE)?;
            Ok(newest.is_some_and(|newest| newest == op.0))
        });
        Ok(())
    }
}
