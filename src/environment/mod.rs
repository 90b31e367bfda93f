//! Every side effect of the device, injected: clocks, ids, tasks and timers, the network, and the
//! SQLite VFS. The simulation replaces all of it and runs the shipped storage and driver.

mod system;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

pub use driftline_core::environment::{Clock, Ids};
pub use system::{SystemClock, SystemIds, ThreadExecutor};

use crate::transport::Transport;

/// A boxed future that may move between threads.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Runs tasks and timers.
pub trait Executor: Send + Sync {
    /// Runs `task` to its end, in the background. Tasks may block on SQLite for a while.
    fn spawn(&self, name: &str, task: BoxFuture<()>);

    /// Completes after so many milliseconds. Called from within spawned tasks only.
    fn sleep(&self, millis: u64) -> BoxFuture<()>;
}

/// The environment of one [`crate::Database`]. Cloning shares everything in it.
#[derive(Clone)]
pub struct Environment {
    /// The machine's clocks.
    pub clock: Arc<dyn Clock>,
    /// Random bytes.
    pub ids: Arc<dyn Ids>,
    /// Tasks and timers.
    pub executor: Arc<dyn Executor>,
    /// The network; `None` uses the built-in transport when sync is connected.
    pub transport: Option<Arc<dyn Transport>>,
    /// The SQLite VFS to open files with; `None` for SQLite's default.
    pub vfs: Option<String>,
}

impl Environment {
    /// The real machine.
    pub fn system() -> Environment {
        Environment {
            clock: Arc::new(SystemClock::new()),
            ids: Arc::new(SystemIds),
            executor: Arc::new(ThreadExecutor),
            transport: None,
            vfs: None,
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
