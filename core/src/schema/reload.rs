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
mod tests {
    use super::*;

    /// Fields of the collection `birds`, number 1: `(number, name, kind)`.
    fn schema(fields: &[(u16, &str, &str)]) -> Schema {
        schema_of("birds", 1, 1, fields)
    }

    fn schema_of(name: &str, id: u16, version: u32, fields: &[(u16, &str, &str)]) -> Schema {
        Schema::parse(&text_of(name, id, version, fields)).unwrap()
    }

    fn text_of(name: &str, id: u16, version: u32, fields: &[(u16, &str, &str)]) -> String {
        let field = |(id, name, kind): &(u16, &str, &str)| {
            format!("fields.{name} = {{ id = {id}, kind = \"{kind}\" }}\n")
        };
        let fields: String = fields.iter().map(field).collect();
        format!(
            "schema = {{ name = \"n\", version = {version} }}\n[collections.{name}]\nid = {id}\n{fields}"
        )
    }

    /// Opens one schema after the other on the same file; the first must be fine.
    fn reload(schemas: &[Schema]) -> Result<StableIds, SchemaError> {
        schemas
            .iter()
            .try_fold(StableIds::default(), |record, schema| {
                record.check_reload(schema)?;
                Ok(record.succeeded_by(schema))
            })
    }

    fn refused(schemas: &[Schema]) -> Vec<(String, String)> {
        let (last, before) = schemas.split_last().unwrap();
        let record = reload(before).unwrap();
        let error = record.check_reload(last).unwrap_err();
        error
            .problems
            .into_iter()
            .map(|p| (p.path, p.message))
            .collect()
    }

    const A: (u16, &str, &str) = (1, "a", "text");
    const B: (u16, &str, &str) = (2, "b", "text");

    #[test]
    fn adding_renaming_and_removing_is_fine() {
        let steps = [
            schema(&[A, B]),
            schema(&[(1, "c", "text"), B]),
            schema(&[B]),
            schema(&[B, (3, "d", "counter")]),
            schema_of("penguins", 1, 2, &[B, (3, "d", "counter")]),
            // A removed number may come back as what it was: an app was rolled back.
            schema_of("penguins", 1, 2, &[A, B]),
            // Another kind under the old name takes a new number.
            schema_of("penguins", 1, 2, &[B, (4, "a", "integer")]),
        ];
        let record = reload(&steps).unwrap();
        let (name, fields) = record.collections.get(&1).unwrap();
        assert_eq!(name, "penguins");
        assert_eq!(fields.keys().copied().collect::<Vec<_>>(), [2, 4]);
    }

