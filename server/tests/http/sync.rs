//! Ops in, verdicts and pages out.

use crate::common::*;
use driftline_core::op::ChangeKind;
use driftline_core::protocol::{Cursor, Encoded, Form, Outcome, SentOp, When, encode, encode_cbor};
use driftline_core::value::Value;
use driftline_server::auth::Role;
use http::StatusCode;

#[tokio::test]
async fn what_one_device_writes_another_reads() {
    let world = World::new();
    let (mut a, mut b) = (world.device("ann"), world.device("bob"));
    let op = a.insert("d1", &[(1, "Adelie".into()), (3, 3_750.into())]);
    let id = op.id();
    let answer = a.sync(vec![op]).await;
    assert_eq!(accepted(&answer.results[0]), 1);
    assert_eq!(answer.account, "ann");
    assert_eq!(answer.server_time, NOW);
    let own = &answer.versions[0];
    assert!(
        own.echo.is_some() && own.documents.is_empty(),
        "its own op is echoed, not sent back"
    );
    assert_eq!(own.ids, [id]);

    let page = b.sync(vec![]).await;
    let entry = &page.versions[0];
    assert_eq!(entry.ids, [id]);
    assert!(entry.echo.is_none());
    assert_eq!(
        entry.documents[0].state.value(1),
        Some(&Value::from("Adelie"))
    );
    assert_eq!(
        page.cursor, answer.cursor,
        "both stand at the same place of one history"
    );
    assert!(b.sync(vec![]).await.versions.is_empty());
}

#[tokio::test]
async fn the_same_request_twice_gets_the_same_answers() {
    let world = World::new();
    let mut a = world.device("ann");
    let insert = a.insert("d1", &[(1, "x".into())]);
    let bad = a.update("never-was", &[(1, "x".into())]);
    let ops = vec![insert.clone(), bad, SentOp::Named(a.id())];
    let first = a
        .try_sync(ops.clone())
        .await
        .unwrap_or_else(|r| panic!("{}", r.status));
    let second = a
        .try_sync(ops)
        .await
        .unwrap_or_else(|r| panic!("{}", r.status));
    assert_eq!(first.results, second.results);
    assert_eq!(rejected(&first.results[1]), "not_found");
    assert_eq!(first.results[2].outcome, Outcome::Unknown);
    assert_eq!(first.cursor, second.cursor);
    let named = a.sync(vec![SentOp::Named(insert.id())]).await;
    assert_eq!(accepted(&named.results[0]), 1);
}

#[tokio::test]
async fn another_accounts_op_id_is_taken() {
    let world = World::new();
    let (mut a, b) = (world.device("ann"), world.device("bob"));
    let op = a.insert("d1", &[(1, "x".into())]);
    a.sync(vec![op.clone()]).await;
    for ask in [op.clone(), SentOp::Named(op.id())] {
        let answer = b
            .try_sync(vec![ask])
            .await
            .unwrap_or_else(|r| panic!("{}", r.status));
        assert_eq!(rejected(&answer.results[0]), "id_taken");
    }
}

#[tokio::test]
async fn a_readers_ops_are_refused_one_by_one() {
    let world = World::new();
    let mut writer = world.device("ann");
    let seed = writer.insert("d1", &[(1, "x".into())]);
    writer.sync(vec![seed]).await;
    let mut reader = world.device_as("rob", Role::Reader);
    let ops = vec![
        reader.insert("d2", &[]),
        reader.update("d1", &[(1, "y".into())]),
    ];
    let answer = reader.sync(ops).await;
    assert_eq!(
        answer.results.iter().map(rejected).collect::<Vec<_>>(),
        ["read_only", "read_only"]
    );
    assert_eq!(answer.versions.len(), 1, "and the page comes all the same");
}

