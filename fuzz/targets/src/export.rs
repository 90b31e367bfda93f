//! The export of what is queued: whatever was written, each line is one JSON object and brings it
//! back exactly.

use driftline::{Config, Database, Schema, Value};
use serde_json::Value as Json;

const SCHEMA: &str = r#"
[schema]
name = "export"
version = 1

[collections.notes]
id = 1

[collections.notes.fields]
title = { id = 1, kind = "text" }
rank = { id = 2, kind = "integer" }
mass = { id = 3, kind = "real" }
photo = { id = 4, kind = "bytes" }
tags = { id = 5, kind = "set" }
"#;

struct Place {
    _folder: tempfile::TempDir,
    db: Database,
}

thread_local! {
    static PLACE: Place = {
        let folder = tempfile::tempdir().unwrap();
        let schema = Schema::parse(SCHEMA).unwrap();
        let config = Config::new(folder.path().join("device.db"), schema, "garden")
            .with_account("ada")
            .with_durability(driftline::Durability::Normal);
        let db = Database::open(config).unwrap();
        Place { _folder: folder, db }
    };
}

/// The first byte is the id's length, then come the id, eight bytes of numbers, and the text; the
/// bytes as they are go into a field of bytes.
pub(crate) fn run(data: &[u8]) -> bool {
    let Some((length, rest)) = data.split_first() else {
        return false;
    };
    let (id, rest) = rest.split_at(usize::from(*length).min(rest.len()));
    let (number, text) = rest.split_first_chunk::<8>().unwrap_or((&[0; 8], rest));
    let (Ok(id), text) = (std::str::from_utf8(id), String::from_utf8_lossy(text)) else {
        return false;
    };
    PLACE.with(|place| judge(&place.db, id, i64::from_le_bytes(*number), &text, data))
}

fn judge(db: &Database, id: &str, number: i64, text: &str, bytes: &[u8]) -> bool {
    let mass = f64::from_bits(number.cast_unsigned());
    // What is not finite is refused, which is tried elsewhere.
    let mass = if mass.is_finite() { mass } else { 0.5 };
    let fields = [
        ("title", Value::Text(text.to_owned())),
        ("rank", Value::Integer(number)),
        ("mass", Value::Real(mass)),
        ("photo", Value::Bytes(bytes.to_vec())),
    ];
    let written = db.write(|tx| {
        tx.insert_with_id("notes", id, fields)?;
        tx.add_to_set("notes", id, "tags", [text])
    });
    let mut exported = Vec::new();
    let count = db.outbox().export(&mut exported).unwrap();
    let lines: Vec<Json> = exported
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    assert_eq!(lines.len() as u64, count);
    if written.is_err() {
        assert_eq!(count, 0, "refused, and queued all the same");
        return false;
    }
    assert_eq!(count, 1);
    let line = lines.first().unwrap();
    assert!(holds(line, &Json::from(id)), "the id is not in {line}");
    assert!(holds(line, &Json::from(text)), "the text is not in {line}");
    // Integers beyond 2^53 are strings, as on the wire.
    let number = [Json::from(number), Json::from(number.to_string())];
    assert!(
        number.iter().any(|number| holds(line, number)),
        "the number is not in {line}"
    );
    db.outbox().drop_all().unwrap();
    true
}

/// Whether a value is anywhere in another.
fn holds(json: &Json, wanted: &Json) -> bool {
    json == wanted
        || match json {
            Json::Array(items) => items.iter().any(|item| holds(item, wanted)),
            Json::Object(fields) => fields
                .iter()
                .any(|(name, value)| holds(value, wanted) || wanted == name.as_str()),
            _ => false,
        }
}
