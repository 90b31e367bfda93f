//! The end of a move of base: every document touched is folded and stored, once.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use driftline_core::fold::BaseImage;
use driftline_core::id::{CollectionId, DocumentId, OpId, PENDING};
use driftline_core::merge::{DocumentState, Life, Write};
use driftline_core::time::Stamp;
use rusqlite::{Connection, params};

use super::conflicts::{Conflict, add_conflicts};
use super::departed::{self, Departure};
use super::error::Result;
use super::history::{Chain, Leaving};
use super::meta;
use super::queued::{self, OpState};
use super::rebase::{Key, Moved, Rebase, Touched};
use super::row::StoredDocument;
use super::text;
use super::write::WriteTx;
use driftline_core::mutant::{Mutant, planted};

impl Rebase<'_, '_> {
    /// Folds and stores everything touched.
    pub(super) fn finish(mut self) -> Result<Moved> {
        self.fold_all()?;
        let mut moved = Moved {
            left: std::mem::take(&mut self.left),
            ..Moved::default()
        };
        // In the order of their rows.
        let mut collections: Vec<_> = std::mem::take(&mut self.touched).into_iter().collect();
        collections.sort_unstable_by_key(|(collection, _)| *collection);
        for (collection, documents) in collections {
            let mut documents: Vec<(DocumentId, Touched)> = documents.into_iter().collect();
            documents.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
            for (document, touched) in documents {
                moved.documents += usize::from(touched.foreign);
                self.settle(collection, &document, touched, &mut moved.conflicts)?;
            }
        }
        self.ops.delete_left()?;
        if self.settled {
            tidy(self.tx, &moved.left)?;
        }
        Ok(moved)
    }

    /// Folds every touched document. A group shows on all of its documents or on none: one that will
    /// be rejected because of one of them is left out of the others too.
    fn fold_all(&mut self) -> Result<()> {
        let mut hidden_before = BTreeSet::new();
        self.fold_groups(&mut hidden_before)?;
        // What was authored again goes on where base ends; where it does not the server says so.
        if self.author_again()? {
            self.fold_groups(&mut hidden_before)?;
        }
        for op in hidden_before.difference(&self.hidden) {
            set_hidden(self.tx, *op, false)?;
        }
        for op in self.hidden.difference(&hidden_before) {
            set_hidden(self.tx, *op, true)?;
        }
        Ok(())
    }

    fn fold_groups(&mut self, hidden_before: &mut BTreeSet<OpId>) -> Result<()> {
        let mut hidden = BTreeSet::new();
        let mut to_fold = self.with_own_ops(OpId::ZERO);
        while let Some(refused) = self.fold_some(to_fold, &hidden, hidden_before)? {
            // What was decided of later ops rested on this one.
            hidden.split_off(&refused);
            hidden.insert(refused);
            self.refold(refused)?;
            to_fold = self.with_own_ops(refused);
        }
        self.hidden = hidden;
        Ok(())
    }

    /// Documents with own ops from `oldest` on.
    fn with_own_ops(&self, oldest: OpId) -> Vec<Key> {
        let mut keys = Vec::new();
        for (collection, documents) in &self.touched {
            let own = |touched: &Touched| touched.newest.is_some_and(|newest| newest >= oldest);
            let documents = documents.iter().filter(|(_, touched)| own(touched));
            keys.extend(documents.map(|(document, _)| (*collection, document.clone())));
        }
        keys
    }

    /// Folds some documents, and those that belong to them through ops hidden so far. Returns the
    /// oldest group that will be rejected.
    fn fold_some(
        &mut self,
        mut to_fold: Vec<Key>,
        hidden: &BTreeSet<OpId>,
        hidden_before: &mut BTreeSet<OpId>,
    ) -> Result<Option<OpId>> {
        let mut refused: Option<OpId> = None;
        while let Some(key) = to_fold.pop() {
            let (collection, document) = &key;
            let Some(newest) = self.touched(*collection, document)?.newest else {
                continue;
            };
            let mut chain = self.ops.chain(*collection, document, newest)?;
            for op in chain.folded().iter().filter(|op| op.may_be_hidden()) {
                if hidden_before.insert(op.id) {
                    let others: Vec<Key> = op
                        .documents()
                        .into_iter()
                        .map(|(c, d)| (c, d.clone()))
                        .collect();
                    to_fold.extend(others.into_iter().filter(|other| *other != key));
                }
            }
            let contact = self.contact;
            let schema = Arc::clone(self.tx.schema());
            let touched = self.touched(*collection, document)?;
            if !chain.folded().is_empty()
                && let Some(collection) = schema.collection_by_id(*collection)
            {
                let base = touched.base.clone();
                let folded = chain.fold(collection, document, base, contact.as_ref(), hidden);
                let groups = chain
                    .folded()
                    .iter()
                    .filter(|op| op.is_group() && folded.refused.contains(&op.id));
                refused = groups.map(|op| op.id).chain(refused).min();
                touched.shown = folded.shown;
                touched.misfits = folded.rebase;
            }
            touched.chain = Some(chain);
        }
        Ok(refused)
    }

