//! What a receiver passes over, what it refuses, and with which error.

use driftline_core::ledger::Loss;
use driftline_core::merge::DocumentState;
use driftline_core::op::{Change, OpBody, Refusal};
use driftline_core::protocol::{
    Cursor, Device, DocumentResult, Failure, Form, LiveFrame, OpResult, Quota, SentOp,
    SnapshotFrame, SyncRequest, SyncResponse, VersionEntry, Versions, WireError, decode, encode,
};
use driftline_core::time::Stamp;
use driftline_core::value::Value;
use serde_json::{Map, json};

use crate::golden::{Message, all, compact};
use crate::samples;

/// Keys that later versions may use: the reserved ones, the next ones, far ones.
const KEYS: [u64; 12] = [
    16,
    19,
    20,
    21,
    22,
    23,
    24,
    25,
    26,
    99,
    70_000,
    u32::MAX as u64,
];

/// Adds unknown keys before and behind those of a map.
fn with_unknown_keys(cbor: &[u8]) -> Vec<u8> {
    let known = cbor[0];
    assert!((0xa0..=0xb7).contains(&known), "a small map, got {known:x}");
    let mut e = minicbor::Encoder::new(Vec::new());
    let keys = KEYS.len() as u64;
    e.map(u64::from(known & 0x1f) + 2 * keys).unwrap();
    let unknown = |e: &mut minicbor::Encoder<Vec<u8>>, offset| {
        for key in KEYS {
            e.u64(key - offset).unwrap();
            match key % 4 {
                0 => e.str("later").unwrap(),
                1 => e
                    .array(2)
                    .unwrap()
                    .map(1)
                    .unwrap()
                    .u8(0)
                    .unwrap()
                    .f64(0.5)
                    .unwrap()
                    .bytes(&[1])
                    .unwrap(),
                2 => e.null().unwrap(),
                _ => e.tag(minicbor::data::Tag::new(1)).unwrap().i64(-5).unwrap(),
            };
        }
    };
    unknown(&mut e, 0);
    e.writer_mut().extend_from_slice(&cbor[1..]);
    // The same key twice: what is not known is not compared either.
    unknown(&mut e, 0);
    e.into_writer()
}

#[test]
fn unknown_keys_are_passed_over_in_every_map() {
    let request = samples::sync_request_full();
    let Some(SentOp::Full { body, .. }) = request.ops.into_iter().nth(1) else {
        panic!("the sample's second entry is an op");
    };
    let maps: Vec<(&str, Box<dyn Message>)> = vec![
        ("request", Box::new(samples::sync_request_full())),
        ("response", Box::new(samples::sync_response_full())),
        (
            "device",
            Box::new(Device {
                id: "a".into(),
                label: "b".into(),
                writer: 1,
            }),
        ),
        ("body", Box::new(body)),
        ("change", Box::new(samples::insert())),
        ("result", Box::new(samples::outcomes().remove(1))),
        ("refusal", Box::new(Refusal::new("quota", "full"))),
        (
            "loss",
            Box::new(samples::loss(1, driftline_core::ledger::LossRule::Deleted)),
        ),
        ("entry", Box::new(samples::landed_entry())),
        (
            "result of a version",
            Box::new(samples::landed_entry().documents.remove(0)),
        ),
        ("state", Box::new(samples::document_full())),
        ("quota", Box::new(samples::quota())),
        ("versions", Box::new(samples::versions())),
        ("failure", Box::new(samples::failure())),
        ("announcement", Box::new(samples::announcement())),
    ];
    for (name, message) in maps {
        let bytes = with_unknown_keys(&message.write(Form::Cbor));
        assert!(message.equals(Form::Cbor, &bytes), "{name}");
    }
}

/// Members whose object is a map by number or by element, not a record.
const MAPS: [&str; 7] = [
    "registers",
    "increments",
    "adds",
    "removes",
    "counters",
    "sets",
    "texts",
];
/// Objects of one member that says which variant it is.
const VARIANTS: [&str; 9] = [
    "versions",
    "request",
    "response",
    "failed",
    "begin",
    "documents",
    "deleted",
    "live",
    "behind",
];

/// Adds unknown members to every record.
fn with_unknown_members(value: &mut serde_json::Value, is_map: bool) {
    match value {
        serde_json::Value::Array(items) => items
            .iter_mut()
            .for_each(|v| with_unknown_members(v, false)),
        serde_json::Value::Object(members) => {
            let variant = members.len() == 1
                && members
                    .iter()
                    .all(|(name, inner)| VARIANTS.contains(&name.as_str()) && inner.is_object());
            for (name, inner) in members.iter_mut() {
                // What stands in a map by element, behind a map by field, is a map as well.
                let inner_is_map = (!is_map && MAPS.contains(&name.as_str()))
                    || (is_map
                        && inner.is_object()
                        && !inner.get("op").is_some_and(|op| op.is_string()));
                with_unknown_members(inner, inner_is_map);
            }
            if !variant && !is_map {
                add_members(members);
            }
        }
        _ => {}
    }
}

