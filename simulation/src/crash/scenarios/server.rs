//! The server's disk fails; the device is well and goes on trying.

use super::{Scenario, Victim, others, settled};
use crate::crash::world::{Setup, Step, World};

const STRICT: Setup = Setup {
    strict: true,
    ..Setup::PLAIN
};

const SNAPSHOTS: Setup = Setup {
    snapshots: true,
    ..Setup::PLAIN
};

/// A write, and what it was tried again as.
const REFUSED_TWICE: (Victim, &str) = (
    Victim::Server,
    "SELECT count(*) >= 2 FROM verdicts WHERE code IS NOT NULL",
);
const LOSSES: (Victim, &str) = (Victim::Server, "SELECT count(*) > 0 FROM losses");
/// What others wrote did not come as the 20 versions that it was.
const A_SNAPSHOT: (Victim, &str) = (
    Victim::Device,
    "SELECT max(received) < 20 FROM _dl_sync_runs",
);

pub(super) const ALL: &[Scenario] = &[
    Scenario::of_server("server-first-start", unsent, push),
    Scenario::of_server("server-commit", settled, push).flipping(),
    Scenario::of_server("server-verdicts", settled, verdicts)
        .with(STRICT)
        .coming_to(&[REFUSED_TWICE]),
    Scenario::of_server("server-conflicts", contested, push).coming_to(&[LOSSES]),
    Scenario::of_server("server-snapshot", others_wrote, first_sync)
        .with(SNAPSHOTS)
        .coming_to(&[A_SNAPSHOT]),
    Scenario::of_server("server-stop", settled, stop).flipping(),
];

fn unsent(world: &mut World) -> Step {
    world.open()?;
    world.write(0)?;
    world.write(1)
}

fn push(world: &mut World) -> Step {
    world.serve()?;
    world.open()?;
    world.write(10)?;
    world.write(11)?;
    world.sync()?;
    world.write(12)?;
    world.sync()
}

fn verdicts(world: &mut World) -> Step {
    world.serve()?;
    world.open()?;
    world.write_refused(10)?;
    world.write(11)?;
    world.sync()?;
    world.retry(10)?;
    world.write(12)?;
    world.discard(12)?;
    world.sync()
}

fn contested(world: &mut World) -> Step {
    settled(world)?;
    world.model.share(&["1/b", "2/p"]);
    world.write_with(3, "short", |tx| {
        tx.update("notes", "b", [("title", "mine")])?;
        tx.update("plans", "p", [("title", "mine")]).map(drop)
    })?;
    others(world, |database| {
        database.write(|tx| tx.update("notes", "b", [("title", "theirs")]).map(drop))?;
        database.write(|tx| tx.delete("plans", "p").map(drop))
    })
}

/// The device is new; the workspace is not.
fn others_wrote(world: &mut World) -> Step {
    world.serve()?;
    others(world, |database| {
        for number in 0..10 {
            let id = format!("theirs-{number}");
            database.write(|tx| tx.insert_with_id("notes", &id, [("title", "theirs")]))?;
            database.write(|tx| tx.update("notes", &id, [("body", "more")]).map(drop))?;
        }
        Ok(())
    })
}

fn first_sync(world: &mut World) -> Step {
    world.serve()?;
    world.open()?;
    world.sync()?;
    world.write(0)?;
    world.sync()
}

fn stop(world: &mut World) -> Step {
    push(world)?;
    world.server.stop();
    world.write(13)
}
