//! Act one: nobody has a network, every team enters its own birds, and one device is killed.

use std::collections::BTreeSet;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use super::journal;
use crate::demo::birds::{Bird, Fields};
use crate::demo::messages::{Change, What};
use crate::demo::team::{Team, Written};
use crate::demo::world::{BISCOE, CLOCK_AHEAD, DREAM, TORGERSEN, World};
use crate::failure::Failure;
use crate::output::{count, span};

/// The teams and how far their clocks are ahead.
const TEAMS: [(&str, i64); 3] = [("Biscoe", 0), ("Dream", 0), ("Torgersen", CLOCK_AHEAD)];

/// An island nobody has birds on; its document is fought over later.
pub(super) const EMPTY_ISLAND: &str = "Cormorant";

/// Every so many birds the team's visit is counted, in the transaction that enters the bird.
const BIRDS_A_VISIT: usize = 10;

/// Orders under way when the device is killed: some of them are committed and not acknowledged.
const UNDER_WAY: usize = 40;

/// What a team did.
struct Entered {
    /// Transactions that are in the file.
    written: Vec<Vec<Change>>,
    killed: Option<Killed>,
}

/// What a kill left.
struct Killed {
    acknowledged: usize,
    /// Acknowledged and not there: broken promises.
    missing: Vec<String>,
    /// There without having been acknowledged: nobody was promised them, none is torn.
    unacknowledged: usize,
}

/// When a device is killed: after so many transactions, then so many acknowledgements later.
struct Kill {
    after: usize,
    then: usize,
}

pub(in crate::demo) fn entry(world: &mut World<'_>) -> Result<(), Failure> {
    for (name, clock_ahead) in TEAMS {
        world.join(name, &name.to_lowercase(), clock_ahead)?;
    }
    world
        .stage
        .step("Three teams without a network enter the birds of their own island");
    let clock = format!(
        "the clock of Torgersen's device is {} ahead",
        span(CLOCK_AHEAD)
    );
    world.stage.note(
        &clock,
        json!({ "device": "Torgersen", "clock_ahead_ms": CLOCK_AHEAD }),
    );

    let kill = Kill {
        after: world.random.between(40, 60) as usize,
        then: world.random.between(8, 24) as usize,
    };
    let entered = enter_all(world, kill)?;
    for (at, (name, _)) in TEAMS.iter().enumerate() {
        let Some(entered) = entered.get(at) else {
            continue;
        };
        for changes in &entered.written {
            world.paper.note(name, changes);
        }
        let expected = world
            .birds
            .iter()
            .filter(|bird| bird.island == *name)
            .count();
        let report = world.team(at)?.report()?;
        world.stage.equal(
            &format!("birds on the device {name}"),
            expected,
            report.birds,
        );
        let queued = count(entered.written.len() as u64, "write waits", "writes wait");
        let found = count(report.pending, "write waits", "writes wait");
        world
            .stage
            .equal(&format!("outbox of {name}"), queued, found);
    }
    world
        .stage
        .step("Dream's device was killed (SIGKILL) while it wrote, and opened again");
    let killed = entered.into_iter().find_map(|entered| entered.killed);
    let Some(killed) = killed else {
        return Err(Failure::fault("no device was killed"));
    };
    let text = format!(
        "{} acknowledged before the kill; {} more committed without a word",
        count(killed.acknowledged as u64, "write", "writes"),
        killed.unacknowledged
    );
    world.stage.note(
        &text,
        json!({ "acknowledged": killed.acknowledged, "unacknowledged": killed.unacknowledged }),
    );
    world.stage.none(
        "acknowledged writes missing after the kill",
        &killed.missing,
    );
    Ok(())
}

fn enter_all(world: &mut World<'_>, kill: Kill) -> Result<Vec<Entered>, Failure> {
    let target = match world.stage.output.shows_progress() {
        true => ProgressDrawTarget::stderr(),
        false => ProgressDrawTarget::hidden(),
    };
    let bars = MultiProgress::with_draw_target(target);
    let mut kill = Some(kill);
    let work: Vec<_> = TEAMS
        .iter()
        .enumerate()
        .map(|(at, (name, _))| {
            let birds: Vec<&Bird> = world
                .birds
                .iter()
                .filter(|bird| bird.island == *name)
                .collect();
            let kill = if at == DREAM { kill.take() } else { None };
            let mut writes = transactions(name, &birds);
            if at == BISCOE {
                writes.push(journal::opening(&mut world.notes));
            }
            (writes, kill, bar(&bars, name, birds.len()))
        })
        .collect();
    let entered = std::thread::scope(|scope| {
        let threads: Vec<_> = world
            .teams
            .iter_mut()
            .zip(work)
            .map(|(team, (writes, kill, bar))| scope.spawn(move || enter(team, writes, kill, &bar)))
            .collect();
        let joined = threads.into_iter().map(|thread| {
            thread
                .join()
                .unwrap_or_else(|_| Err(Failure::fault("a thread of the demo failed")))
        });
        joined.collect::<Vec<_>>()
    });
    let _ = bars.clear();
    entered.into_iter().collect()
}

