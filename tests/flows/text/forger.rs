//! A network on which somebody puts other updates into answers.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use driftline::environment::BoxFuture;
use driftline::transport::{
    Body, BorrowingFuture, BuiltinTransport, HttpRequest, HttpResponse, Transport, TransportError,
};
use driftline_core::op::Update;
use driftline_core::protocol::{Form, SyncResponse, decode, encode};

use crate::support::client::body_of;

/// What is put into which answers, and how often that was done.
pub(super) struct Forger {
    pub(super) inner: BuiltinTransport,
    /// Put in place of the next update of this kind of field.
    pub(super) next: Mutex<Option<(u16, Vec<u8>)>>,
    pub(super) forged: AtomicUsize,
}

struct Whole(Option<Vec<u8>>);

impl Body for Whole {
    fn next(&mut self) -> BorrowingFuture<'_, Option<Result<Vec<u8>, TransportError>>> {
        Box::pin(std::future::ready(self.0.take().map(Ok)))
    }
}

impl Forger {
    fn forge(&self, body: Vec<u8>) -> Vec<u8> {
        let next = self.next.lock().unwrap();
        let (Some((field, bytes)), Ok(mut answer)) =
            (next.as_ref(), decode::<SyncResponse>(Form::Cbor, &body))
        else {
            return body;
        };
        let results = answer.versions.iter_mut().flat_map(|v| &mut v.documents);
        for update in results.filter_map(|result| result.texts.get_mut(*field)) {
            self.forged.fetch_add(1, Ordering::SeqCst);
            *update = Update(bytes.clone());
        }
        encode(Form::Cbor, &answer)
    }
}

/// Carries requests as they are, and answers as the forger leaves them.
pub(super) struct Network(pub(super) Arc<Forger>);

impl Transport for Network {
    fn request(&self, request: HttpRequest) -> BoxFuture<Result<HttpResponse, TransportError>> {
        let (forger, answered) = (self.0.clone(), self.0.inner.request(request));
        Box::pin(async move {
            let response = answered.await?;
            let (status, content_type) = (response.status, response.content_type.clone());
            let body = forger.forge(body_of(response).await);
            Ok(HttpResponse {
                status,
                content_type,
                content_encoding: None,
                retry_after_ms: None,
                body: Box::new(Whole(Some(body))),
            })
        })
    }
}
