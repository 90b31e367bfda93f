//! A device, seen from outside: a process of its own that is told what to write and says what is
//! committed.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use serde_json::Value as Json;

use super::messages::{Change, Document, Order, Reply, Report, Stroke};
use crate::failure::Failure;

/// How long a device may take for one order.
const PATIENCE: Duration = Duration::from_secs(30);

/// Who a device is.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    /// What people call it.
    pub(super) name: String,
    pub(super) account: String,
    pub(super) workspace: String,
    pub(super) file: PathBuf,
    /// How far its clock is ahead, in milliseconds.
    pub(super) clock_ahead: i64,
}

/// A device at work.
pub(super) struct Team {
    pub(super) identity: Identity,
    process: Option<Process>,
    number: u64,
}

struct Process {
    child: Child,
    orders: ChildStdin,
    replies: Receiver<Reply>,
}

/// A field of a document: collection, id, field.
pub(super) type Place = (&'static str, &'static str, &'static str);

/// What a text holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Content {
    pub(super) text: String,
    /// With formats.
    pub(super) delta: Json,
}

/// What became of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Written {
    Committed,
    Refused { code: String, message: String },
}

impl Team {
    /// Starts the device and waits until its file is open.
    pub(super) fn start(identity: Identity) -> Result<Team, Failure> {
        let mut team = Team {
            identity,
            process: None,
            number: 0,
        };
        team.reopen()?;
        Ok(team)
    }

    pub(super) fn name(&self) -> &str {
        &self.identity.name
    }

