//! What must be true at the end, kept as a careful person with paper and pencil would: every
//! acknowledged write in the order it happened, by nobody's database.
//!
//! Within a phase the teams do not hear of each other; at its end everybody has seen everything. The
//! last writer of a field wins, by real time, whatever the teams' clocks say.

mod accounts;
mod journal;

use std::collections::{BTreeMap, BTreeSet};

pub(super) use accounts::Written;
pub(super) use journal::{ENTRIES, JOURNAL, Journal};
use serde_json::{Value as Json, json};

use super::messages::{Change, Document, What};

/// A document: collection and id.
pub(super) type Key = (String, String);

/// The field that the database fills by itself: a place in a list.
const DRAWN: &str = "position";

/// The paper.
#[derive(Clone, Debug, Default)]
pub(super) struct Paper {
    documents: BTreeMap<Key, BTreeMap<String, Json>>,
    entries: Vec<Entry>,
    journal: Journal,
    phase: u32,
}

/// One acknowledged value.
#[derive(Clone, Debug)]
struct Entry {
    team: String,
    phase: u32,
    key: Key,
    /// `None` for a delete.
    field: Option<String>,
    value: Json,
    counts: bool,
}

impl Paper {
    /// Notes a team's acknowledged transaction.
    pub(super) fn note(&mut self, team: &str, changes: &[Change]) {
        for change in changes {
            self.enter(team, change, true);
            self.replay(team, change);
        }
    }

    /// Notes an acknowledged transaction that another write overrules by the schema's policy, or that
    /// the server refuses: it is accounted for, and changes nothing.
    pub(super) fn note_overruled(&mut self, team: &str, changes: &[Change]) {
        for change in changes {
            self.enter(team, change, false);
        }
    }

    /// Sets a field to what a rule of the schema makes of it, where replaying in order does not tell.
    pub(super) fn set(&mut self, collection: &str, id: &str, field: &str, value: Json) {
        let key = (collection.to_owned(), id.to_owned());
        self.documents
            .entry(key)
            .or_default()
            .insert(field.to_owned(), value);
    }

    /// Everybody has seen everything up to here.
    pub(super) fn everybody_saw(&mut self) {
        self.phase += 1;
    }

    fn enter(&mut self, team: &str, change: &Change, counts: bool) {
        let key = (change.collection.clone(), change.id.clone());
        let values: Vec<(Option<String>, Json)> = match &change.what {
            What::Insert { fields } | What::Update { fields } => fields
                .iter()
                .map(|(field, value)| (Some(field.clone()), json!(value)))
                .collect(),
            What::Delete => vec![(None, Json::Null)],
            // These have no last writer; their content is compared instead.
            What::Increment { .. }
            | What::Add { .. }
            | What::Remove { .. }
            | What::Enter { .. }
            | What::Italicise { .. } => Vec::new(),
        };
        for (field, value) in values {
            let (team, key) = (team.to_owned(), key.clone());
            self.entries.push(Entry {
                team,
                phase: self.phase,
                key,
                field,
                value,
                counts,
            });
        }
    }

    fn replay(&mut self, team: &str, change: &Change) {
        let key = (change.collection.clone(), change.id.clone());
        if change.what == What::Delete {
            self.documents.remove(&key);
            return;
        }
        let document = self.documents.entry(key).or_default();
        match &change.what {
            What::Insert { fields } | What::Update { fields } => {
                document.extend(
                    fields
                        .iter()
                        .map(|(field, value)| (field.clone(), json!(value))),
                );
            }
            What::Increment { field, by } => {
                let sum = document.get(field).and_then(Json::as_i64).unwrap_or(0);
                document.insert(field.clone(), json!(sum + by));
            }
            What::Add { field, elements } => {
                let mut set = elements_of(document.get(field));
                set.extend(elements.iter().cloned());
                document.insert(field.clone(), json!(set));
            }
            What::Remove { field, elements } => {
                let mut set = elements_of(document.get(field));
                set.retain(|element| !elements.contains(element));
                document.insert(field.clone(), json!(set));
            }
            What::Enter { paragraph, .. } => self.journal.enter(team, paragraph),
            What::Italicise { sentence, .. } => self.journal.italicise(sentence),
            What::Delete => {}
        }
    }

    /// The journal.
    pub(super) fn journal(&self) -> &Journal {
        &self.journal
    }

    /// How many documents a collection has.
    pub(super) fn count(&self, collection: &str) -> u64 {
        self.documents
            .keys()
            .filter(|(c, _)| c == collection)
            .count() as u64
    }

