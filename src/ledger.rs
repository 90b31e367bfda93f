//! The loss ledger as the app sees it: values this device wrote that are not in the documents, and
//! the way to bring them back.

use std::sync::Arc;

use driftline_core::id::DocumentId;
use driftline_core::op::{Change, ChangeKind};
use driftline_core::schema::{FieldKind, Schema};
use driftline_core::text::{ListChange, OffsetUnit, TextChange, TextKind};
use driftline_core::value::Value;
use serde::Serialize;

pub use driftline_core::ledger::LossRule;

use crate::database::Database;
use crate::error::{Error, Fault, Result, Retry};
use crate::storage::ledger::{self, Entry, Filter, Restoration};
use crate::storage::text::TextPlace;
use crate::storage::{LocalWrite, Origin, Storage};

/// Values of this device that were overwritten unseen, rejected, or came too late.
#[derive(Clone)]
pub struct Ledger {
    storage: Arc<Storage>,
}

/// One lost value.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[non_exhaustive]
pub struct Loss {
    /// Its number in this file.
    pub id: i64,
    /// The collection's name, or its number where the schema does not declare it.
    pub collection: String,
    /// The document.
    pub document: String,
    /// The field; `None` if what was lost is a delete.
    pub field: Option<String>,
    /// Why.
    pub rule: LossRule,
    /// What was lost: the value, a counter's increment, a set's elements as a JSON array.
    pub value: Value,
    /// Whether the elements were removed, not added.
    pub removed: bool,
    /// What was there before it was written, for a three-way view.
    pub base_value: Value,
    /// What stands instead; null after a delete.
    pub winner_value: Value,
    /// The label of the device that wrote what stands.
    pub winner_device: String,
    /// The write that lost.
    pub op: String,
    /// The write that stands.
    pub winner: String,
    /// Where the lost write was placed in time, Unix milliseconds.
    pub written: i64,
    /// Where the standing write was placed in time, Unix milliseconds.
    pub winner_written: i64,
    /// When it was decided, Unix milliseconds of the server.
    pub at: i64,
    /// The write that brought the value back, if somebody restored it.
    pub restored_by: Option<String>,
}

/// Which losses to read. The default is all of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LossFilter {
    /// Only this collection.
    pub collection: Option<String>,
    /// Only this document.
    pub document: Option<String>,
    /// Only this field; needs a collection.
    pub field: Option<String>,
    /// Only this rule.
    pub rule: Option<LossRule>,
    /// Decided at this time or later, Unix milliseconds.
    pub since: Option<i64>,
    /// Decided before this time.
    pub until: Option<i64>,
    /// Only what is not restored yet, or only what is.
    pub restored: Option<bool>,
    /// Only losses before this one: the id of the last one of the page before.
    pub before: Option<i64>,
}

impl Database {
    /// The loss ledger.
    pub fn ledger(&self) -> Ledger {
        Ledger {
            storage: Arc::clone(self.storage()),
        }
    }
}

impl Ledger {
    /// Losses that pass `filter`, the latest first, at most `limit`.
    ///
    /// # Errors
    /// A collection or field that is not declared; an id that is none; a file that cannot be read.
    pub fn query(&self, filter: &LossFilter, limit: usize) -> Result<Vec<Loss>> {
        let schema = Arc::clone(&self.storage.layout().schema);
        let filter = numbered(&schema, filter)?;
        let entries = self
            .storage
            .with_reader(|tx| ledger::query(tx.conn(), &filter, limit))?;
        Ok(entries
            .into_iter()
            .map(|entry| Loss::of(&schema, entry))
            .collect())
    }

    /// How many losses nobody has restored.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn count(&self) -> Result<u64> {
        Ok(self.storage.with_reader(|tx| ledger::count(tx.conn()))?)
    }

    /// Writes a lost value again, as an ordinary write of now: it has seen what stands, so it wins. A
    /// deleted document is restored with it. Returns the id of the write.
    ///
    /// # Errors
    /// `no_such_loss`: there is none, or it was restored before; `not_restorable`: the schema does not
    /// declare its field any more; `nothing_to_restore`: what is to be done would change nothing, such as
    /// a delete of what is gone; whatever makes the write impossible.
    pub fn restore(&self, id: i64) -> Result<String> {
        let written = self.storage.write_tx(Origin::Local, |tx| {
            let gone = || refused("no_such_loss", "no such loss, or it was restored before");
            let entry = ledger::get(tx.conn(), id)?
                .filter(|entry| entry.restored.is_none())
                .ok_or_else(gone)?;
            let mut write = LocalWrite::new(tx);
            for change in restoring(&mut write, &entry)? {
                write.apply(change)?;
            }
            restore_text(&mut write, &entry)?;
            let nothing = || refused("nothing_to_restore", "the document shows that already");
            let op = write.finish()?.ok_or_else(nothing)?.op;
            ledger::mark_restored(tx, id, op)?;
            Ok::<_, Error>(op.to_string())
        });
        self.storage
            .after_local_write(written.as_ref().is_err_and(Error::is_queue_full));
        written
    }

    /// Deletes losses that were decided before `at` (Unix milliseconds), but not those of writes in
    /// quarantine. Returns how many.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn prune(&self, at: i64) -> Result<u64> {
        Ok(self
            .storage
            .write_tx(Origin::Local, |tx| ledger::prune(tx, at))? as u64)
    }
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ledger")
    }
}

