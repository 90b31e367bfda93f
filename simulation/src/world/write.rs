//! What apps write.

use std::collections::BTreeSet;

use driftline::{Result, Value};
use driftline_core::id::OpId;
use driftline_simvfs::Random;

use super::World;
use super::asking::Asking;
use super::look::TWIN_IDS;
use super::schema::STRICT_BODY;
use super::script::Act;
use super::words::Typed;
use crate::oracles::{self, Asked, Judgement, Key, Queued};

/// What a write did, by its own word.
#[derive(Default)]
pub(super) struct Done {
    /// Registers, and what they show now.
    pub(super) shows: Vec<(Key, u16, Value)>,
    /// What became of a text or list.
    pub(super) typed: Option<Typed>,
}

impl Done {
    pub(super) fn typing(typed: Typed) -> Done {
        Done {
            typed: Some(typed),
            ..Done::default()
        }
    }

    fn showing(key: Key, field: u16, value: &str) -> Done {
        Done {
            shows: vec![(key, field, Value::Text(value.to_owned()))],
            ..Done::default()
        }
    }
}

/// The collections that most steps are about: name, number, and how many documents there are.
const COLLECTIONS: [(&str, u16, usize); 3] = [("notes", 1, 6), ("plans", 2, 4), ("papers", 3, 3)];

/// A document that a step is about.
pub(super) fn draw_document(random: &mut Random) -> (&'static str, u16, String) {
    let (name, number, documents) = COLLECTIONS[[0, 0, 0, 1, 1, 2][random.below(6)]];
    let id = format!("{}{}", &name[..1], random.below(documents));
    (name, number, id)
}