#[tokio::test]
async fn an_op_behind_an_unknown_one_waits_for_it() {
    let world = World::new();
    let mut a = world.device("ann");
    let first = a.id();
    let mut dependent = change(BIRDS, "d1", ChangeKind::Update, &[(1, "y".into())]);
    dependent.prev = Some(first);
    let dependent = a.op(dependent);
    let later = a.update("d1", &[(3, 1.into())]);
    let free = a.insert("d2", &[]);
    let answer = a
        .sync(vec![SentOp::Named(first), dependent.clone(), later, free])
        .await;
    assert_eq!(answer.results[0].outcome, Outcome::Unknown);
    assert_eq!(
        answer.results[1].outcome,
        Outcome::RetryLater { after: Some(first) }
    );
    assert_eq!(
        answer.results[2].outcome,
        Outcome::RetryLater {
            after: Some(dependent.id())
        },
        "it shares the document"
    );
    assert_eq!(accepted(&answer.results[3]), 1);
    // With the body in front everything is decided.
    let body = body(0, vec![change(BIRDS, "d1", ChangeKind::Insert, &[])]);
    let answer = a
        .sync(vec![
            SentOp::Full {
                id: first,
                when: When::Age(5),
                body,
            },
            dependent,
        ])
        .await;
    assert_eq!(
        answer.results.iter().map(accepted).collect::<Vec<_>>(),
        [2, 3]
    );
}

#[tokio::test]
async fn pages_are_bounded_and_whole() {
    let world = World::new();
    let mut a = world.device("ann");
    let ops = (0..50)
        .map(|i| a.insert(&format!("d{i}"), &[(1, "x".repeat(1_000).into())]))
        .collect();
    a.sync(ops).await;
    let mut b = world.device("bob");
    let (mut pages, mut next) = (0, 1);
    loop {
        let request = driftline_core::protocol::SyncRequest {
            page_bytes: 10_000,
            ..b.request(vec![])
        };
        let page = b
            .send(&request)
            .await
            .unwrap_or_else(|r| panic!("{}", r.status));
        assert!(page.versions.len() < 12);
        for version in &page.versions {
            assert_eq!(version.version, next);
            next += 1;
        }
        b.cursor = page.cursor;
        pages += 1;
        if !page.has_more {
            break;
        }
    }
    assert_eq!(next, 51);
    assert!(pages >= 5, "{pages}");
    assert_eq!(b.cursor, a.cursor);
}

#[tokio::test]
async fn a_version_larger_than_the_page_travels_alone() {
    let world = World::new();
    let mut a = world.device("ann");
    let op = a.insert("d1", &[(1, "x".repeat(50_000).into())]);
    a.sync(vec![op]).await;
    let b = world.device("bob");
    let request = driftline_core::protocol::SyncRequest {
        page_bytes: 100,
        ..b.request(vec![])
    };
    let page = b
        .send(&request)
        .await
        .unwrap_or_else(|r| panic!("{}", r.status));
    assert_eq!((page.versions.len(), page.has_more), (1, false));
}

#[tokio::test]
async fn far_behind_means_a_snapshot() {
    let world = World::with(|config| config.limits.far_behind = 5);
    let mut a = world.device("ann");
    for batch in [0..3, 3..6] {
        let ops = batch.map(|i| a.insert(&format!("d{i}"), &[])).collect();
        a.sync(ops).await;
    }
    let fresh = world
        .device("bob")
        .try_sync(vec![])
        .await
        .unwrap_or_else(|r| panic!("{}", r.status));
    assert!(fresh.take_snapshot && fresh.versions.is_empty());
    assert_eq!(fresh.cursor, Cursor::START);
    // As many documents as versions: for a device with something, the log is as short.
    let mut c = world.device("cas");
    c.cursor = a.cursor;
    let ops = (0..6)
        .map(|i| a.update("d0", &[(3, Value::Integer(i))]))
        .collect();
    a.sync(ops).await;
    assert!(
        !c.try_sync(vec![])
            .await
            .unwrap_or_else(|r| panic!("{}", r.status))
            .take_snapshot
    );
    let ops = (0..6)
        .map(|i| a.update("d0", &[(3, Value::Integer(i))]))
        .collect();
    a.sync(ops).await;
    let far = c
        .try_sync(vec![])
        .await
        .unwrap_or_else(|r| panic!("{}", r.status));
    assert!(far.take_snapshot);
    assert_eq!(far.cursor, c.cursor, "it stands where it stood");
}

