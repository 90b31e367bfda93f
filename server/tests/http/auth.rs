//! Tokens: what holds, and a table of what does not.

use crate::common::*;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as URL;
use driftline_core::protocol::Form;
use driftline_server::auth::{KeyError, Keys, Role};
use http::StatusCode;
use serde_json::{Value, json};

const SECONDS: i64 = NOW / 1_000;

fn claims() -> Value {
    json!({"sub": "ann", "workspaces": {"w": "writer"}, "iat": SECONDS, "exp": SECONDS + 3_600})
}

fn with(change: impl FnOnce(&mut Value)) -> Value {
    let mut claims = claims();
    change(&mut claims);
    claims
}

/// Signs with HS256 whatever header it is given.
fn signed(header: &Value, claims: &Value, secret: &[u8]) -> String {
    use hmac_sha256::hmac;
    let message = format!(
        "{}.{}",
        URL.encode(header.to_string()),
        URL.encode(claims.to_string())
    );
    let signature = hmac(secret, message.as_bytes());
    format!("{message}.{}", URL.encode(signature))
}

fn hs256(claims: &Value) -> String {
    signed(&json!({"alg": "HS256", "typ": "JWT"}), claims, SECRET)
}

/// HMAC over SHA-256, so that the attacks below need no help from the library under attack.
mod hmac_sha256 {
    pub(super) fn hmac(secret: &[u8], message: &[u8]) -> Vec<u8> {
        use jsonwebtoken::crypto::sign;
        use jsonwebtoken::{Algorithm, EncodingKey};
        let encoded = sign(message, &EncodingKey::from_secret(secret), Algorithm::HS256).unwrap();
        use base64::Engine;
        base64::prelude::BASE64_URL_SAFE_NO_PAD
            .decode(encoded)
            .unwrap()
    }
}

#[test]
fn every_algorithm_of_the_design_holds_with_its_own_key_only() {
    let keys = [
        ("hs", Keys::hs256(SECRET).unwrap(), hs256(&claims())),
        (
            "rs",
            Keys::public_pem(include_bytes!("keys/rsa.pub.pem")).unwrap(),
            include_str!("keys/rs256.jwt").trim().to_owned(),
        ),
        (
            "es",
            Keys::public_pem(include_bytes!("keys/ec.pub.pem")).unwrap(),
            include_str!("keys/es256.jwt").trim().to_owned(),
        ),
        (
            "ed",
            Keys::public_pem(include_bytes!("keys/ed.pub.pem")).unwrap(),
            include_str!("keys/eddsa.jwt").trim().to_owned(),
        ),
    ];
    for (of_key, key, _) in &keys {
        for (of_token, _, token) in &keys {
            let verified = key.verify(token, NOW);
            assert_eq!(
                verified.is_ok(),
                of_key == of_token,
                "{of_token} token, {of_key} key"
            );
            if let Ok(verified) = verified {
                assert_eq!(verified.account, "ann");
                assert_eq!(verified.workspaces["w"], Role::Writer);
                assert_eq!(verified.until, NOW + 3_660_000);
            }
        }
    }
}

