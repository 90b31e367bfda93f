//! The baseline of everything between machines: the same bytes over HTTP or a WebSocket into SQLite,
//! with the same durability, and no rule for conflicts, no history, no account.

mod client;
mod live;
mod server;
mod wire;

pub(crate) use client::Client;
pub(crate) use live::Relay;
pub(crate) use server::Server;

/// Bytes of ops in one request, and of documents in one page; what Driftline uses.
const BATCH: usize = driftline_core::protocol::limits::BATCH_BYTES;
