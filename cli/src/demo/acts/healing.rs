//! Act four: the network comes back, badly.

use serde_json::json;

use super::conflicts::{Plot, TAGS_AT_THE_END};
use super::entry::EMPTY_ISLAND;
use crate::demo::world::{BISCOE, COPY, DREAM, TORGERSEN, World};
use crate::failure::Failure;
use crate::output::count;

/// Connections of each device that break off.
const GUSTS: u32 = 3;

pub(in crate::demo) fn healing(world: &mut World<'_>, plot: &Plot) -> Result<(), Failure> {
    world
        .stage
        .step("The network comes back for all four, in gusts");
    let before: u32 = world
        .networks
        .iter()
        .map(crate::demo::weather::Network::breaks)
        .sum();
    // Both files of Dream were opened anew: they connect anew.
    for at in [DREAM, COPY] {
        world.connect(at)?;
    }
    for at in [BISCOE, DREAM, TORGERSEN, COPY] {
        world.network(at)?.storm(GUSTS);
        world.team(at)?.network(true)?;
    }
    let settled = world.settle_all()?;
    let breaks = world
        .networks
        .iter()
        .map(crate::demo::weather::Network::breaks)
        .sum::<u32>()
        - before;
    world.stage.note(
        &format!(
            "{} broke off in the middle",
            count(u64::from(breaks), "connection", "connections")
        ),
        json!({ "breaks": breaks }),
    );
    world.stage.happens("all four are up to date", settled);
    policies(world, plot)
}

/// What the schema says of conflicts, one by one, on a device that caused most of them.
fn policies(world: &mut World<'_>, plot: &Plot) -> Result<(), Failure> {
    world.stage.step("Each conflict ended as the schema says");
    let documents = world.team(BISCOE)?.documents()?;
    let shown = |collection: &str, id: &str, field: &str| {
        let document = documents
            .iter()
            .find(|d| d.collection == collection && d.id == id);
        document
            .and_then(|document| document.fields.get(field))
            .cloned()
            .unwrap_or_default()
    };
    let as_written = |ids: &[String], field: &str| {
        ids.iter()
            .filter(|id| shown("birds", id, field) == world.paper.value("birds", id, field))
            .count()
    };
    let last = as_written(&plot.contested, "body_mass_g");
    let both = as_written(&plot.shared, "culmen_length_mm")
        .min(as_written(&plot.shared, "culmen_depth_mm"));
    let deleted = documents
        .iter()
        .all(|d| d.collection != "islands" || d.id != EMPTY_ISLAND);
    let comment = shown("birds", &plot.revived, "comments");
    let tags = shown("birds", &plot.tagged, "tags");
    let counted = plot
        .counted
        .first()
        .map(|bird| shown("birds", bird, "sightings"))
        .unwrap_or_default();
    let expected = plot
        .counted
        .first()
        .map(|bird| world.paper.value("birds", bird, "sightings"))
        .unwrap_or_default();
    let (mass, last_mass) = (
        shown("birds", &plot.cloned, "body_mass_g"),
        world.paper.value("birds", &plot.cloned, "body_mass_g"),
    );
    let stage = &mut world.stage;
    stage.equal(
        "body masses as the last team wrote them, whatever Torgersen's clock said",
        plot.contested.len(),
        last,
    );
    stage.equal(
        "birds corrected by two in different fields that have both",
        plot.shared.len(),
        both,
    );
    stage.holds(
        "the bird that Dream deleted and Biscoe corrected",
        "is there, corrected",
        &comment,
        comment.is_string(),
    );
    stage.equal(
        "the island that was deleted and described",
        "is gone",
        if deleted { "is gone" } else { "is there" },
    );
    stage.equal(
        "tags set by some and taken away by others",
        json!(TAGS_AT_THE_END),
        tags,
    );
    stage.equal(
        "sightings raised by all, some of them in a file and its copy",
        expected,
        counted,
    );
    stage.equal(
        "body mass corrected in a file and, later, in its copy",
        last_mass,
        mass,
    );
    Ok(())
}
