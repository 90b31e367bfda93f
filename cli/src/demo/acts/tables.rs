//! The closing tables: what was written and does not stand, and how everybody stands.

use std::collections::BTreeMap;

use driftline::Value;
use serde::Serialize;
use serde_json::json;

use super::verdict::Final;
use crate::demo::messages::{Lost, Report};
use crate::output::{Align, Output, Tone, bytes, clipped, span};

/// What the server has at the end.
#[derive(Serialize)]
pub(super) struct AtServer<'a> {
    pub(super) birds: usize,
    /// Sentences of the journal that are there exactly once.
    #[serde(rename = "journal_sentences")]
    pub(super) sentences: usize,
    pub(super) digest: &'a str,
}

/// The widest value in a table.
const WIDEST: usize = 20;

/// So much of a digest tells two contents apart in a table; the checks compare all of it.
const BEGINNING: usize = 8;

/// The rules of the ledger, in the words of somebody who reads them for the first time.
const RULES: [(&str, &str); 6] = [
    (
        "overwritten",
        "it stood until a later value came, by somebody who had not seen it",
    ),
    (
        "too_late",
        "when it came, a later value by somebody who had not seen it stood",
    ),
    (
        "deleted",
        "the document was deleted, by somebody who had not seen it",
    ),
    (
        "delete_cancelled",
        "a delete, undone by a correction it had not seen",
    ),
    ("generation_gone", "it meant a document that is gone"),
    ("rejected", "the server refused it"),
];

/// Lists every loss, by rule.
pub(super) fn losses(output: &Output, ledgers: Vec<(String, Lost)>) {
    let rows = joined(ledgers);
    for (authors, loss) in &rows {
        output.object(&json!({ "type": "loss", "written_by": authors, "loss": loss }));
    }
    output.line("");
    output.line(output.tone(
        Tone::Strong,
        "Every value that was written and did not stand",
    ));
    let mut groups: BTreeMap<String, Vec<Vec<String>>> = BTreeMap::new();
    for (authors, loss) in &rows {
        let group = groups.entry(explained(loss)).or_default();
        group.push(row(authors, loss));
    }
    for (rule, rows) in groups {
        output.line(rule);
        output.table(&COLUMNS, rows);
    }
}

/// A loss's rule, and what it means.
fn explained(loss: &Lost) -> String {
    let known = RULES.iter().find(|(rule, _)| *rule == loss.rule);
    let words = known.map_or("", |(_, words)| words);
    match loss.restored {
        true => format!("{}, and restored: its author brought it back", loss.rule),
        false => format!("{}: {words}", loss.rule),
    }
}

const COLUMNS: [(&str, Align); 7] = [
    ("document", Align::Left),
    ("field", Align::Left),
    ("was", Align::Right),
    ("lost", Align::Right),
    ("by", Align::Left),
    ("won", Align::Right),
    ("by", Align::Left),
];

fn row(authors: &str, loss: &Lost) -> Vec<String> {
    let text = |value: &Value| match value {
        Value::Null => "-".to_owned(),
        Value::Text(text) => clipped(text, WIDEST),
        other => json!(other).to_string(),
    };
    vec![
        format!("{}/{}", loss.collection, loss.id),
        loss.field.clone().unwrap_or_else(|| "-".to_owned()),
        text(&loss.base_value),
        text(&loss.value),
        authors.to_owned(),
        text(&loss.winner_value),
        loss.winner_device.clone(),
    ]
}

/// A file and its copy are one device to the server: what it says of one it says of both.
fn joined(ledgers: Vec<(String, Lost)>) -> Vec<(String, Lost)> {
    let mut rows: Vec<(String, Lost)> = Vec::new();
    for (author, loss) in ledgers {
        match rows.iter_mut().find(|(_, known)| *known == loss) {
            Some((authors, _)) => *authors += " + copy",
            None => rows.push((author, loss)),
        }
    }
    rows.sort_by(|(_, a), (_, b)| {
        (&a.collection, &a.id, &a.field).cmp(&(&b.collection, &b.id, &b.field))
    });
    rows
}

/// How every device and the server stand, a column each.
pub(super) fn devices(output: &Output, finals: &[Final], server: &AtServer<'_>) {
    let mut columns = vec![("", Align::Left)];
    columns.extend(finals.iter().map(|f| (f.name.as_str(), Align::Right)));
    columns.push(("server", Align::Right));
    let row = |name: &str, of: &dyn Fn(&Final) -> String, at_server: String| {
        let mut row = vec![name.to_owned()];
        row.extend(finals.iter().map(of));
        row.push(at_server);
        row
    };
    let report = |name: &str, of: &dyn Fn(&Report) -> String| {
        row(name, &|device| of(&device.report), String::new())
    };
    let beginning = |digest: &str| digest.chars().take(BEGINNING).collect::<String>();
    let overwritten = |report: &Report| {
        let lost = report.losses.iter().filter(|l| l.rule != "rejected");
        lost.count().to_string()
    };
    let rows = vec![
        row(
            "birds",
            &|device| device.report.birds.to_string(),
            server.birds.to_string(),
        ),
        row(
            "in the journal",
            &|device| device.sentences.to_string(),
            server.sentences.to_string(),
        ),
        report("pending", &|report| report.pending.to_string()),
        report("quarantined", &|report| {
            report.quarantined.len().to_string()
        }),
        report("overwritten", &overwritten),
        report("sent", &|report| bytes(report.bytes_up)),
        report("received", &|report| bytes(report.bytes_down)),
        row("synced in", &|device| span(device.millis), String::new()),
        row(
            "content",
            &|device| beginning(&device.digest),
            beginning(server.digest),
        ),
    ];
    output.line("");
    output.table(&columns, rows);
}
