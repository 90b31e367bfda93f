//! The server as devices meet it: over HTTP and WebSocket.
#![allow(clippy::unwrap_used)]

mod auth;
mod bad_input;
mod common;
mod connections;
mod kept;
mod limits;
mod live;
mod local;
mod losses;
mod snapshot;
mod sync;
mod texts;
