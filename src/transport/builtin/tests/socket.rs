use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::protocol::frame::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::server::{Bytes, Connection, Server, serve};
use super::*;
use crate::transport::LiveMessage::{Alive, Binary, Text};

type ServerSocket = WebSocketStream<Box<dyn Bytes>>;

/// Opens a socket by hand, so that the request can be looked at.
async fn accept(mut connection: Connection) -> ServerSocket {
    let request = connection.receive().await.unwrap();
    assert!(
        request.head.starts_with("GET /sync HTTP/1.1\r\n"),
        "{}",
        request.head
    );
    assert_eq!(request.header("authorization"), Some("Bearer abc"));
    assert_eq!(request.header("sec-websocket-version"), Some("13"));
    let key = derive_accept_key(request.header("sec-websocket-key").unwrap().as_bytes());
    connection.say(switching(&key, "")).await;
    WebSocketStream::from_raw_socket(connection.bytes, Role::Server, None).await
}

fn switching(key: &str, more: &str) -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: WebSocket\r\nconnection: keep-alive, Upgrade\r\nsec-websocket-accept: {key}\r\n{more}\r\n"
    )
}

fn live_url(server: &Server) -> String {
    server.url().replace("http:", "ws:")
}

async fn echo(connection: Connection) {
    let mut socket = accept(connection).await;
    while let Some(Ok(message)) = socket.next().await {
        if (message.is_binary() || message.is_text()) && socket.send(message).await.is_err() {
            break;
        }
    }
}

#[tokio::test]
async fn binary_messages_go_and_come_and_a_ping_is_answered() {
    let server = serve(echo);
    for url in [live_url(&server), server.url()] {
        let (mut sender, mut receiver) = plain().connect(post(url, "")).await.unwrap();
        for length in [0, 1, 70_000] {
            sender.send(Binary(vec![5; length])).await.unwrap();
            assert_eq!(receiver.receive().await, Ok(Some(Binary(vec![5; length]))));
        }
        sender.send(Alive).await.unwrap();
        assert_eq!(receiver.receive().await, Ok(Some(Alive)));
    }
}

#[tokio::test]
async fn text_and_pings_of_the_server_arrive_and_its_pings_are_answered() {
    let (tell, mut answers) = mpsc::unbounded_channel();
    let server = serve(move |connection| {
        let tell = tell.clone();
        async move {
            let mut socket = accept(connection).await;
            socket.send(Message::text("{\"a\":1}")).await.unwrap();
            socket.send(Message::Ping("sign".into())).await.unwrap();
            tell.send(socket.next().await.unwrap().unwrap()).ok();
            socket.send(Message::text("end")).await.unwrap();
        }
    });
    let (_sender, mut receiver) = plain().connect(post(live_url(&server), "")).await.unwrap();
    assert_eq!(
        receiver.receive().await,
        Ok(Some(Text("{\"a\":1}".to_owned())))
    );
    assert_eq!(receiver.receive().await, Ok(Some(Alive)));
    assert_eq!(receiver.receive().await, Ok(Some(Text("end".to_owned()))));
    assert_eq!(told(&mut answers).await, Message::Pong("sign".into()));
}

#[tokio::test]
async fn large_messages_in_both_directions_do_not_block_each_other() {
    const LARGE: usize = 8 << 20;
    let server = serve(|connection| async move {
        let (mut sink, mut stream) = accept(connection).await.split();
        let sending = sink.send(Message::binary(vec![2; LARGE]));
        let (sent, received) = tokio::join!(sending, stream.next());
        sent.unwrap();
        assert_eq!(received.unwrap().unwrap().len(), LARGE);
        sink.send(Message::text("both")).await.unwrap();
    });
    let (mut sender, mut receiver) = plain().connect(post(live_url(&server), "")).await.unwrap();
    let (sent, received) = tokio::join!(sender.send(Binary(vec![1; LARGE])), receiver.receive());
    assert_eq!((sent, received), (Ok(()), Ok(Some(Binary(vec![2; LARGE])))));
    assert_eq!(receiver.receive().await, Ok(Some(Text("both".to_owned()))));
}

