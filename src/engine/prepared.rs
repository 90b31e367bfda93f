//! The next push is made ready while the server works on the last: read, encoded and compressed.
//!
//! Only its head waits, with the cursor, until an answer says that it may go out (see [`super::ahead`]).

use driftline_core::id::OpId;
use driftline_core::sync::Plan;
use driftline_core::time::Reading;

use super::driver::{Driver, Flight, Way};
use super::exchange::{self, Packed};
use crate::storage::StorageError;

/// Milliseconds for which what was made ready holds: its ops say how long before the request's readings
/// they were written, so the server places them later by as much.
const HOLDS: i64 = 100;

/// The ops of a push that nobody has asked for yet.
pub(super) struct Prepared {
    plan: Plan,
    /// The last op of the push that it follows.
    behind: OpId,
    pub(super) sent: Vec<OpId>,
    pub(super) ops: Packed,
    /// Bytes of its ops.
    pub(super) bytes: usize,
    /// What the ops' ages are told from.
    pub(super) contact: Reading,
}

impl Driver {
    /// Notes what the push in `flight` may be followed by.
    pub(super) fn will_prepare(&mut self, flight: &Flight) {
        self.prepared = None;
        // What goes over the socket is little, and rarely followed by more.
        let is_long = matches!(flight.way, Way::Http(_)) && flight.sent.len() > 1;
        self.prepare_behind = flight.sent.iter().max().copied().filter(|_| is_long);
    }

    /// Makes the next push ready, if there is to be one.
    pub(super) fn prepare_if_due(&mut self) {
        let Some(behind) = self.prepare_behind.take() else {
            return;
        };
        match self.prepare(behind) {
            Ok(prepared) => self.prepared = prepared,
            // The same is tried again when the answer is there.
            Err(error) => tracing::debug!(%error, "no push is made ready"),
        }
    }

    fn prepare(&self, behind: OpId) -> Result<Option<Prepared>, StorageError> {
        let Some(plan) = self.machine.ahead(self.now()) else {
            return Ok(None);
        };
        let batch = self.store.hand_out_also(&self.wanted(&plan, behind))?;
        let contact = self.connection.environment.clock.read();
        let entries = exchange::entries(&batch, &self.accepted, contact);
        let bytes = entries.iter().map(|op| op.0.len()).sum();
        let packed = self.codec.pack(&entries).filter(|_| !batch.is_empty());
        Ok(packed.map(|ops| Prepared {
            plan,
            behind,
            sent: batch.iter().map(|op| op.id).collect(),
            ops,
            bytes,
            contact,
        }))
    }

    /// What was made ready, if it is what `plan` asks for behind `answered`.
    pub(super) fn take_prepared(&mut self, plan: &Plan, answered: OpId) -> Option<Prepared> {
        let now = self.connection.environment.clock.read();
        let prepared = self.prepared.take()?;
        let age = now.mono.saturating_sub(prepared.contact.mono);
        let holds = now.boot == prepared.contact.boot && (0..=HOLDS).contains(&age);
        (holds && prepared.behind == answered && prepared.plan == *plan).then_some(prepared)
    }
}
