//! What goes into the machine and what comes out.

use crate::id::OpId;

use super::{Cause, Phase};

/// Something happened.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// The app connected or resumed, or this process was elected to sync. Tells what the file holds: unsent ops, and
    /// how far a bootstrap is.
    Started {
        /// Whether ops are queued.
        pending: bool,
        /// A bootstrap left unfinished; a file that never synced starts one.
        bootstrap: Phase,
    },
    /// This process is not elected to sync this file; until [`Event::Started`] it does not.
    Standby {
        /// Why: another process is, or the file could not be written.
        cause: Cause,
    },
    /// A local write was committed.
    LocalWrite,
    /// The app asks for a sync now.
    SyncNow,
    /// The app stops syncing until [`Event::Resume`].
    Pause,
    /// The app resumes after a pause or suspension. It runs for the election first: [`Event::Started`] or
    /// [`Event::Standby`] tells how that ended, and this alone changes nothing.
    Resume,
    /// The app is about to be frozen.
    Suspend,
    /// The app closes the database.
    Close,
    /// The host's word on the network.
    Network {
        /// Whether there is one.
        online: bool,
    },
    /// The app came to the foreground.
    Foreground,
    /// The app went to the background: one sync, then quiet.
    Background,
    /// The moment asked for came, or any other: the machine looks at its clocks.
    Wake,
    /// The callback returned a token.
    Token {
        /// When it expires (monotonic milliseconds), if it says so.
        expires: Option<i64>,
    },
    /// The callback failed.
    NoToken,
    /// The callback returned a token that no request can carry.
    BadToken,
    /// The app has a new token and wants it used.
    TokenChanged,
    /// The request in flight was answered, and the answer applied if it was a page.
    Answered(Answer),
    /// The live socket is open.
    LiveOpened,
    /// The live socket could not be opened, or closed.
    LiveClosed {
        /// The status that refused it; 0 for none.
        status: u16,
        /// The failure's code, if one came.
        code: String,
        /// How long to wait.
        retry_after: Option<u64>,
    },
    /// There is no live socket to be had: the transport, the provider or the server has none.
    LiveNotOffered,
    /// A frame was applied.
    FrameApplied,
    /// A frame does not follow the cursor: something is missing.
    FrameMissed,
    /// A sign of life on the live socket.
    LiveAlive,
    /// A bootstrap became necessary by something else than an answer.
    BootstrapNeeded,
    /// The file took neither the copy nor the beginning of a bootstrap: whatever asked for it will
    /// ask again.
    BootstrapNotBegun,
}

/// The code of a failure of the app's own provider or transport. It never travels.
pub const PROVIDER_FAILED: &str = "provider_failed";

/// How the request in flight ended.
#[derive(Clone, PartialEq, Debug)]
pub enum Answer {
    /// A page came and is applied.
    Page {
        /// Whether the server has more.
        has_more: bool,
        /// Whether ops are left to send.
        sendable: bool,
        /// The server wants a snapshot taken instead.
        take_snapshot: bool,
    },
    /// All documents of a snapshot are stored.
    SnapshotComplete,
    /// The fates are known and base is swapped.
    Swapped {
        /// Whether ops are left to send.
        sendable: bool,
    },
    /// No page came.
    Failed {
        /// The HTTP status; 0 for no answer, 200 for one that is no page.
        status: u16,
        /// The failure's code, if one came.
        code: String,
        /// How long to wait.
        retry_after: Option<u64>,
    },
    /// The page could not be stored.
    StorageFailed,
}

/// What a request is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// Send ops and receive a page.
    Sync,
    /// Receive the documents of a snapshot.
    Snapshot,
    /// Receive what changed since the snapshot was pinned.
    CatchUp,
    /// Ask for the fate of queued and quarantined ops, and swap base.
    AskFates,
}

/// One request to make.
#[derive(Clone, PartialEq, Debug)]
pub struct Plan {
    /// What for.
    pub purpose: Purpose,
    /// How many ops it may carry; 0 for a pure pull.
    pub max_ops: usize,
    /// Ops it must not carry, nor any op that would overtake them on a shared document.
    pub set_aside: Vec<OpId>,
    /// The one op to carry instead.
    pub only: Option<OpId>,
}

/// Something to do.
#[derive(Clone, PartialEq, Debug)]
pub enum Action {
    /// Make this request; report [`Event::Answered`]. [`super::Machine::sent`] must be told which
    /// ops it carries.
    Request(Plan),
    /// Abandon the request in flight.
    Abandon,
    /// Call the token callback; report [`Event::Token`] or [`Event::NoToken`].
    AskToken,
    /// Open the live socket; report [`Event::LiveOpened`] or [`Event::LiveClosed`].
    OpenLive,
    /// Close the live socket.
    CloseLive,
    /// Send a ping.
    Ping,
    /// Turn the op into a withdrawal: its verdict sends it to quarantine.
    Withdraw(OpId),
    /// Copy the file aside, forget verdicts, set base versions of queued ops to 0.
    SetAside,
    /// Begin a bootstrap: forget what was staged before.
    BeginBootstrap,
    /// Commit fully and let go of every file lock.
    Release,
    /// The status changed.
    Report,
}
