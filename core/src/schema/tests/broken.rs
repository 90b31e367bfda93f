//! Schemas that are wrong in one place each.

use super::super::Schema;
use super::HEAD;

/// A collection `a` whose fields are given, from line 6 on.
fn fields(fields: &str) -> String {
    format!("{HEAD}[collections.a]\nid = 1\nfields.z = {{ id = 99, kind = \"text\" }}\n{fields}\n")
}

/// A field `f` in a collection of its own: line 7, its keys from column 14 on.
fn field(keys: &str) -> String {
    fields(&format!("fields.f = {{ {keys} }}"))
}

/// Further keys of a collection with fields t, r, c, s, j, n: line 5.
pub(super) fn collection(keys: &str) -> String {
    format!(
        "{HEAD}[collections.a]\n{keys}\nid = 1\n[collections.a.fields]\n\
         t = {{ id = 1, kind = \"text\" }}\nr = {{ id = 2, kind = \"rich_text\" }}\n\
         c = {{ id = 3, kind = \"counter\" }}\ns = {{ id = 4, kind = \"set\" }}\n\
         j = {{ id = 5, kind = \"json\" }}\nrank = {{ id = 6, kind = \"text\" }}\n"
    )
}

/// Limits in front of a fine collection: line 5.
fn limits(keys: &str) -> String {
    format!(
        "{HEAD}[limits]\n{keys}\n[collections.a]\nid = 1\n\
         fields.x = {{ id = 1, kind = \"text\" }}\n"
    )
}

/// Whole collections after the head: line 4.
fn collections(names: &[(&str, u16)]) -> String {
    let one = |(name, id): &(&str, u16)| {
        format!("[collections.{name}]\nid = {id}\nfields.x = {{ id = 1, kind = \"text\" }}\n")
    };
    format!("{HEAD}{}", names.iter().map(one).collect::<String>())
}

