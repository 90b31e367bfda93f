//! Every I/O call of many scenarios, and every way it can go wrong.
//!
//! A scenario is a piece of an app's or a server's life. It is run once without faults to list its
//! I/O calls; then once for each call and each [`Point`], from the same disks. After each the machine
//! is put right, and what must hold is checked: the file is sound, what was acknowledged is there,
//! what failed is not, and meeting the server brings everything to it exactly once.

mod app;
mod flipped;
mod model;
mod point;
mod report;
mod run;
mod scenarios;
mod schemas;
mod verify;
mod world;
mod writer;

pub use flipped::Found;
pub use point::{Ending, Point, Spot};
pub use report::{Failure, Report};
pub use run::{Options, enumerate, replay};
pub use scenarios::{Scenario, Victim, all};
