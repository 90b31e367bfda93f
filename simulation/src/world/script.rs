//! What a run does, step by step, drawn from a seed.
//!
//! A step carries the number that all its own choices follow from. So a step can be left out of a
//! script without changing the choices of the others: that is what shrinking does.

use driftline_simvfs::Random;
use serde::{Deserialize, Serialize};

use super::swarm::Swarm;

/// A whole run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Script {
    /// What it was drawn from.
    pub seed: u64,
    /// How the world is set up.
    pub swarm: Swarm,
    /// What is done.
    pub steps: Vec<Step>,
}

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What.
    pub act: Act,
    /// By or to whom: a place, counted around.
    pub who: u32,
    /// Where all else follows from.
    pub draw: u32,
}

macro_rules! acts {
    ($($(#[$doc:meta])* $name:ident $word:literal $group:ident $weight:literal,)*) => {
        /// The kinds of step.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum Act { $($(#[$doc])* $name,)* }

        impl Act {
            /// All of them, with their group and usual weight.
            const ALL: &'static [(Act, Group, u32)] = &[$((Act::$name, Group::$group, $weight),)*];

            /// The word for it in traces and counts.
            pub fn name(self) -> &'static str {
                match self { $(Act::$name => $word,)* }
            }
        }
    };
}

/// What kinds of step are drawn and left out together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Group {
    /// Never left out.
    Always,
    /// What apps do; each kind left out in some worlds.
    App,
    /// What goes wrong; each kind left out in most worlds.
    Fault,
    /// Several steps in one, put in the place of a step or two. The weight is the share of worlds that
    /// have it, in hundredths.
    Episode,
    /// What goes wrong or mends, put in the place of other steps as episodes are, so that all else of a seed
    /// stays as it was before these were thought of. The weight is the share of worlds that have it.
    Later,
    /// Put in the place of some ten steps of a world. The weight is the same.
    Often,
}

