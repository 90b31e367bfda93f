//! The baseline of everything local: SQLite used by hand, as somebody would who wants a document and
//! an entry in a queue in one transaction and nothing else.

mod checkpoint;

use std::path::Path;

use driftline_core::id::OpId;
use minicbor::Encoder;
use rusqlite::{Connection, params};

use crate::Outcome;
use crate::payload::Document;
use checkpoint::Checkpointer;

/// What a returned commit survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// A loss of power.
    Full,
    /// The end of the process.
    Normal,
}

const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS tasks (
        id TEXT PRIMARY KEY NOT NULL,
        title TEXT, note TEXT, assignee TEXT, status TEXT,
        done INTEGER, priority INTEGER, estimate REAL, due INTEGER
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS outbox (seq INTEGER PRIMARY KEY, op BLOB NOT NULL);
    CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY NOT NULL, value) WITHOUT ROWID;";

const INSERT: &str =
    "INSERT INTO tasks (id, title, note, assignee, status, done, priority, estimate, due)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";

/// A file with documents and a queue.
pub(crate) struct Raw {
    connection: Connection,
    op: Vec<u8>,
    checkpointer: Option<Checkpointer>,
}

impl Raw {
    /// Makes or opens a file, with checkpoints in the background as Driftline has them.
    pub(crate) fn create(path: &Path, durability: Durability) -> Outcome<Raw> {
        let mut raw = Raw::open(path, durability)?;
        raw.connection.execute_batch(TABLES)?;
        raw.checkpointer = Some(Checkpointer::start(path, &mut raw.connection)?);
        Ok(raw)
    }

    /// Opens a file that exists.
    pub(crate) fn open(path: &Path, durability: Durability) -> Outcome<Raw> {
        let connection = Connection::open(path)?;
        let synchronous = match durability {
            Durability::Full => "FULL",
            Durability::Normal => "NORMAL",
        };
        connection.execute_batch(&format!(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous={synchronous}; PRAGMA wal_autocheckpoint=0;"
        ))?;
        Ok(Raw {
            connection,
            op: Vec::with_capacity(512),
            checkpointer: None,
        })
    }

    /// One document and its queue entry, durable on return.
    pub(crate) fn insert(&mut self, document: &Document) -> Outcome<()> {
        self.in_transaction(|raw| raw.put(document))
    }

    /// Documents and their queue entries, all in one transaction.
    pub(crate) fn insert_all(&mut self, documents: &[Document]) -> Outcome<()> {
        self.in_transaction(|raw| documents.iter().try_for_each(|document| raw.put(document)))
    }

    /// Documents and one queue entry for all of them, in one transaction.
    pub(crate) fn insert_group(&mut self, documents: &[Document]) -> Outcome<()> {
        self.in_transaction(|raw| {
            raw.op.clear();
            for document in documents {
                insert_row(&raw.connection, document)?;
                append_insert(&mut raw.op, document)?;
            }
            raw.queue()
        })
    }

    /// Takes everything out of the queue, as if it had been sent.
    pub(crate) fn empty_queue(&mut self) -> Outcome<()> {
        self.in_transaction(|raw| Ok(raw.connection.execute_batch("DELETE FROM outbox")?))
    }

    /// One field of one document and its queue entry, durable on return.
    pub(crate) fn set_priority(&mut self, id: &str, priority: i64) -> Outcome<()> {
        self.in_transaction(|raw| {
            raw.connection
                .prepare_cached("UPDATE tasks SET priority = ?2 WHERE id = ?1")?
                .execute(params![id, priority])?;
            encode_priority(&mut raw.op, id, priority)?;
            raw.queue()
        })
    }

    /// An entry of the queue alone, durable on return.
    pub(crate) fn queue_update(&mut self, update: Vec<u8>) -> Outcome<()> {
        self.op = update;
        self.in_transaction(|raw| raw.queue())
    }

    /// What the last transaction queued.
    pub(crate) fn last_op(&self) -> &[u8] {
        &self.op
    }

