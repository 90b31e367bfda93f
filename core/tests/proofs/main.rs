//! Proofs of the merge: the schedules that broke earlier designs, all schedules of small worlds,
//! and properties of the pieces, against an in-memory server and device written from the design.
#![allow(clippy::unwrap_used)]

mod world;

mod ablations;
mod examples;
mod properties;
mod schedules;
mod worlds;