#[tokio::test]
async fn json_is_read_and_answered() {
    let world = World::new();
    let mut a = world.device("ann");
    let op = a.insert("d1", &[(1, "Adelie".into())]);
    let reply = call(&world.server, a.http(Form::Json, &a.request(vec![op]))).await;
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!(reply.json()["results"][0]["outcome"], "accepted");
    let b = world.device("bob");
    let reply = call(&world.server, b.http(Form::Json, &b.request(vec![]))).await;
    assert_eq!(
        reply.json()["versions"][0]["documents"][0]["state"]["registers"]["1"]["value"],
        "Adelie"
    );
}

#[tokio::test]
async fn the_file_must_be_of_the_tokens_account() {
    let world = World::new();
    let mut a = world.device("ann");
    let op = a.insert("d1", &[]);
    a.account = "bob".to_owned();
    let reply = a.try_sync(vec![op.clone()]).await.unwrap_err();
    assert_eq!(
        (reply.status, reply.failure().code.as_str()),
        (StatusCode::FORBIDDEN, "wrong_account")
    );
    a.account = String::new();
    assert_eq!(
        accepted(&a.sync(vec![op]).await.results[0]),
        1,
        "nothing was decided before"
    );
}

#[tokio::test]
async fn another_protocol_is_told_so_even_if_it_cannot_be_read() {
    let world = World::new();
    let a = world.device("ann");
    let request = driftline_core::protocol::SyncRequest {
        protocol: 2,
        ..a.request(vec![])
    };
    let reply = a.send(&request).await.unwrap_err();
    assert_eq!(
        (reply.status, reply.failure().code.as_str()),
        (StatusCode::UPGRADE_REQUIRED, "upgrade_required")
    );
    let mut http = a.http(Form::Cbor, &request);
    *http.body_mut() = axum::body::Body::from(vec![0xa1, 0x00, 0x02]);
    assert_eq!(
        call(&world.server, http).await.status,
        StatusCode::UPGRADE_REQUIRED
    );
}

#[tokio::test]
async fn a_quota_refuses_growth_and_nothing_else() {
    let world = World::with(|config| config.schema.limits.quota = Some(100));
    let mut a = world.device("ann");
    let ops = vec![a.insert("d1", &[(1, "x".repeat(90).into())])];
    let answer = a.sync(ops).await;
    let quota = answer.quota.unwrap();
    assert_eq!(
        (quota.used, quota.limit, quota.is_warning()),
        (90, 100, true)
    );
    let generation = answer.results[0].id;
    let mut delete = change(BIRDS, "d1", ChangeKind::Delete, &[]);
    delete.generation = Some(generation);
    let ops = vec![
        a.insert("d2", &[(1, "x".repeat(11).into())]),
        a.update("d1", &[(1, "x".repeat(80).into())]),
        a.op(delete),
    ];
    let answer = a.sync(ops).await;
    assert_eq!(rejected(&answer.results[0]), "quota");
    assert_eq!(
        (accepted(&answer.results[1]), accepted(&answer.results[2])),
        (2, 3)
    );
    assert_eq!(answer.quota.unwrap().used, 0);
    let op = a.insert("d3", &[(1, "x".repeat(100).into())]);
    assert_eq!(accepted(&a.sync(vec![op]).await.results[0]), 4);
}

