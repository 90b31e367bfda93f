//! Reads what lies in files, as another process on the same disk, without leaving a trace there.

mod server;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use driftline_core::fold::BaseImage;
use driftline_core::id::OpId;
use driftline_core::merge::DocumentState;
use driftline_core::op::OpBody;
use driftline_core::protocol::{ChainHash, Cursor};
use driftline_core::schema::{FieldKind, Schema};
use driftline_core::value::Value;
use driftline_simvfs::{Disk, Process};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row};

use crate::oracles::{FileView, QueueState, Queued};

pub(super) use server::Served;

/// Why a file could not be read; somebody else tells whether it should have been.
type Looked<T> = Result<T, String>;

/// What every op says, by its id, as last seen in an outbox or made by hand.
#[derive(Default)]
pub(super) struct Bodies(BTreeMap<OpId, (Vec<u8>, Rc<OpBody>)>);

impl Bodies {
    pub(super) fn get(&self, id: OpId) -> Option<&OpBody> {
        self.0.get(&id).map(|(_, body)| &**body)
    }

    /// Ops of which anything is known.
    pub(super) fn count(&self) -> u64 {
        self.0.len() as u64
    }

    /// Changes of all of them.
    pub(super) fn changes(&self) -> u64 {
        let changes = self.0.values().map(|(_, body)| body.changes.len() as u64);
        changes.sum()
    }

    pub(super) fn put(&mut self, id: OpId, body: OpBody) {
        self.0.insert(id, (Vec::new(), Rc::new(body)));
    }

    /// Decodes what an outbox holds. What is left of an op that was taken back does not replace what
    /// it said: the server may have that already.
    fn decoded(&mut self, id: OpId, bytes: &[u8]) -> Looked<Rc<OpBody>> {
        if let Some((known, body)) = self.0.get(&id)
            && known == bytes
        {
            return Ok(Rc::clone(body));
        }
        let body: OpBody = minicbor::decode(bytes).map_err(|e| format!("the op {id}: {e}"))?;
        let body = Rc::new(body);
        let says_nothing = body
            .changes
            .iter()
            .all(|change| *change == change.links_only());
        if !says_nothing || !self.0.contains_key(&id) {
            self.0.insert(id, (bytes.to_vec(), Rc::clone(&body)));
        }
        Ok(body)
    }
}

/// A reader of one file.
pub(super) struct Watcher {
    process: Process,
    connection: Connection,
    version: Option<i64>,
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // Closed as a process that was killed: the last to close a file would tidy it up.
        self.process.kill();
    }
}

impl Watcher {
    pub(super) fn open(disk: &Disk, file: &str) -> Looked<Watcher> {
        let process = Process::start(disk, 0);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection =
            Connection::open_with_flags_and_vfs(file, flags, process.vfs()).map_err(said)?;
        connection
            .execute_batch("PRAGMA query_only = ON; PRAGMA temp_store = MEMORY;")
            .map_err(said)?;
        connection.set_prepared_statement_cache_capacity(64);
        Ok(Watcher {
            process,
            connection,
            version: None,
        })
    }

    /// Whether somebody committed since this was asked last.
    pub(super) fn changed(&mut self) -> Looked<bool> {
        let mut statement = self
            .connection
            .prepare_cached("PRAGMA data_version")
            .map_err(said)?;
        let version: i64 = statement.query_row([], |row| row.get(0)).map_err(said)?;
        drop(statement);
        let changed = self.version != Some(version);
        self.version = Some(version);
        Ok(changed)
    }

