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
