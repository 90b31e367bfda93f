//! Bodies that are too much, addresses that lead elsewhere, and clients without manners.

use crate::common::*;
use axum::body::Body;
use driftline_core::protocol::{Form, compress, encode, limits};
use http::{Method, Request, StatusCode};

/// What is sent, with which headers, and the status and code that answer it.
type Case<'c> = (&'c str, Vec<(&'c str, &'c str)>, Vec<u8>, u16, &'c str);

fn post(device: &Client, headers: &[(&str, &str)], body: Vec<u8>) -> Request<Body> {
    let mut request = Request::post("/v1/workspaces/w/sync")
        .header("authorization", format!("Bearer {}", device.token));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Body::from(body)).unwrap()
}

#[tokio::test]
async fn hostile_bodies_get_a_typed_answer_and_change_nothing() {
    let world = World::new();
    let device = world.device("ann");
    let valid = encode(Form::Cbor, &device.request(vec![]));
    let json = encode(Form::Json, &device.request(vec![]));
    const CBOR: (&str, &str) = ("content-type", "application/cbor");
    const JSON: (&str, &str) = ("content-type", "application/json");
    const ZSTD: (&str, &str) = ("content-encoding", "zstd");
    let long_device = encode(Form::Cbor, &{
        let mut request = device.request(vec![]);
        request.device.id = "x".repeat(256);
        request
    });
    let no_device = encode(Form::Cbor, &{
        let mut request = device.request(vec![]);
        request.device.id = String::new();
        request
    });
    let named = |count: u64| {
        let mut request = device.request(vec![]);
        request.ops = (0..count)
            .map(|n| {
                driftline_core::protocol::SentOp::Named(driftline_core::id::OpId(
                    u128::from(n).to_be_bytes(),
                ))
            })
            .collect();
        encode(Form::Cbor, &request)
    };
    let cases: Vec<Case<'_>> = vec![
        (
            "no content type",
            vec![],
            valid.clone(),
            415,
            "unsupported_media_type",
        ),
        (
            "another content type",
            vec![("content-type", "text/plain")],
            valid.clone(),
            415,
            "unsupported_media_type",
        ),
        (
            "another encoding",
            vec![CBOR, ("content-encoding", "gzip")],
            valid.clone(),
            415,
            "unsupported_media_type",
        ),
        (
            "two encodings",
            vec![CBOR, ZSTD, ZSTD],
            valid.clone(),
            415,
            "unsupported_media_type",
        ),
        (
            "cbor called json",
            vec![JSON],
            valid.clone(),
            400,
            "malformed",
        ),
        (
            "json called cbor",
            vec![CBOR],
            json.clone(),
            400,
            "malformed",
        ),
        ("empty", vec![CBOR], vec![], 400, "malformed"),
        (
            "truncated cbor",
            vec![CBOR],
            valid[..valid.len() - 1].to_vec(),
            400,
            "malformed",
        ),
        (
            "bytes behind the message",
            vec![CBOR],
            [&valid[..], &[0]].concat(),
            400,
            "malformed",
        ),
        (
            "truncated json",
            vec![JSON],
            json[..json.len() - 1].to_vec(),
            400,
            "malformed",
        ),
        (
            "json behind the message",
            vec![JSON],
            [&json[..], b"{}"].concat(),
            400,
            "malformed",
        ),
        (
            "invalid utf-8 in json",
            vec![JSON],
            b"{\"protocol\":1,\"account\":\"\xff\"}".to_vec(),
            400,
            "malformed",
        ),
        (
            "an array as long as memory",
            vec![CBOR],
            vec![0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            400,
            "malformed",
        ),
        (
            "a text as long as memory",
            vec![CBOR],
            vec![
                0xa1, 0x02, 0x7b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
            ],
            400,
            "malformed",
        ),
        (
            "a map without an end",
            vec![CBOR],
            vec![0xbf, 0x00, 0x01],
            400,
            "malformed",
        ),
        (
            "deep cbor",
            vec![CBOR],
            [vec![0x81; 100_000], vec![0]].concat(),
            400,
            "malformed",
        ),
        (
            "deep json",
            vec![JSON],
            [vec![b'['; 100_000], vec![b']'; 100_000]].concat(),
            413,
            "too_large",
        ),
        (
            "many json items",
            vec![JSON],
            [b"[".to_vec(), b"0,".repeat(1 << 21), b"0]".to_vec()].concat(),
            413,
            "too_large",
        ),
        (
            "damaged zstd",
            vec![CBOR, ZSTD],
            b"not zstd".to_vec(),
            400,
            "malformed",
        ),
        (
            "truncated zstd",
            vec![CBOR, ZSTD],
            compress(&[7; 5_000])[..12].to_vec(),
            400,
            "malformed",
        ),
        (
            "a zstd bomb",
            vec![CBOR, ZSTD],
            compress(&vec![0; 64 << 20]),
            413,
            "too_large",
        ),
        (
            "too large",
            vec![CBOR],
            vec![0; limits::MAX_BODY + 1],
            413,
            "too_large",
        ),
        (
            "too many ops",
            vec![CBOR],
            named(limits::MAX_OPS as u64 + 1),
            413,
            "too_large",
        ),
        (
            "an over-long device id",
            vec![CBOR],
            long_device,
            422,
            "malformed",
        ),
        ("no device id", vec![CBOR], no_device, 422, "malformed"),
        (
            "a number where text belongs",
            vec![JSON],
            json.clone().replace_text("\"ann\"", "7"),
            400,
            "malformed",
        ),
    ];
    for (name, headers, body, status, code) in cases {
        let reply = call(&world.server, post(&device, &headers, body)).await;
        assert_eq!(reply.status.as_u16(), status, "{name}");
        let failure = reply.failure();
        assert_eq!(failure.code, code, "{name}");
        assert!(failure.message.len() > 10, "{name}: {}", failure.message);
        assert!(
            !failure.message.contains("ann"),
            "{name}: nothing of the content is in the answer"
        );
    }
    let reply = call(
        &world.server,
        post(&device, &[CBOR], named(limits::MAX_OPS as u64)),
    )
    .await;
    assert_eq!(reply.status, StatusCode::OK, "and at the limit all is well");
    assert_eq!(
        device
            .try_sync(vec![])
            .await
            .unwrap_or_else(|r| panic!("{}", r.status))
            .versions
            .len(),
        0
    );
}

