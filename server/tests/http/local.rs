//! A live socket in process, without a connection.

use std::time::Duration;

use axum::body::Body;
use axum::extract::ws::Message;
use driftline_core::protocol::{Form, LiveFrame, VersionEntry, decode, encode};
use driftline_server::{LocalEnd, LocalSocket};
use http::{Request, StatusCode, header};

use crate::common::*;

async fn open(world: &World, token: &str) -> (StatusCode, LocalEnd) {
    let (socket, end) = LocalSocket::pair(4);
    let request = Request::get("/v1/workspaces/w/live")
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .extension(socket)
        .body(Body::empty())
        .unwrap();
    (call(&world.server, request).await.status, end)
}

async fn next(end: &mut LocalEnd) -> Option<Message> {
    tokio::time::timeout(Duration::from_secs(5), end.from_server.recv())
        .await
        .unwrap()
}

fn frame(message: Option<Message>) -> LiveFrame {
    match message {
        Some(Message::Binary(bytes)) => decode(Form::Cbor, &bytes).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn it_hears_of_commits_takes_requests_and_answers_pings() {
    let world = World::new();
    let (mut a, mut b) = (world.device("ann"), world.device("bob"));
    let (status, mut end) = open(&world, &b.token).await;
    assert_eq!(status, StatusCode::SWITCHING_PROTOCOLS);
    let op = a.insert("d1", &[(1, "x".into())]);
    let id = op.id();
    a.sync(vec![op]).await;
    let LiveFrame::Versions(versions) = frame(next(&mut end).await) else {
        panic!()
    };
    assert_eq!(versions.versions[0].ids, [id]);
    let op = b.insert("d2", &[(1, "y".into())]);
    let mut request = b.request(vec![op]);
    request.tag = 3;
    let bytes = encode(Form::Cbor, &LiveFrame::<VersionEntry>::Request(request));
    end.to_server
        .send(Message::Binary(bytes.into()))
        .await
        .unwrap();
    let mut answered = false;
    for _ in 0..2 {
        if let LiveFrame::Response(response) = frame(next(&mut end).await) {
            assert_eq!(response.tag, 3);
            accepted(&response.results[0]);
            answered = true;
        }
    }
    assert!(answered);
    let said = Message::Ping(vec![1].into());
    end.to_server.send(said).await.unwrap();
    let heard = next(&mut end).await;
    assert_eq!(heard, Some(Message::Pong(vec![1].into())));
    end.to_server.send(Message::Close(None)).await.unwrap();
    assert_eq!(next(&mut end).await, None);
}

#[tokio::test]
async fn it_needs_a_token_and_ends_with_a_message_that_is_too_long() {
    let world = World::with(|config| config.limits.max_body = 0);
    let (status, _) = open(&world, "forged").await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    let (status, mut end) = open(&world, &world.device("ann").token).await;
    assert_eq!(status, StatusCode::SWITCHING_PROTOCOLS);
    let long = Message::Binary(vec![0; 64 << 20].into());
    end.to_server.send(long).await.unwrap();
    assert_eq!(next(&mut end).await, None);
}
