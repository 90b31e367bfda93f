//! A machine with a copy of the app on it, and what is known about its file.

use std::collections::BTreeSet;

use driftline_core::id::OpId;
use driftline_simvfs::{Image, Process};

use super::statuses::Steady;
use super::watch::Watcher;
use crate::machine::Device;
use crate::oracles::{Farewells, FileView, Queued, Retired};

/// A device's file.
pub(super) const FILE: &str = "/device/app.db";

/// A machine, its file, and the programs that work on it.
pub(super) struct Site {
    pub(super) number: usize,
    /// The number that its settings follow from: that of the machine it was copied from.
    pub(super) like: usize,
    pub(super) device: Device,
    pub(super) companion: Option<Device>,
    /// Another program has worked on the file.
    pub(super) shared: bool,
    pub(super) reader: bool,
    pub(super) watcher: Option<Watcher>,
    /// The file as it was seen last.
    pub(super) view: FileView,
    /// The copies of itself that lay beside it then.
    pub(super) copies: BTreeSet<String>,
    pub(super) farewells: Farewells,
    pub(super) backup: Option<Image>,
    /// Makes every value its own.
    pub(super) values: u32,
    /// The power went while commits may have been lost, and nobody looked since.
    pub(super) lossy: bool,
    /// Writers that a loss of power left to nobody.
    pub(super) retired: Vec<Retired>,
    /// Something may fail on its disk soon. Nobody else keeps the file open while a program writes:
    /// what a failed commit left comes to light when the file is opened anew.
    pub(super) fragile: bool,
    /// Faults met by processes that have ended.
    pub(super) met: u64,
    /// The most bytes that a process held when it ended, since somebody asked.
    pub(super) held: i64,
    /// The queue as it was when requests were judged last.
    pub(super) waiting: Vec<Queued>,
    /// The queue before a call of which nobody knows what came of it.
    pub(super) unknown: Option<BTreeSet<OpId>>,
    /// Ops that such calls left.
    pub(super) untold: BTreeSet<OpId>,
    /// Values of writes that failed.
    pub(super) undone: BTreeSet<String>,
    /// Writers of the machines that it was copied from.
    pub(super) kin: BTreeSet<u64>,
    /// Since when its status has had nothing to follow.
    pub(super) steady: Option<Steady>,
}

impl Site {
    pub(super) fn new(number: usize, like: usize, device: Device, reader: bool) -> Site {
        Site {
            number,
            like,
            device,
            companion: None,
            shared: false,
            reader,
            watcher: None,
            view: FileView::default(),
            copies: BTreeSet::new(),
            farewells: Farewells::default(),
            backup: None,
            values: 0,
            lossy: false,
            retired: Vec::new(),
            fragile: false,
            met: 0,
            held: 0,
            waiting: Vec::new(),
            unknown: None,
            untold: BTreeSet::new(),
            undone: BTreeSet::new(),
            kin: BTreeSet::new(),
            steady: None,
        }
    }

    /// The program of that number.
    pub(super) fn program(&self, companion: bool) -> &Device {
        match &self.companion {
            Some(device) if companion => device,
            _ => &self.device,
        }
    }

    /// The same, to change.
    pub(super) fn program_mut(&mut self, companion: bool) -> &mut Device {
        match &mut self.companion {
            Some(device) if companion => device,
            _ => &mut self.device,
        }
    }

    pub(super) fn programs(&self) -> impl Iterator<Item = &Device> {
        std::iter::once(&self.device).chain(&self.companion)
    }

    /// Whether a program has the file open.
    pub(super) fn is_open(&self) -> bool {
        self.programs()
            .any(|program| program.is_alive() && program.has_open())
    }

    /// Kills a program. The reader goes first: what it kept open would outlive it.
    pub(super) fn kill(&mut self, companion: bool) {
        self.watcher = None;
        self.count_met(companion);
        let program = self.program_mut(companion);
        program.kill();
        let held = std::mem::take(&mut program.held);
        self.held = self.held.max(held);
        if companion {
            self.companion = None;
        }
    }

    /// Kills all of them.
    pub(super) fn kill_all(&mut self) {
        if self.companion.is_some() {
            self.kill(true);
        }
        self.kill(false);
    }

    fn count_met(&mut self, companion: bool) {
        self.met += self.program(companion).process().map_or(0, Process::met);
    }

    /// What a program of this machine is told next that nobody ever told before.
    pub(super) fn value(&mut self) -> String {
        self.values += 1;
        self.last_value()
    }

    /// What one was told last.
    pub(super) fn last_value(&self) -> String {
        format!("s{}.{}", self.number, self.values)
    }

    /// The file is another one from now on: nothing of what was known holds.
    pub(super) fn forget(&mut self) {
        self.view = FileView::default();
        self.waiting.clear();
        self.unknown = None;
        self.lossy = false;
        self.retired.clear();
        self.steady = None;
    }
}
