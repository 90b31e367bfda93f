//! What sync is doing, and what happened: the status and the typed event stream.

pub use driftline_core::sync::{Cause, State, Status};

use driftline_core::value::Value;
use serde::Serialize;

/// Something that happened while syncing. Delivered in order to every subscriber.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum SyncEvent {
    /// A request with ops is about to leave.
    PushStarted {
        /// How many ops.
        ops: usize,
        /// How many bytes, before compression.
        bytes: usize,
    },
    /// The server answered a request with ops. What it neither accepted nor rejected is sent again.
    PushFinished {
        /// Ops of this request that it accepted.
        accepted: usize,
        /// Ops of this request that it rejected; they are in quarantine.
        rejected: usize,
    },
    /// The server rejected an op.
    Rejected {
        /// The op's id.
        op: String,
        /// The stable code.
        code: String,
    },
    /// Versions of the server were applied.
    Pulled {
        /// How many versions.
        versions: usize,
        /// How many documents changed.
        documents: usize,
        /// Whether they came over the live socket.
        live: bool,
    },
    /// A value of this device met one of another, and neither had seen the other.
    Conflict {
        /// The collection.
        collection: String,
        /// The document.
        document: String,
        /// The field.
        field: String,
        /// What this device had written.
        local: Value,
        /// What came from the server.
        remote: Value,
        /// What stands.
        winner: Value,
    },
    /// Losses of this device's writes arrived; see the ledger.
    Lost {
        /// How many.
        losses: usize,
    },
    /// A bootstrap went on.
    Progress {
        /// Documents received.
        documents: u64,
        /// Documents expected, about.
        expected: u64,
    },
    /// A try failed; the next is armed.
    Retry {
        /// Why.
        cause: Cause,
        /// Milliseconds until the next try.
        in_ms: i64,
    },
    /// The queue is full or nearly so; writes are or will be refused.
    ///
    /// Told when the queue becomes four fifths full and for each write that it is too full for, while a
    /// connection is there to be subscribed to (paused or offline too). Without one, a write that does
    /// not fit fails with `queue_full`, and [`Outbox::size`](crate::Outbox::size) says how much is queued.
    Capacity {
        /// Ops queued.
        ops: u64,
        /// Bytes queued.
        bytes: u64,
        /// Whether writes are refused now.
        full: bool,
    },
    /// The workspace's quota passed 80 %.
    Quota {
        /// Bytes used.
        used: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// The server was restored from a backup; the old file was copied here before base was fetched
    /// anew.
    HistoryChanged {
        /// The copy's path.
        copy: String,
    },
    /// The status changed.
    Status(Status),
    /// Something failed that a person should know of.
    Error {
        /// The stable code.
        code: String,
        /// For a person; no user data.
        message: String,
    },
}
