//! The two long exchanges of a bootstrap: the snapshot's stream, and the fates of queued ops.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use driftline_core::protocol::{Position, Resume, SnapshotFrame, limits};
use driftline_core::time::{Contact, Reading};

use super::driver::{Driver, Outcome};
use super::exchange::{self, Failed, not_driftline};
use super::requests::request_of;
use super::shared::Shared;
use super::store::{Head, Store};
use crate::environment::BoxFuture;
use crate::provider::{Message, ProviderError, ProviderRequest};
use crate::status::SyncEvent;
use crate::storage::apply::PageError;
use crate::storage::stage::Stage;

/// How far the snapshot is, read by the status while the stream runs.
#[derive(Default)]
pub(super) struct SnapshotProgress {
    documents: AtomicU64,
    expected: AtomicU64,
    bytes: AtomicU64,
    moved: AtomicBool,
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

    /// Whether a piece was stored since this was asked last.
    pub(super) fn has_moved(&self) -> bool {
        self.moved.swap(false, Ordering::Relaxed)
    }
}

/// Streams the snapshot into the staging tables, from where an earlier try ended.
pub(super) fn receive_snapshot(driver: &Driver, stage: &Stage) -> BoxFuture<Outcome> {
    let mut request = driver.carried(Message::default());
    if let (Some(pin), Some((collection, document))) = (stage.pin, &stage.last) {
        let after = Position {
            collection: *collection,
            document: document.clone(),
        };
        request.resume = Some(Resume { after, pin }.to_query());
    }
    let answer = driver.connection.provider.snapshot(request);
    let staging = Staging {
        store: driver.store.clone(),
        progress: driver.progress(),
        shared: driver.shared.clone(),
    };
    staging
        .progress
        .documents
        .store(stage.documents, Ordering::Relaxed);
    let codec = driver.codec.clone();
    Box::pin(async move {
        let mut body = match answer.await {
            Ok(body) => body,
            Err(ProviderError::NotOffered) => return Outcome::NoSnapshot,
            Err(error) => return Outcome::Snapshot(Err(error.into())),
        };
        let mut buffer: Vec<u8> = Vec::new();
        while let Some(piece) = body.next().await {
            let piece = match piece {
                Ok(piece) => piece,
                Err(error) => return Outcome::Snapshot(Err(error.into())),
            };
            let arrived = &staging.progress.bytes;
            arrived.fetch_add(piece.len() as u64, Ordering::Relaxed);
            buffer.extend_from_slice(&piece);
            let mut used = 0;
            while let Some(rest) = buffer.get(used..) {
                let (frame, raw, took) = match codec.snapshot_frame(rest) {
                    Ok(None) => break,
                    Ok(Some(next)) => next,
                    Err(error) => return Outcome::Snapshot(Err(not_driftline(error.to_string()))),
                };
                used += took;
                match staging.take(frame, raw) {
                    Ok(false) => {}
                    Ok(true) => return Outcome::Snapshot(Ok(())),
                    Err(error) => return Outcome::Unpaged(error),
                }
            }
            buffer.drain(..used);
        }
        Outcome::Snapshot(Err(Failed::no_answer("the snapshot was cut")))
    })
}

/// Where a snapshot's frames go.
struct Staging {
    store: Store,
    progress: Arc<SnapshotProgress>,
    shared: Arc<Shared>,
}

impl Staging {
    /// Stores a frame, which came as `raw`. Whether it was the last.
    fn take(&self, frame: SnapshotFrame, raw: Option<&[u8]>) -> Result<bool, PageError> {
        let progress = &self.progress;
        match frame {
            SnapshotFrame::Begin { cursor, documents } => {
                let expected = documents.max(progress.documents.load(Ordering::Relaxed));
                progress.expected.store(expected, Ordering::Relaxed);
                self.store.pin(cursor)?;
                progress.moved.store(true, Ordering::Relaxed);
            }
            SnapshotFrame::Documents { documents } => {
                let count = documents.len() as u64;
                self.store.stage_documents(documents, raw)?;
                let so_far = progress.documents.fetch_add(count, Ordering::Relaxed) + count;
                progress.moved.store(true, Ordering::Relaxed);
                self.shared.emit(SyncEvent::Progress {
                    documents: so_far,
                    expected: progress.expected.load(Ordering::Relaxed),
                });
            }
            SnapshotFrame::End => {
                self.store.documents_complete()?;
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Asks what became of the ops that the snapshot may contain, [`limits::MAX_OPS`] at a time.
///
/// A verdict is final, so answers collected one after the other hold for the staged cursor.
pub(super) fn ask_fates(driver: &Driver, head: Head, contact: Reading) -> BoxFuture<Outcome> {
    let carried = driver.carried(Message::default());
    let provider = driver.connection.provider.clone();
    let (store, codec) = (driver.store.clone(), driver.codec.clone());
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
            let carried = match codec.request(request) {
                Ok(message) => ProviderRequest {
                    message,
                    ..carried.clone()
                },
                Err(error) => return Outcome::Stored(error),
            };
            let answer = match provider.push(carried).await {
                Ok(message) => codec.answer(&message),
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
