//! Losses on their way to their authors: found by the merge, told with what the author had before.

use std::collections::HashMap;

use driftline_core::id::{CollectionId, DocumentId, FieldId, Version};
use driftline_core::ledger::{Loss, Lost, LostPart};
use driftline_core::merge::{Accepted, DocumentState, Seen, Write};
use driftline_core::op::Op;
use driftline_core::protocol::VersionEntry;
use driftline_core::schema::Schema;
use driftline_core::value::Value;

use super::rows::Rows;
use super::typed::{Typed, unseen};
use crate::store::{DeviceNumber, Origin, StoreError, Transaction};

/// Versions that one request's losses may look back through in all. Beyond them a base value is
/// missing: better than one request that holds up the workspace.
const STEPS: usize = 4_000;

/// The losses of one request.
pub(super) struct Losses {
    device: DeviceNumber,
    now: i64,
    steps_left: usize,
    numbers: HashMap<DeviceNumber, u64>,
}

/// A write that lost, as its author knew the document.
struct Loser {
    device: DeviceNumber,
    seen: Seen,
    /// The last version before it that touched the document.
    previous: Option<Version>,
}

impl Losses {
    /// For a request of `device`.
    pub(super) fn new(device: DeviceNumber, now: i64) -> Losses {
        Losses {
            device,
            now,
            steps_left: STEPS,
            numbers: HashMap::new(),
        }
    }

    /// Stores what `op`, about to become `version`, made somebody lose.
    pub(super) fn find(
        &mut self,
        tx: &mut (dyn Transaction + '_),
        schema: &Schema,
        accepted: &Accepted,
        op: &Op,
        version: Version,
        label: &str,
    ) -> Result<(), StoreError> {
        for (collection, document, lost) in &accepted.lost {
            let key = (*collection, document);
            let touched = accepted
                .documents
                .iter()
                .find(|t| t.collection == *collection && t.document == *document);
            let (before, after) = match touched {
                Some(touched) => (touched.before.clone(), Some(touched.after.clone())),
                None => {
                    let state = tx.document(*collection, document)?;
                    (state.clone(), state)
                }
            };
            let Some(loser) = self.loser(tx, key, lost, op, before.as_ref())? else {
                continue;
            };
            let winner = Winner {
                value: winner_value(lost, after.as_ref()),
                device: if lost.winner.op == op.id {
                    label.to_owned()
                } else {
                    origin(tx, lost.winner)?
                        .map(|o| o.label)
                        .unwrap_or_default()
                },
            };
            let base_value = match &lost.part {
                LostPart::Register(field, _) => self.base_value(tx, key, *field, &loser)?,
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
                let words = unseen(tx, schema, typed, op, &mut self.steps_left)?;
                if words.is_empty() {
                    continue;
                }
                lost.part = LostPart::Text(field, words);
            }
            let lost = &lost;
            let number = self.next_number(tx, loser.device)?;
            let loss = self.loss(number, key, lost, base_value, winner);
            tx.put_loss(loser.device, version, &loss)?;
        }
        Ok(())
    }

    /// Who lost; `None` for a write the log does not have.
    fn loser(
        &self,
        tx: &mut (dyn Transaction + '_),
        (collection, document): (CollectionId, &DocumentId),
        lost: &Lost,
        op: &Op,
        before: Option<&DocumentState>,
    ) -> Result<Option<Loser>, StoreError> {
        let id = lost.loser.op;
        if id == op.id {
            let prev = op.body.prev_on(collection, document);
            let seen = Seen::follow(
                &mut Rows(tx),
                (collection, document),
                id,
                op.body.base,
                prev,
                &op.body.covers,
            )?;
            return Ok(Some(Loser {
                device: self.device,
                seen,
                previous: before.map(|b| b.version),
            }));
        }
        let Some(origin) = origin(tx, lost.loser)? else {
            return Ok(None);
        };
        let linked = tx
            .record(id)?
            .map(|record| record.linked(id, collection, document))
            .unwrap_or_default();
        let seen = Seen::follow(
            &mut Rows(tx),
            (collection, document),
            id,
            origin.base,
            linked.prev,
            &linked.covers,
        )?;
        let previous = tx
            .step(lost.loser.version, collection, document)?
            .and_then(|step| step.previous);
        Ok(Some(Loser {
            device: origin.device,
            seen,
            previous,
        }))
    }

    /// What the author had before writing: the register at the newest version it had seen.
    fn base_value(
        &mut self,
        tx: &mut (dyn Transaction + '_),
        (collection, document): (CollectionId, &DocumentId),
        field: FieldId,
        loser: &Loser,
    ) -> Result<Value, StoreError> {
        let mut at = loser.previous;
        while let Some(version) = at {
            if self.steps_left == 0 {
                break;
            }
            self.steps_left -= 1;
            let Some(step) = tx.step(version, collection, document)? else {
                break;
            };
            if loser.seen.has(step.op, version)
                && let Some(value) = written_at(tx, version, (collection, document), field)?
            {
                return Ok(value);
            }
            at = step.previous;
        }
        Ok(Value::Null)
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

fn origin(tx: &mut (dyn Transaction + '_), write: Write) -> Result<Option<Origin>, StoreError> {
    tx.origin(write.version)
}

/// What a version wrote to a register; `None` if it left it as it was.
fn written_at(
    tx: &mut (dyn Transaction + '_),
    version: Version,
    (collection, document): (CollectionId, &DocumentId),
    field: FieldId,
) -> Result<Option<Value>, StoreError> {
    let Some(bytes) = tx.entry(version)? else {
        return Ok(None);
    };
    let entry: VersionEntry =
        minicbor::decode(&bytes).map_err(|_| StoreError::Damaged("a version".to_owned()))?;
    let result = entry
        .documents
        .into_iter()
        .find(|d| d.collection == collection && d.document == *document);
    Ok(result.and_then(|result| match result.state.value(field) {
        Some(value) => Some(value.clone()),
        // All of the document, and the field is not in it: it had none.
        None => result.whole.then_some(Value::Null),
    }))
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
