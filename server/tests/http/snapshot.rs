//! The snapshot stream: whole, resumable, bounded, and one with the log.

use std::collections::BTreeMap;

use crate::common::*;
use axum::body::Body;
use driftline_core::id::DocumentId;
use driftline_core::merge::DocumentState;
use driftline_core::op::ChangeKind;
use driftline_core::protocol::{
    Cursor, DocumentResult, Form, Position, Resume, SnapshotFrame, decode, inflate, split_snapshot,
};
use http::{Request, StatusCode};

async fn get(device: &Client, query: &str, headers: &[(&str, &str)]) -> Reply {
    let mut request = Request::get(format!("/v1/workspaces/w/snapshot?{query}"))
        .header("authorization", format!("Bearer {}", device.token));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    call(&device.server, request.body(Body::empty()).unwrap()).await
}

fn frames(mut bytes: &[u8]) -> Vec<SnapshotFrame> {
    let mut frames = Vec::new();
    while let Some((frame, taken)) = split_snapshot(bytes, 1 << 20).unwrap() {
        frames.push(decode(Form::Cbor, &inflate(frame, 1 << 22).unwrap()).unwrap());
        bytes = &bytes[taken..];
    }
    assert!(bytes.is_empty());
    frames
}

fn begun(frame: &SnapshotFrame) -> (Cursor, u64) {
    match frame {
        SnapshotFrame::Begin { cursor, documents } => (*cursor, *documents),
        other => panic!("{other:?}"),
    }
}

fn documents(frames: &[SnapshotFrame]) -> Vec<DocumentResult> {
    let of = |frame: &SnapshotFrame| match frame {
        SnapshotFrame::Documents { documents } => documents.clone(),
        _ => Vec::new(),
    };
    frames.iter().flat_map(of).collect()
}

async fn filled(world: &World, count: usize) -> Client {
    let mut a = world.device("ann");
    for batch in 0..count.div_ceil(500) {
        let ops = (0..500.min(count - 500 * batch))
            .map(|i| {
                a.insert(
                    &format!("d{:05}", 500 * batch + i),
                    &[(1, "x".repeat(1_000).into())],
                )
            })
            .collect();
        a.sync(ops).await;
    }
    a
}

#[tokio::test]
async fn carries_every_document_in_frames_and_ends() {
    let world = World::new();
    let mut a = filled(&world, 1_200).await;
    let delete = a.op(change(BIRDS, "d00003", ChangeKind::Delete, &[]));
    let note = a.op(change(NOTES, "n1", ChangeKind::Insert, &[(1, "é".into())]));
    a.sync(vec![delete, note]).await;
    for headers in [vec![], vec![("accept-encoding", "zstd")]] {
        let reply = get(&a, "", &headers).await;
        assert_eq!(reply.status, StatusCode::OK);
        assert_eq!(
            reply.headers.get("content-encoding"),
            None,
            "frames are compressed one by one"
        );
        assert_eq!(reply.bytes.len() < 500_000, !headers.is_empty());
        let frames = frames(&reply.bytes);
        assert_eq!(begun(&frames[0]), (a.cursor, 1_201));
        assert!(frames.len() > 5, "{} frames", frames.len());
        assert_eq!(frames.last(), Some(&SnapshotFrame::End));
        let all = documents(&frames);
        assert_eq!(all.len(), 1_201, "tombstones included");
        assert!(all.iter().all(|d| d.whole));
        assert!(
            all.windows(2)
                .all(|w| (w[0].collection, &w[0].document) < (w[1].collection, &w[1].document))
        );
        assert!(!all[3].state.is_alive());
    }
}

/// Nothing of the workspace is told to a file of another account, whatever the token allows.
#[tokio::test]
async fn is_given_to_the_account_that_the_file_is_of() {
    let world = World::new();
    let mut a = world.device("ana+bo@example.org");
    let op = a.insert("d1", &[(1, "canary".into())]);
    a.sync(vec![op]).await;
    for (named, status, code) in [
        ("eve", StatusCode::FORBIDDEN, "wrong_account"),
        (
            "ana%20bo@example.org",
            StatusCode::FORBIDDEN,
            "wrong_account",
        ),
        ("%", StatusCode::BAD_REQUEST, "malformed"),
    ] {
        let reply = get(&a, "", &[("driftline-account", named)]).await;
        assert_eq!(
            (reply.status, reply.failure().code.as_str()),
            (status, code)
        );
    }
    let twice = [
        ("driftline-account", "eve"),
        ("driftline-account", &*a.account),
    ];
    assert_eq!(get(&a, "", &twice).await.status, StatusCode::BAD_REQUEST);
    let encoded = "ana%2Bbo%40example.org";
    for own in [None, Some(""), Some(encoded), Some("ana+bo@example.org")] {
        let header = own.map(|own| ("driftline-account", own));
        let reply = get(&a, "", header.as_slice()).await;
        assert_eq!(documents(&frames(&reply.bytes)).len(), 1, "{own:?}");
    }
}

