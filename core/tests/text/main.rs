//! Text as devices and the server handle it: written, let through, merged, taken back.
#![allow(clippy::unwrap_used, clippy::expect_used)]
// The tests measure; the crate does not.
#![allow(clippy::disallowed_methods, clippy::disallowed_macros)]

mod again;
mod bodies;
mod bytes;
mod converge;
mod corpus;
mod hostile;
mod lists;
mod mutants;
mod random;
mod staged;
mod undo;
mod world;
