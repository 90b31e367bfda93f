//! The device meets the server: what is sent, what comes, what is applied.

use driftline::{Durability, LossFilter};

use super::{Scenario, Victim, nothing, others, settled};
use crate::crash::world::{Setup, Step, World};

const NORMAL: Setup = Setup {
    durability: Durability::Normal,
    ..Setup::PLAIN
};
const STRICT: Setup = Setup {
    strict: true,
    ..Setup::PLAIN
};
const SNAPSHOTS: Setup = Setup {
    snapshots: true,
    ..Setup::PLAIN
};

/// What others wrote did not come as the 19 versions that it was.
const A_SNAPSHOT: (Victim, &str) = (
    Victim::Device,
    "SELECT max(received) < 19 FROM _dl_sync_runs",
);
/// Of six writes of a field (and the insert of its document) some were sent together, not all.
const JOINED: (Victim, &str) = (
    Victim::Server,
    "SELECT count(*) BETWEEN 3 AND 6 FROM log WHERE touched GLOB '*1,\"a\",*'",
);
const LOSSES: (Victim, &str) = (Victim::Server, "SELECT count(*) > 0 FROM losses");
/// What was tried again is refused again; what was discarded is gone.
const RETRIED: (Victim, &str) = (
    Victim::Device,
    "SELECT count(*) = 1 FROM _dl_outbox WHERE state = 1 AND retry_of IS NOT NULL",
);
const REFUSED_TWICE: (Victim, &str) = (
    Victim::Server,
    "SELECT count(*) >= 2 FROM verdicts WHERE code IS NOT NULL",
);
const WITHDRAWN: (Victim, &str) = (
    Victim::Server,
    "SELECT count(*) > 0 FROM verdicts WHERE code = 'withdrawn'",
);

pub(super) const ALL: &[Scenario] = &[
    Scenario::of_device("push", settled, push),
    Scenario::of_device("push-normal", settled, push).with(NORMAL),
    Scenario::of_device("pull", others_wrote, pull).flipping(),
    Scenario::of_device("joined-between-pages", settled, joined_between_pages).coming_to(&[JOINED]),
    Scenario::of_device("conflicts", contested, conflicts).coming_to(&[LOSSES]),
    Scenario::of_device("ledger", lost, ledger),
    Scenario::of_device("quarantine", settled, quarantine)
        .with(STRICT)
        .coming_to(&[RETRIED, REFUSED_TWICE]),
    Scenario::of_device("quarantined-group", settled, quarantined_group)
        .with(STRICT)
        .coming_to(&[REFUSED_TWICE]),
    Scenario::of_device("withdraw", settled, withdraw).coming_to(&[WITHDRAWN]),
    Scenario::of_device("first-sync", others_only, first_sync),
    Scenario::of_device("snapshot", others_wrote, pull_and_write)
        .with(SNAPSHOTS)
        .coming_to(&[A_SNAPSHOT]),
    Scenario::of_device("history-changed", history_lost, history_changed),
];

fn push(world: &mut World) -> Step {
    world.serve()?;
    world.open()?;
    world.write(10)?;
    world.write(11)?;
    world.sync()?;
    world.write(12)?;
    world.sync()
}

/// Others changed what the device has, and made what it has not.
fn others_wrote(world: &mut World) -> Step {
    settled(world)?;
    world.model.share(&["1/b", "3/q"]);
    others(world, |database| {
        database.write(|tx| tx.update("notes", "b", [("title", "by others")]).map(drop))?;
        database.write(|tx| tx.add_to_set("notes", "b", "tags", ["theirs"]))?;
        database.write(|tx| tx.delete("papers", "q").map(drop))?;
        for number in 0..8 {
            let id = format!("theirs-{number}");
            database.write(|tx| {
                tx.insert_with_id("plans", &id, [("title", "theirs")])?;
                tx.increment("notes", "b", "count", 1)
            })?;
            database.write(|tx| tx.update("plans", &id, [("body", "more")]).map(drop))?;
        }
        Ok(())
    })
}

fn pull(world: &mut World) -> Step {
    world.serve()?;
    world.open()?;
    world.sync()
}

fn pull_and_write(world: &mut World) -> Step {
    world.serve()?;
    world.open()?;
    world.write(10)?;
    world.set(("notes", "a"), "title", "pending over the snapshot")?;
    world.sync()?;
    world.write(11)?;
    world.sync()
}

/// A field is written again and again while requests are under way.
fn joined_between_pages(world: &mut World) -> Step {
    world.serve()?;
    world.open()?;
    world.connect()?;
    for text in ["g", "ge", "gen", "gent", "gento", "gentoo"] {
        world.set(("notes", "a"), "title", text)?;
        if text.len() % 2 == 0 {
            world.sync_for(1)?;
        }
    }
    world.sync()
}