#[tokio::test]
async fn an_empty_workspace_has_a_beginning_and_an_end() {
    let world = World::new();
    let device = world.device("ann");
    let frames = frames(&get(&device, "", &[]).await.bytes);
    let (cursor, documents) = begun(&frames[0]);
    assert_eq!((cursor.version, documents), (0, 0));
    assert_ne!(cursor, Cursor::START, "it is a place in this history");
    assert_eq!(frames[1..], [SnapshotFrame::End]);
}

/// Cut after each frame, resumed while others write, and brought to the head by the log: the same
/// as what a device has that followed from the start.
#[tokio::test]
async fn resumed_while_others_write_it_ends_at_the_same_content() {
    let world = World::new();
    let mut a = filled(&world, 900).await;
    let mut reader = world.device("bob");
    let (mut state, mut pin): (BTreeMap<_, DocumentState>, Option<Cursor>) =
        (BTreeMap::new(), None);
    let mut last: Option<Position> = None;
    for step in 0.. {
        let query = match (&last, pin) {
            (Some(after), Some(pin)) => Resume {
                after: after.clone(),
                pin,
            }
            .to_query(),
            _ => String::new(),
        };
        let frames = frames(&get(&reader, &query, &[]).await.bytes);
        let cursor = begun(&frames[0]).0;
        assert_eq!(*pin.get_or_insert(cursor), cursor, "the pin stands");
        let end = frames.len() == 3;
        for document in documents(&frames[..2]) {
            last = Some(Position {
                collection: document.collection,
                document: document.document.clone(),
            });
            state.insert((document.collection, document.document), document.state);
        }
        if end {
            break;
        }
        let ops = vec![
            a.update("d00001", &[(3, step.into())]),
            a.update("d00899", &[(3, step.into())]),
            a.insert(&format!("e{step}"), &[]),
        ];
        a.sync(ops).await;
    }
    reader.cursor = pin.unwrap();
    apply(&mut state, &mut reader).await;
    let mut follower = world.device("cas");
    let mut followed = BTreeMap::new();
    apply(&mut followed, &mut follower).await;
    assert_eq!(reader.cursor, follower.cursor);
    assert_eq!(state, followed);
}

async fn apply(state: &mut BTreeMap<(u16, DocumentId), DocumentState>, device: &mut Client) {
    loop {
        let page = device.sync(vec![]).await;
        for result in page.versions.into_iter().flat_map(|v| v.documents) {
            match state.entry((result.collection, result.document)) {
                std::collections::btree_map::Entry::Occupied(mut there) if !result.whole => {
                    there.get_mut().take(result.state)
                }
                entry => {
                    entry.insert_entry(result.state);
                }
            }
        }
        if !page.has_more {
            return;
        }
    }
}

#[tokio::test]
async fn a_pin_of_another_history_is_refused() {
    let world = World::new();
    let a = filled(&world, 3).await;
    let after = Position {
        collection: BIRDS,
        document: DocumentId::new("d00000").unwrap(),
    };
    let mut pin = a.cursor;
    pin.version = 2;
    let reply = get(
        &a,
        &Resume {
            after: after.clone(),
            pin,
        }
        .to_query(),
        &[],
    )
    .await;
    assert_eq!(
        (reply.status, reply.failure().code.as_str()),
        (StatusCode::CONFLICT, "history_changed")
    );
    let pin = Cursor {
        version: u64::MAX,
        ..a.cursor
    };
    assert_eq!(
        get(&a, &Resume { after, pin }.to_query(), &[]).await.status,
        StatusCode::CONFLICT
    );
    for query in [
        "after=1.d",
        "version=1",
        "after=x&version=1&hash=0000000000000000",
    ] {
        let reply = get(&a, query, &[]).await;
        assert_eq!(
            (reply.status, reply.failure().code.as_str()),
            (StatusCode::BAD_REQUEST, "malformed"),
            "{query}"
        );
    }
}

#[tokio::test]
async fn json_comes_as_lines() {
    let world = World::new();
    let a = filled(&world, 2).await;
    let reply = get(&a, "", &[("accept", "application/json")]).await;
    let lines: Vec<serde_json::Value> = std::str::from_utf8(&reply.bytes)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[0]["begin"]["documents"], 2);
    assert_eq!(lines[1]["documents"]["documents"][1]["document"], "d00001");
    assert_eq!(lines[2], "end");
}
