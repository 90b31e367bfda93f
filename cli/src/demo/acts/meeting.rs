//! Act two: the network comes for one team after the other, and is not kind to any.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use crate::demo::weather::Weather;
use crate::demo::world::{BISCOE, CLOCK_AHEAD, DREAM, PATIENCE, TORGERSEN, WORKSPACE, World};
use crate::failure::Failure;
use crate::output::{bytes, count, span};

/// Connections that break off while Torgersen syncs.
const GUSTS: u32 = 4;

/// A clock offset is known to within the time a request takes.
const CLOCK_TOLERANCE: i64 = 2_000;

pub(in crate::demo) fn meeting(world: &mut World<'_>) -> Result<(), Failure> {
    world
        .stage
        .step("The network comes for Biscoe, which sends its birds");
    world.weather_only(BISCOE, Weather::Fair)?;
    world.connect(BISCOE)?;
    let settled = world.settle(BISCOE)?;
    world.stage.happens("Biscoe has sent everything", settled);

    lose_an_answer(world)?;

    world
        .stage
        .step("Torgersen syncs over a network that comes and goes");
    world.network(TORGERSEN)?.storm(GUSTS);
    world.connect(TORGERSEN)?;
    let settled = world.settle(TORGERSEN)?;
    let breaks = world.network(TORGERSEN)?.breaks();
    let text = format!(
        "{} broke off in the middle",
        count(u64::from(breaks), "connection", "connections")
    );
    world.stage.note(&text, json!({ "breaks": breaks }));
    world
        .stage
        .happens("Torgersen has sent everything", settled);
    let offset = world
        .team(TORGERSEN)?
        .report()?
        .clock_offset_ms
        .unwrap_or(0);
    let shown = (offset + 30_000).div_euclid(60_000) * 60_000;
    let near = (offset - CLOCK_AHEAD).abs() < CLOCK_TOLERANCE;
    world.stage.holds(
        "Torgersen's status says how wrong its clock is",
        span(CLOCK_AHEAD),
        span(shown),
        near,
    );

    world.stage.step("Every team receives the others' birds");
    world.all_settle("all three")?;
    world.stage.note(
        "the paper is what must come out, worked out beside the databases from every acknowledged write",
        Json::Null,
    );
    for at in [BISCOE, DREAM, TORGERSEN] {
        let name = world.team(at)?.name().to_owned();
        let documents = world.team(at)?.documents()?;
        let differences = world.paper.differences(&documents);
        world.stage.none(
            &format!("differences between {name} and the paper"),
            &differences,
        );
    }
    world.paper.everybody_saw();
    Ok(())
}

/// Dream's request arrives, the server commits, and the answer never comes back.
fn lose_an_answer(world: &mut World<'_>) -> Result<(), Failure> {
    world
        .stage
        .step("Dream sends its birds; the server commits them, and its answer is lost on the way");
    let before = world.server_version()?;
    let queued = world.team(DREAM)?.report()?.pending;
    let data = world.server.data.clone();
    world
        .network(DREAM)?
        .lose_answer(move || version(&data) > before);
    world.connect(DREAM)?;
    let deadline = Instant::now() + PATIENCE;
    let lost = loop {
        match world.network(DREAM)?.lost_answer() {
            Some(lost) => break lost,
            None if Instant::now() > deadline => {
                return Err(Failure::unavailable(
                    "no_push",
                    "Dream's device never sent its writes",
                ));
            }
            None => std::thread::sleep(Duration::from_millis(10)),
        }
    };
    let committed = world.server_version()?.saturating_sub(before);
    let text = format!(
        "the lost answer: status {}, {}",
        lost.status,
        bytes(lost.bytes as u64)
    );
    world.stage.note(
        &text,
        json!({ "status": lost.status, "bytes": lost.bytes, "committed": committed }),
    );
    world.stage.equal(
        "writes committed by the request whose answer was lost",
        queued,
        committed,
    );
    let waiting = world.team(DREAM)?.report()?.pending;
    world.stage.equal(
        "writes that Dream does not know to be there",
        queued,
        waiting,
    );

    world.weather(DREAM, Weather::Fair)?;
    let settled = world.settle(DREAM)?;
    world
        .stage
        .happens("Dream, sending again, has sent everything", settled);
    let after = world.server_version()?.saturating_sub(before);
    world.stage.equal(
        "versions on the server for those writes, sent twice",
        queued,
        after,
    );
    Ok(())
}

/// The server's last version, as its files have it; 0 if they cannot be read.
fn version(data: &Path) -> u64 {
    let facts = driftline_server::inspect::workspace(data, WORKSPACE);
    facts.ok().flatten().map_or(0, |facts| facts.version)
}
