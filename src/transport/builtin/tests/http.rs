use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt;
use tokio::sync::{Notify, mpsc};
use tokio::time::{sleep, timeout};

use super::server::{Connection, ok, serve};
use super::*;

async fn answer_all(mut connection: Connection) {
    while let Some(request) = connection.receive().await {
        connection
            .say(ok(&format!("{} bytes", request.body.len())))
            .await;
    }
}

#[tokio::test]
async fn what_is_given_arrives_and_what_is_answered_comes_back() {
    let (seen, mut requests) = mpsc::unbounded_channel();
    let server = serve(move |mut connection| {
        let seen = seen.clone();
        async move {
            seen.send(connection.receive().await.unwrap()).ok();
            connection
                .say("HTTP/1.1 429 Slow Down\r\ncontent-type: application/json\r\ncontent-encoding: zstd\r\nretry-after: 7\r\ncontent-length: 2\r\n\r\n{}")
                .await;
        }
    });
    let (response, body) = answered(&plain(), post(server.url(), "content"))
        .await
        .unwrap();
    let received = told(&mut requests).await;
    assert!(
        received.head.starts_with("POST /sync HTTP/1.1\r\n"),
        "{}",
        received.head
    );
    assert_eq!(received.header("authorization"), Some("Bearer abc"));
    assert_eq!(
        received.header("host"),
        Some(server.address.to_string().as_str())
    );
    assert_eq!(received.body, b"content");
    assert_eq!(response.status, 429);
    assert_eq!(response.content_type.as_deref(), Some("application/json"));
    assert_eq!(response.content_encoding.as_deref(), Some("zstd"));
    assert_eq!(response.retry_after_ms, Some(7000));
    assert_eq!(body, b"{}");
}