    #[test]
    fn a_number_never_changes_its_kind_even_after_it_was_removed() {
        let integer = schema(&[(1, "a", "integer"), B]);
        let expected = "collections.birds.fields.a.kind";
        let found = refused(&[schema(&[A, B]), integer.clone()]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].0, expected);
        assert!(
            found[0]
                .1
                .starts_with("expected text, the kind that number 1 had before, found integer")
        );
        let found = refused(&[schema(&[A, B]), schema(&[B]), integer]);
        assert_eq!(found[0].0, expected);
    }

    #[test]
    fn numbers_are_not_swapped_shifted_or_used_again() {
        let swapped = refused(&[
            schema(&[A, B]),
            schema(&[(2, "a", "text"), (1, "b", "text")]),
        ]);
        assert_eq!(swapped.len(), 2, "{swapped:?}");
        // The first line deleted and the list renumbered by hand.
        let shifted = refused(&[schema(&[A, B]), schema(&[(1, "b", "text")])]);
        assert_eq!(
            shifted[0].1,
            "b had number 2 before, found 1; names keep their numbers"
        );
        // A line put in front and the list renumbered by hand.
        let pushed = refused(&[
            schema(&[A]),
            schema(&[(1, "new", "text"), (2, "a", "text")]),
        ]);
        assert_eq!(
            pushed[0].1,
            "number 1 was a before, which now has number 2; names keep their numbers"
        );
        let moved = refused(&[schema(&[A, B]), schema(&[A, (7, "b", "text")])]);
        assert_eq!(
            moved[0].1,
            "b had number 2 before, found 7; names keep their numbers"
        );
        let reused = refused(&[
            schema(&[A, B]),
            schema(&[A]),
            schema(&[A, (2, "c", "text")]),
        ]);
        assert_eq!(
            reused[0].1,
            "number 2 was b and has been removed; a number is never used again"
        );
    }

    #[test]
    fn collections_keep_their_numbers_too() {
        let birds = schema(&[A]);
        let nests = schema_of("nests", 2, 1, &[A]);
        let moved = refused(&[birds.clone(), schema_of("birds", 2, 1, &[A])]);
        assert_eq!(moved[0].0, "collections.birds.id");
        let reused = refused(&[birds.clone(), nests.clone(), schema_of("trips", 1, 1, &[A])]);
        assert_eq!(reused[0].0, "collections.trips.id");
        // The fields of a removed collection are remembered as well.
        let back = refused(&[birds, nests, schema(&[(1, "a", "set")])]);
        assert_eq!(back[0].0, "collections.birds.fields.a.kind");
    }

    #[test]
    fn the_version_does_not_go_down() {
        let found = refused(&[
            schema_of("birds", 1, 3, &[A]),
            schema_of("birds", 1, 2, &[A]),
        ]);
        assert_eq!(
            found,
            [(
                "schema.version".into(),
                "expected at least 3, the version before, found 2".into()
            )]
        );
    }

    #[test]
    fn problems_find_their_places_in_the_text() {
        let record = reload(&[schema_of("birds", 1, 2, &[A, B])]).unwrap();
        let text = text_of("birds", 1, 1, &[A, (2, "b", "set")]);
        let error = record
            .check_reload(&Schema::parse(&text).unwrap())
            .unwrap_err();
        assert!(error.to_string().starts_with("schema.version: "), "{error}");
        let error = error.locate(&text);
        let places: Vec<_> = error.problems.iter().map(|p| (p.line, p.column)).collect();
        assert_eq!(places, [(1, 34), (5, 29)], "{error}");
        assert_eq!(error.clone().locate(""), error, "a place once found stays");
    }

    #[test]
    fn the_record_survives_its_file_and_older_records_are_read() {
        let record = reload(&[schema(&[A, B]), schema(&[B])]).unwrap();
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<StableIds>(&text).unwrap(), record);
        let first = serde_json::to_string(&schema(&[A]).stable_ids()).unwrap();
        assert!(!first.contains("former"));
        assert_eq!(
            serde_json::from_str::<StableIds>(&first).unwrap(),
            schema(&[A]).stable_ids()
        );
    }

    /// A device may skip any version. What the server accepted step by step, it must accept too,
    /// or an app update would lock its user out.
    #[test]
    fn who_skips_a_version_is_not_refused() {
        let mut worlds: Vec<Vec<(u16, &str, &str)>> = vec![Vec::new()];
        for id in 1..=3 {
            let mut wider = worlds.clone();
            for world in &worlds {
                for name in ["a", "b", "c"] {
                    for kind in ["text", "set"] {
                        if world.iter().all(|(_, other, _)| *other != name) {
                            wider.push([world.as_slice(), &[(id, name, kind)]].concat());
                        }
                    }
                }
            }
            worlds = wider;
        }
        let keep = (9, "kept", "text");
        let schemas: Vec<Schema> = worlds
            .iter()
            .map(|world| schema(&[world.as_slice(), &[keep]].concat()))
            .collect();
        let mut skipped = 0;
        for first in &schemas {
            let record = first.stable_ids();
            let seconds = schemas
                .iter()
                .filter(|second| record.check_reload(second).is_ok());
            for after in seconds.map(|second| record.succeeded_by(second)) {
                for third in schemas
                    .iter()
                    .filter(|third| after.check_reload(third).is_ok())
                {
                    assert_eq!(
                        record.check_reload(third),
                        Ok(()),
                        "{first:?}\n{after:?}\n{third:?}"
                    );
                    skipped += 1;
                }
            }
        }
        assert!(skipped > 10_000, "{skipped}");
    }
}
