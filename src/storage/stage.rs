//! Bootstrap: base anew from a snapshot and the versions that followed it.
//!
//! What arrives is kept as it comes, in order: frames of documents, then pages of versions. Nothing
//! of it shows, and the file's cursor stands still (frames of the live socket are refused
//! meanwhile: in K19 one of them made an accepted op disappear). Two things are waited for: the log has
//! been followed far enough, and the fate of every op that was queued or in quarantine at the snapshot
//! is known. Then one transaction puts the new base in place of the old, takes the ops it contains out of
//! the queue, folds the others on top and moves the cursor. Readers see the old state or the new one,
//! nothing between.
//!
//! An empty file goes the same way. Unpacking what is kept costs what writing the documents
//! directly would cost; keeping it costs one blob a frame. So there is one story for both, and a
//! group of the server is never half visible.

use driftline_core::id::{CollectionId, DocumentId, OpId, Version};
use driftline_core::protocol::{Cursor, DocumentResult, VersionEntry};
use driftline_core::sync::Phase;
use driftline_core::time::Contact;
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};

use super::apply::{Names, Page, PageError, check_span, landings, note_contact};
pub(crate) use super::aside::set_aside;
use super::error::{Result, StorageError};
use super::kinds::check_kinds;
use super::meta;
use super::queued;
pub(crate) use super::swap::swap;
use super::text;
use super::write::WriteTx;

/// The name of the row in `_dl_meta` that says a bootstrap is under way.
const STAGE: &str = "stage";

pub(super) const DOCUMENTS: i64 = 0;
pub(super) const VERSIONS: i64 = 1;
pub(super) const FRAME: i64 = 2;

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
    pub(super) highest: Version,
    /// The last document received: where a cut stream is taken up again.
    pub(crate) last: Option<(CollectionId, DocumentId)>,
}

impl Stage {
    /// Whether it leads to the beginning of a history, where there is nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.cursor.version == 0 && self.documents == 0
    }

    /// What is to be done next.
    pub(crate) fn phase(&self) -> Phase {
        if self.complete {
            Phase::CatchUp
        } else {
            Phase::Documents
        }
    }
}

/// How far a bootstrap is; `None` if there is none.
pub(crate) fn status(conn: &Connection) -> Result<Option<Stage>> {
    let json: Option<String> = meta::get(conn, STAGE)?;
    json.map(|json| serde_json::from_str(&json).map_err(|_| StorageError::unreadable("bootstrap")))
        .transpose()
}

/// Whether a bootstrap is under way.
pub(super) fn is_under_way(conn: &Connection) -> Result<bool> {
    Ok(meta::get::<String>(conn, STAGE)?.is_some())
}

fn save(tx: &WriteTx<'_>, stage: &Stage) -> Result<()> {
    let json =
        serde_json::to_string(stage).map_err(|error| StorageError::Internal(error.to_string()))?;
    tx.set_meta(STAGE, json)
}

pub(super) fn under_way(conn: &Connection) -> std::result::Result<Stage, PageError> {
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

pub(super) fn forget(tx: &WriteTx<'_>) -> Result<()> {
    tx.storage().unpacked.forget();
    tx.conn()
        .execute_batch("DELETE FROM _dl_staged; DELETE FROM _dl_fates;")?;
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
            let fence = queued::newest(tx.conn())?;
            stage = Stage {
                pin: Some(cursor),
                cursor,
                fence,
                ..stage
            };
            Ok(save(tx, &stage)?)
        }
    }
}

/// Documents of the snapshot, in order of collection and id, behind those received before. The frame
/// they came in is kept as it is, if there is a binary one.
pub(crate) fn add_documents(
    tx: &WriteTx<'_>,
    documents: &[DocumentResult],
    frame: Option<&[u8]>,
) -> std::result::Result<(), PageError> {
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
        text::check_snapshot(tx.layout(), document)?;
        stage.highest = stage.highest.max(document.state.version);
        stage.last = Some(key);
    }
    match frame {
        _ if documents.is_empty() => {}
        Some(frame) => keep_bytes(tx, FRAME, frame)?,
        None => keep(tx, DOCUMENTS, documents)?,
    }
    stage.documents += documents.len() as u64;
    Ok(save(tx, &stage)?)
}

/// The snapshot's last frame.
pub(crate) fn documents_complete(tx: &WriteTx<'_>) -> std::result::Result<(), PageError> {
    let mut stage = under_way(tx.conn())?;
    if stage.pin.is_none() {
        return Err(PageError::malformed(
            "the end of a snapshot that did not begin",
        ));
    }
    stage.complete = true;
    Ok(save(tx, &stage)?)
}

/// Versions that followed the snapshot. They must come in full: requests of a catch-up carry no ops.
pub(crate) fn add_page(
    tx: &WriteTx<'_>,
    page: Page<'_>,
    contact: &Contact,
) -> std::result::Result<(), PageError> {
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
    let body = minicbor::to_vec(items)
        .map_err(|_| StorageError::Internal("a page does not encode".to_owned()))?;
    keep_bytes(tx, kind, &body)
}

fn keep_bytes(tx: &WriteTx<'_>, kind: i64, body: &[u8]) -> Result<()> {
    tx.conn()
        .prepare_cached("INSERT INTO _dl_staged (kind, body) VALUES (?1, ?2)")?
        .execute(params![kind, body])?;
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
    let Some(Stage {
        fence: Some(fence),
        pin,
        ..
    }) = status(conn)?
    else {
        return Ok(Vec::new());
    };
    // A snapshot of the beginning holds no op, and every later version names its own: asking for the
    // fate of 10,000 queued ops there cost five round trips.
    if pin.is_some_and(|pin| pin.version == 0) {
        return Ok(Vec::new());
    }
    let mut statement = conn.prepare_cached(
        "SELECT op_id FROM (SELECT op_id FROM _dl_outbox WHERE seq <= ?3 AND op_id <= ?1 \
         UNION SELECT retry_of FROM _dl_outbox WHERE retry_of IS NOT NULL AND retry_of <= ?1) AS asked \
         WHERE NOT EXISTS (SELECT 1 FROM _dl_fates WHERE _dl_fates.op_id = asked.op_id) ORDER BY op_id LIMIT ?2",
    )?;
    let ids = statement.query_map(
        params![
            fence.0,
            i64::try_from(limit).unwrap_or(i64::MAX),
            fence.head()
        ],
        |row| Ok(OpId(row.get(0)?)),
    )?;
    Ok(ids.collect::<rusqlite::Result<_>>()?)
}

/// The part behind `after`: its number, its kind, and what it holds.
pub(super) fn next_part(conn: &Connection, after: i64) -> Result<Option<(i64, i64, Vec<u8>)>> {
    let mut statement = conn.prepare_cached(
        "SELECT seq, kind, body FROM _dl_staged WHERE seq > ?1 ORDER BY seq LIMIT 1",
    )?;
    Ok(statement
        .query_row([after], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?)
}
