//! Recordings of real writing, played into Driftline and into Yrs alone.

use std::time::Duration;

use crate::Outcome;
use crate::bare::BareText;
use crate::bench::Bench;
use crate::figure::{Figure, Target};
use crate::ours::{Link, Meeting, Ours, Page};
use crate::raw::{Durability, Raw};
use crate::recording::{Edit, Recording, Step};
use crate::stats::{interleave, millis, now, timed};

/// The recording of one author: 259,778 edits, 104,852 characters at the end.
pub(super) const ONE_AUTHOR: &str = "automerge-paper.json.gz";
const TWO_PEOPLE: &str = "friendsforever.json.gz";
/// Edits of a batch.
pub(super) const BATCH: usize = 16;
/// Batches of one turn of a side.
const TURN: usize = 250;
const PAGE: &str = "page";

/// Typing all of it, and opening what came of it.
pub(super) fn one_author(bench: &Bench) -> Outcome<Vec<Figure>> {
    let Some(recording) = Recording::load(ONE_AUTHOR, BATCH)? else {
        return Ok(Vec::new());
    };
    let room = bench.room()?;
    let ours = Ours::open(&room.file("ours"), Durability::Full)?;
    ours.insert_page(PAGE, "")?;
    let page = ours.open_page(PAGE)?;
    let bare = BareText::new(1);
    let mut raw = Raw::create(&room.file("raw"), Durability::Full)?;
    let batches: Vec<&[Edit]> = recording
        .steps
        .iter()
        .filter_map(|step| match step {
            Step::Type { edits, .. } => Some(edits.as_slice()),
            Step::Exchange => None,
        })
        .collect();
    let turns: Vec<&[&[Edit]]> = batches.chunks(TURN).collect();
    let mut raw_type = |edits: &[Edit]| raw.queue_update(bare.edit(edits));
    let pair = interleave(
        turns.len(),
        |turn| {
            let play = || turns[turn].iter().try_for_each(|edits| page.edit(edits));
            Ok(millis(timed(play)?.1) / turns[turn].len() as f64)
        },
        |turn| {
            let play = || turns[turn].iter().try_for_each(|edits| raw_type(edits));
            Ok(millis(timed(play)?.1) / turns[turn].len() as f64)
        },
    )?;
    if page.content()? != recording.end || bare.content() != recording.end {
        return Err("the text is not what the recording ends with".into());
    }
    drop(page);

    let meeting = Meeting::start(&room.file("server"))?;
    let link = ours.connect(&meeting)?;
    link.settle()?;
    let other = Ours::open(&room.file("other"), Durability::Full)?;
    other.connect(&meeting)?.settle()?;
    if other.page(PAGE)? != recording.end {
        return Err("the other device does not show the text".into());
    }
    ours.show_page(PAGE)?;
    let state = bare.state();
    let opened = interleave(
        bench.rounds(15),
        |_| {
            let open = || ours.open_page(PAGE)?.content();
            Ok(millis(timed(open)?.1))
        },
        |_| {
            let open = || Ok(BareText::load(2, &state)?.content());
            Ok(millis(timed(open)?.1))
        },
    )?;
    Ok(vec![
        Figure::of(
            "recording_one",
            "ms",
            &pair.ours,
            &pair.baseline,
            Target::RatioAtMost(1.3),
        ),
        Figure::of(
            "open_text",
            "ms",
            &opened.ours,
            &opened.baseline,
            Target::RatioAtMost(1.2),
        ),
    ])
}

/// One of two people, on both sides.
struct Person {
    ours: Ours,
    link: Link,
    page: Page,
    bare: BareText,
    raw: Raw,
    /// Updates that the other has not heard.
    untold: Vec<Vec<u8>>,
}

/// Two people write together, through the server.
pub(super) fn two_people(bench: &Bench) -> Outcome<Vec<Figure>> {
    let Some(recording) = Recording::load(TWO_PEOPLE, BATCH)? else {
        return Ok(Vec::new());
    };
    let room = bench.room()?;
    let meeting = Meeting::start(&room.file("server"))?;
    let mut people = Vec::new();
    for n in 0..2 {
        let ours = Ours::open(&room.file(&format!("ours-{n}")), Durability::Full)?;
        let link = ours.connect_without_live(&meeting)?;
        if n == 0 {
            ours.insert_page(PAGE, "")?;
        }
        link.settle()?;
        link.sync_now()?;
        link.pause()?;
        people.push(Person {
            page: ours.open_page(PAGE)?,
            ours,
            link,
            bare: BareText::new(1 + n),
            raw: Raw::create(&room.file(&format!("raw-{n}")), Durability::Full)?,
            untold: Vec::new(),
        });
    }
    // Milliseconds of turns: what two people do between the times that they hear each other.
    let (mut ours, mut baseline) = (Vec::new(), Vec::new());
    let (mut turn, mut played) = (Vec::new(), 0);
    for step in &recording.steps {
        match step {
            Step::Type { agent, edits } => turn.push((*agent, edits.as_slice())),
            Step::Exchange => {
                played += 1;
                let ours_first = played % 2 == 0;
                if ours_first {
                    ours.push(millis(play_ours(&people, &turn)?));
                }
                baseline.push(millis(play_bare(&mut people, &turn)?));
                if !ours_first {
                    ours.push(millis(play_ours(&people, &turn)?));
                }
                turn.clear();
            }
        }
    }
    let other = Ours::open(&room.file("third"), Durability::Full)?;
    other.connect(&meeting)?.settle()?;
    let text = other.page(PAGE)?;
    let shown = [people[0].page.content()?, people[1].page.content()?];
    if shown.iter().any(|shown| *shown != text) || people[0].ours.page(PAGE)? != text {
        return Err("the two and the server do not end equal".into());
    }
    if people[0].bare.content() != people[1].bare.content() {
        return Err("the baseline does not end equal".into());
    }
    if text.chars().count().abs_diff(recording.end.chars().count()) > recording.end.len() / 100 {
        return Err("the text has not the recording's length".into());
    }
    let total = |times: &[f64]| times.iter().sum::<f64>();
    Ok(vec![Figure::of(
        "recording_two",
        "ms",
        &[total(&ours)],
        &[total(&baseline)],
        Target::RatioAtMost(1.3),
    )])
}

/// Lets both type, and hear each other. What the network takes is not counted: the baseline has none.
fn play_ours(people: &[Person], turn: &[(usize, &[Edit])]) -> Outcome<Duration> {
    let began = now();
    for (agent, edits) in turn {
        people[*agent].page.edit_what_fits(edits)?;
    }
    let mut took = now().saturating_sub(began);
    // The first has told when the second hears, and hears what the second told.
    for at in [0, 1, 0] {
        let link = &people[at].link;
        link.resume();
        link.sync_now()?;
        link.pause()?;
    }
    let began = now();
    for person in people {
        person.page.hear()?;
    }
    took += now().saturating_sub(began);
    Ok(took)
}

fn play_bare(people: &mut [Person], turn: &[(usize, &[Edit])]) -> Outcome<Duration> {
    let began = now();
    for (agent, edits) in turn {
        let person = &mut people[*agent];
        let update = person.bare.edit(edits);
        person.raw.queue_update(update.clone())?;
        person.untold.push(update);
    }
    for at in 0..people.len() {
        for update in std::mem::take(&mut people[at].untold) {
            people[1 - at].bare.apply(&update)?;
        }
    }
    Ok(now().saturating_sub(began))
}
