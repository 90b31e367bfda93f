//! Whether every acknowledged value is accounted for, and which of them the ledgers must list.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value as Json, json};

use super::{Entry, Key, Paper};
use crate::demo::messages::{Document, Lost, Quarantined};

/// A value that somebody wrote, as it stands in the ledger.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::demo) struct Written {
    pub(in crate::demo) key: Key,
    pub(in crate::demo) field: String,
    /// As JSON text, which has an order.
    pub(in crate::demo) value: String,
}

/// A field in a phase.
type Place<'p> = (u32, &'p Key, &'p String);

/// A team and what it wrote last.
type Writer<'p> = (&'p String, &'p Json);

impl Paper {
    /// The values that were overwritten by somebody who had not seen them: of each team that wrote a
    /// field in a phase its last value, but for the one that stands at the phase's end.
    pub(in crate::demo) fn overwritten(&self) -> BTreeSet<Written> {
        let mut last: BTreeMap<Place<'_>, Vec<Writer<'_>>> = BTreeMap::new();
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
    pub(in crate::demo) fn unaccounted(
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

    /// Whether somebody who had seen the entry wrote the field again, or deleted the document.
    fn replaced_knowingly(&self, at: usize, entry: &Entry) -> bool {
        let later = self.entries.get(at + 1..).unwrap_or_default().iter();
        later
            .filter(|l| l.counts && l.key == entry.key)
            .filter(|l| l.field == entry.field || l.field.is_none())
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
    pub(in crate::demo) fn of_loss(loss: &Lost) -> Option<Written> {
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

#[cfg(test)]
mod tests {
    use super::super::tests::{document, paper};
    use super::*;
    use crate::demo::messages::Change;

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
            restored: false,
        };
        assert_eq!(
            paper.unaccounted(&documents, &[row], &[]),
            Vec::<String>::new()
        );
        assert_eq!(paper.unaccounted(&[], &[], &[]).len(), 2);
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