#[test]
fn every_problem_has_its_place_and_says_what_was_expected() {
    let many_fields: String = (1..=501)
        .map(|n| format!("fields.f{n} = {{ id = {n}, kind = \"text\" }}\n"))
        .collect();
    let many_indexes: String = (0..33)
        .map(|n| format!("{{ name = \"i{n}\", fields = [] }}, "))
        .collect();
    let wide = "[\"t\", \"t\", \"t\", \"t\", \"t\", \"t\", \"t\", \"t\", \"t\"]";
    let long = "x".repeat(64);
    #[rustfmt::skip]
    let cases: Vec<(String, u32, u32, &str)> = vec![
        // The file as a whole.
        ("# \u{e9}\nschema = [".into(), 2, 11, "unclosed array"),
        (format!("{HEAD}version = 2\n"), 4, 1, "duplicate key"),
        (" ".repeat((1 << 20) + 1), 1, 1, "at most 1048576 bytes, this one has 1048577"),
        (HEAD.into(), 1, 1, "missing key \"collections\", expected at least one table"),
        (format!("{HEAD}[collections]\n"), 4, 2, "1 to 200 collections, found 0"),
        (format!("colections = 1\n{}", collections(&[("a", 1)])), 1, 1, "(did you mean \"collections\"?)"),
        (format!("{}[[migration]]\nid = 1", collections(&[("a", 1)])), 7, 3, "migrations are not supported"),
        (collections(&[("a", 1)]).replace("[schema]", "[schema]\nnmae = 1"), 2, 1, "expected name or version (did you mean \"name\"?)"),
        // [schema]
        (collections(&[("a", 1)]).replace("version = 1\n", ""), 1, 2, "missing key \"version\", expected an integer"),
        (collections(&[("a", 1)]).replace("version = 1", "version = 0"), 3, 11, "expected an integer from 1 to 2147483647, found 0"),
        (collections(&[("a", 1)]).replace("version = 1", "version = \"1\""), 3, 11, "found \"1\""),
        (collections(&[("a", 1)]).replace("\"notes\"", "\"\""), 2, 8, "1 to 64 characters"),
        (collections(&[("a", 1)]).replace("\"notes\"", "7"), 2, 8, "expected a string, found 7"),
        // [limits]
        (limits("max_vlaue = 1"), 5, 1, "(did you mean \"max_value\"?)"),
        (limits("max_value = \"4 MB\""), 5, 13, "such as \"500 KiB\" or \"4 MiB\", found \"4 MB\""),
        (limits("max_value = 0"), 5, 13, "at least 1 byte"),
        (limits("max_value = -5"), 5, 13, "expected a number of bytes"),
        (limits("quota = \"8192 TiB\""), 5, 9, "below 8 PiB"),
        (limits("max_value = \"3 MiB\""), 5, 13, "at most max_document (2 MiB by default), found 3 MiB"),
        (limits("max_document = 1000"), 5, 16, "at least max_value (1 MiB by default), found 1000 bytes"),
        (limits("max_document = \"5 MiB\"\nmax_group = \"4 MiB\""), 5, 16, "at most max_group (4 MiB), found 5 MiB"),
        (limits("max_queue_bytes = \"65 MiB\"\nmax_group = \"17 MiB\""), 6, 13, "at most 16 MiB, found 17 MiB"),
        (limits("max_queue_bytes = 9"), 5, 19, "at least max_group (4 MiB by default), found 9 bytes"),
        (limits("quota = \"1 MiB\""), 5, 9, "at least max_group"),
        (limits("max_set_elements = 0"), 5, 20, "from 1 to 1000000, found 0"),
        (limits("max_queue_ops = 1.5"), 5, 17, "found 1.5"),
        // [collections.<name>]
        (format!("{HEAD}[collections]\na = 5\nb = {{ id = 1, fields.x = {{ id = 1, kind = \"text\" }} }}\n"), 5, 5, "declares a collection, found 5"),
        (collections(&[("a", 1), ("b", 1)]), 8, 6, "found 1, the number of a"),
        (collections(&[("a", 0)]), 5, 6, "from 1 to 32767, found 0"),
        (collections(&[("a", 1)]).replace("id = 1\n", ""), 4, 14, "missing key \"id\", expected a stable number"),
        (collections(&[("a", 32768)]), 5, 6, "found 32768"),
        (collections(&[("Birds", 1)]), 4, 14, "(did you mean \"birds\"?)"),
        (collections(&[("_a", 1)]), 4, 14, "Driftline's own"),
        (collections(&[("sqlite_stat", 1)]), 4, 14, "SQLite's own"),
        (collections(&[("rowid", 1)]), 4, 14, "\"rowid\" is reserved"),
        (collections(&[(&long, 1)]), 4, 14, "at most 63 bytes, found 64"),
        (collections(&[("a", 1), ("a_search", 2)]), 7, 14, "kept for the search table of a,"),
        (collections(&[("a_search_data", 1), ("a", 2)]), 4, 14, "kept for the search table of a,"),
        (collection("merge = \"fields\""), 5, 9, "expected field or document, found \"fields\" (did you mean \"field\"?)"),
        (collection("on_conflict_delete = true"), 5, 22, "expected delete_wins or update_wins, found true"),
        (collection("index = []"), 5, 1, "unknown key"),
        (format!("{HEAD}[collections.a]\nid = 1\n"), 4, 14, "missing key \"fields\""),
        (format!("{HEAD}[collections.a]\nid = 1\nfields = {{}}\n"), 6, 1, "found 0"),
        (format!("{HEAD}[collections.a]\nid = 1\n{many_fields}"), 6, 1, "1 to 500 fields, found 501"),
        (field("id = 1, kind = \"set\"").replace("id = 1\n", "id = 1\nmerge = \"document\"\n"), 8, 29, "holds no set"),
        // search and indexes
        (collection("search = \"t\""), 5, 10, "expected an array of field names, found \"t\""),
        (collection("search = [\"t\", 5]"), 5, 16, "expected a field name, found 5"),
        (collection("search = [\"j\"]"), 5, 11, "full-text search covers fields of kind text or rich_text, \"j\" is of kind json"),
        (collection("search = [\"t\", \"t\"]"), 5, 16, "found \"t\" again"),
        (collection("search = [\"rank\"]"), 5, 11, "cannot be searched"),
        (collection("search = [\"rnak\"]"), 5, 11, "(did you mean \"rank\"?)"),
        (collection("indexes = [[\"t\"]]"), 5, 12, "found an array"),
        (collection("indexes = [{ fields = [\"x\"] }]"), 5, 24, "expected a field of this collection, found \"x\""),
        (collection("indexes = [{ fields = [\"t\", \"c\"] }]"), 5, 29, "\"c\" is of kind counter"),
        (collection("indexes = [{ fields = [\"r\"] }]"), 5, 24, "\"r\" is of kind rich_text"),
        (collection("indexes = [{ fields = [\"j\"] }]"), 5, 24, "\"j\" is of kind json"),
        (collection("indexes = [{ fields = [] }]"), 5, 12, "found 0"),
        (collection("indexes = [{ name = \"x\" }]"), 5, 12, "missing key \"fields\""),
        (collection("indexes = [{ name = \"X\", fields = [\"t\"] }]"), 5, 21, "(did you mean \"x\"?)"),
        (collection("indexes = [{ fields = [\"t\"] }, { name = \"by_t\", fields = [\"rank\"] }]"), 5, 41, "the name of another index"),
        (collection("indexes = [{ fields = [\"t\"] }, { name = \"x\", fields = [\"t\"] }]"), 5, 32, "same fields as the index \"by_t\""),
        // fields
        (fields("fields.f = 7"), 7, 12, "expected a table such as { id = 1, kind = \"text\" }, found 7"),
        (fields("fields.f.kind = \"text\""), 7, 8, "missing key \"id\""),
        (field("id = 1"), 7, 8, "missing key \"kind\", expected a kind"),
        (field("id = 99, kind = \"text\""), 7, 19, "found 99, the number of z"),
        (field("id = 1, kind = \"floot\""), 7, 29, "expected one of text, integer, real, boolean, timestamp, uuid, json, bytes, order_key, counter, set, rich_text or list, found \"floot\" (did you mean \"real\"?)"),
        (field("id = 1, kind = \"money\""), 7, 29, "found \"money\""),
        (field("id = 1, kind = \"text\", requird = true"), 7, 37, "(did you mean \"required\"?)"),
        (field("id = 1, kind = \"text\", required = 1"), 7, 48, "expected true or false, found 1"),
        (field("id = 1, kind = \"counter\", required = true"), 7, 51, "always has a value"),
        (field("id = 1, kind = \"text\", merge = \"add\""), 7, 45, "a field of kind text merges by \"register\", found \"add\""),
        (field("id = 1, kind = \"text\", merge = \"regster\""), 7, 45, "(did you mean \"register\"?)"),
        (field("id = 1, kind = \"text\", max_bytes = \"2 MiB\""), 7, 49, "at most max_value (1 MiB), found 2 MiB"),
        (field("id = 1, kind = \"integer\", max_bytes = 8"), 7, 52, "fixed size"),
        (field("id = 1, kind = \"text\", default = 5"), 7, 47, "expected a string, found 5"),
        (field("id = 1, kind = \"text\", default = [5]"), 7, 47, "expected a string, a number or a boolean, found an array"),
        (field("id = 1, kind = \"text\", default = \"\\u0000\""), 7, 47, "must not contain NUL"),
        (field("id = 1, kind = \"text\", max_bytes = 2, default = \"abc\""), 7, 62, "at most 2 bytes, found 3 bytes"),
        (field("id = 1, kind = \"integer\", default = \"5\""), 7, 50, "expected an integer, found \"5\""),
        (field("id = 1, kind = \"integer\", default = 9223372036854775808"), 7, 50, "an integer of 64 bits"),
        (field("id = 1, kind = \"real\", default = nan"), 7, 47, "must be finite"),
        (field("id = 1, kind = \"real\", default = 1e999"), 7, 47, "must be finite"),
        (field("id = 1, kind = \"boolean\", default = 0"), 7, 50, "expected true or false, found 0"),
        (field("id = 1, kind = \"timestamp\", default = 2026-01-01T00:00:00Z"), 7, 52, "milliseconds since 1970 UTC as an integer, found a date or time"),
        (field("id = 1, kind = \"uuid\", default = \"A\""), 7, 47, "canonical lower case"),
        (field("id = 1, kind = \"json\", default = \"{\""), 7, 47, "expected a string of JSON, found \"{\""),
        (field("id = 1, kind = \"bytes\", default = \"*\""), 7, 48, "base64"),
        (field("id = 1, kind = \"order_key\", default = \"a0\""), 7, 52, "drawn for each document"),
        (field("id = 1, kind = \"counter\", default = 0"), 7, 50, "starts at 0"),
        (field("id = 1, kind = \"set\", default = \"a\""), 7, 46, "starts empty"),
        (fields("[collections.a.fields.\"d\u{e9}but\"]\nid = 1\nkind = \"text\""), 7, 23, "lower-case letters"),
        (fields("fields.f.id = 3\nfields.f.kind.of = \"text\""), 8, 10, "found a table"),
    ];
    assert!(cases.len() >= 40);
    let mut wrong = Vec::new();
    for (text, line, column, fragment) in cases {
        let error = Schema::parse(&text).expect_err(fragment);
        let as_said = matches!(error.problems.as_slice(), [problem]
            if (problem.line, problem.column) == (line, column)
                && problem.message.contains(fragment));
        if !as_said {
            wrong.push(format!(
                "expected {line}:{column}: {fragment}\nfound {error}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    // Counts come with what is wrong in each item, so these have more than one problem.
    let counted = Schema::parse(&collection(&format!("indexes = [{many_indexes}]"))).unwrap_err();
    assert_eq!(
        counted.problems[0].message,
        "expected 0 to 32 indexes, found 33"
    );
    let counted =
        Schema::parse(&collection(&format!("indexes = [{{ fields = {wide} }}]"))).unwrap_err();
    assert_eq!(
        counted.problems[0].message,
        "expected 1 to 8 fields, found 9"
    );
    let names: Vec<String> = (1..=201).map(|n| format!("c{n}")).collect();
    let numbered: Vec<(&str, u16)> = names.iter().map(String::as_str).zip(1..).collect();
    let counted = Schema::parse(&collections(&numbered)).unwrap_err();
    assert_eq!(
        counted.problems[0].message,
        "expected 1 to 200 collections, found 201"
    );
}
