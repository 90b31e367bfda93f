//! A device's file.

use driftline::inspect::{
    self, CollectionCounts, Digest, FileFacts, LedgerRow, QueueCounts, QueuedWrite, SyncRun,
};
use driftline::{Fault, FieldValue, Value};
use serde_json::json;

use super::{Arguments, moment, show_document, show_pairs};
use crate::failure::{Exit, Failure, Outcome};
use crate::output::{Align, Output, Tone, bytes, clipped, count, span};
use crate::token::unix_seconds;

/// The longest value shown in a table.
const WIDEST: usize = 40;

/// Everything about a file, from one view of it.
struct Everything {
    facts: FileFacts,
    collections: Vec<CollectionCounts>,
    digest: Digest,
    queue: QueueCounts,
    queued: Vec<QueuedWrite>,
    losses: (u64, Vec<LedgerRow>),
    runs: Vec<SyncRun>,
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Outcome {
    if let Some(collection) = &arguments.collection {
        return documents(arguments, collection, output);
    }
    let everything = inspect::read(&arguments.path, |view| {
        Ok(Everything {
            facts: view.facts()?,
            collections: view.collections()?,
            digest: view.digest()?,
            queue: view.queue()?,
            queued: view.queued(arguments.limit)?,
            losses: view.losses(arguments.limit)?,
            runs: view.runs(arguments.limit)?,
        })
    });
    let everything = everything.map_err(|error| unreadable(arguments, &error))?;
    tell(&everything, output);
    show_facts(&everything, output);
    show_collections(&everything.collections, output);
    show_outbox(&everything, output);
    show_ledger(&everything.losses, output);
    show_runs(&everything.runs, output);
    Ok(Exit::Done)
}

pub(super) fn unreadable(arguments: &Arguments, error: &driftline::Error) -> Failure {
    let path = arguments.path.display();
    let failure = match error.fault() {
        Fault::Driftline => Failure::fault(format!("cannot inspect {path}")),
        _ => Failure::file(error.code(), format!("cannot inspect {path}")),
    };
    let failure = failure.because(error);
    match error.code() {
        "not_a_database" | "foreign_file" => {
            failure.help("name a file that an app made with Driftline")
        }
        "newer_file" => {
            failure.help("use the driftline command of the app's own version, or a later one")
        }
        "cannot_open" if arguments.path.is_dir() => {
            failure.help("add --server for a server's data directory")
        }
        "cannot_open" => failure.help("check the path and who may read it"),
        _ => failure,
    }
}

fn documents(arguments: &Arguments, collection: &str, output: &Output) -> Outcome {
    let read = inspect::read(&arguments.path, |view| {
        Ok((view.documents(collection)?, view.collections()?))
    });
    let (documents, collections) = read.map_err(|error| unreadable(arguments, &error))?;
    let Some(documents) = documents else {
        let names: Vec<&str> = collections.iter().map(|c| c.name.as_str()).collect();
        return Err(
            Failure::usage(format!("the file has no collection {collection:?}"))
                .help(format!("one of {}", names.join(", "))),
        );
    };
    for document in &documents {
        let fields: serde_json::Map<_, _> = document
            .fields
            .iter()
            .map(|(name, value)| (name.clone(), as_json(value)))
            .collect();
        output.object(&json!({ "type": "document", "collection": collection, "id": document.id, "fields": fields }));
        let fields = document.fields.iter();
        show_document(
            output,
            &document.id,
            fields.map(|(name, value)| (name, as_text(value))),
        );
    }
    output.line(count(documents.len() as u64, "document", "documents"));
    Ok(Exit::Done)
}

/// The file for programs, one object a part.
fn tell(everything: &Everything, output: &Output) {
    let Everything {
        facts,
        collections,
        digest,
        queue,
        queued,
        losses,
        runs,
    } = everything;
    output.object(&json!({ "type": "file", "facts": facts, "digest": digest.to_string(), "documents": digest.documents() }));
    for collection in collections {
        output.object(&json!({ "type": "collection", "collection": collection }));
    }
    output.object(&json!({ "type": "outbox", "counts": queue }));
    for write in queued {
        output.object(&json!({ "type": "write", "write": write }));
    }
    output.object(&json!({ "type": "ledger", "rows": losses.0 }));
    for loss in &losses.1 {
        output.object(&json!({ "type": "loss", "loss": loss }));
    }
    for run in runs {
        output.object(&json!({ "type": "run", "run": run }));
    }
}

fn show_facts(everything: &Everything, output: &Output) {
    let facts = &everything.facts;
    let log = if facts.log_bytes > 0 {
        format!(", log {}", bytes(facts.log_bytes))
    } else {
        String::new()
    };
    let label = if facts.device_label.is_empty() {
        String::new()
    } else {
        format!(" ({})", facts.device_label)
    };
    let state = if facts.bootstrapping {
        ", a bootstrap is under way"
    } else if facts.attaching {
        ", what a guest wrote is still to be queued"
    } else {
        ""
    };
    let rows = vec![
        (
            "account",
            facts
                .account
                .clone()
                .unwrap_or_else(|| "none (a guest's file)".to_owned()),
        ),
        ("workspace", facts.workspace.clone()),
        ("device", format!("{}{label}", facts.device)),
        (
            "stands at",
            format!("version {}, hash {}{state}", facts.version, facts.hash),
        ),
        (
            "last contact",
            facts
                .last_contact
                .map_or_else(|| "never".to_owned(), moment),
        ),
        (
            "schema",
            format!(
                "version {}, fingerprint {}",
                facts.schema_version, facts.schema_fingerprint
            ),
        ),
        (
            "file",
            format!(
                "{}{log}, tables {}",
                bytes(facts.bytes),
                facts.tables_version
            ),
        ),
        (
            "content",
            format!(
                "{}, {}",
                everything.digest,
                count(everything.digest.documents(), "document", "documents")
            ),
        ),
    ];
    show_pairs(output, rows);
}

fn heading(output: &Output, text: &str) {
    output.line("");
    output.line(output.tone(Tone::Strong, text));
}

fn show_collections(collections: &[CollectionCounts], output: &Output) {
    heading(output, "Collections");
    let columns = [
        ("id", Align::Right),
        ("collection", Align::Left),
        ("live", Align::Right),
        ("with pending writes", Align::Right),
        ("tombstones", Align::Right),
        ("texts", Align::Right),
        ("in texts", Align::Right),
    ];
    let row = |c: &CollectionCounts| {
        vec![
            c.id.to_string(),
            c.name.clone(),
            c.live.to_string(),
            c.pending.to_string(),
            c.tombstones.to_string(),
            c.texts.to_string(),
            bytes(c.text_bytes),
        ]
    };
    output.table(&columns, collections.iter().map(row).collect());
}

fn show_outbox(everything: &Everything, output: &Output) {
    let queue = &everything.queue;
    let age = queue
        .oldest
        .map(|oldest| unix_seconds() * 1000 - oldest)
        .filter(|age| *age >= 0);
    let age = age.map_or_else(String::new, |age| format!(", the oldest {} old", span(age)));
    heading(
        output,
        &format!(
            "Outbox: {} pending ({}){age}; {} in quarantine ({})",
            queue.pending,
            bytes(queue.pending_bytes),
            queue.quarantined,
            bytes(queue.quarantined_bytes)
        ),
    );
    if everything.queued.is_empty() {
        return;
    }
    let columns = [
        ("write", Align::Left),
        ("state", Align::Left),
        ("written", Align::Left),
        ("bytes", Align::Right),
        ("changes", Align::Left),
        ("reason", Align::Left),
    ];
    let row = |write: &QueuedWrite| {
        let changes: Vec<String> = write
            .changes
            .iter()
            .map(|c| format!("{} {}/{}", c.kind, c.collection, c.document))
            .collect();
        let reason = match (&write.code, &write.message) {
            (Some(code), Some(message)) if !message.is_empty() => format!("{code}: {message}"),
            (Some(code), _) => code.clone(),
            _ => String::new(),
        };
        vec![
            write.id.clone(),
            write.state.to_owned(),
            moment(write.written),
            write.bytes.to_string(),
            clipped(&changes.join(", "), 2 * WIDEST),
            reason,
        ]
    };
    output.table(&columns, everything.queued.iter().map(row).collect());
    left_out(
        output,
        queue.pending + queue.quarantined,
        everything.queued.len(),
    );
}

fn show_ledger((total, rows): &(u64, Vec<LedgerRow>), output: &Output) {
    heading(
        output,
        &format!("Ledger: {}", count(*total, "loss", "losses")),
    );
    if rows.is_empty() {
        return;
    }
    let columns = [
        ("when", Align::Left),
        ("document", Align::Left),
        ("field", Align::Left),
        ("lost", Align::Left),
        ("before", Align::Left),
        ("stands", Align::Left),
        ("by", Align::Left),
        ("rule", Align::Left),
    ];
    let row = |loss: &LedgerRow| {
        let rule = if loss.restored {
            format!("{}, restored", loss.rule)
        } else {
            loss.rule.to_owned()
        };
        vec![
            moment(loss.at),
            clipped(&format!("{}/{}", loss.collection, loss.document), WIDEST),
            loss.field.clone().unwrap_or_default(),
            value(&loss.value),
            value(&loss.base_value),
            value(&loss.winner_value),
            loss.winner_device.clone(),
            rule,
        ]
    };
    output.table(&columns, rows.iter().map(row).collect());
    left_out(output, *total, rows.len());
}

fn show_runs(runs: &[SyncRun], output: &Output) {
    heading(output, "Latest syncs");
    if runs.is_empty() {
        output.line("none");
        return;
    }
    let columns = [
        ("started", Align::Left),
        ("took", Align::Right),
        ("cause", Align::Left),
        ("outcome", Align::Left),
        ("sent", Align::Right),
        ("received", Align::Right),
        ("up", Align::Right),
        ("down", Align::Right),
    ];
    let row = |run: &SyncRun| {
        let outcome = match (&run.outcome, &run.error_code) {
            (Some(outcome), Some(code)) => format!("{outcome}: {code}"),
            (Some(outcome), None) => outcome.clone(),
            (None, _) => "cut off".to_owned(),
        };
        vec![
            moment(run.started),
            run.ended
                .map_or_else(String::new, |ended| span(ended - run.started)),
            run.cause.clone(),
            outcome,
            run.sent.to_string(),
            run.received.to_string(),
            bytes(run.bytes_up),
            bytes(run.bytes_down),
        ]
    };
    output.table(&columns, runs.iter().map(row).collect());
}

fn left_out(output: &Output, total: u64, shown: usize) {
    let more = total.saturating_sub(shown as u64);
    if more > 0 {
        output.line(output.tone(Tone::Faint, &format!("and {more} more; --limit shows them")));
    }
}

/// A value in a table.
pub(super) fn value(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Boolean(value) => value.to_string(),
        Value::Integer(n) => n.to_string(),
        Value::Real(x) => x.to_string(),
        Value::Text(text) => clipped(text, WIDEST),
        Value::Bytes(content) => format!("({})", bytes(content.len() as u64)),
    }
}

pub(super) fn as_text(field: &FieldValue) -> String {
    match field {
        FieldValue::Value(content) => value(content),
        FieldValue::Set(elements) => format!("{{{}}}", clipped(&elements.join(", "), WIDEST)),
        _ => "(unknown)".to_owned(),
    }
}

/// A field for programs.
pub(crate) fn as_json(field: &FieldValue) -> serde_json::Value {
    match field {
        FieldValue::Value(value) => json!(value),
        FieldValue::Set(elements) => json!(elements),
        _ => serde_json::Value::Null,
    }
}
