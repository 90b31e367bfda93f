//! What must hold after every step, computed another way than storage does.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

use driftline_core::fold::{Pending, fold_telling};
use driftline_core::id::{CollectionId, DocumentId, OpId, Version};
use driftline_core::merge::{DocumentState, History, Linked, Verdict};
use driftline_core::op::Op;
use driftline_core::text::Mark;

use super::server::{Documents, Key};
use super::{Device, Server, schema};
use crate::storage::StorageError;
use crate::storage::history::{as_of_now, predict};
use crate::storage::outbox::{self, Listed};
use crate::storage::queued::OpState;
use crate::storage::row::StoredDocument;
use crate::storage::text::{self, TextPlace};

/// Every document in the file.
fn stored(device: &Device) -> BTreeMap<Key, StoredDocument> {
    device
        .storage
        .read(|tx| {
            let mut keys: BTreeSet<Key> = BTreeSet::new();
            for collection in &schema().collections {
                let sql = format!("SELECT id FROM _dl_c_{0} UNION SELECT id FROM _dl_tombstones WHERE collection = {0}", collection.id);
                let mut statement = tx.conn().prepare(&sql)?;
                let mut rows = statement.query([])?;
                while let Some(row) = rows.next()? {
                    keys.insert((collection.id, DocumentId::new(row.get::<_, String>(0)?).unwrap()));
                }
            }
            let load = |key: Key| Ok::<_, StorageError>((key.clone(), tx.load(key.0, &key.1)?.unwrap()));
            keys.into_iter().map(load).collect()
        })
        .unwrap()
}

/// Base is the server's state at the cursor; what shows is the queue folded over it.
pub(crate) fn check_device(device: &Device, server: &Server) {
    let cursor = device.cursor();
    let stored = stored(device);
    let base: Documents = stored
        .iter()
        .filter_map(|(key, stored)| Some((key.clone(), stored.base()?)))
        .collect();
    if server.has(cursor) && !(device.is_staging() && cursor.version == 0) {
        assert_eq!(
            &base,
            server.state_at(cursor.version),
            "base is not the server's state at version {}",
            cursor.version
        );
    }
    let shown: Documents = stored
        .iter()
        .map(|(key, stored)| (key.clone(), stored.shown.clone()))
        .collect();
    let expected = folded(device, server, base, cursor.version);
    for (key, state) in &expected {
        let shown = shown.get(key);
        assert_eq!(
            shown,
            Some(state),
            "{key:?} shows something else than its fold"
        );
    }
    for (key, state) in &shown {
        assert!(
            expected.contains_key(key) || !state.is_alive(),
            "{key:?} shows without reason: {state:?}"
        );
    }
    if server.has(cursor) && cursor.version > 0 {
        for (id, body) in device.queue() {
            let named = std::iter::once(id).chain(body.retry_of);
            let mut accepted = named.filter_map(|id| Some(&server.record(id)?.verdict));
            let in_base = |v: &Verdict| matches!(v, Verdict::Accepted(v) if *v <= cursor.version);
            assert!(!accepted.any(in_base), "{id} is in base and in the queue");
        }
    }
    if device.pending().is_empty() {
        let departed: i64 = device
            .storage
            .read(|tx| {
                Ok::<_, StorageError>(tx.conn().query_row(
                    "SELECT count(*) FROM _dl_departed",
                    [],
                    |r| r.get(0),
                )?)
            })
            .unwrap();
        assert_eq!(departed, 0, "links are kept although the queue has drained");
        for (key, stored) in &stored {
            assert!(
                stored.image.is_none() && stored.pending.is_none(),
                "{key:?} differs from base without an op"
            );
        }
    }
}

/// All links this file ever knew, and what the server named up to the cursor.
struct Everything<'a> {
    device: &'a Device,
    server: &'a Server,
    version: Version,
}

impl History for Everything<'_> {
    type Error = Infallible;
    fn linked(
        &mut self,
        op: OpId,
        collection: CollectionId,
        document: &DocumentId,
    ) -> Result<Option<Linked>, Infallible> {
        let Some(body) = self.device.known.get(&op) else {
            return Ok(None);
        };
        let named = self
            .server
            .record(op)
            .filter(|r| matches!(r.verdict, Verdict::Accepted(v) if v <= self.version));
        let landed = named.and_then(|record| record.linked(op, collection, document).landed);
        Ok(Some(Linked {
            prev: body.prev_on(collection, document),
            covers: body.covers.clone(),
            accepted: None,
            landed,
        }))
    }
}

