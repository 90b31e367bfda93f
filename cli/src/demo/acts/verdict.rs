//! The last act: does everybody show the same, is it what the paper says, and is nothing lost?

use std::collections::BTreeSet;

use driftline::inspect;
use serde_json::{Value as Json, json};

use super::tables::{self, AtServer};
use crate::demo::messages::{Lost, Quarantined, Report};
use crate::demo::paper::{JOURNAL, Written};
use crate::demo::world::World;
use crate::failure::{Exit, Failure};
use crate::output::count;

/// A device at the end.
pub(super) struct Final {
    pub(super) name: String,
    pub(super) report: Report,
    /// Sentences of the journal that are there exactly once.
    pub(super) sentences: usize,
    pub(super) digest: String,
    pub(super) millis: i64,
}

pub(in crate::demo) fn verdict(mut world: World<'_>) -> Result<Exit, Failure> {
    world
        .stage
        .step("Everybody's content is compared: four devices, the server, and the paper");
    let journal = world.server_journal()?;
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
        world.stage.equal(
            &format!("writes still queued, and in quarantine, on {name}"),
            "0, 0",
            format!("{}, {}", report.pending, report.quarantined.len()),
        );
        let written = world.team(at)?.read_text(JOURNAL)?;
        let sentences = world.paper.journal().once(&written.text);
        check_journal(&mut world, &name, sentences, written == journal);
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
            sentences,
            digest: digest.to_string(),
            millis,
        });
    }
    let documents = world.server_documents()?;
    world.stage.none(
        "differences between the server and the paper",
        &world.paper.differences(&documents),
    );
    world.stage.none(
        "formats of the journal that stand elsewhere than they were put",
        &world.paper.journal().format_differences(&journal.delta),
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

    tables::losses(world.stage.output, ledgers);
    let at_server = AtServer {
        birds,
        sentences: world.paper.journal().once(&journal.text),
        digest: &server,
    };
    tables::devices(world.stage.output, &finals, &at_server);
    stop(world, &finals, &at_server)
}

/// Checks that every sentence of the journal is there once, and that it is the server's journal.
fn check_journal(world: &mut World<'_>, name: &str, sentences: usize, as_on_server: bool) {
    let told = |sentences: usize, same| {
        let sentences = count(sentences as u64, "sentence", "sentences");
        let same = if same {
            "as on the server"
        } else {
            "not as on the server"
        };
        format!("{sentences} once, {same}")
    };
    let all = world.paper.journal().sentences();
    world.stage.equal(
        &format!("journal of {name}"),
        told(all, true),
        told(sentences, as_on_server),
    );
}

/// The server ends as a service does; what it acknowledged is in its files.
fn stop(mut world: World<'_>, finals: &[Final], server: &AtServer<'_>) -> Result<Exit, Failure> {
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
    world.stage.equal(
        "digest of the server's files after that",
        server.digest,
        &after,
    );
    let devices: Vec<Json> = finals.iter().map(|device| json!({
        "device": device.name, "report": device.report, "journal_sentences": device.sentences,
        "digest": device.digest, "settled_in_ms": device.millis,
    })).collect();
    Ok(world
        .stage
        .verdict(json!({ "devices": devices, "server": server })))
}
