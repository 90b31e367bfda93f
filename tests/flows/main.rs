//! Whole flows through a real server process.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod accounts;
mod ahead;
mod basics;
mod bootstrap;
mod conflicts;
mod histories;
mod kills;
mod ledger;
mod logs;
mod memory;
mod mixed_up;
mod network;
mod plain_backend;
mod processes;
mod providers;
mod sharing;
mod snapshots;
mod support;
mod text;
mod tls;
mod tokens;
mod transports;
mod verdicts;
