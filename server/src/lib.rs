//! Driftline's self-hosted server: where devices meet.
//!
//! A [`Server`] keeps workspaces in a directory and answers devices over HTTP and WebSocket. It puts
//! the ops of a workspace into one order, merges them with the code that devices predict with, and
//! says of each what became of it, after that is durable.
//!
//! Reading order: `store` is where rows are kept, `workspace` decides and reads pages, `http` is
//! what devices talk to, [`auth`] who may.

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

pub mod auth;
pub mod environment;
mod http;
pub mod inspect;
mod limits;
mod problem;
mod server;
pub mod store;
mod texts;
mod workspace;

pub use http::{LocalEnd, LocalSocket};
pub use limits::ServerLimits;
pub use server::{Server, ServerConfig, StartError};
