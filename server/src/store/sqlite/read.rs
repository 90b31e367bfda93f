//! Reads of a workspace's file.

use driftline_core::id::{CollectionId, DocumentId, OpId, Version};
use driftline_core::ledger::Loss;
use driftline_core::merge::{DocumentState, Link, Record, Verdict};
use driftline_core::op::Refusal;
use driftline_core::protocol::{ChainHash, Cursor};
use rusqlite::{CachedStatement, Connection, OptionalExtension, Row, params};

use super::error::damaged;
use super::gathered::Gathered;
use super::newest::Newest;
use crate::store::{
    DeviceNumber, DocumentRow, Head, LogEntry, Origin, Piece, Snapshot, Steps, StoreError,
    StoredText, TextPlace,
};

/// One consistent view of the file, through a connection that has a transaction open.
pub(super) struct View<C> {
    pub(super) connection: C,
    pub(super) newest: Newest,
    /// The account and device that were looked up last, with their numbers.
    pub(super) seen: Option<(String, String, (i64, DeviceNumber))>,
    workspace: [u8; 16],
}

/// Where a view reads.
pub(super) trait Source {
    /// The connection, with everything in the file that was to be written before.
    fn sql(&mut self) -> Result<&Connection, StoreError>;

    /// The connection. What is still to be written is in the file if that is `asked` for.
    fn sql_beside(
        &mut self,
        _asked: impl FnOnce(&Gathered) -> bool,
    ) -> Result<&Connection, StoreError> {
        self.sql()
    }
}

impl Source for Box<Connection> {
    fn sql(&mut self) -> Result<&Connection, StoreError> {
        Ok(self)
    }
}

impl<C: Source> View<C> {
    pub(super) fn new(connection: C, workspace: [u8; 16]) -> View<C> {
        View {
            connection,
            newest: Newest::default(),
            seen: None,
            workspace,
        }
    }

    pub(super) fn prepare(&mut self, sql: &str) -> Result<CachedStatement<'_>, StoreError> {
        Ok(self.connection.sql()?.prepare_cached(sql)?)
    }

    /// The numbers of an account and a device, if they were looked up last.
    pub(super) fn seen(&self, account: &str, device: &str) -> Option<(i64, DeviceNumber)> {
        let seen = self.seen.as_ref();
        let (.., numbers) = seen.filter(|(a, d, _)| a == account && d == device)?;
        Some(*numbers)
    }

    /// Whether no record can have this id, for it is beyond them all.
    pub(super) fn is_beyond_records(&mut self, op: OpId) -> Result<bool, StoreError> {
        let source = &mut self.connection;
        self.newest.is_beyond_records(op, || {
            let connection = source.sql()?;
            let mut query = connection.prepare_cached("SELECT max(op_id) FROM verdicts")?;
            let newest: Option<[u8; 16]> = query.query_row([], |row| row.get(0))?;
            Ok(newest.map_or(OpId::ZERO, OpId))
        })
    }

    /// Whether no document can have this id, for it is beyond them all.
    pub(super) fn is_beyond_documents(
        &mut self,
        collection: CollectionId,
        id: &str,
    ) -> Result<bool, StoreError> {
        let source = &mut self.connection;
        self.newest.is_beyond_documents(collection, id, || {
            let connection = source.sql()?;
            let mut query =
                connection.prepare_cached("SELECT max(id) FROM documents WHERE collection = ?1")?;
            let newest: Option<String> = query.query_row([collection], |row| row.get(0))?;
            Ok(newest.unwrap_or_default())
        })
    }
}

impl<C: Source> Snapshot for View<C> {
    fn head(&mut self) -> Result<Head, StoreError> {
        let last = self
            .prepare("SELECT version, hash FROM log ORDER BY version DESC LIMIT 1")?
            .query_row([], |row| Ok((number(row, 0)?, hash(row, 1)?)))
            .optional()?;
        let cursor = match last {
            Some((version, hash)) => Cursor { version, hash },
            None => Cursor::seed(&self.workspace),
        };
        let mut size = self.prepare("SELECT documents, bytes FROM size")?;
        let (documents, bytes) =
            size.query_row([], |row| Ok((number(row, 0)?, number(row, 1)?)))?;
        Ok(Head {
            cursor,
            documents,
            bytes,
        })
    }

