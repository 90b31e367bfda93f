//! Losses on their way to their authors: found by the merge, told with what the author had before.

use std::collections::HashMap;

use driftline_core::id::{CollectionId, DocumentId, FieldId, OpId, Version};
use driftline_core::ledger::{Loss, Lost, LostPart};
use driftline_core::merge::{Accepted, DocumentState, History, Seen, Write};
use driftline_core::op::Op;
use driftline_core::protocol::DocumentResult;
use driftline_core::schema::Schema;
use driftline_core::value::Value;

use super::recent::Recent;
use super::rows::Rows;
use super::typed::{Typed, unseen};
use crate::store::{DeviceNumber, Origin, Snapshot, StoreError, Transaction};

/// The losses of one request.
pub(super) struct Losses {
    device: DeviceNumber,
    now: i64,
    numbers: HashMap<DeviceNumber, u64>,
}

/// A write that lost, as its author knew the document.
struct Loser {
    device: DeviceNumber,
    seen: Seen,
    /// The last version before it that touched the document.
    previous: Option<Version>,
}

/// The op that makes somebody lose.
pub(super) struct Incoming<'o> {
    op: &'o Op,
    /// What it is about to become.
    version: Version,
    /// The label of its device.
    label: &'o str,
    /// Its `prev` on each document.
    links: HashMap<(CollectionId, &'o DocumentId), Option<OpId>>,
}

impl<'o> Incoming<'o> {
    pub(super) fn new(op: &'o Op, version: Version, label: &'o str) -> Incoming<'o> {
        let mut links = HashMap::new();
        for change in &op.body.changes {
            let place = (change.collection, &change.document);
            // The first change of a document links it.
            links.entry(place).or_insert(change.prev);
        }
        Incoming {
            op,
            version,
            label,
            links,
        }
    }

    /// The newest version that it is based on.
    pub(super) fn base(&self) -> Version {
        self.op.body.base
    }

    /// What it had seen of a document.
    pub(super) fn seen(
        &self,
        rows: &mut Rows<'_>,
        place: (CollectionId, &DocumentId),
    ) -> Result<Seen, StoreError> {
        let prev = self.links.get(&place).copied().flatten();
        let behind = self.op.body.stands_for();
        Seen::follow(rows, place, self.op.id, self.base(), prev, &behind)
    }
}

impl Losses {
    /// For a request of `device`.
    pub(super) fn new(device: DeviceNumber, now: i64) -> Losses {
        Losses {
            device,
            now,
            numbers: HashMap::new(),
        }
    }

