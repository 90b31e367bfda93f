//! The machines of a simulation: tasks and time, disks, devices, a server, and what lies between.
//!
//! Everything runs on the thread that drives it, one task at a time, in an order that follows from
//! seeds. What runs is what ships: the device's library and the server get every side effect from
//! the environments that are built here.

mod answer;
mod clock;
mod device;
mod executor;
mod link;
mod network;
mod processes;
mod server;
mod sockets;
mod tasks;
mod tokens;
mod watched;
mod weather;

pub use clock::{DrawnIds, MachineClock};
pub use device::{Device, DeviceOptions};
pub use network::{Network, Stranger, StrangersSocket};
pub use server::{Account, ServerHost, Through, WORKSPACE, file_of, workspace_file};
pub use sockets::{FrameFate, Way};
pub use tasks::{NOBODY, Owner, Tasks};
pub use tokens::TokenTrouble;
pub use weather::{Canned, Fate, Weather};
