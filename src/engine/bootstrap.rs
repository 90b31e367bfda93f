//! The two long exchanges of a bootstrap: the snapshot's stream, and the fates of queued ops.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use driftline_core::protocol::{self, Form, Position, Resume, SnapshotFrame, limits};
use driftline_core::time::{Contact, Reading};

use super::driver::{Driver, Outcome};
use super::exchange::{self, Failed, not_driftline};
use super::requests::request_of;
use super::store::Head;
use crate::environment::BoxFuture;
use crate::status::SyncEvent;
use crate::storage::stage::Stage;
use crate::transport::HttpRequest;

/// The largest snapshot frame taken: one document may be larger than the usual frame.
const FRAME_MAX: usize = limits::MAX_DECOMPRESSED;

/// How far the snapshot is, read by the status while the stream runs.
#[derive(Default)]
pub(super) struct SnapshotProgress {
    documents: AtomicU64,
    expected: AtomicU64,
    bytes: AtomicU64,
}

impl SnapshotProgress {
    pub(super) fn counts(&self) -> (u64, u64) {
        (
            self.documents.load(Ordering::Relaxed),
            self.expected.load(Ordering::Relaxed),
        )
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// Streams the snapshot into the staging tables, from where an earlier try ended.
pub(super) fn receive_snapshot(driver: &Driver, stage: &Stage) -> BoxFuture<Outcome> {
    let mut url = driver.address("snapshot");
    if let (Some(pin), Some((collection, document))) = (stage.pin, &stage.last) {
        let after = Position {
            collection: *collection,
            document: document.clone(),
        };
        url = format!("{url}?{}", Resume { after, pin }.to_query());
    }
    let request = HttpRequest {
        method: "GET",
        url,
        headers: vec![
            ("authorization", driver.bearer()),
            ("accept", Form::Cbor.content_type().to_owned()),
            ("accept-encoding", "zstd".to_owned()),
        ],
        body: Vec::new(),
        idle_timeout_ms: driver.idle_timeout(),
    };
    let answer = driver.connection.transport.request(request);
    let store = driver.store.clone();
    let (progress, shared) = (driver.progress(), driver.shared.clone());
    progress.documents.store(stage.documents, Ordering::Relaxed);
    Box::pin(async move {
        let mut response = match answer.await {
            Ok(response) => response,
            Err(error) => return Outcome::Snapshot(Err(error.into())),
        };
        if response.status != 200 {
            return Outcome::Snapshot(Err(read_failure(response).await));
        }
        let mut buffer: Vec<u8> = Vec::new();
        let mut received = 0;
        while let Some(piece) = response.body.next().await {
            let piece = match piece {
                Ok(piece) => piece,
                Err(error) => return Outcome::Snapshot(Err(error.into())),
            };
            received += piece.len() as u64;
            buffer.extend_from_slice(&piece);
            let mut used = 0;
            loop {
                let (frame, took) = match protocol::split_snapshot(&buffer[used..], FRAME_MAX) {
                    Ok(None) => break,
                    Ok(Some((frame, took))) => (frame, took),
                    Err(error) => return Outcome::Snapshot(Err(not_driftline(error.to_string()))),
                };
                let plain = protocol::inflate(frame, FRAME_MAX);
                let decoded = plain.and_then(|plain| protocol::decode(Form::Cbor, &plain));
                let frame: SnapshotFrame = match decoded {
                    Ok(frame) => frame,
                    Err(error) => return Outcome::Snapshot(Err(not_driftline(error.to_string()))),
                };
                used += took;
                match frame {
                    SnapshotFrame::Begin { cursor, documents } => {
                        progress.expected.store(
                            documents.max(progress.documents.load(Ordering::Relaxed)),
                            Ordering::Relaxed,
                        );
                        if let Err(error) = store.pin(cursor) {
                            return Outcome::Unpaged(error);
                        }
                    }
                    SnapshotFrame::Documents { documents } => {
                        let count = documents.len() as u64;
                        if let Err(error) = store.stage_documents(&documents) {
                            return Outcome::Unpaged(error);
                        }
                        let so_far = progress.documents.fetch_add(count, Ordering::Relaxed) + count;
                        shared.emit(SyncEvent::Progress {
                            documents: so_far,
                            expected: progress.expected.load(Ordering::Relaxed),
                        });
                    }
                    SnapshotFrame::End => {
                        return match store.documents_complete() {
                            Ok(()) => Outcome::Snapshot(Ok(received)),
                            Err(error) => Outcome::Unpaged(error),
                        };
                    }
                }
            }
            buffer.drain(..used);
        }
        Outcome::Snapshot(Err(Failed {
            status: 0,
            code: String::new(),
            retry_after: None,
            detail: "the snapshot was cut".into(),
        }))
    })
}

async fn read_failure(mut response: crate::transport::HttpResponse) -> Failed {
    let mut body = Vec::new();
    while let Some(Ok(piece)) = response.body.next().await {
        body.extend_from_slice(&piece);
        if body.len() > 64 << 10 {
            break;
        }
    }
    exchange::failure_of(
        response.status,
        response.content_type.as_deref(),
        response.retry_after_ms,
        &body,
    )
}

/// Asks what became of the ops that the snapshot may contain, [`limits::MAX_OPS`] at a time.
///
/// A verdict is final, so answers collected one after the other hold for the staged cursor.
pub(super) fn ask_fates(driver: &Driver, head: Head, contact: Reading) -> BoxFuture<Outcome> {
    let (url, token) = (driver.address("sync"), driver.token().to_owned());
    let idle = driver.idle_timeout();
    let transport = Arc::clone(&driver.connection.transport);
    let store = driver.store.clone();
    Box::pin(async move {
        let (mut all, mut received) = (Vec::new(), 0);
        loop {
            let ids = match store.unanswered(limits::MAX_OPS) {
                Ok(ids) if ids.is_empty() => return Outcome::Fates(Ok((all, received))),
                Ok(ids) => ids,
                Err(error) => return Outcome::Stored(error),
            };
            let mut request = request_of(
                &head,
                contact,
                ids.iter().map(|id| exchange::named(*id)).collect(),
            );
            request.page_bytes = 1;
            let answer = match transport
                .request(exchange::http(&url, &token, &request, idle))
                .await
            {
                Ok(response) => exchange::read(response).await,
                Err(error) => Err(error.into()),
            };
            let (response, bytes) = match answer {
                Ok(answer) => answer,
                Err(failed) => return Outcome::Fates(Err(failed)),
            };
            received += bytes;
            let contact = Contact {
                device: contact,
                server: response.server_time,
            };
            match store.take_fates(head.cursor, &response, contact) {
                Ok(applied) => all.push(applied),
                Err(error) => return Outcome::Unpaged(error),
            }
            // A server that answers for none of them would keep us here for ever.
            if store
                .unanswered(1)
                .is_ok_and(|left| left.first() == ids.first())
            {
                return Outcome::Fates(Err(not_driftline("no answer for the ids asked about")));
            }
        }
    })
}
