//! Act three: the network is gone again, and the teams correct each other's records.
//!
//! Torgersen works first and Biscoe last. Torgersen's clock is hours ahead: if stamps were what clocks
//! say, Torgersen would win everything.

use std::time::Duration;

use serde_json::json;

use super::entry::EMPTY_ISLAND;
use super::journal;
use crate::demo::messages::Change;
use crate::demo::team::copy_file;
use crate::demo::weather::Weather;
use crate::demo::world::{BISCOE, COPY, DREAM, TORGERSEN, World};
use crate::failure::Failure;
use crate::output::count;

/// Birds whose body mass all three teams correct.
const CONTESTED: usize = 8;
/// Birds of which two teams correct different fields.
const SHARED: usize = 4;
/// Birds that every team counts.
const COUNTED: usize = 12;

/// Between two teams' shifts: more than a request takes, so that the order is beyond doubt.
const SHIFT_CHANGE: Duration = Duration::from_millis(1_000);

/// Who is fought over.
pub(in crate::demo) struct Plot {
    /// All three correct its body mass.
    pub(in crate::demo) contested: Vec<String>,
    /// Two teams correct different fields of it.
    pub(in crate::demo) shared: Vec<String>,
    /// Everybody counts it.
    pub(in crate::demo) counted: Vec<String>,
    /// Dream deletes it, Biscoe corrects it.
    pub(in crate::demo) revived: String,
    /// Its tags are changed by all.
    pub(in crate::demo) tagged: String,
    /// Its comment is longer than the server ever takes.
    pub(in crate::demo) refused: String,
    /// Its comment is longer than the server takes at first.
    pub(in crate::demo) retried: String,
    /// What else the transaction with that comment writes: a paragraph of the journal.
    pub(in crate::demo) with_retried: Change,
    /// Written right before and right after the refused one.
    pub(in crate::demo) neighbours: [String; 2],
    /// Corrected by Dream and by the copy of Dream.
    pub(in crate::demo) cloned: String,
}

/// The tags of the tagged bird at the end: one that somebody sets while somebody else takes it away
/// stays, because the remover had not seen it set.
pub(in crate::demo) const TAGS_AT_THE_END: [&str; 3] = ["banded", "moulting", "recheck"];

impl Plot {
    fn draw(world: &mut World<'_>) -> Result<Plot, Failure> {
        // A bird tagged at entry, so that there is a tag to fight over.
        let dreams: Vec<&String> = world
            .birds
            .iter()
            .filter(|b| b.island == "Dream")
            .map(|b| &b.id)
            .collect();
        let Some(tagged) = dreams.first().map(|id| (*id).clone()) else {
            return Err(Failure::fault("no birds on Dream"));
        };
        let mut ids: Vec<String> = world
            .birds
            .iter()
            .map(|bird| bird.id.clone())
            .filter(|id| *id != tagged)
            .collect();
        let random = &mut world.random;
        let mut one = || {
            random
                .take(&mut ids)
                .ok_or_else(|| Failure::fault("too few birds"))
        };
        let mut some = |n: usize| (0..n).map(|_| one()).collect::<Result<Vec<_>, _>>();
        let (contested, shared, counted) = (some(CONTESTED)?, some(SHARED)?, some(COUNTED)?);
        let mut last = some(6)?.into_iter();
        let with_retried = journal::torgersen(world, "Torgersen, in the refused write");
        let mut next = || last.next().ok_or_else(|| Failure::fault("too few birds"));
        Ok(Plot {
            contested,
            shared,
            counted,
            revived: next()?,
            tagged,
            refused: next()?,
            retried: next()?,
            with_retried,
            neighbours: [next()?, next()?],
            cloned: next()?,
        })
    }
}

