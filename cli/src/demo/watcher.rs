//! A second process at one device's file while the device works: `driftline inspect --follow`.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value as Json;

use crate::failure::Failure;

/// How long it may take to tell something.
const PATIENCE: Duration = Duration::from_secs(15);

/// The process, and what it told so far.
pub(super) struct Watcher {
    child: Child,
    lines: Receiver<Json>,
    told: Vec<Json>,
}

impl Watcher {
    /// Starts it and waits until it follows the file.
    pub(super) fn start(file: &Path) -> Result<Watcher, Failure> {
        let fail = |error: std::io::Error| {
            Failure::unavailable("no_process", "cannot start a process that watches")
                .because(&error)
        };
        let mut child = Command::new(std::env::current_exe().map_err(fail)?)
            .args(["--json", "inspect", "--follow"])
            .arg(file)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(fail)?;
        let (sender, lines) = channel();
        let Some(stdout) = child.stdout.take() else {
            return Err(Failure::fault("the watching process has no pipe"));
        };
        std::thread::spawn(move || {
            let lines = BufReader::new(stdout).lines().map_while(Result::ok);
            let objects = lines.map_while(|line| serde_json::from_str(&line).ok());
            objects
                .take_while(|object: &Json| sender.send(object.clone()).is_ok())
                .for_each(drop);
        });
        let mut watcher = Watcher {
            child,
            lines,
            told: Vec::new(),
        };
        match watcher.tells(|told| told["type"] == "following") {
            true => Ok(watcher),
            false => Err(Failure::fault("nobody follows the file")),
        }
    }

    /// Waits until it has told what `wanted` looks for, now or before; says whether it has.
    pub(super) fn tells(&mut self, wanted: impl Fn(&Json) -> bool) -> bool {
        let deadline = Instant::now() + PATIENCE;
        let mut looked_at = 0;
        loop {
            if self.told.iter().skip(looked_at).any(&wanted) {
                return true;
            }
            looked_at = self.told.len();
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(object) => self.told.push(object),
                Err(_) => return false,
            }
        }
    }

    /// What it told of one type.
    pub(super) fn told(&mut self, kind: &str) -> impl Iterator<Item = &Json> {
        self.told.extend(self.lines.try_iter());
        self.told.iter().filter(move |told| told["type"] == kind)
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // It only reads: nothing is lost with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
