//! Every side effect of the device, injected: clocks, ids, tasks and timers, the network, other
//! processes, and the SQLite VFS. The simulation replaces all of it and runs the shipped storage and driver.

#[cfg(any(target_os = "linux", target_os = "android"))]
mod inotify;
mod process;
mod system;

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

pub use driftline_core::environment::{Clock, Ids};
#[cfg(any(target_os = "linux", target_os = "android"))]
pub use inotify::InotifySignal;
pub use process::SystemProcesses;
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

    /// Runs `work` to its end, with the caller waiting, where it gets in nobody's way: a processor that
    /// somebody else has use for does that first.
    ///
    /// Unless the system knows of such a place, that is where the caller is.
    fn run_aside(&self, work: &mut (dyn FnMut() + Send)) {
        work();
    }

    /// Holds up a caller that is no spawned task until `signal` comes, cannot come any more, or
    /// `millis` have passed.
    ///
    /// A simulation that runs everything on one thread lets its tasks go on meanwhile.
    fn wait(&self, signal: &std::sync::mpsc::Receiver<()>, millis: u64) {
        // What came instead does not matter: the caller waits no longer.
        let _ = signal.recv_timeout(std::time::Duration::from_millis(millis));
    }
}

/// Tells when a file changes, without asking it again and again.
pub trait FileSignal: Send + Sync {
    /// Calls `changed`, on a thread of its own, soon after each write to the log of the database at
    /// `path` by any process, this one included; several in a row may be one call. Ends when the
    /// result is dropped.
    ///
    /// # Errors
    /// When this file cannot be watched; it is then looked at by a timer.
    fn listen(
        &self,
        path: &Path,
        changed: Box<dyn Fn() + Send>,
    ) -> std::io::Result<Box<dyn Listening>>;
}

/// What [`FileSignal::listen`] gives; dropping it ends the calls.
pub trait Listening: Send + Sync {}

/// The processes of this machine.
pub trait Processes: Send + Sync {
    /// This process's name: it says nothing to another machine and differs after a restart.
    fn own(&self) -> String;

    /// Whether the process of that name has ended; `None` where the machine cannot tell.
    fn has_ended(&self, name: &str) -> Option<bool>;
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
    /// Who tells when another process writes to the file; `None` has it looked at by a timer.
    pub files: Option<Arc<dyn FileSignal>>,
    /// Other processes that may have the file open.
    pub processes: Arc<dyn Processes>,
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
            files: file_signal(),
            processes: Arc::new(SystemProcesses),
            vfs: None,
        }
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn file_signal() -> Option<Arc<dyn FileSignal>> {
    Some(Arc::new(InotifySignal))
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn file_signal() -> Option<Arc<dyn FileSignal>> {
    None
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Environment")
            .field("vfs", &self.vfs)
            .finish_non_exhaustive()
    }
}
