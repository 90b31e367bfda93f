//! One request and its answer.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, RETRY_AFTER};
use http::{Extensions, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::{CaptureConnection, capture_connection};
use tokio::time::Instant;

use super::activity::{Activity, silence};
use super::{HttpClient, errors};
use crate::transport::{Body, BorrowingFuture, HttpResponse, TransportError};

/// Sends a request and waits for the head of its answer.
pub(super) async fn head(
    client: &HttpClient,
    mut request: Request<Full<Bytes>>,
    idle: Duration,
) -> Result<Response<Incoming>, TransportError> {
    let connection = capture_connection(&mut request);
    tokio::select! {
        biased;
        answer = client.request(request) => answer.map_err(errors::before_answer),
        () = silence(|| last_movement(&connection), idle) => Err(TransportError::TimedOut),
    }
}

/// When bytes last moved, once there is a connection.
fn last_movement(connection: &CaptureConnection) -> Option<Instant> {
    let mut notes = Extensions::new();
    connection
        .connection_metadata()
        .as_ref()?
        .get_extras(&mut notes);
    notes.get::<Arc<Activity>>().map(|activity| activity.last())
}

/// The answer in the words of the trait.
pub(super) fn response(answer: Response<Incoming>, idle: Duration) -> HttpResponse {
    HttpResponse {
        status: answer.status().as_u16(),
        content_type: text(answer.headers(), CONTENT_TYPE),
        content_encoding: text(answer.headers(), CONTENT_ENCODING),
        retry_after_ms: retry_after_ms(answer.headers()),
        body: Box::new(ArrivingBody::new(answer.into_body(), idle)),
    }
}

/// A header's text.
pub(super) fn text(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}

/// `Retry-After`, if it is a number of seconds.
pub(super) fn retry_after_ms(headers: &HeaderMap) -> Option<u64> {
    let seconds: u64 = headers
        .get(RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()?;
    Some(seconds.saturating_mul(1000))
}

/// The body of an answer.
pub(super) struct ArrivingBody {
    incoming: Incoming,
    idle: Duration,
    waited: Duration,
}

impl ArrivingBody {
    pub(super) fn new(incoming: Incoming, idle: Duration) -> ArrivingBody {
        ArrivingBody {
            incoming,
            idle,
            waited: Duration::ZERO,
        }
    }

    async fn piece(&mut self) -> Option<Result<Vec<u8>, TransportError>> {
        loop {
            let left = self.idle.saturating_sub(self.waited);
            let waiting = Waiting {
                since: Instant::now(),
                waited: &mut self.waited,
            };
            let frame = tokio::select! {
                biased;
                frame = self.incoming.frame() => frame,
                () = silence(|| None, left) => return Some(Err(TransportError::TimedOut)),
            };
            drop(waiting);
            self.waited = Duration::ZERO;
            match frame? {
                Err(error) => return Some(Err(errors::under_way(error))),
                Ok(frame) => match frame.into_data() {
                    Ok(data) if !data.is_empty() => return Some(Ok(Vec::from(data))),
                    // Trailers and empty pieces are not for the caller.
                    _ => {}
                },
            }
        }
    }
}

/// Adds up the time spent waiting for one piece over dropped and repeated waits, and leaves out
/// the time in between, when the caller was busy and nobody could have read.
struct Waiting<'a> {
    since: Instant,
    waited: &'a mut Duration,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        *self.waited += self.since.elapsed();
    }
}

impl Body for ArrivingBody {
    fn next(&mut self) -> BorrowingFuture<'_, Option<Result<Vec<u8>, TransportError>>> {
        Box::pin(self.piece())
    }
}
