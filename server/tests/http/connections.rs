//! Clients without manners, and a server that stops in the middle.

use std::time::Duration;

use driftline_core::protocol::{Form, encode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::common::*;

/// A server on a real port, with little patience.
async fn listening() -> (
    World,
    std::net::SocketAddr,
    tokio::sync::oneshot::Sender<()>,
    tokio::task::JoinHandle<()>,
) {
    let world = World::with(|config| {
        config.limits.header_timeout_ms = 300;
        config.limits.body_idle_ms = 300;
        config.limits.write_idle_ms = 300;
        config.limits.body_total_ms = 1_000;
        config.limits.shutdown_timeout_ms = 2_000;
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let server = world.server.clone();
    let task = tokio::spawn(async move {
        server.serve(listener, async { _ = stopped.await }).await;
    });
    (world, address, stop, task)
}

async fn everything(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut bytes))
        .await
        .unwrap()
        .unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn slow_heads_silent_connections_and_slow_bodies_are_dropped() {
    let (world, address, _stop, _task) = listening().await;
    let mut silent = TcpStream::connect(address).await.unwrap();
    let mut slow_head = TcpStream::connect(address).await.unwrap();
    slow_head
        .write_all(b"POST /v1/workspaces/w/sync HTTP/1.1\r\nhost: x\r\n")
        .await
        .unwrap();
    let mut slow_body = TcpStream::connect(address).await.unwrap();
    let token = world.device("ann").token;
    let head = format!(
        "POST /v1/workspaces/w/sync HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-type: application/cbor\r\ncontent-length: 100\r\n\r\nx"
    );
    slow_body.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(everything(&mut silent).await, "");
    let head = everything(&mut slow_head).await;
    assert!(
        head.is_empty() || head.starts_with("HTTP/1.1 408"),
        "{head}"
    );
    let body = everything(&mut slow_body).await;
    assert!(body.starts_with("HTTP/1.1 408"), "{body}");
}

#[tokio::test]
async fn a_body_that_trickles_for_ever_is_given_up() {
    let (world, address, _stop, _task) = listening().await;
    let token = world.device("ann").token;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /v1/workspaces/w/sync HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-type: application/cbor\r\ncontent-length: 1000\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let started = std::time::Instant::now();
    let (mut read, mut write) = stream.split();
    let trickle = async {
        while write.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let mut bytes = [0; 12];
    tokio::select! {
        () = trickle => panic!("the connection broke before an answer"),
        outcome = read.read_exact(&mut bytes) => { outcome.unwrap(); }
    }
    assert_eq!(&bytes, b"HTTP/1.1 408");
    assert!(started.elapsed() < Duration::from_secs(4));
}

#[tokio::test]
async fn shutdown_finishes_what_it_began_and_takes_no_more() {
    let (world, address, stop, task) = listening().await;
    let mut device = world.device("ann");
    let op = device.insert("d1", &[]);
    let body = encode(Form::Cbor, &device.request(vec![op]));
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /v1/workspaces/w/sync HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: application/cbor\r\ncontent-length: {}\r\n\r\n",
        device.token,
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&body[..10]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    stop.send(()).unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(
        TcpStream::connect(address).await.is_err(),
        "it takes no more"
    );
    stream.write_all(&body[10..]).await.unwrap();
    let answer = everything(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    tokio::time::timeout(Duration::from_secs(5), task)
        .await
        .unwrap()
        .unwrap();
    let wal = world.dir.path().join("workspace-w.sqlite-wal");
    let rows: i64 = world
        .database("w")
        .query_row("SELECT count(*) FROM log", [], |r| r.get(0))
        .unwrap();
    assert_eq!(rows, 1, "{}", wal.display());
}

#[tokio::test]
async fn who_stops_reading_is_dropped() {
    let (world, address, _stop, _task) = listening().await;
    let mut device = world.device("ann");
    let mut all = 0;
    for batch in 0..30 {
        let fill = |i: usize| (format!("d{batch}-{i}"), "x".repeat(100_000));
        let ops = (0..10)
            .map(fill)
            .map(|(id, text)| {
                all += text.len();
                device.insert(&id, &[(1, text.into())])
            })
            .collect();
        device.sync(ops).await;
    }
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "GET /v1/workspaces/w/snapshot HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\r\n",
        device.token
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let mut bytes = Vec::new();
    // Cut or reset: either way it ends, and far from the end.
    let read = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut bytes)).await;
    assert!(read.is_ok(), "the connection is still open");
    assert!(bytes.len() < all / 2, "{} of {all} bytes came", bytes.len());
}
