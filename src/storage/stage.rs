//! Bootstrap: base anew from a snapshot and the versions that followed it.
//!
//! What arrives is kept as it comes, in order: frames of documents, then pages of versions. Nothing
//! of it shows, and the file's cursor stands still (frames of the live socket are refused
//! meanwhile: in K19 one of them made an accepted op disappear). When the log has been followed far
//! enough and the fate of every op that was queued or in quarantine at the snapshot is known, one
//! transaction puts the new base in place of the old, takes out the ops it contains, folds the
//! others on top and moves the cursor: readers see old or new, nothing between.
//!
//! An empty file goes the same way. Unpacking what is kept costs what writing the documents
//! directly would cost; keeping it costs one blob a frame. So there is one story for both, and a
//! group of the server is never half visible.

use std::collections::{BTreeMap, HashMap};

use driftline_core::id::{CollectionId, DocumentId, OpId, Version};
use driftline_core::protocol::{Cursor, DocumentResult, OpResult, VersionEntry};
use driftline_core::sync::Phase;
use driftline_core::time::Contact;
use rusqlite::limits::Limit;
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};

use super::apply::{Applied, Names, Page, PageError, Verdicts, apply_results, check_span, landings, note_contact};
use super::error::{Result, StorageError};
use super::history::{self, Leaving, OpState, QueuedOp, reading};
use super::rebase::{self, Rebase, check_kinds};
use super::row::StoredDocument;
use super::tables::quoted;
use super::write::WriteTx;
use super::{Origin, Storage, ledger, meta, outbox};

/// The name of the row in `_dl_meta` that says a bootstrap is under way.
const STAGE: &str = "stage";

const DOCUMENTS: i64 = 0;
const VERSIONS: i64 = 1;

/// Documents with own ops folded in one go: they are held in memory.
const FOLDED_AT_ONCE: usize = 1_000;

/// How far a bootstrap is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Stage {
    /// The cursor at which the snapshot was begun.
    pub(crate) pin: Option<Cursor>,
    /// How far the log has been followed from there.
    pub(crate) cursor: Cursor,
    /// The newest op of the queue when the snapshot was pinned: older ones may be in it unnamed.
    fence: Option<OpId>,
    /// Documents received.
    pub(crate) documents: u64,
    /// Whether all documents are there.
    pub(crate) complete: bool,
    /// The greatest version of a document received: each is as it was when its frame was made.
    highest: Version,
    /// The last document received: where a cut stream is taken up again.
    pub(crate) last: Option<(CollectionId, DocumentId)>,
}

impl Stage {
    /// What is to be done next.
    pub(crate) fn phase(&self) -> Phase {
        if self.complete { Phase::CatchUp } else { Phase::Documents }
    }
}

/// How far a bootstrap is; `None` if there is none.
pub(crate) fn status(conn: &Connection) -> Result<Option<Stage>> {
    let json: Option<String> = meta::get(conn, STAGE)?;
    json.map(|json| serde_json::from_str(&json).map_err(|_| StorageError::unreadable("bootstrap"))).transpose()
}

/// What is to be done next; [`Phase::CatchUp`] also where only fates are missing.
pub(crate) fn phase(conn: &Connection) -> Result<Phase> {
    Ok(status(conn)?.map_or(Phase::None, |stage| stage.phase()))
}

/// How far the log has been followed; what requests of a bootstrap stand at.
pub(crate) fn cursor(conn: &Connection) -> Result<Option<Cursor>> {
    Ok(status(conn)?.map(|stage| stage.cursor))
}

/// Where a snapshot is taken up.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Progress {
    /// The last document received, and the cursor to repeat; `None` from the start.
    pub(crate) position: Option<(CollectionId, DocumentId, Cursor)>,
    /// Documents received.
    pub(crate) documents: u64,
}

/// Where a snapshot is taken up.
pub(crate) fn progress(conn: &Connection) -> Result<Progress> {
    let Some(stage) = status(conn)? else { return Ok(Progress::default()) };
    let position = stage.last.zip(stage.pin).map(|((collection, document), pin)| (collection, document, pin));
    Ok(Progress { position, documents: stage.documents })
}