/// Others write, delete and count where the device has unsent writes.
fn contested(world: &mut World) -> Step {
    settled(world)?;
    world.model.share(&["1/b", "2/p", "3/q"]);
    world.write_with(3, "short", |tx| {
        tx.update("notes", "b", [("title", "mine"), ("body", "mine")])?;
        tx.update("plans", "p", [("title", "mine")])?;
        tx.update("papers", "q", [("title", "mine")]).map(drop)
    })?;
    world.write_with(4, "short", |tx| tx.increment("notes", "b", "count", 5))?;
    others(world, |database| {
        database.write(|tx| tx.update("notes", "b", [("title", "theirs")]).map(drop))?;
        database.write(|tx| tx.delete("plans", "p").map(drop))?;
        database.write(|tx| tx.update("papers", "q", [("title", "theirs")]).map(drop))?;
        database.write(|tx| tx.increment("notes", "b", "count", 2))
    })
}

fn conflicts(world: &mut World) -> Step {
    world.serve()?;
    world.open()?;
    world.write_with(10, "short", |tx| {
        tx.update("notes", "b", [("title", "mine again")]).map(drop)
    })?;
    world.sync()
}

/// The device knows what it lost.
fn lost(world: &mut World) -> Step {
    contested(world)?;
    world.sync()
}

fn ledger(world: &mut World) -> Step {
    world.serve()?;
    world.open()?;
    let losses = world.app(|database| database.ledger().query(&LossFilter::default(), 10))?;
    let mut restored = 0;
    for loss in losses.unwrap_or_default().iter().take(2) {
        let done = world.app(|database| database.ledger().restore(loss.id))?;
        restored += u32::from(done.is_some());
    }
    world.comes_to(restored == 2, "restoring what was lost");
    world.sync()?;
    let end_of_time = i64::MAX / 2;
    let pruned = world.app(|database| database.ledger().prune(end_of_time))?;
    world.comes_to(pruned.is_some_and(|rows| rows > 0), "pruning the ledger");
    world.write(10)
}

fn quarantine(world: &mut World) -> Step {
    world.serve()?;
    world.open()?;
    world.write(10)?;
    world.write_refused(11)?;
    world.write_refused(12)?;
    world.sync()?;
    world.retry(11)?;
    world.discard(12)?;
    world.write(13)?;
    world.sync()
}

/// A refused write takes along those that build on it.
fn quarantined_group(world: &mut World) -> Step {
    world.serve()?;
    world.open()?;
    let body = "long ".repeat(100);
    world.write_with(10, &body, |tx| {
        tx.insert_with_id("plans", "opened", [("title", "with a refused write")])
    })?;
    world.write_with(11, "short", |tx| {
        tx.update("plans", "opened", [("title", "builds on it")])
            .map(drop)
    })?;
    world.write(12)?;
    world.sync()?;
    world.discard(10)?;
    world.sync()
}

fn withdraw(world: &mut World) -> Step {
    world.serve()?;
    world.open()?;
    for number in 10..14 {
        world.write(number)?;
    }
    world.discard(11)?;
    world.connect()?;
    // The server has decided, and nobody has heard of it.
    world.answers_take(500);
    world.sync_for(100)?;
    world.discard(12)?;
    world.answers_take(0);
    world.sync()
}

/// The workspace is others' work so far.
fn others_only(world: &mut World) -> Step {
    world.serve()?;
    others(world, |database| {
        for number in 0..10 {
            let id = format!("theirs-{number}");
            database.write(|tx| tx.insert_with_id("notes", &id, [("title", "theirs")]))?;
        }
        database.write(|tx| tx.insert_with_id("notes", "tally", [("title", "tally")]))
    })?;
    nothing(world)
}

fn first_sync(world: &mut World) -> Step {
    world.serve()?;
    world.open()?;
    world.write(0)?;
    world.sync()?;
    world.write(1)?;
    world.sync()
}

/// The server's disk is put back to what it was before the last writes, which some devices saw.
fn history_lost(world: &mut World) -> Step {
    settled(world)?;
    world.server.stop();
    world.backup = world.server.disk.image();
    world.serve()?;
    world.set(("notes", "a"), "title", "seen by a history that is gone")?;
    world.sync()?;
    // It is in the file that is set aside, and nowhere else.
    world.model.share(&["1/a"]);
    world.server.kill();
    let backup = world.backup.clone();
    world.server.disk.restore(&backup);
    Ok(())
}

fn history_changed(world: &mut World) -> Step {
    world.serve()?;
    world.open()?;
    world.write(10)?;
    world.sync()?;
    world.write(11)?;
    world.sync()?;
    let set_aside = |file: &String| file.contains(".aside-");
    let aside = world.device.disk.files().iter().any(set_aside);
    world.comes_to(aside, "setting a copy of the file aside");
    Ok(())
}
