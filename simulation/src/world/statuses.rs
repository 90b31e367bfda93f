//! What devices say of themselves while a world lives, held against their files and what they were told.

use driftline::{State, Status};

use super::World;
use super::site::Site;
use crate::machine::Device;
use crate::oracles::{self, FileView, Judgement};

/// A status follows what happens to the file within this.
const FOLLOWS_MS: i64 = 250;

/// A queue that is left is sent within this, where nothing is known to stand in the way.
const SENT_MS: i64 = 120_000;

/// What a status counts.
#[derive(Clone, PartialEq)]
struct Counts {
    version: u64,
    undecided: usize,
    held: usize,
}

/// Since when nothing changed that a status tells of.
#[derive(Clone)]
pub(super) struct Steady {
    counts: Counts,
    /// The opening of the file by the program that says it.
    opening: u64,
    since: i64,
    /// Since when it says that it has nothing to do.
    idle_since: Option<i64>,
    /// Since when the last it was told of a request is that it came to nothing.
    failed_since: Option<i64>,
}

impl World<'_> {
    /// Judges what devices say that have a file for themselves and a disk that works.
    pub(super) fn judge_statuses(&mut self) -> Judgement {
        let now = self.tasks.now();
        for site in &mut self.sites {
            let said = speaks(site).then(|| site.device.sync().map(driftline::Sync::status));
            let Some(status) = said.flatten() else {
                site.steady = None;
                continue;
            };
            oracles::state_has_its_cause(&status, site.number)?;
            let runs = !matches!(status.state, State::Disconnected | State::Stopped);
            if !runs {
                site.steady = None;
                continue;
            }
            let device = site.device.options.number;
            let failed = self.climate.failed_last(device);
            let steady = steadier(site, &status, failed, now);
            if now - steady.since >= FOLLOWS_MS {
                oracles::counts_are_told(&status, &site.view, site.number)?;
            }
            let failed = steady.failed_since.map_or(0, |since| now - since);
            if failed >= FOLLOWS_MS {
                oracles::idle_heard_no_failure(&status, true, site.number)?;
            }
            let idle = steady.idle_since.map_or(0, |since| now - since);
            if idle >= SENT_MS && self.swarm.filtered.is_empty() {
                oracles::idle_has_nothing_to_send(&status, &site.view, site.number)?;
            }
            site.steady = Some(steady);
        }
        Ok(())
    }
}

/// Whether what the device says is about a file that it alone works on and can read.
fn speaks(site: &Site) -> bool {
    let Site { device, .. } = site;
    let alone = site.companion.is_none() && !site.shared;
    let sound = device.process().is_some_and(|process| process.met() == 0);
    alone && sound && site.watcher.is_some() && device.is_alive() && !device.is_frozen()
}

fn steadier(site: &Site, status: &Status, failed: bool, now: i64) -> Steady {
    let (counts, opening) = (counted(&site.view), opening(&site.device));
    let before = site.steady.as_ref();
    let same = before.filter(|steady| steady.counts == counts && steady.opening == opening);
    let idle = status.state == State::Idle;
    let since = before.and_then(|steady| steady.failed_since);
    Steady {
        failed_since: failed.then(|| since.unwrap_or(now)),
        counts,
        opening,
        since: same.map_or(now, |steady| steady.since),
        idle_since: idle.then(|| same.and_then(|steady| steady.idle_since).unwrap_or(now)),
    }
}

fn counted(view: &FileView) -> Counts {
    let undecided = view.undecided();
    Counts {
        version: view.cursor.version,
        undecided,
        held: view.queue.len() - undecided,
    }
}

/// Counts on whenever the file is opened.
fn opening(device: &Device) -> u64 {
    device.options.seed
}
