//! Opening connections: the one that writes, and those that read.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, RwLock};

use driftline_core::environment::Clock;
use driftline_core::id::CollectionId;
use rusqlite::limits::Limit;
use rusqlite::{Connection, OpenFlags};

use super::error::{Result, StorageError};
use super::gate::Gate;
use super::pragmas;
use super::tables::Layout;
use crate::config::Durability;

/// Where a file is and how it is opened.
#[derive(Clone, Debug)]
pub(super) struct FileSpec {
    pub(super) path: PathBuf,
    pub(super) vfs: Option<String>,
    pub(super) durability: Durability,
}

/// A connection on which app's SQL can be run under the gate's eyes and against a deadline.
pub(crate) struct GatedConnection {
    pub(crate) conn: Connection,
    pub(crate) gate: Arc<Gate>,
    deadline: Arc<AtomicI64>,
    clock: Arc<dyn Clock>,
}

/// What gated connections share.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) layout: Arc<RwLock<Arc<Layout>>>,
    pub(super) clock: Arc<dyn Clock>,
    /// Set to end running queries: the file is about to be let go.
    pub(super) stop: Arc<AtomicBool>,
}

/// SQLite looks at the clock once in so many of its steps (a fraction of a millisecond).
const STEPS_BETWEEN_LOOKS: i32 = 20_000;

/// The largest value a statement may build.
const LARGEST_VALUE: i32 = 128 << 20;

/// What an app's statements begin with, and ours do not.
const APP_SQL: &str = "/**/";

const NO_DEADLINE: i64 = i64::MAX;

impl FileSpec {
    fn open(&self, flags: OpenFlags) -> Result<Connection> {
        pragmas::check_version()?;
        let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = match &self.vfs {
            None => Connection::open_with_flags(&self.path, flags),
            Some(vfs) => Connection::open_with_flags_and_vfs(&self.path, flags, vfs.as_str()),
        };
        Ok(conn?)
    }

