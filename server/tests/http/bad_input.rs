//! Ops that do not fit and messages that are none, by every way they can come: each is told what is wrong
//! and where, nothing of it is kept, and the next one is answered.

use crate::common::*;
use crate::live::{Served, Socket, frame, serve};
use axum::body::Body;
use driftline_core::op::{Change, ChangeKind};
use driftline_core::protocol::{
    Form, LiveFrame, Outcome, SentOp, SyncRequest, SyncResponse, VersionEntry, When, encode,
};
use driftline_core::schema::Schema;
use driftline_core::value::Value;
use futures_util::SinkExt;
use tokio_tungstenite::tungstenite::Message;

const FORMS: u16 = 2;

const SCHEMA: &str = r#"
[schema]
name = "field-notes"
version = 1

[limits]
max_value = "1 KiB"
max_document = "2 KiB"
max_group = "4 KiB"
max_set_elements = 3

[collections.birds]
id = 1
[collections.birds.fields]
species   = { id = 1, kind = "text", required = true, max_bytes = 40 }
mass      = { id = 2, kind = "integer" }
ringed    = { id = 3, kind = "boolean" }
beak      = { id = 4, kind = "real" }
seen_at   = { id = 5, kind = "timestamp" }
token     = { id = 6, kind = "uuid" }
extra     = { id = 7, kind = "json" }
photo     = { id = 8, kind = "bytes" }
place     = { id = 9, kind = "order_key" }
sightings = { id = 10, kind = "counter" }
tags      = { id = 11, kind = "set", max_bytes = "20 B" }
notes     = { id = 12, kind = "text" }

[collections.forms]
id = 2
merge = "document"
[collections.forms.fields]
title = { id = 1, kind = "text" }
"#;

fn update(field: u16, value: impl Into<Value>) -> Vec<Change> {
    of(ChangeKind::Update, |change| {
        change.registers.insert(field, value.into());
    })
}

fn of(kind: ChangeKind, edit: impl FnOnce(&mut Change)) -> Vec<Change> {
    let mut changed = change(BIRDS, "d1", kind, &[]);
    edit(&mut changed);
    vec![changed]
}

fn elements(count: usize) -> Vec<String> {
    (0..count).map(|n| n.to_string()).collect()
}

/// The code and a word of the answer, and what is asked.
fn misfits() -> Vec<(&'static str, &'static str, Vec<Change>)> {
    use ChangeKind::{Delete, Insert, Restore, Update};
    let strange = |kind| vec![change(BIRDS, "nobody", kind, &[])];
    let long = "x".repeat(1_000);
    vec![
        (
            "unknown_collection",
            "99",
            vec![change(99, "d1", Update, &[(1, "x".into())])],
        ),
        ("unknown_field", "birds", update(77, "x")),
        ("wrong_kind", "birds.species", update(1, 7)),
        ("wrong_kind", "birds.species", update(1, "a\0b")),
        ("wrong_kind", "birds.mass", update(2, "heavy")),
        ("wrong_kind", "birds.mass", update(2, 1.5)),
        ("wrong_kind", "birds.ringed", update(3, 1)),
        ("wrong_kind", "birds.beak", update(4, "long")),
        ("wrong_kind", "birds.seen_at", update(5, "now")),
        ("wrong_kind", "birds.token", update(6, "not a uuid")),
        ("wrong_kind", "birds.extra", update(7, "{")),
        ("wrong_kind", "birds.photo", update(8, 7)),
        ("wrong_kind", "birds.place", update(9, "first")),
        ("wrong_kind", "birds.sightings", update(10, 4)),
        ("wrong_kind", "birds.tags", update(11, "[]")),
        (
            "wrong_kind",
            "birds.mass",
            of(Update, |change| {
                change.increments.insert(2, 1);
            }),
        ),
        (
            "wrong_kind",
            "birds.sightings",
            of(Update, |change| {
                change.adds.insert(10, elements(1));
            }),
        ),
        (
            "wrong_kind",
            "birds.species",
            of(Update, |change| {
                change.removes.insert(1, elements(1));
            }),
        ),
        ("required", "birds.species", update(1, Value::Null)),
        (
            "required",
            "birds.species",
            vec![change(BIRDS, "d2", Insert, &[(2, 7.into())])],
        ),
        (
            "value_too_large",
            "birds.species",
            update(1, "x".repeat(41)),
        ),
        (
            "value_too_large",
            "birds.notes",
            update(12, "x".repeat(1_025)),
        ),
        (
            "value_too_large",
            "birds",
            of(Update, |change| {
                change.adds.insert(11, vec!["x".repeat(21)]);
            }),
        ),
        (
            "set_too_large",
            "birds",
            of(Update, |change| {
                change.adds.insert(11, elements(4));
            }),
        ),
        (
            "document_too_large",
            "birds",
            of(Update, |change| {
                change.registers.insert(12, long.clone().into());
                change.registers.insert(7, format!("\"{long}\"").into());
                change.registers.insert(1, "x".repeat(40).into());
                change.adds.insert(11, vec!["x".repeat(20)]);
            }),
        ),
        (
            "group_too_large",
            "transaction",
            (0..5).flat_map(|_| update(12, long.clone())).collect(),
        ),
        (
            "counter_overflow",
            "64-bit",
            of(Update, |change| {
                change.increments.insert(10, 1);
            }),
        ),
        ("not_found", "birds", strange(Update)),
        ("not_found", "birds", strange(Delete)),
        ("not_found", "birds", strange(Restore)),
        ("malformed", "at least one change", Vec::new()),
        (
            "malformed",
            "no content",
            of(Delete, |change| {
                change.registers.insert(2, 7.into());
            }),
        ),
        (
            "malformed",
            "no content",
            of(Restore, |change| {
                change.increments.insert(10, 7);
            }),
        ),
        (
            "malformed",
            "clock",
            of(Update, |change| {
                change.registers.insert(2, 7.into());
                change.clock = 3;
            }),
        ),
        (
            "malformed",
            "clock",
            vec![change(FORMS, "d1", Insert, &[(1, "x".into())])],
        ),
    ]
}

