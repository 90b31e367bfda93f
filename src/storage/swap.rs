//! The end of a bootstrap: the new base in place of the old, in one transaction.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use driftline_core::id::{CollectionId, DocumentId, OpId, Version};
use driftline_core::merge::{DocumentState, Register, TextState};
use driftline_core::protocol::limits::MAX_DECOMPRESSED;
use driftline_core::protocol::{
    Cursor, DocumentResult, OpResult, SnapshotFrame, VersionEntry, inflate,
};
use driftline_core::text::Mark;
use rusqlite::Connection;

use super::apply::{Applied, PageError, Verdicts, apply_results};
use super::error::{Result, StorageError};
use super::history::Leaving;
use super::insert::{Insert, TOGETHER};
use super::queued::{self, OpState, QueuedOp, reading};
use super::rebase::Rebase;
use super::row::{self, StoredDocument};
use super::stage::{self, DOCUMENTS, Stage, VERSIONS};
use super::tables::quoted;
use super::text;
use super::write::WriteTx;
use super::{ledger, refold};
use driftline_core::mutant::{Mutant, planted};

/// Documents with own ops folded in one go: they are held in memory.
const FOLDED_AT_ONCE: usize = 1_000;

/// Puts the staged base in place of the old one. `fates` are the server's answers on ops it was
/// asked about, should they not have been applied yet.
///
/// # Errors
/// [`PageError::NotReady`] while documents, versions or fates are missing; [`PageError::OtherHistory`]. Then, and whenever this
/// fails, the transaction must not be committed.
pub(crate) fn swap(
    tx: &WriteTx<'_>,
    fates: &[OpResult],
) -> std::result::Result<Applied, PageError> {
    let stage = stage::under_way(tx.conn())?;
    let verdicts = Verdicts {
        asked_at: stage.cursor,
        results: fates,
    };
    let mut applied = apply_results(tx, verdicts, &[], None)?;
    let behind = stage.cursor.version < stage.highest;
    let behind = behind && !planted(Mutant::BootstrapWithoutCatchUp);
    if !stage.complete || behind || !stage::unanswered(tx.conn(), 1)?.is_empty() {
        return Err(PageError::NotReady);
    }
    if leads_elsewhere(tx.cursor()?, stage.cursor) {
        return Err(PageError::OtherHistory);
    }
    // Nothing in place of nothing: what is queued shows on top as it did. 10,000 ops folded again
    // were a fifth of the time they took to the server.
    applied.replaced = !(stage.is_empty() && is_base_empty(tx)?);
    let left = match applied.replaced {
        false => Vec::new(),
        true => replace_base(tx, &stage)?,
    };
    tx.set_cursor(stage.cursor)?;
    stage::forget(tx)?;
    refold::tidy(tx, &left)?;
    applied
        .accepted
        .retain(|(_, version)| *version > stage.cursor.version);
    applied.moved.left.extend(left);
    applied.moved.documents = usize::try_from(stage.documents).unwrap_or(usize::MAX);
    Ok(applied)
}

/// Whether what the file holds at `held` cannot come before `new`. A restored server that has more versions than
/// the file again is not told by that.
fn leads_elsewhere(held: Cursor, new: Cursor) -> bool {
    let stands = held.version > 0;
    stands && (new.version < held.version || (new.version == held.version && new.hash != held.hash))
}

/// Puts what is staged in place of base. Returns the ops that base contains now.
fn replace_base(tx: &WriteTx<'_>, stage: &Stage) -> std::result::Result<Vec<OpId>, PageError> {
    let queue = sort_queue(tx, stage.cursor.version)?;
    clear_base(tx)?;
    unpack(tx, stage.pin.map_or(0, |pin| pin.version))?;
    keep_links(tx, &queue)?;
    if !planted(Mutant::BootstrapWithoutPending) {
        fold_on_top(tx, queue.newest, &queue.texts)?;
    }
    // A second later would do for words that are new here, not for own ones that queries showed before.
    text::show_stale_texts(tx)?;
    Ok(queue.left)
}

