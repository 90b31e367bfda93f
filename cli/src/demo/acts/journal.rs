//! The shared field journal: opened by one team, written by two at once without a network, in a file
//! and its copy, and at the end live.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use driftline::Value;
use serde_json::json;

use crate::demo::birds::{Bird, Fields};
use crate::demo::messages::{Change, Paragraph, Stroke};
use crate::demo::paper::{ENTRIES, JOURNAL};
use crate::demo::weather::Weather;
use crate::demo::world::{BISCOE, COPY, DREAM, PATIENCE, TORGERSEN, World};
use crate::failure::Failure;
use crate::output::{Tone, clipped};

/// Between two words of a person who types fast.
const BETWEEN_WORDS: Duration = Duration::from_millis(15);

/// The widest line of the journal that is shown.
const WIDEST: usize = 70;

/// The comments of the records, by island, to be written into the journal. Each is a sentence that is
/// nowhere else, because it begins with the bird's id.
#[derive(Clone, Debug)]
pub(in crate::demo) struct Notes(BTreeMap<String, Vec<String>>);

impl Notes {
    pub(in crate::demo) fn of(birds: &[Bird]) -> Notes {
        let mut notes: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for bird in birds.iter().rev() {
            if let Some(Value::Text(comment)) = bird.fields.get("comments") {
                let sentence = format!("{}: {comment}", bird.id);
                notes.entry(bird.island.clone()).or_default().push(sentence);
            }
        }
        Notes(notes)
    }

    /// The next paragraph about an island.
    fn next(&mut self, island: &str, heading: &str, sentences: usize) -> Paragraph {
        let left = self.0.entry(island.to_owned()).or_default();
        let from = left.len().saturating_sub(sentences);
        let mut sentences = left.split_off(from);
        sentences.reverse();
        Paragraph {
            heading: heading.to_owned(),
            sentences,
        }
    }
}

fn entry(paragraph: Paragraph) -> Change {
    Change::enter(JOURNAL, paragraph, false)
}

/// The transaction in which Biscoe opens the journal.
pub(super) fn opening(notes: &mut Notes) -> Vec<Change> {
    let (collection, id, _) = JOURNAL;
    let title = "Field journal of the Palmer Archipelago";
    let fields = Fields::from([("title".to_owned(), title.into())]);
    let paragraph = notes.next("Biscoe", "Biscoe opens the journal", 2);
    vec![Change::insert(collection, id, fields), entry(paragraph)]
}

/// A paragraph that Torgersen writes without a network.
pub(super) fn torgersen(world: &mut World<'_>, heading: &str) -> Change {
    entry(world.notes.next("Torgersen", heading, 3))
}

/// Another, on top of the journal.
pub(super) fn torgersen_on_top(world: &mut World<'_>) -> Change {
    let paragraph = world.notes.next("Torgersen", "Torgersen, second week", 3);
    Change::enter(JOURNAL, paragraph, true)
}

/// At the same time Dream writes two at the same place, and puts into italics what Biscoe wrote.
pub(super) fn dream_alone(world: &mut World<'_>) -> Result<(), Failure> {
    for heading in ["Dream, first week", "Dream, second week"] {
        let paragraph = world.notes.next("Dream", heading, 3);
        world.write(DREAM, vec![entry(paragraph)])?;
    }
    let Some(sentence) = world.paper.journal().first_sentence() else {
        return Err(Failure::fault("nobody opened the journal"));
    };
    let (collection, id, field) = JOURNAL;
    let italics = Change::italicise(collection, id, field, &sentence);
    world.write(DREAM, vec![italics])
}

/// A file with unsynced paragraphs in it and its copy go on at the same place.
pub(super) fn copies(world: &mut World<'_>) -> Result<(), Failure> {
    for (at, heading) in [
        (DREAM, "Dream, after the file was copied"),
        (COPY, "The copy of Dream, on another device"),
    ] {
        let paragraph = world.notes.next("Dream", heading, 2);
        world.write(at, vec![entry(paragraph)])?;
    }
    Ok(())
}

