//! A machine that several people use: accounts sign in and out, a guest's work becomes an account's, and
//! everybody has a file of their own. All of them write into one workspace, apart from the one of the other
//! machines, where nothing but the account keeps them asunder.
//!
//! What somebody writes is marked with their name. The oracle on isolation looks for the marks in every
//! message of the machine, in its files, and in the server's log.

mod ends;
mod leaving;
mod visits;
mod wire;

use std::collections::BTreeMap;

use driftline::Durability;
use driftline_simvfs::Disk;

use super::World;
use crate::machine::{Account, Device, DeviceOptions};
use crate::oracles;

pub(super) use wire::{Home, Said, is_shared, token_of};

/// The number of the first file's engine for the network; the others follow.
pub(super) const ENGINES: usize = 1_000;

/// Where they all write.
const WORKSPACE: &str = "house";

/// Whoever has an account.
const PEOPLE: [&str; 2] = ["ada", "bob"];

/// No more files than this, however many guests there were.
const MOST_FILES: usize = 10;

/// The machine, its files, and what people did.
pub(super) struct Household {
    device: Device,
    files: Vec<File>,
    /// The file that the app has open.
    open: Option<usize>,
    export: Option<Export>,
    /// Marks made so far.
    marks: u32,
    /// What was written where.
    written: BTreeMap<String, usize>,
    /// Of this, what was acknowledged, stays as it was written, and was not dropped: it comes to the server.
    kept: BTreeMap<String, usize>,
}

/// A file on the machine.
struct File {
    /// The account that has it; nobody, as long as it is a guest's.
    owner: Option<&'static str>,
    /// It was made by a guest.
    by_a_guest: bool,
    /// Nobody opens it any more: what was queued in it was taken along.
    left: bool,
    /// To whom a call tried to attach it of which nobody knows what came.
    perhaps: Option<&'static str>,
    /// It was opened by its owner.
    settled: bool,
}

/// Unsynced writes that somebody took along when they signed out.
struct Export {
    whose: &'static str,
    lines: Vec<u8>,
    from: usize,
    /// The file that they are to be taken into, once there is one.
    into: Option<usize>,
    taken: bool,
}

impl Export {
    fn is_due_for(&self, person: &str) -> bool {
        !self.taken && self.whose == person
    }
}

impl Household {
    fn new(world: &World<'_>) -> Household {
        let seed = world.seed;
        let options = DeviceOptions {
            number: ENGINES,
            account: Account::writer(PEOPLE[0]),
            durability: Durability::Full,
            schema: world.schemas.app.clone(),
            host_token: false,
            seed: (seed ^ 300).wrapping_mul(0xD134_2543_DE82_EF95),
        };
        let disk = Disk::new(seed ^ 301);
        let mut device = Device::new(&world.tasks, &world.network, disk, options);
        device.workspace = WORKSPACE.to_owned();
        device.live = seed.is_multiple_of(3);
        device.json = seed.is_multiple_of(5);
        Household {
            device,
            files: Vec::new(),
            open: None,
            export: None,
            marks: 0,
            written: BTreeMap::new(),
            kept: BTreeMap::new(),
        }
    }

    /// Who writes into a file: an account, or a guest of that file alone.
    fn whose(&self, at: usize) -> String {
        let file = &self.files[at];
        match file.owner {
            Some(owner) if !file.by_a_guest => owner.to_owned(),
            _ => format!("guest{at}"),
        }
    }

    fn new_file(&mut self, owner: Option<&'static str>) -> Option<usize> {
        (self.files.len() < MOST_FILES).then(|| self.add_file(owner))
    }

    fn add_file(&mut self, owner: Option<&'static str>) -> usize {
        self.files.push(File {
            owner,
            by_a_guest: owner.is_none(),
            left: false,
            perhaps: None,
            settled: false,
        });
        self.files.len() - 1
    }

    /// The next opening is of that file, by whom it is for.
    fn turn_to(&mut self, at: usize) {
        let file = &self.files[at];
        let person = file.owner.or(file.perhaps).unwrap_or(PEOPLE[0]);
        let device = &mut self.device;
        device.options.number = ENGINES + at;
        device.options.account = Account::writer(person);
        device.stranger = the_other(person).to_owned();
        device.guest = file.owner.is_none();
        device.file = path(at);
    }

    /// Whether the app's process goes on; if it ended by itself, it is gone for everybody.
    fn lives(&mut self) -> bool {
        let died = self.device.process().is_some() && !self.device.is_alive();
        if died {
            self.end();
        }
        !died
    }

    /// The app's process ends.
    fn end(&mut self) {
        self.device.kill();
        self.open = None;
    }

    /// The app has no file open any more.
    fn shut(&mut self) {
        // What it says does not matter: the file is looked at.
        let _ = self.device.close();
        self.open = None;
    }

    fn next_mark(&mut self, at: usize) -> String {
        self.marks += 1;
        let mark = oracles::mark(&self.whose(at), self.marks);
        self.written.insert(mark.clone(), at);
        mark
    }
}

/// Where a file lies.
fn path(at: usize) -> String {
    format!("/house/{at}.db")
}

/// Of the two people the other one.
fn the_other(person: &str) -> &'static str {
    match person == PEOPLE[0] {
        true => PEOPLE[1],
        false => PEOPLE[0],
    }
}
