//! One transaction of the app: its changes, what its documents show meanwhile, and the op it becomes.
//!
//! The prediction is the server's own merge, run with the knowledge that the author has seen all it
//! was shown. Changes of one document are joined where the result is the same, so that an op says
//! once what it did.

use std::collections::HashMap;
use std::sync::Arc;

use driftline_core::fold::BaseImage;
use driftline_core::id::{CollectionId, DocumentId, OpId};
use driftline_core::merge::DocumentState;
use driftline_core::op::{
    Change, ChangeKind, Op, OpBody, absorbs, admit, admit_alone, take_over, weight,
};
use driftline_core::schema::{Collection, MergePolicy, Schema};
use driftline_core::time::{Contact, Stamp};
use rusqlite::params;

use super::error::{Result, StorageError};
use super::history::{self, Ops, QueuedOp};
use super::insert::Fresh;
use super::join::joined;
use super::predict::{Head, predict, within_limits};
use super::row::StoredDocument;
use super::text::{self, EditedText, TextPlace};
use super::write::WriteTx;
use super::{attach, meta, refold};
use driftline_core::mutant::{Mutant, planted};

/// The transaction under way.
pub(crate) struct LocalWrite<'t> {
    tx: &'t WriteTx<'t>,
    schema: Arc<Schema>,
    head: Option<Head>,
    documents: Vec<Working>,
    /// Where documents stand, as far as somebody had to know.
    places: HashMap<CollectionId, HashMap<DocumentId, usize>>,
    /// How many of them are in `places`.
    indexed: usize,
    /// Where each collection's document with the greatest id stands.
    greatest: Vec<(CollectionId, usize)>,
    /// Order keys drawn so far.
    keys: u128,
    size: usize,
    /// Whether a change was joined to the one before it.
    joined: bool,
    /// Texts it edits that have not become changes yet.
    pub(super) texts: Vec<EditedText>,
    /// Whether nothing that anybody watches changes: an editor's keystrokes are shown later.
    quiet: bool,
    /// Writing rows failed half way: nothing of this transaction may be committed, whatever the app
    /// makes of the error.
    broken: bool,
}

/// So many documents are found by looking at each.
const FEW: usize = 8;

/// A document the transaction has looked at.
struct Working {
    collection: CollectionId,
    id: DocumentId,
    /// As it was before the transaction.
    before: Option<Box<StoredDocument>>,
    /// What it shows now, if the transaction has changed it.
    after: Option<DocumentState>,
    changes: Vec<Change>,
    /// As it is in the file, if that is not `before` any more.
    written: Option<Box<StoredDocument>>,
    dirty: bool,
    /// Whether it is new and shows what its one change inserts, registers alone: `after` is made of
    /// that if somebody looks.
    fresh: bool,
    /// Where its changes begin among the op's, once they are there.
    first: usize,
}

impl Working {
    /// What it shows now, deleted or not.
    fn shown(&self) -> Option<&DocumentState> {
        self.after
            .as_ref()
            .or_else(|| self.before.as_deref().and_then(shown_in))
    }
}

/// What a committed transaction did to the outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Queued {
    pub(crate) op: OpId,
    pub(crate) bytes: u64,
    /// The op it made superfluous, and that one's bytes.
    pub(crate) absorbed: Option<(OpId, u64)>,
}

