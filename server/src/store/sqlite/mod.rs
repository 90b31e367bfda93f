//! The default store: embedded SQLite, one file per workspace and one control file.

mod connection;
mod control;
mod error;
pub(crate) mod inspect;
mod newest;
mod read;
mod texts;
mod workspace;
mod write;

#[cfg(test)]
mod tests;

pub use control::SqliteStore;
