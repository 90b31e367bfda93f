//! A device: a real file, and what the engine holds in memory.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use driftline_core::environment::Clock;
use driftline_core::id::{CollectionId, DocumentId, FieldId, OpId};
use driftline_core::merge::DocumentState;
use driftline_core::op::OpBody;
use driftline_core::protocol::{self, Cursor, SentOp, SnapshotFrame, SyncRequest, SyncResponse};
use driftline_core::time::{Contact, Reading};
use driftline_core::value::Value;

use super::draft::Draft;
use super::server::Key;
use super::{Server, TestClock, Time, environment, schema};
use crate::config::Durability;
use crate::storage::apply::{
    Applied, Page, PageError, Verdicts, apply_answer, apply_page, apply_results,
};
use crate::storage::outbox::{self, Batch};
use crate::storage::text::{self, TextPlace};
use crate::storage::{LocalWrite, OpenOptions, Origin, Storage, StorageError, WriteTx, stage};

/// An answer on its way.
pub(crate) struct Exchange {
    pub(crate) asked_at: Cursor,
    pub(crate) response: SyncResponse,
    pub(crate) contact: Contact,
}

/// One file and its engine's memory.
pub(crate) struct Device {
    pub(crate) storage: Arc<Storage>,
    clock: Arc<TestClock>,
    path: PathBuf,
    /// Accepted, not named yet.
    pub(crate) accepted: HashSet<OpId>,
    /// Every op the file ever held, for the independent check.
    pub(crate) known: HashMap<OpId, OpBody>,
}

impl Device {
    pub(crate) fn open(directory: &Path, name: &str, time: &Time, seed: u64) -> Device {
        let clock = Arc::new(TestClock {
            time: time.clone(),
            skew: AtomicI64::new(0),
            boot: seed as u32,
        });
        let path = directory.join(name);
        let storage = Storage::open(OpenOptions {
            path: path.clone(),
            schema: schema(),
            account: Some("ann".to_owned()),
            workspace: "field".to_owned(),
            device_label: name.to_owned(),
            durability: Durability::Normal,
            host_token: None,
            environment: environment(Arc::clone(&clock), seed),
        })
        .unwrap();
        Device {
            storage: Arc::new(storage),
            clock,
            path,
            accepted: HashSet::new(),
            known: HashMap::new(),
        }
    }

    /// A copy of the file, as a backup makes one.
    pub(crate) fn copy(&self, directory: &Path, name: &str, seed: u64) -> Device {
        let target = directory.join(name);
        let conn = rusqlite::Connection::open(&self.path).unwrap();
        conn.execute("VACUUM INTO ?1", [target.to_str().unwrap()])
            .unwrap();
        // As if it had been made where it is opened: the copy keeps its writer.
        let copied = rusqlite::Connection::open(&target).unwrap();
        let session = "UPDATE _dl_meta SET value = ?1 WHERE key = 'unsettled'";
        copied.execute(session, [seed as u32]).unwrap();
        drop(copied);
        let mut copy = Device::open(directory, name, &self.clock.time, seed);
        copy.known = self.known.clone();
        copy
    }