impl World<'_> {
    /// Whether this kind of step is a write; if so, makes it.
    pub(super) fn write_act(
        &mut self,
        act: Act,
        at: usize,
        random: &mut Random,
    ) -> Option<Judgement> {
        let value = self.sites[at].value();
        let (collection, number, id) = draw_document(random);
        let key = (number, id.clone());
        let mut draw = random.fork();
        let letters_go = self.swarm.letters_go && draw.clone().one_in(3);
        let judged = match act {
            Act::Delete if letters_go => self.write(at, random, |tx| {
                tx.delete("letters", &letter(&mut draw))?;
                Ok(Done::default())
            }),
            Act::Restore if letters_go => self.write(at, random, |tx| {
                tx.restore("letters", &letter(&mut draw))?;
                Ok(Done::default())
            }),
            Act::Insert => self.write(at, random, |tx| {
                let mut fields = vec![("title", value.as_str())];
                if draw.one_in(2) {
                    fields.push(("body", value.as_str()));
                }
                tx.insert_with_id(collection, &id, fields)?;
                Ok(Done::showing(key, 1, &value))
            }),
            Act::Update => self.write(at, random, |tx| {
                let fields = match draw.below(3) {
                    0 => vec![("title", value.as_str()), ("body", value.as_str())],
                    1 => vec![("body", value.as_str())],
                    _ => vec![("title", value.as_str())],
                };
                let field = if fields[0].0 == "title" { 1 } else { 2 };
                tx.update(collection, &id, fields)?;
                Ok(Done::showing(key, field, &value))
            }),
            Act::Increment => self.write(at, random, |tx| {
                tx.increment("notes", &note(&mut draw), "count", 1 + draw.below(9) as i64)?;
                Ok(Done::default())
            }),
            Act::Add => self.write(at, random, |tx| {
                let (collection, id) = with_tags(&mut draw);
                let element = format!("e{}", draw.below(ELEMENTS));
                tx.add_to_set(collection, &id, "tags", vec![element, value.clone()])?;
                Ok(Done::default())
            }),
            Act::Remove => self.write(at, random, |tx| {
                let (collection, id) = with_tags(&mut draw);
                let mut elements = vec![format!("e{}", draw.below(ELEMENTS))];
                if let Some(document) = tx.get(collection, &id)? {
                    let there = document.set("tags").unwrap_or_default();
                    elements.extend(draw.pick(there).cloned());
                }
                tx.remove_from_set(collection, &id, "tags", elements)?;
                Ok(Done::default())
            }),
            Act::Delete => self.write(at, random, |tx| {
                tx.delete(collection, &id)?;
                Ok(Done::default())
            }),
            Act::Restore => self.write(at, random, |tx| {
                tx.restore(collection, &id)?;
                Ok(Done::default())
            }),
            Act::Twins => self.write(at, random, |tx| {
                for id in TWIN_IDS {
                    tx.insert_with_id("twins", id, [("mark", value.as_str())])?;
                    tx.increment("twins", id, "count", 1)?;
                }
                Ok(Done::showing((super::TWINS, "t0".to_owned()), 1, &value))
            }),
            Act::Group => self.write(at, random, |tx| {
                for _ in 0..2 + draw.below(3) {
                    let (collection, _, id) = draw_document(&mut draw);
                    let title = [("title", value.as_str())];
                    // One that builds on what is refused is refused whole.
                    if draw.one_in(3) && tx.get(collection, &id)?.is_some() {
                        tx.update(collection, &id, title)?;
                    } else {
                        tx.insert_with_id(collection, &id, title)?;
                    }
                    if draw.one_in(4) {
                        tx.delete(collection, &id)?;
                        if draw.one_in(3) {
                            tx.insert_with_id(collection, &id, [("body", value.as_str())])?;
                        }
                    }
                }
                if draw.one_in(4) {
                    return type_words(tx, &mut draw, &value);
                }
                Ok(Done::default())
            }),
            Act::Place => self.write(at, random, |tx| {
                let id = note(&mut draw);
                let other = tx.get("notes", &note(&mut draw))?;
                let after = other.as_ref().and_then(|document| document.text("place"));
                let place = tx.order_key_after(after)?;
                tx.update("notes", &id, [("place", place)])?;
                Ok(Done::default())
            }),
            Act::Text if self.swarm.editors && draw.clone().one_in(2) => {
                self.edit_text(at, &value, &mut draw)
            }
            Act::Text => {
                let refused = self.swarm.strict && random.one_in(5);
                self.write(at, random, |tx| {
                    if refused {
                        let body = format!("{value} {}", "long ".repeat(STRICT_BODY));
                        tx.insert_with_id("notes", &note(&mut draw), [("body", body)])?;
                    }
                    type_words(tx, &mut draw, &value)
                })
            }
            Act::List => self.write(at, random, |tx| edit_list(tx, &mut draw, &value)),
            Act::Long => self.write(at, random, |tx| {
                let body = format!("{value} {}", "long ".repeat(STRICT_BODY));
                tx.insert_with_id(collection, &id, [("body", body)])?;
                Ok(Done::default())
            }),
            Act::Refused => self.write(at, random, |tx| {
                match draw.below(4) {
                    0 => tx.update(collection, &id, [("colour", "red")]),
                    1 => tx.update(collection, &id, [("title", 7)]),
                    2 => tx.insert_with_id(collection, &"x".repeat(300), [("title", "x")]),
                    _ => tx.insert_with_id(collection, &id, [("body", "x".repeat(2 << 20))]),
                }?;
                Ok(Done::default())
            }),
            Act::Aborted => self.write(at, random, |tx| {
                tx.insert_with_id(collection, &id, [("title", value.as_str())])?;
                Err(driftline::Error::aborted("second thoughts"))
            }),
            _ => return None,
        };
        Some(judged)
    }

    /// Makes a write and judges what the file says right after it.
    pub(super) fn write(
        &mut self,
        at: usize,
        random: &mut Random,
        work: impl FnOnce(&mut Asking<'_, '_>) -> Result<Done>,
    ) -> Judgement {
        let companion = random.one_in(2);
        if self.sites[at].fragile {
            // What an earlier write left in doubt comes to light now, and is not this one's.
            self.sites[at].watcher = None;
            self.look_at(at)?;
        }
        let site = &self.sites[at];
        let program = site.program(companion);
        let database = match program.database() {
            Some(database) if program.is_alive() => database.clone(),
            _ => return Ok(()),
        };
        let queue = site.view.queue.clone();
        let before: BTreeSet<OpId> = queue.iter().map(|queued| queued.id).collect();
        let looked = site.watcher.is_some();
        if self.sites[at].fragile {
            self.sites[at].watcher = None;
        }
        let (mut done, mut asked) = (Done::default(), Asked::new());
        let schema = &self.schemas.app;
        let result = database.write(|tx| {
            done = work(&mut Asking::new(tx, schema, &mut asked))?;
            Ok(())
        });
        drop(database);
        if let Some(typed) = &done.typed {
            self.words.may_be(typed);
        }
        let alive = self.sites[at].program(companion).is_alive();
        self.told(at, &result);
        let failed = matches!(&result, Err(error) if error.code() != "commit_unknown");
        if failed && alive {
            let value = self.sites[at].last_value();
            self.sites[at].undone.insert(value);
        }
        self.look_at(at)?;
        let site = &self.sites[at];
        let what = format!("a write of s{at}");
        match result {
            // A process that ended in the call told nobody anything.
            _ if !alive || site.watcher.is_none() => Ok(()),
            Ok(()) if !asked.is_empty() => {
                oracles::acknowledged_is_queued(&before, &site.view, &what)?;
                let new = site.view.queue.iter();
                let new: Vec<&Queued> = new.filter(|op| !before.contains(&op.id)).collect();
                let op = oracles::says_what_was_asked(&asked, &new, schema, &what)?;
                oracles::covers_what_was_asked(&queue, &new)?;
                if let Some(typed) = done.typed {
                    self.words.said(op, typed);
                }
                oracles::written_shows(&site.view, &done.shows)
            }
            Err(error) if error.code() != "commit_unknown" && looked => {
                oracles::failed_changed_nothing(&before, &site.view, &what)
            }
            _ => Ok(()),
        }
    }

    /// Notes what an app was told.
    pub(super) fn told<T>(&mut self, at: usize, result: &Result<T>) {
        let site = &mut self.sites[at];
        let mut programs = site.programs();
        let died = programs.any(|program| program.process().is_some() && !program.is_alive());
        drop(programs);
        let unknown = matches!(result, Err(error) if error.code() == "commit_unknown");
        if died || unknown {
            let ids = site.view.queue.iter().map(|queued| queued.id);
            site.unknown = Some(ids.collect());
        }
        match result {
            Ok(_) => self.trace.line(format_args!("    s{at} ok")),
            Err(error) => {
                self.trace.line(format_args!("    s{at} {}", error.code()));
                self.count("calls that failed");
            }
        }
    }
}