pub(in crate::demo) fn conflicts(world: &mut World<'_>) -> Result<Plot, Failure> {
    let plot = Plot::draw(world)?;
    world
        .stage
        .step("The network is gone; the teams correct each other's records without hearing of it");
    for at in [BISCOE, DREAM, TORGERSEN] {
        world.weather(at, Weather::Down)?;
    }
    torgersen(world, &plot)?;
    std::thread::sleep(SHIFT_CHANGE);
    dream(world, &plot)?;
    std::thread::sleep(SHIFT_CHANGE);
    biscoe(world, &plot)?;
    world
        .paper
        .set("birds", &plot.tagged, "tags", json!(TAGS_AT_THE_END));
    let text = format!(
        "{CONTESTED} body masses corrected by all three, {SHARED} birds by two in different fields, one deleted and corrected, \
         one island deleted and described, tags set and taken away, the journal written on at one place"
    );
    world.stage.note(&text, json!({
        "contested": plot.contested, "shared": plot.shared, "revived": plot.revived, "tagged": plot.tagged,
    }));
    copied(world, &plot)?;
    Ok(plot)
}

/// Longer than the server takes.
const LONG: &str = "Nest moved twice; photographs to follow. ";
/// A comment that the server never takes,
fn too_long() -> String {
    LONG.repeat(8)
}
/// and one that it takes once it is told to take more.
pub(in crate::demo) fn long_for_now() -> String {
    LONG.repeat(6)
}

/// Everybody's body mass for a contested bird is another.
pub(in crate::demo) fn mass(bird: usize, team: usize) -> i64 {
    // No bird weighs exactly that already: the records are in steps of 25 g.
    3_001 + 10 * bird as i64 + team as i64
}

fn correct_masses(world: &mut World<'_>, plot: &Plot, team: usize) -> Result<(), Failure> {
    for (at, bird) in plot.contested.iter().enumerate() {
        world.write(
            team,
            vec![Change::set("birds", bird, "body_mass_g", mass(at, team))],
        )?;
    }
    Ok(())
}

/// Raises counters: of birds, in one transaction each with the visit to the island.
fn count_birds(world: &mut World<'_>, plot: &Plot, team: usize) -> Result<(), Failure> {
    for bird in &plot.counted {
        let by = world.random.between(1, 6) as i64;
        let visit = Change::count(
            "islands",
            ["Biscoe", "Dream", "Torgersen"][world.random.between(0, 3) as usize],
            "visits",
            1,
        );
        world.write(
            team,
            vec![Change::count("birds", bird, "sightings", by), visit],
        )?;
    }
    Ok(())
}

fn torgersen(world: &mut World<'_>, plot: &Plot) -> Result<(), Failure> {
    correct_masses(world, plot, TORGERSEN)?;
    count_birds(world, plot, TORGERSEN)?;
    for (at, bird) in plot.shared.iter().enumerate() {
        let length = 40.0 + at as f64 / 4.0;
        world.write(
            TORGERSEN,
            vec![Change::set("birds", bird, "culmen_length_mm", length)],
        )?;
    }
    world.write(
        TORGERSEN,
        vec![Change::add("birds", &plot.tagged, "tags", "recheck")],
    )?;
    world.write(
        TORGERSEN,
        vec![Change::add("birds", &plot.tagged, "tags", "moulting")],
    )?;
    // Dream deletes the island, which stays deleted: what is said of it here goes to the ledger.
    let notes = Change::set("islands", EMPTY_ISLAND, "notes", "Nothing but shags.");
    world.write_in_vain(TORGERSEN, vec![notes])?;

    let first_week = journal::torgersen(world, "Torgersen, first week");
    world.write(TORGERSEN, vec![first_week])?;
    let [before, after] = &plot.neighbours;
    world.write(
        TORGERSEN,
        vec![Change::set(
            "birds",
            before,
            "comments",
            "Seen before the long comments.",
        )],
    )?;
    let never = Change::set("birds", &plot.refused, "comments", too_long());
    world.write_in_vain(TORGERSEN, vec![never])?;
    let not_yet = Change::set("birds", &plot.retried, "comments", long_for_now());
    world.write_in_vain(TORGERSEN, vec![not_yet, plot.with_retried.clone()])?;
    // Typed after words that the server refuses: they must not be lost with those.
    let second_week = journal::torgersen_on_top(world);
    world.write(TORGERSEN, vec![second_week])?;
    world.write(
        TORGERSEN,
        vec![Change::set(
            "birds",
            after,
            "comments",
            "Seen after the long comments.",
        )],
    )
}

