//! What must be true at the end, kept as a careful person with paper and pencil would: every
//! acknowledged write in the order it happened, by nobody's database.
//!
//! Within a phase the teams do not hear of each other; at its end everybody has seen everything. The
//! last writer of a field wins, by real time, whatever the teams' clocks say.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value as Json, json};

use super::messages::{Change, Document, Lost, Quarantined, What};

/// A document: collection and id.
pub(super) type Key = (String, String);

/// The field that the database fills by itself: a place in a list.
const DRAWN: &str = "position";

/// The paper.
#[derive(Clone, Debug, Default)]
pub(super) struct Paper {
    documents: BTreeMap<Key, BTreeMap<String, Json>>,
    entries: Vec<Entry>,
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

/// A value that somebody wrote, as it stands in the ledger.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Written {
    pub(super) key: Key,
    pub(super) field: String,
    /// As JSON text, which has an order.
    pub(super) value: String,
}

impl Paper {
    /// Notes a team's acknowledged transaction.
    pub(super) fn note(&mut self, team: &str, changes: &[Change]) {
        for change in changes {
            self.enter(team, change, true);
            self.replay(change);
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
            // Counters and sets have no last writer; their content is compared instead.
            What::Increment { .. } | What::Add { .. } | What::Remove { .. } => Vec::new(),
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

    fn replay(&mut self, change: &Change) {
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
            What::Delete => {}
        }
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
            for field in fields.into_iter().filter(|field| *field != DRAWN) {
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
        let unknown = found
            .keys()
            .filter(|key| !self.documents.contains_key(*key));
        differences.extend(unknown.map(|key| format!("{}/{} should not be there", key.0, key.1)));
        differences
    }

    /// The values that were overwritten by somebody who had not seen them: of each team that wrote a
    /// field in a phase its last value, but for the one that stands at the phase's end.
    pub(super) fn overwritten(&self) -> BTreeSet<Written> {
        let mut last: BTreeMap<(u32, &Key, &String), Vec<(&String, &Json)>> = BTreeMap::new();
        for entry in self.entries.iter().filter(|entry| entry.counts) {
            if let Some(field) = &entry.field {
                let writers = last.entry((entry.phase, &entry.key, field)).or_default();
                writers.retain(|(team, _)| **team != entry.team);
                writers.push((&entry.team, &entry.value));
            }
        }
        let mut overwritten = BTreeSet::new();
        for ((_, key, field), mut writers) in last {
            let winner = writers.pop();
            let losers = writers
                .into_iter()
                .filter(|(_, value)| Some(*value) != winner.map(|(_, w)| w));
            overwritten.extend(losers.map(|(_, value)| Written::new(key, field, value)));
        }
        overwritten
    }

    /// Acknowledged values that are nowhere: not in `documents`, not replaced by somebody who had
    /// seen them, not in a ledger, not in quarantine.
    pub(super) fn unaccounted(
        &self,
        documents: &[Document],
        ledger: &[Lost],
        quarantine: &[Quarantined],
    ) -> Vec<String> {
        let documents: BTreeMap<Key, &Document> = documents
            .iter()
            .map(|d| ((d.collection.clone(), d.id.clone()), d))
            .collect();
        let ledger: BTreeSet<Written> = ledger.iter().filter_map(Written::of_loss).collect();
        let quarantined: BTreeSet<&String> = quarantine.iter().flat_map(|q| &q.documents).collect();
        let mut lost = Vec::new();
        for (at, entry) in self.entries.iter().enumerate() {
            let Some(field) = &entry.field else { continue };
            let shown = documents.get(&entry.key).and_then(|d| d.fields.get(field));
            let place = format!("{}/{}", entry.key.0, entry.key.1);
            let accounted = shown == Some(&entry.value)
                || (entry.value.is_null() && shown.is_none())
                || self.replaced_knowingly(at, entry)
                || ledger.contains(&Written::new(&entry.key, field, &entry.value))
                || (!entry.counts && quarantined.contains(&place));
            if !accounted {
                lost.push(format!(
                    "{place} {field} = {} by {}",
                    entry.value, entry.team
                ));
            }
        }
        lost
    }

    /// How many values were acknowledged.
    pub(super) fn acknowledged(&self) -> u64 {
        self.entries.len() as u64
    }

    /// Whether somebody who had seen the entry wrote the field again, or deleted the document.
    fn replaced_knowingly(&self, at: usize, entry: &Entry) -> bool {
        let later = self.entries.get(at + 1..).unwrap_or_default().iter();
        later
            .filter(|l| l.key == entry.key && (l.field == entry.field || l.field.is_none()))
            .any(|l| l.phase > entry.phase || l.team == entry.team)
    }
}

impl Written {
    fn new(key: &Key, field: &str, value: &Json) -> Written {
        Written {
            key: key.clone(),
            field: field.to_owned(),
            value: value.to_string(),
        }
    }

    /// A ledger's row about a field.
    pub(super) fn of_loss(loss: &Lost) -> Option<Written> {
        let key = (loss.collection.clone(), loss.id.clone());
        Some(Written::new(&key, loss.field.as_ref()?, &json!(loss.value)))
    }
}

impl std::fmt::Display for Written {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}/{} {} = {}",
            self.key.0, self.key.1, self.field, self.value
        )
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

