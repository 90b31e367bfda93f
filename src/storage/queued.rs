//! One op of the queue or of quarantine, decoded.

use std::collections::{HashMap, HashSet};

use driftline_core::id::{BootId, CollectionId, DocumentId, OpId};
use driftline_core::op::{Change, OpBody};
use driftline_core::time::Reading;
use rusqlite::{Connection, OptionalExtension};

use super::error::{Result, StorageError};

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
    /// Whether its text was authored again since the server may have seen it.
    pub(super) authored_again: bool,
    /// Changes by document, for ops with many.
    index: HashMap<(CollectionId, DocumentId), Vec<u32>>,
    pub(super) size: usize,
}

impl QueuedOp {
    pub(super) fn decode(
        id: OpId,
        written: Reading,
        state: OpState,
        body: &[u8],
    ) -> Result<QueuedOp> {
        let size = body.len();
        let body: OpBody = minicbor::decode(body)?;
        let mut index: HashMap<_, Vec<u32>> = HashMap::new();
        if body.changes.len() > INDEX_ABOVE {
            for (at, change) in body.changes.iter().enumerate() {
                index
                    .entry((change.collection, change.document.clone()))
                    .or_default()
                    .push(at as u32);
            }
        }
        Ok(QueuedOp {
            id,
            written,
            state,
            body,
            authored_again: false,
            index,
            size,
        })
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
    pub(super) fn changes_on(
        &self,
        collection: CollectionId,
        document: &DocumentId,
    ) -> Vec<&Change> {
        if self.index.is_empty() {
            return self
                .body
                .changes
                .iter()
                .filter(|c| c.is_on(collection, document))
                .collect();
        }
        let at = self
            .index
            .get(&(collection, document.clone()))
            .map(Vec::as_slice)
            .unwrap_or_default();
        at.iter()
            .filter_map(|at| self.body.changes.get(*at as usize))
            .collect()
    }

    /// Whether it edits a text or list.
    pub(super) fn edits_text(&self) -> bool {
        self.body.changes.iter().any(|c| !c.texts.is_empty())
    }

    /// Its `prev` on a document.
    pub(super) fn prev_on(&self, collection: CollectionId, document: &DocumentId) -> Option<OpId> {
        self.changes_on(collection, document)
            .first()
            .and_then(|c| c.prev)
    }

    /// Whether it is about more than one document.
    pub(super) fn is_group(&self) -> bool {
        let first = self.body.changes.first();
        self.body
            .changes
            .iter()
            .any(|c| first.is_some_and(|first| !c.is_on(first.collection, &first.document)))
    }

    /// Whether it may have been kept from showing, so that its other documents have to be looked at
    /// when one of them changes.
    pub(super) fn may_be_hidden(&self) -> bool {
        matches!(self.state, OpState::Hidden | OpState::Withdrawing)
    }

    pub(super) fn opens(&self, collection: CollectionId, document: &DocumentId) -> bool {
        self.changes_on(collection, document)
            .iter()
            .any(|change| change.kind.is_opener())
    }

    /// The documents it touches, each once, in order.
    pub(super) fn documents(&self) -> Vec<(CollectionId, &DocumentId)> {
        let mut seen = HashSet::new();
        let all = self
            .body
            .changes
            .iter()
            .map(|c| (c.collection, &c.document));
        all.filter(|key| seen.insert(*key)).collect()
    }
}

/// Reads one op of the queue.
pub(super) fn read(conn: &Connection, id: OpId) -> Result<Option<QueuedOp>> {
    let mut statement = conn.prepare_cached(
        "SELECT op_id, state, wall, boot, mono, body, authored_again FROM _dl_outbox WHERE seq = ?1 AND op_id = ?2",
    )?;
    let mut rows = statement.query((id.head(), id.0))?;
    rows.next()?.map(|row| of_row(id, row)).transpose()
}

/// Decodes a row of `op_id, state, wall, boot, mono, body, authored_again`.
pub(super) fn of_row(id: OpId, row: &rusqlite::Row<'_>) -> Result<QueuedOp> {
    let body = row
        .get_ref(5)?
        .as_blob()
        .map_err(|_| StorageError::unreadable("outbox body"))?;
    let state = OpState::from_number(row.get(1)?)?;
    let op = QueuedOp::decode(id, reading(row, 2)?, state, body)?;
    Ok(QueuedOp {
        authored_again: row.get::<_, Option<bool>>(6)?.unwrap_or(false),
        ..op
    })
}

/// The newest op there is, in the queue or in quarantine.
pub(super) fn newest(conn: &Connection) -> Result<Option<OpId>> {
    let newest = conn
        .prepare_cached("SELECT op_id FROM _dl_outbox ORDER BY seq DESC LIMIT 1")?
        .query_row([], |row| row.get(0).map(OpId))
        .optional()?;
    Ok(newest)
}

/// The three clock columns from column `at` on.
pub(super) fn reading(row: &rusqlite::Row<'_>, at: usize) -> rusqlite::Result<Reading> {
    Ok(Reading {
        wall: row.get(at)?,
        boot: BootId(row.get(at + 1)?),
        mono: row.get(at + 2)?,
    })
}
