//! Texts and lists that people write together.

use super::{Scenario, Victim, others, settled};
use crate::crash::app::Place;
use crate::crash::world::{Setup, Step, World};
use driftline::{Database, Durability};

const TEXTS: Setup = Setup {
    texts: true,
    ..Setup::PLAIN
};
const NORMAL: Setup = Setup {
    durability: Durability::Normal,
    ..TEXTS
};
const STRICT: Setup = Setup {
    strict: true,
    ..TEXTS
};
const SNAPSHOTS: Setup = Setup {
    snapshots: true,
    ..TEXTS
};

/// A text is more than the updates that came.
const A_STATE: (Victim, &str) = (
    Victim::Device,
    "SELECT count(*) > 0 FROM _dl_crdt WHERE marks IS NOT NULL",
);

pub(super) const ALL: &[Scenario] = &[
    Scenario::of_device("text", with_texts, text)
        .with(TEXTS)
        .flipping(),
    Scenario::of_device("editor", with_texts, editor).with(TEXTS),
    Scenario::of_device("editor-normal", with_texts, editor).with(NORMAL),
    Scenario::of_device("text-sync", both_typed, meet).with(TEXTS),
    Scenario::of_device("text-sync-normal", both_typed, meet).with(NORMAL),
    Scenario::of_device("text-fold", others_typed_much, meet)
        .with(TEXTS)
        .coming_to(&[A_STATE]),
    Scenario::of_device("text-refused", with_texts, refused)
        .with(STRICT)
        .coming_to(&[(Victim::Device, "SELECT count(*) > 0 FROM _dl_losses")]),
    Scenario::of_device("text-snapshot", both_typed, meet)
        .with(SNAPSHOTS)
        .coming_to(&[A_STATE]),
    Scenario::of_server("server-texts", with_texts, meet)
        .with(TEXTS)
        .flipping(),
    Scenario::of_server("server-fold", unfolded, fold)
        .with(TEXTS)
        .coming_to(&[(
            Victim::Server,
            "SELECT count(*) > 0 FROM texts WHERE state IS NOT NULL",
        )]),
];

const STORY: Place<'static> = ("pages", "page", "story");
const STEPS: Place<'static> = ("pages", "page", "steps");

/// A text and a list with something in them, on the server too.
fn with_texts(world: &mut World) -> Step {
    settled(world)?;
    world.insert("pages", "page")?;
    world.say(STORY, "base")?;
    world.push(STEPS, "wake")?;
    world.sync()
}

fn text(world: &mut World) -> Step {
    world.open()?;
    world.say(STORY, "one")?;
    world.push(STEPS, "walk")?;
    world.write_with(10, "short", |tx| {
        let mut story = tx.rich_text("pages", "page", "story")?;
        story.insert(0, "a passing thought ")?;
        story.delete(0, 18)?;
        let mut steps = tx.list("pages", "page", "steps")?;
        let first = steps.read()?.into_iter().next();
        first.map_or(Ok(()), |first| steps.move_to(first.id, 0))
    })?;
    world.say(STORY, "two")
}

/// Frames of an editor are stored one by one, and what it shows a second later.
fn editor(world: &mut World) -> Step {
    world.open()?;
    let Some(editor) = world.edit(STORY)? else {
        world.comes_to(false, "an open text");
        return Ok(());
    };
    world.type_in(&editor, STORY, &["gentoo", "adelie"])?;
    world.flush_editor(&editor, STORY, &["gentoo", "adelie"])?;
    world.type_in(&editor, STORY, &["king"])?;
    world.pass(100);
    world.type_in(&editor, STORY, &["emperor"])?;
    world.pass(1_500);
    world.settles(|database| database.flush())?;
    world.type_in(&editor, STORY, &["macaroni"])?;
    world.flush_editor(&editor, STORY, &["king", "emperor", "macaroni"])?;
    world.write(10)
}

fn type_on(database: &Database, word: &str) -> driftline::Result<()> {
    database.write(|tx| {
        tx.rich_text("pages", "page", "story")?.insert(0, word)?;
        tx.list("pages", "page", "steps")?
            .insert(0, [format!("{word:?}")])
            .map(drop)
    })
}

/// The device and others typed into the same text.
fn both_typed(world: &mut World) -> Step {
    with_texts(world)?;
    world.say(STORY, "mine")?;
    world.push(STEPS, "mine-too")?;
    others(world, |database| {
        (0..15).try_for_each(|n| type_on(database, &format!("theirs{n} ")))
    })
}

/// So much that the device puts its edits together into a state.
fn others_typed_much(world: &mut World) -> Step {
    with_texts(world)?;
    others(world, |database| {
        (0..270).try_for_each(|n| type_on(database, &format!("{n} ")))
    })
}

fn meet(world: &mut World) -> Step {
    world.serve()?;
    world.open()?;
    world.say(STORY, "later")?;
    world.sync()?;
    world.pass(2_000);
    world.say(STORY, "at-last")?;
    world.push(STEPS, "sleep")?;
    world.sync()
}

/// A refused edit between others: what was typed behind it is written again.
fn refused(world: &mut World) -> Step {
    world.serve()?;
    world.open()?;
    world.say(STORY, "before")?;
    let long = "long ".repeat(100);
    world.write_with(10, "short", |tx| {
        tx.rich_text("pages", "page", "story")?.insert(0, &long)
    })?;
    world.say(STORY, "behind")?;
    world.sync()?;
    world.say(STORY, "after")?;
    world.discard(10)?;
    world.sync()
}

/// The server was stopped before it put together what was typed.
fn unfolded(world: &mut World) -> Step {
    with_texts(world)?;
    world.pass(5_000);
    world.say(STORY, "left")?;
    world.push(STEPS, "left-too")?;
    world.sync_for(500)
}

fn fold(world: &mut World) -> Step {
    world.serve()?;
    world.open()?;
    world.say(STORY, "one")?;
    world.sync()?;
    world.pass(3_000);
    world.say(STORY, "two")?;
    world.push(STEPS, "walk")?;
    world.sync()?;
    world.pass(3_000);
    Ok(())
}