/// Whether base holds no document, so that all that shows is pending.
fn is_base_empty(tx: &WriteTx<'_>) -> Result<bool> {
    let conn = tx.conn();
    if row::any_tombstones(conn)? {
        return Ok(false);
    }
    for name in collection_tables(conn)? {
        let sql = format!("SELECT 1 FROM {} WHERE _base IS NOT ?1", quoted(&name));
        if conn.prepare(&sql)?.exists([row::absent_base()])? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The names of all collections' tables, also of those that only a newer schema declares.
fn collection_tables(conn: &Connection) -> Result<Vec<String>> {
    let mut statement = conn.prepare_cached(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name GLOB '_dl_c_[0-9]*'",
    )?;
    let names = statement.query_map([], |row| row.get(0))?;
    Ok(names.collect::<rusqlite::Result<_>>()?)
}

/// The queue, seen from the new base.
struct Sorted {
    /// Ops that base contains; they are out of the queue already.
    left: Vec<OpId>,
    /// Those of them whose documents have others in the queue.
    linked: Vec<Leaving>,
    /// Those of them that edit texts of such documents.
    texts: Vec<Rc<QueuedOp>>,
    /// The newest op of each document that has any.
    newest: BTreeMap<(CollectionId, DocumentId), OpId>,
}

fn sort_queue(tx: &WriteTx<'_>, version: Version) -> Result<Sorted> {
    let conn = tx.conn();
    let mut fates = fates(conn, version)?;
    if planted(Mutant::BootstrapForgetsFates) {
        fates.clear();
    }
    let mut sorted = Sorted {
        left: Vec::new(),
        linked: Vec::new(),
        texts: Vec::new(),
        newest: BTreeMap::new(),
    };
    let mut leaving = Vec::new();
    let mut statement = conn.prepare_cached(
        "SELECT op_id, wall, boot, mono, state, body FROM _dl_outbox ORDER BY seq",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let body = row
            .get_ref(5)?
            .as_blob()
            .map_err(|_| StorageError::unreadable("outbox body"))?;
        let op = QueuedOp::decode(
            OpId(row.get(0)?),
            reading(row, 1)?,
            OpState::from_number(row.get(4)?)?,
            body,
        )?;
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
        let Some(op) = queued::read(conn, id)?.map(Rc::new) else {
            continue;
        };
        if op.state == OpState::Quarantined {
            ledger::drop_rejected(conn, id)?;
        }
        conn.prepare_cached("DELETE FROM _dl_outbox WHERE seq = ?1 AND op_id = ?2")?
            .execute((id.head(), id.0))?;
        let needed = |(collection, document): (_, &DocumentId)| {
            sorted.newest.contains_key(&(collection, document.clone()))
        };
        if op.documents().into_iter().any(needed) {
            if op.edits_text() {
                sorted.texts.push(Rc::clone(&op));
            }
            let names = Vec::from_iter(op.body.retry_of);
            sorted.linked.push(Leaving {
                op,
                accepted: Some(fate.version),
                names,
                landed: fate.landed.clone(),
            });
        }
        sorted.left.push(id);
    }
    Ok(sorted)
}

/// Keeps the links of what has left, for what is folded on the new base.
fn keep_links(tx: &WriteTx<'_>, queue: &Sorted) -> Result<()> {
    for leaving in &queue.linked {
        let base = |collection, document: &DocumentId| {
            Ok(tx
                .load(collection, document)?
                .as_ref()
                .and_then(StoredDocument::base))
        };
        let mut leaving = leaving.clone();
        if leaving.landed.is_empty() {
            leaving.landed = Leaving::landings(&leaving.op, leaving.accepted.unwrap_or(0), base)?;
        }
        let leaving = Rc::new(leaving);
        for (collection, document) in leaving.op.documents() {
            if queue.newest.contains_key(&(collection, document.clone())) {
                refold::keep_links(
                    tx.conn(),
                    collection,
                    document,
                    std::slice::from_ref(&leaving),
                )?;
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
    let mut statement = conn
        .prepare_cached("SELECT op_id, version, landed FROM _dl_fates WHERE version IS NOT NULL")?;
    let mut rows = statement.query([])?;
    let mut fates = HashMap::new();
    while let Some(row) = rows.next()? {
        let accepted = row.get::<_, i64>(1)?.cast_unsigned();
        let landed: Option<Vec<u8>> = row.get(2)?;
        let landed = landed.map_or(Ok(Vec::new()), |bytes| minicbor::decode(&bytes))?;
        if accepted <= version {
            fates.insert(
                OpId(row.get(0)?),
                Fate {
                    version: accepted,
                    landed,
                },
            );
        }
    }
    Ok(fates)
}

/// Empties all collections.
fn clear_base(tx: &WriteTx<'_>) -> Result<()> {
    let conn = tx.conn();
    for name in collection_tables(conn)? {
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
    text::clear(conn)?;
    text::clear_shown(conn)
}

/// Writes what was kept, part by part.
///
/// A document that changed while the snapshot was made is newer than the snapshot's beginning, at `pin`,
/// and the versions that follow tell of that change. If they do not, the server was restored meanwhile:
/// what it had then is another history.
fn unpack(tx: &WriteTx<'_>, pin: Version) -> std::result::Result<(), PageError> {
    let mut after = 0;
    let mut newer: BTreeSet<(CollectionId, DocumentId)> = BTreeSet::new();
    while let Some((seq, kind, body)) = stage::next_part(tx.conn(), after)? {
        after = seq;
        if kind == VERSIONS {
            let mut rebase = Rebase::new(tx)?;
            for entry in minicbor::decode::<Vec<VersionEntry>>(&body).map_err(damaged)? {
                for result in &entry.documents {
                    if !newer.is_empty() {
                        meet(&mut rebase, &mut newer, result, entry.version)?;
                    }
                    rebase
                        .take(result, entry.version, true)
                        .map_err(other_history)?;
                }
            }
            rebase.finish()?;
        } else {
            let documents = documents_of(tx, kind, &body)?;
            let ahead = documents
                .iter()
                .filter(|document| document.state.version > pin);
            newer.extend(ahead.map(|document| (document.collection, document.document.clone())));
            insert_all(tx, documents)?;
        }
    }
    match newer.is_empty() || planted(Mutant::BootstrapWithoutCatchUp) {
        true => Ok(()),
        false => Err(PageError::OtherSnapshot),
    }
}

/// The version that a document of the snapshot had come to tells of it what the snapshot does.
fn meet(
    rebase: &mut Rebase<'_, '_>,
    newer: &mut BTreeSet<(CollectionId, DocumentId)>,
    result: &DocumentResult,
    version: Version,
) -> std::result::Result<(), PageError> {
    let key = (result.collection, result.document.clone());
    if !newer.contains(&key) {
        return Ok(());
    }
    let base = rebase.base(result.collection, &result.document)?;
    let Some(base) = base.filter(|base| base.version == version) else {
        return Ok(());
    };
    if !tells_of(result, &base, version) {
        return Err(PageError::OtherSnapshot);
    }
    newer.remove(&key);
    Ok(())
}

fn tells_of(result: &DocumentResult, base: &DocumentState, version: Version) -> bool {
    let told = &result.state;
    let registers = told.registers.iter().all(|(field, register)| {
        let same = |held: &Register| held.write.op == register.write.op;
        register.write.version != version || base.registers.get(field).is_some_and(same)
    });
    let texts = told.texts.iter().all(|(field, text)| {
        let same = |held: &TextState| held.last == text.last;
        text.version != version || base.texts.get(field).is_some_and(same)
    });
    registers && texts && told.generation.opener == base.generation.opener
}

/// What follows a snapshot fits it, or the server was restored meanwhile.
fn other_history(error: PageError) -> PageError {
    match error {
        PageError::BaseMissing => PageError::OtherSnapshot,
        other => other,
    }
}

/// Writes documents that are not in the file.
fn insert_all(tx: &WriteTx<'_>, documents: Vec<DocumentResult>) -> Result<()> {
    let mut together: Vec<DocumentResult> = Vec::with_capacity(TOGETHER);
    let mut insert = None;
    for document in documents {
        let goes_on = |first: &DocumentResult| first.collection == document.collection;
        if !tx.takes_settled(&document) || !together.first().is_none_or(goes_on) {
            insert_one(tx, document, &mut insert)?;
            continue;
        }
        together.push(document);
        if together.len() == TOGETHER {
            tx.insert_settled(&together)?;
            together.clear();
        }
    }
    let mut rest = together.into_iter();
    rest.try_for_each(|document| insert_one(tx, document, &mut insert))
}

fn insert_one<'t>(
    tx: &'t WriteTx<'_>,
    document: DocumentResult,
    insert: &mut Option<Insert<'t>>,
) -> Result<()> {
    text::keep_snapshot(tx.conn(), &document)?;
    let key = (document.collection, &document.document);
    text::show_changed(tx, key, None, &document.state, |_| Ok(Vec::new()))?;
    let mut stored = StoredDocument::new(document.state, None, None);
    tx.store_next(
        document.collection,
        &document.document,
        None,
        &mut stored,
        insert,
    )
}

/// Documents as they were kept: by themselves, or in the frame they came in.
fn documents_of(tx: &WriteTx<'_>, kind: i64, body: &[u8]) -> Result<Vec<DocumentResult>> {
    if kind == DOCUMENTS {
        return minicbor::decode(body).map_err(damaged);
    }
    if let Some(documents) = tx.storage().unpacked.take(body) {
        return Ok(documents);
    }
    let plain = inflate(body, MAX_DECOMPRESSED).map_err(damaged)?;
    match minicbor::decode(&plain).map_err(damaged)? {
        SnapshotFrame::Documents { documents } => Ok(documents),
        SnapshotFrame::Begin { .. } | SnapshotFrame::End => Err(damaged(())),
    }
}

fn damaged<E>(_: E) -> StorageError {
    StorageError::unreadable("bootstrap")
}

fn fold_on_top(
    tx: &WriteTx<'_>,
    newest: BTreeMap<(CollectionId, DocumentId), OpId>,
    texts: &[Rc<QueuedOp>],
) -> Result<()> {
    let mut older = Vec::new();
    for op in texts {
        if op.authored_again || is_elsewhere(tx, op)? {
            older.push(op);
        }
    }
    let mut newest = newest.into_iter().peekable();
    while newest.peek().is_some() {
        let mut rebase = Rebase::new(tx)?;
        older.iter().for_each(|op| rebase.leave_older(op));
        for ((collection, document), op) in newest.by_ref().take(FOLDED_AT_ONCE) {
            rebase.append(op, collection, &document)?;
        }
        rebase.finish()?;
    }
    Ok(())
}

/// Whether the new base has the text of `op` under another writer than it has here: a copy of the file had
/// it written again. Where its writer has gone on, the marks do not tell.
fn is_elsewhere(tx: &WriteTx<'_>, op: &QueuedOp) -> Result<bool> {
    for change in &op.body.changes {
        if change.texts.is_empty() {
            continue;
        }
        let stored = tx.load(change.collection, &change.document)?;
        let Some(base) = stored.as_ref().and_then(StoredDocument::base) else {
            continue;
        };
        for (field, edit) in change.texts.iter() {
            let marks = base.texts.get(field).map_or(&[][..], |text| &text.marks);
            let by_another = |mark: &Mark| mark.last == op.id && mark.writer != edit.writer;
            if Mark::of(marks, edit.writer).is_none() || marks.iter().any(by_another) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}
