//! What a device is told and what it answers: one JSON object a line.

use serde::{Deserialize, Serialize};

/// The schema of every device and of the server.
pub(crate) const SCHEMA: &str = r#"
[schema]
name = "chaos"
version = 1

# One row a transaction, written by it: says which transactions took effect.
[collections.journal]
id = 1

[collections.journal.fields]
board = { id = 1, kind = "integer" }
read = { id = 2, kind = "text" }

# Everybody writes to these.
[collections.boards]
id = 2
on_conflict_delete = "update_wins"

[collections.boards.fields]
headline = { id = 1, kind = "text" }
votes = { id = 2, kind = "counter" }
tags = { id = 3, kind = "set" }

# One a device, set again and again: the writes that join in the queue.
[collections.meters]
id = 3

[collections.meters.fields]
value = { id = 1, kind = "integer" }

# A device's own: inserted, changed, deleted, inserted again.
[collections.drafts]
id = 4

[collections.drafts.fields]
body = { id = 1, kind = "text" }
"#;

/// One change within a transaction. What it writes follows from the device's name and the
/// transaction's number, so no two writes are alike.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Act {
    /// Counts up or down on a board.
    Vote { board: u64, by: i64 },
    /// Writes a board's headline; the journal says which headline was read before.
    Headline { board: u64 },
    /// Adds an element to a board's set.
    Tag { board: u64 },
    /// Removes the element that the device's own transaction `number` added.
    Untag { board: u64, number: u64 },
    /// Inserts or changes one of the device's drafts.
    Draft { slot: u64 },
    /// Deletes one.
    Erase { slot: u64 },
    /// Sets the device's meter. Alone in its transaction, without a row in the journal: so it joins.
    Meter,
}

/// What a device is told.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    Connect {
        url: String,
        token: String,
    },
    Write {
        number: u64,
        acts: Vec<Act>,
    },
    /// Sync now, without waiting for it.
    Sync,
    /// Which of these transactions are not in the file?
    Missing {
        numbers: Vec<u64>,
    },
    /// Wait until everything is sent and received, without asking for it.
    Wait {
        timeout_ms: u64,
    },
    /// Sync until everything is.
    Settle {
        timeout_ms: u64,
    },
    Close,
}

/// What it answers.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// The file is open.
    Ready,
    /// The transaction is committed.
    Written {
        number: u64,
    },
    Missing {
        numbers: Vec<u64>,
    },
    Settled {
        settled: bool,
        state: String,
    },
    Done,
    Failed {
        order: String,
        code: String,
        message: String,
    },
}

/// The text that a device's transaction writes.
pub(crate) fn mark(device: &str, number: u64) -> String {
    format!("{device}:{number}")
}

/// The id of its row in the journal.
pub(crate) fn journal_id(device: &str, number: u64) -> String {
    format!("{device}-{number}")
}

/// The id of a board.
pub(crate) fn board_id(board: u64) -> String {
    format!("board-{board}")
}

/// The id of a device's draft.
pub(crate) fn draft_id(device: &str, slot: u64) -> String {
    format!("{device}-{slot}")
}
