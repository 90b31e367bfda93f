//! Texts and lists through the endpoint, the log, the snapshot and the operator's rows.

use std::time::Duration;

use axum::body::Body;
use driftline_core::id::OpId;
use driftline_core::ledger::LossRule;
use driftline_core::merge::TextState;
use driftline_core::op::{Change, ChangeKind, FieldMap, TextEdit, Update};
use driftline_core::protocol::{
    DocumentResult, Form, Outcome, SentOp, SnapshotFrame, SyncResponse, When, decode,
    split_snapshot,
};
use driftline_core::text::guard::{Check, GuardLimits, check, check_state};
use driftline_core::text::{
    BodyLimits, ListBody, ListChange, Mark, OffsetUnit, TextBody, TextChange, TextKind,
};
use driftline_core::value::Value;
use driftline_server::inspect;
use http::{Request, StatusCode};
use serde_json::json;

use crate::common::*;

const JOURNAL: u16 = 2;
const STEPS: u16 = 3;
const SHORT: u16 = 4;
/// In [`BIRDS`], where deletes win.
const STORY: u16 = 6;

/// A person's open journal: what the device's session will be.
struct Author {
    body: TextBody,
    marks: Vec<Mark>,
    /// The last op under this writer in the field.
    last: Option<OpId>,
}

impl Author {
    fn new(writer: u64) -> Author {
        Author {
            body: TextBody::new(writer, BodyLimits::default()),
            marks: Vec::new(),
            last: None,
        }
    }

    /// Types at a place; the edit as an op carries it.
    fn types(&mut self, at: u32, text: &str, op: OpId) -> TextEdit {
        let text = text.to_owned();
        self.edits(
            TextChange::Insert {
                at,
                text,
                attributes: None,
            },
            op,
        )
    }

    fn edits(&mut self, change: TextChange, op: OpId) -> TextEdit {
        let edited = self
            .body
            .edit(&[change], OffsetUnit::Utf8)
            .unwrap()
            .unwrap();
        let edit = TextEdit {
            writer: self.body.writer(),
            update: Update(edited.update),
            after: self.last,
        };
        self.note(&edit.update.0, edit.writer, op);
        edit
    }

    fn note(&mut self, update: &[u8], writer: u64, last: OpId) {
        let limits = GuardLimits::default();
        let Ok(Check::Fits(checked)) =
            check(update, writer, TextKind::RichText, &self.marks, &limits)
        else {
            panic!("an honest update does not fit")
        };
        let next = checked.next();
        if writer == self.body.writer() {
            self.last = Some(last);
        } else {
            self.body.apply(&checked).unwrap();
        }
        Mark::put(
            &mut self.marks,
            Mark {
                writer,
                next,
                last,
                version: 0,
            },
        );
    }

    /// Takes in what others typed.
    fn hears(&mut self, answer: &SyncResponse) {
        let results = answer.versions.iter().flat_map(|v| &v.documents);
        for result in results.filter(|result| result.document.as_str() == "n") {
            for (field, update) in result.texts.iter() {
                let text = result.state.texts.get(field).unwrap();
                let by = text
                    .marks
                    .iter()
                    .find(|mark| mark.last == text.last)
                    .unwrap();
                if by.writer != self.body.writer() {
                    self.note(&update.0, by.writer, text.last);
                }
            }
        }
    }

    fn says(&self) -> String {
        self.body.text().unwrap()
    }
}

fn note(kind: ChangeKind, field: u16, edit: TextEdit) -> Change {
    note_of("n", kind, field, edit)
}

fn note_of(document: &str, kind: ChangeKind, field: u16, edit: TextEdit) -> Change {
    let mut change = change(NOTES, document, kind, &[]);
    change.texts.insert(field, edit);
    change
}

fn full(device: &Client, id: OpId, changes: Vec<Change>) -> SentOp {
    SentOp::Full {
        id,
        when: When::Age(0),
        body: body(device.cursor.version, changes),
    }
}