    /// Stores one document.
    fn settle(
        &mut self,
        collection: CollectionId,
        id: &DocumentId,
        touched: Touched,
        conflicts: &mut Vec<Conflict>,
    ) -> Result<()> {
        let Touched {
            before,
            base,
            chain,
            shown,
            newest,
            leaving,
            remote,
            ..
        } = touched;
        text::forget_gone(
            self.tx.conn(),
            (collection, id),
            before.as_ref(),
            base.as_ref(),
        )?;
        let pending = newest.filter(|_| chain.as_ref().is_some_and(Chain::is_undecided));
        if pending.is_some() {
            keep_links(self.tx.conn(), collection, id, &leaving)?;
        }
        // Without own ops that show, and in a collection that is not declared any more, base shows.
        let shows_own = chain
            .as_ref()
            .is_some_and(|chain| !chain.folded().is_empty())
            && self.tx.schema().collection_by_id(collection).is_some();
        let (shown, image) = match (shows_own, shown) {
            (false, _) => (base, None),
            (true, Some(shown)) => {
                let image = BaseImage::between(base.as_ref(), &shown);
                (Some(shown), image)
            }
            (true, None) => (None, None),
        };
        let mut after = match (shown, pending) {
            (Some(shown), pending) => StoredDocument::new(shown, image, pending),
            // Ops are queued that show nothing (they build on a rejected insert, say). Their way
            // back must not be lost with the row: a page may still bring what they build on.
            (None, Some(newest)) => {
                StoredDocument::new(ghost(newest), Some(BaseImage::Absent), Some(newest))
            }
            (None, None) => {
                return before.map_or(Ok(()), |before| self.tx.remove(collection, id, &before));
            }
        };
        if before.as_ref() == Some(&after) {
            return Ok(());
        }
        let folded = chain.as_ref().map(Chain::folded).unwrap_or_default();
        text::show_changed(
            self.tx,
            (collection, id),
            before.as_ref().map(|before| &before.shown),
            &after.shown,
            |place| {
                let shown = folded.iter().filter(|op| !self.hidden.contains(&op.id));
                Ok(text::edits_among(place, shown))
            },
        )?;
        if !remote.is_empty() {
            let shown_before = before.as_ref().map(|before| &before.shown);
            let shown = (shown_before, &after.shown);
            add_conflicts(
                conflicts,
                (collection, id),
                shown,
                &remote,
                (folded, &leaving),
            );
        }
        self.tx.store(collection, id, before.as_ref(), &mut after)
    }
}

/// A group is, or is no longer, expected to be rejected.
fn set_hidden(tx: &WriteTx<'_>, op: OpId, hidden: bool) -> Result<()> {
    let (from, to) = if hidden {
        (OpState::Pending, OpState::Hidden)
    } else {
        (OpState::Hidden, OpState::Pending)
    };
    tx.conn()
        .prepare_cached(
            "UPDATE _dl_outbox SET state = ?3 WHERE seq = ?1 AND op_id = ?4 AND state = ?2",
        )?
        .execute(params![op.head(), from.number(), to.number(), op.0])?;
    Ok(())
}

/// What must hold about the file as a whole after ops have left or ceased to be waited for.
pub(super) fn tidy(tx: &WriteTx<'_>, left: &[OpId]) -> Result<()> {
    tx.touch_queue();
    if let Some(newest_left) = left.iter().max() {
        let newest = queued::newest(tx.conn())?;
        if newest.is_none_or(|newest| newest < *newest_left) {
            raise_floor(tx.conn(), *newest_left)?;
        }
    }
    if !has_undecided(tx.conn())? && !planted(Mutant::LinksKept) {
        departed::clear(tx.conn())?;
    }
    Ok(())
}

/// Ids of this file never go back, also after the queue has drained.
fn raise_floor(conn: &Connection, to: OpId) -> Result<()> {
    let floor: Option<[u8; 16]> = meta::get(conn, meta::key::FLOOR)?;
    if floor.is_none_or(|floor| OpId(floor) < to) {
        meta::set(conn, meta::key::FLOOR, to.0)?;
    }
    Ok(())
}

/// Whether the queue holds anything the server has yet to decide or name.
pub(super) fn has_undecided(conn: &Connection) -> Result<bool> {
    let mut statement = conn.prepare_cached("SELECT 1 FROM _dl_outbox WHERE state <> 1 LIMIT 1")?;
    Ok(statement.exists([])?)
}

/// Links of what leaves, for the ops that stay on the document. An op may be known by several ids.
pub(super) fn keep_links(
    conn: &Connection,
    collection: CollectionId,
    id: &DocumentId,
    leaving: &[Rc<Leaving>],
) -> Result<()> {
    for leaving in leaving.iter().filter(|_| !planted(Mutant::LinksForgotten)) {
        let names = leaving.names.iter().filter(|name| **name != leaving.op.id);
        let covers = leaving.op.body.stands_for();
        for op in std::iter::once(&leaving.op.id).chain(names) {
            let departure = Departure {
                op: *op,
                collection,
                document: id,
                alias: *op != leaving.op.id,
                prev: leaving.op.prev_on(collection, id),
                covers: &covers,
                accepted: leaving.accepted,
                landed: leaving.landed_on(collection, id),
            };
            departed::keep(conn, &departure)?;
        }
    }
    Ok(())
}

/// A row for a document that shows nothing although own ops on it are queued.
fn ghost(newest: OpId) -> DocumentState {
    let mut state = DocumentState::opened(newest, PENDING);
    state.life = Life::Deleted(Write {
        op: newest,
        stamp: Stamp::ZERO,
        version: PENDING,
    });
    state
}

/// Whether a row shows nothing, and only keeps the way to ops that are queued.
pub(super) fn is_ghost(state: &DocumentState) -> bool {
    let deleted_by_nobody =
        matches!(state.life, Life::Deleted(by) if by.stamp == Stamp::ZERO && by.version == PENDING);
    deleted_by_nobody && state.version == PENDING
}