fn add_members(members: &mut Map<String, serde_json::Value>) {
    for name in [
        "presence", "scope", "priority", "digest", "reset", "key_id", "revision", "zz",
    ] {
        let content = json!({ "scope": ["all", { "n": 1e300, "nested": [[[]]] }], "reason": null });
        members.insert(name.to_owned(), content);
    }
}

#[test]
fn unknown_members_are_passed_over_in_every_record() {
    for golden in all() {
        let mut value: serde_json::Value = serde_json::from_str(golden.json).unwrap();
        with_unknown_members(&mut value, false);
        let text = serde_json::to_string(&value).unwrap();
        let again = golden.message.again(Form::Json, text.as_bytes());
        let again = again.unwrap_or_else(|error| panic!("{}: {error}\n{text}", golden.name));
        assert_eq!(
            String::from_utf8(again).unwrap(),
            compact(golden.json),
            "{}",
            golden.name
        );
        let records = text.matches("\"key_id\"").count();
        assert!(records > 0 || !golden.json.contains('{'), "{}", golden.name);
    }
}

/// A live frame of a later version can be told from a damaged one, in both forms.
#[test]
fn unknown_variants_have_an_error_of_their_own() {
    fn refused<T>(form: Form, bytes: &[u8])
    where
        T: serde::de::DeserializeOwned + std::fmt::Debug + for<'b> minicbor::Decode<'b, ()>,
    {
        let error = decode::<T>(form, bytes).unwrap_err();
        assert!(matches!(error, WireError::UnknownVariant { .. }), "{error}");
    }
    refused::<LiveFrame>(Form::Cbor, &[0x82, 0x18, 0x63, 0x80]);
    refused::<SnapshotFrame>(Form::Cbor, &[0x82, 0x03, 0x80]);
    refused::<LiveFrame>(Form::Json, br#"{"presence":{}}"#);
    refused::<LiveFrame>(Form::Json, br#""presence""#);
    refused::<SnapshotFrame>(Form::Json, br#"{"index":{}}"#);
    refused::<Change>(
        Form::Json,
        br#"{"collection":1,"document":"a","kind":"merge"}"#,
    );
    refused::<Change>(
        Form::Cbor,
        &[0xa3, 0x00, 0x01, 0x01, 0x61, 0x61, 0x02, 0x09],
    );
    // Something stands behind it, which must not be taken for anything else.
    refused::<Change>(
        Form::Cbor,
        &[0xa4, 0x00, 0x01, 0x01, 0x61, 0x61, 0x02, 0x09, 0x09, 0x03],
    );
    refused::<SyncRequest>(
        Form::Cbor,
        &[
            0xa5, 0x00, 0x01, 0x01, 0x01, 0x03, 0xa1, 0x00, 0x61, 0x61, 0x07, 0x81, 0x83, 0x50, 1,
            2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 0x00, 0xa2, 0x01, 0x01, 0x02, 0x81,
            0xa3, 0x00, 0x01, 0x01, 0x61, 0x61, 0x02, 0x09, 0x08, 0x01,
        ],
    );
    let mut answer = encode(Form::Cbor, &samples::sync_response_outcomes());
    let unknown = answer
        .windows(3)
        .rposition(|w| w == [0x82, 0x04, 0x80])
        .unwrap();
    answer[unknown + 1] = 0x05;
    refused::<SyncResponse>(Form::Cbor, &answer);
    let mut answer = samples::sync_response_minimal();
    answer.losses = vec![samples::loss(1, driftline_core::ledger::LossRule::Rejected)];
    let mut answer = encode(Form::Cbor, &answer);
    let unknown = answer.windows(2).rposition(|w| w == [0x0c, 0x05]).unwrap();
    answer[unknown + 1] = 0x17;
    refused::<SyncResponse>(Form::Cbor, &answer);
    refused::<OpResult>(
        Form::Json,
        br#"{"id":"0190b65c-4e00-7000-8000-000000000001","outcome":"postponed"}"#,
    );
}

#[test]
fn wide_integers_keep_their_digits_in_json() {
    for version in [
        0,
        1,
        (1 << 53) - 1,
        1 << 53,
        (1 << 53) + 1,
        i64::MAX as u64,
        u64::MAX,
    ] {
        let cursor = Cursor {
            version,
            ..samples::cursor_start()
        };
        let text = String::from_utf8(encode(Form::Json, &cursor)).unwrap();
        let wide = version >= 1 << 53;
        assert_eq!(
            text.contains(&format!("\"version\":\"{version}\"")),
            wide,
            "{text}"
        );
        assert_eq!(decode::<Cursor>(Form::Json, text.as_bytes()), Ok(cursor));
    }
    for n in [
        i64::MIN,
        -(1 << 53),
        1 - (1 << 53),
        -1,
        (1 << 53) - 1,
        1 << 53,
        i64::MAX,
    ] {
        let mut change = samples::insert();
        change.increments.insert(samples::SIGHTINGS, n);
        let text = String::from_utf8(encode(Form::Json, &change)).unwrap();
        let wide = n.unsigned_abs() >= 1 << 53;
        assert_eq!(text.contains(&format!("\"{n}\"")), wide, "{text}");
        assert_eq!(decode::<Change>(Form::Json, text.as_bytes()), Ok(change));
    }
    let stamp = Stamp(u64::MAX);
    let text = String::from_utf8(encode(Form::Json, &stamp)).unwrap();
    assert_eq!(text, "\"18446744073709551615\"");
    for bad in [
        "-1",
        "1.5",
        "1e3",
        "\"x\"",
        "\"-1\"",
        "\"18446744073709551616\"",
        "true",
        "null",
        "[]",
    ] {
        assert!(
            decode::<Stamp>(Form::Json, bad.as_bytes()).is_err(),
            "{bad}"
        );
    }
}

#[test]
fn bytes_are_base64_in_json_and_judged_with_the_schema() {
    use driftline_core::schema::FieldKind;
    let text = encode(Form::Json, &Value::Bytes(vec![0x00, 0xff, 0x10]));
    assert_eq!(text, b"\"AP8Q\"");
    let read: Value = decode(Form::Json, &text).unwrap();
    assert_eq!(
        read.admit(FieldKind::Bytes),
        Ok(Value::Bytes(vec![0x00, 0xff, 0x10]))
    );
    let wide: Value = decode(Form::Json, b"\"-9223372036854775808\"").unwrap();
    assert_eq!(wide.admit(FieldKind::Integer), Ok(Value::Integer(i64::MIN)));
}

#[test]
fn an_op_says_when_in_one_way() {
    let entry = |when: &str| {
        let text = format!(
            r#"{{"id":"0190b65c-4e00-7000-8000-000000000001","schema":1{when},"changes":[]}}"#
        );
        decode::<SentOp>(Form::Json, text.as_bytes())
    };
    assert!(entry("").is_ok());
    assert!(entry(r#","age":5"#).is_ok());
    assert!(entry(r#","wall":-5"#).is_ok());
    assert!(entry(r#","age":5,"wall":5"#).is_err());
    assert!(entry(r#","age":-5"#).is_err());
}

#[test]
fn an_op_of_four_parts_does_not_shift_what_follows() {
    let entry = encode(Form::Cbor, &samples::one_boolean());
    let mut longer = entry.clone();
    longer[0] = 0x84;
    longer.push(0xf6);
    assert!(decode::<SentOp>(Form::Cbor, &entry).is_ok());
    assert!(decode::<SentOp>(Form::Cbor, &longer).is_err());
}

#[test]
fn the_protocol_is_known_even_where_the_rest_is_not() {
    use driftline_core::protocol::protocol_of;
    assert_eq!(
        protocol_of(Form::Json, br#"{"protocol":7,"ops":"unlike ours"}"#),
        Some(7)
    );
    assert_eq!(
        protocol_of(Form::Cbor, &[0xa2, 0x07, 0x61, 0x78, 0x00, 0x07]),
        Some(7)
    );
    assert_eq!(protocol_of(Form::Json, b"[]"), None);
    assert_eq!(protocol_of(Form::Cbor, &[0x80]), None);
}

#[test]
fn a_request_beyond_the_limits_is_named_with_its_status() {
    use driftline_core::protocol::limits::{MAX_LABEL, MAX_NAME, MAX_OPS};
    let judged = |change: &dyn Fn(&mut SyncRequest)| {
        let mut request = samples::sync_request_full();
        change(&mut request);
        request
            .check()
            .err()
            .map(|(status, failure)| (status, failure.code))
    };
    assert_eq!(judged(&|_| {}), None);
    assert_eq!(
        judged(&|r| r.protocol = 2),
        Some((426, "upgrade_required".into()))
    );
    assert_eq!(
        judged(&|r| r.device.id.clear()),
        Some((422, "malformed".into()))
    );
    assert_eq!(
        judged(&|r| r.device.id = "x".repeat(MAX_NAME + 1)),
        Some((422, "malformed".into()))
    );
    assert_eq!(
        judged(&|r| r.device.label = "x".repeat(MAX_LABEL + 1)),
        Some((422, "malformed".into()))
    );
    assert_eq!(
        judged(&|r| r.account = "x".repeat(MAX_NAME + 1)),
        Some((422, "malformed".into()))
    );
    assert_eq!(
        judged(&|r| r.ops = vec![SentOp::Named(samples::op(1)); MAX_OPS + 1]),
        Some((413, "too_large".into()))
    );
}

/// The types are only read by somebody's own code if they stay nameable from here.
#[test]
fn every_part_can_be_read_alone() {
    fn reads<T: serde::de::DeserializeOwned + for<'b> minicbor::Decode<'b, ()>>() {}
    reads::<OpBody>();
    reads::<Loss>();
    reads::<DocumentState>();
    reads::<DocumentResult>();
    reads::<VersionEntry>();
    reads::<Versions>();
    reads::<Quota>();
    reads::<Failure>();
    reads::<SyncResponse>();
}