trait ReplaceText {
    fn replace_text(self, from: &str, to: &str) -> Vec<u8>;
}

impl ReplaceText for Vec<u8> {
    fn replace_text(self, from: &str, to: &str) -> Vec<u8> {
        String::from_utf8(self)
            .unwrap()
            .replace(from, to)
            .into_bytes()
    }
}

#[tokio::test]
async fn path_tricks_lead_nowhere() {
    let world = World::new();
    let names = [
        "..",
        ".",
        "%2e%2e",
        "..%2f..%2fetc%2fpasswd",
        "w%00",
        "w%2f",
        "-w",
        "_w",
        "%ff",
        "w.sqlite",
        "control",
        "é",
        "w%20",
    ];
    for name in names {
        // A token that names the trick itself: only the name's own rules stand in between.
        let decoded = percent_decoded(name);
        let all: Vec<(&str, driftline_server::auth::Role)> =
            vec![(decoded.as_str(), driftline_server::auth::Role::Admin)];
        let device = Client {
            token: token("eve", &all, NOW),
            ..world.device("eve")
        };
        for (method, path, fine) in [
            (Method::POST, format!("/v1/workspaces/{name}/sync"), 200),
            (Method::GET, format!("/v1/workspaces/{name}/snapshot"), 200),
            // No handshake: told after the name was looked at.
            (Method::GET, format!("/v1/workspaces/{name}/live"), 400),
            (Method::PUT, format!("/v1/workspaces/{name}"), 204),
        ] {
            let Ok(uri) = path.parse::<http::Uri>() else {
                continue;
            };
            let mut request = device.http(Form::Cbor, &device.request(vec![]));
            *request.method_mut() = method;
            *request.uri_mut() = uri;
            let reply = call(&world.server, request).await;
            let expected = if name == "control" { fine } else { 404 };
            assert_eq!(reply.status.as_u16(), expected, "{path}");
        }
    }
    let mut files: Vec<String> = std::fs::read_dir(world.dir.path())
        .unwrap()
        .map(|f| f.unwrap().file_name().into_string().unwrap())
        .collect();
    files.retain(|file| !file.ends_with("-wal") && !file.ends_with("-shm"));
    files.sort();
    assert_eq!(
        files,
        ["control.sqlite", "lock", "workspace-control.sqlite"]
    );
}

