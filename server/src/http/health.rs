//! What load balancers and devices ask before anything else.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use driftline_core::protocol::{Announcement, PROTOCOL, encode};
use http::{HeaderMap, HeaderValue, header};

use super::{Shared, body, error};
use crate::problem::Problem;

/// The process runs.
pub(super) async fn alive() -> &'static str {
    "ok\n"
}

/// The store can be written to, and the server is not about to stop.
pub(super) async fn ready(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
) -> Result<&'static str, Response> {
    let refuse = |problem| error::response(&problem, body::answer_form(&headers));
    if *shared.stopping.borrow() {
        return Err(refuse(Problem::Busy));
    }
    let store = Arc::clone(shared.registry.store());
    match shared
        .environment
        .offload(move || store.check_writable())
        .await
    {
        Some(Ok(())) => Ok("ok\n"),
        Some(Err(error)) => Err(refuse(Problem::from(error))),
        None => Err(refuse(Problem::Busy)),
    }
}

/// The protocols and the schema served here.
pub(super) async fn version(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    let form = body::answer_form(&headers);
    let announcement = Announcement {
        protocols: vec![PROTOCOL],
        server: env!("CARGO_PKG_VERSION").to_owned(),
        schema: shared.schema.name.clone(),
        schema_version: shared.schema.version,
        schema_fingerprint: shared.schema.fingerprint(),
    };
    let mut response = Response::new(Body::from(encode(form, &announcement)));
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(form.content_type()),
    );
    response
}
