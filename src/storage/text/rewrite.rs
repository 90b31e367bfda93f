//! Text authored again: under a new writer, on base as it is now, as the same ops.
//!
//! Pending text has to go on exactly where base ends. Where it does not (an op before it was
//! rejected or taken back, the original of a copied file has taken its clocks, the server says so),
//! all pending text of the field is written again.
//!
//! All of a field's pending text is under one writer, because an update names only the update of its
//! own writer before it; everything else it refers to by clocks. If the server has that earlier update
//! in another form (a copy of the file had it written again, say), the name tells. If text of another
//! writer stood there in another form, nothing would tell: the clocks are the same.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use driftline_core::id::OpId;
use driftline_core::op::{OpBody, TextEdit, Update};
use driftline_core::text::author::{self, Pending, Rewritten};
use driftline_core::text::guard::check_state;
use rusqlite::params;

use super::super::error::{Result, StorageError};
use super::super::history::Chain;
use super::super::meta;
use super::super::open::random_writer;
use super::super::outbox::encoded;
use super::super::queued::QueuedOp;
use super::super::rebase::Rebase;
use super::crdt::TextPlace;
use super::open::{PendingEdit, edits_among, open, shown_edits};
use super::show::opening;
use driftline_core::mutant::{Mutant, planted};

/// What becomes of the edits of an op: none, where there is nothing left to say.
type NewEdits = BTreeMap<OpId, Vec<(TextPlace, Option<TextEdit>)>>;

impl Rebase<'_, '_> {
    /// Authors again what does not go on where base ends. Returns whether there was anything.
    pub(in super::super) fn author_again(&mut self) -> Result<bool> {
        if planted(Mutant::TextNotAuthoredAgain) {
            return Ok(false);
        }
        let misfits = self.misfits();
        let places = self.places_of(&misfits)?;
        if !places.is_empty() || self.spoilt {
            self.draw_writer()?;
        }
        let writer = super::edit::writer(self.tx)?;
        let mut edits = NewEdits::new();
        for place in &places {
            self.author_field(place, &misfits, writer, &mut edits)?;
        }
        for (op, edits) in &edits {
            self.replace_edits(*op, edits)?;
        }
        Ok(!edits.is_empty())
    }

    /// Ops whose text the fold or the server could not take.
    fn misfits(&self) -> BTreeSet<OpId> {
        let touched = self
            .touched
            .values()
            .flat_map(|documents| documents.values());
        let folded = touched.flat_map(|touched| touched.misfits.iter().copied());
        folded.chain(self.to_author.iter().copied()).collect()
    }

    fn places_of(&mut self, ops: &BTreeSet<OpId>) -> Result<BTreeSet<TextPlace>> {
        let mut places = BTreeSet::new();
        for id in ops {
            let Some(op) = self.ops.get(*id)? else {
                continue;
            };
            for change in &op.body.changes {
                places.extend(change.texts.iter().map(|(field, _)| TextPlace {
                    collection: change.collection,
                    document: change.document.clone(),
                    field,
                }));
            }
        }
        Ok(places)
    }

    fn draw_writer(&mut self) -> Result<()> {
        self.spoilt = false;
        let ids = &*self.tx.storage().environment().ids;
        self.tx.set_meta(meta::key::WRITER, random_writer(ids))
    }

