//! What must hold after the machine was put right.

use std::collections::BTreeSet;

use driftline::Durability;
use serde_json::Value as Json;

use super::flipped::{self, Found};
use super::model::Documents;
use super::point::Ending;
use super::scenarios::Victim;
use super::world::{Ended, World, is_settled};
use super::writer::{self, Written};

/// Simulated time in which everything must have met once nothing is in the way: several rounds of
/// the slowest retry.
const PATIENCE_MS: i64 = 20 * 60_000;

/// Ends the victim's process, or its power.
pub(super) fn end(world: &mut World, victim: Victim, ending: Ending) {
    match victim {
        Victim::Device => end_device(world, ending),
        Victim::Server => end_server(world, ending),
    }
    if let Ending::Flipped(spot, _) = ending {
        flipped::flip(world, victim, spot);
    }
}

/// The server says what texts say once a second, and a device shows them as often.
const SHOWN_WITHIN_MS: i64 = 5_000;

/// Puts the machine right after an end and checks everything. Says what became of a bit that was flipped.
pub(super) fn verify(
    world: &mut World,
    victim: Victim,
    ending: Ending,
) -> Result<Option<Found>, String> {
    if let Ending::Flipped(spot, _) = ending {
        return flipped::verify(world, victim, spot).map(Some);
    }
    match victim {
        Victim::Device => verify_device(world, ending)?,
        Victim::Server => verify_server(world)?,
    }
    verify_meeting(world).map(|()| None)
}

fn verify_device(world: &mut World, ending: Ending) -> Result<(), String> {
    world.device.check()?;
    let lossy = ending.loss().is_some() && world.setup().durability == Durability::Normal;
    reopen(world)?;
    let found = shown(world)?;
    let held = held(world)?;
    world.model.check(&found, &held, lossy)?;
    if lossy {
        world.model.forget_lost(&found, &held);
    }
    writer::is_another(world)
}

fn end_device(world: &mut World, ending: Ending) {
    world.widget = None;
    match (ending, ending.loss()) {
        (_, Some(loss)) => {
            // What is acknowledged under `Full` is never lost.
            let normal = world.setup().durability == Durability::Normal;
            let before = normal.then(|| Written::in_file_of(&world.device)).flatten();
            world.device.power_loss(loss);
            if let Some(before) = before {
                let after = Written::in_file_of(&world.device);
                world.retired.extend(before.retired_by(after.as_ref()));
            }
        }
        (Ending::Stop, None) => {
            if let Some(process) = world.device.process() {
                process.disarm();
            }
            if world.device.is_alive() && world.device.close().is_ok() {
                world.model.all_durable();
            }
            world.device.kill();
        }
        (_, None) => world.device.kill(),
    }
}

fn end_server(world: &mut World, ending: Ending) {
    match (ending, ending.loss()) {
        (_, Some(loss)) => world.server.power_loss(loss),
        (Ending::Stop, None) => {
            if let Some(process) = world.server.process() {
                process.disarm();
            }
            world.server.stop();
        }
        (_, None) => world.server.kill(),
    }
}

fn verify_server(world: &mut World) -> Result<(), String> {
    world.server.check()?;
    let told = |error| format!("the server does not start again: {error}");
    world.server.start(|_| {}).map_err(told)
}

pub(super) fn reopen(world: &mut World) -> Result<(), String> {
    world.device.start(|_| {});
    let told = |error: driftline::Error| format!("does not open again: {}: {error}", error.code());
    world.device.open().map_err(told)
}

pub(super) fn shown(world: &World) -> Result<Documents, String> {
    let told = |error: driftline::Error| format!("cannot be read: {}: {error}", error.code());
    world.device.documents().map_err(told)
}

pub(super) fn held(world: &World) -> Result<BTreeSet<u32>, String> {
    world.quarantined().map_err(|error| error.to_string())
}

/// Device and server meet with nothing in the way.
pub(super) fn verify_meeting(world: &mut World) -> Result<(), String> {
    if world.server.process().is_none() {
        world.server.start(|_| {})?;
    }
    if world.device.database().is_none() {
        reopen(world)?;
    }
    attach_guest(world)?;
    world.device.connect().map_err(|error| error.to_string())?;
    if let Some(sync) = world.device.sync() {
        sync.sync_now();
    }
    let deadline = world.tasks.now() + PATIENCE_MS;
    let device = &world.device;
    let settled = world.tasks.run_until(deadline, || is_settled(device));
    match settled {
        Err(_) => return Err("a task spins".to_owned()),
        Ok(false) => {
            let status = world.device.sync().map(driftline::Sync::status);
            return Err(format!("does not settle: {status:?}"));
        }
        Ok(true) => {}
    }
    if world.setup().texts {
        world.pass(SHOWN_WITHIN_MS);
    }
    let (found, held) = (shown(world)?, held(world)?);
    world.model.check(&found, &held, false)?;
    let served = world.server.documents()?;
    world.model.check_words(&served, false)?;
    match difference(&found, &served) {
        Some(difference) => Err(difference),
        None => Ok(()),
    }
}

/// An app that began without an account goes on until its file is the account's.
fn attach_guest(world: &mut World) -> Result<(), String> {
    if !world.setup().guest {
        return Ok(());
    }
    match world.attach() {
        Ok(true) => Ok(()),
        Ok(false) | Err(Ended) => Err("the guest's file cannot be attached".to_owned()),
    }
}

/// What the device shows otherwise than the server, if anything.
fn difference(found: &Documents, served: &Documents) -> Option<String> {
    let keys: BTreeSet<&String> = found.keys().chain(served.keys()).collect();
    let differing = keys
        .into_iter()
        .find(|key| match (found.get(*key), served.get(*key)) {
            (Some(found), Some(served)) => !agree(found, served),
            _ => true,
        })?;
    Some(format!(
        "{differing} is {:?} on the device and {:?} on the server",
        found.get(differing),
        served.get(differing)
    ))
}

/// Whether every field that the server has in a document's JSON is the device's. (The JSON of one that
/// nobody wrote since the schema changed has the fields of before.)
fn agree(found: &Json, served: &Json) -> bool {
    let served = served.as_object().into_iter().flatten();
    served
        .into_iter()
        .all(|(field, value)| found.get(field) == Some(value))
}
