//! From a draft to a schema: whether the parts fit each other.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use super::field::check_field;
use super::limits::check_limits;
use super::name::check_name;
use super::parse::{Draft, DraftCollection, DraftField, DraftIndex};
use super::place::{At, Findings, Place};
use super::words::{hint, one_of, quote};
use super::{Collection, Field, FieldKind, Index, Limits, MergePolicy, Schema};
use crate::id::FieldId;

/// The most collections of a schema.
pub const MAX_COLLECTIONS: usize = 200;
/// The most fields of a collection.
pub const MAX_FIELDS: usize = 500;
/// The most indexes of a collection; each costs every write.
pub const MAX_INDEXES: usize = 32;
/// The most fields of an index.
pub const MAX_INDEX_FIELDS: usize = 8;

/// SQLite keeps the search table of a collection in tables named after it.
const SEARCH_TABLES: [&str; 6] = ["", "_data", "_idx", "_content", "_docsize", "_config"];

/// The schema, if the draft is whole; what does not fit is added to `findings`.
pub(super) fn check(draft: &Draft, findings: &mut Findings) -> Option<Schema> {
    if let Some(name) = &draft.name {
        check_schema_name(name, findings);
    }
    let limits = check_limits(&draft.limits, findings);
    if let Some(place) = &draft.collections_place {
        check_count(
            draft.collections.len(),
            1..=MAX_COLLECTIONS,
            "collections",
            place,
            findings,
        );
    }
    check_numbers(
        draft.collections.iter().map(|c| (&c.name, c.id.as_ref())),
        findings,
    );
    check_search_tables(&draft.collections, findings);
    let checked: Vec<_> = draft
        .collections
        .iter()
        .map(|c| check_collection(c, &limits, findings))
        .collect();
    let mut collections = checked.into_iter().collect::<Option<Vec<Collection>>>()?;
    collections.sort_by_key(|c| c.id);
    let name = draft.name.as_ref()?.value.clone();
    Some(Schema {
        name,
        version: draft.version.as_ref()?.value,
        collections,
        limits,
    })
}

fn check_schema_name(name: &At<String>, findings: &mut Findings) {
    let text = &name.value;
    if text.is_empty() || text.chars().count() > 64 || text.chars().any(char::is_control) {
        let expected = "1 to 64 characters without control characters";
        findings.add(
            &name.place,
            format!("expected {expected}, found {}", quote(text)),
        );
    }
}

fn check_count(
    counted: usize,
    range: RangeInclusive<usize>,
    what: &str,
    place: &Place,
    findings: &mut Findings,
) {
    if !range.contains(&counted) {
        let (least, most) = range.into_inner();
        findings.add(
            place,
            format!("expected {least} to {most} {what}, found {counted}"),
        );
    }
}

/// Numbers name things on disk and on the wire, so no two things share one.
fn check_numbers<'a>(
    things: impl Iterator<Item = (&'a At<String>, Option<&'a At<u16>>)>,
    findings: &mut Findings,
) {
    let mut owners: BTreeMap<u16, &str> = BTreeMap::new();
    for (name, id) in things {
        let Some(id) = id else { continue };
        if let Some(owner) = owners.get(&id.value) {
            let message = format!(
                "expected a number of its own, found {}, the number of {owner}",
                id.value
            );
            findings.add(&id.place, message);
        } else {
            owners.insert(id.value, &name.value);
        }
    }
}

/// The search table of `birds` is `birds_search`; adding search later must never fail, so the
/// name is kept free whether or not it is used now.
fn check_search_tables(collections: &[DraftCollection], findings: &mut Findings) {
    let names: BTreeSet<&str> = collections.iter().map(|c| c.name.value.as_str()).collect();
    for collection in collections {
        let name = collection.name.value.as_str();
        let searched = SEARCH_TABLES.iter().find_map(|table| {
            name.strip_suffix(table)?
                .strip_suffix("_search")
                .filter(|owner| names.contains(owner))
        });
        if let Some(owner) = searched {
            let message = format!(
                "{} is kept for the search table of {owner}, choose another name",
                quote(name)
            );
            findings.add(&collection.name.place, message);
        }
    }
}

fn check_collection(
    draft: &DraftCollection,
    limits: &Limits,
    findings: &mut Findings,
) -> Option<Collection> {
    check_name(&draft.name, findings);
    if let Some(place) = &draft.fields_place {
        check_count(
            draft.fields.len(),
            1..=MAX_FIELDS,
            "fields",
            place,
            findings,
        );
    }
    check_numbers(
        draft.fields.iter().map(|f| (&f.name, f.id.as_ref())),
        findings,
    );
    let merge = draft
        .merge
        .as_ref()
        .map_or(MergePolicy::default(), |at| at.value);
    if merge == MergePolicy::Document {
        check_document_fields(&draft.fields, findings);
    }
    let known: Fields<'_> = draft
        .fields
        .iter()
        .map(|f| (f.name.value.as_str(), f))
        .collect();
    let search = check_search(draft, &known, findings);
    let indexes = check_indexes(draft, &known, findings);
    let checked: Vec<_> = draft
        .fields
        .iter()
        .map(|f| check_field(f, limits, findings))
        .collect();
    let mut fields = checked.into_iter().collect::<Option<Vec<Field>>>()?;
    fields.sort_by_key(|f| f.id);
    Some(Collection {
        id: draft.id.as_ref()?.value,
        name: draft.name.value.clone(),
        fields,
        indexes: indexes?,
        search: search?,
        on_conflict_delete: draft
            .on_conflict_delete
            .as_ref()
            .map(|at| at.value)
            .unwrap_or_default(),
        merge,
    })
}

