//! A document as the operator's own queries read it: JSON by field names, defaults filled in.

use std::fmt::Write;

use base64::Engine;
use driftline_core::merge::{DocumentState, Plain};
use driftline_core::schema::{Collection, Field, FieldKind};
use driftline_core::value::{Value, ValueRef};

/// The visible fields, or `None` for a tombstone.
pub(super) fn body(collection: &Collection, state: &DocumentState) -> Option<String> {
    let content = |json: &mut String, field: &Field| match field.kind {
        FieldKind::Counter => {
            push_integer(json, state.counters.get(field.id).copied().unwrap_or(0));
        }
        FieldKind::Set => push_set(json, field, state),
        _ => push_register(json, field, state.value(field.id).map(Value::as_ref)),
    };
    state
        .is_alive()
        .then(|| object(collection, state.size(), content))
}

/// The visible fields of a document that a plain insert opens.
pub(super) fn inserted(plain: &Plain<'_, '_>) -> String {
    object(plain.collection, plain.size(), |json, field| {
        match field.kind {
            FieldKind::Counter => json.push('0'),
            FieldKind::Set => json.push_str("[]"),
            _ => push_register(json, field, plain.value(field.id)),
        }
    })
}

fn object(
    collection: &Collection,
    size: usize,
    mut content: impl FnMut(&mut String, &Field),
) -> String {
    let mut json = String::with_capacity(32 * collection.fields.len() + size);
    json.push('{');
    // Texts stand elsewhere: a letter typed must not rewrite the document's row.
    let fields = collection
        .fields
        .iter()
        .filter(|field| !field.kind.is_text());
    for field in fields {
        if json.len() > 1 {
            json.push(',');
        }
        // Names are lower-case letters, digits and _: nothing to escape.
        json.push('"');
        json.push_str(&field.name);
        json.push_str("\":");
        content(&mut json, field);
    }
    json.push('}');
    json
}

fn push_register(json: &mut String, field: &Field, value: Option<ValueRef<'_>>) {
    match value.or(field.default.as_ref().map(Value::as_ref)) {
        None => json.push_str("null"),
        Some(value) => push_value(json, field.kind, value),
    }
}

fn push_value(json: &mut String, kind: FieldKind, value: ValueRef<'_>) {
    match value {
        ValueRef::Null => json.push_str("null"),
        ValueRef::Boolean(b) => json.push_str(if b { "true" } else { "false" }),
        ValueRef::Integer(n) => push_integer(json, n),
        // A float's shortest form that reads back; always with a digit, never NaN.
        ValueRef::Real(x) => push_display(json, &format_args!("{x:?}")),
        ValueRef::Text(text) if kind == FieldKind::Json => json.push_str(text),
        ValueRef::Text(text) => push_text(json, text),
        ValueRef::Bytes(bytes) => {
            json.push('"');
            base64::engine::general_purpose::STANDARD.encode_string(bytes, json);
            json.push('"');
        }
    }
}

fn push_set(json: &mut String, field: &Field, state: &DocumentState) {
    json.push('[');
    let elements = state
        .sets
        .get(field.id)
        .into_iter()
        .flat_map(|set| set.elements.keys());
    for (i, element) in elements.enumerate() {
        if i > 0 {
            json.push(',');
        }
        push_text(json, element);
    }
    json.push(']');
}

fn push_integer(json: &mut String, n: i64) {
    push_display(json, &n);
}

fn push_display(json: &mut String, value: &dyn std::fmt::Display) {
    // Writing to a String cannot fail.
    let _ = write!(json, "{value}");
}

#[expect(
    clippy::string_slice,
    reason = "cut only before and behind a byte of ASCII"
)]
fn push_text(json: &mut String, text: &str) {
    json.push('"');
    let mut plain = 0;
    for (at, byte) in text.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        json.push_str(&text[plain..at]);
        plain = at + 1;
        match byte {
            b'"' => json.push_str("\\\""),
            b'\\' => json.push_str("\\\\"),
            b'\n' => json.push_str("\\n"),
            _ => push_display(json, &format_args!("\\u{byte:04x}")),
        }
    }
    json.push_str(&text[plain..]);
    json.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use driftline_core::id::OpId;
    use driftline_core::merge::{Life, Register, SetState, Write};
    use driftline_core::schema::Schema;
    use driftline_core::time::Stamp;

    const SCHEMA: &str = r#"
        [schema]
        name = "t"
        version = 1
        [collections.birds]
        id = 1
        [collections.birds.fields]
        species = { id = 1, kind = "text", default = "Adelie" }
        mass = { id = 2, kind = "real" }
        meta = { id = 3, kind = "json" }
        seen = { id = 4, kind = "counter" }
        tags = { id = 5, kind = "set" }
        photo = { id = 6, kind = "bytes" }
        big = { id = 7, kind = "integer" }
    "#;

    #[test]
    fn shows_names_defaults_and_every_kind_as_valid_json() {
        let schema = Schema::parse(SCHEMA).unwrap();
        let birds = schema.collection("birds").unwrap();
        let mut state = DocumentState::opened(OpId::ZERO, 1);
        let empty: serde_json::Value = serde_json::from_str(&body(birds, &state).unwrap()).unwrap();
        assert_eq!(empty["species"], "Adelie");
        assert_eq!(empty["mass"], serde_json::Value::Null);
        assert_eq!(empty["seen"], 0);
        assert_eq!(empty["tags"], serde_json::json!([]));

        let write = Write {
            op: OpId::ZERO,
            stamp: Stamp::ZERO,
            version: 1,
        };
        let mut set = |field, value| state.registers.insert(field, Register { value, write });
        set(1, Value::Text("a \"quoted\"\\ line\nand \u{1} é".into()));
        set(2, Value::Real(1e300));
        set(3, Value::Text(r#"{"a":[1]}"#.into()));
        set(6, Value::Bytes(vec![0, 255]));
        set(7, Value::Integer(i64::MIN));
        state.counters.insert(4, -7);
        let held = |e: &str| (e.to_owned(), vec![(OpId::ZERO, 1)]);
        state.sets.insert(
            5,
            SetState {
                elements: [held("b"), held("a\"")].into(),
            },
        );
        let full: serde_json::Value = serde_json::from_str(&body(birds, &state).unwrap()).unwrap();
        let expected = serde_json::json!({
            "species": "a \"quoted\"\\ line\nand \u{1} é", "mass": 1e300, "meta": {"a": [1]}, "seen": -7,
            "tags": ["a\"", "b"], "photo": "AP8=", "big": i64::MIN,
        });
        assert_eq!(full, expected);

        state.life = Life::Deleted(write);
        assert_eq!(body(birds, &state), None);
    }
}