/// Whether a bootstrap is under way.
pub(super) fn is_under_way(conn: &Connection) -> Result<bool> {
    Ok(meta::get::<String>(conn, STAGE)?.is_some())
}

fn save(tx: &WriteTx<'_>, stage: &Stage) -> Result<()> {
    let json = serde_json::to_string(stage).map_err(|error| StorageError::Internal(error.to_string()))?;
    tx.set_meta(STAGE, json)
}

fn under_way(conn: &Connection) -> std::result::Result<Stage, PageError> {
    status(conn)?.ok_or(PageError::NoBootstrap)
}

/// Begins a bootstrap; what an earlier one had received is forgotten.
pub(crate) fn begin(tx: &WriteTx<'_>) -> Result<()> {
    forget(tx)?;
    save(
        tx,
        &Stage {
            pin: None,
            cursor: Cursor::START,
            fence: None,
            documents: 0,
            complete: false,
            highest: 0,
            last: None,
        },
    )
}

fn forget(tx: &WriteTx<'_>) -> Result<()> {
    tx.conn().execute_batch("DELETE FROM _dl_staged; DELETE FROM _dl_fates;")?;
    tx.clear_meta(STAGE)
}

/// The snapshot's first frame. One that is taken up again repeats the cursor.
///
/// # Errors
/// [`PageError::OtherSnapshot`]: what is there belongs to another one; begin again.
pub(crate) fn pin(tx: &WriteTx<'_>, cursor: Cursor) -> std::result::Result<(), PageError> {
    let mut stage = under_way(tx.conn())?;
    match stage.pin {
        Some(pinned) if pinned == cursor => Ok(()),
        Some(_) => Err(PageError::OtherSnapshot),
        None => {
            let fence: Option<[u8; 16]> = tx.conn().query_row("SELECT max(op_id) FROM _dl_outbox", [], |row| row.get(0))?;
            stage = Stage { pin: Some(cursor), cursor, fence: fence.map(OpId), ..stage };
            Ok(save(tx, &stage)?)
        }
    }
}

/// Documents of the snapshot, in order of collection and id, behind those received before.
pub(crate) fn add_documents(tx: &WriteTx<'_>, documents: &[DocumentResult]) -> std::result::Result<(), PageError> {
    let mut stage = under_way(tx.conn())?;
    if stage.pin.is_none() || stage.complete {
        return Err(PageError::malformed("documents outside of a snapshot"));
    }
    for document in documents {
        let key = (document.collection, document.document.clone());
        if stage.last.as_ref().is_some_and(|last| *last >= key) {
            return Err(PageError::malformed("documents out of order"));
        }
        if !document.whole {
            return Err(PageError::malformed("a part of a document in a snapshot"));
        }
        check_kinds(tx.layout(), document.collection, &document.state)?;
        stage.highest = stage.highest.max(document.state.version);
        stage.last = Some(key);
    }
    if !documents.is_empty() {
        keep(tx, DOCUMENTS, documents)?;
    }
    stage.documents += documents.len() as u64;
    Ok(save(tx, &stage)?)
}

/// The snapshot's last frame.
pub(crate) fn documents_complete(tx: &WriteTx<'_>) -> std::result::Result<(), PageError> {
    let mut stage = under_way(tx.conn())?;
    if stage.pin.is_none() {
        return Err(PageError::malformed("the end of a snapshot that did not begin"));
    }
    stage.complete = true;
    Ok(save(tx, &stage)?)
}

/// Versions that followed the snapshot. They must come in full: requests of a catch-up carry no ops.
pub(crate) fn add_page(tx: &WriteTx<'_>, page: Page<'_>, contact: &Contact) -> std::result::Result<(), PageError> {
    let mut stage = under_way(tx.conn())?;
    if !stage.complete || page.from != stage.cursor {
        return Err(PageError::NotAtCursor);
    }
    check_span(page.from, page.to, page.versions)?;
    let names = Names::of(tx.conn())?;
    for entry in page.versions {
        if let (Some(_), Some(id)) = (entry.echo, entry.ids.first()) {
            return Err(PageError::EchoWithoutOp(*id));
        }
        for result in &entry.documents {
            check_kinds(tx.layout(), result.collection, &result.state)?;
        }
        if names.may_answer(entry) {
            note_named(tx.conn(), entry)?;
        }
    }
    if !page.versions.is_empty() {
        keep(tx, VERSIONS, page.versions)?;
    }
    stage.cursor = page.to;
    note_contact(tx, contact)?;
    Ok(save(tx, &stage)?)
}

