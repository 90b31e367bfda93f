//! Whether `docs/protocol.md` says the same as the code.

use std::collections::BTreeMap;

use driftline_core::protocol::failure::code;
use driftline_core::protocol::{Cursor, Form, LiveFrame, Reaction, encode, limits, react};
use driftline_core::schema;
use driftline_core::sync::Settings;

use crate::page::{DOCS, fence, table, tables, unquoted};
use crate::{golden, samples, session};

/// Every block of JSON, with what it must be.
fn examples() -> BTreeMap<String, String> {
    let mut examples: BTreeMap<String, String> = golden::all()
        .into_iter()
        .map(|golden| (golden.name.to_owned(), golden.json.to_owned()))
        .collect();
    for (n, step) in session::STEPS.iter().enumerate() {
        examples.insert(
            format!("session_{}_request", n + 1),
            step.request.to_owned(),
        );
        examples.insert(format!("session_{}_answer", n + 1), step.answer.to_owned());
    }
    examples
}

fn named_blocks() -> Vec<&'static str> {
    DOCS.lines()
        .filter_map(|line| line.strip_prefix("```json"))
        .map(str::trim)
        .collect()
}

/// The page with every example as its golden file has it.
pub(crate) fn with_examples() -> String {
    let examples = examples();
    let mut page = String::new();
    let mut lines = DOCS.lines();
    while let Some(line) = lines.next() {
        page.push_str(line);
        page.push('\n');
        let example = line
            .strip_prefix("```json ")
            .and_then(|name| examples.get(name));
        if let Some(json) = example {
            page.push_str(json);
            page.push_str("```\n");
            for skipped in lines.by_ref() {
                if skipped == "```" {
                    break;
                }
            }
        }
    }
    page
}

#[test]
fn its_json_is_the_golden_files() {
    let examples = examples();
    for name in named_blocks() {
        match examples.get(name) {
            Some(json) => assert_eq!(fence(&format!("json {name}")), json, "{name}"),
            None => assert_eq!(name, "claims", "a block of JSON that is no message"),
        }
    }
    assert!(named_blocks().len() >= 10);
    assert_eq!(with_examples(), DOCS);
}

#[test]
fn its_claims_are_claims() {
    let claims: serde_json::Value = serde_json::from_str(fence("json claims")).unwrap();
    let rows = table("claim");
    for name in claims.as_object().unwrap().keys() {
        assert!(
            rows.iter().any(|row| row[0] == format!("`{name}`")),
            "{name}"
        );
    }
    let life = claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap();
    assert!((1..=86_400).contains(&life));
}

#[test]
fn one_boolean_is_taken_apart_byte_by_byte() {
    let digits: String = fence("text one_boolean")
        .lines()
        .filter_map(|line| line.trim_start().split("  ").next())
        .flat_map(str::split_whitespace)
        .collect();
    let entry = encode(Form::Cbor, &samples::one_boolean());
    let hex: String = entry.iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(digits, hex);
    assert!(DOCS.contains(&format!("One boolean changed is {} bytes", entry.len())));
}

#[test]
fn its_chain_of_hashes_can_be_computed() {
    let lines: Vec<&str> = fence("text chain").lines().collect();
    let last = |line: &str| line.split_whitespace().last().unwrap().to_owned();
    let id: [u8; 16] =
        std::array::from_fn(|n| u8::from_str_radix(&last(lines[0])[2 * n..2 * n + 2], 16).unwrap());
    let beginning = Cursor::seed(&id);
    assert_eq!(last(lines[1]), beginning.hash.to_string());
    let entry = encode(Form::Cbor, &samples::version_entry());
    assert_eq!(last(lines[2]), beginning.next(&entry).hash.to_string());
    // Once more without our own code.
    let hash = |parts: &[&[u8]]| blake3::hash(&parts.concat()).to_hex()[..16].to_owned();
    assert_eq!(last(lines[1]), hash(&[b"driftline workspace", &id]));
    assert_eq!(last(lines[2]), hash(&[&beginning.hash.0, &entry]));
}

/// `(key, name)` of every member of the struct, read from the source that declares it.
fn members(source: &str, name: &str) -> Vec<(String, String)> {
    let start = ["<", " {"]
        .iter()
        .find_map(|end| source.find(&format!("pub struct {name}{end}")));
    let source = &source[start.unwrap_or_else(|| panic!("no struct {name}"))..];
    let mut key = None;
    let mut members = Vec::new();
    for line in source
        .lines()
        .map(str::trim)
        .take_while(|line| *line != "}")
    {
        if let Some(number) = line
            .strip_prefix("#[n(")
            .and_then(|rest| rest.strip_suffix(")]"))
        {
            key = Some(number.to_owned());
        } else if let Some(rest) = line.strip_prefix("pub ")
            && let Some(number) = key.take()
        {
            members.push((number, rest.split(':').next().unwrap().to_owned()));
        }
    }
    members
}

