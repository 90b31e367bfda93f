//! Taking exported ops into the outbox.

use std::collections::{BTreeMap, BTreeSet};

use driftline_core::id::OpId;
use driftline_core::merge::admit_texts;
use driftline_core::op::{OpBody, Refusal, admit, refusal};
use driftline_core::time::Reading;

use super::error::{Result, StorageError};
use super::outbox::{encoded, insert};
use super::rebase::Rebase;
use super::repeal;
use super::write::WriteTx;

/// An op of an export.
pub(crate) struct Imported {
    pub(crate) id: OpId,
    pub(crate) written: Reading,
    pub(crate) body: OpBody,
}

/// Queues ops under their own ids. Returns how many were not there yet.
///
/// Only into an empty outbox: an op that was written here knows nothing of them, and its links lead
/// past them.
pub(crate) fn import(tx: &WriteTx<'_>, ops: Vec<Imported>) -> Result<u64> {
    if tx.storage().is_guest() {
        return Err(StorageError::OtherIdentity("account"));
    }
    let ops: BTreeMap<OpId, Imported> = ops.into_iter().map(|op| (op.id, op)).collect();
    let queued = repeal::ids(tx.conn())?;
    if queued.iter().any(|id| !ops.contains_key(id)) {
        return Err(StorageError::OutboxNotEmpty);
    }
    let schema = std::sync::Arc::clone(tx.schema());
    let capacity = tx.storage().capacity(tx.conn(), 0)?;
    let mut rebase = Rebase::new(tx)?;
    let (mut taken, mut bytes) = (0, 0);
    let heads: BTreeSet<i64> = ops.keys().map(|id| id.head()).collect();
    if heads.len() < ops.len() {
        let message = "two writes have one place in the queue: exports of two files";
        return Err(Refusal::new(refusal::MALFORMED, message).into());
    }
    for (id, mut op) in ops.into_iter().filter(|(id, _)| !queued.contains(id)) {
        if op.body.schema > schema.version {
            return Err(StorageError::NewerSchema {
                found: op.body.schema,
                declared: schema.version,
            });
        }
        admit(&schema, &mut op.body)?;
        for change in &op.body.changes {
            if let Some(collection) = schema.collection_by_id(change.collection) {
                admit_texts(collection, change)?;
            }
        }
        let body = encoded(&op.body)?;
        bytes += body.len() as u64;
        taken += 1;
        if capacity.ops + taken > capacity.max_ops || capacity.bytes + bytes > capacity.max_bytes {
            return Err(StorageError::QueueFull {
                ops: capacity.ops + taken,
                bytes: capacity.bytes + bytes,
            });
        }
        insert(tx.conn(), id, &body, op.written, op.body.retry_of)?;
        for change in &op.body.changes {
            rebase.append(id, change.collection, &change.document)?;
        }
    }
    rebase.finish()?;
    if taken > 0 {
        tx.touch_queue();
    }
    Ok(taken)
}
