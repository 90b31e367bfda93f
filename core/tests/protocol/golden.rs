//! Encoding gives the golden file, and the golden file decodes to the value.

use driftline_core::protocol::{Form, SyncRequest, WireError, decode, encode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{docs, samples, session};

/// A value with its two files.
pub(crate) struct Golden {
    pub(crate) name: &'static str,
    hex: &'static str,
    pub(crate) json: &'static str,
    pub(crate) message: Box<dyn Message>,
}

/// What the tests do with a value, whatever its type.
pub(crate) trait Message {
    fn write(&self, form: Form) -> Vec<u8>;
    fn pretty(&self) -> String;
    fn equals(&self, form: Form, bytes: &[u8]) -> bool;
    /// Reads bytes as this type and writes them again.
    fn again(&self, form: Form, bytes: &[u8]) -> Result<Vec<u8>, WireError>;
}

impl<T> Message for T
where
    T: Serialize
        + DeserializeOwned
        + PartialEq
        + minicbor::Encode<()>
        + for<'b> minicbor::Decode<'b, ()>,
{
    fn write(&self, form: Form) -> Vec<u8> {
        encode(form, self)
    }

    fn pretty(&self) -> String {
        serde_json::to_string_pretty(self).unwrap()
    }

    fn equals(&self, form: Form, bytes: &[u8]) -> bool {
        decode::<T>(form, bytes).unwrap() == *self
    }

    fn again(&self, form: Form, bytes: &[u8]) -> Result<Vec<u8>, WireError> {
        Ok(encode(form, &decode::<T>(form, bytes)?))
    }
}

macro_rules! goldens {
    ($($name:ident),* $(,)?) => {
        /// All of them.
        pub(crate) fn all() -> Vec<Golden> {
            vec![$(Golden {
                name: stringify!($name),
                hex: include_str!(concat!("../golden/", stringify!($name), ".cbor.hex")),
                json: include_str!(concat!("../golden/", stringify!($name), ".json")),
                message: Box::new(samples::$name()),
            }),*]
        }
    };
}

goldens![
    announcement,
    cursor_start,
    cursor_wide,
    document_full,
    document_plain,
    document_reopened,
    document_tombstone,
    failure,
    failure_history_changed,
    live_behind,
    live_failed,
    live_request,
    live_response,
    live_versions,
    snapshot_begin,
    snapshot_documents,
    snapshot_end,
    sync_request_full,
    sync_request_minimal,
    sync_request_one_boolean,
    sync_response_full,
    sync_response_minimal,
    sync_response_outcomes,
    sync_response_take_snapshot,
    version_entry,
];

impl Golden {
    pub(crate) fn cbor(&self) -> Vec<u8> {
        let digits: Vec<u8> = self
            .hex
            .bytes()
            .filter(|b| !b.is_ascii_whitespace())
            .collect();
        digits
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }
}

/// 64 columns of hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    let line = |bytes: &[u8]| -> String { bytes.iter().map(|b| format!("{b:02x}")).collect() };
    bytes.chunks(32).map(|row| line(row) + "\n").collect()
}

/// JSON without the white space between its parts.
pub(crate) fn compact(json: &str) -> String {
    let (mut inside, mut escaped) = (false, false);
    let mut keep = |c: &char| {
        let kept = inside || !c.is_ascii_whitespace();
        inside ^= *c == '"' && !escaped;
        escaped = *c == '\\' && !escaped;
        kept
    };
    json.chars().filter(|c| keep(c)).collect()
}

/// Values of these kinds are read from JSON only together with the schema: a string may be bytes or
/// a wide integer. Their JSON decodes to the same JSON instead of the same value.
const NEEDS_SCHEMA: [&str; 3] = ["document_full", "sync_request_full", "sync_response_full"];

#[test]
fn every_message_is_written_as_its_golden_files() {
    #[allow(
        clippy::disallowed_methods,
        reason = "a switch for the person who changes a message"
    )]
    let rewrite = std::env::var_os("DRIFTLINE_WRITE_GOLDEN").is_some();
    if rewrite {
        write_all();
        panic!(
            "the golden files were written anew: look at the difference, then run again without the switch"
        );
    }
    for golden in all() {
        let name = golden.name;
        assert_eq!(
            hex(&golden.message.write(Form::Cbor)),
            golden.hex,
            "{name}.cbor.hex"
        );
        assert_eq!(golden.message.pretty() + "\n", golden.json, "{name}.json");
        let json = String::from_utf8(golden.message.write(Form::Json)).unwrap();
        assert_eq!(json, compact(golden.json), "{name}.json");
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "only with the switch on, and then the test fails"
)]
fn write_all() {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    for golden in all() {
        let cbor = hex(&golden.message.write(Form::Cbor));
        std::fs::write(directory.join(format!("{}.cbor.hex", golden.name)), cbor).unwrap();
        let json = golden.message.pretty() + "\n";
        std::fs::write(directory.join(format!("{}.json", golden.name)), json).unwrap();
    }
    for (n, answer) in session::answers().into_iter().enumerate() {
        let file = directory.join(format!("session_{}_answer.json", n + 1));
        std::fs::write(file, answer).unwrap();
    }
    std::fs::write(
        directory.join("../../../docs/protocol.md"),
        docs::with_examples(),
    )
    .unwrap();
}

#[test]
fn every_golden_file_is_read_as_its_message() {
    for golden in all() {
        let name = golden.name;
        assert!(
            golden.message.equals(Form::Cbor, &golden.cbor()),
            "{name}.cbor.hex"
        );
        let again = golden
            .message
            .again(Form::Json, golden.json.as_bytes())
            .unwrap();
        assert_eq!(
            String::from_utf8(again).unwrap(),
            compact(golden.json),
            "{name}.json"
        );
        if !NEEDS_SCHEMA.contains(&name) {
            assert!(
                golden.message.equals(Form::Json, golden.json.as_bytes()),
                "{name}.json"
            );
        }
    }
}

/// The empty members of a request are left out by our writer and may be left out by everybody.
#[test]
fn a_request_written_by_hand_needs_little() {
    let by_hand = r#"{"protocol":1,"schema_version":1,"device":{"id":"a3f0c2d1-torgersen"}}"#;
    let read: SyncRequest = decode(Form::Json, by_hand.as_bytes()).unwrap();
    assert_eq!(read, samples::sync_request_minimal());
    let by_hand = [
        &[0xa3, 0x00, 0x01, 0x01, 0x01, 0x03, 0xa1, 0x00, 0x72][..],
        b"a3f0c2d1-torgersen",
    ]
    .concat();
    let read: SyncRequest = decode(Form::Cbor, &by_hand).unwrap();
    assert_eq!(read, samples::sync_request_minimal());
}

/// The binary entry of one changed boolean; `docs/protocol.md` takes it apart byte by byte.
#[test]
fn one_boolean_changed_is_78_bytes_in_ops() {
    let entry = encode(Form::Cbor, &samples::one_boolean());
    assert_eq!(entry.len(), 78, "{}", hex(&entry));
}
