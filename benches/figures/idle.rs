//! An hour at rest with the live socket up, on a simulated machine: the shipped storage, driver and
//! state machine against a server that has nothing to say.

use crate::Outcome;
use crate::bench::{Bench, bytes_on_disk};
use crate::figure::{Figure, Target};
use crate::ours::Ours;
use crate::simulated::{Machine, Network};

/// The first sync, the socket and everything that follows a start have settled by then.
const SETTLING: i64 = 10 * 60 * 1_000;
const HOUR: i64 = 60 * 60 * 1_000;

pub(super) fn measure(bench: &Bench) -> Outcome<Vec<Figure>> {
    let room = bench.room()?;
    let path = room.file("ours");
    let (machine, network) = (Machine::default(), Network::default());
    let traffic = network.traffic();
    let ours = Ours::simulated(&path, &machine, network)?;
    ours.connect_simulated()?;
    machine.pass(SETTLING);
    if traffic.requests() == 0 {
        return Err("the device has not spoken to the server".into());
    }

    let (timers, pings, requests) = (machine.timers_fired(), traffic.pings(), traffic.requests());
    let bytes = bytes_on_disk(&path);
    machine.pass(HOUR);
    let timers = (machine.timers_fired() - timers) as f64;
    let pings = (traffic.pings() - pings) as f64;
    let requests = (traffic.requests() - requests) as f64;
    let grown = bytes_on_disk(&path) as f64 - bytes as f64;
    if pings == 0.0 {
        return Err("the live socket is not up".into());
    }
    Ok(vec![
        Figure::of(
            "idle_timers",
            "1/h",
            &[timers],
            &[pings],
            Target::RatioAtMost(1.0),
        ),
        Figure::of(
            "idle_requests",
            "1/h",
            &[requests],
            &[],
            Target::AtMost(0.0),
        ),
        Figure::of("idle_growth", "B", &[grown], &[], Target::AtMost(0.0)),
    ])
}
