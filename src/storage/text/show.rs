//! Writing what texts show after their documents changed, and folding what base holds of them.

use driftline_core::id::{CollectionId, DocumentId, OpId};
use driftline_core::merge::DocumentState;
use driftline_core::text::{BodyLimits, TextKind};
use rusqlite::Connection;

use super::super::error::{Result, StorageError};
use super::super::row::StoredDocument;
use super::super::tables::Layout;
use super::super::write::WriteTx;
use super::super::{Origin, Storage};
use super::crdt::{self, TextPlace};
use super::open::{OpenText, Opening, PendingEdit, edits_in, open_base, shown_edits};
use super::shown;

/// A text with so many updates behind its state is folded.
const LONG_TAIL: usize = 256;

/// Or with so many bytes of them, if the state is not longer.
const LARGE_TAIL: usize = 64 << 10;

/// So many of the latest updates stay as they are, for editors that have the text open and take in
/// what is new one update after the other.
const KEPT_TAIL: usize = 32;

/// How a text is opened under `writer`; `None` for what the schema has never declared as one.
pub(crate) fn opening(layout: &Layout, place: &TextPlace, writer: u64) -> Option<Opening> {
    let kind = layout.table(place.collection)?.text_kind(place.field)?;
    Some(Opening {
        kind,
        writer,
        limits: limits(layout, place, kind),
    })
}

fn limits(layout: &Layout, place: &TextPlace, kind: TextKind) -> BodyLimits {
    let mut limits = BodyLimits::default();
    let most = layout.schema.limits.max_value as usize;
    let declared = layout.schema.collection_by_id(place.collection);
    let max_bytes = declared
        .and_then(|collection| collection.field_by_id(place.field)?.max_bytes)
        .map(|bytes| bytes as usize);
    match kind {
        TextKind::RichText => limits.max_bytes = max_bytes.unwrap_or(most),
        // Of a list it bounds each element.
        TextKind::List => {
            limits.max_bytes = most;
            let element = max_bytes.unwrap_or(limits.guard.max_element);
            limits.guard.max_element = limits.guard.max_element.min(element);
        }
    }
    limits
}

/// Writes what changed in what a document's texts show. `edits` gives the own edits of a text that
/// the document shows.
pub(crate) fn show_changed(
    tx: &WriteTx<'_>,
    (collection, document): (CollectionId, &DocumentId),
    before: Option<&DocumentState>,
    after: &DocumentState,
    edits: impl Fn(&TextPlace) -> Result<Vec<PendingEdit>>,
) -> Result<()> {
    let Some(table) = tx.layout().table(collection).filter(|_| after.is_alive()) else {
        return Ok(());
    };
    // What a deleted document shows is not kept up.
    let was_shown = before.filter(|before| before.is_alive());
    for (field, _) in &table.texts {
        let (old, new) = (
            before.and_then(|before| before.texts.get(*field)),
            after.texts.get(*field),
        );
        if was_shown.is_some() && old == new || before.is_none() && new.is_none() {
            continue;
        }
        let place = TextPlace {
            collection,
            document: document.clone(),
            field: *field,
        };
        let Some(text) = new else {
            shown::remove(tx.conn(), &place)?;
            tx.note_text(collection, document);
            continue;
        };
        let goes_on = was_shown.is_some() && old.is_some_and(|old| old.root == text.root);
        let showing = tx.storage().showing();
        if !showing.is_due(&place, tx.now().wall) && goes_on {
            shown::note_stale(tx.conn(), &place)?;
            showing.note_behind();
            continue;
        }
        show(tx, &place, after, &edits(&place)?)?;
    }
    Ok(())
}

