//! Tokens: only ones that were signed are taken, and of signed ones only what holds is.

use std::sync::OnceLock;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use driftline_server::auth::mint::{self, Minted};
use driftline_server::auth::{Keys, Role};
use jsonwebtoken::{Algorithm, EncodingKey, crypto};

const SECRET: &[u8] = b"a secret of the fuzzers, 32 bytes or more";
/// A moment within the lives of the corpus's tokens.
const NOW: i64 = 1_800_000_000;
/// What the server allows: a day.
const LIFETIME: i64 = 24 * 3600;

fn keys() -> &'static Keys {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    KEYS.get_or_init(|| Keys::hs256(SECRET).unwrap().with_max_lifetime(LIFETIME))
}

/// A token that holds, whoever made it.
pub fn good() -> String {
    let minted = Minted {
        account: "ada".to_owned(),
        workspaces: [("garden".to_owned(), Role::Writer)].into(),
        issued: NOW - 60,
        lifetime: 3600,
        audience: None,
        issuer: None,
    };
    mint::hs256(SECRET, &minted).unwrap()
}

/// Bytes with a line break in them are a header and claims to be signed; others are a token.
pub(crate) fn run(data: &[u8]) -> bool {
    match data.iter().position(|byte| *byte == b'\n') {
        Some(at) => signed(&data[..at], &data[at + 1..]),
        None => std::str::from_utf8(data).is_ok_and(unsigned),
    }
}

fn unsigned(token: &str) -> bool {
    let taken = keys().verify(token, NOW * 1_000).is_ok();
    // Nobody else has the secret.
    assert!(!taken || token == good(), "a token nobody signed was taken");
    taken
}

fn signed(header: &[u8], claims: &[u8]) -> bool {
    let body = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header),
        URL_SAFE_NO_PAD.encode(claims)
    );
    let key = EncodingKey::from_secret(SECRET);
    let signature = crypto::sign(body.as_bytes(), &key, Algorithm::HS256).unwrap();
    let Ok(verified) = keys().verify(&format!("{body}.{signature}"), NOW * 1_000) else {
        return false;
    };
    let header: serde_json::Value = serde_json::from_slice(header).unwrap();
    assert_eq!(header["alg"], "HS256", "another algorithm was taken");
    assert!(!verified.account.is_empty() && verified.account.len() <= 255);
    let most = (NOW + LIFETIME + 600) * 1_000;
    assert!(
        (NOW * 1_000..most).contains(&verified.until),
        "{}",
        verified.until
    );
    true
}
