//! Texts folded behind the requests: snapshots, restarts, damage, full texts.

use super::*;

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

/// More than one frame may fold, and more than a turn of the worker folds at once.
#[tokio::test]
async fn a_snapshot_has_all_of_a_text_that_nobody_has_folded_for_long() {
    let world = World::with(|config| config.limits.fold_after_ms = 3_600_000);
    let (mut a, mut ann, _, _) = two(&world).await;
    let ops = (0..2_500).map(|n| {
        let id = a.id();
        let edit = ann.types(5 + n, ["e", "o"][n as usize % 2], id);
        full(&a, id, vec![note(ChangeKind::Update, JOURNAL, edit)])
    });
    let ops = ops.collect();
    a.sync(ops).await;
    let expected = ann.says();
    assert_eq!(expected.len(), 2_505);
    for form in [Form::Cbor, Form::Json] {
        let documents = snapshot(&a, form).await;
        let text = documents[0].state.texts.get(JOURNAL).unwrap();
        assert_eq!(read(text, &documents[0].texts), expected);
    }
    assert_eq!(
        contents(&world, "n", 2_000).await["journal"]["text"],
        expected[..2_004]
    );
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
