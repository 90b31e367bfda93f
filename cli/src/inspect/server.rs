//! A server's data directory.

use driftline_server::inspect::{self, CollectionCounts, FieldValue, SeenDevice, WorkspaceFacts};
use driftline_server::store::StoreError;
use serde_json::json;

use super::{Arguments, device, moment, show_document, show_pairs};
use crate::failure::{Exit, Failure, Outcome};
use crate::output::{Align, Output, Tone, bytes, clipped, count, plain};

pub(super) fn run(arguments: &Arguments, output: &Output) -> Outcome {
    let names =
        inspect::workspaces(&arguments.path).map_err(|error| unreadable(arguments, &error))?;
    let chosen: Vec<&String> = match &arguments.workspace {
        None => names.iter().collect(),
        Some(wanted) => names.iter().filter(|name| *name == wanted).collect(),
    };
    if let (Some(wanted), true) = (&arguments.workspace, chosen.is_empty()) {
        return Err(
            Failure::usage(format!("the server has no workspace {wanted:?}"))
                .help(format!("one of {}", names.join(", "))),
        );
    }
    for name in chosen {
        match &arguments.collection {
            Some(collection) => documents(arguments, name, collection, output)?,
            None => workspace(arguments, name, output)?,
        }
    }
    if names.is_empty() {
        output.line("no workspaces yet");
    }
    Ok(Exit::Done)
}

fn unreadable(arguments: &Arguments, error: &StoreError) -> Failure {
    let path = arguments.path.display();
    let failure = Failure::file("data_unreadable", format!("cannot inspect {path}")).because(error);
    match arguments.path.is_file() {
        true => failure.help("leave --server out for a device's file"),
        false => failure.help("name the directory given to `driftline serve --data`"),
    }
}

fn workspace(arguments: &Arguments, name: &str, output: &Output) -> Result<(), Failure> {
    let facts =
        inspect::workspace(&arguments.path, name).map_err(|error| unreadable(arguments, &error))?;
    // Nothing takes a workspace away again.
    let Some(facts) = facts else {
        return Err(Failure::fault(format!("the workspace {name} is gone")));
    };
    output.object(&json!({ "type": "workspace", "facts": facts }));
    show(&facts, output);
    Ok(())
}

fn show(facts: &WorkspaceFacts, output: &Output) {
    let rows = vec![
        ("workspace", facts.workspace.clone()),
        (
            "stands at",
            format!("version {}, hash {}", facts.version, facts.hash),
        ),
        (
            "verdicts",
            format!("{} accepted, {} rejected", facts.accepted, facts.rejected),
        ),
        (
            "content",
            format!(
                "{}, {}, {}",
                facts.digest,
                count(facts.documents, "document", "documents"),
                bytes(facts.bytes)
            ),
        ),
    ];
    show_pairs(output, rows);
    output.line("");
    if facts.unfolded_edits > 0 {
        let edits = count(facts.unfolded_edits, "edit", "edits");
        output.line(format!("{edits} of texts to be folded"));
        output.line("");
    }
    for aside in &facts.texts_aside {
        output.line(output.tone(
            Tone::Bad,
            &format!(
                "{} {} {}: not folded any more: {}",
                aside.collection,
                plain(&aside.document),
                aside.field,
                aside.why
            ),
        ));
    }
    let columns = [
        ("id", Align::Right),
        ("collection", Align::Left),
        ("live", Align::Right),
        ("tombstones", Align::Right),
    ];
    let row = |c: &CollectionCounts| {
        vec![
            c.id.to_string(),
            c.name.clone(),
            c.live.to_string(),
            c.tombstones.to_string(),
        ]
    };
    output.table(&columns, facts.collections.iter().map(row).collect());
    output.line("");
    let columns = [
        ("account", Align::Left),
        ("device", Align::Left),
        ("id", Align::Left),
        ("stands at", Align::Right),
        ("last seen", Align::Left),
        ("losses", Align::Right),
    ];
    let row = |d: &SeenDevice| {
        vec![
            d.account.clone(),
            d.label.clone(),
            d.device.clone(),
            d.version.to_string(),
            moment(d.last_seen),
            d.losses.to_string(),
        ]
    };
    output.table(&columns, facts.devices.iter().map(row).collect());
    output.line("");
}

fn documents(
    arguments: &Arguments,
    name: &str,
    collection: &str,
    output: &Output,
) -> Result<(), Failure> {
    let documents =
        inspect::documents(&arguments.path, name).map_err(|error| unreadable(arguments, &error))?;
    let documents = documents.unwrap_or_default();
    let chosen = documents
        .iter()
        .filter(|document| document.collection == collection);
    let mut shown = 0;
    for document in chosen {
        output.object(&json!({
            "type": "document", "workspace": name, "collection": collection, "id": document.id, "fields": document.fields,
        }));
        let fields = document.fields.iter();
        show_document(
            output,
            &document.id,
            fields.map(|(name, value)| (name, as_text(value))),
        );
        shown += 1;
    }
    output.line(format!("{name}: {}", count(shown, "document", "documents")));
    Ok(())
}

fn as_text(field: &FieldValue) -> String {
    match field {
        FieldValue::Value(content) => device::value(content),
        FieldValue::Set(elements) => format!("{{{}}}", clipped(&elements.join(", "), 40)),
        FieldValue::Text { text, .. } => clipped(&plain(text), 40),
        FieldValue::List(elements) => {
            let elements: Vec<String> = elements.iter().map(ToString::to_string).collect();
            format!("[{}]", clipped(&plain(&elements.join(", ")), 40))
        }
        _ => "(unknown)".to_owned(),
    }
}
