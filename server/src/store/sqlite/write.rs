//! Writes to a workspace's file.

use driftline_core::id::{OpId, Version};
use driftline_core::ledger::Loss;
use driftline_core::merge::Record;
use rusqlite::{OptionalExtension, params};

use super::error::damaged;
use super::read::View;
use super::workspace::Writing;
use crate::store::{
    Author, AuthorNumbers, DeviceNumber, NewDocument, NewEdit, NewFold, NewVersion, Sighting,
    StoreError, TextPlace, Transaction,
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
        if let Some(numbers) = self.seen(account, device) {
            return Ok(numbers);
        }
        let account_number = self.account(account)?;
        let known = self
            .prepare("SELECT number FROM devices WHERE account = ?1 AND device = ?2")?
            .query_row(params![account_number, device], |row| row.get(0))
            .optional()?;
        let number = match known {
            Some(number) => number,
            None => self
                .prepare("INSERT INTO devices (account, device) VALUES (?1, ?2)")?
                .insert(params![account_number, device])?,
        };
        let numbers = (account_number, DeviceNumber(number));
        self.seen = Some((account.to_owned(), device.to_owned(), numbers));
        Ok(numbers)
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
        self.connection.gather(|rows| {
            rows.version(new);
            Ok(())
        })
    }

    fn put_document(&mut self, new: &NewDocument<'_>) -> Result<(), StoreError> {
        let is_new = self.is_beyond_documents(new.collection, new.document.as_str())?;
        self.connection.gather(|rows| {
            rows.document(new, is_new);
            Ok(())
        })?;
        self.newest
            .document_stored(new.collection, new.document.as_str());
        Ok(())
    }

    fn put_record(&mut self, op: OpId, account: i64, record: &Record) -> Result<(), StoreError> {
        let is_new = self.is_beyond_records(op)?;
        self.connection
            .gather(|rows| rows.verdict(op, account, record, is_new))?;
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
            self.seen = None;
            self.connection.forget();
            self.prepare("ROLLBACK TO part")?.execute([])?;
        }
        self.prepare("RELEASE part")?.execute([])?;
        Ok(())
    }

    fn commit(self: Box<Self>) -> Result<(), StoreError> {
        self.connection.commit()
    }
}
