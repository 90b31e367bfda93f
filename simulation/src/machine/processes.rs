//! The processes of one machine, as they know each other.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use driftline::environment::Processes;
use driftline_core::environment::Clock;
use driftline_simvfs::Life;

use super::MachineClock;

/// Who runs, or ran since the machine was started.
#[derive(Clone)]
pub(super) struct ProcessTable {
    machine: usize,
    clock: Arc<MachineClock>,
    known: Arc<Mutex<BTreeMap<String, Life>>>,
}

impl ProcessTable {
    pub(super) fn new(machine: usize, clock: Arc<MachineClock>) -> ProcessTable {
        ProcessTable {
            machine,
            clock,
            known: Arc::default(),
        }
    }

    /// The same machine with nothing running any more.
    pub(super) fn fork(&self, clock: Arc<MachineClock>) -> ProcessTable {
        let known = self.known();
        let ended = known.keys().map(|name| (name.clone(), Life::ended()));
        ProcessTable {
            machine: self.machine,
            clock,
            known: Arc::new(Mutex::new(ended.collect())),
        }
    }

    /// What the names of this machine's processes begin with, until it is started anew.
    fn session(&self) -> String {
        format!("{}/{}/", self.machine, self.clock.boot().0)
    }

    /// Adds a process; returns what it knows of the others.
    pub(super) fn enter(&self, life: Life) -> Neighbours {
        let mut known = self.known();
        let own = format!("{}{}", self.session(), known.len());
        known.insert(own.clone(), life);
        Neighbours {
            own,
            table: self.clone(),
        }
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Life>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one process sees.
pub(super) struct Neighbours {
    own: String,
    table: ProcessTable,
}

impl Processes for Neighbours {
    fn own(&self) -> String {
        self.own.clone()
    }

    fn has_ended(&self, name: &str) -> Option<bool> {
        let here = format!("{}/", self.table.machine);
        if !name.starts_with(&here) {
            return None;
        }
        let known = self.table.known();
        match known.get(name) {
            Some(life) if name.starts_with(&self.table.session()) => Some(!life.is_alive()),
            // The machine was started anew since.
            _ => Some(true),
        }
    }
}