    fn hash_at(&mut self, version: Version) -> Result<Option<ChainHash>, StoreError> {
        if version == 0 {
            return Ok(Some(Cursor::seed(&self.workspace).hash));
        }
        let Ok(version) = i64::try_from(version) else {
            return Ok(None);
        };
        let mut query = self.prepare("SELECT hash FROM log WHERE version = ?1")?;
        Ok(query.query_row([version], |row| hash(row, 0)).optional()?)
    }

    fn record(&mut self, op: OpId) -> Result<Option<Record>, StoreError> {
        if self.is_beyond_records(op)? {
            return Ok(None);
        }
        let connection = self.connection.sql_beside(|rows| rows.has_verdict(op))?;
        let mut query = connection.prepare_cached(
            "SELECT accounts.name, verdicts.version, code, message, links
             FROM verdicts JOIN accounts ON accounts.number = verdicts.account WHERE op_id = ?1",
        )?;
        let mut rows = query.query([op.0])?;
        let Some(row) = rows.next()? else {
            return Ok(None);
        };
        let verdict = match row.get::<_, Option<i64>>(1)? {
            Some(version) => Verdict::Accepted(version.cast_unsigned()),
            None => Verdict::Rejected(Refusal {
                code: row.get(2)?,
                message: row.get(3)?,
            }),
        };
        let (covers, links) = match row
            .get_ref(4)?
            .as_blob_or_null()
            .map_err(|_| damaged("links of a decision"))?
        {
            Some(bytes) => minicbor::decode::<(Vec<OpId>, Vec<Link>)>(bytes)
                .map_err(|_| damaged("links of a decision"))?,
            None => (Vec::new(), Vec::new()),
        };
        Ok(Some(Record {
            account: row.get(0)?,
            verdict,
            covers,
            links,
        }))
    }

    fn document(
        &mut self,
        collection: CollectionId,
        document: &DocumentId,
    ) -> Result<Option<DocumentState>, StoreError> {
        if self.is_beyond_documents(collection, document.as_str())? {
            return Ok(None);
        }
        let is_asked = |rows: &Gathered| rows.has_document(collection, document.as_str());
        let mut query = (self.connection.sql_beside(is_asked)?)
            .prepare_cached("SELECT state FROM documents WHERE collection = ?1 AND id = ?2")?;
        let mut rows = query.query(params![collection, document.as_str()])?;
        let Some(row) = rows.next()? else {
            return Ok(None);
        };
        let bytes = row
            .get_ref(0)?
            .as_blob()
            .map_err(|_| damaged("a document"))?;
        minicbor::decode(bytes)
            .map(Some)
            .map_err(|_| damaged("a document"))
    }

