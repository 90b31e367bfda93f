//! Reading a file from outside: whoever has it open notices nothing, and nothing in it changes.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use driftline_core::digest::Digest;
use driftline_core::id::{CollectionId, DocumentId, FieldId, OpId};
use driftline_core::merge::DocumentState;
use driftline_core::schema::{FieldKind, StableIds};
use driftline_core::value::Value;
use rusqlite::{Connection, OpenFlags};

use super::column::Column;
use super::error::{Result, StorageError};
use super::history::OpState;
use super::reshape::SchemaRecord;
use super::row::read_row;
use super::tables::{TEXTS, Table, kind_named, start};
use super::{election, ledger, meta, migrations, open, outbox, pragmas, runs};
use crate::document::FieldValue;
use crate::inspect::{
    CollectionCounts, FileFacts, InspectedDocument, LedgerRow, QueueCounts, QueuedChange,
    QueuedWrite, SyncRun,
};

/// How often a file that changes while it is read without locks is read again before locks are
/// taken.
const QUIET_ATTEMPTS: usize = 3;

/// A consistent view of a file.
pub(crate) struct Inspected {
    conn: Connection,
    path: PathBuf,
    ids: StableIds,
    fingerprint: String,
}

/// Runs `work` on a view of the file at `path`.
pub(crate) fn inspect<T, E: From<StorageError>>(
    path: &Path,
    work: impl Fn(Inspected) -> std::result::Result<T, E>,
) -> std::result::Result<T, E> {
    // A file that nobody has open has no log. Reading such a one with locks would make a log beside
    // it; without locks, what was read counts only if nobody came meanwhile.
    for _ in 0..QUIET_ATTEMPTS {
        let Some(before) = Quiet::of(path)? else {
            break;
        };
        let result = Inspected::open(path, true).map_err(E::from).and_then(&work);
        if Quiet::of(path)? == Some(before) {
            return result;
        }
    }
    let view = Inspected::open(path, false)?;
    work(view)
}

/// What changes when somebody else writes to a file without a log.
#[derive(PartialEq, Eq)]
struct Quiet {
    bytes: u64,
    modified: Option<SystemTime>,
}

impl Quiet {
    /// `None` while there is a log.
    fn of(path: &Path) -> Result<Option<Quiet>> {
        let unreadable = |error: std::io::Error| StorageError::CannotOpen(error.to_string());
        let file = std::fs::metadata(path).map_err(unreadable)?;
        if !file.is_file() {
            return Err(StorageError::CannotOpen("it is not a file".to_owned()));
        }
        if std::fs::metadata(beside(path, "-wal")).is_ok_and(|log| log.len() > 0) {
            return Ok(None);
        }
        Ok(Some(Quiet {
            bytes: file.len(),
            modified: file.modified().ok(),
        }))
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// The path as a URI that SQLite reads as this path and nothing else.
fn uri(path: &Path, immutable: bool) -> String {
    let mut uri = "file:".to_owned();
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' => {
                uri.push(char::from(*byte))
            }
            byte => uri += &format!("%{byte:02x}"),
        }
    }
    uri + if immutable { "?immutable=1" } else { "" }
}

impl Inspected {
    fn open(path: &Path, immutable: bool) -> Result<Inspected> {
        pragmas::check_version()?;
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_URI;
        // A relative path would lose its first part to the URI's authority.
        let path = std::path::absolute(path)
            .map_err(|error| StorageError::CannotOpen(error.to_string()))?;
        let conn = Connection::open_with_flags(uri(&path, immutable), flags)?;
        pragmas::set_up_reader(&conn)?;
        conn.execute_batch("BEGIN")?;
        open::check_ownership(&conn)?;
        if migrations::version(&conn)? == 0 {
            return Err(StorageError::Foreign);
        }
        let record =
            SchemaRecord::read(&conn)?.ok_or_else(|| StorageError::unreadable("schema record"))?;
        Ok(Inspected {
            conn,
            path,
            ids: record.ids,
            fingerprint: record.fingerprint,
        })
    }

    pub(crate) fn facts(&self) -> Result<FileFacts> {
        let text = |key: &str| meta::get::<String>(&self.conn, key);
        let cursor = match meta::get::<Vec<u8>>(&self.conn, meta::key::CURSOR)? {
            Some(bytes) => meta::cursor_from(&bytes)?,
            None => driftline_core::protocol::Cursor::START,
        };
        let contact = meta::get::<Vec<u8>>(&self.conn, meta::key::CONTACT)?;
        let staged = "SELECT count(*) FROM _dl_staged";
        let size = |path: PathBuf| std::fs::metadata(path).map_or(0, |file| file.len());
        Ok(FileFacts {
            account: text(meta::key::ACCOUNT)?,
            workspace: text(meta::key::WORKSPACE)?.unwrap_or_default(),
            device: text(meta::key::DEVICE)?.unwrap_or_default(),
            device_label: text(meta::key::DEVICE_LABEL)?.unwrap_or_default(),
            version: cursor.version,
            hash: cursor.hash.to_string(),
            last_contact: contact
                .map(|bytes| meta::contact_from(&bytes))
                .transpose()?
                .map(|c| c.device.wall),
            tables_version: migrations::version(&self.conn)?,
            schema_version: self.ids.version,
            schema_fingerprint: self.fingerprint.clone(),
            bootstrapping: self
                .conn
                .query_row(staged, [], |row| row.get::<_, i64>(0))?
                > 0,
            attaching: text(meta::key::ATTACH)?.is_some(),
            bytes: size(self.path.clone()),
            log_bytes: size(beside(&self.path, "-wal")),
        })
    }

