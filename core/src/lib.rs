//! The pure half of Driftline: everything a device and a server must agree on.
//!
//! Nothing in this crate does I/O, reads a clock, spawns a task or draws a random number; time,
//! ids and seeds are passed in. That is what lets both sides, the tests and a simulation run the
//! same code and get the same answer.
//!
//! Reading order: [`schema`] says what a document may hold, [`value`] what a field may hold,
//! [`op`] what a write looks like, [`time`] where it stands in time, [`merge`] who wins, [`fold`]
//! what a device shows, [`text`] how people write together, [`ledger`] what was overwritten,
//! [`protocol`] how it travels and [`sync`] when.

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

pub mod digest;
pub mod environment;
pub mod fold;
pub mod id;
pub mod ledger;
pub mod merge;
#[doc(hidden)]
pub mod mutant;
pub mod op;
pub mod order_key;
pub mod protocol;
pub mod schema;
pub mod sync;
pub mod text;
pub mod time;
pub mod value;
