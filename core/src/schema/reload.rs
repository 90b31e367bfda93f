//! Stable numbers across versions of a schema: a number never comes to mean something else.

use std::collections::{BTreeMap, BTreeSet};

use super::place::child_path;
use super::{Collection, Problem, Schema, SchemaError, StableIds};
use crate::id::{CollectionId, FieldId};

/// What the numbers of a collection meant at some time before.
#[derive(Clone, Debug, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct FormerCollection {
    /// Every name it had.
    pub names: BTreeSet<String>,
    /// Its fields, those removed since included.
    pub fields: BTreeMap<FieldId, FormerField>,
}

/// What the number of a field meant at some time before.
#[derive(Clone, Debug, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct FormerField {
    /// Every name it had.
    pub names: BTreeSet<String>,
    /// Its kind, which never changes.
    pub kind: String,
}

impl StableIds {
    /// Whether `new` gives every number the meaning it has in this record.
    ///
    /// Renaming, adding and removing is fine, and so is a removed number coming back as what it
    /// was. Refused are an older version, another kind, a number taken over by something else, and
    /// a name that moved to another number: whoever renumbers a list by hand would otherwise see
    /// one field's values under another field's name.
    ///
    /// # Errors
    /// Everything that is refused, without places; [`SchemaError::locate`] finds them.
    pub fn check_reload(&self, new: &Schema) -> Result<(), SchemaError> {
        let mut problems = Vec::new();
        if new.version < self.version {
            let message = format!(
                "expected at least {}, the version before, found {}",
                self.version, new.version
            );
            problems.push(problem("schema.version".to_owned(), message));
        }
        let facts = self.facts();
        check_level(
            &self.known_collections(&facts),
            &declared_collections(new),
            &mut problems,
        );
        for collection in &new.collections {
            if let Some(known) = self.known_fields(&facts, collection.id) {
                check_level(&known, &declared_fields(collection), &mut problems);
            }
        }
        if problems.is_empty() {
            Ok(())
        } else {
            Err(SchemaError { problems })
        }
    }

    /// The record to keep once `new` has been accepted; it remembers what this one knew.
    pub fn succeeded_by(&self, new: &Schema) -> StableIds {
        StableIds {
            former: self.facts(),
            ..new.stable_ids()
        }
    }

    /// Everything known about any number, whether it is still in use or not.
    fn facts(&self) -> BTreeMap<CollectionId, FormerCollection> {
        let mut facts = self.former.clone();
        for (id, (name, fields)) in &self.collections {
            let collection = facts.entry(*id).or_default();
            collection.names.insert(name.clone());
            for (id, (name, kind)) in fields {
                let field = collection.fields.entry(*id).or_default();
                field.names.insert(name.clone());
                field.kind.clone_from(kind);
            }
        }
        facts
    }

    fn known_collections<'a>(&self, facts: &'a Facts) -> BTreeMap<u16, Known<'a>> {
        let known = |(id, fact): (&u16, &'a FormerCollection)| {
            let in_use = self.collections.contains_key(id);
            (
                *id,
                Known {
                    names: &fact.names,
                    kind: COLLECTION,
                    in_use,
                },
            )
        };
        facts.iter().map(known).collect()
    }

    fn known_fields<'a>(
        &self,
        facts: &'a Facts,
        collection: CollectionId,
    ) -> Option<BTreeMap<u16, Known<'a>>> {
        let fields = &facts.get(&collection)?.fields;
        let live = self.collections.get(&collection).map(|(_, fields)| fields);
        let known = |(id, fact): (&u16, &'a FormerField)| {
            let in_use = live.is_some_and(|fields| fields.contains_key(id));
            (
                *id,
                Known {
                    names: &fact.names,
                    kind: fact.kind.as_str(),
                    in_use,
                },
            )
        };
        Some(fields.iter().map(known).collect())
    }
}

type Facts = BTreeMap<CollectionId, FormerCollection>;