    fn author_field(
        &mut self,
        place: &TextPlace,
        misfits: &BTreeSet<OpId>,
        writer: u64,
        edits: &mut NewEdits,
    ) -> Result<()> {
        let tx = self.tx;
        let Some(opening) = opening(tx.layout(), place, writer) else {
            return Ok(());
        };
        let touched = self.touched(place.collection, &place.document)?;
        let folded = touched
            .chain
            .as_ref()
            .map(Chain::folded)
            .unwrap_or_default();
        let own = edits_among(place, folded);
        let shown = touched.shown.as_ref();
        let shown = shown
            .and_then(|shown| shown.texts.get(place.field))
            .cloned();
        let fits: BTreeSet<OpId> = match &shown {
            Some(shown) => shown_edits(shown, &own)
                .iter()
                .map(|edit| edit.op)
                .collect(),
            None => BTreeSet::new(),
        };
        let gone = edits_among(place, &self.left_out);
        let is_kept = |op: OpId| misfits.contains(&op) || fits.contains(&op);
        let mut all: BTreeMap<OpId, (&PendingEdit, bool)> = BTreeMap::new();
        all.extend(gone.iter().map(|edit| (edit.op, (edit, false))));
        for edit in &own {
            let hidden = self.hidden.contains(&edit.op);
            if hidden || is_kept(edit.op) {
                all.insert(edit.op, (edit, !hidden));
            }
        }
        if all
            .iter()
            .all(|(op, (_, kept))| *kept && !misfits.contains(op))
        {
            return Ok(());
        }
        let text = open(tx.conn(), place, opening, shown.as_ref(), &[])?;
        let damaged = || StorageError::unreadable("text");
        let state = text.body.state().map_err(|_| damaged())?;
        let limits = &opening.limits.guard;
        let base = check_state(&state, opening.kind, &text.marks, limits).map_err(|_| damaged())?;
        let mut pending: Vec<Pending<'_>> = Vec::with_capacity(all.len());
        for (op, (edit, kept)) in &all {
            let queued = self.ops.get(*op)?;
            pending.push(Pending {
                update: &edit.edit.update.0,
                writer: edit.edit.writer,
                keep: *kept,
                retried: queued.is_some_and(|queued| queued.body.retry_of.is_some()),
            });
        }
        let rewritten = author::again(base, &pending, writer, opening.limits);
        let rewritten = rewritten.map_err(|_| damaged())?;
        let mut after = None;
        for ((op, (_, kept)), rewritten) in all.iter().zip(rewritten) {
            let edit = match rewritten {
                _ if !kept => continue,
                Rewritten::Update(update) => Some(TextEdit {
                    writer,
                    update: Update(update),
                    after: after.replace(*op),
                }),
                Rewritten::Nothing => None,
                // The server will say what is wrong with it.
                Rewritten::Unreadable(_) => continue,
            };
            edits.entry(*op).or_default().push((place.clone(), edit));
        }
        Ok(())
    }

    fn replace_edits(&mut self, id: OpId, edits: &[(TextPlace, Option<TextEdit>)]) -> Result<()> {
        let Some(op) = self.ops.get(id)? else {
            return Ok(());
        };
        let mut body: OpBody = op.body.clone();
        for (place, edit) in edits {
            let mut changes = body.changes.iter_mut();
            let change = changes.find(|change| {
                change.is_on(place.collection, &place.document)
                    && change.texts.get(place.field).is_some()
            });
            match (change, edit) {
                (Some(change), Some(edit)) => {
                    change.texts.insert(place.field, edit.clone());
                }
                (Some(change), None) => {
                    change.texts.remove(place.field);
                }
                (None, _) => {}
            }
        }
        self.tx
            .conn()
            .prepare_cached(
                "UPDATE _dl_outbox SET body = ?2, authored_again = 1 WHERE seq = ?3 AND op_id = ?1",
            )?
            .execute(params![id.0, encoded(&body)?, id.head()])?;
        self.tx.touch_queue();
        self.ops.changed(id);
        Ok(())
    }

    /// An op does not show any more, as it was while it did: what was authored on top of it tells its
    /// place by it. Its clocks may be taken by nobody else from now on.
    pub(in super::super) fn leave_out(&mut self, op: &Rc<QueuedOp>) {
        if op.edits_text() {
            self.spoilt = true;
            self.left_out.push(Rc::clone(op));
        }
    }

    /// Base has an op's text otherwise than it is here: as it is here nothing shows it.
    pub(in super::super) fn leave_older(&mut self, op: &Rc<QueuedOp>) {
        if op.edits_text() {
            self.left_out.push(Rc::clone(op));
        }
    }

    /// An op's text stands behind own text under another writer.
    pub(in super::super) fn author_together(&mut self, op: OpId) -> Result<()> {
        self.to_author.insert(op);
        self.refold(op)
    }

    /// An op that was rejected is tried again: as it was written its text may stand behind what was
    /// typed behind it since.
    pub(in super::super) fn author_retried(&mut self, op: OpId, body: &OpBody) {
        if body.changes.iter().any(|change| !change.texts.is_empty()) {
            self.to_author.insert(op);
        }
    }

    /// The server says that an op's text does not fit.
    pub(in super::super) fn author_anew(&mut self, op: &Rc<QueuedOp>) -> Result<()> {
        if op.edits_text() {
            self.to_author.insert(op.id);
            self.refold(op.id)?;
        }
        Ok(())
    }
}
