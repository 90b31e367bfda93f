//! Whole flows through a real server process.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod accounts;
mod ahead;
mod basics;
mod bootstrap;
mod conflicts;
mod histories;
mod logs;
mod network;
mod plain_backend;
mod processes;
mod providers;
mod sharing;
mod support;
mod text;
mod tls;
mod transports;
mod verdicts;
