//! Act five: what the server refused is put right, and what was overwritten is brought back.

use serde_json::{Value as Json, json};

use super::conflicts::{Plot, long_for_now, mass};
use super::watched;
use crate::demo::messages::{Change, Quarantined};
use crate::demo::paper::JOURNAL;
use crate::demo::weather::Weather;
use crate::demo::world::{BISCOE, TORGERSEN, World};
use crate::demo::{LONG_COMMENTS, schema_with_comments_of};
use crate::failure::Failure;

pub(in crate::demo) fn mending(world: &mut World<'_>, plot: &Plot) -> Result<(), Failure> {
    let refused = refused(world, plot)?;
    let_go(world, plot, &refused)?;
    try_again(world, plot, &refused)?;
    bring_back(world, plot)
}

fn refused(world: &mut World<'_>, plot: &Plot) -> Result<Vec<Quarantined>, Failure> {
    world
        .stage
        .step("The server refused two writes; their neighbours were not held up");
    let quarantined = world.team(TORGERSEN)?.report()?.quarantined;
    let refused: Vec<String> = quarantined
        .iter()
        .flat_map(|write| write.documents.clone())
        .collect();
    let (collection, journal, _) = JOURNAL;
    let places = [
        place(&plot.refused),
        place(&plot.retried),
        format!("{collection}/{journal}"),
    ];
    world.stage.equal(
        "in quarantine on Torgersen, with all they wrote",
        places.join(", "),
        refused.join(", "),
    );
    let codes: Vec<&str> = quarantined
        .iter()
        .map(|write| write.code.as_str())
        .collect();
    world
        .stage
        .equal("why", "value_too_large, value_too_large", codes.join(", "));
    for write in &quarantined {
        world
            .stage
            .note(&format!("{}: {}", write.code, write.message), json!(write));
    }
    watched::watch(world)?;
    let documents = world.team(BISCOE)?.documents()?;
    let there = plot.neighbours.iter().filter(|id| {
        let comment = documents
            .iter()
            .find(|d| d.id == **id)
            .and_then(|d| d.fields.get("comments")?.as_str());
        comment.is_some_and(|comment| comment.ends_with("the long comments."))
    });
    world.stage.equal(
        "neighbours of the refused writes that Biscoe has",
        plot.neighbours.len(),
        there.count(),
    );
    Ok(quarantined)
}

fn place(bird: &str) -> String {
    format!("birds/{bird}")
}

/// The refused write to a bird.
fn write_to<'q>(refused: &'q [Quarantined], bird: &str) -> Result<&'q Quarantined, Failure> {
    refused
        .iter()
        .find(|write| write.documents.contains(&place(bird)))
        .ok_or_else(|| Failure::fault(format!("no write to {bird} was refused")))
}

fn let_go(world: &mut World<'_>, plot: &Plot, refused: &[Quarantined]) -> Result<(), Failure> {
    world
        .stage
        .step("Torgersen discards one of them and writes a shorter comment");
    let write = write_to(refused, &plot.refused)?;
    world.team(TORGERSEN)?.discard(&write.op)?;
    world.paper.everybody_saw();
    let shorter = Change::set("birds", &plot.refused, "comments", "Nest moved twice.");
    world.write(TORGERSEN, vec![shorter])?;
    world.all_settle("all four")?;
    everybody_shows(world, &plot.refused, "comments")
}

fn try_again(world: &mut World<'_>, plot: &Plot, refused: &[Quarantined]) -> Result<(), Failure> {
    world.stage.step(&format!(
        "The server is started again and takes comments of {LONG_COMMENTS} bytes; Torgersen retries the other write as it is"
    ));
    let ended = world
        .server
        .restart(&schema_with_comments_of(LONG_COMMENTS)?)?;
    world.stage.happens("the server had ended well", ended);
    let write = write_to(refused, &plot.retried)?;
    world.team(TORGERSEN)?.retry(&write.op)?;
    world.paper.everybody_saw();
    let comment = Change::set("birds", &plot.retried, "comments", long_for_now());
    world
        .paper
        .note("Torgersen", &[comment, plot.with_retried.clone()]);
    world.all_settle("all four")?;
    let left = world.team(TORGERSEN)?.report()?.quarantined.len();
    world.stage.equal("writes left in quarantine", 0, left);
    everybody_shows(world, &plot.retried, "comments")
}

fn bring_back(world: &mut World<'_>, plot: &Plot) -> Result<(), Failure> {
    let Some(bird) = plot.contested.first() else {
        return Err(Failure::fault("no bird is contested"));
    };
    world
        .stage
        .step("Offline, Torgersen finds an overwritten body mass in its ledger and restores it");
    world.weather(TORGERSEN, Weather::Down)?;
    let (lost, stands) = (
        mass(0, TORGERSEN),
        world.paper.value("birds", bird, "body_mass_g"),
    );
    let text = format!(
        "{}: {lost} g was overwritten, {stands} g stands",
        place(bird)
    );
    world.stage.note(
        &text,
        json!({ "bird": bird, "lost": lost, "stands": stands }),
    );
    world
        .team(TORGERSEN)?
        .restore("birds", bird, "body_mass_g")?;
    world.paper.everybody_saw();
    let again = Change::set("birds", bird, "body_mass_g", lost);
    world.paper.note("Torgersen", &[again]);
    let waits = watched::tells_of_pending(world, 1)?;
    world
        .stage
        .happens("the second process sees it wait in the outbox", waits);
    world.weather(TORGERSEN, Weather::Fair)?;
    world.all_settle("all four")?;
    everybody_shows(world, bird, "body_mass_g")?;
    let report = world.team(TORGERSEN)?.report()?;
    let restored: Vec<String> = report
        .losses
        .iter()
        .filter(|loss| loss.restored)
        .map(|loss| format!("{}/{}", loss.collection, loss.id))
        .collect();
    world.stage.equal(
        "marked as restored in the ledger",
        place(bird),
        restored.join(", "),
    );
    Ok(())
}

/// Checks that a field of a bird is the same on all devices, and what the paper says.
fn everybody_shows(world: &mut World<'_>, bird: &str, field: &str) -> Result<(), Failure> {
    let expected = world.paper.value("birds", bird, field);
    let mut showing = 0;
    for at in 0..world.teams.len() {
        let documents = world.team(at)?.documents()?;
        let shown = documents.iter().find(|d| d.id == bird);
        let shown = shown.and_then(|document| document.fields.get(field));
        showing += usize::from(shown.unwrap_or(&Json::Null) == &expected);
    }
    world
        .stage
        .equal("devices that show it", world.teams.len(), showing);
    Ok(())
}
