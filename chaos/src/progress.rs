//! Where a run is: a bar for a person, a line now and then for a log.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Between two lines in a log.
const PERIOD: Duration = Duration::from_secs(15);

/// Shown on standard error.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    last: Mutex<Instant>,
}

impl Progress {
    pub(crate) fn new(kills: u64) -> Progress {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(kills);
            let style = ProgressStyle::with_template("{bar:40} {pos}/{len} kills, {elapsed}");
            bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        Progress {
            bar,
            last: Mutex::new(Instant::now()),
        }
    }

    pub(crate) fn kills(&self, kills: u64, of: u64) {
        match (&self.bar, self.last.lock()) {
            (Some(bar), _) => bar.set_position(kills.min(of)),
            (None, Ok(mut last)) if last.elapsed() >= PERIOD || kills >= of => {
                *last = Instant::now();
                eprintln!("  {kills} of {of} kills");
            }
            _ => {}
        }
    }

    pub(crate) fn say(&self, what: &str) {
        match &self.bar {
            Some(bar) => bar.finish_and_clear(),
            None => eprintln!("  {what}"),
        }
    }
}