fn keep<T: minicbor::Encode<()>>(tx: &WriteTx<'_>, kind: i64, items: &[T]) -> Result<()> {
    let body = minicbor::to_vec(items).map_err(|_| StorageError::Internal("a page does not encode".to_owned()))?;
    tx.conn().prepare_cached("INSERT INTO _dl_staged (kind, body) VALUES (?1, ?2)")?.execute(params![kind, body])?;
    Ok(())
}

/// A version names own ops: all its ids are noted, should one of them be tried again meanwhile.
fn note_named(conn: &Connection, entry: &VersionEntry) -> Result<()> {
    let landed = landings(entry);
    for id in &entry.ids {
        note_fate(conn, *id, Some(entry.version), &landed)?;
    }
    Ok(())
}

/// Notes what the server said of an op: its version, or that it has none.
pub(super) fn note_fate(
    conn: &Connection,
    op: OpId,
    version: Option<Version>,
    landed: &[(CollectionId, DocumentId, OpId)],
) -> Result<()> {
    let landed = (!landed.is_empty())
        .then(|| minicbor::to_vec(landed))
        .transpose()
        .map_err(|_| StorageError::Internal("landings do not encode".to_owned()))?;
    conn.prepare_cached(
        "INSERT INTO _dl_fates (op_id, version, landed) VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET \
         version = coalesce(excluded.version, version), landed = coalesce(excluded.landed, landed)",
    )?
    .execute(params![op.0, version.map(u64::cast_signed), landed])?;
    Ok(())
}

/// Ops that may be in the snapshot and that nobody has answered for yet: to be asked about by id
/// alone, with the staged cursor, and the answers given to [`super::apply::apply_results`].
pub(crate) fn unanswered(conn: &Connection, limit: usize) -> Result<Vec<OpId>> {
    let Some(Stage { fence: Some(fence), .. }) = status(conn)? else { return Ok(Vec::new()) };
    let mut statement = conn.prepare_cached(
        "SELECT op_id FROM (SELECT op_id FROM _dl_outbox WHERE op_id <= ?1 \
         UNION SELECT retry_of FROM _dl_outbox WHERE retry_of IS NOT NULL AND retry_of <= ?1) AS asked \
         WHERE NOT EXISTS (SELECT 1 FROM _dl_fates WHERE _dl_fates.op_id = asked.op_id) ORDER BY op_id LIMIT ?2",
    )?;
    let ids = statement.query_map(params![fence.0, i64::try_from(limit).unwrap_or(i64::MAX)], |row| Ok(OpId(row.get(0)?)))?;
    Ok(ids.collect::<rusqlite::Result<_>>()?)
}

/// Puts the staged base in place of the old one. `fates` are the server's answers on ops it was
/// asked about, should they not have been applied yet.
///
/// # Errors
/// [`PageError::NotReady`] while documents, versions or fates are missing. Then, and whenever this
/// fails, the transaction must not be committed.
pub(crate) fn swap(tx: &WriteTx<'_>, fates: &[OpResult]) -> std::result::Result<Applied, PageError> {
    let stage = under_way(tx.conn())?;
    let verdicts = Verdicts { asked_at: stage.cursor, results: fates };
    let mut applied = apply_results(tx, verdicts, &[], None)?;
    let behind = stage.cursor.version < stage.highest;
    if !stage.complete || behind || !unanswered(tx.conn(), 1)?.is_empty() {
        return Err(PageError::NotReady);
    }
    let queue = sort_queue(tx, stage.cursor.version)?;
    clear_base(tx)?;
    unpack(tx)?;
    keep_links(tx, &queue)?;
    fold_on_top(tx, queue.newest)?;
    tx.set_cursor(stage.cursor)?;
    forget(tx)?;
    rebase::tidy(tx, &queue.left)?;
    applied.accepted.retain(|(_, version)| *version > stage.cursor.version);
    applied.moved.left.extend(queue.left);
    applied.moved.documents = usize::try_from(stage.documents).unwrap_or(usize::MAX);
    Ok(applied)
}

