//! A guest's file becomes an account's: its documents are turned into insert ops.
//!
//! Account and workspace are recorded first; from then on the file is theirs, and whatever is still
//! to be turned is turned sooner or later: in chunks, by a write to the document, or by a page that
//! is about to change it. A document that was turned has a pending op, so no step is made twice.

use driftline_core::fold::BaseImage;
use driftline_core::id::{BootId, CollectionId, DocumentId, OpId};
use driftline_core::merge::DocumentState;
use driftline_core::op::{Change, ChangeKind, OpBody, admit};
use driftline_core::schema::Collection;
use driftline_core::time::Reading;
use driftline_core::value::Value;
use rusqlite::OptionalExtension;

use super::error::{Result, StorageError};
use super::outbox::{encoded, insert};
use super::predict::{Head, predict};
use super::row::StoredDocument;
use super::tables::table_name;
use super::text::{self, TextPlace};
use super::write::WriteTx;
use super::{Origin, Storage, history, meta};

/// Documents turned in one transaction.
const CHUNK: usize = 200;

/// How far an attach came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Turned {
    pub(crate) documents: u64,
    /// Whether all are turned.
    pub(crate) complete: bool,
}

/// Whether the outbox' limit holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Pace {
    /// It stops where the outbox is full.
    UpToTheLimit,
    /// All of it: a new base is about to come, and what is not queued by then is lost.
    AtOnce,
}

/// Makes the file `account`'s replica of `workspace`. Repeated, it changes nothing.
pub(crate) fn begin(tx: &WriteTx<'_>, account: &str, workspace: Option<&str>) -> Result<()> {
    let known = tx.meta::<String>(meta::key::ACCOUNT)?;
    let there = tx.meta::<String>(meta::key::WORKSPACE)?;
    if let Some(known) = known {
        if known != account {
            return Err(StorageError::OtherIdentity("account"));
        }
        return match workspace.is_none_or(|wanted| there.as_deref() == Some(wanted)) {
            true => Ok(()),
            false => Err(StorageError::OtherIdentity("workspace")),
        };
    }
    tx.set_meta(meta::key::ACCOUNT, account)?;
    if let Some(workspace) = workspace {
        tx.set_meta(meta::key::WORKSPACE, workspace)?;
    }
    // What a guest deleted no server has heard of.
    text::forget_deleted(tx.conn())?;
    tx.conn().execute("DELETE FROM _dl_tombstones", [])?;
    tx.set_meta(meta::key::ATTACH, "")?;
    // A write that waits for this transaction must find the file as it will be.
    tx.storage().follow_identity(true, true);
    Ok(())
}

/// Turns as many documents as the outbox takes.
pub(crate) fn turn_all(storage: &Storage, pace: Pace) -> Result<Turned> {
    let mut turned = Turned::default();
    loop {
        let (documents, more) = storage.write_tx(Origin::Local, |tx| turn_some(tx, pace))?;
        turned.documents += documents;
        match more {
            More::Now => {}
            More::Later => return Ok(turned),
            More::Never => {
                turned.complete = true;
                return Ok(turned);
            }
        }
    }
}

enum More {
    Now,
    Later,
    Never,
}

/// The place a chunk ended at: collection and document.
fn place(tx: &WriteTx<'_>) -> Result<Option<(CollectionId, String)>> {
    let Some(place) = tx.meta::<String>(meta::key::ATTACH)? else {
        return Ok(None);
    };
    match place.split_once('/') {
        None => Ok(Some((0, String::new()))),
        Some((collection, document)) => {
            let collection = collection
                .parse()
                .map_err(|_| StorageError::unreadable("attach"))?;
            Ok(Some((collection, document.to_owned())))
        }
    }
}

fn turn_some(tx: &WriteTx<'_>, pace: Pace) -> Result<(u64, More)> {
    let Some((mut at, mut after)) = place(tx)? else {
        return Ok((0, More::Never));
    };
    let schema = std::sync::Arc::clone(tx.schema());
    let mut collections: Vec<&Collection> = schema.collections.iter().collect();
    collections.sort_by_key(|collection| collection.id);
    let room = tx.storage().capacity(tx.conn(), 0)?;
    let (mut turned, mut bytes) = (0, 0);
    let mut looked_at = 0;
    let first = at;
    for collection in collections.into_iter().filter(|c| c.id >= first) {
        if collection.id > at {
            (at, after) = (collection.id, String::new());
        }
        while let Some(id) = next_id(tx, at, &after)? {
            let full = room.ops + turned >= room.max_ops || room.bytes + bytes >= room.max_bytes;
            let full = full && pace == Pace::UpToTheLimit;
            if full || looked_at == CHUNK {
                tx.set_meta(meta::key::ATTACH, format!("{at}/{after}"))?;
                return Ok((turned, if full { More::Later } else { More::Now }));
            }
            if let Some(size) = turn(tx, collection, &id)? {
                turned += 1;
                bytes += size;
            }
            looked_at += 1;
            after = id.as_str().to_owned();
        }
    }
    tx.clear_meta(meta::key::ATTACH)?;
    tx.clear_meta(meta::key::GUEST)?;
    tx.clear_meta(meta::key::GUEST_WRITE)?;
    tx.storage().follow_identity(true, false);
    Ok((turned, More::Never))
}