#[tokio::test]
async fn concurrent_requests_get_one_order_and_lose_nothing() {
    let world = World::new();
    let mut tasks = Vec::new();
    for _ in 0..8 {
        let mut device = world.device("ann");
        tasks.push(tokio::spawn(async move {
            let mut versions = Vec::new();
            for i in 0..10 {
                let ops = vec![
                    device.insert(&format!("{}-{i}", device.device.id.clone()), &[]),
                    {
                        let mut count = change(BIRDS, "shared", ChangeKind::Insert, &[]);
                        count.increments.insert(4, 1);
                        device.op(count)
                    },
                ];
                let answer = device.sync(ops).await;
                versions.extend(answer.results.iter().map(accepted));
            }
            versions
        }));
    }
    let mut versions = Vec::new();
    for task in tasks {
        versions.extend(task.await.unwrap());
    }
    versions.sort_unstable();
    assert_eq!(versions, (1..=160).collect::<Vec<_>>());
    let mut reader = world.device("bob");
    let page = reader.sync(vec![]).await;
    let shared = page
        .versions
        .iter()
        .rev()
        .flat_map(|v| &v.documents)
        .find(|d| d.document.as_str() == "shared")
        .unwrap();
    assert_eq!(shared.state.counters.get(4), Some(&80));
}

#[tokio::test]
async fn an_answer_is_compressed_for_those_who_take_it() {
    let world = World::new();
    let mut a = world.device("ann");
    let ops = (0..20)
        .map(|i| a.insert(&format!("d{i}"), &[(1, "x".repeat(500).into())]))
        .collect();
    a.sync(ops).await;
    let b = world.device("bob");
    let mut http = b.http(Form::Cbor, &b.request(vec![]));
    http.headers_mut()
        .insert("accept-encoding", "zstd".parse().unwrap());
    let reply = call(&world.server, http).await;
    assert_eq!(reply.headers["content-encoding"], "zstd");
    let mut sent = b.http(Form::Cbor, &b.request(vec![]));
    let compressed = driftline_core::protocol::compress(&encode(Form::Cbor, &b.request(vec![])));
    sent.headers_mut()
        .insert("content-encoding", "zstd".parse().unwrap());
    *sent.body_mut() = axum::body::Body::from(compressed);
    assert_eq!(call(&world.server, sent).await.status, StatusCode::OK);
}

/// A long push, whose ops are read one by one as they are decided.
fn long(a: &mut Client, before: &str) -> Vec<SentOp> {
    let text = Value::from("x".repeat(100));
    let one = |n| a.insert(&format!("{before}{n}"), &[(1, text.clone())]);
    (0..1_000).map(one).collect()
}

#[tokio::test]
async fn a_long_push_is_decided_like_a_short_one() {
    let world = World::new();
    let mut a = world.device("ann");
    let mut ops = long(&mut a, "d");
    let twice = ops[0].clone();
    ops.push(a.update("never-was", &[(1, "x".into())]));
    ops.push(twice);
    ops.push(SentOp::Named(a.id()));
    let answer = a.sync(ops).await;
    assert_eq!(answer.results.len(), 1_003);
    assert_eq!(answer.versions.len(), 1_000);
    assert_eq!(accepted(&answer.results[999]), 1_000);
    assert_eq!(rejected(&answer.results[1_000]), "not_found");
    assert_eq!(accepted(&answer.results[1_001]), 1);
    assert_eq!(answer.results[1_002].outcome, Outcome::Unknown);
}

#[tokio::test]
async fn of_a_long_push_with_an_op_that_is_none_nothing_is_kept() {
    let world = World::new();
    let mut a = world.device("ann");
    let ops = long(&mut a, "d");
    let number = Encoded(encode_cbor(&7_u8));
    let mut encoded: Vec<Encoded> = ops.iter().map(|op| Encoded(encode_cbor(op))).collect();
    encoded.push(number);
    let broken = a.request(Vec::new()).with_ops(encoded);
    let mut http = a.http(Form::Cbor, &a.request(Vec::new()));
    *http.body_mut() = axum::body::Body::from(encode_cbor(&broken));
    let reply = call(&world.server, http).await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);
    assert_eq!(reply.failure().code, "malformed");
    let answer = a.sync(vec![SentOp::Named(ops[0].id())]).await;
    assert_eq!(answer.results[0].outcome, Outcome::Unknown);
    assert!(answer.versions.is_empty());
    assert_eq!(a.sync(ops).await.versions.len(), 1_000);
}
