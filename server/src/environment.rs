//! Every side effect of the server, injected: clocks, ids, tasks and timers, and the SQLite VFS.
//! A simulation replaces all of it and runs the shipped code.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub use driftline_core::environment::{Clock, Ids};
use driftline_core::id::BootId;
use futures_util::future::{Either, select};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::oneshot;

/// A boxed future that may move between threads.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Runs tasks and timers.
pub trait Executor: Send + Sync {
    /// Runs `task` to its end, in the background.
    fn spawn(&self, task: BoxFuture<()>);

    /// Runs `work` where it may block on the disk.
    fn run_blocking(&self, work: Box<dyn FnOnce() + Send>);

    /// Runs `work`, which waits for the disk once or twice, and has the caller's other tasks go on
    /// meanwhile. On the caller's thread where that can be: handing work to another thread and its
    /// outcome back takes as long as half a commit.
    fn run_briefly(&self, work: Box<dyn FnOnce() + Send>) {
        self.run_blocking(work);
    }

    /// Completes after so many milliseconds.
    fn sleep(&self, millis: u64) -> BoxFuture<()>;
}

/// The environment of one [`crate::Server`]. Cloning shares everything in it.
#[derive(Clone)]
pub struct Environment {
    /// The machine's clocks.
    pub clock: Arc<dyn Clock>,
    /// Random bytes.
    pub ids: Arc<dyn Ids>,
    /// Tasks and timers.
    pub executor: Arc<dyn Executor>,
    /// The SQLite VFS to open files with; `None` for SQLite's default. With one given, the server
    /// touches no file but through it: it makes no directory and takes no lock file.
    pub vfs: Option<String>,
}

impl Environment {
    /// The real machine; tasks run on the tokio runtime the server is used from.
    pub fn system() -> Environment {
        Environment {
            clock: Arc::new(SystemClock::new()),
            ids: Arc::new(SystemIds),
            executor: Arc::new(TokioExecutor),
            vfs: None,
        }
    }

    /// Has `work` run where it may block, from now on. `None` if it panicked or was never run.
    pub(crate) fn offload<T, W>(&self, work: W) -> impl Future<Output = Option<T>> + use<T, W>
    where
        T: Send + 'static,
        W: FnOnce() -> T + Send + 'static,
    {
        let (done, outcome) = oneshot::channel();
        self.executor.run_blocking(Box::new(move || {
            // Nobody waits for it any more if the request was dropped.
            let _ = done.send(work());
        }));
        async { outcome.await.ok() }
    }

    /// `future`'s outcome, or `None` when it takes longer than `millis`.
    pub(crate) async fn within<F: Future>(&self, millis: u64, future: F) -> Option<F::Output> {
        let future = std::pin::pin!(future);
        match select(future, self.executor.sleep(millis)).await {
            Either::Left((outcome, _)) => Some(outcome),
            Either::Right(_) => None,
        }
    }
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Environment")
            .field("vfs", &self.vfs)
            .finish_non_exhaustive()
    }
}

/// The machine's clocks. The server compares monotonic readings within one process only, so each
/// process is its own boot session.
#[derive(Debug)]
pub struct SystemClock {
    boot: BootId,
    started: Instant,
}

impl SystemClock {
    /// Starts a session.
    pub fn new() -> SystemClock {
        let mut bytes = [0; 4];
        SystemIds.fill(&mut bytes);
        SystemClock {
            boot: BootId(u32::from_be_bytes(bytes)),
            started: Instant::now(),
        }
    }
}

impl Default for SystemClock {
    fn default() -> SystemClock {
        SystemClock::new()
    }
}

impl Clock for SystemClock {
    fn wall(&self) -> i64 {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
        }
    }

    fn monotonic(&self) -> i64 {
        i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    fn boot(&self) -> BootId {
        self.boot
    }
}

/// The operating system's random source.
#[derive(Debug, Clone, Copy)]
pub struct SystemIds;

impl Ids for SystemIds {
    fn fill(&self, bytes: &mut [u8]) {
        // Without a random source workspaces would share a history, and every promise rests on
        // that they do not.
        assert!(
            getrandom::fill(bytes).is_ok(),
            "the operating system has no random source"
        );
    }
}

/// Tokio's tasks, blocking threads and timers.
#[derive(Debug, Clone, Copy)]
pub struct TokioExecutor;

impl Executor for TokioExecutor {
    fn spawn(&self, task: BoxFuture<()>) {
        tokio::spawn(task);
    }

    fn run_blocking(&self, work: Box<dyn FnOnce() + Send>) {
        tokio::task::spawn_blocking(work);
    }

    fn run_briefly(&self, work: Box<dyn FnOnce() + Send>) {
        match Handle::current().runtime_flavor() {
            // A thread in reserve takes this one's tasks.
            RuntimeFlavor::MultiThread => tokio::task::block_in_place(work),
            _ => self.run_blocking(work),
        }
    }

    fn sleep(&self, millis: u64) -> BoxFuture<()> {
        Box::pin(tokio::time::sleep(Duration::from_millis(millis)))
    }
}