fn next_id(tx: &WriteTx<'_>, collection: CollectionId, after: &str) -> Result<Option<DocumentId>> {
    let sql = format!(
        "SELECT id FROM {} WHERE id > ?1 ORDER BY id LIMIT 1",
        table_name(collection)
    );
    let id = tx
        .conn()
        .prepare_cached(&sql)?
        .query_row([after], |row| row.get::<_, String>(0))
        .optional()?;
    id.map(|id| DocumentId::new(id).map_err(|_| StorageError::unreadable("document id")))
        .transpose()
}

/// Turns a document, if it is still the guest's. Returns the op's bytes.
fn turn(tx: &WriteTx<'_>, collection: &Collection, id: &DocumentId) -> Result<Option<u64>> {
    let Some(stored) = tx.load(collection.id, id)?.filter(is_guests) else {
        return Ok(None);
    };
    let file = tx.meta::<String>(meta::key::DEVICE)?.unwrap_or_default();
    let mut change = insert_of(collection, id, &stored.shown);
    for (field, _) in stored.shown.texts.iter() {
        let place = TextPlace {
            collection: collection.id,
            document: id.clone(),
            field,
        };
        let edit = text::as_one_edit(tx.conn(), tx.layout(), &file, &place, &stored.shown)?;
        if let Some(edit) = edit.filter(|_| collection.field_by_id(field).is_some()) {
            change.texts.insert(field, edit);
        }
    }
    let op = free_id(tx, &file, &change)?;
    let written = written(&stored.shown);
    let schema = std::sync::Arc::clone(tx.schema());
    let mut body = OpBody {
        schema: schema.version,
        changes: vec![change],
        ..OpBody::default()
    };
    admit(&schema, &mut body)?;
    let contact = history::as_of_now(tx.contact()?, tx.now());
    let head = Head {
        op,
        base: 0,
        stamp: history::predict(written, contact.as_ref()),
    };
    let shown = predict(None, &body.changes, collection, head, false)?;
    let mut after = StoredDocument::new(shown, Some(BaseImage::Absent), Some(op));
    tx.store(collection.id, id, Some(&stored), &mut after)?;
    text::forget_guests(tx.conn(), (collection.id, id), &stored.shown, &after.shown)?;
    let body = encoded(&body)?;
    insert(tx.conn(), op, &body, written, None)?;
    tx.touch_queue();
    tx.count_again();
    Ok(Some(body.len() as u64))
}

/// The document's id, but for the case that another one in the queue has the same place.
fn free_id(tx: &WriteTx<'_>, file: &str, change: &Change) -> Result<OpId> {
    let mut taken = tx
        .conn()
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM _dl_outbox WHERE seq = ?1)")?;
    for attempt in 0.. {
        let op = OpId::derived(file, change, attempt);
        if !taken.query_row([op.head()], |row| row.get::<_, bool>(0))? {
            return Ok(op);
        }
    }
    Err(StorageError::Internal("no place in the queue".to_owned()))
}

/// The same for a document named by its numbers. Returns whether it was the guest's.
pub(crate) fn turn_at(tx: &WriteTx<'_>, collection: CollectionId, id: &DocumentId) -> Result<bool> {
    let schema = std::sync::Arc::clone(tx.schema());
    match schema.collection_by_id(collection) {
        Some(collection) => Ok(turn(tx, collection, id)?.is_some()),
        None => Ok(false),
    }
}

/// What no server and no op knows.
fn is_guests(stored: &StoredDocument) -> bool {
    stored.pending.is_none() && stored.image.is_none() && stored.shown.generation.version == 0
}

/// What the document says now, but for its texts, as one insert. Nothing of how it came to be is in it.
fn insert_of(collection: &Collection, id: &DocumentId, shown: &DocumentState) -> Change {
    let mut change = Change::new(collection.id, id.clone(), ChangeKind::Insert);
    for (field, register) in shown.registers.iter() {
        if collection.field_by_id(field).is_some() && register.value != Value::Null {
            change.registers.insert(field, register.value.clone());
        }
    }
    for (field, count) in shown.counters.iter() {
        if collection.field_by_id(field).is_some() && *count != 0 {
            change.increments.insert(field, *count);
        }
    }
    for (field, set) in shown.sets.iter() {
        let elements: Vec<String> = set
            .elements
            .iter()
            .filter(|(_, adds)| !adds.is_empty())
            .map(|(element, _)| element.clone())
            .collect();
        if collection.field_by_id(field).is_some() && !elements.is_empty() {
            change.adds.insert(field, elements);
        }
    }
    change.clock = shown.clock;
    change
}

/// When the guest last wrote it, by the clock as it was then: no boot session is known any more.
fn written(shown: &DocumentState) -> Reading {
    let newest = shown
        .registers
        .iter()
        .map(|(_, register)| register.write.stamp.millis())
        .max();
    Reading {
        wall: newest.unwrap_or(0),
        boot: BootId(0),
        mono: 0,
    }
}
