//! The last act: does everybody show the same, is it what the paper says, and is nothing lost?

use std::collections::BTreeSet;

use driftline::inspect;
use serde_json::{Value as Json, json};

use crate::demo::messages::{Lost, Quarantined, Report};
use crate::demo::paper::Written;
use crate::demo::world::World;
use crate::failure::{Exit, Failure};
use crate::output::{Align, Tone, bytes, clipped, count, span};

/// A device at the end.
struct Final {
    name: String,
    report: Report,
    digest: String,
    millis: i64,
}

pub(in crate::demo) fn verdict(mut world: World<'_>) -> Result<Exit, Failure> {
    world
        .stage
        .step("Everybody's content is compared: four devices, the server, and the paper");
    let mut finals = Vec::new();
    let (mut ledgers, mut quarantine): (Vec<(String, Lost)>, Vec<Quarantined>) =
        (Vec::new(), Vec::new());
    let mut shown = Vec::new();
    for at in 0..world.teams.len() {
        let team = world.team(at)?;
        let (name, file) = (team.name().to_owned(), team.identity.file.clone());
        let documents = team.documents()?;
        let mut report = team.report()?;
        let digest = inspect::read(&file, |view| view.digest()).map_err(|error| {
            Failure::file(error.code(), format!("cannot inspect {}", file.display()))
                .because(&error)
        })?;
        let differences = world.paper.differences(&documents);
        world.stage.none(
            &format!("differences between {name} and the paper"),
            &differences,
        );
        world
            .stage
            .equal(&format!("writes still queued on {name}"), 0, report.pending);
        world.stage.equal(
            &format!("writes in quarantine on {name}"),
            0,
            report.quarantined.len(),
        );
        let (up, down) = world.bytes_before.get(at).copied().unwrap_or_default();
        report.bytes_up += up;
        report.bytes_down += down;
        ledgers.extend(
            report
                .losses
                .iter()
                .map(|loss| (name.clone(), loss.clone())),
        );
        quarantine.extend(report.quarantined.iter().cloned());
        shown = documents;
        let millis = world.settled_in.get(at).map_or(0, |time| {
            i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
        });
        finals.push(Final {
            name,
            report,
            digest: digest.to_string(),
            millis,
        });
    }
    let documents = world.server_documents()?;
    world.stage.none(
        "differences between the server and the paper",
        &world.paper.differences(&documents),
    );

    let facts = world.server_facts()?;
    let server = facts
        .as_ref()
        .map_or_else(String::new, |facts| facts.digest.clone());
    for device in &finals {
        world.stage.equal(
            &format!("digest of {} and of the server", device.name),
            &server,
            &device.digest,
        );
    }
    let sightings = world.paper.sum("birds", "sightings");
    let birds = documents
        .iter()
        .filter(|document| document.collection == "birds")
        .count();
    world
        .stage
        .equal("birds on the server", world.paper.count("birds"), birds);
    for (collection, field, expected) in [
        ("birds", "sightings", sightings),
        ("islands", "visits", world.paper.sum("islands", "visits")),
    ] {
        let counted: i64 = shown
            .iter()
            .filter(|document| document.collection == collection)
            .filter_map(|document| document.fields.get(field)?.as_i64())
            .sum();
        world.stage.equal(
            &format!("sum of {field}, raised everywhere"),
            expected,
            counted,
        );
    }

    world
        .stage
        .step("Nothing that was acknowledged is lost: it is in a document, or in the ledger");
    let ledger: Vec<Lost> = ledgers.iter().map(|(_, loss)| loss.clone()).collect();
    let acknowledged = count(
        world.paper.acknowledged(),
        "acknowledged value",
        "acknowledged values",
    );
    world.stage.none(
        &format!("of {acknowledged}, unaccounted for"),
        &world.paper.unaccounted(&shown, &ledger, &quarantine),
    );
    let overwritten: BTreeSet<Written> = ledger
        .iter()
        .filter(|loss| ["overwritten", "too_late"].contains(&loss.rule.as_str()))
        .filter_map(Written::of_loss)
        .collect();
    let expected = world.paper.overwritten();
    let listed: Vec<String> = expected
        .difference(&overwritten)
        .map(|w| format!("{w} is not listed"))
        .collect();
    let surplus: Vec<String> = overwritten
        .difference(&expected)
        .map(|w| format!("{w} was not overwritten"))
        .collect();
    world.stage.none(
        &format!(
            "of {} overwritten values, missing in the ledgers",
            expected.len()
        ),
        &listed,
    );
    world
        .stage
        .none("listed as overwritten without having been", &surplus);

    show_losses(&world, ledgers);
    show_devices(
        &world,
        &finals,
        facts
            .as_ref()
            .map(|facts| (facts.documents, facts.digest.as_str())),
    );
    stop(world, &finals, &server)
}

