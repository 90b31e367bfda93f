//! Telling the app how sync stands: looked up, filled in and published, not oftener than it is worth.

use driftline_core::id::Version;
use driftline_core::mutant::{Mutant, planted};

use super::driver::Driver;
use super::office::Office;

/// Milliseconds within which the status follows what happens often: each write, each piece of a snapshot.
const REPORTS_WITHIN: i64 = 100;

/// Telling the status counts the queue, which takes the longer the more is queued: no more than one part
/// in so many of the time goes into it.
const REPORTS_PART: i64 = 50;

impl Driver {
    pub(super) fn report_if_due(&mut self) {
        if self.report_due {
            self.report();
        }
    }

    /// Has the status told before long, once for all that happens until then.
    pub(super) fn report_soon(&mut self) {
        if planted(Mutant::WritesNotTold) {
            return;
        }
        let within = REPORTS_WITHIN.max(self.report_took * REPORTS_PART);
        let by = self.now() + within;
        self.report_by.get_or_insert(by);
    }

    /// Looks up what the file says, and publishes.
    pub(super) fn report(&mut self) {
        self.clock_offset = self.store.contact().map(|c| c.clock_offset());
        // A file that cannot be read now stands where it stood.
        let version = match self.store.cursor() {
            Ok(cursor) => cursor.version,
            Err(_) => self.shared.status().version,
        };
        self.report_at(version);
    }

    /// Fills in what only the driver knows, and publishes.
    pub(super) fn report_at(&mut self, version: Version) {
        self.report_due = false;
        self.report_by = None;
        let began = self.now();
        let mut status = self.machine.status(began);
        // The elected process makes nearly all changes itself, and hears of the others.
        let counts = match self.office {
            Office::Elected { .. } => self.store.queue(),
            _ => self.store.queue_now(),
        };
        // A file that cannot be read now, one that was let go of, holds what it held.
        (status.pending, status.quarantined) = match counts {
            Ok(queue) => (queue.pending, queue.quarantined),
            Err(_) => self.shared.queued(),
        };
        self.report_took = self.now() - began;
        status.version = version;
        status.last_sync = self.last_sync;
        status.clock_offset_ms = self.clock_offset;
        status.bytes_up = self.bytes_up;
        status.bytes_down = self.received();
        status.quota = self.quota;
        status.bootstrap = (self.machine.phase() != driftline_core::sync::Phase::None)
            .then(|| self.progress.counts());
        self.shared.publish(status);
    }
}