fn refused(code: &'static str, message: &'static str) -> Error {
    Error::other(code, Fault::App, Retry::No, message)
}

/// The changes that bring a value back into the document as it is now.
fn restoring(write: &mut LocalWrite<'_>, entry: &Entry) -> Result<Vec<Change>> {
    let (collection, document) = (entry.loss.collection, &entry.loss.document);
    let untellable = || refused("not_restorable", "the field is not declared any more");
    let kind = match entry.loss.field {
        None => None,
        Some(field) => {
            let declared = write
                .schema()
                .collection_by_id(collection)
                .and_then(|c| c.field_by_id(field));
            Some(declared.ok_or_else(untellable)?.kind)
        }
    };
    let (is_counter, is_set) = (
        kind == Some(FieldKind::Counter),
        kind == Some(FieldKind::Set),
    );
    let is_text = kind.is_some_and(FieldKind::is_text);
    let restoration = entry
        .restoration(is_counter, is_set)
        .ok_or_else(untellable)?;
    let change = |kind| Change::new(collection, document.clone(), kind);
    let alive = write
        .shown(collection, document)?
        .map(|shown| shown.is_alive());
    if restoration == Restoration::Delete {
        return Ok(vec![change(ChangeKind::Delete)]);
    }
    let (mut changes, kind) = match alive {
        None => (Vec::new(), ChangeKind::Insert),
        Some(true) => (Vec::new(), ChangeKind::Update),
        Some(false) => (vec![change(ChangeKind::Restore)], ChangeKind::Update),
    };
    let mut change = change(kind);
    if is_text {
        // What is put into a text is an edit of it, made once the document is there.
        if kind == ChangeKind::Insert {
            changes.push(change);
        }
        return Ok(changes);
    }
    match restoration {
        Restoration::Set(field, value) => drop(change.registers.insert(field, value)),
        Restoration::Increment(field, delta) => drop(change.increments.insert(field, delta)),
        Restoration::Add(field, elements) => drop(change.adds.insert(field, elements)),
        Restoration::Remove(field, elements) => drop(change.removes.insert(field, elements)),
        Restoration::Delete => {}
    }
    changes.push(change);
    Ok(changes)
}

/// Puts lost words back at the end of their text: where they stood may be gone.
fn restore_text(write: &mut LocalWrite<'_>, entry: &Entry) -> Result<()> {
    let (Some(field), Value::Text(words)) = (entry.loss.field, &entry.loss.value) else {
        return Ok(());
    };
    let place = TextPlace {
        collection: entry.loss.collection,
        document: entry.loss.document.clone(),
        field,
    };
    match write
        .tx()
        .layout()
        .table(place.collection)
        .and_then(|table| table.text_kind(field))
    {
        None => Ok(()),
        Some(TextKind::RichText) => {
            let at = write.read_text(&place, |body| body.units())?;
            let change = TextChange::Insert {
                at,
                text: words.clone(),
                attributes: None,
            };
            Ok(write.edit_text(&place, &[change], OffsetUnit::Utf16)?)
        }
        Some(TextKind::List) => {
            let at = write.elements_of(&place)?.len();
            let values = words.lines().map(serde_json::from_str);
            let values = values
                .collect::<std::result::Result<_, _>>()
                .map_err(|_| refused("not_restorable", "the words are no elements of a list"))?;
            let at = u32::try_from(at).unwrap_or(u32::MAX);
            Ok(write.edit_list(&place, vec![ListChange::Insert { at, values }])?)
        }
    }
}

/// The filter in numbers.
fn numbered(schema: &Schema, filter: &LossFilter) -> Result<Filter> {
    let declared = match &filter.collection {
        Some(name) => Some(
            schema
                .collection(name)
                .ok_or_else(|| Error::unknown_collection(name))?,
        ),
        None => None,
    };
    let field = match (&filter.field, declared) {
        (None, _) => None,
        (Some(field), None) => return Err(Error::unknown_field("?", field)),
        (Some(field), Some(collection)) => {
            let known = collection
                .field(field)
                .ok_or_else(|| Error::unknown_field(&collection.name, field))?;
            Some(known.id)
        }
    };
    Ok(Filter {
        collection: declared.map(|collection| collection.id),
        document: filter.document.as_ref().map(DocumentId::new).transpose()?,
        field,
        rule: filter.rule,
        since: filter.since,
        until: filter.until,
        restored: filter.restored,
        before: filter.before,
    })
}