    fn tx<T>(&self, work: impl FnOnce(&WriteTx<'_>) -> Result<T, StorageError>) -> T {
        self.storage.write_tx(Origin::Local, work).unwrap()
    }

    /// Writes as the app's transaction does; `None` where that refuses.
    pub(crate) fn write(&mut self, drafts: &[Draft]) -> Option<OpId> {
        let written = self.storage.write_tx(Origin::Local, |tx| {
            let mut write = LocalWrite::new(tx);
            for draft in drafts {
                draft.write(&mut write)?;
            }
            write.finish()
        });
        self.remember();
        match written {
            Ok(queued) => queued.map(|queued| queued.op),
            Err(StorageError::Refused(_)) => None,
            Err(other) => panic!("{other}"),
        }
    }

    pub(crate) fn now(&self) -> Reading {
        Clock::read(&*self.clock)
    }

    /// Takes note of everything the queue holds.
    pub(crate) fn remember(&mut self) {
        for (id, body) in self.queue() {
            // A withdrawal has the same links and no content.
            self.known.insert(id, body);
        }
    }

    /// The whole queue with quarantine, in order.
    pub(crate) fn queue(&self) -> Vec<(OpId, OpBody)> {
        let listed = self
            .storage
            .read(|tx| outbox::list(tx.conn(), OpId::ZERO, None, usize::MAX))
            .unwrap();
        listed
            .into_iter()
            .map(|listed| (listed.op.id, listed.op.body))
            .collect()
    }

    pub(crate) fn quarantined(&self) -> Vec<OpId> {
        let listed = self
            .storage
            .read(|tx| outbox::list(tx.conn(), OpId::ZERO, Some(true), usize::MAX))
            .unwrap();
        listed.into_iter().map(|listed| listed.op.id).collect()
    }

    pub(crate) fn pending(&self) -> Vec<OpId> {
        let quarantined = self.quarantined();
        self.queue()
            .into_iter()
            .map(|(id, _)| id)
            .filter(|id| !quarantined.contains(id))
            .collect()
    }

    pub(crate) fn discard(&mut self, op: OpId) -> bool {
        self.tx(|tx| outbox::discard(tx, op)).is_some()
    }

    pub(crate) fn retry(&mut self, op: OpId) -> Option<Vec<OpId>> {
        let ids = self.tx(|tx| outbox::retry(tx, op));
        self.remember();
        ids
    }

    pub(crate) fn withdraw_undeliverable(&mut self, op: OpId) -> bool {
        self.tx(|tx| outbox::withdraw_undeliverable(tx, op))
    }

    pub(crate) fn cursor(&self) -> Cursor {
        self.storage.read(|tx| tx.cursor()).unwrap()
    }

    pub(crate) fn is_staging(&self) -> bool {
        self.storage
            .read(|tx| stage::status(tx.conn()))
            .unwrap()
            .is_some()
    }

    pub(crate) fn request(&mut self, max_ops: usize) -> SyncRequest {
        self.request_at(self.cursor(), max_ops)
    }

    fn request_at(&mut self, cursor: Cursor, max_ops: usize) -> SyncRequest {
        let now = self.now();
        let batch = Batch {
            max_ops,
            max_bytes: 1 << 20,
            accepted: &self.accepted,
            set_aside: &[],
            only: None,
            behind: OpId::ZERO,
        };
        let choose = || {
            let queued = self
                .storage
                .read(|tx| outbox::next_batch(tx.conn(), &batch))?;
            let ids = queued.iter().map(|op| op.id).collect();
            Ok((queued, ids))
        };
        let queued = self.storage.hand_out(choose).unwrap();
        let ops = queued.into_iter().map(|op| match op.body.is_empty() {
            true => SentOp::Named(op.id),
            // The bytes as they are spliced into a real request.
            false => {
                let entry =
                    SentOp::encode_around(op.id, protocol::When::of(op.written, now), &op.body);
                minicbor::decode(&entry).unwrap()
            }
        });
        SyncRequest {
            protocol: protocol::PROTOCOL,
            schema_version: 1,
            account: "ann".to_owned(),
            device: protocol::Device::default(),
            cursor,
            losses_ack: 0,
            now,
            ops: ops.collect(),
            page_bytes: 0,
            tag: 0,
        }
    }

    /// Sends, and returns the answer without taking it; `None` for another history.
    pub(crate) fn send(
        &mut self,
        server: &mut Server,
        max_ops: usize,
        most: usize,
    ) -> Option<Exchange> {
        let request = self.request(max_ops);
        let response = server.answer(&request, most)?;
        let contact = Contact {
            device: request.now,
            server: response.server_time,
        };
        Some(Exchange {
            asked_at: request.cursor,
            response,
            contact,
        })
    }

    /// Takes an answer; if its page does not fit, its results alone.
    pub(crate) fn take(&mut self, exchange: &Exchange) -> Result<Applied, PageError> {
        let Exchange {
            asked_at,
            response,
            contact,
        } = exchange;
        let verdicts = Verdicts {
            asked_at: *asked_at,
            results: &response.results,
        };
        let page = Page {
            from: *asked_at,
            to: response.cursor,
            versions: &response.versions,
        };
        let whole = self.storage.write_tx(Origin::Remote, |tx| {
            apply_answer(tx, verdicts, Some(page), &response.losses, Some(contact))
        });
        let applied = match whole {
            Err(
                PageError::NotAtCursor | PageError::EchoWithoutOp(_) | PageError::Bootstrapping,
            ) => self.storage.write_tx(Origin::Remote, |tx| {
                apply_results(tx, verdicts, &[], Some(contact))
            })?,
            other => other?,
        };
        self.note(&applied);
        Ok(applied)
    }

    fn note(&mut self, applied: &Applied) {
        self.accepted
            .extend(applied.accepted.iter().map(|(id, _)| *id));
        self.accepted
            .retain(|id| !applied.moved.left.contains(id) && !applied.unknown.contains(id));
    }

    /// One whole exchange.
    pub(crate) fn sync(&mut self, server: &mut Server) -> Applied {
        let exchange = self.send(server, 100, 100).unwrap();
        self.take(&exchange).unwrap()
    }

    /// A pull without ops.
    pub(crate) fn pull(&mut self, server: &mut Server, most: usize) -> Applied {
        let exchange = self.send(server, 0, most).unwrap();
        self.take(&exchange).unwrap()
    }

    /// A frame of the live socket.
    pub(crate) fn frame(&mut self, server: &Server, most: usize) -> Result<Applied, PageError> {
        let from = self.cursor();
        let (versions, to) = server.versions(from.version, most);
        let page = Page {
            from,
            to,
            versions: &versions,
        };
        let applied = self
            .storage
            .write_tx(Origin::Remote, |tx| apply_page(tx, page))?;
        self.note(&applied);
        Ok(applied)
    }

    pub(crate) fn begin_bootstrap(&mut self, server: &Server) {
        let cursor = server.cursor();
        self.storage
            .write_tx(Origin::Remote, |tx| {
                stage::begin(tx)?;
                stage::pin(tx, cursor)
            })
            .unwrap();
    }

    /// Receives some of the snapshot, as it is on the server now. Returns whether that was all.
    pub(crate) fn stage_some(&mut self, server: &Server, most: usize) -> bool {
        let status = self
            .storage
            .read(|tx| stage::status(tx.conn()))
            .unwrap()
            .unwrap();
        let behind = |key: &Key| status.last.as_ref().is_none_or(|last| last < key);
        let all = server.snapshot();
        let left: Vec<_> = all
            .into_iter()
            .filter(|d| behind(&(d.collection, d.document.clone())))
            .collect();
        let some = &left[..most.min(left.len())];
        self.storage
            .write_tx(Origin::Remote, |tx| {
                let frame = SnapshotFrame::Documents {
                    documents: some.to_vec(),
                };
                let frame = protocol::compress(&protocol::encode_cbor(&frame));
                let as_it_came = some.len() % 2 == 1;
                stage::add_documents(tx, some, as_it_came.then_some(&frame))?;
                if some.len() == left.len() {
                    stage::documents_complete(tx)
                } else {
                    Ok(())
                }
            })
            .unwrap();
        some.len() == left.len()
    }

    /// Follows the log, asks for fates and swaps.
    pub(crate) fn finish_bootstrap(&mut self, server: &mut Server) -> Applied {
        self.try_to_finish_bootstrap(server).unwrap()
    }

    /// The same, where the swap may be refused.
    pub(crate) fn try_to_finish_bootstrap(
        &mut self,
        server: &mut Server,
    ) -> Result<Applied, PageError> {
        loop {
            let from = self
                .storage
                .read(|tx| stage::status(tx.conn()))
                .unwrap()
                .unwrap()
                .cursor;
            let request = SyncRequest {
                ops: Vec::new(),
                ..self.request_at(from, 0)
            };
            let response = server.answer(&request, 3).unwrap();
            let contact = Contact {
                device: request.now,
                server: response.server_time,
            };
            let page = Page {
                from,
                to: response.cursor,
                versions: &response.versions,
            };
            self.storage
                .write_tx(Origin::Remote, |tx| stage::add_page(tx, page, &contact))
                .unwrap();
            if !response.has_more {
                break;
            }
        }
        let cursor = self
            .storage
            .read(|tx| stage::status(tx.conn()))
            .unwrap()
            .unwrap()
            .cursor;
        let asked = self
            .storage
            .read(|tx| stage::unanswered(tx.conn(), usize::MAX))
            .unwrap();
        let ops = asked.into_iter().map(SentOp::Named).collect();
        let request = SyncRequest {
            ops,
            ..self.request_at(cursor, 0)
        };
        let response = server.answer(&request, 0).unwrap();
        let applied = self
            .storage
            .write_tx(Origin::Remote, |tx| stage::swap(tx, &response.results))?;
        self.note(&applied);
        Ok(applied)
    }

    /// The whole bootstrap.
    pub(crate) fn bootstrap(&mut self, server: &mut Server) -> Applied {
        self.begin_bootstrap(server);
        while !self.stage_some(server, 2) {}
        self.finish_bootstrap(server)
    }

    /// What the document shows.
    pub(crate) fn shown(&self, collection: CollectionId, document: &str) -> Option<DocumentState> {
        let id = DocumentId::new(document).unwrap();
        let stored = self.storage.read(|tx| tx.load(collection, &id)).unwrap();
        stored
            .map(|stored| stored.shown)
            .filter(DocumentState::is_alive)
    }

    /// What a text shows, opened anew from base and the queue.
    pub(crate) fn text(&self, key: &Key, field: FieldId) -> Option<String> {
        let place = TextPlace {
            collection: key.0,
            document: key.1.clone(),
            field,
        };
        let body = self.storage.read(|tx| text::read(tx, &place)).unwrap();
        body.map(|mut body| body.plain().unwrap())
    }

    /// The story of a document as queries see it.
    pub(crate) fn story(&self, collection: CollectionId, document: &str) -> String {
        self.storage.show_texts().unwrap();
        let name = ["notes", "plans"][usize::from(collection) - 1];
        let sql = format!("SELECT story FROM {name} WHERE id = ?1");
        self.storage
            .read(|tx| {
                Ok::<_, StorageError>(tx.conn().query_row(&sql, [document], |row| row.get(0))?)
            })
            .unwrap()
    }

    /// The notes that the full-text index finds by a word.
    pub(crate) fn found(&self, word: &str) -> Vec<String> {
        let sql = "SELECT id FROM notes_search WHERE notes_search MATCH ?1 ORDER BY id";
        self.rows(sql, word)
    }

    fn rows(&self, sql: &str, parameter: &str) -> Vec<String> {
        let rows = self.storage.read(|tx| {
            let mut statement = tx.conn().prepare(sql)?;
            let rows = statement.query_map([parameter], |row| row.get(0))?;
            Ok::<_, StorageError>(rows.collect::<Result<_, _>>()?)
        });
        rows.unwrap()
    }

    /// Notes as `source` has what is searched of them: the view, or the index itself.
    pub(crate) fn searched(&self, source: &str) -> Vec<String> {
        let sql =
            format!("SELECT json_array(id, title, story) FROM {source} WHERE id <> ?1 ORDER BY id");
        self.rows(&sql, "")
    }

    /// A register's value as shown; `None` if the document is not there.
    pub(crate) fn value(
        &self,
        collection: CollectionId,
        document: &str,
        field: u16,
    ) -> Option<Value> {
        self.shown(collection, document)
            .map(|shown| shown.value(field).cloned().unwrap_or_default())
    }

    pub(crate) fn count(&self, collection: CollectionId, document: &str) -> i64 {
        self.shown(collection, document)
            .and_then(|shown| shown.counters.get(3).copied())
            .unwrap_or(0)
    }

    pub(crate) fn tags(&self, collection: CollectionId, document: &str) -> Vec<String> {
        let shown = self.shown(collection, document);
        shown
            .and_then(|s| {
                s.sets
                    .get(4)
                    .map(|set| set.elements.keys().cloned().collect())
            })
            .unwrap_or_default()
    }
}
