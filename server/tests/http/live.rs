//! The live socket over a real connection.

use std::net::SocketAddr;
use std::time::Duration;

use crate::common::*;
use driftline_core::protocol::{Form, LiveFrame, compress, decode, encode, inflate};
use driftline_server::ServerConfig;
use driftline_server::auth::Role;
use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

pub(crate) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

pub(crate) struct Served {
    pub(crate) world: World,
    address: SocketAddr,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<()>,
}

pub(crate) async fn serve(change: impl FnOnce(&mut ServerConfig)) -> Served {
    let world = World::with(change);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let server = world.server.clone();
    let task =
        tokio::spawn(async move { server.serve(listener, async { _ = stopped.await }).await });
    Served {
        world,
        address,
        stop: Some(stop),
        task,
    }
}

impl Served {
    pub(crate) async fn connect(
        &self,
        token: &str,
        query: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Socket, Error> {
        let mut request = format!("ws://{}/v1/workspaces/w/live{query}", self.address)
            .into_client_request()
            .unwrap();
        request
            .headers_mut()
            .insert("authorization", format!("Bearer {token}").parse().unwrap());
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        connect_async(request).await.map(|(socket, _)| socket)
    }
}

pub(crate) async fn frame(socket: &mut Socket) -> LiveFrame {
    loop {
        let message = tokio::time::timeout(Duration::from_secs(5), socket.next())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        match message {
            Message::Binary(bytes) => {
                return decode(Form::Cbor, &inflate(&bytes, 1 << 24).unwrap()).unwrap();
            }
            Message::Text(text) => return decode(Form::Json, text.as_bytes()).unwrap(),
            Message::Ping(_) | Message::Pong(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

async fn closed(socket: &mut Socket) -> u16 {
    loop {
        match tokio::time::timeout(Duration::from_secs(5), socket.next())
            .await
            .unwrap()
        {
            Some(Ok(Message::Close(Some(close)))) => return close.code.into(),
            Some(Ok(_)) => {}
            other => panic!("no close frame: {other:?}"),
        }
    }
}

pub(crate) fn request(
    form: Form,
    device: &Client,
    ops: Vec<driftline_core::protocol::SentOp>,
    tag: u32,
) -> Message {
    let mut request = device.request(ops);
    request.tag = tag;
    let bytes = encode(
        form,
        &LiveFrame::<driftline_core::protocol::VersionEntry>::Request(request),
    );
    match form {
        Form::Cbor => Message::Binary(bytes.into()),
        Form::Json => Message::Text(String::from_utf8(bytes).unwrap().into()),
    }
}

#[tokio::test]
async fn a_commit_reaches_every_listener_in_its_form() {
    let served = serve(|_| ()).await;
    let (mut a, b) = (served.world.device("ann"), served.world.device("bob"));
    a.sync(vec![]).await;
    let mut cbor = served.connect(&b.token, "", &[]).await.unwrap();
    let mut zstd = served
        .connect(&b.token, "", &[("accept-encoding", "zstd")])
        .await
        .unwrap();
    let mut json = served.connect(&b.token, "?form=json", &[]).await.unwrap();
    let mut named = served
        .connect(
            &b.token,
            "",
            &[("sec-websocket-protocol", "driftline.json")],
        )
        .await
        .unwrap();
    let from = a.cursor;
    let op = a.insert("d1", &[(1, "x".repeat(5_000).into())]);
    let id = op.id();
    a.sync(vec![op]).await;
    for socket in [&mut cbor, &mut zstd, &mut json, &mut named] {
        let LiveFrame::Versions(versions) = frame(socket).await else {
            panic!()
        };
        assert_eq!(
            (versions.from, versions.to),
            (from, a.cursor),
            "frames follow each other without a gap"
        );
        assert_eq!(versions.versions[0].ids, [id]);
        assert!(versions.versions[0].echo.is_none());
    }
}

#[tokio::test]
async fn a_socket_takes_requests_like_the_endpoint() {
    let served = serve(|_| ()).await;
    for form in [Form::Cbor, Form::Json] {
        let mut a = served.world.device("ann");
        let query = if form == Form::Json { "?form=json" } else { "" };
        let mut socket = served.connect(&a.token, query, &[]).await.unwrap();
        let op = a.insert(&format!("{form:?}"), &[(1, "y".into())]);
        socket.send(request(form, &a, vec![op], 7)).await.unwrap();
        let mut answered = false;
        // Its own commit is told as well, before the answer or after it.
        for _ in 0..2 {
            match frame(&mut socket).await {
                LiveFrame::Response(response) => {
                    assert_eq!(response.tag, 7);
                    accepted(&response.results[0]);
                    answered = true;
                }
                LiveFrame::Versions(versions) => assert_eq!(versions.versions.len(), 1),
                other => panic!("{other:?}"),
            }
        }
        assert!(answered);
    }
    let device = served.world.device("ann");
    let mut socket = served.connect(&device.token, "", &[]).await.unwrap();
    let Message::Binary(plain) = request(Form::Cbor, &device, vec![], 9) else {
        panic!()
    };
    socket
        .send(Message::Binary(compress(&plain).into()))
        .await
        .unwrap();
    let LiveFrame::Response(response) = frame(&mut socket).await else {
        panic!()
    };
    assert_eq!(response.tag, 9);
}

#[tokio::test]
async fn checks_hold_for_every_frame() {
    let served = serve(|_| ()).await;
    let mut reader = served.world.device_as("rob", Role::Reader);
    let mut socket = served.connect(&reader.token, "", &[]).await.unwrap();
    let op = reader.insert("d1", &[]);
    socket
        .send(request(Form::Cbor, &reader, vec![op], 1))
        .await
        .unwrap();
    let LiveFrame::Response(response) = frame(&mut socket).await else {
        panic!()
    };
    assert_eq!(rejected(&response.results[0]), "read_only");

    let mut other = reader.clone();
    other.account = "bob".to_owned();
    socket
        .send(request(Form::Cbor, &other, vec![], 2))
        .await
        .unwrap();
    let LiveFrame::Failed {
        status,
        failure,
        tag,
    } = frame(&mut socket).await
    else {
        panic!()
    };
    assert_eq!(
        (status, failure.code.as_str(), tag),
        (403, "wrong_account", 2)
    );

    for garbage in [
        vec![],
        vec![0xff; 10],
        encode(
            Form::Cbor,
            &LiveFrame::<driftline_core::protocol::VersionEntry>::Behind,
        ),
        compress(&vec![0; 64 << 20]),
    ] {
        socket.send(Message::Binary(garbage.into())).await.unwrap();
        let LiveFrame::Failed { status, tag, .. } = frame(&mut socket).await else {
            panic!()
        };
        assert!((400..=413).contains(&status), "{status}");
        assert_eq!(tag, 0);
    }
    socket
        .send(request(Form::Cbor, &reader, vec![], 3))
        .await
        .unwrap();
    let LiveFrame::Response(response) = frame(&mut socket).await else {
        panic!()
    };
    assert_eq!(response.tag, 3, "the socket lives");
}

#[tokio::test]
async fn nobody_gets_a_socket_without_a_token_for_the_workspace() {
    let served = serve(|_| ()).await;
    let refused = |outcome: Result<Socket, Error>| match outcome {
        Err(Error::Http(response)) => response.status().as_u16(),
        other => panic!("{:?}", other.map(drop)),
    };
    assert_eq!(refused(served.connect("nonsense", "", &[]).await), 401);
    let elsewhere = token("eve", &[("other", Role::Admin)], NOW);
    assert_eq!(refused(served.connect(&elsewhere, "", &[]).await), 404);
}

#[tokio::test]
async fn a_socket_is_opened_for_the_account_that_the_file_is_of() {
    let served = serve(|_| ()).await;
    let ann = served.world.device("ann");
    for (named, status, code) in [("bob", 403, "wrong_account"), ("%", 400, "malformed")] {
        let headers = [("driftline-account", named)];
        let Err(Error::Http(refused)) = served.connect(&ann.token, "", &headers).await else {
            panic!("a socket was opened for {named}")
        };
        assert_eq!(refused.status().as_u16(), status);
        // And why.
        let asked = http::Request::get("/v1/workspaces/w/live")
            .header("authorization", format!("Bearer {}", ann.token))
            .header("driftline-account", named);
        let asked = asked.body(axum::body::Body::empty()).unwrap();
        let reply = call(&served.world.server, asked).await;
        assert_eq!(
            (reply.status.as_u16(), reply.failure().code.as_str()),
            (status, code)
        );
    }
    for own in [
        vec![],
        vec![("driftline-account", "ann")],
        vec![("driftline-account", "")],
    ] {
        let mut socket = served.connect(&ann.token, "", &own).await.unwrap();
        socket
            .send(request(Form::Cbor, &ann, vec![], 1))
            .await
            .unwrap();
        assert!(
            matches!(frame(&mut socket).await, LiveFrame::Response(_)),
            "{own:?}"
        );
    }
}

#[tokio::test]
async fn a_socket_ends_with_its_token() {
    let served = serve(|config| config.limits.heartbeat_ms = 20).await;
    let device = served.world.device("ann");
    let mut socket = served.connect(&device.token, "", &[]).await.unwrap();
    served
        .world
        .clock
        .0
        .fetch_add(3_660_000, std::sync::atomic::Ordering::Relaxed);
    socket
        .send(request(Form::Cbor, &device, vec![], 1))
        .await
        .unwrap();
    assert_eq!(closed(&mut socket).await, 4401);
}

#[tokio::test]
async fn a_silent_socket_is_closed_and_a_quiet_one_is_not() {
    let served = serve(|config| {
        config.limits.heartbeat_ms = 100;
        config.limits.live_idle_ms = 400;
        config.environment = driftline_server::environment::Environment::system();
    })
    .await;
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_millis() as i64;
    let token = token("ann", &[("w", Role::Writer)], now);
    // This one answers pings, for it is read from.
    let mut quiet = served.connect(&token, "", &[]).await.unwrap();
    // This one never says a word: the handshake by hand, then nothing.
    let mut silent = TcpStream::connect(served.address).await.unwrap();
    let handshake = format!(
        "GET /v1/workspaces/w/live HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    tokio::io::AsyncWriteExt::write_all(&mut silent, handshake.as_bytes())
        .await
        .unwrap();
    let mut bytes = Vec::new();
    let ended = tokio::io::AsyncReadExt::read_to_end(&mut silent, &mut bytes);
    tokio::select! {
        outcome = tokio::time::timeout(Duration::from_secs(5), ended) => { outcome.unwrap().unwrap(); }
        other = frame(&mut quiet) => panic!("{other:?}"),
    }
    assert!(bytes.starts_with(b"HTTP/1.1 101"));
    assert!(
        bytes.windows(2).any(|pair| pair == 4408u16.to_be_bytes()),
        "closed with its code"
    );
    let ping = tokio::time::timeout(Duration::from_secs(2), quiet.next())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert!(matches!(ping, Message::Ping(_)), "{ping:?}");
}

#[tokio::test]
async fn shutdown_closes_sockets_with_a_code() {
    let mut served = serve(|_| ()).await;
    let device = served.world.device("ann");
    let mut socket = served.connect(&device.token, "", &[]).await.unwrap();
    served.stop.take().unwrap().send(()).unwrap();
    assert_eq!(closed(&mut socket).await, 1001);
    drop(socket);
    tokio::time::timeout(Duration::from_secs(5), served.task)
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn a_commit_too_large_for_a_frame_is_announced_only() {
    let served = serve(|_| ()).await;
    let mut a = served.world.device("ann");
    let mut socket = served.connect(&a.token, "", &[]).await.unwrap();
    let ops = (0..3)
        .map(|i| a.insert(&format!("d{i}"), &[(1, "x".repeat(500_000).into())]))
        .collect();
    a.sync(ops).await;
    assert_eq!(frame(&mut socket).await, LiveFrame::Behind);
}

#[tokio::test]
async fn a_listener_that_missed_frames_is_told() {
    let served = serve(|_| ()).await;
    let mut a = served.world.device("ann");
    let mut socket = served.connect(&a.token, "", &[]).await.unwrap();
    // Nobody reads while far more is committed than the connection and the feed hold.
    for i in 0..700 {
        let op = a.insert(&format!("d{i}"), &[(1, "x".repeat(60_000).into())]);
        a.sync(vec![op]).await;
    }
    let (mut told, mut behind) = (0, false);
    while !behind && told < 700 {
        match frame(&mut socket).await {
            LiveFrame::Behind => behind = true,
            LiveFrame::Versions(_) => told += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(behind, "{told} frames came");
}

#[tokio::test]
async fn text_that_does_not_fit_is_answered_on_the_socket_and_nothing_is_told() {
    use driftline_core::op::{ChangeKind, TextEdit, Update};
    use driftline_core::protocol::Outcome;
    let served = serve(|_| ()).await;
    let mut a = served.world.device("ann");
    let insert = a.op(change(NOTES, "n", ChangeKind::Insert, &[]));
    a.sync(vec![insert]).await;
    let mut socket = served.connect(&a.token, "", &[]).await.unwrap();
    // A gap; a list's root; four bytes that make the library take half a gigabyte.
    let edits: [(&[u8], Option<&str>); 3] = [
        (&[1, 1, 75, 1, 4, 1, 1, b't', 1, b'x', 0], None),
        (
            &[1, 1, 75, 0, 4, 1, 1, b'l', 1, b'x', 0],
            Some("invalid_text"),
        ),
        (&[0x80, 0xe5, 0x9a, 0x77], Some("invalid_text")),
    ];
    for (tag, (bytes, code)) in (1..).zip(edits) {
        let mut typed = change(NOTES, "n", ChangeKind::Update, &[]);
        let edit = TextEdit {
            writer: 75,
            update: Update(bytes.to_vec()),
            after: None,
        };
        typed.texts.insert(2, edit);
        let ops = vec![a.op(typed)];
        socket
            .send(request(Form::Cbor, &a, ops, tag))
            .await
            .unwrap();
        // The next frame is the answer: no version was told before it.
        let LiveFrame::Response(answer) = frame(&mut socket).await else {
            panic!("no answer")
        };
        assert_eq!((answer.tag, answer.cursor), (tag, a.cursor));
        match (&answer.results[0].outcome, code) {
            (Outcome::Rebase, None) => {}
            (Outcome::Rejected { refusal }, Some(code)) => assert_eq!(refusal.code, code),
            other => panic!("{other:?}"),
        }
    }
}