pub(in crate::demo) fn journal(world: &mut World<'_>) -> Result<(), Failure> {
    world
        .stage
        .step("Dream and Torgersen type into the journal at the same time, live, word by word");
    wait_until_live(world)?;
    for at in [DREAM, TORGERSEN] {
        world.team(at)?.open_text(JOURNAL)?;
    }
    let dream = world.notes.next("Dream", "Dream, live", 4);
    let torgersen = world.notes.next("Torgersen", "Torgersen, live", 4);
    // Torgersen begins when Dream's first words show.
    let after_dream = [vec![Stroke::Listen], typing(&torgersen)].concat();
    let mut scripts = BTreeMap::from([(DREAM, typing(&dream)), (TORGERSEN, after_dream)]);
    let heard = std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for (at, team) in world.teams.iter_mut().enumerate() {
            if let Some(strokes) = scripts.remove(&at) {
                threads.push(scope.spawn(move || team.type_all(strokes, BETWEEN_WORDS)));
            }
        }
        let joined = threads.into_iter().map(|thread| {
            thread
                .join()
                .unwrap_or_else(|_| Err(Failure::fault("a thread of the demo failed")))
        });
        joined.collect::<Result<Vec<u64>, Failure>>()
    })?;
    world.paper.note("Dream", &[entry(dream)]);
    world.paper.note("Torgersen", &[entry(torgersen)]);
    for (name, heard) in ["Dream", "Torgersen"].iter().zip(heard) {
        world.stage.holds(
            &format!("edits of the other that {name}'s editor took in as they came"),
            "some",
            heard,
            heard > 0,
        );
    }
    world.all_settle("all four")?;
    compare(world)?;
    show(world)
}

/// Waits until changes reach every device as they happen.
fn wait_until_live(world: &mut World<'_>) -> Result<(), Failure> {
    let deadline = Instant::now() + PATIENCE;
    let mut live = 0;
    for at in 0..world.teams.len() {
        world.weather(at, Weather::Fair)?;
    }
    // All in one look: a socket that breaks off with the old weather is found out about a little later.
    while live < world.teams.len() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
        live = 0;
        for at in 0..world.teams.len() {
            live += usize::from(world.team(at)?.report()?.live);
        }
    }
    world.stage.equal(
        "devices that hear of changes at once",
        world.teams.len(),
        live,
    );
    Ok(())
}

/// A paragraph as a person types it: word by word, with a slip that is erased, and words that are taken
/// back.
fn typing(paragraph: &Paragraph) -> Vec<Stroke> {
    let typed = |text: &str, bold| Stroke::Type {
        text: text.to_owned(),
        bold,
    };
    let mut strokes = vec![typed(&paragraph.heading, true), typed("\n", false)];
    let body = paragraph.body();
    let words = body.split_inclusive([' ', '\n']);
    strokes.extend(words.map(|word| typed(word, false)));
    // After the third word.
    strokes.splice(
        5..5,
        [typed("pengiun ", false), Stroke::Erase { characters: 8 }],
    );
    strokes.extend([Stroke::Pause, typed("Not to be kept.", false), Stroke::Undo]);
    strokes
}

/// The editors, the documents and the server hold the same.
fn compare(world: &mut World<'_>) -> Result<(), Failure> {
    let server = world.server_journal()?;
    for at in [DREAM, TORGERSEN] {
        let shown = world.team(at)?.close_text()?;
        let name = world.team(at)?.name().to_owned();
        world.stage.holds(
            &format!("what {name}'s editor shows"),
            "what the server has",
            if shown == server {
                "what the server has"
            } else {
                &shown.text
            },
            shown == server,
        );
    }
    let sentences = world.paper.journal().sentences();
    let once = world.paper.journal().once(&server.text);
    world.stage.equal(
        "sentences of all teams that are there exactly once",
        sentences,
        once,
    );
    Ok(())
}

/// A few lines of it: each paragraph's heading and beginning.
fn show(world: &mut World<'_>) -> Result<(), Failure> {
    let text = world.team(BISCOE)?.read_text(JOURNAL)?.text;
    let output = world.stage.output;
    let mut lines = text.lines();
    while let (Some(heading), body) = (lines.next(), lines.next()) {
        let body = body.unwrap_or_default();
        let width = WIDEST.saturating_sub(heading.chars().count());
        let heading = output.tone(Tone::Strong, heading);
        output.line(format!("      {heading}  {}", clipped(body, width)));
    }
    output.object(&json!({ "type": "journal", ENTRIES: text }));
    Ok(())
}