    pub(crate) fn collections(&self) -> Result<Vec<CollectionCounts>> {
        let mut counts = Vec::new();
        for (id, (name, _)) in &self.ids.collections {
            let (live, pending) = self.conn.query_row(
                &format!(
                    "SELECT count(*) FILTER (WHERE _deleted = 0), count(*) FILTER (WHERE _pending IS NOT NULL) FROM {}",
                    super::tables::table_name(*id)
                ),
                [],
                |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)),
            )?;
            let tombstones: i64 = self.conn.query_row(
                "SELECT count(*) FROM _dl_tombstones WHERE collection = ?1",
                [id],
                |row| row.get(0),
            )?;
            let (texts, text_bytes) = self.conn.query_row(
                &format!(
                    "SELECT count(*), ifnull(sum(octet_length(body)), 0) FROM {TEXTS} \
                     WHERE collection = ?1 AND body <> ''"
                ),
                [id],
                |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)),
            )?;
            counts.push(CollectionCounts {
                id: *id,
                name: name.clone(),
                live: live.unsigned_abs(),
                pending: pending.unsigned_abs(),
                tombstones: tombstones.unsigned_abs(),
                texts: texts.unsigned_abs(),
                text_bytes: text_bytes.unsigned_abs(),
            });
        }
        Ok(counts)
    }

    pub(crate) fn digest(&self) -> Result<Digest> {
        let mut digest = Digest::default();
        for id in self.ids.collections.keys() {
            self.each_document(*id, &mut |document, state| digest.add(*id, document, state))?;
        }
        Ok(digest)
    }

    pub(crate) fn documents(&self, collection: &str) -> Result<Option<Vec<InspectedDocument>>> {
        let Some((id, (_, fields))) = self
            .ids
            .collections
            .iter()
            .find(|(_, (name, _))| name == collection)
        else {
            return Ok(None);
        };
        let kinds: Vec<(FieldId, &str, FieldKind)> = fields
            .iter()
            .filter_map(|(id, (name, kind))| Some((*id, name.as_str(), kind_named(kind)?)))
            .collect();
        let mut texts = self.texts(*id)?;
        let mut documents = Vec::new();
        self.each_document(*id, &mut |document, state| {
            if state.is_alive() {
                let mut texts = texts.remove(document.as_str()).unwrap_or_default();
                let mut held = |field, kind: FieldKind| match kind.is_text() {
                    true => texts.remove(&field).map(FieldValue::Value),
                    false => shown(state, field, kind),
                };
                let fields = kinds
                    .iter()
                    .filter_map(|(id, name, kind)| Some(((*name).to_owned(), held(*id, *kind)?)));
                documents.push(InspectedDocument {
                    id: document.as_str().to_owned(),
                    fields: fields.collect(),
                });
            }
        })?;
        Ok(Some(documents))
    }

    /// What the texts and lists of a collection show to queries, by document.
    fn texts(&self, id: CollectionId) -> Result<HashMap<String, HashMap<FieldId, Value>>> {
        let mut texts: HashMap<String, HashMap<FieldId, Value>> = HashMap::new();
        let mut statement = self.conn.prepare(&format!(
            "SELECT document, field, body FROM {TEXTS} WHERE collection = ?1 AND body <> ''"
        ))?;
        let mut rows = statement.query([id])?;
        while let Some(row) = rows.next()? {
            let body = Value::Text(row.get(2)?);
            texts
                .entry(row.get(0)?)
                .or_default()
                .insert(row.get(1)?, body);
        }
        Ok(texts)
    }

    fn each_document(
        &self,
        id: CollectionId,
        each: &mut dyn FnMut(&DocumentId, &DocumentState),
    ) -> Result<()> {
        let table = Table::new(id, None, self.columns(id)?);
        let mut statement = self.conn.prepare(&table.select_all())?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let name: String = row.get("id")?;
            let name =
                DocumentId::new(name).map_err(|_| StorageError::unreadable("document id"))?;
            each(&name, &read_row(&table, row)?.shown);
        }
        Ok(())
    }

    fn columns(&self, id: CollectionId) -> Result<Vec<Column>> {
        let now = self
            .ids
            .collections
            .get(&id)
            .into_iter()
            .flat_map(|(_, fields)| fields.iter().map(|(id, (_, kind))| (id, kind)));
        let before = self
            .ids
            .former
            .get(&id)
            .into_iter()
            .flat_map(|former| former.fields.iter().map(|(id, f)| (id, &f.kind)));
        let mut columns: Vec<Column> = Vec::new();
        for (field, kind) in now.chain(before) {
            if !columns.iter().any(|column| column.field == *field) {
                let kind =
                    kind_named(kind).ok_or_else(|| StorageError::unreadable("schema record"))?;
                columns.push(Column {
                    field: *field,
                    kind,
                    default: start(kind),
                });
            }
        }
        columns.sort_by_key(|column| column.field);
        Ok(columns)
    }

    pub(crate) fn queue(&self) -> Result<QueueCounts> {
        let size = outbox::size(&self.conn)?;
        Ok(QueueCounts {
            pending: size.pending,
            pending_bytes: size.pending_bytes,
            quarantined: size.quarantined,
            quarantined_bytes: size.quarantined_bytes,
            oldest: size.oldest,
        })
    }

    pub(crate) fn queued(&self, limit: usize) -> Result<Vec<QueuedWrite>> {
        let listed = outbox::list(&self.conn, OpId::ZERO, None, limit)?;
        let change = |change: &driftline_core::op::Change| QueuedChange {
            collection: self.collection_name(change.collection),
            document: change.document.as_str().to_owned(),
            kind: change.kind.name(),
        };
        let queued = listed.into_iter().map(|listed| QueuedWrite {
            id: listed.op.id.to_string(),
            state: match listed.op.state {
                _ if listed.op.body.withdraw => "withdrawing",
                OpState::Pending | OpState::Hidden => "pending",
                OpState::Quarantined => "quarantined",
                OpState::Withdrawing => "withdrawing",
            },
            written: listed.op.written.wall,
            bytes: listed.bytes as u64,
            changes: listed.op.body.changes.iter().map(change).collect(),
            code: listed.refusal.as_ref().map(|refusal| refusal.code.clone()),
            message: listed.refusal.map(|refusal| refusal.message),
        });
        Ok(queued.collect())
    }

    pub(crate) fn losses(&self, limit: usize) -> Result<(u64, Vec<LedgerRow>)> {
        let total: i64 = self
            .conn
            .query_row("SELECT count(*) FROM _dl_losses", [], |row| row.get(0))?;
        let entries = ledger::query(&self.conn, &ledger::Filter::default(), limit)?;
        let row = |entry: ledger::Entry| LedgerRow {
            collection: self.collection_name(entry.loss.collection),
            document: entry.loss.document.as_str().to_owned(),
            field: entry
                .loss
                .field
                .map(|field| self.field_name(entry.loss.collection, field)),
            value: entry.loss.value,
            base_value: entry.loss.base_value,
            winner_value: entry.loss.winner_value,
            winner_device: entry.loss.winner_device,
            rule: entry.loss.rule.name(),
            at: entry.loss.at,
            restored: entry.restored.is_some(),
        };
        Ok((total.unsigned_abs(), entries.into_iter().map(row).collect()))
    }

    pub(crate) fn syncer(&self) -> Result<Option<String>> {
        let seat = election::seat(&self.conn)?;
        Ok(seat.holder.and(seat.process))
    }

    pub(crate) fn runs(&self, limit: usize) -> Result<Vec<SyncRun>> {
        let latest = runs::latest(&self.conn, limit)?;
        Ok(latest.into_iter().map(SyncRun::from).collect())
    }

    fn collection_name(&self, id: CollectionId) -> String {
        self.ids
            .collections
            .get(&id)
            .map_or_else(|| id.to_string(), |(name, _)| name.clone())
    }

    fn field_name(&self, collection: CollectionId, field: FieldId) -> String {
        let fields = self
            .ids
            .collections
            .get(&collection)
            .map(|(_, fields)| fields);
        let name = fields
            .and_then(|fields| fields.get(&field))
            .map(|(name, _)| name.clone());
        name.unwrap_or_else(|| field.to_string())
    }
}

/// What a document holds in a field; `None` for nothing.
fn shown(state: &DocumentState, field: FieldId, kind: FieldKind) -> Option<FieldValue> {
    match kind {
        FieldKind::Counter => state
            .counters
            .get(field)
            .map(|sum| FieldValue::Value(Value::Integer(*sum))),
        FieldKind::Set => state
            .sets
            .get(field)
            .map(|set| FieldValue::Set(set.elements.keys().cloned().collect())),
        _ => state
            .value(field)
            .filter(|value| !value.is_null())
            .cloned()
            .map(FieldValue::Value),
    }
}
