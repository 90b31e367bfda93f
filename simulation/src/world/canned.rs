//! What something on the way answers in the server's place.

use crate::machine::Canned;

/// Each with the words it is counted by.
pub(super) const CANNED: &[(&str, Canned)] = &[
    ("answered 401", canned(401, "", None)),
    ("answered 403", canned(403, "", None)),
    (
        "answered 404 by a proxy",
        canned(404, "<h1>not here</h1>", None),
    ),
    ("answered 429", canned(429, "", Some(2_000))),
    ("answered 500", canned(500, "", None)),
    (
        "answered 502 by a proxy",
        canned(502, "<h1>bad gateway</h1>", None),
    ),
    ("answered 503", canned(503, "", Some(1_000))),
    (
        "answered 200 with HTML",
        canned(200, "<html>welcome, please sign in</html>", None),
    ),
    ("answered 200 with nothing", canned(200, "", None)),
];

/// What a filter on the way answers.
pub(super) const FILTERED: Canned = canned(403, "<h1>attack detected</h1>", None);

const fn canned(status: u16, body: &'static str, retry_after_ms: Option<u64>) -> Canned {
    let content_type = match body.len() {
        0 => "application/cbor",
        _ => "text/html",
    };
    Canned {
        status,
        content_type,
        body,
        retry_after_ms,
    }
}
