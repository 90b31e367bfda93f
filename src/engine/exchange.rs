//! One request and its answer, as bytes.

use driftline_core::id::OpId;
use driftline_core::protocol::{
    self, Encoded, Failure, Form, SentOp, SyncRequest, SyncResponse, When, limits,
};
use driftline_core::time::Reading;

use crate::storage::outbox::Queued;
use crate::transport::{HttpRequest, HttpResponse, TransportError};

/// How an exchange failed, in the terms of the protocol's table.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Failed {
    pub status: u16,
    pub code: String,
    pub retry_after: Option<u64>,
    pub detail: String,
}

impl Failed {
    /// Nothing came.
    pub(super) fn no_answer(detail: impl Into<String>) -> Failed {
        Failed {
            status: 0,
            code: String::new(),
            retry_after: None,
            detail: detail.into(),
        }
    }
}

impl From<TransportError> for Failed {
    fn from(error: TransportError) -> Failed {
        match &error {
            TransportError::Refused {
                status,
                content_type,
                retry_after_ms,
                body,
            } => failure_of(*status, content_type.as_deref(), *retry_after_ms, body),
            _ => Failed {
                status: 0,
                code: String::new(),
                retry_after: None,
                detail: error.to_string(),
            },
        }
    }
}

/// An answer that says it is a page but is none: a proxy, a captive portal, a damaged body.
pub(super) fn not_driftline(detail: impl Into<String>) -> Failed {
    Failed {
        status: 200,
        code: String::new(),
        retry_after: None,
        detail: detail.into(),
    }
}

pub(super) fn failure_of(
    status: u16,
    content_type: Option<&str>,
    retry_after: Option<u64>,
    body: &[u8],
) -> Failed {
    let form = content_type.and_then(Form::of);
    let failure: Option<Failure> = form.and_then(|form| protocol::decode(form, body).ok());
    match failure {
        Some(failure) => Failed {
            status,
            retry_after: failure.retry_after.or(retry_after),
            detail: failure.message,
            code: failure.code,
        },
        None => Failed {
            status,
            code: String::new(),
            retry_after,
            detail: format!("status {status}"),
        },
    }
}

/// The entries of `ops[]`: known-accepted ones by id alone, the others spliced around their stored
/// bytes.
pub(super) fn entries(
    batch: &[Queued],
    accepted: &std::collections::HashSet<OpId>,
    now: Reading,
) -> Vec<Encoded> {
    batch
        .iter()
        .map(|op| match accepted.contains(&op.id) {
            true => named(op.id),
            false => Encoded(SentOp::encode_around(
                op.id,
                When::of(op.written, now),
                &op.body,
            )),
        })
        .collect()
}

pub(super) fn named(id: OpId) -> Encoded {
    Encoded(protocol::encode_cbor(&SentOp::Named(id)))
}

pub(super) fn http(
    url: &str,
    token: &str,
    request: &SyncRequest<Encoded>,
    idle_timeout_ms: u64,
) -> HttpRequest {
    let plain = protocol::encode_cbor(request);
    let mut headers = vec![
        ("authorization", format!("Bearer {token}")),
        ("content-type", Form::Cbor.content_type().to_owned()),
        ("accept", Form::Cbor.content_type().to_owned()),
        ("accept-encoding", "zstd".to_owned()),
    ];
    let body = if plain.len() > limits::COMPRESS_ABOVE {
        headers.push(("content-encoding", "zstd".to_owned()));
        protocol::compress(&plain)
    } else {
        plain
    };
    HttpRequest {
        method: "POST",
        url: url.to_owned(),
        headers,
        body,
        idle_timeout_ms,
    }
}

/// Reads an answer to its end. Returns it with the number of bytes received.
pub(super) async fn read(mut response: HttpResponse) -> Result<(Box<SyncResponse>, u64), Failed> {
    let mut body = Vec::new();
    while let Some(piece) = response.body.next().await {
        let piece = piece?;
        if body.len() + piece.len() > limits::MAX_DECOMPRESSED {
            return Err(not_driftline("the answer is larger than any page"));
        }
        body.extend_from_slice(&piece);
    }
    let received = body.len() as u64;
    let status = response.status;
    let content_type = response.content_type.as_deref();
    if !(200..300).contains(&status) {
        return Err(failure_of(
            status,
            content_type,
            response.retry_after_ms,
            &body,
        ));
    }
    if content_type.and_then(Form::of) != Some(Form::Cbor) {
        return Err(not_driftline(format!(
            "expected application/cbor, got {}",
            content_type.unwrap_or("no content type")
        )));
    }
    let plain = match response.content_encoding.as_deref() {
        None | Some("identity" | "") => body,
        Some("zstd") => protocol::decompress(&body, limits::MAX_DECOMPRESSED)
            .map_err(|e| not_driftline(e.to_string()))?,
        Some(other) => return Err(not_driftline(format!("unknown content encoding {other}"))),
    };
    let page = protocol::decode(Form::Cbor, &plain).map_err(|e| not_driftline(e.to_string()))?;
    Ok((Box::new(page), received))
}
