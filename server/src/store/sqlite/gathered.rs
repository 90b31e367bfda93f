//! Rows on their way into the file: gathered, and written many at a time.
//!
//! Of each op come a row of the log, one of each document and one of its verdict. Written one by one
//! as they come, a third of the time went into beginning and ending statements. Gathered, rows of one
//! table are written together, many by one statement; only their order within a table means anything.

use std::ops::Range;
use std::sync::LazyLock;

use driftline_core::id::{CollectionId, OpId};
use driftline_core::merge::{Record, Verdict};
use driftline_core::protocol::Cursor;
use rusqlite::{Connection, Statement};

use super::error::damaged;
use crate::store::{NewDocument, NewVersion, StoreError, Touch};

/// Rows written by one statement.
const MANY: usize = 16;

/// Rows, and bytes in them, that are worth being written.
const ENOUGH_ROWS: usize = 384;
const ENOUGH_BYTES: usize = 512 << 10;

/// Rows that are not in the file yet. Their content lies in two buffers, so that gathering them takes
/// no memory of its own for each.
#[derive(Default)]
pub(super) struct Gathered {
    text: String,
    bytes: Vec<u8>,
    documents: Vec<Document>,
    versions: Vec<Logged>,
    verdicts: Vec<Decided>,
}

struct Document {
    collection: CollectionId,
    version: i64,
    id: Range<usize>,
    body: Option<Range<usize>>,
    state: Range<usize>,
    is_new: bool,
}

struct Logged {
    cursor: Cursor,
    op: OpId,
    author: i64,
    base: i64,
    schema: u32,
    written: i64,
    at: i64,
    touched: Range<usize>,
    entry: Range<usize>,
}

struct Decided {
    op: OpId,
    account: i64,
    version: Option<i64>,
    /// Code and message of a refusal.
    refusal: Option<(Range<usize>, Range<usize>)>,
    links: Option<Range<usize>>,
    is_new: bool,
}

impl Gathered {
    /// Adds a document; `is_new` if none can be stored under its id.
    pub(super) fn document(&mut self, new: &NewDocument<'_>, is_new: bool) {
        let document = Document {
            collection: new.collection,
            version: new.version.cast_signed(),
            id: self.text(new.document.as_str()),
            body: new.body.map(|body| self.text(body)),
            state: self.bytes(new.state),
            is_new,
        };
        self.documents.push(document);
    }

    /// Adds a version.
    pub(super) fn version(&mut self, new: &NewVersion<'_>) {
        let logged = Logged {
            cursor: new.cursor,
            op: new.op,
            author: new.author.author,
            base: new.base.cast_signed(),
            schema: new.schema,
            written: new.written,
            at: new.at,
            touched: self.text(&touched_as_json(new.touched)),
            entry: self.bytes(new.entry),
        };
        self.versions.push(logged);
    }

    /// Adds a verdict; `is_new` if none can be stored of that op.
    pub(super) fn verdict(
        &mut self,
        op: OpId,
        account: i64,
        record: &Record,
        is_new: bool,
    ) -> Result<(), StoreError> {
        let links = match record.covers.is_empty() && record.links.is_empty() {
            true => None,
            false => Some(
                minicbor::to_vec((&record.covers, &record.links))
                    .map_err(|_| damaged("links of a decision"))?,
            ),
        };
        let (version, refusal) = match &record.verdict {
            Verdict::Accepted(version) => (Some(version.cast_signed()), None),
            Verdict::Rejected(refusal) => {
                let spans = (self.text(&refusal.code), self.text(&refusal.message));
                (None, Some(spans))
            }
        };
        let decided = Decided {
            op,
            account,
            version,
            refusal,
            links: links.map(|links| self.bytes(&links)),
            is_new,
        };
        self.verdicts.push(decided);
        Ok(())
    }

    fn text(&mut self, text: &str) -> Range<usize> {
        let from = self.text.len();
        self.text.push_str(text);
        from..self.text.len()
    }

    fn bytes(&mut self, bytes: &[u8]) -> Range<usize> {
        let from = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        from..self.bytes.len()
    }

    /// Whether there are enough of them to be written.
    pub(super) fn is_enough(&self) -> bool {
        self.rows() >= ENOUGH_ROWS || self.size() >= ENOUGH_BYTES
    }

    /// Whether a document is among them.
    pub(super) fn has_document(&self, collection: CollectionId, id: &str) -> bool {
        let mut documents = self.documents.iter();
        documents
            .any(|row| row.collection == collection && self.text.get(row.id.clone()) == Some(id))
    }

    /// Whether an op's verdict is among them.
    pub(super) fn has_verdict(&self, op: OpId) -> bool {
        self.verdicts.iter().any(|row| row.op == op)
    }

    /// Bytes of their content.
    pub(super) fn size(&self) -> usize {
        self.text.len() + self.bytes.len()
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.rows() == 0
    }

    fn rows(&self) -> usize {
        self.documents.len() + self.versions.len() + self.verdicts.len()
    }