/// Types into the journal of "n" and sends it.
async fn types(device: &mut Client, author: &mut Author, at: u32, text: &str) -> SyncResponse {
    let id = device.id();
    let edit = author.types(at, text, id);
    let op = full(device, id, vec![note(ChangeKind::Update, JOURNAL, edit)]);
    let answer = device.sync(vec![op]).await;
    accepted(&answer.results[0]);
    answer
}

/// Ann and Bob, and a note in which ann has typed "hello".
async fn two(world: &World) -> (Client, Author, Client, Author) {
    let (mut a, mut b) = (world.device("ann"), world.device("bob"));
    let (mut ann, mut bob) = (Author::new(71), Author::new(72));
    let id = a.id();
    let edit = ann.types(0, "hello", id);
    let op = full(&a, id, vec![note(ChangeKind::Insert, JOURNAL, edit)]);
    let answer = a.sync(vec![op]).await;
    accepted(&answer.results[0]);
    assert!(
        answer.versions[0].echo.is_some(),
        "its author needs no bytes back"
    );
    bob.hears(&b.sync(vec![]).await);
    assert_eq!(bob.says(), "hello");
    (a, ann, b, bob)
}

fn folds_at_once(config: &mut driftline_server::ServerConfig) {
    config.limits.fold_after_ms = 1;
}