/// Collections have no kinds; all of them are of this one.
const COLLECTION: &str = "collection";

/// What is known about one number.
struct Known<'a> {
    names: &'a BTreeSet<String>,
    kind: &'a str,
    in_use: bool,
}

/// What the new schema says about one number.
struct Declared<'a> {
    id: u16,
    name: &'a str,
    kind: &'a str,
    path: String,
}

fn declared_collections(schema: &Schema) -> Vec<Declared<'_>> {
    let declare = |c: &Collection| child_path("collections", &c.name);
    let each = schema.collections.iter();
    each.map(|c| Declared {
        id: c.id,
        name: &c.name,
        kind: COLLECTION,
        path: declare(c),
    })
    .collect()
}

fn declared_fields(collection: &Collection) -> Vec<Declared<'_>> {
    let parent = format!("{}.fields", child_path("collections", &collection.name));
    let each = collection.fields.iter();
    each.map(|f| {
        let path = child_path(&parent, &f.name);
        Declared {
            id: f.id,
            name: &f.name,
            kind: f.kind.name(),
            path,
        }
    })
    .collect()
}

fn check_level(
    known: &BTreeMap<u16, Known<'_>>,
    new: &[Declared<'_>],
    problems: &mut Vec<Problem>,
) {
    let level = Level { known, new };
    for declared in new {
        if let Err((key, message)) = level.judge(declared) {
            problems.push(problem(format!("{}.{key}", declared.path), message));
        }
    }
}

/// The collections of a schema, or the fields of a collection, before and after.
struct Level<'a> {
    known: &'a BTreeMap<u16, Known<'a>>,
    new: &'a [Declared<'a>],
}

impl Level<'_> {
    fn judge(&self, declared: &Declared<'_>) -> Result<(), (&'static str, String)> {
        match self.known.get(&declared.id) {
            Some(before) => self.judge_known(declared, before),
            None => self
                .judge_fresh(declared)
                .map_err(|message| ("id", message)),
        }
    }

    fn judge_known(
        &self,
        Declared { id, name, kind, .. }: &Declared<'_>,
        before: &Known<'_>,
    ) -> Result<(), (&'static str, String)> {
        if before.kind != *kind {
            let message = format!(
                "expected {}, the kind that number {id} had before, found {kind}; \
                 a field of another kind needs a number of its own",
                before.kind
            );
            return Err(("kind", message));
        }
        if let Some(other) = self
            .new
            .iter()
            .find(|n| n.id != *id && before.names.contains(n.name))
        {
            let message = format!(
                "number {id} was {} before, which now has number {}; names keep their numbers",
                other.name, other.id
            );
            return Err(("id", message));
        }
        if before.names.contains(*name) {
            return Ok(());
        }
        if !before.in_use {
            let was = before
                .names
                .first()
                .map_or("something else", String::as_str);
            let message =
                format!("number {id} was {was} and has been removed; a number is never used again");
            return Err(("id", message));
        }
        match self
            .known
            .iter()
            .find(|(_, known)| known.names.contains(*name))
        {
            Some((other, _)) => Err((
                "id",
                format!("{name} had number {other} before, found {id}; names keep their numbers"),
            )),
            None => Ok(()),
        }
    }

    /// A new number may take over a name only as something of another kind, and only if the
    /// number that had it is gone.
    fn judge_fresh(&self, Declared { id, name, kind, .. }: &Declared<'_>) -> Result<(), String> {
        let same =
            |(_, known): &(&u16, &Known<'_>)| known.kind == *kind && known.names.contains(*name);
        match self.known.iter().find(same) {
            // The number that had the name is still there, and has been reported.
            Some((before, _)) if self.new.iter().any(|n| n.id == *before) => Ok(()),
            Some((before, _)) => Err(format!(
                "{name} had number {before} before, found {id}; names keep their numbers"
            )),
            None => Ok(()),
        }
    }
}

fn problem(path: String, message: String) -> Problem {
    Problem {
        line: 0,
        column: 0,
        path,
        message,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