    /// Forgets them, and keeps their memory for the next.
    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.bytes.clear();
        self.documents.clear();
        self.versions.clear();
        self.verdicts.clear();
        // One large document should not stay until the workspace is closed.
        self.text.shrink_to(2 * ENOUGH_BYTES);
        self.bytes.shrink_to(2 * ENOUGH_BYTES);
    }

    /// Writes them within the connection's transaction. What an error leaves behind is for the caller
    /// to undo.
    pub(super) fn write(&self, connection: &Connection) -> Result<(), StoreError> {
        let documents = self.documents.chunk_by(|a, b| a.is_new == b.is_new);
        for rows in documents {
            let insert = match rows.first().is_some_and(|row| row.is_new) {
                true => &DOCUMENTS.new,
                false => &DOCUMENTS.any,
            };
            insert.put(connection, rows, |row, place| {
                place.put(row.collection)?;
                place.put(self.text.get(row.id.clone()))?;
                place.put(row.version)?;
                place.put(row.body.clone().and_then(|body| self.text.get(body)))?;
                place.put(self.bytes.get(row.state.clone()))
            })?;
        }
        LOG.put(connection, &self.versions, |row, place| {
            place.put(row.cursor.version.cast_signed())?;
            place.put(row.cursor.hash.0)?;
            place.put(row.op.0)?;
            place.put(row.author)?;
            place.put(row.base)?;
            place.put(row.schema)?;
            place.put(row.written)?;
            place.put(row.at)?;
            place.put(self.text.get(row.touched.clone()))?;
            place.put(self.bytes.get(row.entry.clone()))
        })?;
        let verdicts = self.verdicts.chunk_by(|a, b| a.is_new == b.is_new);
        for rows in verdicts {
            let insert = match rows.first().is_some_and(|row| row.is_new) {
                true => &VERDICTS.new,
                false => &VERDICTS.any,
            };
            insert.put(connection, rows, |row, place| {
                let (code, message) = row.refusal.clone().unzip();
                place.put(row.op.0)?;
                place.put(row.account)?;
                place.put(row.version)?;
                place.put(code.and_then(|code| self.text.get(code)))?;
                place.put(message.and_then(|message| self.text.get(message)))?;
                place.put(row.links.clone().and_then(|links| self.bytes.get(links)))
            })?;
        }
        Ok(())
    }
}

static LOG: LazyLock<Insert> = LazyLock::new(|| {
    Insert::many(
        "log (version, hash, op_id, author, base, schema_version, written, at, touched, entry)",
        10,
    )
});

static DOCUMENTS: LazyLock<Inserts> = LazyLock::new(|| {
    let table = "documents (collection, id, version, body, state)";
    let upsert = "ON CONFLICT (collection, id) DO UPDATE SET
         version = excluded.version, body = excluded.body, state = excluded.state";
    Inserts {
        new: Insert::many(table, 5),
        any: Insert::one("INSERT INTO", table, 5, upsert),
    }
});

static VERDICTS: LazyLock<Inserts> = LazyLock::new(|| {
    let table = "verdicts (op_id, account, version, code, message, links)";
    Inserts {
        new: Insert::many(table, 6),
        any: Insert::one("INSERT OR REPLACE INTO", table, 6, ""),
    }
});

/// How rows of one table are stored.
struct Inserts {
    /// Those that nothing is stored under.
    new: Insert,
    /// Those that may take the place of another.
    any: Insert,
}

/// Statements that store rows.
struct Insert {
    columns: usize,
    one: String,
    many: Option<String>,
}

impl Insert {
    fn one(verb: &str, table: &str, columns: usize, then: &str) -> Insert {
        Insert {
            columns,
            one: format!("{verb} {table} VALUES {} {then}", row_of(columns)),
            many: None,
        }
    }

    /// For new rows, many by one statement.
    fn many(table: &str, columns: usize) -> Insert {
        // FAIL needs no way back for the statement alone: whoever sees an error undoes the whole part.
        let verb = "INSERT OR FAIL INTO";
        let rows = vec![row_of(columns); MANY].join(", ");
        Insert {
            many: Some(format!("{verb} {table} VALUES {rows}")),
            ..Insert::one(verb, table, columns, "")
        }
    }

    fn put<T>(
        &self,
        connection: &Connection,
        rows: &[T],
        mut bind: impl FnMut(&T, &mut Place<'_, '_>) -> rusqlite::Result<()>,
    ) -> Result<(), StoreError> {
        let (groups, rest) = match &self.many {
            Some(_) => rows.as_chunks::<MANY>(),
            None => (&[][..], rows),
        };
        let mut put = |sql: &str, groups: &mut dyn Iterator<Item = &[T]>| {
            let mut statement = connection.prepare_cached(sql)?;
            for group in groups {
                let mut place = Place {
                    statement: &mut statement,
                    next: 1,
                };
                for (row, at) in group.iter().zip(0..) {
                    place.next = 1 + at * self.columns;
                    bind(row, &mut place)?;
                }
                statement.raw_execute()?;
            }
            Ok::<_, rusqlite::Error>(())
        };
        if let Some(many) = self.many.as_ref().filter(|_| !groups.is_empty()) {
            put(many, &mut groups.iter().map(|group| &group[..]))?;
        }
        if !rest.is_empty() {
            put(&self.one, &mut rest.chunks(1))?;
        }
        Ok(())
    }
}

fn row_of(columns: usize) -> String {
    format!("({})", vec!["?"; columns].join(", "))
}

/// Where the next value of a row goes.
struct Place<'p, 's> {
    statement: &'p mut Statement<'s>,
    next: usize,
}

impl Place<'_, '_> {
    fn put(&mut self, value: impl rusqlite::ToSql) -> rusqlite::Result<()> {
        self.statement.raw_bind_parameter(self.next, value)?;
        self.next += 1;
        Ok(())
    }
}

/// `[[1,"id","insert",null],…]`
fn touched_as_json(touched: &[Touch<'_>]) -> String {
    let rows: Vec<_> = touched
        .iter()
        .map(|t| (t.collection, t.document.as_str(), t.kind.name(), t.previous))
        .collect();
    serde_json::to_string(&rows).unwrap_or_else(|_| "[]".to_owned())
}
