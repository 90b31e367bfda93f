//! Opening a file: is it ours, does this build know it, whose is it, does the schema still fit.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock, RwLock};

use driftline_core::environment::Ids;
use driftline_core::id::OpId;
use driftline_core::mutant::{Mutant, planted};
use driftline_core::schema::Schema;
use driftline_core::value::MAX_SAFE_INTEGER;
use rusqlite::Connection;

use super::checkpoint::Checkpoints;
use super::connection::{FileSpec, GatedConnection, Shared};
use super::copies;
use super::error::{Result, StorageError};
use super::facts::Facts;
use super::hooks::Hooks;
use super::lifecycle::Lifecycle;
use super::queue::Queue;
use super::read::Readers;
use super::reshape::{self, SchemaRecord};
use super::tables::Layout;
use super::writer::{Writer, data_version};
use super::{Storage, election, meta, migrations, power, pragmas};
use crate::config::{Durability, HostToken};
use crate::environment::Environment;

/// What a file is opened with.
pub(crate) struct OpenOptions {
    pub(crate) path: PathBuf,
    pub(crate) schema: Arc<Schema>,
    pub(crate) account: Option<String>,
    pub(crate) workspace: String,
    pub(crate) device_label: String,
    pub(crate) durability: Durability,
    pub(crate) host_token: Option<Box<dyn HostToken>>,
    pub(crate) environment: Environment,
}