impl Loss {
    fn of(schema: &Schema, entry: Entry) -> Loss {
        let Entry { id, loss, restored } = entry;
        let collection = schema.collection_by_id(loss.collection);
        let field = |field| {
            let declared = collection.and_then(|collection| collection.field_by_id(field));
            declared.map_or_else(|| field.to_string(), |field| field.name.clone())
        };
        Loss {
            id,
            collection: collection.map_or_else(|| loss.collection.to_string(), |c| c.name.clone()),
            document: loss.document.to_string(),
            field: loss.field.map(field),
            rule: loss.rule,
            value: loss.value,
            removed: loss.removed,
            base_value: loss.base_value,
            winner_value: loss.winner_value,
            winner_device: loss.winner_device,
            op: loss.op.to_string(),
            winner: loss.winner.to_string(),
            written: loss.stamp.millis(),
            winner_written: loss.winner_stamp.millis(),
            at: loss.at,
            restored_by: restored.map(|op| op.to_string()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::storage::testing::{Device, Draft, Server, Time, schema};

    fn rejected(draft: Draft) -> (tempfile::TempDir, Device, Server) {
        let (directory, time) = (tempfile::tempdir().unwrap(), Time::new());
        let mut server = Server::new(schema(), time.clone());
        let mut device = Device::open(directory.path(), "d", &time, 1);
        let first = Draft::insert(1, "a").set(1, "first").add("y");
        device.write(&[first]).unwrap();
        device.sync(&mut server);
        let bad = device.write(&[draft]).unwrap();
        server.refuse.insert(bad);
        device.sync(&mut server);
        (directory, device, server)
    }

    fn restore_all(device: &Device) -> Vec<Loss> {
        let ledger = Ledger {
            storage: Arc::clone(&device.storage),
        };
        let losses = ledger.query(&LossFilter::default(), 10).unwrap();
        for loss in &losses {
            ledger.restore(loss.id).unwrap();
            assert_eq!(ledger.restore(loss.id).unwrap_err().code(), "no_such_loss");
        }
        assert_eq!(ledger.count().unwrap(), 0);
        losses
    }

    #[test]
    fn every_kind_of_loss_comes_back_with_one_call() {
        let bad = Draft::update(1, "a")
            .set(1, "mine")
            .count(3)
            .add("x")
            .remove("y");
        let (_directory, mut device, mut server) = rejected(bad);
        assert_eq!(device.value(1, "a", 1), Some("first".into()));
        let losses = restore_all(&device);
        assert_eq!(losses.len(), 4);
        let title = losses
            .iter()
            .find(|loss| loss.field.as_deref() == Some("title"))
            .unwrap();
        assert_eq!(
            (&title.value, &title.base_value),
            (&"mine".into(), &"first".into())
        );
        assert_eq!(
            (title.rule, title.collection.as_str()),
            (LossRule::Rejected, "notes")
        );
        device.sync(&mut server);
        assert_eq!(device.value(1, "a", 1), Some("mine".into()));
        assert_eq!(
            (device.count(1, "a"), device.tags(1, "a")),
            (3, vec!["x".to_owned()])
        );
    }

    #[test]
    fn a_lost_insert_and_a_lost_delete_come_back_as_such() {
        let (_directory, device, _) = rejected(Draft::insert(1, "b").set(1, "whole").count(1));
        assert_eq!(device.shown(1, "b"), None);
        restore_all(&device);
        assert_eq!(
            (device.value(1, "b", 1), device.count(1, "b")),
            (Some("whole".into()), 1)
        );
        let (_directory, device, _) = rejected(Draft::delete(1, "a"));
        assert!(device.shown(1, "a").is_some());
        restore_all(&device);
        assert_eq!(device.shown(1, "a"), None);
    }

    #[test]
    fn a_value_of_a_deleted_document_brings_the_document_back() {
        let (_directory, mut device, mut server) = rejected(Draft::update(1, "a").set(1, "mine"));
        device.write(&[Draft::delete(1, "a")]).unwrap();
        device.sync(&mut server);
        restore_all(&device);
        assert_eq!(device.value(1, "a", 1), Some("mine".into()));
        assert_eq!(device.tags(1, "a"), ["y"], "with the content it had");
    }

    #[test]
    fn filters_by_names_and_refuses_unknown_ones() {
        let (_directory, device, _) = rejected(Draft::update(1, "a").set(1, "mine"));
        let ledger = Ledger {
            storage: Arc::clone(&device.storage),
        };
        let of = |collection: &str, field: Option<&str>| LossFilter {
            collection: Some(collection.to_owned()),
            field: field.map(str::to_owned),
            ..LossFilter::default()
        };
        assert_eq!(
            ledger.query(&of("notes", Some("title")), 10).unwrap().len(),
            1
        );
        assert!(
            ledger
                .query(&of("notes", Some("body")), 10)
                .unwrap()
                .is_empty()
        );
        assert!(ledger.query(&of("plans", None), 10).unwrap().is_empty());
        assert_eq!(
            ledger.query(&of("nothing", None), 10).unwrap_err().code(),
            "unknown_collection"
        );
        assert_eq!(
            ledger
                .query(&of("notes", Some("nothing")), 10)
                .unwrap_err()
                .code(),
            "unknown_field"
        );
        // What is still in quarantine is not pruned away.
        assert_eq!(ledger.prune(i64::MAX).unwrap(), 0);
    }
}