    fn document(id: &str, fields: Json) -> Document {
        let fields = fields.as_object().cloned().unwrap();
        Document {
            collection: "birds".to_owned(),
            id: id.to_owned(),
            fields,
        }
    }

    fn paper() -> Paper {
        let mut paper = Paper::default();
        let fields = Fields::from([("mass".to_owned(), 3750.into())]);
        paper.note("Dream", &[Change::insert("birds", "a", fields)]);
        paper.everybody_saw();
        paper
    }

    #[test]
    fn the_last_writer_stands_and_the_others_are_in_the_ledger() {
        let mut paper = paper();
        for (team, mass) in [("Torgersen", 1), ("Dream", 2), ("Dream", 3), ("Biscoe", 4)] {
            paper.note(team, &[Change::set("birds", "a", "mass", mass)]);
        }
        assert_eq!(
            paper.differences(&[document("a", json!({ "mass": 4 }))]),
            Vec::<String>::new()
        );
        let overwritten: Vec<String> = paper.overwritten().iter().map(Written::to_string).collect();
        assert_eq!(overwritten, ["birds/a mass = 1", "birds/a mass = 3"]);
    }

    #[test]
    fn a_value_that_is_nowhere_is_noticed() {
        let mut paper = paper();
        paper.note("Torgersen", &[Change::set("birds", "a", "mass", 1)]);
        paper.note("Biscoe", &[Change::set("birds", "a", "mass", 2)]);
        let documents = [document("a", json!({ "mass": 2 }))];
        assert_eq!(
            paper.unaccounted(&documents, &[], &[]),
            ["birds/a mass = 1 by Torgersen"]
        );
        let row = Lost {
            collection: "birds".to_owned(),
            id: "a".to_owned(),
            field: Some("mass".to_owned()),
            value: 1.into(),
            base_value: 3750.into(),
            winner_value: 2.into(),
            winner_device: "Biscoe".to_owned(),
            rule: "overwritten".to_owned(),
        };
        assert_eq!(
            paper.unaccounted(&documents, &[row], &[]),
            Vec::<String>::new()
        );
        assert_eq!(paper.unaccounted(&[], &[], &[]).len(), 2);
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

    #[test]
    fn what_is_overruled_changes_nothing_but_is_accounted_for() {
        let mut paper = paper();
        paper.note_overruled("Dream", &[Change::set("birds", "a", "mass", 9)]);
        let documents = [document("a", json!({ "mass": 3750 }))];
        assert_eq!(paper.differences(&documents), Vec::<String>::new());
        assert_eq!(paper.unaccounted(&documents, &[], &[]).len(), 1);
        let quarantined = Quarantined {
            op: String::new(),
            code: String::new(),
            message: String::new(),
            documents: vec!["birds/a".to_owned()],
        };
        assert_eq!(
            paper.unaccounted(&documents, &[], &[quarantined]),
            Vec::<String>::new()
        );
    }
}
