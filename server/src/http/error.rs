//! The one table from problems to statuses and bodies.

use axum::body::Body;
use axum::response::Response;
use driftline_core::protocol::failure::code;
use driftline_core::protocol::{Failure, Form, PROTOCOL, encode};
use http::{HeaderValue, StatusCode, header};

use crate::problem::Problem;

/// How long a device waits after `busy`.
const BUSY_MILLIS: u64 = 1_000;

/// A problem as the wire has it.
pub(super) fn failure(problem: &Problem) -> (StatusCode, Failure) {
    let (status, code, message, retry_after) = match problem {
        Problem::Unauthorized(why) => (
            StatusCode::UNAUTHORIZED,
            code::UNAUTHORIZED,
            (*why).to_owned(),
            None,
        ),
        Problem::WrongAccount => (
            StatusCode::FORBIDDEN,
            code::WRONG_ACCOUNT,
            "the token is of another account than the file".to_owned(),
            None,
        ),
        Problem::Forbidden(why) => (
            StatusCode::FORBIDDEN,
            code::FORBIDDEN,
            (*why).to_owned(),
            None,
        ),
        Problem::NotFound => (
            StatusCode::NOT_FOUND,
            code::NOT_FOUND,
            "no such workspace for this token".to_owned(),
            None,
        ),
        // Not the workspace's answer: whoever asked is at the wrong door.
        Problem::NoAddress => (
            StatusCode::NOT_FOUND,
            code::NO_ADDRESS,
            "nothing is served at this address".to_owned(),
            None,
        ),
        Problem::WrongMethod => (
            StatusCode::METHOD_NOT_ALLOWED,
            code::MALFORMED,
            "the address does not take this method".to_owned(),
            None,
        ),
        Problem::HistoryChanged => (
            StatusCode::CONFLICT,
            code::HISTORY_CHANGED,
            "the cursor belongs to another history".to_owned(),
            None,
        ),
        Problem::TooLarge(what) => (
            StatusCode::PAYLOAD_TOO_LARGE,
            code::TOO_LARGE,
            what.clone(),
            None,
        ),
        Problem::Unsupported(what) => (
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            code::UNSUPPORTED,
            (*what).to_owned(),
            None,
        ),
        Problem::Malformed(what) => (StatusCode::BAD_REQUEST, code::MALFORMED, what.clone(), None),
        Problem::Broken(status, failure) => {
            return (
                StatusCode::from_u16(*status).unwrap_or(StatusCode::UNPROCESSABLE_ENTITY),
                failure.clone(),
            );
        }
        Problem::OtherProtocol => {
            let message = format!("this server speaks protocol {PROTOCOL}");
            (
                StatusCode::UPGRADE_REQUIRED,
                code::UPGRADE_REQUIRED,
                message,
                None,
            )
        }
        Problem::TimedOut => (
            StatusCode::REQUEST_TIMEOUT,
            code::BUSY,
            "the body did not arrive in time".to_owned(),
            None,
        ),
        Problem::RateLimited(wait) => (
            StatusCode::TOO_MANY_REQUESTS,
            code::RATE_LIMITED,
            "too many requests from this device".to_owned(),
            Some(*wait),
        ),
        Problem::Busy => (
            StatusCode::SERVICE_UNAVAILABLE,
            code::BUSY,
            "the server cannot answer now".to_owned(),
            Some(BUSY_MILLIS),
        ),
        Problem::Internal => (
            StatusCode::INTERNAL_SERVER_ERROR,
            code::INTERNAL,
            "the server failed".to_owned(),
            None,
        ),
    };
    (
        status,
        Failure {
            code: code.to_owned(),
            message,
            retry_after,
        },
    )
}

/// The answer to a failed request.
pub(super) fn response(problem: &Problem, form: Form) -> Response {
    let (status, failure) = failure(problem);
    tracing::debug!(status = status.as_u16(), code = failure.code, "refused");
    let mut response = Response::new(Body::from(encode(form, &failure)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(form.content_type()),
    );
    if let Some(millis) = failure.retry_after {
        headers.insert(
            header::RETRY_AFTER,
            HeaderValue::from(millis.div_ceil(1_000)),
        );
    }
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if matches!(problem, Problem::TimedOut) {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