/// Elements that are added and removed again and again.
const ELEMENTS: usize = 3;

fn note(random: &mut Random) -> String {
    format!("n{}", random.below(6))
}

/// The beginning of a text, or the end of one of its words.
pub(super) fn draw_gap(said: &str, random: &mut Random) -> usize {
    let ends: Vec<usize> = said.match_indices(']').map(|(at, _)| at + 1).collect();
    match random.below(ends.len() + 1) {
        0 => 0,
        chosen => ends[chosen - 1],
    }
}

pub(super) fn letter(random: &mut Random) -> String {
    format!("l{}", random.below(2))
}

fn with_tags(random: &mut Random) -> (&'static str, String) {
    match random.one_in(3) {
        true => ("plans", format!("p{}", random.below(4))),
        false => ("notes", note(random)),
    }
}

/// Types a word of its own into a letter, or deletes some.
fn type_words(tx: &mut Asking<'_, '_>, random: &mut Random, value: &str) -> Result<Done> {
    let id = letter(random);
    if tx.get("letters", &id)?.is_none() {
        tx.insert_with_id("letters", &id, [("title", value)])?;
    }
    // At a place between two words, or a word as it is: words stay whole.
    let said = tx.words(&id)?;
    let gap = draw_gap(&said, random);
    let word = said.get(gap..).and_then(|rest| rest.find(']'));
    if let Some(end) = word.filter(|_| random.one_in(6)) {
        tx.mark_word(&id, (gap, end + 1), value)?;
        return Ok(Done::default());
    }
    Ok(Done::typing(match word {
        Some(end) if random.one_in(4) => {
            tx.take_word(&id, gap, end + 1)?;
            let word = said.get(gap..=gap + end).unwrap_or_default();
            Typed::taken_out(&id, "words", word)
        }
        _ => {
            let word = format!("[{value}]");
            tx.type_word(&id, gap, &word)?;
            Typed::put(&id, "words", &word)
        }
    }))
}

/// Inserts, moves or removes an element of a letter's list.
fn edit_list(tx: &mut Asking<'_, '_>, random: &mut Random, value: &str) -> Result<Done> {
    let id = letter(random);
    if tx.get("letters", &id)?.is_none() {
        tx.insert_with_id("letters", &id, [("title", value)])?;
    }
    let elements = tx.items(&id)?;
    let chosen = elements.get(random.below(elements.len()));
    Ok(Done::typing(match (chosen, random.below(4)) {
        (Some(element), 0) => {
            tx.remove_item(&id, element.id)?;
            Typed::taken_out(&id, "items", &element.json)
        }
        (Some(element), 1) => {
            tx.move_item(&id, element.id, random.below(elements.len()))?;
            Typed::Moved(element.json.clone())
        }
        _ => {
            tx.put_item(&id, random.below(elements.len() + 1), value)?;
            Typed::put(&id, "items", &format!("\"{value}\""))
        }
    }))
}