impl<'t> LocalWrite<'t> {
    pub(crate) fn new(tx: &'t WriteTx<'t>) -> LocalWrite<'t> {
        let schema = Arc::clone(tx.schema());
        LocalWrite {
            tx,
            schema,
            head: None,
            documents: Vec::new(),
            places: HashMap::new(),
            indexed: 0,
            greatest: Vec::new(),
            keys: 0,
            size: 0,
            joined: false,
            texts: Vec::new(),
            quiet: false,
            broken: false,
        }
    }

    pub(crate) fn tx(&self) -> &'t WriteTx<'t> {
        self.tx
    }

    pub(crate) fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// Bytes of all changes so far, as `max_group` counts them.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// What the document shows, deleted or not; `None` if it never was.
    pub(crate) fn shown(
        &mut self,
        collection: CollectionId,
        id: &DocumentId,
    ) -> Result<Option<&DocumentState>> {
        let at = self.look(collection, id)?;
        Ok(self.documents.get(at).and_then(Working::shown))
    }

    fn look(&mut self, collection: CollectionId, id: &DocumentId) -> Result<usize> {
        match self.find(collection, id) {
            Some(at) => {
                self.show_fresh(at)?;
                Ok(at)
            }
            None => {
                if self.tx.storage().is_attaching() {
                    attach::turn_at(self.tx, collection, id)?;
                }
                let before = self.tx.load(collection, id)?;
                Ok(self.take_up(collection, id, before))
            }
        }
    }

    fn find(&mut self, collection: CollectionId, id: &DocumentId) -> Option<usize> {
        let is_it = |working: &Working| working.id == *id && working.collection == collection;
        if self.documents.len() <= FEW {
            return self.documents.iter().position(is_it);
        }
        // Most calls are about the document of the call before.
        match self.documents.last() {
            Some(last) if is_it(last) => return Some(self.documents.len() - 1),
            _ => {}
        }
        // And most others about new ones, with ids that grow.
        let (_, greatest) = self.greatest.iter().find(|(c, _)| *c == collection)?;
        if self.documents.get(*greatest)?.id < *id {
            return None;
        }
        for (at, working) in self.documents.iter().enumerate().skip(self.indexed) {
            let places = self.places.entry(working.collection).or_default();
            places.insert(working.id.clone(), at);
        }
        self.indexed = self.documents.len();
        self.places.get(&collection)?.get(id).copied()
    }

    fn take_up(
        &mut self,
        collection: CollectionId,
        id: &DocumentId,
        before: Option<StoredDocument>,
    ) -> usize {
        let at = self.documents.len();
        self.documents.push(Working {
            collection,
            id: id.clone(),
            before: before.map(Box::new),
            after: None,
            changes: Vec::new(),
            written: None,
            dirty: false,
            fresh: false,
            first: 0,
        });
        match self.greatest.iter_mut().find(|(c, _)| *c == collection) {
            Some((_, greatest)) => {
                if self.documents.get(*greatest).is_some_and(|g| g.id < *id) {
                    *greatest = at;
                }
            }
            None => self.greatest.push((collection, at)),
        }
        at
    }

    /// From here on watched queries are not told: what changes shows later.
    pub(crate) fn be_quiet(&mut self) {
        self.quiet = true;
    }

    /// Hands over a document that was read in this transaction already.
    pub(crate) fn expect_stored(&mut self, place: &TextPlace, stored: StoredDocument) {
        if self.find(place.collection, &place.document).is_none() {
            self.take_up(place.collection, &place.document, Some(stored));
        }
    }

    /// Says that a document cannot exist yet: its id was drawn just now.
    pub(crate) fn expect_new(&mut self, collection: CollectionId, id: &DocumentId) {
        if self.find(collection, id).is_none() {
            self.take_up(collection, id, None);
        }
    }

    /// The op's id, for order keys: each of one op gets its own.
    pub(crate) fn order_key_id(&mut self) -> Result<OpId> {
        let op = self.head()?.op;
        let key = OpId((u128::from_be_bytes(op.0) ^ self.keys).to_be_bytes());
        self.keys += 1;
        Ok(key)
    }

    fn head(&mut self) -> Result<Head> {
        if let Some(head) = self.head {
            return Ok(head);
        }
        let standing = self.tx.standing()?;
        let head = Head {
            op: self.tx.storage().next_op_id(standing.newest, self.tx.now()),
            base: standing.cursor.version,
            stamp: self.predict(standing.contact.as_ref()),
        };
        self.head = Some(head);
        Ok(head)
    }

    /// Where the server is expected to place the op.
    fn predict(&self, contact: Option<&Contact>) -> Stamp {
        let now = self.tx.now();
        history::predict(now, history::as_of_now(contact.copied(), now).as_ref())
    }

    /// Adds a change. It is checked in full, and the document shows it from here on; on an error the
    /// transaction is as it was before the call.
    pub(crate) fn apply(&mut self, mut change: Change) -> Result<()> {
        let schema = Arc::clone(&self.schema);
        let Some(collection) = schema.collection_by_id(change.collection) else {
            return Err(undeclared());
        };
        if change.kind != ChangeKind::Update {
            self.close_texts(Some((change.collection, &change.document)))?;
        }
        let head = self.head()?;
        let at = self.look(change.collection, &change.document)?;
        let guest = self.tx.storage().is_guest();
        let Some(working) = self.documents.get_mut(at) else {
            return Ok(());
        };
        let is_new = working.before.is_none() && working.changes.is_empty();
        let by_field = collection.merge == MergePolicy::Field;
        if is_new && by_field && change.inserts_registers_alone() && self.tx.takes_fresh(&change) {
            self.size += admit_alone(&schema, collection, &mut change)?;
            working.changes = vec![change];
            (working.fresh, working.dirty) = (true, true);
            return Ok(());
        }
        if !change.kind.is_opener() {
            change.generation = meant_generation(self.tx, working, head.op)?;
        }
        if collection.merge == MergePolicy::Document && !change.registers.is_empty() {
            carry_all(&mut change, working, collection);
        }
        if working.changes.is_empty() && !guest {
            change.prev = working.before.as_ref().and_then(|before| before.pending);
        }

        let mut body = OpBody {
            base: head.base,
            schema: schema.version,
            changes: vec![change],
            ..OpBody::default()
        };
        admit(&schema, &mut body)?;
        let Some(change) = body.changes.pop() else {
            return Ok(());
        };
        let size = weight(&change);
        let changes = joined(&working.changes, change)?;
        let start = working.before.as_deref().and_then(shown_in);
        let shown = predict(start, &changes, collection, head, guest)?;
        within_limits(&schema, collection, &shown)?;
        if let Some(working) = self.documents.get_mut(at) {
            self.joined |= changes.len() == working.changes.len();
            working.after = Some(shown);
            working.changes = changes;
            working.dirty = true;
        }
        self.size += size;
        Ok(())
    }

    /// Makes what a fresh document shows.
    fn show_fresh(&mut self, at: usize) -> Result<()> {
        let (Some(working), Some(head)) = (self.documents.get_mut(at), self.head) else {
            return Ok(());
        };
        if !std::mem::take(&mut working.fresh) {
            return Ok(());
        }
        let collection = self.schema.collection_by_id(working.collection);
        let collection = collection.ok_or_else(undeclared)?;
        let guest = self.tx.storage().is_guest();
        working.after = Some(predict(None, &working.changes, collection, head, guest)?);
        Ok(())
    }

    /// Writes the documents' rows, so that SQL in this transaction sees them.
    pub(crate) fn flush(&mut self) -> Result<()> {
        let shown = self.write_what_shows();
        // What the app was refused it may leave out; a write that failed half way it may not.
        self.broken |= matches!(&shown, Err(error) if !matches!(error, StorageError::Refused(_)));
        shown
    }

    fn write_what_shows(&mut self) -> Result<()> {
        self.show_texts()?;
        (0..self.documents.len()).try_for_each(|at| self.show_fresh(at))?;
        self.write_rows(None)?;
        for working in &self.documents {
            if let Some(stored) = working.written.as_ref().or(working.before.as_ref()) {
                self.tx
                    .index_texts(working.collection, &working.id, stored)?;
            }
        }
        Ok(())
    }

    /// Writes what differs from the file. `body` is what the transaction said, once that is all.
    fn write_rows(&mut self, body: Option<&OpBody>) -> Result<()> {
        let Some(head) = self.head else { return Ok(()) };
        let guest = self.tx.storage().is_guest();
        let last = body.is_some();
        if let Some(body) = body {
            self.write_fresh(body, head)?;
        }
        let mut insert = None;
        for working in self.documents.iter_mut().filter(|working| working.dirty) {
            let shown = match last {
                true => working.after.take(),
                false => working.after.clone(),
            };
            let Some(shown) = shown else { continue };
            let mut after = match guest {
                true => StoredDocument::new(shown, None, None),
                false => {
                    let before = working.before.as_ref();
                    let image = before.map_or(Some(BaseImage::Absent), |b| b.image_of(&shown));
                    StoredDocument::new(shown, image, Some(head.op))
                }
            };
            let before = working.written.as_deref().or(working.before.as_deref());
            let (collection, id) = (working.collection, &working.id);
            match self.quiet {
                true => self.tx.store_quietly(collection, id, before, &mut after)?,
                false => self
                    .tx
                    .store_next(collection, id, before, &mut after, &mut insert)?,
            }
            if let Some(before) = before.filter(|before| !before.shown.is_alive()) {
                let key = (working.collection, &working.id);
                text::show_again(self.tx, key, before, &after.shown)?;
            }
            if !last {
                working.written = Some(Box::new(after));
            }
            working.dirty = false;
        }
        Ok(())
    }

    /// Writes the rows of fresh documents.
    fn write_fresh(&mut self, body: &OpBody, head: Head) -> Result<()> {
        let mut changes: Vec<&Change> = Vec::new();
        for working in self.documents.iter_mut().filter(|working| working.fresh) {
            changes.extend(body.changes.get(working.first));
            working.dirty = false;
        }
        let guest = self.tx.storage().is_guest();
        for alike in changes.chunk_by(|a, b| have_same_fields(a, b)) {
            self.tx.insert_fresh(&Fresh {
                changes: alike,
                write: head.write(guest),
                pending: !guest,
            })?;
        }
        Ok(())
    }

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
        let op = Op {
            id: head.op,
            written: self.tx.now(),
            body,
        };
        self.enqueue(&op, absorbed).map(Some)
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

