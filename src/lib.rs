//! Driftline: an offline-first database for apps.

pub mod environment;
pub mod transport;
