//! The driver: executes what the sync state machine decides, and reports back.
//!
//! One task per connected database. It owns the request in flight, the live socket and the token;
//! everything it learns goes through [`driftline_core::sync::Machine`], and everything it stores
//! through [`crate::storage`]. No transaction is open while it waits for the network.

mod ahead;
mod answers;
mod bootstrap;
mod claims;
mod connect;
mod driver;
mod exchange;
mod frames;
mod live;
mod office;
mod prepared;
mod report;
mod requests;
mod shared;
mod store;
mod token;

pub(crate) use connect::{connect, provider};
pub(crate) use driver::{Connection, Driver};
pub(crate) use shared::{Command, Mailbox, Shared};
