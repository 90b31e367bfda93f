//! A device's file while an app works on it.

use std::time::{Duration, Instant};

use driftline::FieldValue;
use driftline::inspect::{DocumentChange, FieldChange, FileChange, Follower};
use serde_json::{Value as Json, json};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::device::{as_json, as_text, unreadable};
use super::{Arguments, moment};
use crate::failure::{Exit, Failure, Outcome};
use crate::output::{Output, Tone, bytes, count, plain};
use crate::token::unix_seconds;

/// How often the file is looked at, and how much of the time at most.
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);
const IDLE_PART: u32 = 3;

pub(super) fn run(arguments: &Arguments, output: &Output) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| {
            Failure::unavailable("no_threads", "cannot wait for signals").because(&error)
        })?;
    runtime.block_on(follow(arguments, output))
}

async fn follow(arguments: &Arguments, output: &Output) -> Outcome {
    let mut stop = Stop::prepare()?;
    let mut follower =
        Follower::open(&arguments.path).map_err(|error| unreadable(arguments, &error))?;
    begin(arguments, &follower, output);
    let mut pause = BETWEEN_LOOKS;
    while !output.is_broken() {
        tokio::select! {
            biased;
            () = stop.wait() => break,
            () = tokio::time::sleep(pause) => {}
        }
        let began = Instant::now();
        let changes = follower
            .look()
            .map_err(|error| unreadable(arguments, &error))?;
        changes.iter().for_each(|change| tell(change, output));
        pause = BETWEEN_LOOKS.max(began.elapsed() * IDLE_PART);
    }
    Ok(Exit::Done)
}

/// Ctrl-C, or a polite kill.
struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    fn prepare() -> Result<Stop, Failure> {
        let deaf = |error: std::io::Error| {
            Failure::unavailable("no_signals", "cannot listen for signals").because(&error)
        };
        Ok(Stop {
            interrupt: signal(SignalKind::interrupt()).map_err(deaf)?,
            terminate: signal(SignalKind::terminate()).map_err(deaf)?,
        })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

fn begin(arguments: &Arguments, follower: &Follower, output: &Output) {
    let queue = follower.queue();
    output.object(&json!({
        "type": "following",
        "documents": follower.documents(),
        "version": follower.version(),
        "queue": queue,
    }));
    output.line(format!(
        "following {}: {}, version {}, {} pending; Ctrl-C ends",
        arguments.path.display(),
        count(follower.documents() as u64, "document", "documents"),
        follower.version(),
        queue.pending
    ));
}

fn tell(change: &FileChange, output: &Output) {
    let at = unix_seconds() * 1000;
    let line = |text: String| {
        output.line(format!("{}  {text}", output.tone(Tone::Faint, &moment(at))));
    };
    match change {
        FileChange::Document {
            collection,
            id,
            kind,
            fields,
        } => {
            let side = |pick: &dyn Fn(&FieldChange) -> Json| {
                let fields = fields.iter().map(|(name, pair)| (name.clone(), pick(pair)));
                Json::Object(fields.collect())
            };
            let json = |value: &Option<FieldValue>| value.as_ref().map_or(Json::Null, as_json);
            output.object(&json!({
                "type": "document", "kind": kind, "collection": collection, "id": id,
                "before": side(&|change| json(&change.before)),
                "after": side(&|change| json(&change.after)),
            }));
            line(document(*kind, collection, id, fields.iter(), output));
        }
        FileChange::Queue(queue) => {
            output.object(&json!({ "type": "queue", "queue": queue }));
            line(format!(
                "outbox: {} pending ({}), {} in quarantine",
                queue.pending,
                bytes(queue.pending_bytes),
                queue.quarantined
            ));
        }
        FileChange::Version { from, to } => {
            output.object(&json!({ "type": "version", "from": from, "to": to }));
            line(format!("version {from} → {to}"));
        }
        FileChange::Losses(rows) => {
            output.object(&json!({ "type": "losses", "rows": rows }));
            line(format!("ledger: {}", count(*rows, "loss", "losses")));
        }
        FileChange::Syncer(process) => {
            output.object(&json!({ "type": "syncer", "process": process }));
            line(match process {
                Some(process) => format!("synced by process {}", plain(process)),
                None => "synced by nobody".to_owned(),
            });
        }
        _ => {}
    }
}

fn document<'a>(
    kind: DocumentChange,
    collection: &str,
    id: &str,
    fields: impl Iterator<Item = (&'a String, &'a FieldChange)>,
    output: &Output,
) -> String {
    let (sign, tone) = match kind {
        DocumentChange::Added => ("+", Tone::Good),
        DocumentChange::Changed => ("~", Tone::Strong),
        DocumentChange::Removed => ("-", Tone::Bad),
    };
    let text = |value: &Option<FieldValue>| value.as_ref().map_or("-".to_owned(), as_text);
    let fields: Vec<String> = match kind {
        DocumentChange::Removed => Vec::new(),
        DocumentChange::Added => fields
            .map(|(name, change)| format!("{name}: {}", text(&change.after)))
            .collect(),
        DocumentChange::Changed => fields
            .map(|(name, FieldChange { before, after })| {
                format!("{name}: {} → {}", text(before), text(after))
            })
            .collect(),
    };
    let head = output.tone(tone, &format!("{sign} {collection}/{}", plain(id)));
    format!("{head}  {}", fields.join("  "))
        .trim_end()
        .to_owned()
}