    fn log(
        &mut self,
        after: Version,
        each: &mut dyn FnMut(LogEntry<'_>) -> bool,
    ) -> Result<(), StoreError> {
        let Ok(after) = i64::try_from(after) else {
            return Ok(());
        };
        let mut query = self
            .prepare("SELECT version, hash, entry FROM log WHERE version > ?1 ORDER BY version")?;
        let mut rows = query.query([after])?;
        while let Some(row) = rows.next()? {
            let cursor = Cursor {
                version: number(row, 0)?,
                hash: hash(row, 1)?,
            };
            let entry = row
                .get_ref(2)?
                .as_blob()
                .map_err(|_| damaged("a version"))?;
            if !each(LogEntry { cursor, entry }) {
                break;
            }
        }
        Ok(())
    }

    fn documents(
        &mut self,
        after: Option<(CollectionId, &str)>,
        each: &mut dyn FnMut(DocumentRow<'_>) -> bool,
    ) -> Result<(), StoreError> {
        let (collection, document) = after.map_or((-1, ""), |(collection, document)| {
            (i64::from(collection), document)
        });
        let mut query = self.prepare(
            "SELECT collection, id, state FROM documents WHERE (collection, id) > (?1, ?2) ORDER BY collection, id",
        )?;
        let mut rows = query.query(params![collection, document])?;
        while let Some(row) = rows.next()? {
            let document = row
                .get_ref(1)?
                .as_str()
                .map_err(|_| damaged("a document's id"))?;
            let state = row
                .get_ref(2)?
                .as_blob()
                .map_err(|_| damaged("a document"))?;
            if !each(DocumentRow {
                collection: row.get(0)?,
                document,
                state,
            }) {
                break;
            }
        }
        Ok(())
    }

    fn origin(&mut self, version: Version) -> Result<Option<Origin>, StoreError> {
        let mut query = self.prepare(
            "SELECT authors.device, authors.label, log.base FROM log JOIN authors ON authors.number = log.author WHERE version = ?1",
        )?;
        let origin = query.query_row([version.cast_signed()], |row| {
            Ok(Origin {
                device: DeviceNumber(row.get(0)?),
                label: row.get(1)?,
                base: number(row, 2)?,
            })
        });
        Ok(origin.optional()?)
    }

    fn steps(&mut self, version: Version) -> Result<Option<Steps>, StoreError> {
        let mut query = self.prepare("SELECT op_id, touched FROM log WHERE version = ?1")?;
        let mut rows = query.query([version.cast_signed()])?;
        let Some(row) = rows.next()? else {
            return Ok(None);
        };
        let touched = row
            .get_ref(1)?
            .as_str()
            .map_err(|_| damaged("what a version touched"))?;
        let touched: Vec<(CollectionId, String, &str, Option<Version>)> =
            serde_json::from_str(touched).map_err(|_| damaged("what a version touched"))?;
        let op = row
            .get_ref(0)?
            .as_blob()
            .ok()
            .and_then(OpId::from_slice)
            .ok_or_else(|| damaged("an op's id"))?;
        let touched = touched.into_iter();
        let documents = touched.map(|(collection, id, _, previous)| (collection, id, previous));
        Ok(Some(Steps::new(op, documents.collect())))
    }

    fn entry(&mut self, version: Version) -> Result<Option<Vec<u8>>, StoreError> {
        let mut query = self.prepare("SELECT entry FROM log WHERE version = ?1")?;
        Ok(query
            .query_row([version.cast_signed()], |row| row.get(0))
            .optional()?)
    }

    fn device(&mut self, account: &str, device: &str) -> Result<Option<DeviceNumber>, StoreError> {
        if let Some((_, number)) = self.seen(account, device) {
            return Ok(Some(number));
        }
        let mut query = self.prepare(
            "SELECT devices.number FROM devices JOIN accounts ON accounts.number = devices.account WHERE accounts.name = ?1 AND device = ?2",
        )?;
        Ok(query
            .query_row([account, device], |row| row.get(0).map(DeviceNumber))
            .optional()?)
    }

    fn losses(
        &mut self,
        device: DeviceNumber,
        above: u64,
        most: usize,
    ) -> Result<Vec<Loss>, StoreError> {
        let above = i64::try_from(above).unwrap_or(i64::MAX);
        let mut query = self.prepare(
            "SELECT loss FROM losses WHERE device = ?1 AND number > ?2 ORDER BY number LIMIT ?3",
        )?;
        let mut rows = query.query(params![device.0, above, most as i64])?;
        let mut losses = Vec::new();
        while let Some(row) = rows.next()? {
            let bytes = row.get_ref(0)?.as_blob().map_err(|_| damaged("a loss"))?;
            losses.push(minicbor::decode(bytes).map_err(|_| damaged("a loss"))?);
        }
        Ok(losses)
    }

    fn writer(&mut self, writer: u64) -> Result<Option<String>, StoreError> {
        self.writer_account(writer)
    }

    fn text(&mut self, place: &TextPlace, most: Piece) -> Result<StoredText, StoreError> {
        self.stored_text(place, most)
    }

    fn deleted_bytes(&mut self, place: &TextPlace, version: Version) -> Result<u64, StoreError> {
        self.found_deleted(place, version)
    }

    fn is_counted(&mut self, place: &TextPlace, version: Version) -> Result<bool, StoreError> {
        self.has_nothing_to_find(place, version)
    }

    fn unfolded(
        &mut self,
        after: Option<&TextPlace>,
        most: usize,
    ) -> Result<Vec<TextPlace>, StoreError> {
        self.with_tail(after, most)
    }
}

fn number(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(i64::cast_unsigned)
}

fn hash(row: &Row<'_>, column: usize) -> rusqlite::Result<ChainHash> {
    row.get::<_, [u8; 8]>(column).map(ChainHash)
}