#[tokio::test]
async fn a_dropped_wait_loses_no_message() {
    let server = serve(|connection| async move {
        let mut socket = accept(connection).await;
        for number in 0..10 {
            sleep(Duration::from_millis(15)).await;
            socket
                .send(Message::binary(vec![number; 100_000]))
                .await
                .unwrap();
        }
    });
    let (_sender, mut receiver) = plain().connect(post(live_url(&server), "")).await.unwrap();
    let mut dropped = 0;
    for number in 0..10 {
        let message = loop {
            match timeout(Duration::from_millis(2), receiver.receive()).await {
                Err(_) => dropped += 1,
                Ok(message) => break message,
            }
        };
        assert_eq!(message, Ok(Some(Binary(vec![number; 100_000]))));
    }
    assert!(dropped > 0);
}

#[tokio::test]
async fn a_refusal_comes_with_its_status_and_the_body_that_follows_later() {
    let server = serve(|mut connection| async move {
        connection.receive().await.unwrap();
        connection
            .say("HTTP/1.1 401 Unauthorized\r\ncontent-type: application/json\r\nretry-after: 3\r\ncontent-length: 26\r\n\r\n")
            .await;
        sleep(Duration::from_millis(50)).await;
        connection.say("{\"code\":\"token_expired\"}  ").await;
    });
    let error = refused(plain().connect(post(live_url(&server), "")).await);
    assert_eq!(
        error,
        TransportError::Refused {
            status: 401,
            content_type: Some("application/json".to_owned()),
            retry_after_ms: Some(3000),
            body: b"{\"code\":\"token_expired\"}  ".to_vec(),
        }
    );
}

