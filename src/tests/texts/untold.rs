//! Editors of one text at random: what each makes of its own edits and of the news it is told is the
//! text, formats included, whatever else was taken in meanwhile.

use serde_json::{Map, Value as Json};

use super::{SCHEMA, page};
use crate::storage::testing::Dice;
use crate::tests::texts::leaving::frameless;
use crate::tests::{Fixture, config};
use crate::{Database, Durability, TextEdit, TextNews, TextSession};

/// A UTF-16 unit and its formats.
type Unit = (u16, Map<String, Json>);

/// A person at an editor, and what the editor shows: the session is asked for all of it only where it
/// says so.
struct Person {
    session: TextSession,
    shown: Vec<Unit>,
}

fn units(text: &str, formats: &Map<String, Json>) -> Vec<Unit> {
    text.encode_utf16()
        .map(|unit| (unit, formats.clone()))
        .collect()
}

/// Makes a change, as an editor does that is told it as JSON.
fn apply(shown: &mut Vec<Unit>, delta: &str) {
    let steps: Vec<Map<String, Json>> = serde_json::from_str(delta).unwrap();
    let mut at = 0;
    for step in steps {
        let formats = match step.get("attributes") {
            Some(Json::Object(formats)) => formats.clone(),
            _ => Map::new(),
        };
        let len = |name: &str| {
            step.get(name)
                .and_then(Json::as_u64)
                .map(|len| len as usize)
        };
        if let Some(Json::String(text)) = step.get("insert") {
            let put = units(text, &formats);
            let end = at + put.len();
            shown.splice(at..at, put);
            at = end;
        } else if let Some(len) = len("delete") {
            shown.drain(at..at + len);
        } else if let Some(len) = len("retain") {
            for (_, had) in &mut shown[at..at + len] {
                for (name, value) in &formats {
                    match value {
                        Json::Null => had.remove(name),
                        value => had.insert(name.clone(), value.clone()),
                    };
                }
            }
            at += len;
        }
    }
}

impl Person {
    fn new(db: &Database, id: &str) -> Person {
        let session = db.open_text("pages", id, "body").unwrap();
        let mut person = Person {
            session,
            shown: Vec::new(),
        };
        person.reads();
        person
    }

    fn reads(&mut self) {
        self.shown.clear();
        apply(&mut self.shown, self.session.content().unwrap().delta());
    }

    /// A place that is not inside of a character.
    fn place(&self, dice: &mut Dice) -> u32 {
        let mut at = dice.below(self.shown.len() + 1);
        if let Some((0xdc00..=0xdfff, _)) = self.shown.get(at) {
            at -= 1;
        }
        at as u32
    }

    /// Types, deletes or formats something at a place of what it shows.
    fn edits(&mut self, dice: &mut Dice) {
        const WORDS: [&str; 6] = ["a", "é", "😀", "bc", "x😀y", "👩‍🚀"];
        const NAMES: [&str; 2] = ["bold", "link"];
        let (one, other) = (self.place(dice), self.place(dice));
        let (from, to) = (one.min(other), one.max(other));
        let name = NAMES[dice.below(2)];
        let edit = match dice.below(6) {
            0 if to > from => {
                self.shown.drain(from as usize..to as usize);
                TextEdit::delete(from, to - from)
            }
            1 if to > from => {
                let value = dice.one_in(2);
                for (_, formats) in &mut self.shown[from as usize..to as usize] {
                    match value {
                        true => formats.insert(name.to_owned(), true.into()),
                        false => formats.remove(name),
                    };
                }
                let value = value.then_some(true).map_or(crate::Value::Null, Into::into);
                TextEdit::format(from, to - from, [(name, value)])
            }
            _ => {
                let word = WORDS[dice.below(WORDS.len())];
                let mut formats = Map::new();
                if dice.one_in(3) {
                    formats.insert(name.to_owned(), true.into());
                }
                let put = units(word, &formats);
                self.shown.splice(from as usize..from as usize, put);
                let formats = formats.keys().map(|name| (name.as_str(), true));
                TextEdit::insert_formatted(from, word, formats)
            }
        };
        self.session.edit([edit]).unwrap();
    }

    /// Takes a step back, or makes it again.
    fn travels(&mut self, back: bool) {
        let changes = match back {
            true => self.session.undo().unwrap(),
            false => self.session.redo().unwrap(),
        };
        let changes = changes.unwrap_or_default();
        changes
            .iter()
            .for_each(|change| apply(&mut self.shown, change));
    }

    /// Hears what others did; from then on it shows all of the text.
    fn hears(&mut self) {
        for news in self.session.news().unwrap() {
            match news {
                TextNews::Edited(change) => apply(&mut self.shown, &change),
                TextNews::Anew => return self.reads(),
            }
        }
        let shown = std::mem::take(&mut self.shown);
        self.reads();
        assert_eq!(shown, self.shown, "what was told is not what happened");
    }
}

fn run(seed: u64) {
    let mut dice = Dice::new(seed);
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(&dir, SCHEMA).with_durability(Durability::Normal);
    config.environment.executor = frameless();
    let db = Fixture {
        db: Database::open(config).unwrap(),
        dir,
    };
    let id = page(&db);
    let mut people = [
        Person::new(&db, &id),
        Person::new(&db, &id),
        Person::new(&db, &id),
    ];
    for _ in 0..60 {
        let person = &mut people[dice.below(3)];
        match dice.below(12) {
            0..=5 => person.edits(&mut dice),
            6..=8 => person.session.flush().unwrap(),
            9 | 10 => person.hears(),
            _ => {
                person.hears();
                let back = !dice.one_in(3);
                person.travels(back);
            }
        }
        assert_eq!(person.session.len().unwrap() as usize, person.shown.len());
    }
    people
        .iter()
        .for_each(|person| person.session.flush().unwrap());
    people.iter_mut().for_each(Person::hears);
    assert_eq!(people[0].shown, people[1].shown);
    assert_eq!(people[0].shown, people[2].shown);
    let mut stored = Vec::new();
    let content = db.rich_text("pages", &id, "body").unwrap().unwrap();
    apply(&mut stored, content.delta());
    assert_eq!(people[0].shown, stored);
}

#[test]
fn whoever_makes_the_changes_he_is_told_of_shows_the_text() {
    for seed in 0..150 {
        let ran = std::panic::catch_unwind(|| run(seed));
        assert!(ran.is_ok(), "seed {seed}");
    }
}
