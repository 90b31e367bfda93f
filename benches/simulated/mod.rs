//! A machine whose time passes when it is told to, and a server that answers at once: an hour at
//! rest takes a moment and holds exactly what the device itself does.

mod executor;
mod network;

pub(crate) use executor::Machine;
pub(crate) use network::Network;