fn percent_decoded(name: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = name.bytes();
    while let Some(b) = rest.next() {
        if b == b'%' {
            let hex = [rest.next().unwrap(), rest.next().unwrap()];
            bytes.push(u8::from_str_radix(std::str::from_utf8(&hex).unwrap(), 16).unwrap());
        } else {
            bytes.push(b);
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn other_addresses_and_methods_are_told_apart() {
    let world = World::new();
    let get = |path: &str| Request::get(path).body(Body::empty()).unwrap();
    let reply = call(&world.server, get("/")).await;
    assert_eq!(
        (reply.status, reply.failure().code.as_str()),
        (StatusCode::NOT_FOUND, "no_address")
    );
    let reply = call(&world.server, get("/v1/workspaces/w/sync")).await;
    assert_eq!(reply.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(reply.failure().code, "malformed");
    assert_eq!(
        call(&world.server, get("/healthz")).await.status,
        StatusCode::OK
    );
    assert_eq!(
        call(&world.server, get("/readyz")).await.status,
        StatusCode::OK
    );
    let version = call(&world.server, get("/v1/version")).await.json();
    assert_eq!(version["protocols"], serde_json::json!([1]));
    assert_eq!(version["schema"], "field-notes");
    world.server.close().await;
    assert_eq!(
        call(&world.server, get("/readyz")).await.status,
        StatusCode::SERVICE_UNAVAILABLE
    );
}

#[tokio::test]
async fn a_device_gone_wild_is_told_to_wait_and_others_are_not() {
    let world = World::with(|config| {
        config.limits.requests_per_second = 2;
        config.limits.burst = 3;
    });
    let (wild, calm) = (world.device("ann"), world.device("ann"));
    for _ in 0..3 {
        assert!(wild.try_sync(vec![]).await.is_ok());
    }
    let reply = wild.try_sync(vec![]).await.unwrap_err();
    assert_eq!(reply.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(reply.headers["retry-after"], "1");
    assert_eq!(
        (reply.failure().code.as_str(), reply.failure().retry_after),
        ("rate_limited", Some(500))
    );
    assert!(calm.try_sync(vec![]).await.is_ok());
    world
        .clock
        .0
        .fetch_add(500, std::sync::atomic::Ordering::Relaxed);
    assert!(wild.try_sync(vec![]).await.is_ok());
}

#[tokio::test]
async fn requests_without_a_device_count_against_the_account() {
    let world = World::with(|config| {
        config.limits.requests_per_second = 1;
        config.limits.burst = 2;
    });
    let device = world.device("ann");
    let snapshot = || {
        Request::get("/v1/workspaces/w/snapshot")
            .header("authorization", format!("Bearer {}", device.token))
            .body(Body::empty())
            .unwrap()
    };
    for status in [200, 200, 429] {
        assert_eq!(
            call(&world.server, snapshot()).await.status.as_u16(),
            status
        );
    }
    assert!(device.try_sync(vec![]).await.is_ok());
}

#[tokio::test]
async fn a_server_with_no_turn_left_says_busy() {
    let world = World::with(|config| config.limits.concurrent_requests = 0);
    let reply = world.device("ann").try_sync(vec![]).await.unwrap_err();
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(reply.failure().code, "busy");
    assert_eq!(reply.headers["retry-after"], "1");
}
