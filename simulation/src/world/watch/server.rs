//! Reads what lies in the server's file.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use driftline_core::id::{DocumentId, OpId, Version};
use driftline_core::ledger::Loss;
use driftline_core::merge::DocumentState;
use driftline_core::protocol::{ChainHash, Cursor, VersionEntry};

use super::{Looked, Watcher, blob, op_id, said};
use crate::model::Lost;
use crate::oracles::{Documents, LogRow, Room};

/// What a server did.
#[derive(Default)]
pub(in crate::world) struct Served {
    pub(in crate::world) log: Vec<LogRow>,
    /// All ops that it rejected.
    pub(in crate::world) rejected: Vec<OpId>,
    /// Those of them that it rejected because a document is not there.
    pub(in crate::world) missing: BTreeSet<OpId>,
    /// What it tells of losses, by version.
    pub(in crate::world) losses: BTreeMap<Version, BTreeSet<Lost>>,
    /// The account that first wrote under each writer.
    pub(in crate::world) owners: BTreeMap<u64, i64>,
}

impl Watcher {
    /// What the server did behind a version.
    pub(in crate::world) fn served(&self, after: Version) -> Looked<Served> {
        let log = self.log(after)?;
        let mut served = Served::default();
        self.each(
            "SELECT op_id, code = 'not_found' FROM verdicts WHERE version IS NULL",
            |row| {
                let op = op_id(row, 0)?;
                served.rejected.extend(op);
                let missing = row.get(1).map_err(said)?;
                served.missing.extend(op.filter(|_| missing));
                Ok(())
            },
        )?;
        if !log.is_empty() {
            served.losses = self.losses(after)?;
            self.each("SELECT writer, account FROM writers", |row| {
                let writer: i64 = row.get(0).map_err(said)?;
                let account = row.get(1).map_err(said)?;
                served.owners.insert(writer.cast_unsigned(), account);
                Ok(())
            })?;
        }
        served.log = log;
        Ok(served)
    }

    /// What the server tells of losses by versions behind one.
    fn losses(&self, after: Version) -> Looked<BTreeMap<Version, BTreeSet<Lost>>> {
        let sql = "SELECT version, loss FROM losses WHERE version > ?1";
        let mut statement = self.connection.prepare_cached(sql).map_err(said)?;
        let mut rows = statement.query([after.cast_signed()]).map_err(said)?;
        let mut losses: BTreeMap<Version, BTreeSet<Lost>> = BTreeMap::new();
        while let Some(row) = rows.next().map_err(said)? {
            let version: i64 = row.get(0).map_err(said)?;
            let loss: Loss =
                minicbor::decode(blob(row, 1)?.unwrap_or_default()).map_err(|e| e.to_string())?;
            losses
                .entry(version.cast_unsigned())
                .or_default()
                .insert(Lost {
                    key: (loss.collection, loss.document.as_str().to_owned()),
                    field: loss.field,
                    op: loss.op,
                    rule: loss.rule.name(),
                });
        }
        Ok(losses)
    }

    /// The numbers of the losses told to each device, by the device's own name.
    pub(in crate::world) fn loss_numbers(&self) -> Looked<BTreeMap<String, BTreeSet<u64>>> {
        let mut numbers: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
        let sql = "SELECT devices.device, losses.number FROM losses \
                   JOIN devices ON devices.number = losses.device";
        self.each(sql, |row| {
            let device: String = row.get(0).map_err(said)?;
            let number: i64 = row.get(1).map_err(said)?;
            numbers
                .entry(device)
                .or_default()
                .insert(number.cast_unsigned());
            Ok(())
        })?;
        Ok(numbers)
    }

