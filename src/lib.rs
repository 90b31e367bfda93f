//! Driftline: an offline-first database for apps.
//!
//! An app's data lives in SQLite on the device. Every write commits together with its entry in the
//! outbox, is sent when there is a network, and merges by itself.
//!
//! ```
//! use driftline::{Config, Database, Schema};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let schema = Schema::parse(
//!     r#"
//!     [schema]
//!     name = "field-notes"
//!     version = 1
//!     [collections.notes]
//!     id = 1
//!     [collections.notes.fields]
//!     title = { id = 1, kind = "text", required = true }
//!     seen = { id = 2, kind = "counter" }
//!     "#,
//! )?;
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("notes.db");
//! let db = Database::open(Config::new(path, schema, "antarctica").with_account("ada"))?;
//! let id = db.write(|tx| {
//!     let id = tx.insert("notes", [("title", "Gentoo, 3 chicks")])?;
//!     tx.increment("notes", id.as_str(), "seen", 3)?;
//!     Ok(id)
//! })?;
//! let rows = db.query("SELECT title FROM notes WHERE seen > ?", [2])?;
//! assert_eq!(rows.len(), 1);
//! assert_eq!(db.outbox().size()?.pending, 1);
//! # let _ = id;
//! db.close()?;
//! # Ok(()) }
//! ```
//!
//! [`Database::connect`] begins to sync, [`Sync::events`] and [`Sync::status`] tell what it does,
//! [`Database::outbox`] shows what is queued or was rejected, [`Database::ledger`] what was
//! overwritten unseen.

#![cfg_attr(
    not(test),
    warn(
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice,
        clippy::unreachable
    )
)]

mod account_files;
mod accounts;
mod bulk;
mod config;
mod database;
mod diagnostics;
mod document;
mod engine;
pub mod environment;
mod error;
mod export;
pub mod inspect;
mod ledger;
mod outbox;
mod processes;
pub mod provider;
mod query;
mod status;
mod storage;
mod sync;
mod text;
mod transaction;
pub mod transport;
mod watch;

pub use account_files::find_file;
pub use accounts::{Attached, SignOut, SignedOut, file_for};
pub use bulk::{BulkFailure, NewDocument};
pub use config::{Config, Durability, HostToken};
pub use database::Database;
pub use diagnostics::{Diagnostics, SyncRun};
pub use document::{Document, FieldValue};
pub use driftline_core::id::DocumentId;
pub use driftline_core::schema::{Schema, SchemaError};
pub use driftline_core::sync::Settings as SyncSettings;
pub use driftline_core::text::Side;
pub use driftline_core::value::Value;
pub use error::{Error, Fault, Result, Retry};
pub use ledger::{Ledger, Loss, LossFilter, LossRule};
pub use outbox::{OpState, Outbox, OutboxSize, QueuedChange, QueuedWrite};
pub use provider::{Form, Providers};
pub use query::{Params, Row, Rows};
pub use status::{Cause, State, Status, SyncEvent};
pub use sync::{EventSubscription, Sync, SyncConfig, TokenError, TokenProvider};
pub use text::{
    ElementId, ListElement, Offsets, OpenList, OpenRichText, RichText, TextEdit, TextNews,
    TextSession,
};
pub use transaction::Transaction;
pub use watch::{ChangedRow, Subscription, Update};

#[cfg(test)]
mod tests;

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// So does what the guide for apps says.
#[cfg(doctest)]
#[doc = include_str!("../docs/app.md")]
struct Guide;
