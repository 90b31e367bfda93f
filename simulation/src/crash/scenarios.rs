//! The scenarios: what a device or a server lives through.

mod device;
mod files;
mod server;
mod sync;
mod texts;

use driftline::Database;

use super::world::{Setup, Step, World, is_settled};

/// Whose disk fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Victim {
    /// The device's.
    Device,
    /// The server's.
    Server,
}

/// A piece of a life, with faults at every I/O call of the victim.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// A short name.
    pub name: &'static str,
    /// Whose disk fails.
    pub victim: Victim,
    pub(super) setup: Setup,
    /// What happened before, without faults.
    pub(super) prepare: fn(&mut World) -> Step,
    /// The device's process was killed then, not ended.
    pub(super) unclean: bool,
    /// What happens now.
    pub(super) run: fn(&mut World) -> Step,
    /// SQL on the file of one of them that says whether it came to what the scenario is about.
    pub(super) comes_to: &'static [(Victim, &'static str)],
    /// Bits are flipped as well.
    pub(super) flips: bool,
}

impl Scenario {
    /// One on the device's disk.
    const fn of_device(
        name: &'static str,
        prepare: fn(&mut World) -> Step,
        run: fn(&mut World) -> Step,
    ) -> Scenario {
        Scenario {
            name,
            victim: Victim::Device,
            setup: Setup::PLAIN,
            prepare,
            unclean: false,
            run,
            comes_to: &[],
            flips: false,
        }
    }

    /// One on the server's disk.
    const fn of_server(
        name: &'static str,
        prepare: fn(&mut World) -> Step,
        run: fn(&mut World) -> Step,
    ) -> Scenario {
        Scenario {
            victim: Victim::Server,
            ..Scenario::of_device(name, prepare, run)
        }
    }

    const fn with(self, setup: Setup) -> Scenario {
        Scenario { setup, ..self }
    }

    /// Without a fault all of this must be true at the end, lest it try something else one day.
    const fn coming_to(self, all: &'static [(Victim, &'static str)]) -> Scenario {
        Scenario {
            comes_to: all,
            ..self
        }
    }

    /// Bits are flipped as well where its process ends.
    const fn flipping(self) -> Scenario {
        Scenario {
            flips: true,
            ..self
        }
    }

    const fn after_a_kill(self) -> Scenario {
        Scenario {
            unclean: true,
            ..self
        }
    }
}

/// All of them.
pub fn all() -> impl Iterator<Item = &'static Scenario> {
    device::ALL
        .iter()
        .chain(files::ALL)
        .chain(sync::ALL)
        .chain(texts::ALL)
        .chain(server::ALL)
}

// What several scenarios begin with.

/// Nothing happened yet.
fn nothing(_: &mut World) -> Step {
    Ok(())
}

/// The device has some documents, and the server has them too.
fn settled(world: &mut World) -> Step {
    world.serve()?;
    world.open()?;
    for number in 0..3 {
        world.write(number)?;
    }
    for (collection, id) in [
        ("notes", "a"),
        ("notes", "b"),
        ("plans", "p"),
        ("papers", "q"),
    ] {
        world.insert(collection, id)?;
    }
    world.sync()
}

/// What somebody else does, on another device, with the server at hand.
fn others(world: &mut World, work: impl FnOnce(&Database) -> driftline::Result<()>) -> Step {
    let mut other = world.other();
    let failed = |error: driftline::Error| unreachable!("nothing fails there: {error}");
    other.start(|_| {});
    other.open().unwrap_or_else(failed);
    other.connect().unwrap_or_else(failed);
    settle(world, &other);
    if let Some(database) = other.database() {
        work(database).unwrap_or_else(failed);
    }
    settle(world, &other);
    other.close().unwrap_or_else(failed);
    Ok(())
}

fn settle(world: &World, device: &crate::machine::Device) {
    if let Some(sync) = device.sync() {
        sync.sync_now();
    }
    let deadline = world.tasks.now() + 60_000;
    let settled = world.tasks.run_until(deadline, || is_settled(device));
    assert_eq!(settled, Ok(true), "nothing is in the way there");
}
