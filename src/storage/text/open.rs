//! Opening a text: base, and own pending edits on top.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use driftline_core::id::OpId;
use driftline_core::merge::TextState;
use driftline_core::op::TextEdit;
use driftline_core::text::guard::{self, Check, Checked, GuardLimits};
use driftline_core::text::{BodyLimits, Mark, TextKind};
use rusqlite::Connection;

use super::super::error::{Result, StorageError};
use super::super::history::Ops;
use super::super::queued::{OpState, QueuedOp};
use super::super::row::StoredDocument;
use super::body::Body;
use super::crdt::{self, Base, Tail, TextPlace};

/// An own edit that base does not contain.
#[derive(Clone, Debug)]
pub(crate) struct PendingEdit {
    pub(crate) op: OpId,
    pub(crate) edit: TextEdit,
}

/// A text as the file has it.
pub(crate) struct OpenText {
    pub(crate) body: Body,
    /// How far the body contains what each writer has written.
    pub(crate) marks: Vec<Mark>,
    /// The number of the last update of base in it.
    pub(crate) end: i64,
    /// The pending ops in it, in the queue's order.
    pub(crate) pending: Vec<OpId>,
    /// The first of them that was drawn here, and its writer: all of those are by one. What an attached
    /// guest had typed is the same in every copy of the file, under writers that are, and may be referred to.
    first: Option<(OpId, u64)>,
}

/// What a text is opened for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opening {
    pub(crate) kind: TextKind,
    /// Who edits it.
    pub(crate) writer: u64,
    pub(crate) limits: BodyLimits,
}

/// Opens a text as a document shows it: `shown` is what the document says of it, `pending` the own
/// edits of it in the queue's order.
pub(crate) fn open(
    conn: &Connection,
    place: &TextPlace,
    opening: Opening,
    shown: Option<&TextState>,
    pending: &[PendingEdit],
) -> Result<OpenText> {
    let base = match shown {
        Some(shown) => crdt::load(conn, place, shown.root, 0)?,
        None => Base::default(),
    };
    let mut text = open_base(&base, opening)?;
    if let Some(shown) = shown {
        for pending in shown_edits(shown, pending) {
            text.take_pending(pending)?;
        }
    }
    Ok(text)
}

/// The pending edits that are part of what is shown: a mark names its writer's last op, and each op the
/// one before it. The other edits mean another generation, or are expected to be rejected.
pub(crate) fn shown_edits<'p>(
    shown: &TextState,
    pending: &'p [PendingEdit],
) -> Vec<&'p PendingEdit> {
    let by_op: HashMap<OpId, &PendingEdit> = pending.iter().map(|p| (p.op, p)).collect();
    let mut part: HashSet<OpId> = HashSet::new();
    for mark in &shown.marks {
        let mut next = Some(mark.last);
        while let Some(pending) = next.and_then(|op| by_op.get(&op)) {
            if pending.edit.writer != mark.writer || !part.insert(pending.op) {
                break;
            }
            next = pending.edit.after;
        }
    }
    let is_part = |pending: &&PendingEdit| part.contains(&pending.op);
    pending.iter().filter(is_part).collect()
}

/// The own edits of a text among the ops that a document shows.
pub(crate) fn edits_among<'o>(
    place: &TextPlace,
    ops: impl IntoIterator<Item = &'o Rc<QueuedOp>>,
) -> Vec<PendingEdit> {
    let mut edits = Vec::new();
    for op in ops {
        let changes = op.changes_on(place.collection, &place.document);
        let edit = changes
            .into_iter()
            .find_map(|change| change.texts.get(place.field));
        edits.extend(edit.map(|edit| PendingEdit {
            op: op.id,
            edit: edit.clone(),
        }));
    }
    edits
}

/// The own edits of a text in a document as it is stored.
pub(crate) fn edits_in(
    conn: &Connection,
    place: &TextPlace,
    stored: &StoredDocument,
) -> Result<Vec<PendingEdit>> {
    let Some(newest) = stored.pending else {
        return Ok(Vec::new());
    };
    let chain = Ops::new(conn).chain(place.collection, &place.document, newest)?;
    let shown = chain.folded().iter();
    Ok(edits_among(
        place,
        shown.filter(|op| op.state != OpState::Hidden),
    ))
}

/// Opens a text as a document shows it.
pub(crate) fn open_stored(
    conn: &Connection,
    place: &TextPlace,
    opening: Opening,
    stored: &StoredDocument,
) -> Result<OpenText> {
    let pending = edits_in(conn, place, stored)?;
    let shown = stored.shown.texts.get(place.field);
    open(conn, place, opening, shown, &pending)
}

/// Opens base alone.
pub(crate) fn open_base(base: &Base, opening: Opening) -> Result<OpenText> {
    let Opening {
        kind,
        writer,
        limits,
    } = opening;
    let (body, marks) = match &base.state {
        None => (Body::new(kind, writer, limits), Vec::new()),
        Some(state) => {
            let checked = guard::check_state(&state.body, kind, &state.marks, &limits.guard);
            let checked = checked.map_err(|_| damaged())?;
            let body = Body::load(kind, writer, checked, limits);
            (body.map_err(|_| damaged())?, state.marks.clone())
        }
    };
    let mut text = OpenText {
        body,
        marks,
        end: base.state.as_ref().map_or(0, |state| state.seq),
        pending: Vec::new(),
        first: None,
    };
    text.take_tail(&base.tail)?;
    Ok(text)
}

impl OpenText {
    /// Takes what follows in base.
    pub(crate) fn take_tail(&mut self, tail: &[Tail]) -> Result<()> {
        for tail in tail {
            if !self.take(tail.op, tail.writer, &tail.body)? {
                return Err(damaged());
            }
            self.end = tail.seq;
        }
        Ok(())
    }

    /// Takes an own pending edit if it goes on where the text ends. Returns whether it did.
    pub(crate) fn take_pending(&mut self, pending: &PendingEdit) -> Result<bool> {
        let writer = pending.edit.writer;
        if Mark::of(&self.marks, writer).map(|mark| mark.last) != pending.edit.after {
            return Ok(false);
        }
        let taken = self.take(pending.op, writer, &pending.edit.update.0)?;
        if taken {
            self.pending.push(pending.op);
            if pending.op > OpId::ABOVE_DERIVED {
                self.first.get_or_insert((pending.op, writer));
            }
        }
        Ok(taken)
    }

    /// The first pending op, if it is by another writer.
    pub(crate) fn first_by_another(&self, writer: u64) -> Option<OpId> {
        let (op, by) = self.first?;
        (by != writer).then_some(op)
    }

    /// Takes an update if it goes on where the text ends.
    fn take(&mut self, op: OpId, writer: u64, update: &[u8]) -> Result<bool> {
        let limits = GuardLimits::default();
        let checked = match guard::check(update, writer, self.body.kind(), &self.marks, &limits) {
            Ok(Check::Fits(checked)) => checked,
            Ok(Check::Contained) | Err(_) => return Ok(false),
        };
        self.body.apply(&checked).map_err(|_| damaged())?;
        note(&mut self.marks, op, &checked);
        Ok(true)
    }
}

/// Moves the mark of an update's writer to its end.
pub(crate) fn note(marks: &mut Vec<Mark>, op: OpId, checked: &Checked<'_>) {
    let mark = Mark {
        writer: checked.writer(),
        next: checked.next(),
        last: op,
        version: 0,
    };
    Mark::put(marks, mark);
}

fn damaged() -> StorageError {
    StorageError::unreadable("text")
}
