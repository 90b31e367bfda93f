//! Noticing what other processes write to the file.
//!
//! Only while somebody wants to know: a watched query, or a connection. Where the machine tells of
//! writes nothing runs until there is one; elsewhere a timer looks, often while others write and
//! seldom at rest. Suspending and closing end either.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::Notify;

use crate::environment::Listening;
use crate::storage::{Storage, StorageError};

/// Milliseconds between two looks while another process writes,
const BUSY: u64 = 50;
/// and at rest.
const REST: u64 = 1_000;

/// Whether anybody wants to know of other processes' writes.
type Wanted = dyn Fn() -> bool + Send + Sync;

/// Looks at one file for one database.
pub(crate) struct Watcher {
    storage: Weak<Storage>,
    wanted: Arc<Wanted>,
    running: Mutex<Option<Running>>,
}

/// Ends what it stands for when it is dropped.
enum Running {
    Told(#[allow(dead_code)] Box<dyn Listening>),
    Looking(Arc<Notify>),
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Running::Looking(stop) = self {
            stop.notify_one();
        }
    }
}

impl Watcher {
    pub(crate) fn new(
        storage: &Arc<Storage>,
        wanted: impl Fn() -> bool + Send + Sync + 'static,
    ) -> Arc<Watcher> {
        Arc::new(Watcher {
            storage: Arc::downgrade(storage),
            wanted: Arc::new(wanted),
            running: Mutex::new(None),
        })
    }

    fn running(&self) -> std::sync::MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins, unless it has begun or nobody wants to know.
    pub(crate) fn start(self: &Arc<Self>) {
        let Some(storage) = self.storage.upgrade() else {
            return;
        };
        let mut running = self.running();
        if running.is_some() || !(self.wanted)() {
            return;
        }
        *running = Some(match self.listen(&storage) {
            Some(listening) => Running::Told(listening),
            None => Running::Looking(self.look_by_timer(&storage)),
        });
    }

    /// Ends; nothing is looked at until the next start.
    pub(crate) fn stop(&self) {
        *self.running() = None;
    }

    fn listen(&self, storage: &Storage) -> Option<Box<dyn Listening>> {
        let signal = storage.environment().files.as_ref()?;
        let weak = self.storage.clone();
        let changed = move || {
            if let Some(storage) = weak.upgrade() {
                look(&storage);
            }
        };
        match signal.listen(storage.path(), Box::new(changed)) {
            Ok(listening) => Some(listening),
            Err(error) => {
                tracing::debug!(%error, "the file cannot be watched; a timer looks at it");
                None
            }
        }
    }

    fn look_by_timer(self: &Arc<Self>, storage: &Storage) -> Arc<Notify> {
        let stop = Arc::new(Notify::new());
        let (stopped, watcher) = (Arc::clone(&stop), Arc::downgrade(self));
        let executor = Arc::clone(&storage.environment().executor);
        let timer = Arc::clone(&executor);
        executor.spawn(
            "driftline-files",
            Box::pin(async move {
                let mut pause = REST;
                loop {
                    let slept = timer.sleep(pause);
                    tokio::select! {
                        biased;
                        () = stopped.notified() => return,
                        () = slept => {}
                    }
                    let Some(watcher) = watcher.upgrade() else {
                        return;
                    };
                    let Some(storage) = watcher.storage.upgrade() else {
                        return;
                    };
                    if watcher.ended(&stopped) {
                        return;
                    }
                    pause = match look(&storage) {
                        true => BUSY,
                        false => (pause * 2).min(REST),
                    };
                }
            }),
        );
        stop
    }

    /// Ends the timer if nobody wants to know any more; whoever does next starts another.
    fn ended(&self, stop: &Arc<Notify>) -> bool {
        let mut running = self.running();
        match &*running {
            Some(Running::Looking(current)) if Arc::ptr_eq(current, stop) => {}
            _ => return true,
        }
        if (self.wanted)() {
            return false;
        }
        *running = None;
        true
    }
}

fn look(storage: &Storage) -> bool {
    match storage.poll_external() {
        Ok(changed) => changed,
        Err(StorageError::Suspended | StorageError::Closed) => false,
        Err(error) => {
            tracing::debug!(%error, "other processes' writes could not be looked for");
            false
        }
    }
}