/// Whether both are of one collection and write the same registers.
fn have_same_fields(a: &Change, b: &Change) -> bool {
    let (mine, others) = (a.registers.iter(), b.registers.iter());
    a.collection == b.collection
        && mine.len() == others.len()
        && mine
            .zip(others)
            .all(|((mine, _), (other, _))| mine == other)
}

fn undeclared() -> StorageError {
    StorageError::Internal("a change of an undeclared collection".to_owned())
}

/// The document a write starts from. A row that only keeps the way to ops that show nothing is none.
fn shown_in(stored: &StoredDocument) -> Option<&DocumentState> {
    Some(&stored.shown).filter(|shown| !refold::is_ghost(shown))
}

/// The opener that an update or delete of a document names: the newest pending op that opened or
/// joined the generation shown, else the generation's own (K12).
fn meant_generation(tx: &WriteTx<'_>, working: &Working, op: OpId) -> Result<Option<OpId>> {
    let Some(shown) = working.shown() else {
        return Ok(None);
    };
    let opener = shown.generation.opener;
    if working.changes.iter().any(|change| change.kind.is_opener()) {
        return Ok(Some(op));
    }
    let pending = match working.before.as_ref().and_then(|before| before.pending) {
        Some(pending) if pending != opener => pending,
        _ => return Ok(Some(opener)),
    };
    let (collection, document) = (working.collection, &working.id);
    let newest = history::read(tx.conn(), pending)?;
    if let Some(newest) = &newest
        && let Some(change) = newest.changes_on(collection, document).last()
        && !newest
            .changes_on(collection, document)
            .iter()
            .any(|change| change.kind.is_opener())
        && change.generation == Some(opener)
    {
        // It named the generation shown, so nothing joined that before it, and nothing came after.
        return Ok(Some(opener));
    }
    let chain = Ops::new(tx.conn()).chain(collection, document, pending)?;
    let opens = |queued: &&std::rc::Rc<QueuedOp>| {
        let changes = queued.changes_on(collection, document);
        queued.name() == opener || changes.iter().any(|change| change.kind.is_opener())
    };
    Ok(Some(
        chain
            .folded()
            .iter()
            .rev()
            .find(opens)
            .map_or(opener, |queued| queued.name()),
    ))
}

/// A collection merged by document carries every register and the next revision.
fn carry_all(change: &mut Change, working: &Working, collection: &Collection) {
    let opening =
        change.kind == ChangeKind::Insert && !working.shown().is_some_and(DocumentState::is_alive);
    let Some(shown) = working.shown().filter(|_| !opening) else {
        change.clock = 1;
        return;
    };
    for (field, register) in shown.registers.iter() {
        if change.registers.get(field).is_none() && collection.field_by_id(field).is_some() {
            change.registers.insert(field, register.value.clone());
        }
    }
    // One op is one revision, however many calls it took.
    let clock = working
        .before
        .as_ref()
        .map_or(0, |before| before.shown.clock);
    change.clock = if working.changes.is_empty() {
        shown.clock.saturating_add(1)
    } else {
        clock.saturating_add(1)
    };
}