fn dream(world: &mut World<'_>, plot: &Plot) -> Result<(), Failure> {
    correct_masses(world, plot, DREAM)?;
    count_birds(world, plot, DREAM)?;
    for (at, bird) in plot.shared.iter().enumerate() {
        let depth = 17.0 + at as f64 / 4.0;
        world.write(
            DREAM,
            vec![Change::set("birds", bird, "culmen_depth_mm", depth)],
        )?;
    }
    journal::dream_alone(world)?;
    world.write(DREAM, vec![Change::delete("islands", EMPTY_ISLAND)])?;
    // Biscoe corrects the bird: it stays.
    world.write_in_vain(DREAM, vec![Change::delete("birds", &plot.revived)])
}

fn biscoe(world: &mut World<'_>, plot: &Plot) -> Result<(), Failure> {
    correct_masses(world, plot, BISCOE)?;
    count_birds(world, plot, BISCOE)?;
    world.write(
        BISCOE,
        vec![Change::set(
            "birds",
            &plot.revived,
            "comments",
            "Measured again; a healthy bird.",
        )],
    )?;
    world.write(
        BISCOE,
        vec![Change::remove("birds", &plot.tagged, "tags", "recheck")],
    )?;
    world.write(
        BISCOE,
        vec![Change::add("birds", &plot.tagged, "tags", "banded")],
    )
}

/// A file with unsynced writes in it is copied to a fourth device, and both go on.
fn copied(world: &mut World<'_>, plot: &Plot) -> Result<(), Failure> {
    world
        .stage
        .step("Dream's file, with unsynced writes in it, is copied to a fourth device; both go on");
    let report = world.team(DREAM)?.report()?;
    world.remember_bytes(DREAM, &report);
    world.team(DREAM)?.close()?;
    let from = world.team(DREAM)?.identity.file.clone();
    let to = world.directory.join("dreams-copy.db");
    copy_file(&from, &to)
        .map_err(|error| Failure::file("not_copied", "cannot copy Dream's file").because(&error))?;
    world.team(DREAM)?.reopen()?;
    world.join("Dream's copy", "dream", 0)?;
    let (original, copy) = (
        world.team(DREAM)?.report()?.pending,
        world.team(COPY)?.report()?.pending,
    );
    world.stage.holds(
        "unsynced writes in the file",
        "some",
        original,
        original > 0,
    );
    world
        .stage
        .equal("unsynced writes in the copy", original, copy);

    let counted = plot.counted.first().unwrap_or(&plot.tagged).clone();
    world.write(
        DREAM,
        vec![Change::count("birds", &counted, "sightings", 2)],
    )?;
    world.write(COPY, vec![Change::count("birds", &counted, "sightings", 3)])?;
    world.write(
        DREAM,
        vec![Change::set("birds", &plot.cloned, "body_mass_g", 4_001)],
    )?;
    journal::copies(world)?;
    std::thread::sleep(SHIFT_CHANGE);
    world.write(
        COPY,
        vec![Change::set("birds", &plot.cloned, "body_mass_g", 4_002)],
    )?;
    let text = format!(
        "both hold the same {}, and each adds three of its own: a count, a body mass, a paragraph",
        count(original, "write", "writes")
    );
    world.stage.note(
        &text,
        json!({ "shared_writes": original, "bird": plot.cloned }),
    );
    Ok(())
}
