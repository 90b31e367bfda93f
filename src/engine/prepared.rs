//! The next push is made ready while the server works on the last: read, encoded and compressed.
//!
//! Only its head waits, with the cursor, until an answer says that it may go out (see [`super::ahead`]).
//! The first push of a file is made ready while the server says that it has no documents yet.

use driftline_core::id::OpId;
use driftline_core::sync::{Plan, Purpose};
use driftline_core::time::Reading;

use super::driver::{Driver, Flight, Outcome, Way};
use super::exchange::{self, Packed};
use super::requests::SOCKET_REQUEST_MAX;
use crate::storage::StorageError;

/// Milliseconds for which what was made ready holds: its ops say how long before the request's readings
/// they were written, so the server places them later by as much.
const HOLDS: i64 = 100;

/// The ops of a push that nobody has asked for yet.
pub(super) struct Prepared {
    plan: Plan,
    /// The last op of the push that it follows; zero behind a bootstrap.
    behind: OpId,
    pub(super) sent: Vec<OpId>,
    pub(super) ops: Packed,
    /// Bytes of its ops.
    pub(super) bytes: usize,
    /// What the ops' ages are told from.
    pub(super) contact: Reading,
}

impl Driver {
    /// Notes what `flight` may be followed by.
    pub(super) fn will_prepare(&mut self, flight: &Flight) {
        // What goes over the socket is little, and rarely followed by more.
        let is_long = matches!(flight.way, Way::Http(_)) && flight.sent.len() > 1;
        let behind = match flight.purpose {
            Purpose::Snapshot => Some(OpId::ZERO),
            Purpose::Sync => flight.sent.iter().max().copied().filter(|_| is_long),
            // What was made ready beside the snapshot waits for the end.
            Purpose::CatchUp | Purpose::AskFates => return,
        };
        self.prepared = None;
        self.prepare_behind = behind;
    }

    /// Whether what is made ready still stands behind what a flight brought: a part of a bootstrap by
    /// which no op was decided.
    pub(super) fn stays_prepared(flight: &Flight, outcome: &Outcome) -> bool {
        match outcome {
            Outcome::Snapshot(Ok(())) => true,
            Outcome::Page(Ok(_)) => flight.purpose == Purpose::CatchUp,
            Outcome::Fates(Ok((answers, _))) => answers.is_empty(),
            _ => false,
        }
    }

    /// Forgets what was made ready; nothing is under way then.
    pub(super) fn drop_prepared(&mut self) {
        self.prepared = None;
        self.prepare_behind = None;
        self.store.nothing_in_flight();
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
        let plan = match behind {
            OpId::ZERO => self.machine.behind_bootstrap(self.now()),
            _ => self.machine.ahead(self.now()),
        };
        let Some(plan) = plan else {
            return Ok(None);
        };
        let batch = self.store.hand_out_also(&self.wanted(&plan, behind))?;
        let contact = self.connection.environment.clock.read();
        let entries = exchange::entries(&batch, &self.accepted, contact);
        let bytes: usize = entries.iter().map(|op| op.0.len()).sum();
        // What fits the socket goes there, which may be up by then.
        let is_long = behind != OpId::ZERO || bytes >= SOCKET_REQUEST_MAX;
        let packed = match is_long && !batch.is_empty() {
            true => self.codec.pack(&entries),
            false => None,
        };
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