    /// Starts the process again, on the same file.
    pub(super) fn reopen(&mut self) -> Result<(), Failure> {
        let fail = |error: std::io::Error| {
            Failure::unavailable("no_process", "cannot start a device's process").because(&error)
        };
        let program = std::env::current_exe().map_err(fail)?;
        let Identity {
            name,
            account,
            workspace,
            file,
            clock_ahead,
        } = &self.identity;
        let log = File::options()
            .create(true)
            .append(true)
            .open(file.with_extension("log"))
            .map_err(fail)?;
        let mut command = Command::new(program);
        command.arg("demo-device");
        command.args([
            "--label",
            name,
            "--account",
            account,
            "--workspace",
            workspace,
        ]);
        command
            .arg(format!("--clock-ahead={clock_ahead}"))
            .arg("--file")
            .arg(file);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log);
        let mut child = command.spawn().map_err(fail)?;
        let (Some(orders), Some(lines)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Failure::fault("a device's process has no pipes"));
        };
        let (sender, replies) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(lines).lines().map_while(Result::ok) {
                let reply = serde_json::from_str(&line).unwrap_or_else(|error| Reply::Failed {
                    code: "not_a_reply".to_owned(),
                    message: error.to_string(),
                });
                if sender.send(reply).is_err() {
                    return;
                }
            }
        });
        self.process = Some(Process {
            child,
            orders,
            replies,
        });
        match self.hear()? {
            Reply::Ready => Ok(()),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Gives an order without waiting.
    fn say(&mut self, order: &Order) -> Result<(), Failure> {
        let stopped = self.stopped();
        let Some(process) = &mut self.process else {
            return Err(stopped);
        };
        let mut line = serde_json::to_vec(order)
            .map_err(|error| Failure::fault("an order cannot be written").because(&error))?;
        line.push(b'\n');
        process
            .orders
            .write_all(&line)
            .and_then(|()| process.orders.flush())
            .map_err(|error| stopped.because(&error))
    }

    fn hear(&mut self) -> Result<Reply, Failure> {
        let Some(process) = &self.process else {
            return Err(self.stopped());
        };
        match process.replies.recv_timeout(PATIENCE) {
            Ok(Reply::Failed { code, message }) => Err(Failure::unavailable(
                "device_failed",
                format!("the device {} failed: {code}: {message}", self.name()),
            )
            .help(self.where_to_look())),
            Ok(reply) => Ok(reply),
            Err(RecvTimeoutError::Disconnected) => Err(self.stopped()),
            Err(RecvTimeoutError::Timeout) => Err(Failure::unavailable(
                "device_silent",
                format!(
                    "the device {} said nothing for {} s",
                    self.name(),
                    PATIENCE.as_secs()
                ),
            )
            .help(self.where_to_look())),
        }
    }

    fn ask(&mut self, order: &Order) -> Result<Reply, Failure> {
        self.say(order)?;
        self.hear()
    }

    fn order(&mut self, order: &Order) -> Result<(), Failure> {
        match self.ask(order)? {
            Reply::Done => Ok(()),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Writes in one transaction and waits until it is committed or refused.
    pub(super) fn write(&mut self, changes: Vec<Change>) -> Result<Written, Failure> {
        self.number += 1;
        let number = self.number;
        match self.ask(&Order::Write { number, changes })? {
            Reply::Written { number: n } if n == number => Ok(Written::Committed),
            Reply::Refused {
                number: n,
                code,
                message,
            } if n == number => Ok(Written::Refused { code, message }),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Orders writes one after the other without waiting for each, kills the process (SIGKILL) when
    /// so many are acknowledged, and says which were: those and any acknowledged while it died.
    pub(super) fn write_until_killed(
        &mut self,
        writes: &[Vec<Change>],
        after: usize,
    ) -> Result<BTreeSet<usize>, Failure> {
        let first = self.number + 1;
        for changes in writes {
            self.number += 1;
            let order = Order::Write {
                number: self.number,
                changes: changes.clone(),
            };
            self.say(&order)?;
        }
        let mut acknowledged = BTreeSet::new();
        while acknowledged.len() < after {
            match self.hear()? {
                Reply::Written { number } => acknowledged.insert(number),
                other => return Err(self.unexpected(&other)),
            };
        }
        if let Some(mut process) = self.process.take() {
            kill(&mut process.child);
            // What it said before it died was said of committed writes.
            while let Ok(reply) = process.replies.recv_timeout(PATIENCE) {
                if let Reply::Written { number } = reply {
                    acknowledged.insert(number);
                }
            }
        }
        Ok(acknowledged
            .into_iter()
            .map(|number| (number - first) as usize)
            .collect())
    }

    /// Opens a text in an editor.
    pub(super) fn open_text(&mut self, (collection, id, field): Place) -> Result<(), Failure> {
        let (collection, id, field) = (collection.to_owned(), id.to_owned(), field.to_owned());
        self.order(&Order::OpenText {
            collection,
            id,
            field,
        })
    }

    /// Types in the open editor; says how many edits of others arrived meanwhile.
    pub(super) fn type_all(
        &mut self,
        strokes: Vec<Stroke>,
        pause: Duration,
    ) -> Result<u64, Failure> {
        let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        match self.ask(&Order::Type { strokes, pause_ms })? {
            Reply::Typed { heard } => Ok(heard),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Closes the editor; what it showed.
    pub(super) fn close_text(&mut self) -> Result<Content, Failure> {
        self.content(&Order::CloseText)
    }

    /// What a text holds.
    pub(super) fn read_text(&mut self, (collection, id, field): Place) -> Result<Content, Failure> {
        let (collection, id, field) = (collection.to_owned(), id.to_owned(), field.to_owned());
        self.content(&Order::ReadText {
            collection,
            id,
            field,
        })
    }

    fn content(&mut self, order: &Order) -> Result<Content, Failure> {
        match self.ask(order)? {
            Reply::Text { text, delta } => Ok(Content { text, delta }),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Which of these documents are there.
    pub(super) fn have(
        &mut self,
        collection: &str,
        ids: Vec<String>,
    ) -> Result<BTreeSet<String>, Failure> {
        match self.ask(&Order::Have {
            collection: collection.to_owned(),
            ids,
        })? {
            Reply::Having { ids } => Ok(ids.into_iter().collect()),
            other => Err(self.unexpected(&other)),
        }
    }

    pub(super) fn connect(&mut self, url: String, token: String) -> Result<(), Failure> {
        self.order(&Order::Connect { url, token })
    }

    pub(super) fn network(&mut self, online: bool) -> Result<(), Failure> {
        self.order(&Order::Network { online })
    }

    pub(super) fn discard(&mut self, op: &str) -> Result<(), Failure> {
        self.order(&Order::Discard { op: op.to_owned() })
    }

    pub(super) fn retry(&mut self, op: &str) -> Result<(), Failure> {
        self.order(&Order::Retry { op: op.to_owned() })
    }

    /// Brings back the value that the device's ledger lists for a field.
    pub(super) fn restore(
        &mut self,
        collection: &str,
        id: &str,
        field: &str,
    ) -> Result<(), Failure> {
        self.order(&Order::Restore {
            collection: collection.to_owned(),
            id: id.to_owned(),
            field: field.to_owned(),
        })
    }

    /// Waits until everything is sent and received; says whether it got there in time.
    pub(super) fn settle(&mut self, within: Duration) -> Result<bool, Failure> {
        let timeout_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        match self.ask(&Order::Settle { timeout_ms })? {
            Reply::Settled { settled, .. } => Ok(settled),
            other => Err(self.unexpected(&other)),
        }
    }

    pub(super) fn documents(&mut self) -> Result<Vec<Document>, Failure> {
        match self.ask(&Order::Documents)? {
            Reply::Documents { documents } => Ok(documents),
            other => Err(self.unexpected(&other)),
        }
    }

    pub(super) fn report(&mut self) -> Result<Report, Failure> {
        match self.ask(&Order::Report)? {
            Reply::Report(report) => Ok(*report),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Closes the file properly and ends the process.
    pub(super) fn close(&mut self) -> Result<(), Failure> {
        self.order(&Order::Close)?;
        if let Some(mut process) = self.process.take() {
            drop(process.orders);
            let _ = process.child.wait();
        }
        Ok(())
    }

    fn stopped(&self) -> Failure {
        Failure::unavailable(
            "device_stopped",
            format!("the device {} ended unexpectedly", self.name()),
        )
        .help(self.where_to_look())
    }

    fn unexpected(&self, reply: &Reply) -> Failure {
        Failure::fault(format!(
            "the device {} answered something else: {reply:?}",
            self.name()
        ))
    }

    fn where_to_look(&self) -> String {
        let log = self.identity.file.with_extension("log");
        let log = log
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        format!("run again with --keep DIR and look at DIR/{log}")
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            kill(&mut process.child);
        }
    }
}

fn kill(child: &mut Child) {
    // It may have ended by itself.
    let _ = child.kill();
    let _ = child.wait();
}

/// Copies a closed file as a backup program would: the file and what SQLite keeps beside it, but not
/// what the host keeps elsewhere.
pub(super) fn copy_file(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::copy(from, to)?;
    let log = |path: &Path| PathBuf::from(format!("{}-wal", path.display()));
    if log(from).exists() {
        std::fs::copy(log(from), log(to))?;
    }
    Ok(())
}
