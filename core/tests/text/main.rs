//! Text as devices and the server handle it: written, let through, merged, taken back.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bodies;
mod bytes;
mod hostile;
mod mutants;
mod random;
mod world;