#[test]
fn keys_that_protect_nothing_are_refused() {
    assert_eq!(
        Keys::hs256(&[7; 31]).map(drop),
        Err(KeyError::ShortSecret(31))
    );
    let refused = |pem: &[u8]| Keys::public_pem(pem).map(drop).unwrap_err();
    assert_eq!(
        refused(include_bytes!("keys/weak.pub.pem")),
        KeyError::Unknown
    );
    assert_eq!(
        refused(include_bytes!("keys/ec384.pub.pem")),
        KeyError::Unknown
    );
    assert_eq!(
        refused(b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"),
        KeyError::Unknown
    );
    assert_eq!(refused(b"no pem"), KeyError::Unknown);
    assert_eq!(refused(b"-----BEGIN PRIVATE KEY-----\n"), KeyError::Private);
}

fn attacks() -> Vec<(&'static str, String)> {
    let rsa_public = include_bytes!("keys/rsa.pub.pem");
    let header = |alg: &str| json!({"alg": alg, "typ": "JWT"});
    let part = |text: String| URL.encode(text);
    let valid = hs256(&claims());
    let (unsigned, signature) = valid.rsplit_once('.').unwrap();
    let claim = |name: &'static str, value: Value| hs256(&with(|c| c[name] = value));
    let without =
        |name: &'static str| hs256(&with(|c| _ = c.as_object_mut().unwrap().remove(name)));
    vec![
        (
            "alg none, no signature",
            format!(
                "{}.{}.",
                part(header("none").to_string()),
                part(claims().to_string())
            ),
        ),
        (
            "alg none, a signature",
            signed(&header("none"), &claims(), SECRET),
        ),
        (
            "alg NONE",
            format!(
                "{}.{}.",
                part(header("NONE").to_string()),
                part(claims().to_string())
            ),
        ),
        ("alg HS512", signed(&header("HS512"), &claims(), SECRET)),
        (
            "alg RS256, signed with the secret",
            signed(&header("RS256"), &claims(), SECRET),
        ),
        ("no alg", signed(&json!({"typ": "JWT"}), &claims(), SECRET)),
        (
            "signed with the empty secret",
            signed(&header("HS256"), &claims(), b""),
        ),
        (
            "signed with a public key",
            signed(&header("HS256"), &claims(), rsa_public),
        ),
        (
            "another secret",
            signed(&header("HS256"), &claims(), &[7; 32]),
        ),
        (
            "a key of its own in the header",
            signed(
                &json!({"alg": "HS256", "jwk": {"kty": "oct", "k": "AA"}}),
                &claims(),
                b"\0",
            ),
        ),
        ("no signature", format!("{unsigned}.")),
        ("cut signature", format!("{unsigned}.{}", &signature[..20])),
        (
            "changed claims",
            format!(
                "{}.{}.{signature}",
                part(header("HS256").to_string()),
                part(with(|c| c["sub"] = "root".into()).to_string())
            ),
        ),
        ("two parts", unsigned.to_owned()),
        ("four parts", format!("{valid}.{signature}")),
        ("five parts, as encrypted ones have", "a.b.c.d.e".to_owned()),
        ("no token", "x".to_owned()),
        (
            "expired",
            hs256(&with(|c| {
                c["iat"] = (SECONDS - 7_200).into();
                c["exp"] = (SECONDS - 60).into();
            })),
        ),
        ("lives too long", claim("exp", (SECONDS + 86_401).into())),
        ("far future", hs256(&with(|c| c["exp"] = i64::MAX.into()))),
        ("exp before iat", claim("exp", (SECONDS - 1).into())),
        (
            "extreme times",
            hs256(&with(|c| {
                c["iat"] = i64::MIN.into();
                c["exp"] = i64::MAX.into();
            })),
        ),
        (
            "from the future",
            hs256(&with(|c| {
                c["iat"] = (SECONDS + 61).into();
                c["exp"] = (SECONDS + 3_600).into();
            })),
        ),
        ("nbf in the future", claim("nbf", (SECONDS + 61).into())),
        ("no exp", without("exp")),
        ("no iat", without("iat")),
        ("no sub", without("sub")),
        ("no workspaces", without("workspaces")),
        ("exp as text", claim("exp", "1800003600".into())),
        ("exp as fraction", claim("exp", json!(1_800_003_600.5))),
        ("exp null", claim("exp", Value::Null)),
        ("sub a number", claim("sub", 7.into())),
        ("sub empty", claim("sub", "".into())),
        ("sub over-long", claim("sub", "x".repeat(256).into())),
        ("workspaces a list", claim("workspaces", json!(["w"]))),
        ("unknown role", claim("workspaces", json!({"w": "owner"}))),
        (
            "a role in capitals",
            claim("workspaces", json!({"w": "Writer"})),
        ),
        ("a role as number", claim("workspaces", json!({"w": 2}))),
        (
            "claims are no object",
            signed(&header("HS256"), &json!([1]), SECRET),
        ),
        ("over-long", claim("padding", "x".repeat(8 << 10).into())),
        (
            "deep claims",
            hs256(
                &serde_json::from_str(&format!("{}{}", "[".repeat(100), "]".repeat(100))).unwrap(),
            ),
        ),
    ]
}

#[tokio::test]
async fn no_forged_or_stale_token_gets_in() {
    let world = World::new();
    let mut good = world.device("ann");
    let seed = good.insert("d1", &[]);
    good.sync(vec![seed]).await;
    let op = good.insert("d2", &[]);
    let request = good.request(vec![op.clone()]);
    for (name, token) in attacks() {
        let forged = Client {
            token,
            ..good.clone()
        };
        let reply = forged.send(&request).await.unwrap_err();
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{name}");
        assert_eq!(reply.failure().code, "unauthorized", "{name}");
        assert_eq!(reply.headers["www-authenticate"], "Bearer", "{name}");
    }
    assert_eq!(
        accepted(&good.sync(vec![op]).await.results[0]),
        2,
        "nothing was decided before"
    );
}

/// The same at every address that asks for a token: a snapshot, a socket, a workspace to be made.
#[tokio::test]
async fn no_forged_or_stale_token_opens_another_door() {
    let world = World::new();
    let mut good = world.device("ann");
    let seed = good.insert("d1", &[]);
    good.sync(vec![seed]).await;
    let ask = |method: &str, path: &str, token: &str| {
        http::Request::builder()
            .method(method)
            .uri(format!("/v1/workspaces/{path}"))
            .header("authorization", format!("Bearer {token}"))
            .body(axum::body::Body::empty())
            .unwrap()
    };
    let doors = [
        ("GET", "w/snapshot"),
        ("GET", "w/live"),
        ("PUT", "w"),
        ("PUT", "x"),
    ];
    for (name, token) in attacks() {
        for (method, path) in doors {
            let reply = call(&world.server, ask(method, path, &token)).await;
            assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{name}: {path}");
            assert_eq!(reply.failure().code, "unauthorized", "{name}: {path}");
            assert!(!reply.failure().message.contains("ann"), "{name}: {path}");
        }
    }
    let snapshot = call(&world.server, ask("GET", "w/snapshot", &good.token)).await;
    assert_eq!(
        snapshot.status,
        StatusCode::OK,
        "a token that holds opens it"
    );
    let made = world.dir.path().join("workspace-x.sqlite");
    assert!(!made.exists(), "nothing was made");
}

#[tokio::test]
async fn the_header_must_be_one_bearer_token() {
    let world = World::new();
    let device = world.device("ann");
    let request = device.request(vec![]);
    let with_headers = |values: &[&str]| {
        let mut http = device.http(Form::Cbor, &request);
        http.headers_mut().remove("authorization");
        for value in values {
            http.headers_mut()
                .append("authorization", value.parse().unwrap());
        }
        http
    };
    let token = device.token.clone();
    let bearer = format!("Bearer {token}");
    for (values, status) in [
        (vec![], 401),
        (vec![token.as_str()], 401),
        (vec!["Bearer "], 401),
        (vec!["Basic YTpi"], 401),
        (vec![bearer.as_str(), bearer.as_str()], 401),
        (vec![bearer.as_str()], 200),
    ] {
        let reply = call(&world.server, with_headers(&values)).await;
        assert_eq!(reply.status.as_u16(), status, "{} values", values.len());
    }
    let lower = format!("bearer {token}");
    assert_eq!(
        call(&world.server, with_headers(&[&lower])).await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn a_token_stops_holding_while_the_server_runs() {
    let world = World::new();
    let device = world.device("ann");
    assert!(device.try_sync(vec![]).await.is_ok());
    world
        .clock
        .0
        .fetch_add(3_659_999, std::sync::atomic::Ordering::Relaxed);
    assert!(device.try_sync(vec![]).await.is_ok(), "within the leeway");
    world
        .clock
        .0
        .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(
        device.try_sync(vec![]).await.unwrap_err().status,
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test]
async fn a_workspace_the_token_does_not_name_answers_like_one_that_does_not_exist() {
    let world = World::with(|config| config.create_workspaces = false);
    let admin = world.device_as("root", Role::Admin);
    let put = |token: &str, name: &str| {
        http::Request::put(format!("/v1/workspaces/{name}"))
            .header("authorization", format!("Bearer {token}"))
            .body(axum::body::Body::empty())
            .unwrap()
    };
    assert_eq!(
        call(&world.server, put(&admin.token, "w")).await.status,
        StatusCode::CREATED
    );
    assert_eq!(
        call(&world.server, put(&admin.token, "w")).await.status,
        StatusCode::NO_CONTENT
    );
    let elsewhere = Client {
        token: token("eve", &[("other", Role::Admin)], NOW),
        ..world.device("eve")
    };
    let unnamed = elsewhere.try_sync(vec![]).await.unwrap_err();
    // Named by the token, and not made yet.
    let mut missing = elsewhere.http(Form::Cbor, &elsewhere.request(vec![]));
    *missing.uri_mut() = "/v1/workspaces/other/sync".parse().unwrap();
    let missing = call(&world.server, missing).await;
    assert_eq!(unnamed.status, StatusCode::NOT_FOUND);
    assert_eq!(
        (missing.status, &missing.bytes),
        (unnamed.status, &unnamed.bytes)
    );
    assert_eq!(
        call(&world.server, put(&elsewhere.token, "w")).await.status,
        StatusCode::NOT_FOUND
    );
    let writer = world.device("ann");
    assert_eq!(
        call(&world.server, put(&writer.token, "w"))
            .await
            .failure()
            .code,
        "forbidden"
    );
}

#[tokio::test]
async fn audience_and_issuer_count_where_they_are_expected() {
    let world = World::with(|config| {
        config.keys = Keys::hs256(SECRET)
            .unwrap()
            .with_audience("birds")
            .with_issuer("https://id.example");
    });
    let device = world.device("ann");
    for (aud, iss, fine) in [
        (json!("birds"), json!("https://id.example"), true),
        (json!(["fish", "birds"]), json!("https://id.example"), true),
        (json!("fish"), json!("https://id.example"), false),
        (json!([]), json!("https://id.example"), false),
        (Value::Null, json!("https://id.example"), false),
        (json!("birds"), json!("https://evil.example"), false),
        (json!("birds"), Value::Null, false),
        (json!({"a": 1}), json!("https://id.example"), false),
    ] {
        let token = hs256(&with(|c| {
            c["aud"] = aud.clone();
            c["iss"] = iss.clone();
        }));
        let asker = Client {
            token,
            ..device.clone()
        };
        assert_eq!(asker.try_sync(vec![]).await.is_ok(), fine, "{aud} {iss}");
    }
}
