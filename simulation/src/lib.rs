//! Driftline under faults: the shipped device library and server in one thread, on simulated disks,
//! clocks and networks.
//!
//! [`crash`] tries every I/O call of many scenarios with every way it can fail. [`world`] lets several
//! devices and a server live through whatever a seed says, judged by [`oracles`] and a [`model`] of
//! the merge. `docs/simulation.md` says how to run both and what they found.

pub mod crash;
pub mod machine;
pub mod model;
pub mod oracles;
mod panics;
pub mod world;
