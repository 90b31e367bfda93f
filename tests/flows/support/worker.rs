//! An app in a process of its own, told by lines what to do.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use driftline::SyncConfig;

use super::{Device, Server};

const FILE: &str = "DRIFTLINE_FLOWS_WORKER";
const ROLE: &str = "DRIFTLINE_FLOWS_ROLE";
const LABEL: &str = "DRIFTLINE_FLOWS_LABEL";
/// Tells what the worker says from what the test harness does.
const MARK: &str = "@@ ";
const PATIENCE: Duration = Duration::from_secs(60);

/// The worker, from outside.
pub struct Worker {
    child: Child,
    orders: ChildStdin,
    said: Receiver<String>,
}

#[allow(dead_code)]
impl Worker {
    pub fn start(path: &Path, label: &str) -> Worker {
        Worker::spawn(path, label, "obey")
    }

    /// One that attaches a guest's file when it is told anything.
    pub fn start_attaching(path: &Path) -> Worker {
        Worker::spawn(path, "attaching", "attach")
    }

    fn spawn(path: &Path, label: &str, role: &str) -> Worker {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "sharing::child_that_does_what_it_is_told",
                "--nocapture",
            ])
            .env(FILE, path)
            .env(LABEL, label)
            .env(ROLE, role)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let orders = child.stdin.take().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (sender, said) = channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if let Some((_, word)) = line.split_once(MARK)
                    && sender.send(word.to_owned()).is_err()
                {
                    return;
                }
            }
        });
        let worker = Worker {
            child,
            orders,
            said,
        };
        assert_eq!(worker.hear(), "ready");
        worker
    }

    /// Gives an order without waiting for the answer.
    pub fn tell(&mut self, order: &str) {
        writeln!(self.orders, "{order}").unwrap();
    }

    /// Gives an order and waits for its answer.
    pub fn ask(&mut self, order: &str) -> String {
        self.tell(order);
        self.hear()
    }

    /// What it says next.
    pub fn hear(&self) -> String {
        self.said.recv_timeout(PATIENCE).unwrap()
    }

    /// What it said that nobody has heard, once it has ended.
    pub fn rest(&self) -> Vec<String> {
        self.said.iter().collect()
    }

    /// Asks again and again until the answer is what is waited for; returns how long that took.
    pub fn until(&mut self, order: &str, done: impl Fn(&str) -> bool) -> Duration {
        let began = Instant::now();
        loop {
            let answer = self.ask(order);
            if done(&answer) {
                return began.elapsed();
            }
            if began.elapsed() > PATIENCE {
                panic!("{order}: {answer}, {}", self.ask("status"));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn connect(&mut self, server: &Server) {
        let token = server.token("ada", super::device::WORKSPACE, "writer", "1h");
        let answer = self.ask(&format!("connect {} {token}", server.url));
        assert_eq!(answer, "connected");
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([&format!("-{name}"), &self.id().to_string()])
            .status()
            .unwrap();
        assert!(status.success());
    }

    /// Whether it has not ended by itself.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// kill -9.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn say(word: impl std::fmt::Display) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{MARK}{word}").unwrap();
    out.flush().unwrap();
}

/// The worker, from inside; nothing where the test harness runs this as a test.
pub fn obey() {
    let Ok(path) = std::env::var(FILE) else {
        return;
    };
    let label = std::env::var(LABEL).unwrap();
    if std::env::var(ROLE).unwrap() == "attach" {
        return attach(Path::new(&path), &label);
    }
    let device = Device::at(Path::new(&path), &label);
    say("ready");
    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["connect", url, token] => {
                let token = (*token).to_owned();
                let config = SyncConfig::new(*url, move || Ok(token.clone()));
                device.db.connect(config).unwrap();
                say("connected");
            }
            ["write", count] => {
                for n in 0..count.parse().unwrap() {
                    write(&device, &label, n);
                }
                say("written");
            }
            ["session", id, count] => say(session(&device, &label, id, count.parse().unwrap())),
            ["chatter", id] => chatter(&device, &label, id),
            ["pour", tally] => pour(&device, &label, tally),
            ["hold", millis] => {
                let millis = millis.parse().unwrap();
                let held = device.db.write(|_| {
                    say("holding");
                    std::thread::sleep(Duration::from_millis(millis));
                    Ok(())
                });
                say(held.map_or_else(|error| error.code(), |()| "let go"));
            }
            ["watch"] => watch(&device),
            ["count"] => say(device.count("notes")),
            ["pending"] => say(device.db.outbox().size().unwrap().pending),
            ["status"] => {
                let status = device.db.sync().map(|sync| sync.status());
                let status = status.unwrap_or_default();
                say(format!("{:?} {:?}", status.state, status.cause));
            }
            ["sync"] => {
                let sync = device.db.sync().unwrap();
                say(sync.sync_until(Duration::from_secs(30)));
            }
            ["suspend"] => {
                device.db.suspend().unwrap();
                say("suspended");
            }
            ["resume"] => {
                device.db.resume().unwrap();
                say("resumed");
            }
            other => panic!("unknown order {other:?}"),
        }
    }
}