acts! {
    /// A document is made, or merged into.
    Insert "insert" Always 60,
    /// Registers are written.
    Update "update" Always 120,
    /// A counter is incremented.
    Increment "increment" App 60,
    /// Elements are added to a set.
    Add "add" App 40,
    /// Elements are removed from a set.
    Remove "remove" App 30,
    /// A document is deleted.
    Delete "delete" App 40,
    /// A deleted document is brought back.
    Restore "restore" App 25,
    /// All twins are written in one transaction.
    Twins "twins" Always 60,
    /// Several documents are written in one transaction.
    Group "group" App 40,
    /// A document is moved in its list.
    Place "place" App 20,
    /// A text is edited.
    Text "text" App 50,
    /// A list is edited.
    List "list" App 30,
    /// Many documents are written at once, more than a page holds.
    Bulk "bulk" App 3,
    /// A body that a strict server refuses.
    Long "long" App 20,
    /// A write that is refused at once.
    Refused "refused" App 10,
    /// A transaction that the app gives up.
    Aborted "aborted" App 8,
    /// A write in quarantine is tried again.
    Retry "retry" App 20,
    /// A write is taken back.
    Discard "discard" App 20,
    /// A lost value is restored from the ledger.
    Reclaim "reclaim" App 15,
    /// Everything queued is dropped.
    DropAll "drop-all" App 2,
    /// The app syncs explicitly.
    SyncNow "sync-now" Always 60,
    /// Some time passes.
    Pass "pass" Always 120,
    /// Minutes or hours pass.
    PassLong "pass-long" App 10,
    /// Everything written is made durable.
    Flush "flush" App 10,
    /// The app is suspended for a while.
    Suspend "suspend" App 10,
    /// The app goes on.
    Resume "resume" App 20,
    /// The app goes to the background, or comes back.
    Background "background" App 10,
    /// The host says that there is no network, or that there is one.
    Online "online" App 10,
    /// The app pauses sync, or resumes it.
    Pause "pause" App 6,
    /// The database is closed and opened.
    Reopen "reopen" App 12,
    /// The process that is not there is started.
    Start "start" Always 60,
    /// A second process of the app works on the same file.
    Companion "companion" App 30,
    /// The second process ends.
    CompanionEnds "companion-ends" App 8,
    /// The system freezes the process.
    Freeze "freeze" Fault 20,
    /// It goes on.
    Thaw "thaw" Fault 24,
    /// The process is killed.
    Kill "kill" Fault 12,
    /// The power goes; unsynced writes are lost, kept or torn.
    PowerLoss "power-loss" Fault 12,
    /// The process dies before, during or after an I/O call soon.
    Crash "crash" Fault 12,
    /// An I/O call fails soon.
    IoError "io-error" Fault 10,
    /// All I/O calls fail soon, until the process ends.
    StickyIoError "sticky-io-error" Fault 4,
    /// A sync fails soon, and its pages are never written.
    SyncLoss "sync-loss" Fault 6,
    /// A write fails soon, and the process ends right after.
    FailedCommit "failed-commit" Fault 8,
    /// The disk is full for one call soon.
    DiskFull "disk-full" Fault 6,
    /// The disk is full from some call on.
    StickyDiskFull "sticky-disk-full" Fault 4,
    /// A write is cut short soon.
    ShortWrite "short-write" Fault 6,
    /// What was broken on a disk works again.
    Mended "mended" Fault 30,
    /// The clock is set forward.
    ClockForward "clock-forward" Fault 8,
    /// The clock is set back.
    ClockBack "clock-back" Fault 8,
    /// The clock is years wrong.
    ClockFar "clock-far" Fault 4,
    /// The clock is put right.
    ClockRight "clock-right" Fault 8,
    /// The machine is started anew.
    Reboot "reboot" Fault 8,
    /// A device cannot reach the server.
    Partition "partition" Fault 14,
    /// It can again.
    Rejoin "rejoin" Fault 20,
    /// A device's tokens are no good: expired, missing, forged, short-lived.
    BadToken "bad-token" Fault 10,
    /// They are good again.
    GoodToken "good-token" Fault 16,
    /// A backup of a device is made.
    Backup "backup" Fault 10,
    /// A device is restored from its backup.
    RestoreBackup "restore-backup" Fault 4,
    /// A device's file is copied to another machine.
    Clone "clone" Fault 3,
    /// The server is killed.
    ServerKill "server-kill" Fault 10,
    /// The server's power goes.
    ServerPowerLoss "server-power-loss" Fault 8,
    /// The server dies before, during or after an I/O call soon.
    ServerCrash "server-crash" Fault 8,
    /// An I/O call of the server fails soon.
    ServerIoError "server-io-error" Fault 8,
    /// The server's disk is full for a call.
    ServerDiskFull "server-disk-full" Fault 4,
    /// The server is stopped and started as operators do.
    ServerRestart "server-restart" Fault 8,
    /// A server that is not there is started.
    ServerStart "server-start" Always 60,
    /// A backup of the server is made.
    ServerBackup "server-backup" Fault 10,
    /// The server is restored from its backup.
    ServerRestore "server-restore" Fault 3,
    /// The server's clock is set.
    ServerClock "server-clock" Fault 4,
    /// Somebody sends what no honest device sends.
    Hostile "hostile" Fault 30,
    /// One thing is written again and again while others write.
    Keystrokes "keystrokes" Episode 40,
    /// All write one document without having heard from each other.
    Together "together" Episode 40,
    /// The log that a process leaves rests on a sync that failed, and the power goes.
    LostLog "lost-log" Episode 20,
    /// The process that syncs is frozen over a request, replaced, and goes on.
    Replaced "replaced" Episode 20,
    /// A server is restored to before a text was typed that others have edited since.
    Rewound "rewound" Episode 20,
    /// Text is typed behind some that the server refuses.
    BehindRefused "behind-refused" Episode 30,
    /// The workspace's quota is used up, and raised.
    Full "full" Episode 25,
    /// A sync of the server's fails soon, and its pages are never written.
    ServerSyncLoss "server-sync-loss" Later 25,
    /// All I/O calls of the server fail soon, until its disk is mended or it is started anew.
    ServerStickyIoError "server-sticky-io-error" Later 15,
    /// The server's disk is full from some call on.
    ServerStickyDiskFull "server-sticky-disk-full" Later 10,
    /// A write of the server's is cut short soon.
    ServerShortWrite "server-short-write" Later 25,
    /// What was broken on the server's disk works again.
    ServerMended "server-mended" Later 0,
    /// The log that a server leaves rests on a sync that failed; it is started anew, and the power goes.
    ServerLostLog "server-lost-log" Later 20,
    /// Somebody comes to a machine that several people use.
    Household "household" Often 25,
}

impl Script {
    /// Draws a run of so many steps.
    pub fn draw(seed: u64, steps: usize) -> Script {
        let mut random = Random::new(seed ^ 0xD21F_7114_E000_0000);
        // What was thought of later is drawn apart: all else of a seed stays as it was.
        let mut later = Random::new(seed ^ 0x1A7E_0000_0000);
        let swarm = Swarm::draw(&mut random).with_later(&mut later);
        let weights = weights(&mut random, &swarm);
        let total: u32 = weights.iter().map(|(_, weight)| weight).sum();
        let mut steps: Vec<Step> = (0..steps)
            .map(|_| {
                let mut at = random.below(total as usize) as u32;
                let chosen = weights.iter().find(|(_, weight)| {
                    let here = at < *weight;
                    at = at.saturating_sub(*weight);
                    here
                });
                Step {
                    act: chosen.map_or(Act::Pass, |(act, _)| *act),
                    who: random.next() as u32,
                    draw: random.next() as u32,
                }
            })
            .collect();
        put_episodes(seed, &mut steps);
        put_later(seed, &mut steps);
        put_often(seed, &mut steps);
        Script { seed, swarm, steps }
    }
}

/// Puts episodes in the place of other steps. They are drawn apart from all else.
fn put_episodes(seed: u64, steps: &mut [Step]) {
    let mut random = Random::new(seed ^ 0xE415_0DE5_0000_0000);
    for (act, group, share) in Act::ALL {
        let times = 1 + random.below(2);
        let here = *group == Group::Episode && random.below(100) < *share as usize;
        for _ in 0..if here { times } else { 0 } {
            let at = random.below(steps.len());
            if let Some(step) = steps.get_mut(at) {
                step.act = *act;
            }
        }
    }
}

