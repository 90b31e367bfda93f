//! What one server bears. Sizes that both sides must agree on are in `driftline_core::protocol`.

use driftline_core::protocol::limits;

/// Bounds of a server; all can be changed before it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerLimits {
    /// The largest request body in bytes, before and after decompression. Raised at the start to
    /// what the schema's largest op needs.
    pub max_body: usize,
    /// How deep JSON may nest.
    pub max_depth: usize,
    /// Requests a second, for each device, in the long run.
    pub requests_per_second: u32,
    /// Requests a device may make at once after a pause.
    pub burst: u32,
    /// Requests being answered at once; more get `busy`.
    pub concurrent_requests: usize,
    /// Bytes of request bodies in memory at once; more get `busy`.
    pub body_memory: usize,
    /// Connections at once; more wait to be accepted.
    pub connections: usize,
    /// Live sockets of one workspace at once.
    pub live_per_workspace: usize,
    /// Milliseconds a connection may take to send a request's head, idle time included.
    pub header_timeout_ms: u64,
    /// Milliseconds between two pieces of a body.
    pub body_idle_ms: u64,
    /// Milliseconds for a whole body.
    pub body_total_ms: u64,
    /// Milliseconds that the other side may take nothing of what is written to it.
    pub write_idle_ms: u64,
    /// Milliseconds of silence after which a live socket is pinged; devices do it sooner.
    pub heartbeat_ms: u64,
    /// Milliseconds of silence after which a live socket is closed.
    pub live_idle_ms: u64,
    /// Milliseconds a listener may take to accept one frame.
    pub live_send_ms: u64,
    /// Commits that a listener may be behind before it is told to pull instead.
    pub live_backlog: usize,
    /// Milliseconds that requests get to finish after the shutdown signal.
    pub shutdown_timeout_ms: u64,
    /// Versions behind which a device takes a snapshot instead of the log.
    pub far_behind: u64,
    /// Bytes of versions in an answer, where the device does not say how many it wants.
    pub page_bytes: usize,
    /// Bytes of documents in one frame of a snapshot.
    pub snapshot_frame: usize,
    /// Workspaces kept open at once, those in use apart.
    pub open_workspaces: usize,
    /// Milliseconds between an edit of a text and its folding; also between two turns.
    pub fold_after_ms: u64,
    /// Workspaces whose texts are folded at once.
    pub folds_at_once: usize,
}

impl Default for ServerLimits {
    fn default() -> ServerLimits {
        ServerLimits {
            max_body: limits::MAX_BODY,
            max_depth: limits::MAX_DEPTH,
            requests_per_second: 200,
            burst: 1_000,
            concurrent_requests: 1_024,
            body_memory: 256 << 20,
            connections: 10_000,
            live_per_workspace: 5_000,
            header_timeout_ms: 30_000,
            body_idle_ms: 10_000,
            body_total_ms: 120_000,
            write_idle_ms: 30_000,
            heartbeat_ms: 45_000,
            live_idle_ms: 90_000,
            live_send_ms: 20_000,
            live_backlog: 256,
            shutdown_timeout_ms: 10_000,
            far_behind: limits::FAR_BEHIND,
            page_bytes: limits::PAGE_BYTES,
            snapshot_frame: limits::SNAPSHOT_FRAME,
            open_workspaces: 500,
            fold_after_ms: 1_000,
            folds_at_once: 2,
        }
    }
}
