//! One bit that a disk gives back otherwise than it was written.
//!
//! What can be promised of it is what SQLite's format can tell. A frame of the log carries a checksum over
//! itself and all before it: from a wrong one on the log is not read, so that the file says what it said some
//! commits ago, and nothing half. A page of the file carries none: where a bit is part of how pages hang
//! together SQLite finds it, on reading or by its integrity check; where it is part of a value that value is
//! another one, and nobody can tell. Whatever it is, the library answers, or says what is wrong by a typed
//! error that blames the machine; it does not panic, and comes to rest.

use driftline::Fault as Blame;

use super::point::Spot;
use super::scenarios::Victim;
use super::verify::{held, reopen, shown, verify_meeting};
use super::world::World;
use crate::machine::workspace_file;

/// The device's file.
const FILE: &str = "/device/app.db";

/// Simulated time in which whoever is damaged has tried to sync, some times.
const TRIES_MS: i64 = 60_000;

/// A write of the app that finds the file so.
const WRITTEN_AFTER: u32 = 50;

/// What became of a bit.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Found {
    /// Everything that was told is there.
    AsItWas,
    /// The log ends before it.
    LogEndsBefore,
    /// A call says that the file is damaged.
    Refused,
    /// The integrity check says so.
    Unsound,
    /// A value is another one, where no checksum can tell.
    AnotherValue,
}

impl Found {
    /// For a report.
    pub fn words(self) -> &'static str {
        match self {
            Found::AsItWas => "as it was",
            Found::LogEndsBefore => "the log ends before it",
            Found::Refused => "refused by a call",
            Found::Unsound => "found by the integrity check",
            Found::AnotherValue => "another value",
        }
    }
}

/// Flips a bit of the victim's file or of its log, if there is one.
pub(super) fn flip(world: &World, victim: Victim, spot: Spot) {
    let (disk, file) = match victim {
        Victim::Device => (&world.device.disk, Some(FILE.to_owned())),
        Victim::Server => {
            let disk = &world.server.disk;
            (disk, workspace_file(disk))
        }
    };
    let end = match spot {
        Spot::File => "",
        Spot::Log => "-wal",
    };
    if let Some(file) = file {
        disk.flip_bit(&format!("{file}{end}"));
    }
}

/// What must hold then.
pub(super) fn verify(world: &mut World, victim: Victim, spot: Spot) -> Result<Found, String> {
    match victim {
        Victim::Device if spot == Spot::Log && !is_moved(world) => log_alone(world),
        Victim::Device => device(world),
        Victim::Server => server(world),
    }
}

/// Whether something of the log is in the file as well: where the log ends earlier then, the file goes on
/// from another moment than what is left of the log.
fn is_moved(world: &World) -> bool {
    let read = |file: &str| world.device.disk.read(file).unwrap_or_default();
    let (file, log) = (read(FILE), read(&format!("{FILE}-wal")));
    let number = |bytes: &[u8], at: usize| {
        let word = bytes.get(at..at + 4).and_then(|word| word.try_into().ok());
        word.map_or(0, u32::from_be_bytes) as usize
    };
    let page = number(&log, 8);
    if !(512..=65_536).contains(&page) {
        // The very bit.
        return true;
    }
    let mut frames = log.get(32..).unwrap_or_default().chunks_exact(24 + page);
    frames.any(|frame| {
        let at = number(frame, 0).saturating_sub(1).saturating_mul(page);
        file.get(at..at.saturating_add(page)) == frame.get(24..)
    })
}

/// The log ends at some commit, and all before it is there whole.
fn log_alone(world: &mut World) -> Result<Found, String> {
    world.device.check()?;
    reopen(world)?;
    let (found, held) = (shown(world)?, held(world)?);
    let told = world.model.check(&found, &held, false);
    world.model.all_may_be_lost();
    world.model.check(&found, &held, true)?;
    if !world.setup().texts {
        // Text that was lost so is written under a writer that others may know: no loss of power is noticed.
        world.model.forget_lost(&found, &held);
        verify_meeting(world)?;
    }
    Ok(match told {
        Ok(()) => Found::AsItWas,
        Err(_) => Found::LogEndsBefore,
    })
}

/// The app goes on with what it can.
fn device(world: &mut World) -> Result<Found, String> {
    let sound = world.device.check();
    world.device.start(|_| {});
    let mut refused = false;
    let mut typed = |outcome: driftline::Result<()>| match outcome {
        Err(error) if error.fault() == Blame::Driftline => Err(format!(
            "what the disk did is blamed on the library: {}: {error}",
            error.code()
        )),
        outcome => {
            refused |= outcome.is_err();
            Ok(())
        }
    };
    typed(world.device.open())?;
    let found = world.device.documents();
    let held = world.quarantined();
    let told = match (&found, &held) {
        (Ok(found), Ok(held)) => world.model.check(found, held, false).is_ok(),
        _ => false,
    };
    typed(found.map(drop))?;
    typed(held.map(drop))?;
    if let Some(database) = world.device.database().cloned() {
        typed(database.write(|tx| {
            let id = format!("w{WRITTEN_AFTER}");
            tx.insert_with_id("notes", &id, [("title", "written after")])
        }))?;
        typed(database.flush())?;
        drop(database);
        typed(world.device.connect())?;
        meets_somebody(world)?;
        typed(world.device.close())?;
    }
    Ok(match (sound, refused, told) {
        (_, true, _) => Found::Refused,
        (Err(_), ..) => Found::Unsound,
        (_, _, true) => Found::AsItWas,
        _ => Found::AnotherValue,
    })
}

/// Devices go on meeting it, or what is left of it.
fn server(world: &mut World) -> Result<Found, String> {
    let sound = world.server.check();
    let started = world.server.start(|_| {});
    if world.device.database().is_none() {
        reopen(world)?;
    }
    let connected = world.device.connect();
    connected.map_err(|error| error.to_string())?;
    meets_somebody(world)?;
    // Its own disk is well.
    world.device.check()?;
    let (found, held) = (shown(world)?, held(world)?);
    let told = world.model.check(&found, &held, false);
    let served = world.server.documents();
    Ok(match (started, sound, told, served) {
        (Err(_), ..) | (.., Err(_)) => Found::Refused,
        (_, Err(_), ..) => Found::Unsound,
        (_, _, Ok(()), _) => Found::AsItWas,
        _ => Found::AnotherValue,
    })
}

/// A while of syncing, whatever comes of it.
fn meets_somebody(world: &mut World) -> Result<(), String> {
    if world.server.process().is_none() {
        world.server.start(|_| {})?;
    }
    if let Some(sync) = world.device.sync() {
        sync.sync_now();
    }
    let deadline = world.tasks.now() + TRIES_MS;
    let ran = world.tasks.run_until(deadline, || false);
    ran.map(drop).map_err(|_| "a task spins".to_owned())
}