#[tokio::test]
async fn requests_share_a_kept_connection() {
    let server = serve(answer_all);
    let transport = plain();
    for length in [0, 3, 100_000] {
        let (_, body) = answered(&transport, post(server.url(), vec![7; length]))
            .await
            .unwrap();
        assert_eq!(body, format!("{length} bytes").into_bytes());
    }
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn a_connection_the_server_closed_meanwhile_is_replaced_unseen() {
    let server = serve(|mut connection| async move {
        connection.receive().await.unwrap();
        connection.say(ok("once")).await;
    });
    let transport = plain();
    for _ in 0..3 {
        assert_eq!(
            answered(&transport, post(server.url(), "x"))
                .await
                .unwrap()
                .1,
            b"once"
        );
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(server.accepted(), 3);
}

#[tokio::test]
async fn forgotten_connections_are_not_used_again() {
    let server = serve(answer_all);
    let transport = plain();
    answered(&transport, post(server.url(), "")).await.unwrap();
    transport.forget_connections();
    answered(&transport, post(server.url(), "")).await.unwrap();
    assert_eq!(server.accepted(), 2);
}

#[tokio::test]
async fn redirects_are_returned_and_the_token_goes_nowhere_else() {
    let elsewhere = serve(answer_all);
    let target = elsewhere.url();
    let server = serve(move |mut connection| {
        let target = target.clone();
        async move {
            connection.receive().await.unwrap();
            let answer = format!(
                "HTTP/1.1 307 Temporary Redirect\r\nlocation: {target}\r\ncontent-length: 0\r\n\r\n"
            );
            connection.say(answer).await;
        }
    });
    let (response, _) = answered(&plain(), post(server.url(), "x")).await.unwrap();
    assert_eq!((response.status, elsewhere.accepted()), (307, 0));
}

#[tokio::test]
async fn pieces_come_as_they_are_sent() {
    let go_on = Arc::new(Notify::new());
    let wait = Arc::clone(&go_on);
    let server = serve(move |mut connection| {
        let wait = Arc::clone(&wait);
        async move {
            connection.receive().await.unwrap();
            connection
                .say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
                .await;
            for piece in ["one", "two"] {
                connection
                    .say(format!("{:x}\r\n{piece}\r\n", piece.len()))
                    .await;
                wait.notified().await;
            }
            connection.say("0\r\n\r\n").await;
        }
    });
    let mut response = plain().request(post(server.url(), "x")).await.unwrap();
    // The server sends nothing further before it is told that the piece is here.
    for piece in ["one", "two"] {
        assert_eq!(
            response.body.next().await.unwrap().unwrap(),
            piece.as_bytes()
        );
        go_on.notify_one();
    }
    assert!(response.body.next().await.is_none());
}

#[tokio::test]
async fn a_dropped_wait_for_a_piece_loses_nothing() {
    let server = serve(|mut connection| async move {
        connection.receive().await.unwrap();
        connection
            .say("HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n")
            .await;
        for piece in ["abc", "def", "ghi", "jkl"] {
            sleep(Duration::from_millis(30)).await;
            connection.say(piece).await;
        }
    });
    let mut response = plain().request(post(server.url(), "x")).await.unwrap();
    let mut all = Vec::new();
    let mut dropped = 0;
    loop {
        match timeout(Duration::from_millis(7), response.body.next()).await {
            Err(_) => dropped += 1,
            Ok(Some(piece)) => all.extend_from_slice(&piece.unwrap()),
            Ok(None) => break,
        }
    }
    assert_eq!(all, b"abcdefghijkl");
    assert!(dropped > 0);
}

#[tokio::test]
async fn a_body_cut_short_is_broken_after_the_pieces_that_came() {
    for head in [
        "content-length: 10\r\n\r\nabc",
        "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
    ] {
        let server = serve(move |mut connection| async move {
            connection.receive().await.unwrap();
            connection.say(format!("HTTP/1.1 200 OK\r\n{head}")).await;
        });
        let mut response = plain().request(post(server.url(), "x")).await.unwrap();
        assert_eq!(response.body.next().await.unwrap().unwrap(), b"abc");
        let cut = response.body.next().await.unwrap();
        assert!(matches!(cut, Err(TransportError::Broken(_))), "{cut:?}");
    }
}

#[tokio::test]
async fn no_answer_or_one_that_is_not_http_is_broken_and_not_sent_twice() {
    let requests = Arc::new(AtomicUsize::new(0));
    for answer in ["", "SSH-2.0-server\r\n", "HTTP/1.1 200"] {
        let seen = Arc::clone(&requests);
        let server = serve(move |mut connection| {
            let seen = Arc::clone(&seen);
            async move {
                connection.receive().await.unwrap();
                seen.fetch_add(1, Ordering::SeqCst);
                connection.say(answer).await;
            }
        });
        let broken = refused(plain().request(post(server.url(), "x")).await);
        assert!(matches!(broken, TransportError::Broken(_)), "{broken:?}");
    }
    assert_eq!(requests.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn nobody_there_is_unreachable() {
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    // A label of 64 characters is refused by the resolver itself, with or without a network.
    let unknown = format!("http://{}.invalid/", "a".repeat(64));
    for url in [format!("http://{free}/"), unknown] {
        let error = refused(plain().request(post(url, "x")).await);
        assert!(matches!(error, TransportError::Unreachable(_)), "{error:?}");
    }
}

#[tokio::test]
async fn silence_times_out_before_the_answer_and_inside_it() {
    let server = serve(|mut connection| async move {
        connection.receive().await.unwrap();
        if connection.number == 1 {
            connection
                .say("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc")
                .await;
        }
        sleep(Duration::from_secs(60)).await;
    });
    let request = || with_idle(200, post(server.url(), "x"));
    let began = Instant::now();
    assert_eq!(
        refused(plain().request(request()).await),
        TransportError::TimedOut
    );
    assert!(began.elapsed() >= Duration::from_millis(200));

    let mut response = plain().request(request()).await.unwrap();
    assert_eq!(response.body.next().await.unwrap().unwrap(), b"abc");
    assert_eq!(
        response.body.next().await,
        Some(Err(TransportError::TimedOut))
    );
}

#[tokio::test]
async fn waits_for_one_piece_add_up_when_each_is_dropped() {
    let server = serve(|mut connection| async move {
        connection.receive().await.unwrap();
        connection
            .say("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n")
            .await;
        sleep(Duration::from_secs(60)).await;
    });
    let mut response = plain()
        .request(with_idle(300, post(server.url(), "x")))
        .await
        .unwrap();
    let mut waits = 0;
    let end = loop {
        waits += 1;
        assert!(waits < 1000, "it never gives up");
        if let Ok(end) = timeout(Duration::from_millis(40), response.body.next()).await {
            break end;
        }
    };
    assert_eq!(end, Some(Err(TransportError::TimedOut)));
    assert!(waits > 1);
}

#[tokio::test]
async fn slow_is_not_silent() {
    let server = serve(|mut connection| async move {
        connection.receive().await.unwrap();
        for byte in ok("a long answer, letter by letter").bytes() {
            connection.say([byte]).await;
            sleep(Duration::from_millis(20)).await;
        }
    });
    let began = Instant::now();
    let (_, body) = answered(&plain(), with_idle(600, post(server.url(), "x")))
        .await
        .unwrap();
    assert_eq!(body, b"a long answer, letter by letter");
    assert!(
        began.elapsed() > Duration::from_millis(1200),
        "it was not slow"
    );
}

#[tokio::test]
async fn a_long_upload_is_not_silent() {
    const PIECE: usize = 256 << 10;
    let server = serve(|mut connection| async move {
        let mut piece = vec![0; PIECE];
        for _ in 0..64 {
            connection.bytes.read_exact(&mut piece).await.unwrap();
            sleep(Duration::from_millis(50)).await;
        }
        connection.say(ok("thanks")).await;
        connection.is_left().await;
    });
    let began = Instant::now();
    let request = with_idle(1500, post(server.url(), vec![1; 64 * PIECE]));
    assert_eq!(answered(&plain(), request).await.unwrap().1, b"thanks");
    assert!(
        began.elapsed() > Duration::from_millis(3000),
        "it was not slow"
    );
}

#[tokio::test]
async fn dropping_a_request_cancels_it() {
    let (tell, mut left) = mpsc::unbounded_channel();
    let server = serve(move |mut connection| {
        let tell = tell.clone();
        async move {
            connection.receive().await.unwrap();
            tell.send(connection.is_left().await).ok();
        }
    });
    let transport = plain();
    let request = transport.request(post(server.url(), "x"));
    assert!(timeout(Duration::from_millis(200), request).await.is_err());
    assert!(told(&mut left).await);
}

#[tokio::test]
async fn a_busy_thread_is_not_a_silent_server() {
    let server = serve(|mut connection| async move {
        connection.receive().await.unwrap();
        sleep(Duration::from_millis(200)).await;
        connection
            .say("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n")
            .await;
        sleep(Duration::from_millis(700)).await;
        connection.say("late").await;
        connection.is_left().await;
    });
    // The answer comes while the client's thread works on something else, for longer than the
    // time-out.
    let busy = || async {
        sleep(Duration::from_millis(100)).await;
        std::thread::sleep(Duration::from_millis(600));
    };
    let transport = plain();
    let request = transport.request(with_idle(400, post(server.url(), "x")));
    let (response, ()) = tokio::join!(request, busy());
    let mut response = response.unwrap();
    let (piece, ()) = tokio::join!(response.body.next(), busy());
    assert_eq!(piece, Some(Ok(b"late".to_vec())));
}