/// How a request comes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Post(Form),
    Live(Form),
}

const WAYS: [Way; 4] = [
    Way::Post(Form::Cbor),
    Way::Post(Form::Json),
    Way::Live(Form::Cbor),
    Way::Live(Form::Json),
];

impl Way {
    fn form(self) -> Form {
        match self {
            Way::Post(form) | Way::Live(form) => form,
        }
    }

    fn message(self, request: &SyncRequest) -> Vec<u8> {
        match self {
            Way::Post(form) => encode(form, request),
            Way::Live(form) => encode(form, &LiveFrame::<VersionEntry>::Request(request.clone())),
        }
    }
}

/// A server, a device with a document, and a socket of each form.
struct Bad {
    served: Served,
    device: Client,
    sockets: [Socket; 2],
}

impl Bad {
    async fn start() -> Bad {
        let served = serve(|config| config.schema = Schema::parse(SCHEMA).unwrap()).await;
        let mut device = served.world.device("ann");
        let mut seed = change(BIRDS, "d1", ChangeKind::Insert, &[(1, "Adelie".into())]);
        seed.increments.insert(10, i64::MAX);
        let seed = device.op(seed);
        assert_eq!(accepted(&device.sync(vec![seed]).await.results[0]), 1);
        let cbor = served.connect(&device.token, "", &[]).await.unwrap();
        let json = served.connect(&device.token, "?form=json", &[]);
        let json = json.await.unwrap();
        Bad {
            served,
            device,
            sockets: [cbor, json],
        }
    }

    /// What is answered: a response, or a status, a code and a message.
    async fn answer(
        &mut self,
        way: Way,
        bytes: Vec<u8>,
    ) -> Result<SyncResponse, (u16, String, String)> {
        match way {
            Way::Post(form) => {
                let mut request = self.device.http(form, &self.device.request(Vec::new()));
                *request.body_mut() = Body::from(bytes);
                let reply = call(&self.served.world.server, request).await;
                if reply.status == http::StatusCode::OK {
                    return Ok(driftline_core::protocol::decode(form, &reply.bytes).unwrap());
                }
                let failure = reply.failure();
                Err((reply.status.as_u16(), failure.code, failure.message))
            }
            Way::Live(form) => {
                let socket = &mut self.sockets[usize::from(form == Form::Json)];
                let message = match form {
                    Form::Cbor => Message::Binary(bytes.into()),
                    Form::Json => Message::Text(String::from_utf8(bytes).unwrap().into()),
                };
                socket.send(message).await.unwrap();
                match frame(socket).await {
                    LiveFrame::Response(response) => Ok(response),
                    LiveFrame::Failed {
                        status, failure, ..
                    } => Err((status, failure.code, failure.message)),
                    _ => panic!("no answer"),
                }
            }
        }
    }

    /// Everything that is kept of documents and what was done to them.
    fn kept(&self) -> Vec<String> {
        let file = self.served.world.database("w");
        let mut kept = Vec::new();
        for table in ["documents", "log"] {
            let mut rows = file.prepare(&format!("SELECT * FROM {table}")).unwrap();
            let width = rows.column_count();
            let rows = rows.query_map([], |row| {
                let values: rusqlite::Result<Vec<rusqlite::types::Value>> =
                    (0..width).map(|at| row.get(at)).collect();
                Ok(format!("{table} {:?}", values?))
            });
            kept.extend(rows.unwrap().map(Result::unwrap));
        }
        kept
    }

    async fn goes_on(mut self, before: &[String]) {
        assert_eq!(self.kept(), before);
        let fine = change(BIRDS, "d1", ChangeKind::Update, &[(2, 5.into())]);
        let fine = self.device.op(fine);
        assert_eq!(accepted(&self.device.sync(vec![fine]).await.results[0]), 2);
    }
}

