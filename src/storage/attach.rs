//! A guest's file becomes an account's: its documents are turned into insert ops.
//!
//! Account and workspace are recorded first; from then on the file is theirs, and whatever is still
//! to be turned is turned sooner or later: in chunks, by a write to the document, or by a page that
//! is about to change it. A document that was turned has a pending op, so no step is made twice.

use driftline_core::fold::BaseImage;
use driftline_core::id::{BootId, CollectionId, DocumentId, FieldId, OpId};
use driftline_core::merge::DocumentState;
use driftline_core::op::{Change, ChangeKind, OpBody, TextEdit, Update, admit};
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
    let (mut turned, mut ops, mut bytes) = (0, 0, 0);
    let mut looked_at = 0;
    let first = at;
    for collection in collections.into_iter().filter(|c| c.id >= first) {
        if collection.id > at {
            (at, after) = (collection.id, String::new());
        }
        while let Some(id) = next_id(tx, at, &after)? {
            let full = room.ops + ops >= room.max_ops || room.bytes + bytes >= room.max_bytes;
            let full = full && pace == Pace::UpToTheLimit;
            if full || looked_at == CHUNK {
                tx.set_meta(meta::key::ATTACH, format!("{at}/{after}"))?;
                return Ok((turned, if full { More::Later } else { More::Now }));
            }
            if let Some((count, size)) = turn(tx, collection, &id)? {
                turned += 1;
                ops += count;
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

/// Turns a document, if it is still the guest's. Returns how many ops it became, and their bytes.
fn turn(tx: &WriteTx<'_>, collection: &Collection, id: &DocumentId) -> Result<Option<(u64, u64)>> {
    let Some(stored) = tx.load(collection.id, id)?.filter(is_guests) else {
        return Ok(None);
    };
    let ops = ops_of(tx, collection, id, &stored.shown)?;
    let written = written(&stored.shown);
    let contact = history::as_of_now(tx.contact()?, tx.now());
    let stamp = history::predict(written, contact.as_ref());
    let schema = std::sync::Arc::clone(tx.schema());
    let (mut shown, mut last) = (None, None);
    let (mut count, mut bytes) = (0, 0);
    for (op, change) in ops {
        let mut body = OpBody {
            schema: schema.version,
            changes: vec![change],
            ..OpBody::default()
        };
        admit(&schema, &mut body)?;
        let base = 0;
        let head = Head { op, base, stamp };
        shown = Some(predict(
            shown.as_ref(),
            &body.changes,
            collection,
            head,
            false,
        )?);
        let body = encoded(&body)?;
        insert(tx.conn(), op, &body, written, None)?;
        last = Some(op);
        count += 1;
        bytes += body.len() as u64;
    }
    let missing = || StorageError::Internal("a document became no op".to_owned());
    let mut after = StoredDocument::new(shown.ok_or_else(missing)?, Some(BaseImage::Absent), last);
    tx.store(collection.id, id, Some(&stored), &mut after)?;
    text::forget_guests(tx.conn(), (collection.id, id), &stored.shown, &after.shown)?;
    tx.touch_queue();
    tx.count_again();
    Ok(Some((count, bytes)))
}

/// What a document says: its insert, and behind it what is too long for one op of its texts.
fn ops_of(
    tx: &WriteTx<'_>,
    collection: &Collection,
    id: &DocumentId,
    shown: &DocumentState,
) -> Result<Vec<(OpId, Change)>> {
    let file = tx.meta::<String>(meta::key::DEVICE)?.unwrap_or_default();
    let mut changes = vec![insert_of(collection, id, shown)];
    let declared = |field: &FieldId| collection.field_by_id(*field).is_some();
    for field in shown.texts.iter().map(|(field, _)| field).filter(declared) {
        let place = TextPlace {
            collection: collection.id,
            document: id.clone(),
            field,
        };
        let (writer, updates) = text::as_edits(tx.conn(), tx.layout(), &file, &place, shown)?;
        for (at, update) in updates.into_iter().enumerate() {
            if changes.len() == at {
                changes.push(Change::new(collection.id, id.clone(), ChangeKind::Update));
            }
            let edit = TextEdit {
                writer,
                update: Update(update),
                after: None,
            };
            changes
                .get_mut(at)
                .map(|change| change.texts.insert(field, edit));
        }
    }
    linked(tx, &file, changes)
}

/// Gives ops their ids, and each the links to those before it.
fn linked(tx: &WriteTx<'_>, file: &str, changes: Vec<Change>) -> Result<Vec<(OpId, Change)>> {
    let mut changes = changes.into_iter();
    let missing = || StorageError::Internal("a document became no op".to_owned());
    let insert = changes.next().ok_or_else(missing)?;
    let first = free_id(tx, file, &insert, changes.len())?;
    let mut ops = vec![(first, insert)];
    for (change, places) in changes.zip(1..) {
        let mut change = change;
        let id = first.derived_behind(places, &change);
        let before = ops.last().map(|(id, _)| *id);
        // Every text that goes on here was in the op before.
        for (_, edit) in change.texts.iter_mut() {
            edit.after = before;
        }
        (change.prev, change.generation) = (before, Some(first));
        ops.push((id, change));
    }
    Ok(ops)
}

/// The document's id, with `behind` places behind it, but for the case that others in the queue have
/// the same.
fn free_id(tx: &WriteTx<'_>, file: &str, change: &Change, behind: usize) -> Result<OpId> {
    let mut taken = tx
        .conn()
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM _dl_outbox WHERE seq BETWEEN ?1 AND ?2)")?;
    // A document is bounded, and a count holds 4096 pieces.
    let attempts = if behind > 0xfff { 0..0 } else { 0..u32::MAX };
    for attempt in attempts {
        let op = OpId::derived(file, change, attempt);
        let last = op.head() + behind as i64;
        if usize::from(op.room_behind()) >= behind
            && !taken.query_row([op.head(), last], |row| row.get::<_, bool>(0))?
        {
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