    /// What a field must hold.
    pub(super) fn value(&self, collection: &str, id: &str, field: &str) -> Json {
        let document = self.documents.get(&(collection.to_owned(), id.to_owned()));
        document
            .and_then(|document| document.get(field))
            .cloned()
            .unwrap_or_default()
    }

    /// The sum of a counter over a collection.
    pub(super) fn sum(&self, collection: &str, field: &str) -> i64 {
        let of = self.documents.iter().filter(|((c, _), _)| c == collection);
        of.filter_map(|(_, document)| document.get(field)?.as_i64())
            .sum()
    }

    /// Where `found` differs from the paper, one line a difference.
    pub(super) fn differences(&self, found: &[Document]) -> Vec<String> {
        let found: BTreeMap<Key, &Document> = found
            .iter()
            .map(|d| ((d.collection.clone(), d.id.clone()), d))
            .collect();
        let mut differences = Vec::new();
        for (key, document) in &self.documents {
            let Some(found) = found.get(key) else {
                differences.push(format!("{}/{} is missing", key.0, key.1));
                continue;
            };
            let fields: BTreeSet<&String> = document.keys().chain(found.fields.keys()).collect();
            for field in fields {
                if field == DRAWN || (key.0 == JOURNAL.0 && field == ENTRIES) {
                    continue;
                }
                let expected = document.get(field).filter(|value| !is_nothing(value));
                let found = found.fields.get(field).filter(|value| !is_nothing(value));
                if expected != found {
                    let show =
                        |value: Option<&Json>| value.map_or("nothing".to_owned(), Json::to_string);
                    let (expected, found) = (show(expected), show(found));
                    differences.push(format!(
                        "{}/{} {field}: expected {expected}, found {found}",
                        key.0, key.1
                    ));
                }
            }
        }
        let written = found
            .get(&(JOURNAL.0.to_owned(), JOURNAL.1.to_owned()))
            .and_then(|journal| journal.fields.get(ENTRIES)?.as_str());
        differences.extend(self.journal.differences(written.unwrap_or_default()));
        let unknown = found
            .keys()
            .filter(|key| !self.documents.contains_key(*key));
        differences.extend(unknown.map(|key| format!("{}/{} should not be there", key.0, key.1)));
        differences
    }

    /// How many values were acknowledged.
    pub(super) fn acknowledged(&self) -> u64 {
        self.entries.len() as u64
    }
}

fn elements_of(value: Option<&Json>) -> BTreeSet<String> {
    let elements = value.and_then(Json::as_array).into_iter().flatten();
    elements
        .filter_map(|element| element.as_str().map(str::to_owned))
        .collect()
}

/// A field that was never set and one that was emptied look the same, and so does a counter at zero.
fn is_nothing(value: &Json) -> bool {
    value.is_null() || value.as_array().is_some_and(Vec::is_empty) || value.as_i64() == Some(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::birds::Fields;

    pub(super) fn document(id: &str, fields: Json) -> Document {
        let fields = fields.as_object().cloned().unwrap();
        Document {
            collection: "birds".to_owned(),
            id: id.to_owned(),
            fields,
        }
    }

    pub(super) fn paper() -> Paper {
        let mut paper = Paper::default();
        let fields = Fields::from([("mass".to_owned(), 3750.into())]);
        paper.note("Dream", &[Change::insert("birds", "a", fields)]);
        paper.everybody_saw();
        paper
    }

    #[test]
    fn every_difference_is_named() {
        let mut paper = paper();
        paper.note(
            "Dream",
            &[
                Change::count("birds", "a", "seen", 2),
                Change::add("birds", "a", "tags", "x"),
            ],
        );
        paper.note(
            "Dream",
            &[
                Change::count("birds", "a", "seen", 3),
                Change::remove("birds", "a", "tags", "x"),
            ],
        );
        assert_eq!((paper.sum("birds", "seen"), paper.count("birds")), (5, 1));
        let right = document("a", json!({ "mass": 3750, "seen": 5 }));
        assert_eq!(
            paper.differences(std::slice::from_ref(&right)),
            Vec::<String>::new()
        );
        let wrong = document("a", json!({ "mass": 3750, "seen": 6, "tags": ["x"] }));
        assert_eq!(paper.differences(&[wrong]).len(), 2);
        assert_eq!(
            paper.differences(&[right, document("b", json!({}))]),
            ["birds/b should not be there"]
        );
        assert_eq!(paper.differences(&[]), ["birds/a is missing"]);
    }
}