#[tokio::test]
async fn an_answer_that_does_not_switch_is_a_refusal_whatever_its_status() {
    for (answer, expected) in [
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nhtml",
            (200, "html"),
        ),
        (
            "HTTP/1.1 302 Found\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n",
            (302, ""),
        ),
        // Cut short: what came is kept.
        (
            "HTTP/1.1 500 No\r\ncontent-length: 9\r\n\r\nhalf",
            (500, "half"),
        ),
    ] {
        let server = serve(move |mut connection| async move {
            connection.receive().await.unwrap();
            connection.say(answer).await;
        });
        match refused(plain().connect(post(live_url(&server), "")).await) {
            TransportError::Refused { status, body, .. } => {
                assert_eq!(
                    (status, body.as_slice()),
                    (expected.0, expected.1.as_bytes())
                );
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_refusal_without_end_is_cut() {
    let server = serve(|mut connection| async move {
        connection.receive().await.unwrap();
        connection.say("HTTP/1.1 403 No\r\n\r\n").await;
        for _ in 0..1000 {
            connection.say([b'x'; 10_000]).await;
        }
    });
    let error = refused(plain().connect(post(live_url(&server), "")).await);
    let TransportError::Refused {
        status: 403, body, ..
    } = error
    else {
        panic!("{error:?}")
    };
    assert_eq!(body.len(), 64 << 10);
}

#[tokio::test]
async fn a_switch_that_does_not_answer_this_request_is_broken() {
    type Answer = fn(&str) -> String;
    let answers: [Answer; 4] = [
        |_| switching("c29tZWJvZHkgZWxzZQ==", ""),
        |key| switching(key, "sec-websocket-extensions: permessage-deflate\r\n"),
        |key| switching(key, "sec-websocket-protocol: other\r\n"),
        |key| switching(key, "").replace("upgrade: WebSocket", "upgrade: h2c"),
    ];
    for answer in answers {
        let server = serve(move |mut connection| async move {
            let request = connection.receive().await.unwrap();
            let key = derive_accept_key(request.header("sec-websocket-key").unwrap().as_bytes());
            connection.say(answer(&key)).await;
            connection.is_left().await;
        });
        let error = refused(plain().connect(post(live_url(&server), "")).await);
        assert!(matches!(error, TransportError::Broken(_)), "{error:?}");
    }
}

#[tokio::test]
async fn silence_before_the_switch_times_out() {
    let server = serve(Connection::hold);
    let request = with_idle(200, post(live_url(&server), ""));
    assert_eq!(
        refused(plain().connect(request).await),
        TransportError::TimedOut
    );
}

#[tokio::test]
async fn a_socket_nobody_reads_from_times_out_at_sending() {
    let server = serve(|connection| async move {
        let _socket = accept(connection).await;
        sleep(Duration::from_secs(60)).await;
    });
    let request = with_idle(300, post(live_url(&server), ""));
    let (mut sender, _receiver) = plain().connect(request).await.unwrap();
    assert_eq!(
        sender.send(Binary(vec![0; 48 << 20])).await,
        Err(TransportError::TimedOut)
    );
}

#[tokio::test]
async fn a_goodbye_of_the_server_is_answered_and_ends_the_socket() {
    let (tell, mut answers) = mpsc::unbounded_channel();
    let server = serve(move |connection| {
        let tell = tell.clone();
        async move {
            let mut socket = accept(connection).await;
            let goodbye = CloseFrame {
                code: CloseCode::Restart,
                reason: "".into(),
            };
            socket.send(Message::text("last")).await.unwrap();
            socket.close(Some(goodbye)).await.unwrap();
            tell.send(socket.next().await.unwrap().unwrap()).ok();
        }
    });
    let (mut sender, mut receiver) = plain().connect(post(live_url(&server), "")).await.unwrap();
    assert_eq!(receiver.receive().await, Ok(Some(Text("last".to_owned()))));
    assert_eq!(receiver.receive().await, Ok(None));
    assert_eq!(receiver.receive().await, Ok(None));
    assert!(told(&mut answers).await.is_close());
    let late = sender.send(Binary(vec![1])).await;
    assert!(matches!(late, Err(TransportError::Broken(_))), "{late:?}");
}

#[tokio::test]
async fn our_goodbye_reaches_the_server_and_ends_the_socket() {
    let (tell, mut seen) = mpsc::unbounded_channel();
    let server = serve(move |connection| {
        let tell = tell.clone();
        async move {
            let mut socket = accept(connection).await;
            while let Some(message) = socket.next().await {
                tell.send(message.unwrap()).ok();
            }
        }
    });
    let (mut sender, mut receiver) = plain().connect(post(live_url(&server), "")).await.unwrap();
    sender.send(Binary(vec![9])).await.unwrap();
    sender.close().await.unwrap();
    assert_eq!(receiver.receive().await, Ok(None));
    assert_eq!(told(&mut seen).await, Message::binary(vec![9]));
    assert!(told(&mut seen).await.is_close());
}

#[tokio::test]
async fn a_socket_cut_off_is_broken_and_stays_at_its_end() {
    let server = serve(|connection| async move {
        let mut socket = accept(connection).await;
        socket.send(Message::text("only")).await.unwrap();
    });
    let (_sender, mut receiver) = plain().connect(post(live_url(&server), "")).await.unwrap();
    assert_eq!(receiver.receive().await, Ok(Some(Text("only".to_owned()))));
    let cut = receiver.receive().await;
    assert!(matches!(cut, Err(TransportError::Broken(_))), "{cut:?}");
    assert_eq!(receiver.receive().await, Ok(None));
}

#[tokio::test]
async fn a_message_over_the_limit_is_refused_by_its_header_alone() {
    for length in [(32u64 << 20) + 1, u64::MAX >> 1] {
        let server = serve(move |mut connection| async move {
            let request = connection.receive().await.unwrap();
            let key = derive_accept_key(request.header("sec-websocket-key").unwrap().as_bytes());
            connection.say(switching(&key, "")).await;
            connection.say([0x82, 127]).await;
            connection.say(length.to_be_bytes()).await;
            sleep(Duration::from_secs(60)).await;
        });
        let (_sender, mut receiver) = plain().connect(post(live_url(&server), "")).await.unwrap();
        let refused = receiver.receive().await;
        assert!(
            matches!(refused, Err(TransportError::Broken(_))),
            "{refused:?}"
        );
    }
}

#[tokio::test]
async fn text_that_is_not_utf8_is_broken() {
    let server = serve(|mut connection| async move {
        let request = connection.receive().await.unwrap();
        let key = derive_accept_key(request.header("sec-websocket-key").unwrap().as_bytes());
        connection.say(switching(&key, "")).await;
        connection.say([0x81, 2, 0xff, 0xfe]).await;
        connection.is_left().await;
    });
    let (_sender, mut receiver) = plain().connect(post(live_url(&server), "")).await.unwrap();
    let refused = receiver.receive().await;
    assert!(
        matches!(refused, Err(TransportError::Broken(_))),
        "{refused:?}"
    );
}
