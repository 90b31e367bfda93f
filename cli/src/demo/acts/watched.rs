//! What a second process saw in Torgersen's file while the device worked.

use serde_json::{Value as Json, json};

use super::conflicts::{Plot, mass};
use crate::demo::paper::{ENTRIES, JOURNAL};
use crate::demo::watcher::Watcher;
use crate::demo::world::{BISCOE, TORGERSEN, World};
use crate::failure::Failure;
use crate::output::count;

/// Somebody begins to watch.
pub(super) fn watch(world: &mut World<'_>) -> Result<(), Failure> {
    let file = world.team(TORGERSEN)?.identity.file.clone();
    world.watcher = Some(Watcher::start(&file)?);
    world.stage.note(
        "from here on a second process watches Torgersen's file: driftline inspect --follow",
        json!({ "file": file.display().to_string() }),
    );
    Ok(())
}

/// Waits until whoever watches has told of so many writes in the outbox.
pub(super) fn tells_of_pending(world: &mut World<'_>, pending: u64) -> Result<bool, Failure> {
    let queued = |told: &Json| told["type"] == "queue" && told["queue"]["pending"] == pending;
    Ok(world.watcher()?.tells(queued))
}

/// Looks at what the watching process told.
pub(in crate::demo) fn watched(world: &mut World<'_>, plot: &Plot) -> Result<(), Failure> {
    world
        .stage
        .step("The second process has told what happened in Torgersen's file");
    let (_, id, field) = JOURNAL;
    let text = world.team(TORGERSEN)?.read_text(JOURNAL)?.text;
    let whole = world
        .watcher()?
        .tells(|told| told["id"] == id && told["after"][field].as_str() == Some(&text));
    let watcher = world.watcher()?;
    let documents = watcher.told("document").count() as u64;
    let queue = watcher.told("queue").count() as u64;
    let drained = watcher
        .told("queue")
        .last()
        .map_or(Json::Null, |told| told["queue"]["pending"].clone());
    let versions: Vec<u64> = watcher
        .told("version")
        .filter_map(|told| told["to"].as_u64())
        .collect();
    let restored = (plot.contested.first().into_iter())
        .flat_map(|bird| changes_of(world.watcher.as_mut(), bird, "body_mass_g"))
        .next_back();
    let text = format!(
        "it told of {}, {}, and versions up to {}",
        count(documents, "changed document", "changed documents"),
        count(queue, "change of the outbox", "changes of the outbox"),
        versions.last().copied().unwrap_or_default(),
    );
    let data = json!({ "documents": documents, "queue": queue, "versions": versions });
    world.stage.note(&text, data);
    world.stage.equal(
        "the body mass that was restored",
        format!("{} → {}", mass(0, BISCOE), mass(0, TORGERSEN)),
        restored.unwrap_or_default(),
    );
    world
        .stage
        .equal("writes in the outbox, at last", 0, drained);
    world.stage.happens(
        &format!("the {ENTRIES} of the journal, to the last word"),
        whole,
    );
    world.watcher = None;
    Ok(())
}

/// How a field of a document changed, each time it did.
fn changes_of(watcher: Option<&mut Watcher>, id: &str, field: &str) -> Vec<String> {
    let told = watcher
        .into_iter()
        .flat_map(|watcher| watcher.told("document"));
    told.filter(|told| told["id"] == id)
        .map(|told| format!("{} → {}", told["before"][field], told["after"][field]))
        .collect()
}