/// What opening has to bring about; read first, so that an ordinary open writes nothing.
struct Needed {
    /// What the file remembers of its schema, if that is the one given.
    record: Option<SchemaRecord>,
    identity: Vec<(&'static str, rusqlite::types::Value)>,
}

impl Storage {
    /// Opens the file, making or upgrading it if need be. One that cannot be used is left as it was.
    pub(crate) fn open(options: OpenOptions) -> Result<Storage> {
        let OpenOptions {
            path,
            schema,
            durability,
            environment,
            ..
        } = &options;
        let spec = FileSpec {
            path: path.clone(),
            vfs: environment.vfs.clone(),
            durability: *durability,
        };
        let conn = spec.open_raw()?;
        check_ownership(&conn)?;
        let rests = pragmas::set_up_writer(&conn, *durability)?;

        let (record, facts, version) = settle(&conn, &options)?;
        let layout = Arc::new(Layout::new(Arc::clone(schema), &record.ids)?);
        let shared = Shared {
            layout: Arc::new(RwLock::new(layout)),
            clock: Arc::clone(&environment.clock),
            stop: Arc::new(AtomicBool::new(false)),
        };
        if let Some(token) = &options.host_token {
            copies::renew(&conn, &**token, &*environment.ids)?;
        }
        let checkpoints = Checkpoints::new(spec.clone(), environment.clone());
        let mut connection = GatedConnection::new(conn, &shared)?;
        checkpoints.watch(&mut connection.conn)?;
        let queue = Queue::default();
        if let (term, None) = election::standing(&connection.conn)? {
            queue.nobody_else_syncs(term);
        }
        if facts.attaching {
            queue.draw_above(OpId::ABOVE_DERIVED);
        }
        let boot = environment.clock.boot();
        let noted = power::is_noted(&facts, *durability, boot, false);
        let mut name = [0; 16];
        environment.ids.fill(&mut name);
        Ok(Storage {
            readers: Readers::new(spec.clone(), shared.clone()),
            writer: Mutex::new(Writer {
                unsettled: true,
                lifecycle: Lifecycle::Open,
                connection: Some(connection),
                failed: None,
                rests_on_log: Cell::new(rests),
                told: Some(version),
                waits: Cell::new(spec.durability),
                known: RefCell::default(),
                verified: Cell::new(noted.then_some(version)),
                session_compared: Cell::new(noted),
            }),
            spec,
            shared,
            queue,
            drawn: super::drawn::Drawn::default(),
            hooks: Hooks::default(),
            checkpoints,
            showing: super::text::Showing::default(),
            unpacked: super::unpacked::Unpacked::default(),
            account: OnceLock::new(),
            guest: AtomicBool::new(!facts.account),
            attaching: AtomicBool::new(facts.attaching),
            reader: AtomicBool::new(facts.reader),
            facts,
            name,
            environment: options.environment,
        })
    }
}

/// Brings the file up and reads what writes rely on, with no other process's commit between the two.
/// Returns the `data_version` at which all of it is true.
fn settle(conn: &Connection, options: &OpenOptions) -> Result<(SchemaRecord, Facts, i64)> {
    loop {
        let version = data_version(conn)?;
        let record = bring_up(conn, options)?;
        let facts = Facts::read(conn)?;
        if data_version(conn)? == version {
            return Ok((record, facts, version));
        }
    }
}

/// Ours, or new; known to this build.
pub(super) fn check_ownership(conn: &Connection) -> Result<()> {
    let application: i32 = conn.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    let version = migrations::version(conn)?;
    if application == pragmas::APPLICATION_ID {
        return match version > migrations::latest() {
            true => Err(StorageError::NewerFile {
                found: version,
                known: migrations::latest(),
            }),
            false => Ok(()),
        };
    }
    let anything: bool =
        conn.query_row("SELECT EXISTS (SELECT 1 FROM sqlite_schema)", [], |row| {
            row.get(0)
        })?;
    if application != 0 || version != 0 || anything {
        Err(StorageError::Foreign)
    } else {
        Ok(())
    }
}

/// Brings tables, schema and identity to what `options` say, in one transaction if anything is to do.
fn bring_up(conn: &Connection, options: &OpenOptions) -> Result<SchemaRecord> {
    if migrations::version(conn)? == migrations::latest() {
        let needed = needed(conn, options)?;
        if let (true, Some(record)) = (needed.identity.is_empty(), needed.record) {
            return Ok(record);
        }
    }
    pragmas::begin(conn)?;
    let brought = bring_up_within(conn, options).and_then(|record| {
        conn.execute_batch("COMMIT")?;
        Ok(record)
    });
    if brought.is_err() && !conn.is_autocommit() {
        conn.execute_batch("ROLLBACK")?;
    }
    brought
}

fn bring_up_within(conn: &Connection, options: &OpenOptions) -> Result<SchemaRecord> {
    let now = options.environment.clock.wall();
    // Another process may have been faster; nothing read before the transaction counts.
    check_ownership(conn)?;
    migrations::apply(conn, now)?;
    conn.pragma_update(None, "application_id", pragmas::APPLICATION_ID)?;
    let needed = needed(conn, options)?;
    for (key, value) in needed.identity {
        meta::set(conn, key, value)?;
    }
    match needed.record {
        Some(record) => Ok(record),
        None => reshape::reshape(
            conn,
            SchemaRecord::read(conn)?.as_ref(),
            &options.schema,
            now,
        ),
    }
}

/// Compares the file's facts with the options.
fn needed(conn: &Connection, options: &OpenOptions) -> Result<Needed> {
    let mut identity: Vec<(&'static str, rusqlite::types::Value)> = Vec::new();
    let text = |key: &str| meta::get::<String>(conn, key);
    match text(meta::key::WORKSPACE)? {
        None => identity.push((meta::key::WORKSPACE, options.workspace.clone().into())),
        Some(workspace) if workspace != options.workspace => {
            return Err(StorageError::OtherIdentity("workspace"));
        }
        Some(_) => {}
    }
    match (text(meta::key::ACCOUNT)?, &options.account) {
        (None, None) => {}
        (Some(known), Some(given)) if known == *given => {}
        (Some(_), Some(_)) if planted(Mutant::FileOfAnybody) => {}
        (Some(_), _) => return Err(StorageError::OtherIdentity("account")),
        (None, Some(_)) if meta::get::<i64>(conn, meta::key::GUEST)?.is_some() => {
            return Err(StorageError::GuestFile);
        }
        (None, Some(given)) => identity.push((meta::key::ACCOUNT, given.clone().into())),
    }
    if text(meta::key::DEVICE)?.is_none() {
        identity.push((
            meta::key::DEVICE,
            random_uuid(&*options.environment.ids).into(),
        ));
    }
    if text(meta::key::DEVICE_LABEL)?.as_deref() != Some(options.device_label.as_str()) {
        identity.push((meta::key::DEVICE_LABEL, options.device_label.clone().into()));
    }
    if meta::get::<i64>(conn, meta::key::WRITER)?.is_none() {
        identity.push((
            meta::key::WRITER,
            random_writer(&*options.environment.ids).into(),
        ));
        // With the file itself: whatever is lost of a new one, this is not lost alone.
        if options.durability == Durability::Normal {
            let session = options.environment.clock.boot();
            identity.push((meta::key::UNSETTLED, i64::from(session.0).into()));
        }
    }
    let record = SchemaRecord::read(conn)?
        .filter(|record| record.fingerprint == options.schema.fingerprint());
    Ok(Needed { record, identity })
}

fn random_uuid(ids: &dyn Ids) -> String {
    let mut bytes = [0; 16];
    ids.fill(&mut bytes);
    uuid::Builder::from_random_bytes(bytes)
        .into_uuid()
        .as_hyphenated()
        .to_string()
}

/// 53 bits, the width of a Yrs client id; never 0.
pub(crate) fn random_writer(ids: &dyn Ids) -> i64 {
    let mut bytes = [0; 8];
    ids.fill(&mut bytes);
    (i64::from_be_bytes(bytes) & MAX_SAFE_INTEGER).max(1)
}
