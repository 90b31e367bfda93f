//! What a device does in each of its lives and how it dies: drawn from the seed, whatever the time.

use driftline_chaos::proxy::{Network, Profile};
use driftline_chaos::random::Random;

use crate::order::Act;

/// Boards of a workspace: few, so that devices meet on them.
const BOARDS: u64 = 4;
/// Drafts of a device.
const SLOTS: u64 = 4;

/// From start to death.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Life {
    pub(crate) network: Network,
    pub(crate) steps: Vec<Step>,
    pub(crate) death: Death,
}

/// Ordered one after the other, without waiting for answers.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Step {
    Write { number: u64, acts: Vec<Act> },
    Sync,
    Pause { ms: u64 },
}

/// How a life ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Death {
    /// Killed so long after the start, wherever it is in opening its file. Nothing is ordered.
    Opening { after_us: u64 },
    /// Killed so long after so many writes were acknowledged, with others under way.
    Writing { acknowledged: usize, after_us: u64 },
    /// Killed so long after everything was ordered: while it syncs, or idles.
    Syncing { after_us: u64 },
    /// Not killed: closed as an app should.
    Closing,
}

impl Death {
    pub(crate) const NAMES: [&'static str; 4] = ["opening", "writing", "syncing", "closed"];

    pub(crate) fn index(self) -> usize {
        match self {
            Death::Opening { .. } => 0,
            Death::Writing { .. } => 1,
            Death::Syncing { .. } => 2,
            Death::Closing => 3,
        }
    }
}

/// Draws one device's lives.
pub(crate) struct Plan {
    seed: u64,
    device: u64,
    life: u64,
    number: u64,
    /// The transactions that added an element, with the board, oldest first.
    tagged: Vec<(u64, u64)>,
}

impl Plan {
    pub(crate) fn new(seed: u64, device: u64) -> Plan {
        Plan {
            seed,
            device,
            life: 0,
            number: 0,
            tagged: Vec::new(),
        }
    }

    pub(crate) fn next_life(&mut self) -> Life {
        self.life += 1;
        let mut random = Random::of(self.seed, &[self.device, self.life]);
        let network = network(&mut random);
        let writes = random.between(1, 11);
        let mut steps = Vec::new();
        for _ in 0..writes {
            steps.push(self.write(&mut random));
            if random.chance(150) {
                steps.push(Step::Sync);
            }
            if random.chance(150) {
                let ms = random.between(1, 60);
                steps.push(Step::Pause { ms });
            }
        }
        Life {
            network,
            steps,
            death: death(&mut random, writes),
        }
    }

    fn write(&mut self, random: &mut Random) -> Step {
        self.number += 1;
        let mut acts = Vec::new();
        if random.chance(250) {
            acts.push(Act::Meter);
        } else {
            // Several changes in one transaction are one op: all of them or none.
            let changes = random.between(1, 4);
            for _ in 0..changes {
                match self.act(random) {
                    // The journal's row has room for one headline.
                    Act::Headline { board } if acts.iter().any(is_headline) => {
                        acts.push(Act::Vote { board, by: 1 });
                    }
                    act => acts.push(act),
                }
            }
        }
        Step::Write {
            number: self.number,
            acts,
        }
    }

    fn act(&mut self, random: &mut Random) -> Act {
        let (board, slot) = (random.between(0, BOARDS), random.between(0, SLOTS));
        match random.between(0, 100) {
            0..30 => {
                let by = random.between(1, 10) as i64;
                let by = if random.chance(400) { -by } else { by };
                Act::Vote { board, by }
            }
            30..50 => Act::Headline { board },
            50..65 => {
                self.tagged.push((board, self.number));
                Act::Tag { board }
            }
            65..75 if !self.tagged.is_empty() => {
                let at = random.between(0, self.tagged.len() as u64) as usize;
                let (board, number) = self.tagged.swap_remove(at);
                Act::Untag { board, number }
            }
            75..88 => Act::Draft { slot },
            88..100 => Act::Erase { slot },
            _ => Act::Draft { slot },
        }
    }
}

fn is_headline(act: &Act) -> bool {
    matches!(act, Act::Headline { .. })
}

/// Swarm: each kind of fault is on or off for a life, and has a rate of its own there.
fn network(random: &mut Random) -> Network {
    match random.between(0, 100) {
        0..12 => return Network::Down,
        12..45 => return Network::Up(Profile::FAIR),
        _ => {}
    }
    let mut rate = |most| match random.chance(500) {
        true => random.between(20, most),
        false => 0,
    };
    Network::Up(Profile {
        cut: rate(350),
        delay: rate(200),
        throttle: rate(150),
        drop_answers: rate(200),
        half_open: rate(80),
    })
}

fn death(random: &mut Random, writes: u64) -> Death {
    match random.between(0, 100) {
        0..12 => Death::Opening {
            after_us: random.between(0, 60_000),
        },
        12..50 => Death::Writing {
            acknowledged: random.between(0, writes) as usize,
            after_us: random.between(0, 4_000),
        },
        50..86 => Death::Syncing {
            after_us: random.between(0, 300_000),
        },
        // Long enough for waits between attempts, for the live socket, for other devices' news.
        86..93 => Death::Syncing {
            after_us: random.between(300_000, 2_500_000),
        },
        _ => Death::Closing,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn lives(seed: u64, device: u64) -> Vec<Life> {
        let mut plan = Plan::new(seed, device);
        (0..200).map(|_| plan.next_life()).collect()
    }

    #[test]
    fn the_same_seed_plans_the_same_lives() {
        assert_eq!(lives(3, 1), lives(3, 1));
        assert_ne!(lives(3, 1), lives(3, 2));
        assert_ne!(lives(3, 1), lives(4, 1));
    }

    #[test]
    fn every_death_act_and_network_comes_up() {
        let lives = lives(1, 0);
        let deaths: BTreeSet<usize> = lives.iter().map(|life| life.death.index()).collect();
        assert_eq!(deaths.len(), Death::NAMES.len());
        let acts: BTreeSet<_> = lives
            .iter()
            .flat_map(|life| &life.steps)
            .filter_map(|step| match step {
                Step::Write { acts, .. } => Some(acts),
                _ => None,
            })
            .flatten()
            .map(std::mem::discriminant)
            .map(|kind| format!("{kind:?}"))
            .collect();
        assert_eq!(acts.len(), 7, "{acts:?}");
        assert!(lives.iter().any(|life| life.network == Network::Down));
    }

    #[test]
    fn only_what_was_added_is_removed_and_a_headline_comes_once() {
        let (mut added, mut removed) = (BTreeSet::new(), 0);
        for step in lives(2, 5).into_iter().flat_map(|life| life.steps) {
            let Step::Write { number, acts } = step else {
                continue;
            };
            assert!(acts.iter().filter(|act| is_headline(act)).count() < 2);
            for act in acts {
                match act {
                    Act::Tag { board } => drop(added.insert((board, number))),
                    Act::Untag { board, number } => {
                        assert!(added.contains(&(board, number)));
                        removed += 1;
                    }
                    _ => {}
                }
            }
        }
        assert!(removed > 20);
    }
}