/// The queue, seen from the new base.
struct Sorted {
    /// Ops that base contains; they are out of the queue already.
    left: Vec<OpId>,
    /// Those of them whose documents have others in the queue.
    linked: Vec<Leaving>,
    /// The newest op of each document that has any.
    newest: BTreeMap<(CollectionId, DocumentId), OpId>,
}

fn sort_queue(tx: &WriteTx<'_>, version: Version) -> Result<Sorted> {
    let conn = tx.conn();
    let fates = fates(conn, version)?;
    let mut sorted = Sorted { left: Vec::new(), linked: Vec::new(), newest: BTreeMap::new() };
    let mut leaving = Vec::new();
    let mut statement = conn.prepare_cached("SELECT op_id, wall, boot, mono, state, body FROM _dl_outbox ORDER BY op_id")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let body = row.get_ref(5)?.as_blob().map_err(|_| StorageError::unreadable("outbox body"))?;
        let op = QueuedOp::decode(OpId(row.get(0)?), reading(row, 1)?, OpState::from_number(row.get(4)?)?, body)?;
        match fates.get(&op.id).or_else(|| fates.get(&op.body.retry_of?)) {
            Some(fate) => leaving.push((op.id, fate)),
            None if op.is_undecided() => {
                for (collection, document) in op.documents() {
                    sorted.newest.insert((collection, document.clone()), op.id);
                }
            }
            None => {}
        }
    }
    drop(rows);
    for (id, fate) in leaving {
        let Some(op) = history::read(conn, id)?.map(std::rc::Rc::new) else { continue };
        if op.state == OpState::Quarantined {
            ledger::drop_rejected(conn, id)?;
        }
        conn.prepare_cached("DELETE FROM _dl_outbox WHERE op_id = ?1")?.execute([id.0])?;
        let needed = |(collection, document): (_, &DocumentId)| {
            sorted.newest.contains_key(&(collection, document.clone()))
        };
        if op.documents().into_iter().any(needed) {
            let names = Vec::from_iter(op.body.retry_of);
            sorted.linked.push(Leaving { op, accepted: Some(fate.version), names, landed: fate.landed.clone() });
        }
        sorted.left.push(id);
    }
    Ok(sorted)
}

/// Keeps the links of what has left, for what is folded on the new base.
fn keep_links(tx: &WriteTx<'_>, queue: &Sorted) -> Result<()> {
    for leaving in &queue.linked {
        let base = |collection, document: &DocumentId| {
            Ok(tx.load(collection, document)?.as_ref().and_then(StoredDocument::base))
        };
        let mut leaving = leaving.clone();
        if leaving.landed.is_empty() {
            leaving.landed = Leaving::landings(&leaving.op, leaving.accepted.unwrap_or(0), base)?;
        }
        let leaving = std::rc::Rc::new(leaving);
        for (collection, document) in leaving.op.documents() {
            if queue.newest.contains_key(&(collection, document.clone())) {
                rebase::keep_links(tx.conn(), collection, document, std::slice::from_ref(&leaving))?;
            }
        }
    }
    Ok(())
}

struct Fate {
    version: Version,
    landed: Vec<(CollectionId, DocumentId, OpId)>,
}

/// Ops accepted at or below `version`.
fn fates(conn: &Connection, version: Version) -> Result<HashMap<OpId, Fate>> {
    let mut statement = conn.prepare_cached("SELECT op_id, version, landed FROM _dl_fates WHERE version IS NOT NULL")?;
    let mut rows = statement.query([])?;
    let mut fates = HashMap::new();
    while let Some(row) = rows.next()? {
        let accepted = row.get::<_, i64>(1)?.cast_unsigned();
        let landed: Option<Vec<u8>> = row.get(2)?;
        let landed = landed.map_or(Ok(Vec::new()), |bytes| minicbor::decode(&bytes))?;
        if accepted <= version {
            fates.insert(OpId(row.get(0)?), Fate { version: accepted, landed });
        }
    }
    Ok(fates)
}

