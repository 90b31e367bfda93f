//! For hosts whose network works by callbacks: an answer that a callback completes, and a body that
//! callbacks feed. Both carry cancellation the other way.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::{mpsc, oneshot};

use super::{Body, BorrowingFuture, TransportError};
use crate::environment::BoxFuture;

/// Pieces of a body that wait to be read; behind them the host's callback is held up, so that a
/// snapshot is never in memory as a whole.
const PIECES_AHEAD: usize = 8;

type Cancel = Box<dyn FnOnce() + Send>;

/// The host's end of an answer. Dropping it without completing it fails the call.
#[derive(Debug)]
pub struct Completion<T>(oneshot::Sender<Result<T, TransportError>>);

impl<T> Completion<T> {
    /// Completes the call. Nobody may be waiting any more; that is no fault.
    pub fn complete(self, result: Result<T, TransportError>) {
        drop(self.0.send(result));
    }
}

/// An answer that a callback completes. `cancel` runs if the engine gives up before.
pub fn completion<T: Send + 'static>(
    cancel: impl FnOnce() + Send + 'static,
) -> (Completion<T>, BoxFuture<Result<T, TransportError>>) {
    let (sender, receiver) = oneshot::channel();
    let waiting = Waiting {
        receiver,
        cancel: Some(Box::new(cancel)),
    };
    (Completion(sender), Box::pin(waiting))
}

struct Waiting<T> {
    receiver: oneshot::Receiver<Result<T, TransportError>>,
    cancel: Option<Cancel>,
}

impl<T> Future for Waiting<T> {
    type Output = Result<T, TransportError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.receiver).poll(cx).map(|completed| {
            self.cancel = None;
            completed.unwrap_or_else(|_| Err(forgotten()))
        })
    }
}

impl<T> Drop for Waiting<T> {
    fn drop(&mut self) {
        if let Some(cancel) = self.cancel.take() {
            cancel();
        }
    }
}

/// The host's end of a body. Dropping it without [`BodyFeed::finish`] breaks the body off.
#[derive(Debug)]
pub struct BodyFeed(mpsc::Sender<Option<Result<Vec<u8>, TransportError>>>);

impl BodyFeed {
    /// Hands over the next piece, and waits while the reader is behind. `false`: nobody reads any
    /// more. Not to be called from within an async runtime, which it would block.
    pub fn push(&self, piece: Vec<u8>) -> bool {
        self.0.blocking_send(Some(Ok(piece))).is_ok()
    }

    /// The body is complete.
    pub fn finish(self) {
        drop(self.0.blocking_send(None));
    }

    /// The body broke off.
    pub fn fail(self, error: TransportError) {
        drop(self.0.blocking_send(Some(Err(error))));
    }
}

/// A body that callbacks feed. `cancel` runs if the engine gives up before its end.
pub fn body(cancel: impl FnOnce() + Send + 'static) -> (BodyFeed, Box<dyn Body>) {
    let (sender, receiver) = mpsc::channel(PIECES_AHEAD);
    let fed = Fed {
        receiver,
        cancel: Some(Box::new(cancel)),
    };
    (BodyFeed(sender), Box::new(fed))
}

struct Fed {
    receiver: mpsc::Receiver<Option<Result<Vec<u8>, TransportError>>>,
    cancel: Option<Cancel>,
}

impl Fed {
    async fn piece(&mut self) -> Option<Result<Vec<u8>, TransportError>> {
        // Over already, for good or bad.
        self.cancel.as_ref()?;
        let piece = self
            .receiver
            .recv()
            .await
            .unwrap_or_else(|| Some(Err(forgotten())));
        if !matches!(piece, Some(Ok(_))) {
            self.cancel = None;
        }
        piece
    }
}

impl Body for Fed {
    fn next(&mut self) -> BorrowingFuture<'_, Option<Result<Vec<u8>, TransportError>>> {
        Box::pin(self.piece())
    }
}

impl Drop for Fed {
    fn drop(&mut self) {
        if let Some(cancel) = self.cancel.take() {
            cancel();
        }
    }
}

fn forgotten() -> TransportError {
    TransportError::Host("the host let go of a call without answering it".to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn counter() -> (Arc<AtomicUsize>, impl FnOnce() + Send + 'static) {
        let count = Arc::new(AtomicUsize::new(0));
        let twin = Arc::clone(&count);
        (count, move || {
            twin.fetch_add(1, Ordering::SeqCst);
        })
    }

    #[tokio::test]
    async fn a_completed_call_is_not_cancelled_and_a_dropped_one_is() {
        let (cancelled, cancel) = counter();
        let (host, answer) = completion(cancel);
        std::thread::spawn(move || host.complete(Ok(7)));
        assert_eq!(answer.await, Ok(7));
        assert_eq!(cancelled.load(Ordering::SeqCst), 0);

        let (cancelled, cancel) = counter();
        let (host, answer) = completion::<u8>(cancel);
        drop(answer);
        assert_eq!(cancelled.load(Ordering::SeqCst), 1);
        host.complete(Ok(1));
    }

    #[tokio::test]
    async fn a_host_that_forgets_a_call_fails_it() {
        let (host, answer) = completion::<u8>(|| ());
        drop(host);
        assert_eq!(answer.await, Err(forgotten()));
        let (feed, mut body) = body(|| ());
        drop(feed);
        assert_eq!(body.next().await, Some(Err(forgotten())));
        assert_eq!(body.next().await, None);
    }

    #[tokio::test]
    async fn a_body_arrives_in_order_and_its_feeder_waits_for_the_reader() {
        let (cancelled, cancel) = counter();
        let (feed, mut body) = body(cancel);
        let pushed = Arc::new(AtomicUsize::new(0));
        let ahead = Arc::clone(&pushed);
        let host = std::thread::spawn(move || {
            for n in 0..100u8 {
                assert!(feed.push(vec![n]));
                ahead.fetch_add(1, Ordering::SeqCst);
            }
            feed.finish();
        });
        for n in 0..100u8 {
            assert_eq!(body.next().await, Some(Ok(vec![n])));
            let most = usize::from(n) + 2 + PIECES_AHEAD;
            assert!(pushed.load(Ordering::SeqCst) <= most, "{n}");
        }
        assert_eq!(body.next().await, None);
        host.join().unwrap();
        drop(body);
        assert_eq!(cancelled.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn a_body_dropped_half_way_cancels_and_frees_its_feeder() {
        let (cancelled, cancel) = counter();
        let (feed, body) = body(cancel);
        let host = std::thread::spawn(move || while feed.push(vec![0]) {});
        drop(body);
        host.join().unwrap();
        assert_eq!(cancelled.load(Ordering::SeqCst), 1);
    }
}