/// The queue folded over base, all documents at once; groups that would be rejected left out.
fn folded(device: &Device, server: &Server, base: Documents, version: Version) -> Documents {
    let (contact, queue) = device
        .storage
        .read(|tx| {
            Ok::<_, StorageError>((
                tx.contact()?,
                outbox::list(tx.conn(), OpId::ZERO, None, usize::MAX)?,
            ))
        })
        .unwrap();
    let contact = as_of_now(contact, device.now());
    let live: Vec<&Listed> = queue
        .iter()
        .filter(|l| l.op.state != OpState::Quarantined && !l.op.body.withdraw)
        .collect();
    let dead: Vec<&Listed> = queue
        .iter()
        .filter(|l| l.op.state == OpState::Quarantined || l.op.body.withdraw)
        .collect();
    let mut keys: BTreeSet<Key> = base.keys().cloned().collect();
    keys.extend(live.iter().flat_map(|l| {
        l.op.body
            .changes
            .iter()
            .map(|c| (c.collection, c.document.clone()))
    }));
    let schema = schema();
    let mut without: BTreeSet<OpId> = BTreeSet::new();
    loop {
        let mut shown = Documents::new();
        let mut refused: BTreeSet<OpId> = BTreeSet::new();
        for key in &keys {
            let (mut pending, mut blocked) = (Vec::new(), Vec::new());
            for listed in live.iter().filter(|l| !without.contains(&l.op.id)) {
                let changes: Vec<_> = listed
                    .op
                    .body
                    .changes
                    .iter()
                    .filter(|c| c.is_on(key.0, &key.1))
                    .cloned()
                    .collect();
                let builds_on_dead = changes.iter().any(|c| {
                    c.generation.is_some_and(|g| {
                        let opens = |l: &&&Listed| {
                            l.op.name() == g
                                && l.op
                                    .body
                                    .changes
                                    .iter()
                                    .any(|c| c.kind.is_opener() && c.is_on(key.0, &key.1))
                        };
                        dead.iter().any(|l| opens(&l)) && !live.iter().any(|l| opens(&l))
                    })
                });
                match (changes.is_empty(), builds_on_dead) {
                    (true, _) => {}
                    (false, true) => blocked.push(listed.op.id),
                    (false, false) => pending.push(Pending {
                        id: listed.op.id,
                        name: listed.op.name(),
                        stamp: predict(listed.op.written, contact.as_ref()),
                        base: listed.op.body.base,
                        covers: listed.op.body.covers.clone(),
                        changes,
                    }),
                }
            }
            let collection = schema.collection_by_id(key.0).unwrap();
            let mut history = Everything {
                device,
                server,
                version,
            };
            let Ok(fold) = fold_telling(collection, base.get(key).cloned(), &pending, &mut history);
            let groups = |id: &OpId| live.iter().any(|l| l.op.id == *id && l.op.is_group());
            refused.extend(fold.refused.into_iter().chain(blocked).filter(groups));
            if let Some(state) = fold.shown {
                shown.insert(key.clone(), state);
            }
        }
        match refused.first() {
            None => return shown,
            Some(oldest) => {
                without.split_off(oldest);
                without.insert(*oldest);
            }
        }
    }
}

/// Every text opens, with all own edits that the document shows; queries see the same unless it is
/// known that they do not yet.
pub(crate) fn check_texts(device: &Device) {
    let stale = device
        .storage
        .read(|tx| text::shown::stale(tx.conn(), usize::MAX))
        .unwrap();
    for (key, stored) in stored(device) {
        if !stored.shown.is_alive() {
            continue;
        }
        for (field, shown) in stored.shown.texts.iter() {
            let place = TextPlace {
                collection: key.0,
                document: key.1.clone(),
                field,
            };
            let (open, seen) = device
                .storage
                .read(|tx| {
                    let opening = text::opening(tx.layout(), &place, 1).unwrap();
                    let open = text::open_stored(tx.conn(), &place, opening, &stored)?;
                    let seen = text::shown::read(tx.conn(), key.0, &key.1, field)?;
                    Ok::<_, StorageError>((open, seen))
                })
                .unwrap();
            let ends = |marks: &[Mark]| -> Vec<(u64, u32, OpId)> {
                marks.iter().map(|m| (m.writer, m.next, m.last)).collect()
            };
            assert_eq!(ends(&open.marks), ends(&shown.marks), "{place:?}");
            if !stale.contains(&place) {
                let mut body = open.body;
                assert_eq!(seen, Some(body.plain().unwrap()), "{place:?}");
            }
        }
    }
}