/// Empties all collections, also those that only a newer schema declares.
fn clear_base(tx: &WriteTx<'_>) -> Result<()> {
    let conn = tx.conn();
    let mut statement =
        conn.prepare_cached("SELECT name FROM sqlite_schema WHERE type = 'table' AND name GLOB '_dl_c_[0-9]*'")?;
    let names: Vec<String> = statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    for name in names {
        conn.execute(&format!("DELETE FROM {}", quoted(&name)), [])?;
    }
    for table in tx.layout().tables() {
        if let Some(search) = &table.search {
            conn.execute(&format!("DELETE FROM {}", quoted(&search.name)), [])?;
        }
        if table.declared {
            tx.touch_all(table.collection);
        }
    }
    conn.execute("DELETE FROM _dl_tombstones", [])?;
    Ok(())
}

/// Writes what was kept, part by part.
fn unpack(tx: &WriteTx<'_>) -> std::result::Result<(), PageError> {
    let mut after = 0;
    while let Some((seq, kind, body)) = next_part(tx.conn(), after)? {
        after = seq;
        let damaged = |_| StorageError::unreadable("bootstrap");
        if kind == DOCUMENTS {
            for document in minicbor::decode::<Vec<DocumentResult>>(&body).map_err(damaged)? {
                let mut stored = StoredDocument::new(document.state, None, None);
                tx.store(document.collection, &document.document, None, &mut stored)?;
            }
        } else {
            let mut rebase = Rebase::new(tx)?;
            for entry in minicbor::decode::<Vec<VersionEntry>>(&body).map_err(damaged)? {
                for result in &entry.documents {
                    rebase.take(result, entry.version, true)?;
                }
            }
            rebase.finish()?;
        }
    }
    Ok(())
}

fn next_part(conn: &Connection, after: i64) -> Result<Option<(i64, i64, Vec<u8>)>> {
    let mut statement = conn.prepare_cached("SELECT seq, kind, body FROM _dl_staged WHERE seq > ?1 ORDER BY seq LIMIT 1")?;
    Ok(statement.query_row([after], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).optional()?)
}

fn fold_on_top(tx: &WriteTx<'_>, newest: BTreeMap<(CollectionId, DocumentId), OpId>) -> Result<()> {
    let mut newest = newest.into_iter().peekable();
    while newest.peek().is_some() {
        let mut rebase = Rebase::new(tx)?;
        for ((collection, document), op) in newest.by_ref().take(FOLDED_AT_ONCE) {
            rebase.append(op, collection, &document)?;
        }
        rebase.finish()?;
    }
    Ok(())
}

/// The server has another history: what queued ops had seen there means nothing now, and base must
/// be fetched anew. Until then the file stands at the beginning, so that new ops claim nothing.
pub(crate) fn forget_history(tx: &WriteTx<'_>) -> Result<()> {
    outbox::forget_bases(tx.conn())?;
    ledger::forget_numbers(tx)?;
    tx.set_cursor(Cursor::START)?;
    tx.touch_queue();
    begin(tx)
}

/// Copies the file beside itself and begins anew with the server's other history; queued ops stay
/// queued. Repeated after a crash, it makes another copy. Returns the copy's path.
pub(crate) fn set_aside(storage: &Storage, now: i64) -> Result<String> {
    let copy = copy_aside(storage, now)?;
    storage.write_tx(Origin::Remote, forget_history)?;
    Ok(copy)
}

fn copy_aside(storage: &Storage, now: i64) -> Result<String> {
    let mut writer = storage.writer();
    let connection = storage.connected(&mut writer)?;
    let path = storage.spec.path.to_str().ok_or_else(|| StorageError::CannotOpen("a path that is not UTF-8".to_owned()))?;
    let copy = format!("{path}.aside-{now}");
    // VACUUM INTO attaches the copy, which app's SQL may not do.
    let limit = connection.conn.limit(Limit::SQLITE_LIMIT_ATTACHED)?;
    connection.conn.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 1)?;
    let copied = connection.conn.execute("VACUUM INTO ?1", [&copy]);
    connection.conn.set_limit(Limit::SQLITE_LIMIT_ATTACHED, limit)?;
    copied?;
    Ok(copy)
}
