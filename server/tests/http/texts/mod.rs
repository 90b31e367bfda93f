//! Texts and lists through the endpoint, the log, the snapshot and the operator's rows.

mod folding;
mod hostile;

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
