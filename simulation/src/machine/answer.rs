//! Answers as they come back to a device.

use std::pin::Pin;

use driftline::transport::{Body, HttpResponse, TransportError};

use super::weather::Canned;

/// What comes of sending.
pub(super) type Sent<T> = Result<T, TransportError>;

/// What a device is told whose message, or the answer to it, was lost.
pub(super) fn broken() -> TransportError {
    TransportError::Broken("the connection was lost".to_owned())
}

/// A whole answer.
pub(super) struct Answer {
    pub(super) head: http::response::Parts,
    pub(super) pieces: Vec<Vec<u8>>,
}

impl Answer {
    /// As the device gets it, its body cut after `most` bytes.
    pub(super) fn into_response(self, most: usize) -> HttpResponse {
        let header = |name: &str| {
            let value = self.head.headers.get(name)?;
            Some(value.to_str().ok()?.to_owned())
        };
        let retry_after = header("retry-after").and_then(|seconds| seconds.parse::<u64>().ok());
        HttpResponse {
            status: self.head.status.as_u16(),
            content_type: header("content-type"),
            content_encoding: header("content-encoding"),
            retry_after_ms: retry_after.map(|seconds| seconds.saturating_mul(1000)),
            body: Box::new(Pieces {
                left: self.pieces.into_iter(),
                most,
            }),
        }
    }
}

impl Canned {
    pub(super) fn response(self) -> HttpResponse {
        HttpResponse {
            status: self.status,
            content_type: Some(self.content_type.to_owned()),
            content_encoding: None,
            retry_after_ms: self.retry_after_ms,
            body: Box::new(Pieces {
                left: vec![self.body.as_bytes().to_vec()].into_iter(),
                most: usize::MAX,
            }),
        }
    }
}

/// A body that may be cut.
struct Pieces {
    left: std::vec::IntoIter<Vec<u8>>,
    most: usize,
}

impl Body for Pieces {
    fn next(&mut self) -> Pin<Box<dyn Future<Output = Option<Sent<Vec<u8>>>> + Send + '_>> {
        let next = match self.left.next() {
            Some(_) if self.most == 0 => Some(Err(broken())),
            Some(mut piece) => {
                piece.truncate(self.most);
                self.most -= piece.len();
                Some(Ok(piece))
            }
            None => None,
        };
        Box::pin(std::future::ready(next))
    }
}