    /// The title of a document.
    pub(crate) fn title(&self, id: &str) -> Outcome<String> {
        let mut select = self.connection.prepare_cached(
            "SELECT title, note, assignee, status, done, priority, estimate, due FROM tasks WHERE id = ?1",
        )?;
        Ok(select.query_row([id], |row| row.get(0))?)
    }

    /// How many documents there are.
    pub(crate) fn count(&self) -> Outcome<usize> {
        let count: i64 = self
            .connection
            .query_row("SELECT count(*) FROM tasks", [], |row| row.get(0))?;
        Ok(usize::try_from(count)?)
    }

    /// What it has received.
    pub(crate) fn set_cursor(&mut self, version: usize) -> Outcome<()> {
        let sql = "INSERT OR REPLACE INTO meta (key, value) VALUES ('cursor', ?1)";
        self.connection
            .prepare_cached(sql)?
            .execute([version as i64])?;
        Ok(())
    }

    /// The connection, for what only one figure does.
    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Runs `work` in one IMMEDIATE transaction.
    pub(crate) fn in_transaction<T>(
        &mut self,
        work: impl FnOnce(&mut Raw) -> Outcome<T>,
    ) -> Outcome<T> {
        self.connection
            .prepare_cached("BEGIN IMMEDIATE")?
            .execute([])?;
        let result = work(self)?;
        self.connection.prepare_cached("COMMIT")?.execute([])?;
        if let Some(checkpointer) = &self.checkpointer {
            checkpointer.committed(&self.connection)?;
        }
        Ok(result)
    }

    /// Moves the whole log into the file.
    pub(crate) fn checkpoint(&self) -> Outcome<()> {
        self.connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        Ok(())
    }

    fn put(&mut self, document: &Document) -> Outcome<()> {
        insert_row(&self.connection, document)?;
        self.op.clear();
        append_insert(&mut self.op, document)?;
        self.queue()
    }

    fn queue(&self) -> Outcome<()> {
        self.connection
            .prepare_cached("INSERT INTO outbox (op) VALUES (?1)")?
            .execute([&self.op])?;
        Ok(())
    }
}

/// The document's row.
fn insert_row(connection: &Connection, document: &Document) -> Outcome<()> {
    connection.prepare_cached(INSERT)?.execute(params![
        document.id,
        document.title,
        document.note,
        document.assignee,
        document.status,
        document.done,
        document.priority,
        document.estimate,
        document.due
    ])?;
    Ok(())
}

/// What the queue holds of an insert: `[id, {field: value}]` as CBOR, numbers for names.
fn append_insert(op: &mut Vec<u8>, document: &Document) -> Outcome<()> {
    let mut e = Encoder::new(op);
    e.array(2)?.bytes(&packed(&document.id)?)?.map(8)?;
    e.u8(1)?.str(&document.title)?;
    e.u8(2)?.str(&document.note)?;
    e.u8(3)?.str(&document.assignee)?;
    e.u8(4)?.str(document.status)?;
    e.u8(5)?.bool(document.done)?;
    e.u8(6)?.i64(document.priority)?;
    e.u8(7)?.f64(document.estimate)?;
    e.u8(8)?.i64(document.due)?;
    Ok(())
}

/// What the queue holds of a changed priority.
fn encode_priority(op: &mut Vec<u8>, id: &str, priority: i64) -> Outcome<()> {
    op.clear();
    let mut e = Encoder::new(op);
    e.array(2)?
        .bytes(&packed(id)?)?
        .map(1)?
        .u8(6)?
        .i64(priority)?;
    Ok(())
}

/// What the queue holds of a changed boolean.
pub(crate) fn encode_done(op: &mut Vec<u8>, id: &str, done: bool) -> Outcome<()> {
    op.clear();
    let mut e = Encoder::new(op);
    e.array(2)?.bytes(&packed(id)?)?.map(1)?.u8(5)?.bool(done)?;
    Ok(())
}

/// The 16 bytes of a UUID.
fn packed(id: &str) -> Outcome<[u8; 16]> {
    Ok(id.parse::<OpId>()?.0)
}
