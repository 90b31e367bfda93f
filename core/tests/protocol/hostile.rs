//! Bytes that nobody honest sends: an error, no panic, and no more memory than they are worth.

use allocation_counter::measure;
use driftline_core::protocol::{
    Form, LiveFrame, SentOp, SnapshotFrame, SyncRequest, SyncResponse, WireError, decode,
};

use crate::golden::{Golden, all};
use crate::samples;

/// The most a decoder may hold at once for a message of a few kilobytes.
const MEMORY: u64 = 1 << 20;

/// Reads the bytes and, if they are a message after all, writes and reads them again.
fn judge(golden: &Golden, form: Form, bytes: &[u8]) -> bool {
    let mut outcome = None;
    let used = measure(|| outcome = Some(golden.message.again(form, bytes)));
    assert!(
        used.bytes_max <= MEMORY,
        "{}: {} bytes",
        golden.name,
        used.bytes_max
    );
    let Some(Ok(written)) = outcome else {
        return false;
    };
    let again = golden.message.again(form, &written);
    assert!(
        again == Ok(written),
        "{} {form:?} is read as something it is not written as",
        golden.name
    );
    true
}

#[test]
fn a_message_cut_anywhere_is_an_error() {
    for golden in all() {
        let cbor = golden.cbor();
        for cut in 0..cbor.len() {
            assert!(
                !judge(&golden, Form::Cbor, &cbor[..cut]),
                "{} at {cut}",
                golden.name
            );
        }
        let json = golden.json.trim_end().as_bytes();
        for cut in 0..json.len() {
            assert!(
                !judge(&golden, Form::Json, &json[..cut]),
                "{} at {cut}",
                golden.name
            );
        }
    }
}

#[test]
fn every_byte_of_every_message_may_be_any_other() {
    let (mut tried, mut taken) = (0u64, 0u64);
    for golden in all() {
        let mut cbor = golden.cbor();
        for at in 0..cbor.len() {
            let byte = cbor[at];
            for other in (0..=255).filter(|other| *other != byte) {
                cbor[at] = other;
                tried += 1;
                taken += u64::from(judge(&golden, Form::Cbor, &cbor));
            }
            cbor[at] = byte;
        }
    }
    assert!(tried > 500_000, "{tried}");
    // A changed digit of an id is another id: some must be taken, or nothing was tested.
    assert!(taken > tried / 10, "{taken} of {tried}");
}

#[test]
fn json_with_any_of_its_own_signs_anywhere() {
    for golden in all() {
        let mut json = golden.json.as_bytes().to_vec();
        for at in 0..json.len() {
            let byte = json[at];
            for other in *b"\"{}[]:,\\-.e9n\x00\x7f\xff" {
                json[at] = other;
                judge(&golden, Form::Json, &json);
            }
            json[at] = byte;
        }
    }
}

#[test]
fn bytes_behind_a_message_are_an_error() {
    for golden in all() {
        let mut cbor = golden.cbor();
        cbor.push(0xf6);
        assert_eq!(
            golden.message.again(Form::Cbor, &cbor),
            Err(WireError::Trailing(1))
        );
        let json = format!("{} null", golden.json);
        assert!(golden.message.again(Form::Json, json.as_bytes()).is_err());
    }
}

/// Reads as each kind of message; none may take it.
fn refused(form: Form, bytes: &[u8]) {
    let used = measure(|| {
        assert!(decode::<SyncRequest>(form, bytes).is_err());
        assert!(decode::<SyncResponse>(form, bytes).is_err());
        assert!(decode::<LiveFrame>(form, bytes).is_err());
        assert!(decode::<SnapshotFrame>(form, bytes).is_err());
        assert!(decode::<SentOp>(form, bytes).is_err());
    });
    let most = MEMORY.max(2 * bytes.len() as u64);
    assert!(
        used.bytes_max <= most,
        "{} bytes for {}",
        used.bytes_max,
        bytes.len()
    );
}

#[test]
fn depth_is_bounded_in_both_forms() {
    for opener in [0x81, 0xa1, 0xc1, 0x9f, 0xbf] {
        refused(Form::Cbor, &vec![opener; 1 << 20]);
        // Under a key nobody knows, where it would only be passed over.
        refused(
            Form::Cbor,
            &[&[0xa1, 0x18, 0x63][..], &vec![opener; 1 << 20]].concat(),
        );
    }
    for opener in ["[", "{\"a\":", "{\"zz\":["] {
        refused(Form::Json, opener.repeat(1 << 16).as_bytes());
    }
}

