//! What goes wrong.

use driftline_core::environment::Clock;
use driftline_core::protocol::Cursor;
use driftline_simvfs::{Disk, Fault, PowerLoss, Process, Random};

use super::script::Act;
use super::{MOST_SITES, World};
use crate::machine::{Device, TokenTrouble};
use crate::oracles::Judgement;

/// How far ahead a fault is put, in I/O calls.
const AHEAD: usize = 60;

/// A fault that fits only some calls is put on so many in a row.
const IN_A_ROW: u64 = 12;

impl World<'_> {
    /// Whether this kind of step is a fault; if so, has it happen.
    pub(super) fn fault_act(
        &mut self,
        act: Act,
        at: usize,
        random: &mut Random,
    ) -> Option<Judgement> {
        let hour = 3_600_000;
        let some = 1 + random.below(40) as i64;
        match act {
            Act::Freeze => self.sites[at].program_mut(random.one_in(3)).freeze(),
            Act::Thaw => {
                for companion in [false, true] {
                    self.sites[at].program_mut(companion).thaw();
                }
            }
            Act::Kill => self.sites[at].kill(random.one_in(3)),
            Act::CompanionEnds => {
                if self.sites[at].companion.is_some() {
                    self.sites[at].kill(true);
                }
            }
            Act::PowerLoss => self.power_loss(at, random),
            Act::Crash => self.arm(at, random, CRASHES[some as usize % 3], 1),
            Act::IoError => self.arm(at, random, Fault::IoError, 1),
            Act::StickyIoError => self.arm(at, random, Fault::StickyIoError, 1),
            Act::SyncLoss => self.arm(at, random, Fault::SyncLoss, IN_A_ROW),
            Act::FailedCommit => self.fail_a_commit(at, random),
            Act::DiskFull => self.arm(at, random, Fault::DiskFull, IN_A_ROW),
            Act::StickyDiskFull => self.arm(at, random, Fault::StickyDiskFull, 1),
            Act::ShortWrite => self.arm(at, random, Fault::ShortWrite, IN_A_ROW),
            Act::Mended => self.mend(at),
            Act::ClockForward => self.set_clock(at, some * 90_000),
            Act::ClockBack => self.set_clock(at, -some * 90_000),
            Act::ClockFar => {
                let years = [-40, -3, 5, 60][random.below(4)];
                self.set_clock(at, years * 365 * 24 * hour);
            }
            Act::ClockRight => self.set_clock(at, 0),
            Act::Reboot => {
                self.sites[at].kill_all();
                self.sites[at].device.clock.reboot();
            }
            Act::Partition => self
                .climate
                .partition(self.sites[at].device.options.number, true),
            Act::Rejoin => self
                .climate
                .partition(self.sites[at].device.options.number, false),
            Act::BadToken => {
                let trouble = [
                    TokenTrouble::EXPIRED,
                    TokenTrouble::MISSING,
                    TokenTrouble::FORGED,
                    TokenTrouble::SHORT,
                    TokenTrouble::STRANGER,
                    TokenTrouble::ELSEWHERE,
                ];
                self.sites[at].device.tokens.set(trouble[random.below(6)]);
            }
            Act::GoodToken => {
                let site = &self.sites[at];
                if site.programs().any(Device::is_frozen) {
                    // Nobody can be told now.
                    site.device.tokens.set(TokenTrouble::NONE);
                } else {
                    site.device.tokens.end();
                }
                self.tell_of_tokens(at);
            }
            Act::Backup => self.sites[at].backup = Some(self.sites[at].device.disk.image()),
            Act::RestoreBackup => self.restore_backup(at),
            Act::Clone => return Some(self.copy(at, random)),
            _ => return self.server_act(act, random),
        }
        Some(Ok(()))
    }

    fn server_act(&mut self, act: Act, random: &mut Random) -> Option<Judgement> {
        match act {
            Act::ServerKill => self.kill_server(),
            Act::ServerPowerLoss => {
                self.kill_server();
                self.server.power_loss(LOSSES[random.below(3)]);
                return Some(self.server_lost_power());
            }
            Act::ServerCrash => {
                let fault = CRASHES[random.below(3)];
                arm(self.server.process(), random, fault, 1);
            }
            Act::ServerIoError => arm(self.server.process(), random, Fault::IoError, 1),
            Act::ServerDiskFull => arm(self.server.process(), random, Fault::DiskFull, IN_A_ROW),
            Act::ServerSyncLoss => arm(self.server.process(), random, Fault::SyncLoss, IN_A_ROW),
            Act::ServerShortWrite => {
                arm(self.server.process(), random, Fault::ShortWrite, IN_A_ROW);
            }
            Act::ServerStickyIoError => {
                arm(self.server.process(), random, Fault::StickyIoError, 1);
            }
            Act::ServerStickyDiskFull => {
                arm(self.server.process(), random, Fault::StickyDiskFull, 1);
            }
            Act::ServerMended => self.mend_server(),
            Act::ServerRestart => {
                self.server_watcher = None;
                self.server.stop();
                if self.swarm.strict && random.one_in(2) {
                    // The operator raises a limit, or lowers it.
                    self.lenient = !self.lenient;
                    self.server.schema = match self.lenient {
                        true => self.schemas.app.clone(),
                        false => self.schemas.strict.clone(),
                    };
                }
                return Some(self.start_server());
            }
            Act::ServerStart => return Some(self.start_server()),
            Act::ServerBackup => self.server_backup = Some(self.server.disk.image()),
            Act::ServerRestore => return Some(self.restore_server()),
            Act::ServerClock => {
                let skew = [-3_600_000, -5_000, 0, 5_000, 3_600_000][random.below(5)];
                self.server.clock.set_skew(skew);
            }
            Act::Hostile => return Some(self.hostile(random)),
            _ => return None,
        }
        Some(Ok(()))
    }

    /// The host says that there are new tokens: one that was no good may be kept for an hour.
    pub(super) fn tell_of_tokens(&self, at: usize) {
        for sync in self.sites[at]
            .programs()
            .filter_map(|program| program.sync())
        {
            sync.token_changed();
        }
    }

    /// Starts the server, unless it runs.
    pub(super) fn start_server(&mut self) -> Judgement {
        if self.server.process().is_none() {
            let started = self.server.start(|_| {});
            self.trace
                .line(format_args!("    server started: {started:?}"));
        }
        Ok(())
    }

    fn arm(&mut self, at: usize, random: &mut Random, fault: Fault, calls: u64) {
        let program = self.sites[at].program(random.one_in(3));
        arm(program.process(), random, fault, calls);
        self.sites[at].fragile = self.seed.is_multiple_of(2);
    }

    /// An app's write fails at an I/O call, and soon after the process ends or the power goes: what was
    /// not undone on the disk comes back then.
    fn fail_a_commit(&mut self, at: usize, random: &mut Random) {
        if let Some(process) = self.sites[at].program(random.one_in(3)).process() {
            let first = process.calls() + 1 + random.below(12) as u64;
            let fault = [Fault::IoError, Fault::SyncLoss, Fault::DiskFull][random.below(3)];
            let calls = if fault == Fault::IoError { 1 } else { IN_A_ROW };
            (first..first + calls).for_each(|call| process.arm(call, fault));
            let end = first + calls + random.below(10) as u64;
            process.arm(end, CRASHES[random.below(3)]);
        }
    }

    pub(super) fn mend(&mut self, at: usize) {
        self.sites[at].fragile = false;
        for program in self.sites[at].programs() {
            if let Some(process) = program.process() {
                process.disarm();
            }
        }
    }

    fn set_clock(&mut self, at: usize, skew: i64) {
        let clock = &self.sites[at].device.clock;
        let before = clock.wall();
        clock.set_skew(skew);
        if clock.wall() != before {
            self.clock_was_set(at);
        }
    }

    /// What was broken on the server's disk works again.
    pub(super) fn mend_server(&mut self) {
        if let Some(process) = self.server.process() {
            process.disarm();
        }
    }

    fn power_loss(&mut self, at: usize, random: &mut Random) {
        let loss = LOSSES[random.below(3)];
        self.power_goes(at);
        let site = &mut self.sites[at];
        let normal = site.device.options.durability == driftline::Durability::Normal;
        site.watcher = None;
        site.device.disk.power_loss(loss);
        site.kill_all();
        site.device.clock.reboot();
        site.lossy |= normal;
        // What the engine stored may be gone even under `Full`, where a sync had failed; what an app
        // was told of may not.
        site.view.cursor = Cursor::START;
        site.view.newest = None;
        site.farewells.untold.append(&mut site.untold);
    }

    fn restore_backup(&mut self, at: usize) {
        let site = &mut self.sites[at];
        let Some(image) = site.backup.clone() else {
            return;
        };
        site.kill_all();
        site.device.disk.restore(&image);
        site.forget();
        self.wire.forget(at);
        self.was_put_back(at);
    }

    /// A file comes to life on another machine as well.
    fn copy(&mut self, at: usize, random: &mut Random) -> Judgement {
        if self.sites.len() >= MOST_SITES {
            return Ok(());
        }
        let image = self.sites[at].device.disk.image();
        let disk = Disk::from_image(&image, self.seed ^ (200 + self.sites.len() as u64));
        let original = &self.sites[at];
        let (farewells, undone) = (original.farewells.clone(), original.undone.clone());
        let mut kin = original.kin.clone();
        // A file whose host's token was not kept yet cannot tell that it is a copy.
        kin.extend(original.view.writer.filter(|_| original.view.host_token));
        // Its account and settings are those of the file it was copied from.
        let like = self.sites[at].like;
        self.settle_site(disk, like, true);
        if let Some(copy) = self.sites.last_mut() {
            copy.farewells = farewells;
            copy.undone = undone;
            copy.kin = kin;
        }
        match random.one_in(2) {
            true => self.start(self.sites.len() - 1, false),
            false => Ok(()),
        }
    }

    fn restore_server(&mut self) -> Judgement {
        let Some(image) = self.server_backup.clone() else {
            return Ok(());
        };
        self.kill_server();
        self.server.disk.restore(&image);
        self.server_was_restored()?;
        self.start_server()
    }
}

const CRASHES: [Fault; 3] = [Fault::CrashBefore, Fault::CrashDuring, Fault::CrashAfter];

const LOSSES: [PowerLoss; 3] = [
    PowerLoss::LoseUnsynced,
    PowerLoss::KeepUnsynced,
    PowerLoss::Torn,
];

fn arm(process: Option<&Process>, random: &mut Random, fault: Fault, calls: u64) {
    if let Some(process) = process {
        let first = process.calls() + 1 + random.below(AHEAD) as u64;
        (first..first + calls).for_each(|call| process.arm(call, fault));
    }
}
