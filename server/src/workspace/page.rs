//! Pages: what a device has not seen yet, whole versions without a gap.

use std::collections::HashMap;

use driftline_core::id::Version;
use driftline_core::protocol::{Cursor, Encoded, OpResult, Quota, limits};

use super::{Answer, Asked, Common};
use crate::problem::Problem;
use crate::store::{Head, Snapshot, StoreError};

/// Short entries for the versions that the asking device can work out itself.
pub(super) type Echoes = HashMap<Version, Vec<u8>>;

/// The most bytes of versions a device may ask for in one answer.
const MOST_PAGE_BYTES: usize = 8 * limits::PAGE_BYTES;

/// Whether the device's cursor is a place in this history.
pub(super) fn check_cursor(snapshot: &mut dyn Snapshot, cursor: Cursor) -> Result<(), Problem> {
    if cursor == Cursor::START || snapshot.hash_at(cursor.version)? == Some(cursor.hash) {
        Ok(())
    } else {
        Err(Problem::HistoryChanged)
    }
}

/// The answer with what is behind the request's cursor, from the view that the results are from.
pub(super) fn answer(
    snapshot: &mut dyn Snapshot,
    common: &Common,
    asked: &Asked,
    head: Head,
    results: Vec<OpResult>,
    echoes: &Echoes,
    now: i64,
) -> Result<Answer, Problem> {
    let request = &asked.request;
    let take_snapshot = is_far_behind(head, request.cursor, common.limits.far_behind);
    let page = match take_snapshot {
        true => Page {
            versions: Vec::new(),
            cursor: request.cursor,
            has_more: false,
        },
        false => page(
            snapshot,
            request.cursor,
            page_bytes(request.page_bytes),
            echoes,
        )?,
    };
    let (losses, more_losses) = losses(snapshot, asked)?;
    Ok(Answer {
        results,
        versions: page.versions,
        losses,
        cursor: page.cursor,
        has_more: page.has_more || more_losses,
        server_time: now,
        account: asked.account.clone(),
        take_snapshot,
        quota: common.schema.limits.quota.map(|limit| Quota {
            used: head.bytes,
            limit,
        }),
        tag: request.tag,
    })
}

/// Whether a snapshot gets the device to the head sooner than the log.
///
/// Far behind with even more documents, the log is the shorter way, except for a device with
/// nothing. Without that a device whose snapshot took long would be sent for another one.
fn is_far_behind(head: Head, cursor: Cursor, limit: u64) -> bool {
    let behind = head.cursor.version.saturating_sub(cursor.version);
    behind > limit && (cursor.version == 0 || behind > head.documents)
}

fn page_bytes(wanted: u32) -> usize {
    if wanted == 0 {
        limits::PAGE_BYTES
    } else {
        (wanted as usize).min(MOST_PAGE_BYTES)
    }
}

struct Page {
    versions: Vec<Encoded>,
    cursor: Cursor,
    has_more: bool,
}

fn page(
    snapshot: &mut dyn Snapshot,
    from: Cursor,
    most: usize,
    echoes: &Echoes,
) -> Result<Page, StoreError> {
    let start = match from {
        // From now on the device knows which history it is in.
        Cursor::START => Cursor {
            version: 0,
            hash: snapshot.hash_at(0)?.unwrap_or_default(),
        },
        known => known,
    };
    let mut page = Page {
        versions: Vec::new(),
        cursor: start,
        has_more: false,
    };
    let mut bytes = 0;
    snapshot.log(from.version, &mut |row| {
        let entry = echoes
            .get(&row.cursor.version)
            .map_or(row.entry, Vec::as_slice);
        let full = page.versions.len() >= limits::PAGE_VERSIONS || bytes + entry.len() > most;
        if full && !page.versions.is_empty() {
            page.has_more = true;
            return false;
        }
        bytes += entry.len();
        page.versions.push(Encoded(entry.to_vec()));
        page.cursor = row.cursor;
        true
    })?;
    Ok(page)
}

fn losses(
    snapshot: &mut dyn Snapshot,
    asked: &Asked,
) -> Result<(Vec<driftline_core::ledger::Loss>, bool), StoreError> {
    let Some(device) = snapshot.device(&asked.account, &asked.request.device.id)? else {
        return Ok((Vec::new(), false));
    };
    let mut losses = snapshot.losses(device, asked.request.losses_ack, limits::PAGE_LOSSES + 1)?;
    let more = losses.len() > limits::PAGE_LOSSES;
    losses.truncate(limits::PAGE_LOSSES);
    Ok((losses, more))
}