#[test]
fn its_tables_have_every_member_with_its_key() {
    let message = include_str!("../../src/protocol/message.rs");
    let sources = [
        ("SyncRequest", message),
        ("Device", message),
        ("Cursor", include_str!("../../src/protocol/cursor.rs")),
        ("Reading", include_str!("../../src/time/place.rs")),
        ("OpBody", include_str!("../../src/op/mod.rs")),
        ("Change", include_str!("../../src/op/mod.rs")),
        ("TextEdit", include_str!("../../src/op/text.rs")),
        ("SyncResponse", message),
        ("Quota", message),
        ("OpResult", message),
        ("Refusal", include_str!("../../src/op/admit.rs")),
        ("VersionEntry", message),
        ("DocumentResult", message),
        ("Link", include_str!("../../src/merge/record.rs")),
        ("Loss", include_str!("../../src/ledger.rs")),
        ("Versions", include_str!("../../src/protocol/frame.rs")),
        ("Failure", include_str!("../../src/protocol/failure.rs")),
        ("Announcement", message),
    ];
    for (name, source) in sources {
        let heading = format!("\n### `{name}`\n");
        let section = &DOCS[DOCS
            .find(&heading)
            .unwrap_or_else(|| panic!("no section {name}"))
            + heading.len()..];
        let section = &section[..section.find("\n### ").unwrap_or(section.len())];
        let documented: Vec<(String, String)> = tables(section, "key")
            .remove(0)
            .into_iter()
            .map(|row| (row[0].to_owned(), unquoted(row[1]).to_owned()))
            .collect();
        assert_eq!(documented, members(source, name), "{name}");
    }
}

#[test]
fn its_codes_are_the_codes() {
    fn constants(source: &str, module: &str) -> Vec<String> {
        let source = &source[source.find(&format!("pub mod {module} {{")).unwrap()..];
        let source = &source[..source.find("\n}").unwrap()];
        let value = |line: &str| Some(line.split('"').nth(1)?.to_owned());
        source
            .lines()
            .filter(|line| line.contains("pub const"))
            .filter_map(value)
            .collect()
    }
    let mut documented: Vec<String> = table("refusal")
        .into_iter()
        .map(|row| unquoted(row[0]).to_owned())
        .collect();
    let mut known = constants(include_str!("../../src/op/admit.rs"), "refusal");
    documented.sort();
    known.sort();
    assert_eq!(documented, known);
    let mut documented: Vec<String> = table("failure")
        .into_iter()
        .map(|row| unquoted(row[0]).to_owned())
        .collect();
    let mut known = constants(include_str!("../../src/protocol/failure.rs"), "code");
    documented.sort();
    known.sort();
    assert_eq!(documented, known);
}

/// Whether a row of the table is about this answer.
fn fits(row: &[&str], status: u16, code: &str) -> bool {
    let statuses = row[0].split(", ").any(|one| match one.split_once('–') {
        Some((first, last)) => (first.parse().unwrap()..=last.parse().unwrap()).contains(&status),
        None => match one {
            "no answer" => status == 0,
            "anything else" => true,
            "200 with HTML" => status == 200,
            number => number.parse() == Ok(status),
        },
    });
    statuses
        && match row[1] {
            "any or none" => true,
            "any code" => !code.is_empty(),
            exact => unquoted(exact) == code,
        }
}

#[test]
fn its_table_of_answers_is_what_a_device_does() {
    let rows: Vec<_> = table("status").into_iter().collect();
    let yes = |cell: &str| match cell {
        "yes" => true,
        "no" => false,
        other => panic!("neither yes nor no: {other}"),
    };
    let codes = [
        "",
        "of_a_newer_server",
        code::UNAUTHORIZED,
        code::WRONG_ACCOUNT,
        code::FORBIDDEN,
        code::NOT_FOUND,
        code::HISTORY_CHANGED,
        code::TOO_LARGE,
        code::UNSUPPORTED,
        code::MALFORMED,
        code::UPGRADE_REQUIRED,
        code::RATE_LIMITED,
        code::BUSY,
        code::INTERNAL,
    ];
    let mut used = vec![false; rows.len()];
    for status in (0..=599).filter(|status| *status == 0 || *status >= 100) {
        for code in codes {
            let at = rows.iter().position(|row| fits(row, status, code)).unwrap();
            used[at] = true;
            let row = &rows[at];
            let Reaction {
                state,
                retry,
                suspects_ops,
                counts,
            } = react(status, code);
            let documented = (row[2].to_owned(), yes(row[3]), yes(row[4]), yes(row[5]));
            assert_eq!(
                documented,
                (format!("{state:?}"), retry, suspects_ops, counts),
                "{status} {code}"
            );
        }
    }
    assert!(used.iter().all(|used| *used), "a row that never fits");
}

/// The number a constant is declared with, in any of these sources.
fn declared(sources: &[&str], name: &str) -> String {
    let line = sources
        .iter()
        .flat_map(|source| source.lines())
        .find(|line| line.contains(&format!("const {name}: ")))
        .unwrap_or_else(|| panic!("no constant {name}"));
    let value = line
        .split(" = ")
        .nth(1)
        .unwrap()
        .trim_end_matches(';')
        .replace('_', "");
    value.trim_matches(['[', ']']).to_owned()
}