#[test]
fn lengths_that_lie_reserve_nothing() {
    let lies: [&[u8]; 4] = [
        &[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        &[0xbb, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        &[0x5b, 0x00, 0x00, 0x00, 0x7f, 0xff, 0xff, 0xff, 0xff],
        &[0x7a, 0xff, 0xff, 0xff, 0xff],
    ];
    for lie in lies {
        refused(Form::Cbor, lie);
        for key in 0..=9 {
            refused(Form::Cbor, &[&[0xa1, key][..], lie].concat());
        }
    }
}

#[test]
fn indefinite_lengths_are_not_taken() {
    let mut request = all()
        .into_iter()
        .find(|g| g.name == "sync_request_minimal")
        .unwrap()
        .cbor();
    assert!(decode::<SyncRequest>(Form::Cbor, &request).is_ok());
    request[0] = 0xbf;
    request.push(0xff);
    let error = decode::<SyncRequest>(Form::Cbor, &request).unwrap_err();
    assert!(error.to_string().contains("indefinite"), "{error}");
}

#[test]
fn text_must_be_utf_8() {
    // The device's id, in both forms.
    refused(
        Form::Cbor,
        &[
            0xa3, 0x00, 0x01, 0x01, 0x01, 0x03, 0xa1, 0x00, 0x62, 0xc3, 0x28,
        ],
    );
    let json = [
        br#"{"protocol":1,"schema_version":1,"device":{"id":""#,
        &[0xc3, 0x28][..],
        br#""}}"#,
    ]
    .concat();
    refused(Form::Json, &json);
    refused(
        Form::Json,
        br#"{"protocol":1,"schema_version":1,"device":{"id":"\ud800"}}"#,
    );
}

#[test]
fn a_number_that_is_none_is_refused() {
    use driftline_core::value::Value;
    for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let bytes = minicbor::to_vec(number).unwrap();
        assert!(decode::<Value>(Form::Cbor, &bytes).is_err());
    }
    for text in [
        "NaN",
        "Infinity",
        "1e400",
        "-1e400",
        "18446744073709551615",
        "01",
        "+1",
        ".5",
    ] {
        assert!(
            decode::<Value>(Form::Json, text.as_bytes()).is_err(),
            "{text}"
        );
    }
}

/// A field number twice would be two values for one thing. A member twice is refused where it costs
/// nothing to see; in CBOR the last one counts, and no honest sender writes it.
#[test]
fn what_occurs_twice() {
    refused(
        Form::Json,
        br#"{"protocol":1,"protocol":1,"schema_version":1,"device":{"id":"a"}}"#,
    );
    let change = [
        0xa3, 0x00, 0x01, 0x01, 0x61, 0x61, 0x05, 0xa2, 0x01, 0xf4, 0x01, 0xf5,
    ];
    assert!(decode::<driftline_core::op::Change>(Form::Cbor, &change).is_err());
    let twice = [
        0xa4, 0x00, 0x01, 0x00, 0x02, 0x01, 0x01, 0x03, 0xa1, 0x00, 0x61, 0x61,
    ];
    assert_eq!(
        decode::<SyncRequest>(Form::Cbor, &twice).map(|r| r.protocol),
        Ok(2)
    );
}

/// What a full-sized hostile body costs, in the shapes that grow most.
#[test]
fn a_hostile_body_costs_a_bounded_multiple_of_its_weight() {
    use driftline_core::protocol::limits::MAX_BODY;
    let head = [
        0xa4, 0x00, 0x01, 0x01, 0x01, 0x03, 0xa1, 0x00, 0x61, 0x61, 0x07,
    ];
    let id = samples::op(1);
    let repeated = |part: &[u8], before: &[u8]| {
        let count = (MAX_BODY - 200) / part.len();
        let mut bytes = [&head[..], before, &[0x9a], &(count as u32).to_be_bytes()].concat();
        bytes.extend(part.repeat(count));
        bytes
    };
    let in_op = |key: u8| {
        [
            &[0x81, 0x83, 0x50][..],
            &id.0,
            &[0x00, 0xa3, 0x00, 0x00, 0x01, 0x01, key],
        ]
        .concat()
    };
    let bodies = [
        repeated(
            &[0x50, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16],
            &[],
        ),
        repeated(&[0xa2, 0x00, 0x01, 0x01, 0x61, 0x61], &in_op(2)),
        repeated(
            &[0x50, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16],
            &in_op(3),
        ),
    ];
    for bytes in bodies {
        let used = measure(|| drop(decode::<SyncRequest>(Form::Cbor, &bytes)));
        assert!(
            used.bytes_max <= 20 * MAX_BODY as u64,
            "{} for {}",
            used.bytes_max,
            bytes.len()
        );
    }
    let members = format!(
        r#"{{"protocol":1,"zz":[{}0]}}"#,
        "[],".repeat((1 << 20) - 20)
    );
    let used = measure(|| drop(decode::<SyncRequest>(Form::Json, members.as_bytes())));
    assert!(used.bytes_max <= MEMORY, "{}", used.bytes_max);
    let op = format!(
        r#"{{"protocol":1,"ops":[{{"id":"{id}","zz":[{}0]}}]}}"#,
        "[],".repeat(1 << 20)
    );
    let used = measure(|| drop(decode::<SyncRequest>(Form::Json, op.as_bytes())));
    assert!(used.bytes_max <= MEMORY, "{}", used.bytes_max);
}