    fn each(&self, sql: &str, mut each: impl FnMut(&Row<'_>) -> Looked<()>) -> Looked<()> {
        let mut statement = self.connection.prepare_cached(sql).map_err(said)?;
        let mut rows = statement.query([]).map_err(said)?;
        while let Some(row) = rows.next().map_err(said)? {
            each(row)?;
        }
        Ok(())
    }

    fn one<T: rusqlite::types::FromSql>(&self, sql: &str) -> Looked<Option<T>> {
        let mut statement = self.connection.prepare_cached(sql).map_err(said)?;
        let found = statement.query_row([], |row| row.get(0)).optional();
        Ok(found.map_err(said)?.flatten())
    }

    /// All of a device's file; `None` if the app has not made its tables yet.
    pub(super) fn file(&self, schema: &Schema, bodies: &mut Bodies) -> Looked<Option<FileView>> {
        let tables =
            "SELECT count(*) FROM sqlite_schema WHERE name IN ('_dl_meta', '_dl_texts', '_dl_c_5')";
        if self.one::<i64>(tables)? != Some(3) {
            return Ok(None);
        }
        self.connection.execute_batch("BEGIN").map_err(said)?;
        let view = self.read_file(schema, bodies);
        self.connection.execute_batch("COMMIT").map_err(said)?;
        view.map(Some)
    }

    fn read_file(&self, schema: &Schema, bodies: &mut Bodies) -> Looked<FileView> {
        let mut view = FileView::default();
        let cursor: Option<Vec<u8>> =
            self.one("SELECT value FROM _dl_meta WHERE key = 'cursor'")?;
        if let Some(bytes) = cursor {
            view.cursor = cursor_of(&bytes).ok_or("the cursor cannot be read")?;
        }
        let floor: Option<Vec<u8>> = self.one("SELECT value FROM _dl_meta WHERE key = 'floor'")?;
        let floor = floor.as_deref().and_then(OpId::from_slice);
        view.writer = self.fact::<i64>("writer")?.map(i64::cast_unsigned);
        view.host_token = self.fact::<Vec<u8>>("host_token")?.is_some();
        let received = self.fact::<i64>("losses_ack")?;
        view.losses_ack = received.unwrap_or(0).cast_unsigned();
        view.staging = self
            .one::<i64>("SELECT 1 FROM _dl_staged LIMIT 1")?
            .is_some();
        self.each(
            "SELECT op_id, collection, document FROM _dl_departed",
            |row| {
                let key = (row.get(1).map_err(said)?, row.get(2).map_err(said)?);
                view.departed.extend(op_id(row, 0)?.map(|id| (id, key)));
                Ok(())
            },
        )?;
        let queue = "SELECT op_id, state, body FROM _dl_outbox ORDER BY seq";
        self.each(queue, |row| {
            let id = op_id(row, 0)?.ok_or("an op without an id")?;
            let state = match row.get::<_, i64>(1).map_err(said)? {
                0 => QueueState::Pending,
                1 => QueueState::Quarantined,
                2 => QueueState::Withdrawing,
                _ => QueueState::Hidden,
            };
            let body = bodies.decoded(id, blob(row, 2)?.unwrap_or_default())?;
            view.queue.push(Queued { id, state, body });
            Ok(())
        })?;
        view.newest = view.queue.last().map(|queued| queued.id).max(floor);
        for collection in &schema.collections {
            self.read_collection(collection, &mut view)?;
        }
        let tombstones = "SELECT collection, id, state FROM _dl_tombstones";
        self.each(tombstones, |row| {
            let key = (row.get(0).map_err(said)?, row.get(1).map_err(said)?);
            let state: DocumentState =
                minicbor::decode(blob(row, 2)?.unwrap_or_default()).map_err(|e| e.to_string())?;
            let state = Rc::new(state);
            view.base.insert(key.clone(), Rc::clone(&state));
            view.shown.insert(key, state);
            Ok(())
        })?;
        Ok(view)
    }

    fn read_collection(
        &self,
        collection: &driftline_core::schema::Collection,
        view: &mut FileView,
    ) -> Looked<()> {
        let columns: Vec<_> = collection
            .fields
            .iter()
            .filter(|field| !field.kind.is_text())
            .map(|field| (field.id, field.kind))
            .collect();
        let names: String = columns
            .iter()
            .map(|(field, _)| format!(", f{field}"))
            .collect();
        let sql = format!(
            "SELECT id, _state, _base, _pending{names} FROM _dl_c_{}",
            collection.id
        );
        self.each(&sql, |row| {
            let id: String = row.get(0).map_err(said)?;
            let key = (collection.id, id);
            let mut elsewhere = |field| {
                let at = columns.iter().position(|(column, _)| *column == field);
                at.and_then(|at| value_of(columns[at].1, row.get_ref(4 + at).ok()?))
                    .unwrap_or(Value::Null)
            };
            let pending = op_id(row, 3)?;
            let mut state = minicbor::Decoder::new(blob(row, 1)?.unwrap_or_default());
            let shown = DocumentState::decode_row(&mut state, &mut elsewhere, pending)
                .map_err(|e| format!("{key:?}: {e}"))?;
            let image: Option<BaseImage> = blob(row, 2)?
                .map(minicbor::decode)
                .transpose()
                .map_err(|e| format!("{key:?}: {e}"))?;
            view.pending += usize::from(image.is_some() || pending.is_some());
            let shown = Rc::new(shown);
            let base = match image {
                None => Some(Rc::clone(&shown)),
                image => BaseImage::base(image, (*shown).clone()).map(Rc::new),
            };
            if let Some(base) = base {
                view.base.insert(key.clone(), base);
            }
            view.shown.insert(key, shown);
            Ok(())
        })
    }

    fn fact<T: rusqlite::types::FromSql>(&self, key: &str) -> Looked<Option<T>> {
        self.one(&format!("SELECT value FROM _dl_meta WHERE key = '{key}'"))
    }

    /// A device's own name, and the numbers of the losses that it keeps.
    pub(super) fn losses_kept(&self) -> Looked<(String, BTreeSet<u64>)> {
        let mut numbers = BTreeSet::new();
        let device = self.fact::<String>("device")?.unwrap_or_default();
        self.each(
            "SELECT number FROM _dl_losses WHERE number IS NOT NULL",
            |row| {
                let number: i64 = row.get(0).map_err(said)?;
                numbers.insert(number.cast_unsigned());
                Ok(())
            },
        )?;
        Ok((device, numbers))
    }
}

fn said(error: rusqlite::Error) -> String {
    error.to_string()
}

fn blob<'r>(row: &'r Row<'_>, at: usize) -> Looked<Option<&'r [u8]>> {
    match row.get_ref(at).map_err(said)? {
        ValueRef::Null => Ok(None),
        ValueRef::Blob(bytes) => Ok(Some(bytes)),
        _ => Err("a column that is no blob".to_owned()),
    }
}

fn op_id(row: &Row<'_>, at: usize) -> Looked<Option<OpId>> {
    Ok(blob(row, at)?.and_then(OpId::from_slice))
}

fn cursor_of(bytes: &[u8]) -> Option<Cursor> {
    let (version, hash) = bytes.split_first_chunk::<8>()?;
    Some(Cursor {
        version: u64::from_be_bytes(*version),
        hash: ChainHash(hash.try_into().ok()?),
    })
}

/// A column's value. Kinds that the worlds' schema does not use are taken as they are.
fn value_of(kind: FieldKind, cell: ValueRef<'_>) -> Option<Value> {
    Some(match (kind, cell) {
        (_, ValueRef::Null) => Value::Null,
        (FieldKind::Boolean, ValueRef::Integer(n)) => Value::Boolean(n != 0),
        (_, ValueRef::Integer(n)) => Value::Integer(n),
        (_, ValueRef::Real(x)) => Value::Real(x),
        (_, ValueRef::Blob(bytes)) => Value::Bytes(bytes.to_vec()),
        (_, ValueRef::Text(text)) => Value::Text(std::str::from_utf8(text).ok()?.to_owned()),
    })
}
