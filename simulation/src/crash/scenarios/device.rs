//! On the device alone: opening, writing, closing.

use driftline::{Durability, NewDocument};

use super::{Scenario, Victim, nothing, settled};
use crate::crash::world::{Setup, Step, World};

const NORMAL: Setup = Setup {
    durability: Durability::Normal,
    ..Setup::PLAIN
};

pub(super) const ALL: &[Scenario] = &[
    Scenario::of_device("first-open", nothing, first_open).flipping(),
    Scenario::of_device("write", settled, write).flipping(),
    Scenario::of_device("group", settled, group),
    Scenario::of_device("write-normal", settled, write_and_flush).with(NORMAL),
    Scenario::of_device("bulk", settled, bulk),
    Scenario::of_device("keystrokes", settled, keystrokes)
        .coming_to(&[(Victim::Device, "SELECT count(*) = 2 FROM _dl_outbox")]),
    Scenario::of_device("deletes", settled, deletes),
    Scenario::of_device("open-after-a-kill", unfinished, open_and_write).after_a_kill(),
    Scenario::of_device("open-after-a-kill-normal", unfinished, open_and_write)
        .with(NORMAL)
        .after_a_kill(),
    Scenario::of_device("close-and-open", settled, close_and_open).flipping(),
    Scenario::of_device("suspend", settled, suspend).with(NORMAL),
    Scenario::of_device("host-token", settled, close_and_open).with(Setup {
        host_token: true,
        ..Setup::PLAIN
    }),
    Scenario::of_device("schema-upgrade", unsent, open_and_write)
        .with(Setup {
            newer_schema: true,
            ..Setup::PLAIN
        })
        .coming_to(&[(
            Victim::Device,
            "SELECT max(version) = 2 FROM _dl_migrations WHERE kind = 'schema'",
        )]),
    Scenario::of_device("drop-all", unsent, drop_all),
    Scenario::of_device("discard", unsent, discard),
];

fn first_open(world: &mut World) -> Step {
    world.open()?;
    world.write(0)?;
    world.write(1)
}

fn write(world: &mut World) -> Step {
    world.open()?;
    for number in 10..16 {
        world.write(number)?;
    }
    Ok(())
}

/// Many documents of several collections in one transaction.
fn group(world: &mut World) -> Step {
    world.open()?;
    for number in 10..13 {
        world.write_with(number, "short", |tx| {
            for place in 0..6 {
                let id = format!("g{number}-{place}");
                tx.insert_with_id("plans", &id, [("title", "part of a group")])?;
            }
            tx.add_to_set("notes", "a", "tags", [format!("tag {number}")])?;
            tx.update("papers", "q", [("title", format!("title {number}"))])
                .map(drop)
        })?;
    }
    Ok(())
}

fn write_and_flush(world: &mut World) -> Step {
    world.open()?;
    for number in 10..14 {
        world.write(number)?;
    }
    world.settles(|database| database.flush())?;
    for number in 14..18 {
        world.write(number)?;
    }
    Ok(())
}

fn bulk(world: &mut World) -> Step {
    world.open()?;
    let ids: Vec<String> = (0..120).map(|n| format!("bulk-{n:03}")).collect();
    let documents = ids.iter().map(|id| {
        let text = format!("{id} {}", "content ".repeat(20));
        NewDocument::from([("title", text)]).with_id(id)
    });
    world.write_bulk("plans", &ids, documents.collect())?;
    world.write(10)
}

/// A field saved at every keystroke is one entry of the queue.
fn keystrokes(world: &mut World) -> Step {
    world.open()?;
    let mut text = String::new();
    for letter in "gentoo ..".chars() {
        text.push(letter);
        world.set(("notes", "a"), "title", &text)?;
    }
    world.set(("notes", "b"), "title", "and another")
}

fn deletes(world: &mut World) -> Step {
    world.open()?;
    world.delete("notes", "a")?;
    world.restore("notes", "a")?;
    world.delete("plans", "p")?;
    world.insert("plans", "p")?;
    world.delete("papers", "q")
}

/// Writes that are not sent, and a process that is about to be killed.
fn unfinished(world: &mut World) -> Step {
    settled(world)?;
    world.close()?;
    world.open()?;
    for number in 3..8 {
        world.write(number)?;
    }
    world.model.all_durable();
    Ok(())
}

fn open_and_write(world: &mut World) -> Step {
    world.open()?;
    world.write(10)?;
    world.write(11)
}

fn close_and_open(world: &mut World) -> Step {
    world.open()?;
    world.write(10)?;
    world.close()?;
    world.open()?;
    world.write(11)?;
    world.close()
}

fn suspend(world: &mut World) -> Step {
    world.open()?;
    world.write(10)?;
    world.settles(|database| database.suspend())?;
    world.app(|database| database.resume())?;
    world.write(11)?;
    world.settles(|database| database.suspend())?;
    world.app(|database| database.resume())?;
    world.write(12)
}

/// Writes that the server has not heard of.
fn unsent(world: &mut World) -> Step {
    settled(world)?;
    world.close()?;
    world.open()?;
    for number in 3..7 {
        world.write(number)?;
    }
    world.set(("notes", "a"), "title", "unsent")?;
    world.insert("notes", "c")
}

/// What somebody chooses who signs out without sending.
fn drop_all(world: &mut World) -> Step {
    world.open()?;
    world.drop_all(&[3, 4, 5, 6])?;
    world.write(10)
}

fn discard(world: &mut World) -> Step {
    world.open()?;
    world.discard(4)?;
    world.write(10)?;
    world.discard(6)?;
    world.discard(10)
}
