use proptest::prelude::*;

use super::*;

mod broken;

const HEAD: &str = "[schema]\nname = \"notes\"\nversion = 1\n";

const VALID: &str = r#"
[schema]
name = "field-notes"
version = 3

[limits]
max_value = "500 KiB"
max_document = 1048576
max_group = "2 MiB"
max_set_elements = 50
max_queue_ops = 1_000
max_queue_bytes = "8 MiB"
quota = "1 GiB"

[collections.nests]
id = 2
merge = "document"
fields = { place = { id = 1, kind = "text" } }

[collections.birds]
id = 1
on_conflict_delete = "update_wins"
search = ["species", "notes"]
indexes = [{ fields = ["island", "seen"] }, { name = "by_kind", fields = ["species"] }]

[collections.birds.fields]
tags    = { id = 9, kind = "set", merge = "observed_remove", max_bytes = "100 B" }
species = { id = 1, kind = "text", required = true, max_bytes = 200, merge = "register" }
island  = { id = 2, kind = "text", required = true, default = "Dream" }
seen    = { id = 3, kind = "timestamp", default = 0 }
mass    = { id = 4, kind = "real", default = 4000 }
ringed  = { id = 5, kind = "boolean", default = false }
extra   = { id = 6, kind = "json", default = '{"a": [1]}' }
photo   = { id = 7, kind = "bytes", default = "aGk=" }
ring    = { id = 8, kind = "uuid", default = "0190a3b4-0000-7000-8000-000000000001" }
place   = { id = 10, kind = "order_key" }
count   = { id = 11, kind = "counter", merge = "add" }
notes   = { id = 12, kind = "rich_text", merge = "text" }
steps   = { id = 13, kind = "list", merge = "list" }
year    = { id = 32767, kind = "integer", default = 0x10 }
"#;

#[test]
fn a_schema_is_read_in_full() {
    let schema = Schema::parse(VALID).unwrap();
    assert_eq!((schema.name.as_str(), schema.version), ("field-notes", 3));
    let limits = Limits {
        max_value: 500 << 10,
        max_document: 1 << 20,
        max_group: 2 << 20,
        max_set_elements: 50,
        max_queue_ops: 1_000,
        max_queue_bytes: 8 << 20,
        quota: Some(1 << 30),
    };
    assert_eq!(schema.limits, limits);
    let names: Vec<_> = schema.collections.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["birds", "nests"], "in the order of ids");
    assert_eq!(
        schema.collection("nests").unwrap().merge,
        MergePolicy::Document
    );

    let birds = schema.collection("birds").unwrap();
    assert_eq!(birds.on_conflict_delete, DeletePolicy::UpdateWins);
    assert_eq!(birds.merge, MergePolicy::Field);
    assert_eq!(birds.search, [1, 12]);
    let by_island = Index {
        name: "by_island_seen".into(),
        fields: vec![2, 3],
    };
    let by_kind = Index {
        name: "by_kind".into(),
        fields: vec![1],
    };
    assert_eq!(birds.indexes, [by_island, by_kind]);
    let ids: Vec<_> = birds.fields.iter().map(|f| f.id).collect();
    assert_eq!(ids, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 32767]);
    let kinds: std::collections::BTreeSet<_> = birds.fields.iter().map(|f| f.kind.name()).collect();
    assert_eq!(kinds.len(), FieldKind::ALL.len());

    let default = |name: &str| birds.field(name).unwrap().default.clone();
    assert_eq!(default("species"), None);
    assert_eq!(default("island"), Some("Dream".into()));
    assert_eq!(default("mass"), Some(Value::Real(4000.0)));
    assert_eq!(default("photo"), Some(Value::Bytes(b"hi".to_vec())));
    assert_eq!(default("year"), Some(Value::Integer(16)));
    let species = birds.field("species").unwrap();
    assert_eq!((species.required, species.max_bytes), (true, Some(200)));
    assert!(!birds.field("mass").unwrap().required);
}

#[test]
fn limits_have_defaults_and_a_byte_order_mark_is_no_problem() {
    let text = format!(
        "\u{feff}{HEAD}[collections.a]\nid = 1\nfields.x = {{ id = 1, kind = \"text\" }}\n"
    );
    let schema = Schema::parse(&text).unwrap();
    assert_eq!(schema.limits, Limits::default());
}

