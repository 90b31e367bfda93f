//! How far a run of many seeds is, and where to go on should it be ended: nobody has to see it through in
//! one go.

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Between two lines in a log.
const PERIOD: Duration = Duration::from_secs(30);

/// Seeds that have not been run.
#[derive(Clone, Copy)]
pub(crate) struct Rest {
    /// The first of them.
    pub(crate) first: u64,
    /// Behind the last.
    pub(crate) end: u64,
    /// Steps of each.
    pub(crate) steps: usize,
}

impl Rest {
    /// What runs them.
    fn command(self) -> String {
        let seeds = self.end - self.first;
        format!(
            "cargo xtask simulate --first {} --seeds {seeds} --steps {}",
            self.first, self.steps
        )
    }
}

/// A bar for a person, a line now and then for a log. Both end with the command that runs the rest, so that
/// it is the last thing to be read after the program was ended in whatever way.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    all: Rest,
    state: Mutex<State>,
}

struct State {
    rest: Rest,
    /// Seeds that ended before an earlier one.
    ahead: BTreeSet<u64>,
    said: Instant,
}

impl Progress {
    pub(crate) fn new(all: Rest) -> Progress {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(all.end - all.first);
            let style = ProgressStyle::with_template(
                "{bar:40} {pos}/{len} seeds, {elapsed}, {eta} to go\nthe rest: {msg}",
            );
            bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        Progress {
            bar,
            all,
            state: Mutex::new(State {
                rest: all,
                ahead: BTreeSet::new(),
                said: Instant::now(),
            }),
        }
    }

    /// A seed has been run.
    pub(crate) fn ended(&self, seed: u64) {
        let mut state = self.state();
        state.ended(seed);
        let rest = state.rest;
        match &self.bar {
            Some(bar) => {
                bar.inc(1);
                bar.set_message(rest.command());
            }
            None if state.said.elapsed() >= PERIOD => {
                state.said = Instant::now();
                let ended = rest.first - self.all.first + state.ahead.len() as u64;
                let of = self.all.end - self.all.first;
                eprintln!("  {ended} of {of} seeds; the rest: {}", rest.command());
            }
            None => {}
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something worth a line.
    pub(crate) fn say(&self, words: &str) {
        match &self.bar {
            Some(bar) => bar.println(words),
            None => eprintln!("{words}"),
        }
    }

    /// All have been run.
    pub(crate) fn close(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl State {
    fn ended(&mut self, seed: u64) {
        self.ahead.insert(seed);
        while self.ahead.remove(&self.rest.first) {
            self.rest.first += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_begins_with_the_first_seed_that_has_not_ended() {
        let rest = Rest {
            first: 5,
            end: 100,
            steps: 400,
        };
        let mut state = State {
            rest,
            ahead: BTreeSet::new(),
            said: Instant::now(),
        };
        state.ended(6);
        state.ended(7);
        assert_eq!(state.rest.first, 5);
        state.ended(5);
        assert_eq!(
            state.rest.command(),
            "cargo xtask simulate --first 8 --seeds 92 --steps 400"
        );
    }
}
