//! Writes to a workspace's file.

use driftline_core::id::{OpId, Version};
use driftline_core::ledger::Loss;
use driftline_core::merge::{Record, Verdict};
use rusqlite::{OptionalExtension, params};

use super::error::damaged;
use super::read::View;
use super::workspace::Writing;
use crate::store::{
    Author, AuthorNumbers, DeviceNumber, NewDocument, NewEdit, NewFold, NewVersion, Sighting,
    StoreError, TextPlace, Touch, Transaction,
};

impl View<Writing<'_>> {
    fn account(&mut self, name: &str) -> Result<i64, StoreError> {
        let known = self
            .prepare("SELECT number FROM accounts WHERE name = ?1")?
            .query_row([name], |row| row.get(0))
            .optional()?;
        match known {
            Some(number) => Ok(number),
            None => Ok(self
                .prepare("INSERT INTO accounts (name) VALUES (?1)")?
                .insert([name])?),
        }
    }

    fn account_and_device(
        &mut self,
        account: &str,
        device: &str,
    ) -> Result<(i64, DeviceNumber), StoreError> {
        let account = self.account(account)?;
        let known = self
            .prepare("SELECT number FROM devices WHERE account = ?1 AND device = ?2")?
            .query_row(params![account, device], |row| row.get(0))
            .optional()?;
        let number = match known {
            Some(number) => number,
            None => self
                .prepare("INSERT INTO devices (account, device) VALUES (?1, ?2)")?
                .insert(params![account, device])?,
        };
        Ok((account, DeviceNumber(number)))
    }
}

impl Transaction for View<Writing<'_>> {
    fn author(&mut self, author: &Author<'_>) -> Result<AuthorNumbers, StoreError> {
        let (account, device) = self.account_and_device(author.account, author.device)?;
        let writer = author.writer.cast_signed();
        let known = self
            .prepare("SELECT number FROM authors WHERE device = ?1 AND label = ?2 AND writer = ?3")?
            .query_row(params![device.0, author.label, writer], |row| row.get(0))
            .optional()?;
        let author = match known {
            Some(number) => number,
            None => self
                .prepare("INSERT INTO authors (device, label, writer) VALUES (?1, ?2, ?3)")?
                .insert(params![device.0, author.label, writer])?,
        };
        Ok(AuthorNumbers {
            author,
            device,
            account,
        })
    }

    fn see(&mut self, seen: &Sighting) -> Result<(), StoreError> {
        let (_, device) = self.account_and_device(&seen.account, &seen.device)?;
        self.prepare(
            "UPDATE devices SET label = ?2, cursor = ?3, last_seen = ?4 WHERE number = ?1",
        )?
        .execute(params![
            device.0,
            seen.label,
            seen.cursor.cast_signed(),
            seen.at
        ])?;
        Ok(())
    }

    fn append(&mut self, new: &NewVersion<'_>) -> Result<(), StoreError> {
        self.prepare(
            "INSERT INTO log (version, hash, op_id, author, base, schema_version, written, at, touched, entry)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )?
        .execute(params![
            new.cursor.version.cast_signed(),
            new.cursor.hash.0,
            new.op.0,
            new.author.author,
            new.base.cast_signed(),
            new.schema,
            new.written,
            new.at,
            touched_as_json(new.touched),
            new.entry,
        ])?;
        Ok(())
    }

    fn put_document(&mut self, new: &NewDocument<'_>) -> Result<(), StoreError> {
        // A plain insert needs no way back for the statement alone.
        let insert = match self.is_beyond_documents(new.collection, new.document.as_str())? {
            true => {
                "INSERT INTO documents (collection, id, version, body, state)
                 VALUES (?1, ?2, ?3, ?4, ?5)"
            }
            false => {
                "INSERT INTO documents (collection, id, version, body, state)
                 VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (collection, id) DO UPDATE SET
                 version = excluded.version, body = excluded.body, state = excluded.state"
            }
        };
        self.prepare(insert)?.execute(params![
            new.collection,
            new.document.as_str(),
            new.version.cast_signed(),
            new.body,
            new.state
        ])?;
        self.newest
            .document_stored(new.collection, new.document.as_str());
        Ok(())
    }

    fn put_record(&mut self, op: OpId, account: i64, record: &Record) -> Result<(), StoreError> {
        let (version, code, message) = match &record.verdict {
            Verdict::Accepted(version) => (Some(version.cast_signed()), None, None),
            Verdict::Rejected(refusal) => (None, Some(&refusal.code), Some(&refusal.message)),
        };
        let links = match record.covers.is_empty() && record.links.is_empty() {
            true => None,
            false => Some(
                minicbor::to_vec((&record.covers, &record.links))
                    .map_err(|_| damaged("links of a decision"))?,
            ),
        };
        let insert = match self.is_beyond_records(op)? {
            true => {
                "INSERT INTO verdicts (op_id, account, version, code, message, links)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)"
            }
            false => {
                "INSERT OR REPLACE INTO verdicts (op_id, account, version, code, message, links)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)"
            }
        };
        self.prepare(insert)?
            .execute(params![op.0, account, version, code, message, links])?;
        self.newest.record_stored(op);
        Ok(())
    }

    fn last_loss(&mut self, device: DeviceNumber) -> Result<u64, StoreError> {
        let last: Option<i64> = self
            .prepare("SELECT max(number) FROM losses WHERE device = ?1")?
            .query_row([device.0], |row| row.get(0))?;
        Ok(last.unwrap_or(0).cast_unsigned())
    }

    fn put_loss(
        &mut self,
        device: DeviceNumber,
        version: Version,
        loss: &Loss,
    ) -> Result<(), StoreError> {
        let bytes = minicbor::to_vec(loss).map_err(|_| damaged("a loss"))?;
        self.prepare("INSERT INTO losses (device, number, version, rule, at, loss) VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?.execute(params![
            device.0,
            loss.number.cast_signed(),
            version.cast_signed(),
            loss.rule.name(),
            loss.at,
            bytes
        ])?;
        Ok(())
    }

    fn put_writer(&mut self, writer: u64, account: i64) -> Result<(), StoreError> {
        self.bind_writer(writer, account)
    }

    fn append_edit(&mut self, place: &TextPlace, edit: &NewEdit<'_>) -> Result<(), StoreError> {
        self.append_to_tail(place, edit)
    }

    fn drop_text(&mut self, place: &TextPlace) -> Result<(), StoreError> {
        self.forget_text(place)
    }

    fn put_fold(&mut self, place: &TextPlace, fold: &NewFold) -> Result<(), StoreError> {
        self.store_fold(place, fold)
    }

    fn set_aside(&mut self, place: &TextPlace, why: &str) -> Result<(), StoreError> {
        self.put_aside(place, why)
    }

    fn set_size(&mut self, documents: u64, bytes: u64) -> Result<(), StoreError> {
        self.prepare("UPDATE size SET documents = ?1, bytes = ?2")?
            .execute(params![documents.cast_signed(), bytes.cast_signed()])?;
        Ok(())
    }

    fn begin_part(&mut self) -> Result<(), StoreError> {
        self.prepare("SAVEPOINT part")?.execute([])?;
        Ok(())
    }

    fn end_part(&mut self, keep: bool) -> Result<(), StoreError> {
        if !keep {
            self.newest.forget();
            self.prepare("ROLLBACK TO part")?.execute([])?;
        }
        self.prepare("RELEASE part")?.execute([])?;
        Ok(())
    }

    fn commit(self: Box<Self>) -> Result<(), StoreError> {
        self.connection.commit()
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