/// Attaches a guest's file.
fn attach(path: &Path, label: &str) {
    let schema = driftline::Schema::parse(super::SCHEMA).unwrap();
    let config = driftline::Config::new(path, schema, super::device::WORKSPACE);
    let guest = driftline::Database::open(config.with_device_label(label));
    // A file that was attached in part is opened with its account.
    let db = guest.unwrap_or_else(|_| Device::at(path, label).db);
    say("ready");
    let mut order = String::new();
    std::io::stdin().read_line(&mut order).unwrap();
    let attached = db.attach_account("ada", super::device::WORKSPACE);
    say(attached.unwrap().queued);
}

/// A note that knows how many there were when it was written.
fn write(device: &Device, label: &str, n: i64) {
    let written = device.db.write(|tx| {
        let before = tx.query("SELECT count(*) FROM notes", ())?;
        let before = before.scalar().cloned().unwrap();
        tx.insert(
            "notes",
            [("title", format!("{label} {n}").into()), ("rank", before)],
        )
    });
    written.unwrap();
}

/// Types into an open editor, at the beginning and at the end of what it shows.
fn session(device: &Device, label: &str, id: &str, count: usize) -> String {
    let editor = device.db.open_text("notes", id, "story").unwrap();
    for n in 0..count {
        let at = if n % 2 == 0 { 0 } else { editor.len().unwrap() };
        let word = driftline::TextEdit::insert(at, format!(" {label}-{n} "));
        editor.edit([word]).unwrap();
        if n % 5 == 0 {
            editor.news().unwrap();
        }
        std::thread::sleep(Duration::from_millis(4));
    }
    let closed = editor.close();
    closed.map_or_else(|error| error.code().to_owned(), |()| "typed".to_owned())
}

/// Types for ever, and says each word once it is stored.
fn chatter(device: &Device, label: &str, id: &str) {
    let editor = device.db.open_text("notes", id, "story").unwrap();
    for n in 0.. {
        let end = editor.len().unwrap();
        let word = format!("{label}-{n}");
        let edit = driftline::TextEdit::insert(end, format!("{word} "));
        editor.edit([edit]).unwrap();
        editor.flush().unwrap();
        say(word);
    }
}

/// Writes for ever, in bursts, and says each write that has returned: a note, and one more on a counter
/// that others raise too.
fn pour(device: &Device, label: &str, tally: &str) {
    for n in 0.. {
        let title = format!("poured {label} {n}");
        let written = device.db.write(|tx| {
            tx.insert("notes", [("title", title.as_str())])?;
            tx.increment("notes", tally, "count", 1)
        });
        written.unwrap();
        say(title);
        if n % 10 == 9 {
            // Time in which only syncing can be hit.
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Says how many notes there are, whenever that changes.
fn watch(device: &Device) {
    let mut watched = device.db.watch("SELECT count(*) FROM notes", ()).unwrap();
    std::thread::spawn(move || {
        while let Ok(Some(update)) = watched.next() {
            match update.rows.scalar() {
                Some(driftline::Value::Integer(count)) => say(format!("watched {count}")),
                other => panic!("no count: {other:?}"),
            }
        }
    });
}