    /// The server's log behind a version.
    fn log(&self, after: Version) -> Looked<Vec<LogRow>> {
        let sql = "SELECT version, hash, op_id, written, entry, base, at, devices.account, authors.label \
                   FROM log JOIN authors ON authors.number = log.author \
                   JOIN devices ON devices.number = authors.device WHERE version > ?1 ORDER BY version";
        let mut statement = self.connection.prepare_cached(sql).map_err(said)?;
        let mut rows = statement.query([after.cast_signed()]).map_err(said)?;
        let mut log = Vec::new();
        while let Some(row) = rows.next().map_err(said)? {
            let hash = blob(row, 1)?.and_then(|hash| hash.try_into().ok());
            let entry: VersionEntry =
                minicbor::decode(blob(row, 4)?.unwrap_or_default()).map_err(|e| e.to_string())?;
            log.push(LogRow {
                cursor: Cursor {
                    version: row.get::<_, i64>(0).map_err(said)?.cast_unsigned(),
                    hash: ChainHash(hash.ok_or("a hash that is none")?),
                },
                op: op_id(row, 2)?.ok_or("a version without an op")?,
                base: row.get::<_, i64>(5).map_err(said)?.cast_unsigned(),
                written: row.get(3).map_err(said)?,
                at: row.get(6).map_err(said)?,
                account: row.get(7).map_err(said)?,
                label: row.get(8).map_err(said)?,
                entry,
            });
        }
        Ok(log)
    }

    /// Bytes of documents on the server, as its quota counts them.
    pub(in crate::world) fn bytes(&self) -> Looked<u64> {
        let bytes = self.one::<i64>("SELECT bytes FROM size")?;
        Ok(bytes.unwrap_or(0).cast_unsigned())
    }

    /// What the server's file takes, but for its log.
    pub(in crate::world) fn room(&self) -> Looked<Room> {
        let mut room = Room::default();
        let tables = "SELECT coalesce(s.tbl_name, d.name), sum(d.payload) FROM dbstat AS d \
                      LEFT JOIN sqlite_schema AS s ON s.name = d.name GROUP BY 1";
        self.each(tables, |row| {
            let payload: i64 = row.get(1).map_err(said)?;
            let name = row.get(0).map_err(said)?;
            room.tables.insert(name, payload.cast_unsigned());
            Ok(())
        })?;
        let file = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size";
        room.file = self.one::<i64>(file)?.unwrap_or(0).cast_unsigned();
        let tail = "SELECT count(*) FILTER (WHERE tail.version <= texts.version), \
                           count(*) FILTER (WHERE tail.version > coalesce(texts.version, 0)) \
                    FROM text_tail AS tail LEFT JOIN texts USING (collection, document, field) \
                    WHERE texts.aside IS NULL";
        self.each(tail, |row| {
            room.folded = row.get::<_, i64>(0).map_err(said)?.cast_unsigned();
            room.unfolded = row.get::<_, i64>(1).map_err(said)?.cast_unsigned();
            Ok(())
        })?;
        Ok(room)
    }

    /// The server's documents.
    pub(in crate::world) fn table(&self) -> Looked<Documents> {
        let mut documents = Documents::new();
        self.each("SELECT collection, id, state FROM documents", |row| {
            let state: DocumentState =
                minicbor::decode(blob(row, 2)?.unwrap_or_default()).map_err(|e| e.to_string())?;
            let id: String = row.get(1).map_err(said)?;
            // Ids are what apps made them; every one can be one.
            DocumentId::new(&*id).map_err(|e| e.to_string())?;
            documents.insert((row.get(0).map_err(said)?, id), Rc::new(state));
            Ok(())
        })?;
        Ok(documents)
    }

    /// What texts say on the server, as last folded: place and text.
    pub(in crate::world) fn texts(&self) -> Looked<Vec<(String, String)>> {
        let sql = "SELECT collection || '/' || document, body ->> 'text' FROM texts \
                   WHERE field = 2 AND body IS NOT NULL AND aside IS NULL";
        let mut texts = Vec::new();
        self.each(sql, |row| {
            texts.push((row.get(0).map_err(said)?, row.get(1).map_err(said)?));
            Ok(())
        })?;
        Ok(texts)
    }
}
