//! From the errors of hyper, rustls and tungstenite to the transport's.

use std::error::Error;
use std::io;

use hyper_util::client::legacy;
use tokio_tungstenite::tungstenite;

use crate::transport::TransportError;

/// A request failed before the head of its answer was there.
pub(super) fn before_answer(error: legacy::Error) -> TransportError {
    match chain(&error).find_map(|cause| cause.downcast_ref::<rustls::Error>()) {
        Some(tls) => TransportError::Tls(tls.to_string()),
        None if error.is_connect() => TransportError::Unreachable(innermost(&error)),
        None => TransportError::Broken(innermost(&error)),
    }
}

/// The connection failed with the answer, or the upgrade, under way.
pub(super) fn under_way(error: hyper::Error) -> TransportError {
    TransportError::Broken(innermost(&error))
}

/// A socket failed.
pub(super) fn on_socket(error: tungstenite::Error) -> TransportError {
    TransportError::Broken(innermost(&error))
}

/// The error and its causes, those that an `io::Error` wraps included: `source` skips them.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| {
        match error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
        {
            Some(wrapped) => Some(wrapped as &(dyn Error + 'static)),
            None => error.source(),
        }
    })
}

/// The cause behind all others says what happened; those before it only where.
fn innermost(error: &(dyn Error + 'static)) -> String {
    chain(error)
        .last()
        .map(ToString::to_string)
        .unwrap_or_default()
}