fn bar(bars: &MultiProgress, name: &str, birds: usize) -> ProgressBar {
    let bar = bars.add(ProgressBar::new(birds as u64));
    if let Ok(style) =
        ProgressStyle::with_template("      {prefix:<10} {bar:32} {pos:>3}/{len} birds")
    {
        bar.set_style(style);
    }
    bar.set_prefix(name.to_owned());
    bar
}

/// What a team enters: its island first, then a transaction a bird.
fn transactions(island: &str, birds: &[&Bird]) -> Vec<Vec<Change>> {
    let mut transactions = vec![vec![place(island, island)]];
    if island == TEAMS[DREAM].0 {
        transactions.push(vec![place(EMPTY_ISLAND, island)]);
    }
    for (at, bird) in birds.iter().enumerate() {
        let mut changes = vec![
            Change::insert("birds", &bird.id, bird.fields.clone()),
            Change::count("birds", &bird.id, "sightings", 1),
        ];
        if at.is_multiple_of(BIRDS_A_VISIT) {
            changes.push(Change::count("islands", island, "visits", 1));
            changes.push(Change::add("birds", &bird.id, "tags", "recheck"));
        }
        transactions.push(changes);
    }
    transactions
}

fn place(island: &str, team: &str) -> Change {
    let fields = Fields::from([
        ("name".to_owned(), island.into()),
        ("team".to_owned(), team.into()),
    ]);
    Change::insert("islands", island, fields)
}

fn enter(
    team: &mut Team,
    writes: Vec<Vec<Change>>,
    kill: Option<Kill>,
    bar: &ProgressBar,
) -> Result<Entered, Failure> {
    let (first, rest) = writes.split_at(
        kill.as_ref()
            .map_or(writes.len(), |kill| kill.after.min(writes.len())),
    );
    write_all(team, first, bar)?;
    let killed = match kill {
        None => None,
        Some(kill) => Some(enter_until_killed(team, first, rest, &kill, bar)?),
    };
    bar.finish();
    Ok(Entered {
        written: writes,
        killed,
    })
}

fn write_all(team: &mut Team, writes: &[Vec<Change>], bar: &ProgressBar) -> Result<(), Failure> {
    for changes in writes {
        match team.write(changes.clone())? {
            Written::Committed => bar.inc(u64::from(new_bird(changes).is_some())),
            Written::Refused { code, message } => {
                return Err(Failure::fault(format!(
                    "{} refused a bird: {code}: {message}",
                    team.name()
                )));
            }
        }
    }
    Ok(())
}

/// Orders the next writes, kills the device among them, opens it again, and enters what is missing.
fn enter_until_killed(
    team: &mut Team,
    first: &[Vec<Change>],
    rest: &[Vec<Change>],
    kill: &Kill,
    bar: &ProgressBar,
) -> Result<Killed, Failure> {
    let (under_way, later) = rest.split_at(UNDER_WAY.min(rest.len()));
    let acknowledged = team.write_until_killed(under_way, kill.then.min(under_way.len()))?;
    // A moment as long as it takes a person to press the button.
    std::thread::sleep(Duration::from_millis(20));
    team.reopen()?;

    let all = first.iter().chain(under_way);
    let there = team.have(
        "birds",
        all.filter_map(|changes| new_bird(changes)).collect(),
    )?;
    let promised: BTreeSet<String> = first
        .iter()
        .chain(
            under_way
                .iter()
                .enumerate()
                .filter(|(at, _)| acknowledged.contains(at))
                .map(|(_, changes)| changes),
        )
        .filter_map(|changes| new_bird(changes))
        .collect();
    let missing: Vec<String> = promised.difference(&there).cloned().collect();
    let unacknowledged = there.difference(&promised).count();
    bar.set_position(there.len() as u64);

    // The app looks what is there, and goes on with the rest.
    let again: Vec<Vec<Change>> = under_way
        .iter()
        .filter(|changes| new_bird(changes).is_some_and(|id| !there.contains(&id)))
        .cloned()
        .collect();
    write_all(team, &again, bar)?;
    write_all(team, later, bar)?;
    Ok(Killed {
        acknowledged: first.len() + acknowledged.len(),
        missing,
        unacknowledged,
    })
}

/// The bird that a transaction enters.
fn new_bird(changes: &[Change]) -> Option<String> {
    let insert = changes
        .iter()
        .find(|c| c.collection == "birds" && matches!(c.what, What::Insert { .. }));
    insert.map(|change| change.id.clone())
}

const _: () = assert!(
    BISCOE == 0 && DREAM == 1 && TORGERSEN == 2,
    "the order of TEAMS"
);
