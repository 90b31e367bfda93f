//! Driftline: an offline-first database for apps.

mod config;
pub mod environment;
mod storage;
pub mod transport;

pub use config::{Config, Durability, HostToken};