/// The operator's row of a note, once its texts were folded up to `version`.
async fn contents(world: &World, document: &str, version: u64) -> serde_json::Value {
    for _ in 0..500 {
        let database = world.database("w");
        let open: i64 = database
            .query_row(
                "SELECT count(*) FROM text_tail WHERE document = ?1 AND version <= ?2",
                rusqlite::params![document, version.cast_signed()],
                |row| row.get(0),
            )
            .unwrap();
        if open == 0 {
            let sql = "SELECT body FROM contents WHERE collection = 2 AND id = ?1";
            let body: String = database
                .query_row(sql, [document], |row| row.get(0))
                .unwrap();
            return serde_json::from_str(&body).unwrap();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the texts of {document} were not folded");
}

#[tokio::test]
async fn what_two_people_type_is_everybodys_and_the_operators() {
    let world = World::with(folds_at_once);
    let (mut a, mut ann, mut b, mut bob) = two(&world).await;
    types(&mut b, &mut bob, 5, " world").await;
    let answer = types(&mut a, &mut ann, 0, "Oh, ").await;
    ann.hears(&answer);
    bob.hears(&b.sync(vec![]).await);
    assert_eq!(
        (ann.says(), bob.says()),
        (bob.says(), "Oh, hello world".to_owned())
    );

    let id = a.id();
    let bold = [("bold".to_owned(), json!(true))].into_iter().collect();
    let format = TextChange::Format {
        at: 4,
        len: 5,
        attributes: bold,
    };
    let edit = ann.edits(format, id);
    let mut list = ListBody::new(71, BodyLimits::default());
    let values = vec![json!({"bring": "tape"}), json!(null), json!(3)];
    let update = list
        .edit(&[ListChange::Insert { at: 0, values }])
        .unwrap()
        .unwrap();
    let mut change = note(ChangeKind::Update, JOURNAL, edit);
    change.texts.insert(
        STEPS,
        TextEdit {
            writer: 71,
            update: Update(update),
            after: None,
        },
    );
    change.registers.insert(1, "title".into());
    let answer = a.sync(vec![full(&a, id, vec![change])]).await;
    let version = accepted(&answer.results[0]);
    assert_eq!(
        contents(&world, "n", version).await,
        json!({
            "text": "title",
            "journal": {
                "text": "Oh, hello world",
                "delta": [
                    {"insert": "Oh, "},
                    {"insert": "hello", "attributes": {"bold": true}},
                    {"insert": " world"},
                ],
            },
            "steps": [{"bring": "tape"}, null, 3],
        })
    );
    // The document's own row has nothing of it.
    let body: String = world
        .database("w")
        .query_row("SELECT body FROM documents WHERE id = 'n'", [], |row| {
            row.get(0)
        })
        .unwrap();
    assert_eq!(body, r#"{"text":"title"}"#);
}

#[tokio::test]
async fn a_copied_files_text_is_sent_again_under_a_new_writer_and_the_same_id() {
    let world = World::new();
    let (mut a, mut ann, _, _) = two(&world).await;
    // The copy: the same writer, other words at the same clocks.
    let mut copy = a.clone();
    copy.device.id = "copy".to_owned();
    copy.next += 1_000;
    let mut other = Author::new(71);
    other.types(0, "hello", ann.last.unwrap());
    types(&mut a, &mut ann, 5, "!").await;
    let (first, second) = (copy.id(), copy.id());
    let unfit = other.types(5, "?", first);
    let beside = change(NOTES, "beside", ChangeKind::Insert, &[(1, "x".into())]);
    let group = vec![note(ChangeKind::Update, JOURNAL, unfit), beside];
    let follows = note(ChangeKind::Update, JOURNAL, other.types(6, "?", second));
    let ops = vec![
        full(&copy, first, group),
        full(&copy, second, vec![follows]),
        copy.op(change(NOTES, "another", ChangeKind::Insert, &[])),
    ];
    let answer = copy.try_sync(ops).await.unwrap();
    assert_eq!(answer.results[0].outcome, Outcome::Rebase);
    let after = Some(first);
    assert_eq!(answer.results[1].outcome, Outcome::RetryLater { after });
    accepted(&answer.results[2]);
    assert!(!answer.versions.iter().any(|version| {
        version
            .documents
            .iter()
            .any(|d| d.document.as_str() == "beside")
    }));
    // Not recorded: asked about, it is unknown.
    let asked = copy.try_sync(vec![SentOp::Named(first)]).await.unwrap();
    assert_eq!(asked.results[0].outcome, Outcome::Unknown);

    let mut anew = Author::new(73);
    anew.hears(&world.device("ann").sync(vec![]).await);
    assert_eq!(anew.says(), "hello!");
    let edits = [anew.types(6, "?", first), anew.types(7, "?", second)];
    let beside = change(NOTES, "beside", ChangeKind::Insert, &[(1, "x".into())]);
    let [one, two] = edits.map(|edit| note(ChangeKind::Update, JOURNAL, edit));
    let ops = vec![
        full(&copy, first, vec![one, beside]),
        full(&copy, second, vec![two]),
    ];
    let again = copy.try_sync(ops.clone()).await.unwrap();
    let versions: Vec<u64> = again.results.iter().map(accepted).collect();
    let repeated = copy.try_sync(ops).await.unwrap();
    let same: Vec<u64> = repeated.results.iter().map(accepted).collect();
    assert_eq!(versions, same, "sent again, the first answer is the answer");
    ann.hears(&a.sync(vec![]).await);
    assert_eq!(
        (ann.says(), anew.says()),
        (anew.says(), "hello!??".to_owned())
    );
}

#[tokio::test]
async fn a_writer_is_one_accounts() {
    let world = World::new();
    let (_, _, mut b, _) = two(&world).await;
    let id = b.id();
    let stolen = Author::new(71).types(0, "x", id);
    let op = full(
        &b,
        id,
        vec![note_of("m", ChangeKind::Insert, JOURNAL, stolen)],
    );
    let answer = b.sync(vec![op]).await;
    assert_eq!(answer.results[0].outcome, Outcome::Rebase);
    let id = b.id();
    let own = Author::new(74).types(0, "x", id);
    let op = full(&b, id, vec![note_of("m", ChangeKind::Insert, JOURNAL, own)]);
    accepted(&b.sync(vec![op]).await.results[0]);
}

#[tokio::test]
async fn text_that_no_device_writes_is_rejected_with_its_group_and_changes_nothing() {
    let world = World::new();
    let (mut a, mut ann, _, _) = two(&world).await;
    let before = a.try_sync(vec![]).await.unwrap().cursor;
    let hostile: [&[u8]; 8] = [
        &[],
        &[0x80, 0xe5, 0x9a, 0x77],
        &[1, 0, 75, 0, 0],
        &[1, 1, 75, 0, 4, 1, 1, b't', 1, b'x', 0, 0],
        &[1, 1, 75, 0, 4, 1, 1, b'l', 1, b'x', 0],
        &[1, 1, 75, 0, 4, 1, 1, b't', 1, 0xff, 0],
        &[1, 1, 75, 0, 7, 1, 1, b't', 0, 0],
        &[
            2, 1, 75, 0, 4, 1, 1, b't', 1, b'x', 1, 76, 0, 4, 1, 1, b't', 1, b'y', 0,
        ],
    ];
    for bytes in hostile {
        let id = a.id();
        let edit = TextEdit {
            writer: 75,
            update: Update(bytes.to_vec()),
            after: None,
        };
        let beside = change(NOTES, "beside", ChangeKind::Insert, &[]);
        let op = full(
            &a,
            id,
            vec![note(ChangeKind::Update, JOURNAL, edit), beside],
        );
        for form in [Form::Cbor, Form::Json] {
            let reply = call(&world.server, a.http(form, &a.request(vec![op.clone()]))).await;
            assert_eq!(reply.status, StatusCode::OK);
            let answer: SyncResponse = decode(form, &reply.bytes).unwrap();
            assert_eq!(rejected(&answer.results[0]), "invalid_text", "{bytes:x?}");
            assert_eq!(answer.cursor, before);
        }
        // What follows it under its writer finds no mark to go on from.
        let next = TextEdit {
            writer: 75,
            update: Update(vec![1, 1, 75, 1, 4, 1, 1, b't', 1, b'y', 0]),
            after: Some(id),
        };
        let id = a.id();
        let op = full(&a, id, vec![note(ChangeKind::Update, JOURNAL, next)]);
        let answer = a.try_sync(vec![op]).await.unwrap();
        assert_eq!(answer.results[0].outcome, Outcome::Rebase);
    }
    types(&mut a, &mut ann, 5, " again").await;
}

/// Each in a document of its own, so that none waits for another.
#[tokio::test]
async fn ten_thousand_mutants_are_refused_or_harmless_and_quick() {
    let world = World::with(|config| {
        folds_at_once(config);
        config.limits.max_body = 32 << 20;
    });
    let mut a = world.device("ann");
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut below = move |n: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random >> 11) as usize % n
    };
    let mut honest = Author::new(75);
    let first = honest.types(0, "The nest is 𐐷 empty", OpId::ZERO).update.0;
    let (mut taken, mut refused, mut unfit) = (0, 0, 0);
    let began = std::time::Instant::now();
    for round in 0..5 {
        let mut ops = Vec::new();
        for n in 0..2_000 {
            let mut bytes = first.clone();
            for _ in 0..=below(3) {
                let at = below(bytes.len());
                match below(3) {
                    0 => bytes[at] = below(256) as u8,
                    1 => _ = bytes.remove(at),
                    _ => bytes.insert(at, below(256) as u8),
                }
            }
            let edit = TextEdit {
                writer: 75,
                update: Update(bytes),
                after: None,
            };
            let id = a.id();
            let document = format!("m{round}-{n:04}");
            let change = note_of(&document, ChangeKind::Insert, JOURNAL, edit);
            ops.push(full(&a, id, vec![change]));
        }
        let head = a.cursor.version;
        let answer = a.try_sync(ops).await.unwrap();
        let mut accepted_now = 0;
        for result in &answer.results {
            match &result.outcome {
                Outcome::Accepted { .. } => accepted_now += 1,
                Outcome::Rejected { refusal } => {
                    assert_eq!(refusal.code, "invalid_text");
                    refused += 1;
                }
                Outcome::Rebase => unfit += 1,
                other => panic!("{other:?}"),
            }
        }
        taken += accepted_now;
        a.sync(vec![]).await;
        while a.sync(vec![]).await.has_more {}
        assert_eq!(
            a.cursor.version,
            head + accepted_now,
            "refused ones left nothing"
        );
    }
    let each = began.elapsed() / 10_000;
    assert!(each < Duration::from_millis(1), "{each:?} for each");
    assert!(
        taken > 100 && refused > 5_000 && unfit > 10,
        "{taken} {refused} {unfit}"
    );
    // What was taken is honest by every rule: it folds.
    for _ in 0..1_000 {
        let database = world.database("w");
        let count = |sql| {
            database
                .query_row(sql, [], |row| row.get::<_, i64>(0))
                .unwrap()
        };
        assert_eq!(
            count("SELECT count(*) FROM texts WHERE aside IS NOT NULL"),
            0
        );
        if count("SELECT count(*) FROM text_tail") == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not folded");
}

/// As large as an edit may be, and made so that its fault is found last: as dear as a refusal gets.
#[tokio::test]
async fn the_largest_refusals_are_quick_and_change_nothing() {
    let world = World::with(|config| config.limits.max_body = 32 << 20);
    let (mut a, _, _, _) = two(&world).await;
    // A million letters, in three bytes of length.
    let head = [1, 1, 75, 0, 4, 1, 1, b't', 0xc0, 0x84, 0x3d];
    let honest = [&head[..], &[b'x'; 1_000_000]].concat();
    let trailing = [&honest[..], &[0, 0]].concat();
    let unfinished = [&honest[..], &[1]].concat();
    let huge = vec![0; (1 << 20) + 1];
    let request = async |a: &mut Client, bytes: Vec<u8>| {
        let id = a.id();
        let edit = TextEdit {
            writer: 75,
            update: Update(bytes),
            after: None,
        };
        let op = full(a, id, vec![note(ChangeKind::Update, JOURNAL, edit)]);
        let began = std::time::Instant::now();
        let answer = a.try_sync(vec![op]).await.unwrap();
        (began.elapsed(), answer)
    };
    let mut slowest = Duration::ZERO;
    for bytes in [trailing, unfinished, huge] {
        // The least of a few: other tests have the processors, too.
        let mut least = Duration::MAX;
        for _ in 0..20 {
            let (took, answer) = request(&mut a, bytes.clone()).await;
            assert_eq!(rejected(&answer.results[0]), "invalid_text");
            assert_eq!(answer.cursor, a.cursor);
            least = least.min(took);
        }
        slowest = slowest.max(least);
        // A megabyte through the whole endpoint: encoded, read, checked, its verdict durable.
        assert!(least < Duration::from_millis(50), "{least:?}");
    }
    println!("a refusal of a megabyte through the endpoint takes {slowest:?}");
}

async fn snapshot(device: &Client, form: Form) -> Vec<DocumentResult> {
    let request = Request::get("/v1/workspaces/w/snapshot")
        .header("authorization", format!("Bearer {}", device.token))
        .header("accept", form.content_type());
    let reply = call(&device.server, request.body(Body::empty()).unwrap()).await;
    assert_eq!(reply.status, StatusCode::OK);
    let mut documents = Vec::new();
    let mut take = |frame: SnapshotFrame| {
        if let SnapshotFrame::Documents { documents: more } = frame {
            documents.extend(more);
        }
    };
    match form {
        Form::Json => reply
            .bytes
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .for_each(|line| take(decode(form, line).unwrap())),
        Form::Cbor => {
            let mut bytes = &reply.bytes[..];
            while let Some((frame, length)) = split_snapshot(bytes, 32 << 20).unwrap() {
                take(decode(form, frame).unwrap());
                bytes = &bytes[length..];
            }
        }
    }
    documents
}

fn read(state: &TextState, texts: &FieldMap<Update>) -> String {
    let (update, limits) = (texts.get(JOURNAL).unwrap(), GuardLimits::default());
    let state = check_state(&update.0, TextKind::RichText, &state.marks, &limits).unwrap();
    let body = TextBody::load(99, state, BodyLimits::default()).unwrap();
    body.text().unwrap()
}

#[tokio::test]
async fn a_snapshot_has_all_of_a_text_folded_or_not() {
    // Folded by hand here: the worker sleeps for an hour.
    let world = World::with(|config| config.limits.fold_after_ms = 3_600_000);
    let (mut a, mut ann, mut b, mut bob) = two(&world).await;
    types(&mut b, &mut bob, 5, " world").await;
    ann.hears(&a.sync(vec![]).await);
    let check = async |device: &Client, expected: &str| {
        for form in [Form::Cbor, Form::Json] {
            let documents = snapshot(device, form).await;
            let [document] = documents.as_slice() else {
                panic!("{documents:?}")
            };
            let text = document.state.texts.get(JOURNAL).unwrap();
            assert_eq!(read(text, &document.texts), expected);
        }
    };
    check(&a, "hello world").await;
    world.server.close().await;
    assert_eq!(
        contents(&world, "n", 2).await["journal"]["text"],
        "hello world"
    );
    check(&a, "hello world").await;
    types(&mut a, &mut ann, 11, "!").await;
    check(&a, "hello world!").await;
    // A tombstone keeps its text: it may be restored.
    let delete = a.op(change(NOTES, "n", ChangeKind::Delete, &[]));
    a.sync(vec![delete]).await;
    check(&a, "hello world!").await;
    let restore = a.op(change(NOTES, "n", ChangeKind::Restore, &[]));
    a.sync(vec![restore]).await;
    types(&mut a, &mut ann, 12, "!").await;
    // A fresh document has a fresh text.
    let delete = a.op(change(NOTES, "n", ChangeKind::Delete, &[]));
    a.sync(vec![delete]).await;
    let id = a.id();
    let mut anew = Author::new(71);
    let edit = anew.types(0, "anew", id);
    let op = full(&a, id, vec![note(ChangeKind::Insert, JOURNAL, edit)]);
    accepted(&a.sync(vec![op]).await.results[0]);
    check(&a, "anew").await;
}

#[tokio::test]
async fn what_was_typed_before_the_server_ended_is_folded_after() {
    let world = World::with(|config| config.limits.fold_after_ms = 3_600_000);
    drop(two(&world).await);
    let restarted = world.restarted();
    restarted.device("ann").sync(vec![]).await;
    assert_eq!(
        contents(&restarted, "n", 1).await["journal"]["text"],
        "hello"
    );
}

#[tokio::test]
async fn a_text_that_cannot_be_folded_is_set_aside_and_named_and_stops_no_other() {
    let world = World::with(|config| config.limits.fold_after_ms = 300);
    let (mut a, mut ann, _, _) = two(&world).await;
    let id = a.id();
    let mut second = Author::new(71);
    let edit = second.types(0, "another", id);
    let op = full(
        &a,
        id,
        vec![note_of("o", ChangeKind::Insert, JOURNAL, edit)],
    );
    let version = accepted(&a.sync(vec![op]).await.results[0]);
    let damaged = world.database("w").execute(
        "UPDATE text_tail SET edit = x'0101470004' WHERE document = 'n'",
        [],
    );
    assert_eq!(damaged, Ok(1));
    assert_eq!(
        contents(&world, "o", version).await["journal"]["text"],
        "another"
    );
    let facts = inspect::workspace(world.dir.path(), "w").unwrap().unwrap();
    let [aside] = facts.texts_aside.as_slice() else {
        panic!("{facts:?}")
    };
    assert_eq!(
        (aside.collection.as_str(), aside.document.as_str()),
        ("notes", "n")
    );
    assert_eq!(aside.field, "journal");
    assert!(!aside.why.is_empty() && !aside.why.contains("hello"));
    // Devices that have it go on; the log is whole.
    types(&mut a, &mut ann, 5, "!").await;
    let mut reader = Author::new(99);
    reader.hears(&world.device("ann").sync(vec![]).await);
    assert_eq!(snapshot(&a, Form::Cbor).await[0].texts.len(), 0);
}

/// An op that types into the story of bird "n".
fn tells(
    device: &mut Client,
    author: &mut Author,
    at: u32,
    text: &str,
    kind: ChangeKind,
) -> SentOp {
    let id = device.id();
    let mut told = change(BIRDS, "n", kind, &[]);
    told.texts.insert(STORY, author.types(at, text, id));
    full(device, id, vec![told])
}

#[tokio::test]
async fn words_under_a_delete_that_had_not_seen_them_are_told_to_their_author() {
    let world = World::new();
    let (mut a, mut b) = (world.device("ann"), world.device("bob"));
    let (mut ann, mut bob) = (Author::new(71), Author::new(72));
    let op = tells(&mut a, &mut ann, 0, "Seen. ", ChangeKind::Insert);
    a.sync(vec![op]).await;
    bob.hears(&b.sync(vec![]).await);
    for words in ["Not seen. ", "Nor this. "] {
        let at = ann.says().len() as u32;
        let op = tells(&mut a, &mut ann, at, words, ChangeKind::Update);
        accepted(&a.sync(vec![op]).await.results[0]);
        // Between them something else in the same document, and somebody else's words.
        let mut other = world.device("cas");
        let weigh = other.update("n", &[(3, Value::Integer(7))]);
        other.sync(vec![weigh]).await;
    }
    let own = tells(&mut b, &mut bob, 6, "Bob's own. ", ChangeKind::Update);
    let mut delete = change(BIRDS, "n", ChangeKind::Delete, &[]);
    delete.prev = Some(own.id());
    let delete = b.op(delete);
    let base = |op: SentOp| match op {
        SentOp::Full { id, when, mut body } => {
            body.base = 1;
            SentOp::Full { id, when, body }
        }
        named => named,
    };
    let answer = b.sync(vec![base(own), base(delete)]).await;
    answer
        .results
        .iter()
        .for_each(|result| _ = accepted(result));
    assert!(
        answer.losses.is_empty(),
        "whoever deleted saw what they typed"
    );
    let told = a.sync(vec![]).await.losses;
    let [loss] = told.as_slice() else {
        panic!("{told:?}")
    };
    assert_eq!((loss.rule, loss.field), (LossRule::Deleted, Some(STORY)));
    assert_eq!(loss.value, Value::from("Not seen. Nor this. "));
    assert_eq!(loss.winner, answer.results[1].id);

    let late = tells(&mut a, &mut ann, 0, "Too late. ", ChangeKind::Update);
    let answer = a.sync(vec![base(late)]).await;
    accepted(&answer.results[0]);
    let loss = answer.losses.last().unwrap();
    assert_eq!(loss.value, Value::from("Too late. "));
}

#[tokio::test]
async fn a_full_text_takes_more_once_what_was_deleted_is_folded() {
    let world = World::with(folds_at_once);
    let mut a = world.device("ann");
    let mut ann = Author::new(71);
    let mut send = async |a: &mut Client, change: TextChange, kind| {
        let id = a.id();
        let before = (ann.last, ann.marks.clone());
        let edit = ann.edits(change, id);
        let op = full(a, id, vec![note(kind, SHORT, edit)]);
        let outcome = a.sync(vec![op]).await.results.remove(0).outcome;
        let taken = matches!(outcome, Outcome::Accepted { .. });
        if !taken {
            // The device would write it again; here it is taken back.
            (ann.last, ann.marks) = before;
            ann.body.undo().ok();
        }
        (outcome, taken)
    };
    let text = |n: usize| TextChange::Insert {
        at: 0,
        text: "x".repeat(n),
        attributes: None,
    };
    let (_, taken) = send(&mut a, text(60), ChangeKind::Insert).await;
    assert!(taken);
    let delete = TextChange::Delete { at: 0, len: 50 };
    let (outcome, taken) = send(&mut a, delete, ChangeKind::Update).await;
    assert!(taken, "{outcome:?}");
    assert_eq!(
        contents(&world, "n", 2).await["short"]["text"],
        "x".repeat(10)
    );
    let (outcome, taken) = send(&mut a, text(50), ChangeKind::Update).await;
    assert!(taken, "{outcome:?}");
    let (outcome, _) = send(&mut a, text(50), ChangeKind::Update).await;
    let Outcome::Rejected { refusal } = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(refusal.code, "value_too_large");
}
