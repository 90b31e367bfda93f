//! Driftline under faults: the shipped device library and server in one thread, on simulated disks,
//! clocks and networks.
//!
//! [`crash`] tries every I/O call of many scenarios with every way it can fail. `docs/simulation.md`
//! says how to run it and what it found.

pub mod crash;
pub mod machine;