#[test]
fn all_problems_are_reported_at_once_in_the_order_of_the_file() {
    let text = "[limits]\nmax_value = \"9 XB\"\n[schema]\nname = \"n\"\nversion = 0\n\
        [collections.b]\nid = 1\nfields.mass = { id = 0, kind = \"floot\" }\n\
        [collections.a]\nid = 1\nsearch = [\"x\"]\nfields.t = { id = 1, kind = \"text\" }\n";
    let error = Schema::parse(text).unwrap_err();
    let expected = "\
2:13: limits.max_value: expected a number of bytes, or a string such as \"500 KiB\" or \"4 MiB\", found \"9 XB\"
5:11: schema.version: expected an integer from 1 to 2147483647, found 0
8:22: collections.b.fields.mass.id: expected an integer from 1 to 32767, found 0
8:32: collections.b.fields.mass.kind: expected one of text, integer, real, boolean, timestamp, uuid, json, bytes, order_key, counter, set, rich_text or list, found \"floot\" (did you mean \"real\"?)
10:6: collections.a.id: expected a number of its own, found 1, the number of b
11:11: collections.a.search[0]: expected a field of this collection, found \"x\"";
    assert_eq!(error.to_string(), expected);
    let first = error.in_file("schema.toml").to_string();
    assert!(
        first.starts_with("schema.toml:2:13: limits.max_value: "),
        "{first}"
    );
}

#[test]
fn all_syntax_errors_are_reported_at_once() {
    let error = Schema::parse("[schema]\nname = \nversion = 01x\n[a]]\n").unwrap_err();
    let lines: Vec<u32> = error.problems.iter().map(|p| p.line).collect();
    assert!(
        lines.contains(&2) && lines.contains(&3) && lines.contains(&4),
        "{error}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_text_makes_parse_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let text = String::from_utf8_lossy(&bytes);
        prop_assert!(check_places(&text));
    }

    #[test]
    fn no_mutation_makes_parse_panic(
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..6u8, any::<prop::sample::Index>(), any::<char>()), 1..6),
    ) {
        let mut text: Vec<char> = VALID.chars().collect();
        for (at, action, other, c) in edits {
            // Truncated to one character and that one removed: nothing is left to change.
            if text.is_empty() {
                break;
            }
            let (at, other) = (at.index(text.len()), other.index(text.len()));
            match action {
                0 => text[at] = c,
                1 => text.insert(at, c),
                2 => drop(text.remove(at)),
                3 => text.swap(at, other),
                4 => text[at] = text[other],
                _ => text.truncate(at.max(1)),
            }
        }
        let text: String = text.into_iter().collect();
        prop_assert!(check_places(&text));
    }
}

/// Parses, and checks that what is reported points into the text.
fn check_places(text: &str) -> bool {
    match Schema::parse(text) {
        Ok(schema) => schema.stable_ids().check_reload(&schema).is_ok(),
        Err(error) => {
            let lines: Vec<&str> = text.split('\n').collect();
            let inside = |p: &Problem| {
                let line = lines.get(p.line as usize - 1);
                line.is_some_and(|line| {
                    p.column >= 1 && p.column as usize <= line.chars().count() + 1
                })
            };
            !error.problems.is_empty()
                && error.problems.iter().all(inside)
                && error.problems.is_sorted_by_key(|p| (p.line, p.column))
        }
    }
}

#[test]
fn a_megabyte_of_nonsense_is_answered_soon_and_briefly() {
    for nonsense in [
        "=\n", "[", "a=[", "a.", "x=1\n", "\"", "[[a]]\n", "\u{feff}",
    ] {
        let text = nonsense.repeat((1 << 20) / nonsense.len());
        let error = Schema::parse(&text).unwrap_err();
        assert!(error.problems.len() <= 501, "{nonsense}");
        assert!(error.to_string().len() < 200_000, "{nonsense}");
    }
    let names = "\"speceis\",".repeat(90_000);
    let error = Schema::parse(&broken::collection(&format!("search = [{names}]"))).unwrap_err();
    assert_eq!(error.problems.len(), 501);
    let indexes = "{fields=[\"t\"]},".repeat(60_000);
    let error = Schema::parse(&broken::collection(&format!("indexes = [{indexes}]"))).unwrap_err();
    assert_eq!(
        error.problems.len(),
        1 + 31,
        "the count, and the first 32 alike"
    );
}
