//! Between the engine and code of the app: a panic becomes an error, a call has an end.

use std::future::{Future, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::{Either, select};

use super::{Live, Message, ProviderError, ProviderRequest, Registered, SyncProvider};
use crate::environment::{BoxFuture, Executor};
use crate::transport::{
    Body, BorrowingFuture, LiveMessage, LiveReceiver, LiveSender, TransportError,
};

/// A provider whose calls cannot take the engine down or hold it for ever.
#[derive(Clone)]
pub(crate) struct Guard {
    registered: Arc<Registered>,
    executor: Arc<dyn Executor>,
    deadline_ms: u64,
}

type Call<T> = BoxFuture<Result<T, ProviderError>>;

impl Guard {
    pub(crate) fn new(
        registered: Arc<Registered>,
        executor: Arc<dyn Executor>,
        deadline_ms: u64,
    ) -> Guard {
        Guard {
            registered,
            executor,
            deadline_ms,
        }
    }

    pub(crate) fn registered(&self) -> &Registered {
        &self.registered
    }

    pub(crate) fn push(&self, request: ProviderRequest) -> Call<Message> {
        self.call(|provider| provider.push(request))
    }

    pub(crate) fn pull(&self, request: ProviderRequest) -> Call<Message> {
        self.call(|provider| provider.pull(request))
    }

    pub(crate) fn snapshot(&self, request: ProviderRequest) -> Call<Box<dyn Body>> {
        let (executor, deadline_ms) = (Arc::clone(&self.executor), self.deadline_ms);
        let begun = self.call(|provider| provider.snapshot(request));
        Box::pin(begun.map(move |body| {
            let guarded = |body| -> Box<dyn Body> {
                Box::new(GuardedBody {
                    body,
                    executor,
                    deadline_ms,
                })
            };
            body.map(guarded)
        }))
    }

    pub(crate) fn subscribe(&self, request: ProviderRequest) -> Call<Live> {
        let begun = self.call(|provider| provider.subscribe(request));
        Box::pin(begun.map(|live| {
            live.map(|live| Live {
                sender: live
                    .sender
                    .map(|sender| -> Box<dyn LiveSender> { Box::new(GuardedSender(sender)) }),
                receiver: Box::new(GuardedReceiver(live.receiver)),
            })
        }))
    }

    pub(crate) fn network_changed(&self) {
        if let Some(provider) = self.registered.provider() {
            // Only a hint: what comes of it shows in the requests that follow.
            drop(catch_unwind(AssertUnwindSafe(|| {
                provider.network_changed()
            })));
        }
    }

    fn call<T: Send + 'static>(&self, make: impl FnOnce(&dyn SyncProvider) -> Call<T>) -> Call<T> {
        let Some(provider) = self.registered.provider() else {
            let gone = ProviderError::Failed("it was disposed of".to_owned());
            return Box::pin(ready(Err(gone)));
        };
        let Ok(call) = catch_unwind(AssertUnwindSafe(|| make(provider))) else {
            return Box::pin(ready(Err(panicked())));
        };
        let deadline = self.executor.sleep(self.deadline_ms);
        Box::pin(async move {
            match select(caught(call), deadline).await {
                Either::Left((Ok(result), _)) => result,
                Either::Left((Err(Panicked), _)) => Err(panicked()),
                Either::Right(_) => Err(ProviderError::Unreachable(
                    "no answer within the deadline".to_owned(),
                )),
            }
        })
    }
}

/// Awaits code of the app. A panic in it ends it, and nothing else.
pub(crate) async fn without_panic<T>(
    make: impl FnOnce() -> BoxFuture<T>,
) -> std::result::Result<T, Panicked> {
    let future = catch_unwind(AssertUnwindSafe(make)).map_err(|_| Panicked)?;
    caught(future).await
}

/// Code of the app panicked.
#[derive(Debug)]
pub(crate) struct Panicked;

fn caught<F: Future + Unpin>(
    future: F,
) -> impl Future<Output = std::result::Result<F::Output, Panicked>> + Unpin {
    // What it left behind is dropped with it and never looked at.
    AssertUnwindSafe(future)
        .catch_unwind()
        .map(|result| result.map_err(|_| Panicked))
}

fn panicked() -> ProviderError {
    ProviderError::Failed("it panicked".to_owned())
}

fn panicked_under_way() -> TransportError {
    TransportError::Host("it panicked".to_owned())
}

/// A body whose every piece comes in time or not at all.
struct GuardedBody {
    body: Box<dyn Body>,
    executor: Arc<dyn Executor>,
    deadline_ms: u64,
}

impl Body for GuardedBody {
    fn next(&mut self) -> BorrowingFuture<'_, Option<Result<Vec<u8>, TransportError>>> {
        let deadline = self.executor.sleep(self.deadline_ms);
        let Some(piece) = begun(self.body.as_mut(), |body| body.next()) else {
            return Box::pin(ready(Some(Err(panicked_under_way()))));
        };
        Box::pin(async move {
            match select(caught(piece), deadline).await {
                Either::Left((piece, _)) => {
                    piece.unwrap_or_else(|Panicked| Some(Err(panicked_under_way())))
                }
                Either::Right(_) => Some(Err(TransportError::TimedOut)),
            }
        })
    }
}

struct GuardedSender(Box<dyn LiveSender>);

impl LiveSender for GuardedSender {
    fn send(&mut self, message: LiveMessage) -> BorrowingFuture<'_, Result<(), TransportError>> {
        under_way(begun(self.0.as_mut(), |sender| sender.send(message)))
    }

    fn close(&mut self) -> BorrowingFuture<'_, Result<(), TransportError>> {
        under_way(begun(self.0.as_mut(), |sender| sender.close()))
    }
}

struct GuardedReceiver(Box<dyn LiveReceiver>);

impl LiveReceiver for GuardedReceiver {
    fn receive(&mut self) -> BorrowingFuture<'_, Result<Option<LiveMessage>, TransportError>> {
        under_way(begun(self.0.as_mut(), |receiver| receiver.receive()))
    }
}

/// Begins a call on a half or a body; `None` if that panics already.
fn begun<'a, S: ?Sized, T>(
    on: &'a mut S,
    call: impl FnOnce(&'a mut S) -> BorrowingFuture<'a, T>,
) -> Option<BorrowingFuture<'a, T>> {
    catch_unwind(AssertUnwindSafe(move || call(on))).ok()
}

fn under_way<'a, T: 'a>(
    begun: Option<BorrowingFuture<'a, Result<T, TransportError>>>,
) -> BorrowingFuture<'a, Result<T, TransportError>> {
    Box::pin(async move {
        match begun {
            Some(future) => caught(future)
                .await
                .unwrap_or_else(|Panicked| Err(panicked_under_way())),
            None => Err(panicked_under_way()),
        }
    })
}
