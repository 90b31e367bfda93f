//! The default store: embedded SQLite, one file per workspace and one control file.

mod beside;
mod connection;
mod control;
mod error;
mod gathered;
pub(crate) mod inspect;
mod log;
mod newest;
mod read;
mod texts;
mod workspace;
mod write;

#[cfg(test)]
mod tests;

pub use control::SqliteStore;
