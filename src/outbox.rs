//! The outbox as the app sees it: what waits to be sent, what the server rejected, and what can be
//! done about it.

use std::io::Write;
use std::sync::Arc;

use driftline_core::id::OpId;
use driftline_core::op::{Change, FieldMap, Refusal};
use driftline_core::schema::{Collection, Schema};
use driftline_core::value::Value;
use serde::Serialize;
use serde_json::{Map, json};

use crate::database::Database;
use crate::error::{Error, Fault, Result, Retry};
use crate::export;
use crate::storage::outbox::{self, Listed};
use crate::storage::{Origin, Storage};

/// The writes of this device that the server's answers do not contain yet.
#[derive(Clone)]
pub struct Outbox {
    storage: Arc<Storage>,
}

/// Where a queued write stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OpState {
    /// It waits to be sent, or for the server to name it.
    #[default]
    Pending,
    /// A request with it is under way.
    InFlight,
    /// The server rejected it: it does not show, and the app decides what becomes of it.
    Quarantined,
}

/// How much is queued.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct OutboxSize {
    /// Writes that are sent or to be sent.
    pub pending: u64,
    /// Their bytes.
    pub pending_bytes: u64,
    /// Writes in quarantine.
    pub quarantined: u64,
    /// Their bytes.
    pub quarantined_bytes: u64,
    /// When the oldest pending one was written, Unix milliseconds by this device's clock.
    pub oldest: Option<i64>,
}

/// One write in the outbox. The default is an empty one, to be filled in where an app shows or tests with
/// a write that no file has.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct QueuedWrite {
    /// Its id; a UUID.
    pub id: String,
    /// Where it stands.
    pub state: OpState,
    /// When it was written, Unix milliseconds by this device's clock.
    pub written: i64,
    /// Its size.
    pub bytes: usize,
    /// Whether the app discarded it: it shows no more, and waits for the server's word.
    pub discarded: bool,
    /// The id of the write that this one tries again.
    pub retry_of: Option<String>,
    /// Why it is in quarantine: a stable code,
    pub error_code: Option<String>,
    /// and the server's words.
    pub error_message: Option<String>,
    /// What it does, in order.
    pub changes: Vec<QueuedChange>,
}

/// What a queued write does to one document. The default does nothing to none.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct QueuedChange {
    /// The collection's name, or its number where the schema does not declare it.
    pub collection: String,
    /// The document.
    pub document: String,
    /// `insert`, `update`, `delete` or `restore`.
    pub kind: &'static str,
    /// Fields and what is written to them.
    pub fields: Vec<(String, Value)>,
    /// Counters and what is added to them.
    pub increments: Vec<(String, i64)>,
    /// Sets and the elements added.
    pub adds: Vec<(String, Vec<String>)>,
    /// Sets and the elements removed.
    pub removes: Vec<(String, Vec<String>)>,
}

impl Database {
    /// The outbox.
    pub fn outbox(&self) -> Outbox {
        Outbox {
            storage: Arc::clone(self.storage()),
        }
    }
}