/// A broken disk of the server's is mended within so many steps.
const MENDED_WITHIN: usize = 40;

/// Puts what was thought of later in the place of other steps, drawn apart from all else. Episodes stay.
fn put_later(seed: u64, steps: &mut [Step]) {
    let mut random = Random::new(seed ^ 0x5E4F_0000_D15C_0000);
    let count = steps.len();
    let mut put = |at: usize, act: Act| {
        if let Some(step) = steps.get_mut(at)
            && step.act.group() != Some(Group::Episode)
        {
            step.act = act;
        }
    };
    for (act, group, share) in Act::ALL {
        if *group != Group::Later {
            continue;
        }
        let times = 1 + random.below(3);
        let here = random.below(100) < *share as usize;
        for _ in 0..if here { times } else { 0 } {
            let at = random.below(count);
            let mended = at + 1 + random.below(MENDED_WITHIN);
            put(at, *act);
            if act.breaks_for_good() {
                put(mended, Act::ServerMended);
            }
        }
    }
}

/// Puts in what one time says little about, drawn apart from all else as well. What was put in before stays.
fn put_often(seed: u64, steps: &mut [Step]) {
    let mut random = Random::new(seed ^ 0x0F7E_4000_0000_0000);
    for (act, _, share) in Act::ALL
        .iter()
        .filter(|(_, group, _)| *group == Group::Often)
    {
        let here = random.below(100) < *share as usize;
        for _ in 0..if here { 6 + random.below(10) } else { 0 } {
            let at = random.below(steps.len());
            if let Some(step) = steps.get_mut(at)
                && !matches!(step.act.group(), Some(Group::Episode | Group::Later))
            {
                step.act = *act;
            }
        }
    }
}

/// How often each kind of step is drawn in this world.
fn weights(random: &mut Random, swarm: &Swarm) -> Vec<(Act, u32)> {
    let mut weights = Vec::new();
    for (act, group, usual) in Act::ALL {
        // They are put in afterwards.
        if matches!(group, Group::Episode | Group::Later | Group::Often) {
            continue;
        }
        let scale = [1, 2, 4, 8][random.below(4)];
        let weight = match group {
            Group::Always => usual * 2,
            Group::App if random.one_in(3) => 0,
            Group::App => usual * scale / 2,
            // What mends is there wherever something may break.
            Group::Fault if act.mends() => *usual,
            Group::Fault if random.below(100) < 55 => 0,
            _ => usual * scale / 2,
        };
        if *act == Act::Long && !swarm.strict {
            continue;
        }
        weights.push((*act, weight));
    }
    weights
}

impl Act {
    fn mends(self) -> bool {
        use Act::{ClockRight, GoodToken, Mended, Rejoin, ServerMended, Thaw};
        matches!(
            self,
            Mended | ClockRight | Rejoin | GoodToken | Thaw | ServerMended
        )
    }

    /// Whether the server's disk stays broken by it.
    fn breaks_for_good(self) -> bool {
        matches!(self, Act::ServerStickyIoError | Act::ServerStickyDiskFull)
    }

    fn group(self) -> Option<Group> {
        let of = Act::ALL.iter().find(|(act, ..)| *act == self);
        of.map(|(_, group, _)| *group)
    }

    /// Whether something goes wrong by it.
    pub fn is_fault(self) -> bool {
        let goes_wrong = matches!(self.group(), Some(Group::Fault | Group::Later));
        goes_wrong && !self.mends()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_script_and_another_one_another() {
        assert_eq!(Script::draw(7, 50), Script::draw(7, 50));
        assert_ne!(Script::draw(7, 50), Script::draw(8, 50));
    }

    #[test]
    fn a_script_can_be_kept() {
        let script = Script::draw(3, 20);
        let kept = serde_json::to_string(&script).unwrap();
        assert_eq!(serde_json::from_str::<Script>(&kept).unwrap(), script);
    }

    #[test]
    fn there_are_faults_enough() {
        let mut faults: Vec<&str> = Act::ALL
            .iter()
            .filter(|(act, ..)| act.is_fault())
            .map(|(act, ..)| act.name())
            .collect();
        faults.dedup();
        assert!(faults.len() >= 30, "{faults:?}");
    }

    #[test]
    fn what_was_thought_of_later_takes_the_place_of_single_steps() {
        let (mut later, mut drawn) = (0, 0_u64);
        for seed in 1..=100 {
            let script = Script::draw(seed, 400);
            let is_later = |step: &&Step| step.act.group() == Some(Group::Later);
            let there = script.steps.iter().filter(is_later).count();
            assert!(there < 40, "{there} of 400");
            later += there;
            for step in script.steps {
                for number in [step.who, step.draw] {
                    drawn = drawn.rotate_left(7) ^ u64::from(number);
                }
            }
        }
        assert!(later > 100, "{later} of 40,000");
        // All else that a step follows from is what it was before there was any of it.
        assert_eq!(drawn, 10_522_433_730_622_768_077);
    }
}
