//! The rules that can be broken, and the steps that can be taken.

use super::write::Write;

macro_rules! rules {
    ($($(#[$doc:meta])* $name:ident),*) => {
        /// The rules of the design, each of which can be broken to see that it is needed.
        #[derive(Clone, Copy, Debug)]
        pub(crate) struct Rules { $($(#[$doc])* pub(crate) $name: bool),* }
        impl Rules {
            /// All of them hold.
            pub(crate) const DESIGN: Rules = Rules { $($name: true),* };
        }
    };
}

rules! {
    /// An op names the file's previous op on each document.
    prev,
    /// What an op had seen counts, not only stamps.
    seen,
    /// A verdict is recorded and given again.
    once,
    /// Verdicts are recorded for covered ids too.
    covered,
    /// Versions name covered and retried ids.
    names,
    /// The chain hash covers what happened.
    chain,
    /// An op whose `prev` has no verdict yet waits.
    hold,
    /// An op leaves when a page names it, not when it is accepted.
    by_name,
    /// Quarantine is left by name too.
    quarantine_by_name,
    /// A coalesced op takes over the `prev` of the one before.
    take_prev,
    /// Ops coalesce only if no page changed their registers in between.
    unchanged,
    /// The links of departed ops are kept until the queue has drained.
    departed,
    /// A discard is told to the server.
    withdraw,
    /// A withdrawal keeps its `prev`.
    withdraw_prev,
    /// What followed a retry that left by its first id follows what that retry followed.
    relink,
    /// The cursor stands still during a bootstrap.
    still,
    /// A retry names the first id.
    retry_of,
    /// A retry is a new op at the queue's end.
    retry_at_end,
    /// A newer generation of one's own is named before the one in base.
    own_opener,
    /// An edit of a text names the op it follows under its writer.
    after,
    /// Each op says how long before the request it was written.
    age
}

/// What a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// An app writes.
    Write(usize, Write),
    /// The same, and the server will reject the op.
    Poison(usize, Write),
    /// An app writes, and the op may stand for the one before.
    Save(usize, Write),
    /// The queue is sent and answered.
    Push(usize),
    /// The oldest op is sent and answered.
    PushOne(usize),
    /// The queue is sent, decided, and the answer lost.
    PushLost(usize),
    /// The queue is sent and delayed.
    PushLate(usize),
    /// The delayed request arrives; its answer is lost.
    Arrive,
    /// The delayed request arrives and stays, to arrive again.
    ArriveTwice,
    /// Everything behind the cursor is pulled.
    Pull(usize),
    /// One version is pulled.
    PullOne(usize),
    /// A bootstrap is asked for.
    Ask(usize),
    /// It is swapped in.
    Swap(usize),
    /// Y becomes a copy of X.
    Copy,
    /// X is backed up.
    Backup,
    /// X is restored from its backup.
    Revert,
    /// The server is backed up.
    ServerBackup,
    /// It is restored.
    ServerRestore,
    /// The app retries the oldest quarantined op.
    Retry(usize),
    /// The app discards the queue's op at a place.
    Discard(usize, usize),
    /// The app gives up the oldest quarantined op.
    GiveUp(usize),
    /// The wall clock is set an hour ahead.
    ClockAhead(usize),
    /// The wall clock is set two hours back.
    ClockBack(usize),
    /// The device restarts.
    Reboot(usize),
}