/// A document that is one register has nothing in it that adds up on its own.
fn check_document_fields(fields: &[DraftField], findings: &mut Findings) {
    for kind in fields
        .iter()
        .filter_map(|f| f.kind.as_ref())
        .filter(|k| !k.value.is_register())
    {
        let message = format!(
            "a collection with merge = \"document\" holds no {}, expected {}",
            kind.value.name(),
            kinds(FieldKind::is_register)
        );
        findings.add(&kind.place, message);
    }
}

type Fields<'a> = BTreeMap<&'a str, &'a DraftField>;

fn check_search(
    draft: &DraftCollection,
    known: &Fields<'_>,
    findings: &mut Findings,
) -> Option<Vec<FieldId>> {
    for name in draft.search.iter().filter(|name| name.value == "rank") {
        // FTS5 has a hidden column of this name.
        findings.add(
            &name.place,
            "a field called \"rank\" cannot be searched, rename it",
        );
    }
    check_field_list(
        &draft.search,
        known,
        is_searchable,
        "full-text search covers",
        findings,
    )
}

fn is_searchable(kind: FieldKind) -> bool {
    matches!(kind, FieldKind::Text | FieldKind::RichText)
}

fn check_indexes(
    draft: &DraftCollection,
    known: &Fields<'_>,
    findings: &mut Findings,
) -> Option<Vec<Index>> {
    check_count(
        draft.indexes.len(),
        0..=MAX_INDEXES,
        "indexes",
        &draft.indexes_place,
        findings,
    );
    let mut indexes: Vec<Option<Index>> = Vec::new();
    for draft in draft.indexes.iter().take(MAX_INDEXES) {
        let index = check_index(draft, known, findings);
        if let Some(index) = &index {
            let earlier: Vec<&Index> = indexes.iter().flatten().collect();
            check_unlike(draft, index, &earlier, findings);
        }
        indexes.push(index);
    }
    indexes.into_iter().collect()
}

fn check_index(draft: &DraftIndex, known: &Fields<'_>, findings: &mut Findings) -> Option<Index> {
    if let Some(name) = &draft.name {
        check_name(name, findings);
    }
    let fields = draft.fields.as_ref()?;
    check_count(
        fields.len(),
        1..=MAX_INDEX_FIELDS,
        "fields",
        &draft.place,
        findings,
    );
    let ids = check_field_list(fields, known, is_indexable, "an index covers", findings)?;
    let name = match &draft.name {
        Some(name) => name.value.clone(),
        None => {
            let fields: Vec<&str> = fields.iter().map(|f| f.value.as_str()).collect();
            format!("by_{}", fields.join("_"))
        }
    };
    Some(Index { name, fields: ids })
}

fn is_indexable(kind: FieldKind) -> bool {
    kind.is_register() && !matches!(kind, FieldKind::Json | FieldKind::Bytes)
}

/// An index differs from the `earlier` ones of its collection in name and in fields.
fn check_unlike(draft: &DraftIndex, index: &Index, earlier: &[&Index], findings: &mut Findings) {
    let place = draft.name.as_ref().map_or(&draft.place, |name| &name.place);
    let name = quote(&index.name);
    if earlier.iter().any(|other| other.name == index.name) {
        let message =
            format!("expected a name of its own, found {name}, the name of another index");
        findings.add(place, message);
    } else if let Some(other) = earlier.iter().find(|other| other.fields == index.fields) {
        let message = format!(
            "has the same fields as the index {}, remove one",
            quote(&other.name)
        );
        findings.add(&draft.place, message);
    }
}

/// The numbers of the fields in `names`, which must exist, be of a fitting kind and not repeat.
fn check_field_list(
    names: &[At<String>],
    known: &Fields<'_>,
    fits: fn(FieldKind) -> bool,
    what: &str,
    findings: &mut Findings,
) -> Option<Vec<FieldId>> {
    let mut listed = BTreeSet::new();
    let mut ids = Vec::new();
    for name in names {
        let found = quote(&name.value);
        let Some(field) = known.get(name.value.as_str()) else {
            let meant = guess_field(&name.value, known);
            let message = format!("expected a field of this collection, found {found}{meant}");
            findings.add(&name.place, message);
            continue;
        };
        if !listed.insert(name.value.as_str()) {
            findings.add(
                &name.place,
                format!("expected each field once, found {found} again"),
            );
        } else if let Some(kind) = field.kind.as_ref().filter(|kind| !fits(kind.value)) {
            let (expected, kind) = (kinds(fits), kind.value.name());
            let message = format!("{what} fields of kind {expected}, {found} is of kind {kind}");
            findings.add(&name.place, message);
        }
        ids.extend(field.id.as_ref().map(|id| id.value));
    }
    (ids.len() == names.len()).then_some(ids)
}

fn guess_field(name: &str, known: &Fields<'_>) -> String {
    // Guessing compares with every field; a file this long is wrong in other ways.
    if known.len() > MAX_FIELDS {
        return String::new();
    }
    let mut fields: Vec<&str> = known.keys().copied().collect();
    fields.sort_unstable();
    hint(name, fields)
}

fn kinds(fit: fn(FieldKind) -> bool) -> String {
    one_of(
        FieldKind::ALL
            .into_iter()
            .filter(|kind| fit(*kind))
            .map(FieldKind::name),
    )
}
