//! `POST /v1/workspaces/{workspace}/sync`, and the same requests when they come over a socket.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use driftline_core::protocol::{
    Encoded, Form, SyncResponse, compress, encode, encode_cbor, limits,
};
use http::{HeaderValue, header};

use super::{Access, Shared, access, body, error};
use crate::problem::Problem;
use crate::workspace::{Answer, Asked, Listener, NOBODY, Parted};

/// Bodies and answers above this are worked on where blocking is allowed.
pub(super) const LONG: usize = 64 << 10;

pub(super) async fn sync(
    State(shared): State<Arc<Shared>>,
    path: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    let form = body::answer_form(request.headers());
    let started = shared.environment.clock.monotonic();
    let outcome = match path {
        Ok(Path(workspace)) => respond(&shared, &workspace, request, form).await,
        Err(_) => Err(Problem::NotFound),
    };
    let response = outcome.unwrap_or_else(|problem| error::response(&problem, form));
    let millis = shared.environment.clock.monotonic() - started;
    tracing::info!(status = response.status().as_u16(), millis, "sync");
    response
}

async fn respond(
    shared: &Arc<Shared>,
    workspace: &str,
    request: Request,
    form: Form,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let access = access(shared, &parts.headers, workspace)?;
    let received = body::receive(shared, &parts.headers, body).await?;
    let depth = shared.limits.max_depth;
    let request = offload_if(shared, received.bytes.len() > LONG, move || {
        body::request(received.form, received.bytes, depth)
    });
    let listener = listener_of(parts.uri.query());
    let answer = handle(shared, &access, request.await?, listener).await?;
    let zstd = body::accepts_zstd(&parts.headers);
    let long = answer.versions.iter().map(|v| v.0.len()).sum::<usize>() > LONG;
    offload_if(shared, long, move || respond_with(answer, form, zstd)).await
}

/// The live socket that a device says it listens on (`listener=…`).
pub(super) fn listener_of(query: Option<&str>) -> Listener {
    let mut pairs = query.unwrap_or_default().split('&');
    let named = pairs.find_map(|pair| pair.strip_prefix("listener="));
    named
        .and_then(|number| number.parse().ok())
        .unwrap_or(NOBODY)
}

pub(super) async fn offload_if<T: Send + 'static>(
    shared: &Shared,
    long: bool,
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    match long {
        true => shared
            .environment
            .offload(work)
            .await
            .unwrap_or(Err(Problem::Internal)),
        false => work(),
    }
}

/// Checks a request of an account and has it answered.
pub(super) async fn handle(
    shared: &Arc<Shared>,
    access: &Access,
    asking: Parted,
    listener: Listener,
) -> Result<Answer, Problem> {
    check(shared, access, &asking)?;
    let Parted { request, ops } = asking;
    // Taken when the body is there: who sends slowly waits in nobody's way.
    let _turn = shared.requests.try_acquire().map_err(|_| Problem::Busy)?;
    let workspace = shared.registry.workspace(&access.workspace).await?;
    let count = ops.len();
    let asked = Asked {
        account: access.account.clone(),
        role: access.role,
        request,
        ops,
        listener,
    };
    let answer = workspace.sync(asked).await?;
    tracing::debug!(
        ops = count,
        versions = answer.versions.len(),
        losses = answer.losses.len(),
        "answered"
    );
    Ok(answer)
}

fn check(shared: &Shared, access: &Access, asking: &Parted) -> Result<(), Problem> {
    let request = &asking.request;
    request
        .check_with(asking.ops.len())
        .map_err(|(status, failure)| Problem::Broken(status, failure))?;
    if !request.account.is_empty() && request.account != access.account {
        return Err(Problem::WrongAccount);
    }
    let device = &request.device;
    shared.rate_of(&access.account, &device.id)
}

/// An answer's bytes in a form.
pub(super) fn answer_bytes(answer: Answer, form: Form) -> Result<Vec<u8>, Problem> {
    match form {
        Form::Cbor => Ok(encode_cbor(&answer)),
        Form::Json => Ok(encode(form, &decoded(answer)?)),
    }
}

/// The answer with its versions as values, for the JSON form.
pub(super) fn decoded(answer: Answer) -> Result<SyncResponse, Problem> {
    let versions = answer
        .versions
        .iter()
        .map(Encoded::read)
        .collect::<Result<_, _>>()
        .map_err(|_| {
            tracing::error!("a version in the log does not read back");
            Problem::Internal
        })?;
    Ok(SyncResponse {
        versions,
        results: answer.results,
        losses: answer.losses,
        cursor: answer.cursor,
        has_more: answer.has_more,
        server_time: answer.server_time,
        account: answer.account,
        take_snapshot: answer.take_snapshot,
        quota: answer.quota,
        tag: answer.tag,
    })
}

fn respond_with(answer: Answer, form: Form, zstd: bool) -> Result<Response, Problem> {
    let bytes = answer_bytes(answer, form)?;
    let compressed = zstd && bytes.len() > limits::COMPRESS_ABOVE;
    let bytes = if compressed { compress(&bytes) } else { bytes };
    let mut response = Response::new(Body::from(bytes));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(form.content_type()),
    );
    // Answers are one account's own.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if compressed {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("zstd"));
    }
    Ok(response)
}