    /// Opens the file for writing, making it if need be; nothing is set up yet.
    pub(super) fn open_raw(&self) -> Result<Connection> {
        let conn = self.open(OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
        conn.busy_timeout(pragmas::BUSY_TIMEOUT)?;
        Ok(conn)
    }

    /// Opens an existing file for writing. Says whether what is committed would rest on what is in the log.
    pub(super) fn open_writer(&self, shared: &Shared) -> Result<(GatedConnection, bool)> {
        let conn = self.open(OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let rests = pragmas::set_up_writer(&conn, self.durability)?;
        Ok((GatedConnection::new(conn, shared)?, rests))
    }

    /// Opens an existing file for reading.
    pub(super) fn open_reader(&self, shared: &Shared) -> Result<GatedConnection> {
        // Read-only would fail where the log's shared memory has to be made first.
        let conn = self.open(OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        pragmas::set_up_reader(&conn)?;
        GatedConnection::new(conn, shared)
    }

    /// Opens an existing file for checkpoints alone.
    pub(super) fn open_checkpointer(&self) -> Result<Connection> {
        let conn = self.open(OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        conn.busy_timeout(pragmas::BUSY_TIMEOUT)?;
        conn.execute_batch("PRAGMA wal_autocheckpoint=0;")?;
        pragmas::set_durability(&conn, self.durability)?;
        Ok(conn)
    }
}

impl GatedConnection {
    pub(super) fn new(conn: Connection, shared: &Shared) -> Result<GatedConnection> {
        let gate = Arc::new(Gate::new(Arc::clone(&shared.layout)));
        let judge = Arc::clone(&gate);
        let mut conn = conn;
        conn.authorizer(Some(move |context: rusqlite::hooks::AuthContext<'_>| {
            judge.judge(&context)
        }))?;
        let deadline = Arc::new(AtomicI64::new(NO_DEADLINE));
        let (until, clock, stop) = (
            Arc::clone(&deadline),
            Arc::clone(&shared.clock),
            Arc::clone(&shared.stop),
        );
        let late = move || match until.load(Ordering::Relaxed) {
            NO_DEADLINE => false,
            until => stop.load(Ordering::Relaxed) || clock.monotonic() > until,
        };
        conn.progress_handler(STEPS_BETWEEN_LOOKS, Some(late))?;
        for (limit, most) in [
            (Limit::SQLITE_LIMIT_ATTACHED, 0),
            (Limit::SQLITE_LIMIT_LENGTH, LARGEST_VALUE),
            (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 1_000),
            (Limit::SQLITE_LIMIT_COMPOUND_SELECT, 100),
            (Limit::SQLITE_LIMIT_EXPR_DEPTH, 200),
            (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
        ] {
            conn.set_limit(limit, most)?;
        }
        Ok(GatedConnection {
            conn,
            gate,
            deadline,
            clock: Arc::clone(&shared.clock),
        })
    }

    /// Runs `work`, ending its statements after `millis`.
    pub(crate) fn within<T>(&self, millis: i64, work: impl FnOnce() -> Result<T>) -> Result<T> {
        struct Clear<'a>(&'a AtomicI64);
        impl Drop for Clear<'_> {
            fn drop(&mut self) {
                self.0.store(NO_DEADLINE, Ordering::Relaxed);
            }
        }
        let until = self
            .clock
            .monotonic()
            .saturating_add(millis)
            .min(NO_DEADLINE - 1);
        self.deadline.store(until, Ordering::Relaxed);
        let _clear = Clear(&self.deadline);
        work()
    }

    /// Compiles an app's statement: one, that reads, and only what it may.
    pub(crate) fn compile(&self, sql: &str) -> Result<rusqlite::CachedStatement<'_>> {
        let opened = self.gate.compile(sql)?;
        // Compiled statements are kept by their text: an app's never passes for one of ours, which
        // nobody judged.
        let compiled = self.conn.prepare_cached(&format!("{APP_SQL}{sql}"));
        drop(opened);
        let statement = compiled.map_err(|error| self.explain(error))?;
        if statement.column_count() == 0 {
            return Err(StorageError::InvalidQuery("expected one SELECT".to_owned()));
        }
        if !statement.readonly() {
            return Err(StorageError::NotAllowed("anything but reading".to_owned()));
        }
        Ok(statement)
    }

    /// The collections that an app's statement reads.
    pub(crate) fn collections_of(&self, sql: &str) -> Result<BTreeSet<CollectionId>> {
        // SQLite does not ask about a statement that it has compiled before.
        self.conn.flush_prepared_statement_cache();
        self.compile(sql)?;
        Ok(self.gate.collections())
    }

    /// Says why a statement failed while it ran: mostly what the app asked of a function.
    pub(crate) fn explain_running(&self, error: rusqlite::Error) -> StorageError {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::Unknown | rusqlite::ErrorCode::TooBig) => {
                StorageError::InvalidQuery(message_of(&error))
            }
            _ => error.into(),
        }
    }

    /// Says what is wrong with a statement without repeating its text, which may hold values.
    fn explain(&self, error: rusqlite::Error) -> StorageError {
        if let Some(denied) = self.gate.denied() {
            return StorageError::NotAllowed(denied);
        }
        match error {
            rusqlite::Error::MultipleStatement => {
                StorageError::InvalidQuery("expected one statement".to_owned())
            }
            rusqlite::Error::SqlInputError { msg, offset, .. } if msg.contains("near ") => {
                let offset = offset.saturating_sub(APP_SQL.len() as i32);
                StorageError::InvalidQuery(format!("syntax error at byte {offset}"))
            }
            rusqlite::Error::SqlInputError { msg, .. } => StorageError::InvalidQuery(msg),
            rusqlite::Error::SqliteFailure(code, message)
                if code.code == rusqlite::ErrorCode::Unknown =>
            {
                StorageError::InvalidQuery(message.unwrap_or_else(|| "not a statement".to_owned()))
            }
            error => error.into(),
        }
    }
}

/// SQLite's message, unless it repeats a part of the statement.
fn message_of(error: &rusqlite::Error) -> String {
    let message = match error {
        rusqlite::Error::SqliteFailure(_, Some(message)) => message.as_str(),
        _ => "it failed while it ran",
    };
    let quotes = message.contains("near ") || message.contains('"');
    if quotes {
        "an argument of a function or of MATCH is malformed".to_owned()
    } else {
        message.to_owned()
    }
}