#[tokio::test]
async fn an_op_that_does_not_fit_is_rejected_by_name_and_changes_nothing() {
    let mut bad = Bad::start().await;
    let before = bad.kept();
    let misfits = misfits();
    assert!(misfits.len() >= 35 && before.len() >= 2, "{before:?}");
    for (n, (code, word, changes)) in misfits.into_iter().enumerate() {
        for way in WAYS {
            let op = SentOp::Full {
                id: bad.device.id(),
                when: When::Age(0),
                body: body(1, changes.clone()),
            };
            let message = way.message(&bad.device.request(vec![op]));
            let answer = bad.answer(way, message).await;
            let answer = answer.unwrap_or_else(|failure| panic!("case {n}, {way:?}: {failure:?}"));
            let Outcome::Rejected { refusal } = &answer.results[0].outcome else {
                panic!("case {n} ({code}), {way:?}: {:?}", answer.results[0]);
            };
            assert_eq!(refusal.code, code, "case {n}, {way:?}: {refusal}");
            assert!(refusal.message.contains(word), "case {n}: {refusal}");
            assert!(answer.versions.is_empty(), "case {n}, {way:?}");
        }
        assert_eq!(bad.kept(), before, "case {n} ({code})");
    }
    bad.goes_on(&before).await;
}

/// What is changed in the bytes of a message with an op that inserts `d2`, whose species is `zqzq` and
/// whose mass is 777777777.
const DAMAGE: &[(&str, Form, &[u8], &[u8])] = &[
    ("an empty id", Form::Json, b"\"d2\"", b"\"\""),
    (
        "a zero byte in an id",
        Form::Json,
        b"\"d2\"",
        b"\"d\\u0000\"",
    ),
    ("an id of another type", Form::Json, b"\"d2\"", b"[7]"),
    ("half a character", Form::Json, b"zqzq", b"\\ud800"),
    ("an unknown kind", Form::Json, b"\"insert\"", b"\"upsert\""),
    ("no number at all", Form::Json, b"777777777", b"NaN"),
    ("out of range of a real", Form::Json, b"777777777", b"1e999"),
    ("a comment", Form::Json, b"777777777", b"7 // seven"),
    ("bytes that are no text", Form::Cbor, b"zqzq", b"z\xff\xfeq"),
    (
        "a text in two halves",
        Form::Cbor,
        b"zqzq",
        b"\xed\xa0\x80q",
    ),
];

#[tokio::test]
async fn a_message_that_is_none_is_refused_whole_and_kept_in_no_part() {
    let mut bad = Bad::start().await;
    let before = bad.kept();
    for way in WAYS {
        let fields = [(1, "zqzq".into()), (2, 777_777_777.into())];
        let op = bad
            .device
            .op(change(BIRDS, "d2", ChangeKind::Insert, &fields));
        let whole = way.message(&bad.device.request(vec![op]));
        let mut cases: Vec<(String, Vec<u8>)> = Vec::new();
        for (name, form, from, to) in DAMAGE {
            if *form == way.form() {
                cases.push(((*name).to_owned(), replaced(&whole, from, to)));
            }
        }
        if way.form() == Form::Json {
            let long = format!("\"{}\"", "x".repeat(256));
            cases.push((
                "an over-long id".to_owned(),
                replaced(&whole, b"\"d2\"", long.as_bytes()),
            ));
        } else {
            for (name, real) in [("NaN", f64::NAN), ("infinity", f64::NEG_INFINITY)] {
                let real = change(BIRDS, "d1", ChangeKind::Update, &[(4, Value::Real(real))]);
                let real = bad.device.op(real);
                let bytes = way.message(&bad.device.request(vec![real]));
                cases.push((name.to_owned(), bytes));
            }
        }
        for cut in 0..whole.len() {
            cases.push((format!("cut after {cut} bytes"), whole[..cut].to_vec()));
        }
        cases.push(("one byte more".to_owned(), [&whole[..], b"0"].concat()));
        for (name, bytes) in cases {
            let (status, code, message) = match bad.answer(way, bytes).await {
                Err(failure) => failure,
                Ok(answer) => panic!("{name}, {way:?}: {:?}", answer.results),
            };
            assert!([400, 422].contains(&status), "{name}, {way:?}: {status}");
            assert_eq!(code, "malformed", "{name}, {way:?}: {message}");
            assert!(message.len() > 10, "{name}, {way:?}: {message:?}");
            assert!(!message.contains("zqzq"), "{name}, {way:?}: {message}");
        }
        if way.form() == Form::Json {
            // A number all the same, and so the op's fault alone.
            let beyond = replaced(&whole, b"777777777", b"99999999999999999999");
            let answer = bad.answer(way, beyond).await.unwrap();
            assert_eq!(rejected(&answer.results[0]), "wrong_kind");
        }
        assert_eq!(bad.kept(), before, "{way:?}");
    }
    bad.goes_on(&before).await;
}

fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let at = bytes.windows(from.len()).position(|part| part == from);
    let (before, rest) = bytes.split_at(at.unwrap());
    [before, to, &rest[from.len()..]].concat()
}