impl Outbox {
    /// Counts the queue. The schema's `[limits]` say how much it takes (`max_queue_ops`,
    /// `max_queue_bytes`; what is in quarantine counts too); [`SyncEvent::Capacity`](crate::SyncEvent)
    /// tells a connected app that it is nearly full, and a write that does not fit fails with
    /// `queue_full`, connected or not.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn size(&self) -> Result<OutboxSize> {
        let size = self.storage.with_reader(|tx| outbox::size(tx.conn()))?;
        Ok(OutboxSize {
            pending: size.pending,
            pending_bytes: size.pending_bytes,
            quarantined: size.quarantined,
            quarantined_bytes: size.quarantined_bytes,
            oldest: size.oldest,
        })
    }

    /// Writes behind `after` (an id; `None` from the start) in queue order, at most `limit`.
    ///
    /// # Errors
    /// An id that is none; a file that cannot be read.
    pub fn list(&self, after: Option<&str>, limit: usize) -> Result<Vec<QueuedWrite>> {
        self.page(after, None, limit)
    }

    /// Writes in quarantine behind `after`, the oldest first, at most `limit`.
    ///
    /// # Errors
    /// An id that is none; a file that cannot be read.
    pub fn quarantined(&self, after: Option<&str>, limit: usize) -> Result<Vec<QueuedWrite>> {
        self.page(after, Some(true), limit)
    }

    fn page(
        &self,
        after: Option<&str>,
        quarantined: Option<bool>,
        limit: usize,
    ) -> Result<Vec<QueuedWrite>> {
        let after = after.map_or(Ok(OpId::ZERO), parsed)?;
        let schema = Arc::clone(&self.storage.layout().schema);
        let listed = self
            .storage
            .with_reader(|tx| outbox::list(tx.conn(), after, quarantined, limit))?;
        Ok(listed
            .into_iter()
            .map(|listed| self.described(&schema, listed))
            .collect())
    }

    fn described(&self, schema: &Schema, listed: Listed) -> QueuedWrite {
        let Listed { op, bytes, refusal } = listed;
        let state = match op.is_quarantined() {
            true => OpState::Quarantined,
            false if self.storage.is_in_flight(op.id) => OpState::InFlight,
            false => OpState::Pending,
        };
        let (error_code, error_message) = refusal
            .map(|Refusal { code, message }| (code, message))
            .unzip();
        QueuedWrite {
            id: op.id.to_string(),
            state,
            written: op.written.wall,
            bytes,
            discarded: op.body.withdraw,
            retry_of: op.body.retry_of.map(|id| id.to_string()),
            error_code,
            error_message,
            changes: op
                .body
                .changes
                .iter()
                .map(|change| QueuedChange::of(schema, change))
                .collect(),
        }
    }

    /// Tries a write in quarantine again, as a new one at the queue's end. An insert or restore takes
    /// along the writes that were rejected because they build on it. Returns the new ids.
    ///
    /// # Errors
    /// `not_quarantined`; a file that cannot be written.
    pub fn retry(&self, id: &str) -> Result<Vec<String>> {
        let op = parsed(id)?;
        let retried = self
            .storage
            .write_tx(Origin::Local, |tx| outbox::retry(tx, op))?;
        let ids =
            retried.ok_or_else(|| refused("not_quarantined", "no such write is in quarantine"))?;
        Ok(ids.into_iter().map(|id| id.to_string()).collect())
    }

    /// Takes a write back, pending or in quarantine. What it did disappears at once; whether the
    /// server had accepted it before is settled by its next answer.
    ///
    /// # Errors
    /// `not_queued`: there is no such write, or it was discarded before; a file that cannot be
    /// written.
    pub fn discard(&self, id: &str) -> Result<()> {
        let op = parsed(id)?;
        let discarded = self
            .storage
            .write_tx(Origin::Local, |tx| outbox::discard(tx, op))?;
        discarded
            .map(drop)
            .ok_or_else(|| refused("not_queued", "no such write is in the outbox"))
    }

    /// Writes everything queued and in quarantine to `out`, one JSON object a line, with the names of
    /// the schema, and exactly enough for [`Outbox::import`]. Returns how many. The lines hold what
    /// the user wrote.
    ///
    /// # Errors
    /// A file that cannot be read; what `out` fails with (`export_failed`).
    pub fn export(&self, out: &mut dyn Write) -> Result<u64> {
        export::export(self, out)
    }

    pub(crate) fn storage(&self) -> &Storage {
        &self.storage
    }

    /// A write as a line for people.
    pub(crate) fn line(&self, listed: Listed) -> serde_json::Value {
        let schema = Arc::clone(&self.storage.layout().schema);
        self.described(&schema, listed).line()
    }

    /// Drops everything queued and in quarantine for good; documents show what the server said. For
    /// a sign-out whose user chose so. Returns how many.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn drop_all(&self) -> Result<u64> {
        Ok(self.storage.write_tx(Origin::Local, outbox::drop_all)? as u64)
    }
}

impl std::fmt::Debug for Outbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Outbox")
    }
}

fn refused(code: &'static str, message: &'static str) -> Error {
    Error::other(code, Fault::App, Retry::No, message)
}

fn parsed(id: &str) -> Result<OpId> {
    id.parse()
        .map_err(|_| refused("invalid_id", "the id of a write is a UUID"))
}

impl QueuedChange {
    fn of(schema: &Schema, change: &Change) -> QueuedChange {
        let collection = schema.collection_by_id(change.collection);
        QueuedChange {
            collection: collection
                .map_or_else(|| change.collection.to_string(), |c| c.name.clone()),
            document: change.document.to_string(),
            kind: change.kind.name(),
            fields: named(collection, &change.registers),
            increments: named(collection, &change.increments),
            adds: named(collection, &change.adds),
            removes: named(collection, &change.removes),
        }
    }
}

/// Pairs with the fields' names, or their numbers where the schema does not declare them.
fn named<V: Clone>(collection: Option<&Collection>, map: &FieldMap<V>) -> Vec<(String, V)> {
    let name = |field| {
        let declared = collection.and_then(|collection| collection.field_by_id(field));
        declared.map_or_else(|| field.to_string(), |field| field.name.clone())
    };
    map.iter()
        .map(|(field, value)| (name(field), value.clone()))
        .collect()
}

impl QueuedWrite {
    /// The write as an exported line: pairs become objects, what is empty is left out.
    fn line(&self) -> serde_json::Value {
        let changes: Vec<_> = self.changes.iter().map(QueuedChange::line).collect();
        let mut line = json!({
            "id": self.id,
            "state": if self.state == OpState::Quarantined { "quarantined" } else { "pending" },
            "written": self.written,
            "changes": changes,
        });
        let mut add = |key: &str, value: serde_json::Value| {
            if let Some(object) = line.as_object_mut().filter(|_| !value.is_null()) {
                object.insert(key.to_owned(), value);
            }
        };
        add(
            "discarded",
            if self.discarded {
                json!(true)
            } else {
                json!(null)
            },
        );
        add("retry_of", json!(self.retry_of));
        add("error_code", json!(self.error_code));
        add("error_message", json!(self.error_message));
        line
    }
}

