//! When bytes last moved on a connection, and waiting for silence.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// When bytes last moved on one connection, in either direction. A large request on a slow link
/// is answered late, but it is not stuck while its bytes leave.
#[derive(Debug)]
pub(super) struct Activity {
    opened: Instant,
    last_ms: AtomicU64,
}

impl Activity {
    pub(super) fn new() -> Activity {
        Activity {
            opened: Instant::now(),
            last_ms: AtomicU64::new(0),
        }
    }

    pub(super) fn touch(&self) {
        let since_opened = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_ms.store(since_opened, Ordering::Relaxed);
    }

    pub(super) fn last(&self) -> Instant {
        self.opened + Duration::from_millis(self.last_ms.load(Ordering::Relaxed))
    }
}

/// Completes once `idle` has passed since the caller began and since `last` was true.
pub(super) async fn silence(last: impl Fn() -> Option<Instant>, idle: Duration) {
    let began = Instant::now();
    let deadline = || last().map_or(began, |last| last.max(began)) + idle;
    loop {
        tokio::time::sleep_until(deadline()).await;
        // After the thread was blocked for a while, timers and sockets become ready in the same
        // turn: let the connection read before it is judged.
        tokio::task::yield_now().await;
        if deadline() <= Instant::now() {
            return;
        }
    }
}
