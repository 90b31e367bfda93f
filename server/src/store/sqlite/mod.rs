//! The default store: embedded SQLite, one file per workspace and one control file.

mod connection;
mod control;
mod error;
mod read;
mod workspace;
mod write;

pub use control::SqliteStore;
