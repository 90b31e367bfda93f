//! All schedules up to a depth, and seeded walks beyond it.

use std::collections::{HashMap, HashSet};

use super::{Action, World};

/// What an exploration saw.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Explored {
    /// Schedules of every length up to the depth, each an applicable sequence of actions.
    pub(crate) schedules: u64,
    /// Different worlds among their ends; every one of them was healed and checked.
    pub(crate) worlds: usize,
    /// The shortest schedule with a problem, and the problem.
    pub(crate) broken: Option<(Vec<Action>, String)>,
}

/// Runs all schedules of `actions` up to `depth` steps. Schedules that meet in the same world go on
/// together; they are counted one by one.
pub(crate) fn explore(start: &World, actions: &[Action], depth: usize) -> Explored {
    let mut layer: Vec<(World, u64, Vec<u8>)> = vec![(start.clone(), 1, Vec::new())];
    let mut seen: HashSet<u64> = HashSet::from([start.digest()]);
    let mut explored = Explored {
        schedules: 0,
        worlds: 1,
        broken: None,
    };
    for step in 1..=depth {
        let mut next: Vec<(World, u64, Vec<u8>)> = Vec::new();
        let mut at: HashMap<u64, usize> = HashMap::new();
        for (world, count, path) in &layer {
            let here = world.digest();
            for (action, reached) in actions
                .iter()
                .enumerate()
                .filter_map(|(i, a)| Some((i, world.step(*a)?)))
            {
                let digest = reached.digest();
                if digest == here && reached.problems.is_empty() {
                    continue;
                }
                explored.schedules += count;
                if let Some(known) = at.get(&digest) {
                    next[*known].1 += count;
                    continue;
                }
                let mut path = path.clone();
                path.push(action as u8);
                if seen.insert(digest) {
                    explored.worlds += 1;
                    let problem = reached.problems.first().cloned();
                    let problem = problem.or_else(|| reached.healed().problems.first().cloned());
                    if let Some(problem) = problem {
                        let schedule = path.iter().map(|a| actions[usize::from(*a)]).collect();
                        explored.broken = Some((schedule, problem));
                        return explored;
                    }
                }
                at.insert(digest, next.len());
                // The last layer is only looked at.
                next.push((
                    if step == depth {
                        start.clone()
                    } else {
                        reached
                    },
                    *count,
                    path,
                ));
            }
        }
        layer = next;
    }
    explored
}

/// Walks `steps` seeded random steps at a time, `walks` times; each end is healed and checked.
pub(crate) fn walk(
    start: &World,
    actions: &[Action],
    walks: u64,
    steps: usize,
    seed: u64,
) -> Explored {
    let mut explored = Explored {
        schedules: 0,
        worlds: 0,
        broken: None,
    };
    let mut random = seed | 1;
    for _ in 0..walks {
        let (mut world, mut path) = (start.clone(), Vec::new());
        for _ in 0..steps * 8 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let action = actions[(random >> 11) as usize % actions.len()];
            let Some(next) = world.step(action) else {
                continue;
            };
            world = next;
            path.push(action);
            explored.worlds += 1;
            if !world.problems.is_empty() || path.len() == steps {
                break;
            }
        }
        explored.schedules += 1;
        let problem = world.problems.first().cloned();
        if let Some(problem) = problem.or_else(|| world.healed().problems.first().cloned()) {
            explored.broken = Some(shortened(start, path, problem));
            return explored;
        }
    }
    explored
}

/// Leaves out what is not needed to go wrong.
fn shortened(start: &World, mut path: Vec<Action>, mut problem: String) -> (Vec<Action>, String) {
    let mut at = 0;
    while at < path.len() {
        let mut shorter = path.clone();
        shorter.remove(at);
        let mut world = start.clone();
        for action in &shorter {
            world = world.step(*action).unwrap_or(world);
        }
        let found = world.problems.first().cloned();
        match found.or_else(|| world.healed().problems.first().cloned()) {
            Some(found) => (path, problem, at) = (shorter, found, 0),
            None => at += 1,
        }
    }
    (path, problem)
}