/// Writes what the texts of a document show that a local write brought back: while it was deleted
/// they were not kept up, and a bootstrap may have cleared them. What the same write edited it shows
/// itself.
pub(crate) fn show_again(
    tx: &WriteTx<'_>,
    (collection, document): (CollectionId, &DocumentId),
    before: &StoredDocument,
    after: &DocumentState,
) -> Result<()> {
    let Some(table) = tx.layout().table(collection).filter(|_| after.is_alive()) else {
        return Ok(());
    };
    for (field, _) in &table.texts {
        let place = TextPlace {
            collection,
            document: document.clone(),
            field: *field,
        };
        match after.texts.get(*field) {
            None => shown::remove(tx.conn(), &place)?,
            text if text == before.shown.texts.get(*field) => {
                show(tx, &place, after, &edits_in(tx.conn(), &place, before)?)?;
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// Writes what one text of a document shows.
fn show(
    tx: &WriteTx<'_>,
    place: &TextPlace,
    document: &DocumentState,
    pending: &[PendingEdit],
) -> Result<()> {
    let Some((opening, text)) = opening(tx.layout(), place, 1).zip(document.texts.get(place.field))
    else {
        return Ok(());
    };
    let mut open = open_folding(tx.conn(), place, opening, text.root)?;
    for edit in shown_edits(text, pending) {
        open.take_pending(edit)?;
    }
    write_shown(tx, place, &mut open)
}

/// Writes what an open text shows.
pub(crate) fn write_shown(tx: &WriteTx<'_>, place: &TextPlace, open: &mut OpenText) -> Result<()> {
    let plain = open.body.plain();
    let plain = plain.map_err(|_| StorageError::unreadable("text"))?;
    shown::write(tx.conn(), place, &plain)?;
    tx.note_text(place.collection, &place.document);
    Ok(())
}

/// Opens what base holds of a text, and folds it if that is long.
fn open_folding(
    conn: &Connection,
    place: &TextPlace,
    opening: Opening,
    root: OpId,
) -> Result<OpenText> {
    let mut base = crdt::load(conn, place, root, 0)?;
    let state = base.state.as_ref().map_or(0, |state| state.body.len());
    let bytes = base.tail_bytes();
    let long = base.tail.len() >= LONG_TAIL || bytes > LARGE_TAIL && bytes > state;
    if !long || base.tail.len() <= KEPT_TAIL {
        return open_base(&base, opening);
    }
    let kept = base.tail.split_off(base.tail.len() - KEPT_TAIL);
    let mut open = open_base(&base, opening)?;
    fold(conn, place, root, &open)?;
    open.take_tail(&kept)?;
    Ok(open)
}

/// Puts an open text, without pending edits, in place of what base holds up to its end.
pub(crate) fn fold(
    conn: &Connection,
    place: &TextPlace,
    root: OpId,
    open: &OpenText,
) -> Result<()> {
    let state = open.body.state();
    let state = state.map_err(|_| StorageError::unreadable("text"))?;
    crdt::put_state(conn, place, root, open.end, &open.marks, &state)
}

/// Forgets what base held of texts that it does not have any more, or has begun anew.
pub(crate) fn forget_gone(
    conn: &Connection,
    (collection, document): (CollectionId, &DocumentId),
    before: Option<&StoredDocument>,
    base: Option<&DocumentState>,
) -> Result<()> {
    let Some(before) =
        before.filter(|before| !before.shown.texts.is_empty() || before.image.is_some())
    else {
        return Ok(());
    };
    let Some(before) = before.base() else {
        return Ok(());
    };
    for (field, old) in before.texts.iter() {
        let root = base
            .and_then(|base| base.texts.get(field))
            .map(|text| text.root);
        if root != Some(old.root) {
            let place = TextPlace {
                collection,
                document: document.clone(),
                field,
            };
            crdt::forget_others(conn, &place, root)?;
        }
    }
    Ok(())
}

/// Texts brought up to date in one transaction.
const SHOWN_AT_ONCE: usize = 32;

impl Storage {
    /// Writes what texts show whose rows are behind.
    pub(crate) fn show_texts(&self) -> Result<()> {
        while self.read(|tx| Ok::<_, StorageError>(!shown::stale(tx.conn(), 1)?.is_empty()))? {
            self.write_tx(Origin::Remote, |tx| {
                for place in shown::stale(tx.conn(), SHOWN_AT_ONCE)? {
                    show_stale(tx, &place)?;
                }
                Ok::<_, StorageError>(())
            })?;
        }
        Ok(())
    }
}

/// The same within a transaction, before anybody sees that they are behind.
pub(crate) fn show_stale_texts(tx: &WriteTx<'_>) -> Result<()> {
    loop {
        let behind = shown::stale(tx.conn(), SHOWN_AT_ONCE)?;
        if behind.is_empty() {
            return Ok(());
        }
        for place in &behind {
            show_stale(tx, place)?;
        }
    }
}

fn show_stale(tx: &WriteTx<'_>, place: &TextPlace) -> Result<()> {
    let stored = tx.load(place.collection, &place.document)?;
    // What no schema of this app has declared waits for one that does.
    let known = opening(tx.layout(), place, 1).is_some();
    let alive = stored
        .as_ref()
        .filter(|stored| known && stored.shown.is_alive());
    match alive.filter(|stored| stored.shown.texts.get(place.field).is_some()) {
        None => shown::remove(tx.conn(), place),
        Some(stored) => {
            show(
                tx,
                place,
                &stored.shown,
                &edits_in(tx.conn(), place, stored)?,
            )?;
            tx.reindex(place.collection, &place.document, stored)
        }
    }
}