impl QueuedChange {
    fn line(&self) -> serde_json::Value {
        let mut line =
            json!({ "collection": self.collection, "document": self.document, "kind": self.kind });
        let mut add = |key: &str, object: Map<String, serde_json::Value>| {
            if let Some(line) = line.as_object_mut().filter(|_| !object.is_empty()) {
                line.insert(key.to_owned(), object.into());
            }
        };
        add("fields", object(&self.fields));
        add("increments", object(&self.increments));
        add("adds", object(&self.adds));
        add("removes", object(&self.removes));
        line
    }
}

fn object<V: Serialize>(pairs: &[(String, V)]) -> Map<String, serde_json::Value> {
    pairs
        .iter()
        .map(|(name, value)| (name.clone(), json!(value)))
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::storage::testing::{Device, Draft, Server, Time, schema};

    fn rejected() -> (tempfile::TempDir, Device, Server, OpId, OpId) {
        let (directory, time) = (tempfile::tempdir().unwrap(), Time::new());
        let mut server = Server::new(schema(), time.clone());
        let mut device = Device::open(directory.path(), "d", &time, 1);
        device
            .write(&[Draft::insert(1, "a").set(1, "first")])
            .unwrap();
        device.sync(&mut server);
        let bad = Draft::update(1, "a")
            .set(1, "no")
            .count(2)
            .add("x")
            .remove("y");
        let bad = device.write(&[bad]).unwrap();
        server.refuse.insert(bad);
        device.sync(&mut server);
        let good = device
            .write(&[Draft::insert(2, "b").set(1, "waits")])
            .unwrap();
        (directory, device, server, bad, good)
    }

    fn outbox(device: &Device) -> Outbox {
        Outbox {
            storage: Arc::clone(&device.storage),
        }
    }

    #[test]
    fn says_what_waits_what_is_under_way_and_what_was_rejected() {
        let (_directory, mut device, mut server, bad, good) = rejected();
        let outbox = outbox(&device);
        let size = outbox.size().unwrap();
        assert_eq!((size.pending, size.quarantined), (1, 1));
        let listed = outbox.list(None, 10).unwrap();
        assert_eq!(listed.len(), 2);
        assert_eq!(
            (&listed[0].id, listed[0].state),
            (&bad.to_string(), OpState::Quarantined)
        );
        assert_eq!(listed[0].error_code.as_deref(), Some("quota"));
        assert_eq!(
            (&listed[1].id, listed[1].state),
            (&good.to_string(), OpState::Pending)
        );
        assert_eq!(outbox.list(Some(&listed[0].id), 10).unwrap(), listed[1..]);
        assert_eq!(outbox.quarantined(None, 10).unwrap(), listed[..1]);
        let _ = device.send(&mut server, 10, 10);
        assert_eq!(outbox.list(None, 10).unwrap()[1].state, OpState::InFlight);
    }

    #[test]
    fn exports_every_write_with_the_names_of_the_schema() {
        let (_directory, device, _, bad, _) = rejected();
        let mut bytes = Vec::new();
        assert_eq!(outbox(&device).export(&mut bytes).unwrap(), 2);
        let text = String::from_utf8(bytes).unwrap();
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines[0]["id"], bad.to_string());
        assert_eq!(
            (&lines[0]["state"], &lines[0]["error_code"]),
            (&json!("quarantined"), &json!("quota"))
        );
        let expected = json!({
            "collection": "notes", "document": "a", "kind": "update", "fields": { "title": "no" },
            "increments": { "count": 2 }, "adds": { "tags": ["x"] }, "removes": { "tags": ["y"] },
        });
        assert_eq!(lines[0]["changes"], json!([expected]));
        assert_eq!(lines[1]["changes"][0]["kind"], "insert");
    }

    #[test]
    fn retries_and_discards_what_is_there_and_says_what_is_not() {
        let (_directory, device, _, bad, good) = rejected();
        let outbox = outbox(&device);
        let code = |result: Result<()>| result.unwrap_err().code();
        assert_eq!(code(outbox.retry("no uuid").map(drop)), "invalid_id");
        assert_eq!(
            code(outbox.retry(&good.to_string()).map(drop)),
            "not_quarantined"
        );
        let retried = outbox.retry(&bad.to_string()).unwrap();
        assert_eq!(
            outbox.list(None, 10).unwrap()[1].retry_of,
            Some(bad.to_string())
        );
        assert_eq!(device.value(1, "a", 1), Some("no".into()));
        outbox.discard(&retried[0]).unwrap();
        assert_eq!(device.value(1, "a", 1), Some("first".into()));
        assert!(outbox.list(None, 10).unwrap()[1].discarded);
        assert_eq!(code(outbox.discard(&retried[0])), "not_queued");
        assert_eq!(outbox.drop_all().unwrap(), 2);
        assert_eq!(outbox.size().unwrap(), OutboxSize::default());
    }
}