/// The server ends as a service does; what it acknowledged is in its files.
fn stop(mut world: World<'_>, finals: &[Final], digest: &str) -> Result<Exit, Failure> {
    for team in &mut world.teams {
        team.close()?;
    }
    let ended = world.server.stop()?;
    world.stage.step("Devices and server are closed");
    world.stage.equal(
        "the server ended",
        "well",
        if ended { "well" } else { "badly" },
    );
    let after = world
        .server_facts()?
        .map_or_else(String::new, |facts| facts.digest);
    world
        .stage
        .equal("digest of the server's files after that", digest, &after);
    let devices: Vec<Json> = finals.iter().map(|device| json!({
        "device": device.name, "report": device.report, "digest": device.digest, "settled_in_ms": device.millis,
    })).collect();
    Ok(world
        .stage
        .verdict(json!({ "devices": devices, "server": { "digest": digest } })))
}

fn show_losses(world: &World<'_>, ledgers: Vec<(String, Lost)>) {
    let output = world.stage.output;
    output.line("");
    output.line(output.tone(
        Tone::Strong,
        "Every value that was written and does not stand",
    ));
    let columns = [
        ("document", Align::Left),
        ("field", Align::Left),
        ("lost", Align::Right),
        ("before", Align::Right),
        ("won", Align::Right),
        ("written by", Align::Left),
        ("won by", Align::Left),
        ("rule", Align::Left),
    ];
    let text = |value: &driftline::Value| match value {
        driftline::Value::Null => "-".to_owned(),
        driftline::Value::Text(text) => clipped(text, 24),
        other => json!(other).to_string(),
    };
    let row = |(authors, loss): &(String, Lost)| {
        vec![
            format!("{}/{}", loss.collection, loss.id),
            loss.field
                .clone()
                .unwrap_or_else(|| "(the delete)".to_owned()),
            text(&loss.value),
            text(&loss.base_value),
            text(&loss.winner_value),
            authors.clone(),
            loss.winner_device.clone(),
            loss.rule.clone(),
        ]
    };
    let rows = joined(ledgers);
    output.table(&columns, rows.iter().map(row).collect());
    for (authors, loss) in &rows {
        output.object(&json!({ "type": "loss", "written_by": authors, "loss": loss }));
    }
}

/// A file and its copy are one device to the server: what it says of one it says of both.
fn joined(ledgers: Vec<(String, Lost)>) -> Vec<(String, Lost)> {
    let mut rows: Vec<(String, Lost)> = Vec::new();
    for (author, loss) in ledgers {
        match rows.iter_mut().find(|(_, known)| *known == loss) {
            Some((authors, _)) => *authors += &format!(" / {author}"),
            None => rows.push((author, loss)),
        }
    }
    rows.sort_by(|(_, a), (_, b)| {
        (&a.collection, &a.id, &a.field).cmp(&(&b.collection, &b.id, &b.field))
    });
    rows
}

fn show_devices(world: &World<'_>, finals: &[Final], server: Option<(u64, &str)>) {
    let output = world.stage.output;
    output.line("");
    let columns = [
        ("device", Align::Left),
        ("birds", Align::Right),
        ("pending", Align::Right),
        ("quarantined", Align::Right),
        ("overwritten", Align::Right),
        ("up", Align::Right),
        ("down", Align::Right),
        ("synced in", Align::Right),
        ("content", Align::Left),
    ];
    let overwritten = |report: &Report| {
        report
            .losses
            .iter()
            .filter(|l| l.rule != "rejected")
            .count()
    };
    let row = |device: &Final| {
        vec![
            device.name.clone(),
            device.report.birds.to_string(),
            device.report.pending.to_string(),
            device.report.quarantined.len().to_string(),
            overwritten(&device.report).to_string(),
            bytes(device.report.bytes_up),
            bytes(device.report.bytes_down),
            span(device.millis),
            device.digest.clone(),
        ]
    };
    let mut rows: Vec<Vec<String>> = finals.iter().map(row).collect();
    if let Some((_, digest)) = server {
        let mut row = vec![
            "(server)".to_owned(),
            finals
                .first()
                .map_or(0, |_| world.paper.count("birds"))
                .to_string(),
        ];
        row.extend(std::iter::repeat_n(String::new(), 6));
        row.push(digest.to_owned());
        rows.push(row);
    }
    output.table(&columns, rows);
}