#[test]
fn its_numbers_are_the_defaults() {
    let shared = [
        ("MAX_BODY", limits::MAX_BODY as u64),
        ("MAX_DECOMPRESSED", limits::MAX_DECOMPRESSED as u64),
        ("MAX_RATIO", limits::MAX_RATIO as u64),
        ("MAX_WINDOW_LOG", limits::MAX_WINDOW_LOG.into()),
        ("COMPRESS_ABOVE", limits::COMPRESS_ABOVE as u64),
        ("MAX_DEPTH", limits::MAX_DEPTH as u64),
        ("MAX_ITEMS", limits::MAX_ITEMS as u64),
        ("MAX_OPS", limits::MAX_OPS as u64),
        ("MAX_COVERS", limits::MAX_COVERS as u64),
        ("BATCH_BYTES", limits::BATCH_BYTES as u64),
        ("PAGE_VERSIONS", limits::PAGE_VERSIONS as u64),
        ("PAGE_BYTES", limits::PAGE_BYTES as u64),
        ("MAX_VERSION", limits::MAX_VERSION as u64),
        ("PAGE_LOSSES", limits::PAGE_LOSSES as u64),
        ("SNAPSHOT_FRAME", limits::SNAPSHOT_FRAME as u64),
        ("FAR_BEHIND", limits::FAR_BEHIND),
        ("MAX_NAME", limits::MAX_NAME as u64),
        ("MAX_LABEL", limits::MAX_LABEL as u64),
    ];
    assert_eq!(
        pairs("both sides"),
        shared.map(|(name, n)| (name.to_owned(), n.to_string()))
    );
    let constants = include_str!("../../src/protocol/limits.rs")
        .matches("pub const ")
        .count();
    assert_eq!(
        constants,
        shared.len(),
        "a limit that the table does not have"
    );

    let defaults = schema::Limits::default();
    let of_schema = [
        ("max_value", u64::from(defaults.max_value)),
        ("max_document", defaults.max_document.into()),
        ("max_group", defaults.max_group.into()),
        ("max_set_elements", defaults.max_set_elements.into()),
        ("max_queue_ops", defaults.max_queue_ops.into()),
        ("max_queue_bytes", defaults.max_queue_bytes),
    ];
    assert_eq!(
        pairs("schema"),
        of_schema.map(|(name, n)| (name.to_owned(), n.to_string()))
    );
    assert!(DOCS.contains(&format!(
        "at most {}, so that it fits a request",
        schema::MAX_GROUP
    )));

    let settings = Settings::default();
    let sources = [
        include_str!("../../src/sync/backoff.rs"),
        include_str!("../../src/sync/isolation.rs"),
        include_str!("../../src/sync/live.rs"),
        include_str!("../../src/sync/token.rs"),
    ];
    for (name, value) in pairs("device") {
        let actual = match name.as_str() {
            "pace" => settings.pace.to_string(),
            "poll" => settings.poll.to_string(),
            "slow" => settings.slow.to_string(),
            constant => declared(&sources, constant),
        };
        assert_eq!(value, actual, "{name}");
    }
    assert_eq!(settings.max_ops, limits::MAX_OPS);
}

/// Name and number of each row.
fn pairs(head: &str) -> Vec<(String, String)> {
    let rows = table(head).into_iter();
    rows.map(|row| (unquoted(row[0]).to_owned(), row[1].to_owned()))
        .collect()
}

#[test]
fn no_message_is_deeper_than_it_says() {
    fn depth(d: &mut minicbor::Decoder<'_>) -> usize {
        use minicbor::data::Type;
        let inside = match d.datatype().unwrap() {
            Type::Array => d.array().unwrap().unwrap(),
            Type::Map => 2 * d.map().unwrap().unwrap(),
            _ => {
                d.skip().unwrap();
                return 0;
            }
        };
        1 + (0..inside).map(|_| depth(d)).max().unwrap_or(0)
    }
    // The same answer on the live socket is two arrays deeper.
    let deepest = golden::all()
        .iter()
        .map(|g| depth(&mut minicbor::Decoder::new(&g.cbor())))
        .max();
    let response: LiveFrame = LiveFrame::Response(samples::sync_response_full());
    let live = depth(&mut minicbor::Decoder::new(&encode(Form::Cbor, &response)));
    let deepest = deepest.unwrap().max(live);
    assert!(
        DOCS.contains(&format!("the deepest message is {deepest} deep")),
        "{deepest}"
    );
    assert!(deepest < limits::MAX_DEPTH);
}

#[test]
fn it_names_every_reserved_key() {
    let reserved: Vec<(&str, &str)> = DOCS
        .lines()
        .filter_map(|line| line.strip_prefix("| 2"))
        .filter_map(|rest| rest.split_once(" | "))
        .filter(|(digit, _)| digit.len() == 1)
        .map(|(digit, name)| (digit, name.split('`').nth(1).unwrap_or_default()))
        .collect();
    let names = [
        "presence", "scope", "priority", "digest", "reset", "key_id", "revision",
    ];
    assert_eq!(reserved.len(), names.len());
    for (at, (digit, name)) in reserved.into_iter().enumerate() {
        assert_eq!((digit.parse(), name), (Ok(at), names[at]));
    }
}
