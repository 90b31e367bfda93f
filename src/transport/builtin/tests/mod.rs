//! The transport against servers that follow a script, over real sockets and real TLS.

mod http;
mod runtimes;
mod server;
mod socket;
mod tls;

use super::{BuiltinTransport, TlsRoots};
use crate::transport::{Body, HttpRequest, HttpResponse, Transport, TransportError};

/// Far longer than anything here takes: what runs into it is stuck.
const PATIENT_MS: u64 = 20_000;

fn plain() -> BuiltinTransport {
    BuiltinTransport::new(&TlsRoots::WebPki).unwrap()
}

fn post(url: impl Into<String>, body: impl Into<Vec<u8>>) -> HttpRequest {
    HttpRequest {
        method: "POST",
        url: url.into(),
        headers: vec![("authorization".to_owned(), "Bearer abc".to_owned())],
        body: body.into(),
        idle_timeout_ms: PATIENT_MS,
    }
}

fn with_idle(idle_timeout_ms: u64, request: HttpRequest) -> HttpRequest {
    HttpRequest {
        idle_timeout_ms,
        ..request
    }
}

async fn rest(body: &mut dyn Body) -> Result<Vec<u8>, TransportError> {
    let mut all = Vec::new();
    while let Some(piece) = body.next().await {
        all.extend_from_slice(&piece?);
    }
    Ok(all)
}

/// Sends and reads the whole answer.
async fn answered(
    transport: &BuiltinTransport,
    request: HttpRequest,
) -> Result<(HttpResponse, Vec<u8>), TransportError> {
    let mut response = transport.request(request).await?;
    let body = rest(response.body.as_mut()).await?;
    Ok((response, body))
}

/// What the server's side saw; a script that failed must not hold the test up for ever.
async fn told<T>(by: &mut tokio::sync::mpsc::UnboundedReceiver<T>) -> T {
    let patience = std::time::Duration::from_millis(PATIENT_MS);
    tokio::time::timeout(patience, by.recv())
        .await
        .unwrap()
        .unwrap()
}

/// The error of a call whose success cannot be printed.
fn refused<T>(result: Result<T, TransportError>) -> TransportError {
    match result {
        Ok(_) => panic!("it succeeded"),
        Err(error) => error,
    }
}
