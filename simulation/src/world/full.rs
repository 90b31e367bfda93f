//! A workspace whose quota is used up, until the operator raises it.

use driftline::{QueuedWrite, Sync};
use driftline_simvfs::Random;

use super::World;
use super::script::Act;
use super::watch::Watcher;
use crate::machine::Device;
use crate::oracles::{self, Judgement};

/// What apps write into a full workspace.
const WRITES: [Act; 5] = [Act::Insert, Act::Twins, Act::Add, Act::Text, Act::Delete];

/// Writes in quarantine that are looked at.
const MOST: usize = 1_000;

impl World<'_> {
    /// The operator allows less than there is or little more. Apps go on; what is refused they try again
    /// when there is room.
    pub(super) fn full(&mut self, at: usize, random: &mut Random) -> Judgement {
        let quota = [1, 1, 2_000][random.below(3)];
        self.start(at, false)?;
        self.allow(Some(quota))?;
        let before = self.bytes_served();
        let earlier = oracles::refused_for_quota(&self.quarantine(at))?;
        for _ in 0..3 + random.below(5) {
            let act = WRITES[random.below(WRITES.len())];
            self.then(act, at, &mut random.fork())?;
        }
        self.meet_soon(&[at])?;
        if let (Some(before), Some(now)) = (before, self.bytes_served()) {
            oracles::quota_holds(before, now, quota)?;
        }
        let mut refused = oracles::refused_for_quota(&self.quarantine(at))?;
        refused.retain(|id| !earlier.contains(id));
        let told: Vec<_> = self.syncs_of(at).map(|sync| sync.status().quota).collect();
        if !refused.is_empty()
            && let Some(told) = told.iter().max_by_key(|told| told.is_some())
        {
            self.count("writes refused for a quota");
            oracles::quota_is_told(*told, quota)?;
        }
        self.allow(None)?;
        for id in &refused {
            if let Some(database) = self.sites[at].device.database().cloned() {
                let result = database.outbox().retry(id);
                drop(database);
                self.told(at, &result);
                self.look()?;
            }
        }
        self.meet_soon(&[at])?;
        oracles::room_is_used(&refused, &self.quarantine(at))
    }

    /// The operator starts the server anew with another quota.
    fn allow(&mut self, quota: Option<u64>) -> Judgement {
        self.server_watcher = None;
        self.server.stop();
        self.server.schema.limits.quota = quota;
        self.start_server()?;
        self.pass(1)?;
        self.look()
    }

    fn bytes_served(&self) -> Option<u64> {
        let watcher = self.server_watcher.as_ref()?;
        Watcher::bytes(watcher).ok()
    }

    fn syncs_of(&self, at: usize) -> impl Iterator<Item = &Sync> {
        self.sites[at].programs().filter_map(Device::sync)
    }

    /// What the app is told of its quarantine.
    fn quarantine(&self, at: usize) -> Vec<QueuedWrite> {
        let program = &self.sites[at].device;
        let database = program.database().filter(|_| program.is_alive());
        database
            .and_then(|database| database.outbox().quarantined(None, MOST).ok())
            .unwrap_or_default()
    }
}
