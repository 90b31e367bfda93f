//! Driftline: an offline-first database for apps.

mod config;
mod database;
mod document;
mod engine;
pub mod environment;
mod error;
pub mod inspect;
mod query;
mod status;
mod storage;
mod sync;
mod transaction;
pub mod transport;
mod watch;

pub use config::{Config, Durability, HostToken};
pub use database::{BulkFailure, Database, NewDocument};
pub use document::{Document, FieldValue};
pub use driftline_core::id::DocumentId;
pub use driftline_core::schema::{Schema, SchemaError};
pub use driftline_core::value::Value;
pub use error::{Error, Fault, Result, Retry};
pub use query::{Params, Row, Rows};
pub use status::{Cause, State, Status, SyncEvent};
pub use sync::{EventSubscription, Sync, SyncConfig, TokenError, TokenProvider};
pub use transaction::Transaction;
pub use watch::{ChangedRow, Subscription, Update};

#[cfg(test)]
mod tests;
