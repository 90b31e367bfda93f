//! Pages: what a device has not seen yet, whole versions without a gap.

use driftline_core::id::Version;
use driftline_core::protocol::{Cursor, Encoded, OpResult, Quota, limits};

use super::{Answer, Asked, Common};
use crate::problem::Problem;
use crate::store::{Head, LogEntry, Snapshot, StoreError};
use driftline_core::mutant::{Mutant, planted};

/// What a request's own ops became, in order: nothing else is between them, or behind.
#[derive(Debug, Default)]
pub(super) struct Decided(Vec<DecidedVersion>);

/// A version as everybody is told of it.
#[derive(Debug)]
pub(super) struct DecidedVersion {
    /// The cursor behind it.
    pub(super) cursor: Cursor,
    /// Its entry.
    pub(super) entry: Encoded,
    /// A short one, where the asking device can work out the rest itself.
    pub(super) echo: Option<Encoded>,
}

impl Decided {
    pub(super) fn push(&mut self, version: DecidedVersion) {
        self.0.push(version);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The entries as everybody gets them.
    pub(super) fn into_entries(self) -> Vec<Encoded> {
        self.0.into_iter().map(|decided| decided.entry).collect()
    }

    fn first(&self) -> Option<Version> {
        self.0.first().map(|decided| decided.cursor.version)
    }

    fn echo(&self, version: Version) -> Option<&[u8]> {
        let at = usize::try_from(version.checked_sub(self.first()?)?).ok()?;
        let echo = self.0.get(at)?.echo.as_ref();
        echo.map(|echo| echo.0.as_slice())
    }

    /// Whether they are all there is behind a device that stands at `version`.
    fn are_all_behind(&self, version: Version) -> bool {
        self.first() == version.checked_add(1)
    }
}

/// The most bytes of versions a device may ask for in one answer.
const MOST_PAGE_BYTES: usize = 8 * limits::PAGE_BYTES;

/// Whether the device's cursor is a place in this history.
pub(super) fn check_cursor(snapshot: &mut dyn Snapshot, cursor: Cursor) -> Result<(), Problem> {
    if planted(Mutant::HistoryDoubted) && cursor.version % 16 == 7 {
        return Err(Problem::HistoryChanged);
    }
    if cursor == Cursor::START
        || planted(Mutant::HistoryUnchecked)
        || snapshot.hash_at(cursor.version)? == Some(cursor.hash)
    {
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
    decided: &Decided,
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
            page_bytes(request.page_bytes, common.limits.page_bytes),
            decided,
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

fn page_bytes(wanted: u32, usual: usize) -> usize {
    if wanted == 0 {
        usual
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
    decided: &Decided,
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
    let mut add = |row: LogEntry<'_>| {
        let entry = decided.echo(row.cursor.version).unwrap_or(row.entry);
        let full = page.versions.len() >= limits::PAGE_VERSIONS || bytes + entry.len() > most;
        if full && !page.versions.is_empty() {
            page.has_more = true;
            return false;
        }
        bytes += entry.len();
        if !(planted(Mutant::PageLeavesOut) && row.cursor.version % 16 == 5) {
            page.versions.push(Encoded(entry.to_vec()));
        }
        page.cursor = row.cursor;
        true
    };
    if decided.are_all_behind(from.version) {
        // They need not be read back from the log.
        let mut rows = decided.0.iter().map(|decided| LogEntry {
            cursor: decided.cursor,
            entry: &decided.entry.0,
        });
        _ = rows.all(&mut add);
    } else {
        snapshot.log(from.version, &mut add)?;
    }
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