/// What a person sees of a document.
fn content(state: &DocumentState) -> Option<impl PartialEq + std::fmt::Debug + use<>> {
    let registers: Vec<_> = state
        .registers
        .iter()
        .map(|(f, r)| (f, r.value.clone()))
        .collect();
    let counters: Vec<_> = state
        .counters
        .iter()
        .filter(|(_, n)| **n != 0)
        .map(|(f, n)| (f, *n))
        .collect();
    let sets: Vec<_> = state
        .sets
        .iter()
        .map(|(f, s)| (f, s.elements.keys().cloned().collect::<Vec<_>>()))
        .collect();
    state.is_alive().then_some((registers, counters, sets))
}

fn contents(documents: &Documents) -> BTreeMap<Key, impl PartialEq + std::fmt::Debug + use<>> {
    documents
        .iter()
        .filter_map(|(key, state)| Some((key.clone(), content(state)?)))
        .collect()
}

/// If the device is at the head and nothing of its queue is decided, the server decides what it shows.
pub(crate) fn check_prediction(device: &Device, server: &Server) {
    let listed = device
        .storage
        .read(|tx| outbox::list(tx.conn(), OpId::ZERO, None, usize::MAX))
        .unwrap();
    let pending: Vec<&Listed> = listed
        .iter()
        .filter(|l| l.op.state != OpState::Quarantined)
        .collect();
    let undecided = |l: &&Listed| {
        let ids = std::iter::once(&l.op.id)
            .chain(&l.op.body.covers)
            .chain(&l.op.body.retry_of);
        ids.clone().all(|id| !matches!(server.record(*id), Some(r) if l.op.id == *id || matches!(r.verdict, Verdict::Accepted(_))))
            && !server.refuse.contains(&l.op.id)
    };
    if device.is_staging() || device.cursor() != server.cursor() || !pending.iter().all(undecided) {
        return;
    }
    let contact = as_of_now(
        device.storage.read(|tx| tx.contact()).unwrap(),
        device.now(),
    );
    let mut decided = server.clone();
    for listed in pending {
        let op = Op {
            id: listed.op.id,
            written: listed.op.written,
            body: listed.op.body.clone(),
        };
        decided.decide(op, predict(listed.op.written, contact.as_ref()));
    }
    let shown: Documents = stored(device)
        .into_iter()
        .map(|(key, stored)| (key, stored.shown))
        .collect();
    assert_eq!(
        contents(&shown),
        contents(decided.state_at(decided.version())),
        "the server decides something else than is shown"
    );
}

/// After everybody has synced: all show what the server has, and every op is told its fate.
pub(crate) fn check_healed(devices: &[Device], server: &Server) {
    for device in devices {
        assert_eq!(device.cursor(), server.cursor());
        assert_eq!(device.pending(), [], "the queue has not drained");
        let shown: Documents = stored(device)
            .into_iter()
            .map(|(key, stored)| (key, stored.shown))
            .collect();
        assert_eq!(&shown, server.state_at(server.version()));
        for (key, state) in shown.iter().filter(|(_, state)| state.is_alive()) {
            for (field, _) in state.texts.iter() {
                let text = server.text_at(server.version(), key, field);
                let text = text.map(|mut body| body.plain().unwrap());
                assert_eq!(device.text(key, field), text, "{key:?} field {field}");
            }
        }
        for op in device.quarantined() {
            assert!(
                matches!(server.record(op).unwrap().verdict, Verdict::Rejected(_)),
                "{op} is in quarantine though accepted"
            );
        }
    }
}