    /// Stores what an op made somebody lose.
    pub(super) fn find(
        &mut self,
        tx: &mut (dyn Transaction + '_),
        recent: &mut Recent,
        schema: &Schema,
        accepted: &Accepted,
        incoming: &Incoming<'_>,
    ) -> Result<(), StoreError> {
        let documents = accepted.documents.iter();
        let touched: HashMap<_, _> = documents
            .map(|touched| ((touched.collection, &touched.document), touched))
            .collect();
        let op = incoming.op.id;
        for (collection, document, lost) in &accepted.lost {
            let key = (*collection, document);
            let touched = touched.get(&key);
            let (before, after) = match touched {
                Some(touched) => (touched.before.clone(), Some(touched.after.clone())),
                None => {
                    let state = tx.document(*collection, document)?;
                    (state.clone(), state)
                }
            };
            let mut rows = Rows { rows: tx, recent };
            let Some(loser) = self.loser(&mut rows, key, lost, incoming, before.as_ref())? else {
                continue;
            };
            let winner = Winner {
                value: winner_value(lost, after.as_ref()),
                device: if lost.winner.op == op {
                    incoming.label.to_owned()
                } else {
                    origin(rows.rows, lost.winner)?
                        .map(|o| o.label)
                        .unwrap_or_default()
                },
            };
            let base_value = match &lost.part {
                LostPart::Register(field, _) => base_value(&mut rows, key, *field, &loser)?,
                _ => Value::Null,
            };
            let mut lost = lost.clone();
            if let LostPart::Typed(field, writer) = lost.part {
                let typed = Typed {
                    collection: *collection,
                    document,
                    field,
                    writer,
                    newest: lost.loser.version,
                };
                let words = unseen(&mut Rows { rows: tx, recent }, schema, typed, incoming)?;
                if words.is_empty() {
                    continue;
                }
                lost.part = LostPart::Text(field, words);
            }
            let lost = &lost;
            let number = self.next_number(tx, loser.device)?;
            let loss = self.loss(number, key, lost, base_value, winner);
            tx.put_loss(loser.device, incoming.version, &loss)?;
        }
        Ok(())
    }

    /// Who lost; `None` for a write the log does not have.
    fn loser(
        &self,
        rows: &mut Rows<'_>,
        place: (CollectionId, &DocumentId),
        lost: &Lost,
        incoming: &Incoming<'_>,
        before: Option<&DocumentState>,
    ) -> Result<Option<Loser>, StoreError> {
        let id = lost.loser.op;
        if id == incoming.op.id {
            return Ok(Some(Loser {
                device: self.device,
                seen: incoming.seen(rows, place)?,
                previous: before.map(|b| b.version),
            }));
        }
        let Some(origin) = origin(rows.rows, lost.loser)? else {
            return Ok(None);
        };
        let linked = rows.linked(id, place.0, place.1)?.unwrap_or_default();
        let seen = Seen::follow(rows, place, id, origin.base, linked.prev, &linked.covers)?;
        let step = rows.step(lost.loser.version, place)?;
        Ok(Some(Loser {
            device: origin.device,
            seen,
            previous: step.and_then(|step| step.previous),
        }))
    }

    /// Numbers grow with the server's time, so that a server restored from a backup does not give
    /// one again that a device has acknowledged.
    fn next_number(
        &mut self,
        tx: &mut (dyn Transaction + '_),
        device: DeviceNumber,
    ) -> Result<u64, StoreError> {
        let last = match self.numbers.get(&device) {
            Some(last) => *last,
            None => tx.last_loss(device)?,
        };
        let number = (last + 1).max(u64::try_from(self.now).unwrap_or(0).saturating_mul(1_000));
        self.numbers.insert(device, number);
        Ok(number)
    }

    fn loss(
        &self,
        number: u64,
        (collection, document): (CollectionId, &DocumentId),
        lost: &Lost,
        base_value: Value,
        winner: Winner,
    ) -> Loss {
        let (field, value, removed) = lost.part.told();
        Loss {
            number,
            collection,
            document: document.clone(),
            field,
            value,
            base_value,
            winner_value: winner.value,
            op: lost.loser.op,
            winner: lost.winner.op,
            stamp: lost.loser.stamp,
            winner_stamp: lost.winner.stamp,
            winner_device: winner.device,
            rule: lost.rule,
            at: self.now,
            removed,
        }
    }
}

struct Winner {
    value: Value,
    device: String,
}

fn origin(rows: &mut dyn Snapshot, write: Write) -> Result<Option<Origin>, StoreError> {
    rows.origin(write.version)
}

/// What the author had before writing: the register at the newest version it had seen.
fn base_value(
    rows: &mut Rows<'_>,
    place: (CollectionId, &DocumentId),
    field: FieldId,
    loser: &Loser,
) -> Result<Value, StoreError> {
    let mut at = loser.previous;
    while let Some(version) = at.filter(|_| !rows.recent.is_spent()) {
        let Some(step) = rows.step(version, place)? else {
            break;
        };
        if loser.seen.has(step.op, version)
            && let Some(result) = rows.result(version, place)?
            && let Some(value) = written(result, field)
        {
            return Ok(value);
        }
        at = step.previous.filter(|previous| *previous < version);
    }
    Ok(Value::Null)
}

/// What a version wrote to a register; `None` if it left it as it was.
fn written(result: &DocumentResult, field: FieldId) -> Option<Value> {
    match result.state.value(field) {
        Some(value) => Some(value.clone()),
        // All of the document, and the field is not in it: it had none.
        None => result.whole.then_some(Value::Null),
    }
}

fn winner_value(lost: &Lost, after: Option<&DocumentState>) -> Value {
    let LostPart::Register(field, _) = &lost.part else {
        return Value::Null;
    };
    after
        .filter(|state| state.is_alive())
        .and_then(|state| state.value(*field))
        .cloned()
        .unwrap_or_default()
}
