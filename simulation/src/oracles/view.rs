//! What lies in a device's file, as somebody else reads it.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use driftline_core::id::{CollectionId, OpId};
use driftline_core::merge::DocumentState;
use driftline_core::op::OpBody;
use driftline_core::protocol::Cursor;

/// A document's place.
pub type Key = (CollectionId, String);

/// Documents by place.
pub type Documents = BTreeMap<Key, Rc<DocumentState>>;

/// A device's file at a moment.
#[derive(Clone, Debug, Default)]
pub struct FileView {
    /// Where it stands.
    pub cursor: Cursor,
    /// Whether it is receiving a new base.
    pub staging: bool,
    /// The queue and the quarantine, the oldest first.
    pub queue: Vec<Queued>,
    /// What the server said.
    pub base: Documents,
    /// What the app sees, deleted documents included.
    pub shown: Documents,
    /// Documents that differ from base or have pending ops, by what the file says.
    pub pending: usize,
    /// Ops that left and whose links are kept, by document.
    pub departed: BTreeSet<(OpId, Key)>,
    /// The newest id it drew.
    pub newest: Option<OpId>,
    /// What its text is written under.
    pub writer: Option<u64>,
    /// Whether it knows a token of its host.
    pub host_token: bool,
    /// The greatest number of a loss that it has received.
    pub losses_ack: u64,
}

/// An op in the outbox.
#[derive(Clone, Debug, PartialEq)]
pub struct Queued {
    /// Its id.
    pub id: OpId,
    /// Where it stands.
    pub state: QueueState,
    /// What it says.
    pub body: Rc<OpBody>,
}

/// Where an op stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueState {
    /// To be sent or named, and shown.
    Pending,
    /// Refused.
    Quarantined,
    /// Taken back.
    Withdrawing,
    /// To be sent or named, and not shown: it would be shown by half.
    Hidden,
}

impl FileView {
    /// Whether an op is in the outbox.
    pub fn holds(&self, id: OpId) -> bool {
        self.queue.iter().any(|queued| queued.id == id)
    }

    /// The ops that are shown, the oldest first.
    pub fn shown_ops(&self) -> impl DoubleEndedIterator<Item = &Queued> {
        let shown = |queued: &&Queued| queued.state == QueueState::Pending;
        self.queue.iter().filter(shown)
    }

    /// Ops that are not in quarantine.
    pub fn undecided(&self) -> usize {
        let waits = |queued: &&Queued| queued.state != QueueState::Quarantined;
        self.queue.iter().filter(waits).count()
    }
}
