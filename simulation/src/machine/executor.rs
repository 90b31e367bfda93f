//! What a process of the simulation spawns its tasks and waits with.

use std::future::Future;
use std::pin::Pin;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::task::{Context, Poll};

use driftline::environment::BoxFuture;

use super::tasks::{MOST_POLLS, NOBODY, Owner, Tasks};

/// Spawns tasks for one process.
#[derive(Clone)]
pub struct Executor {
    tasks: Tasks,
    owner: Owner,
}

impl Executor {
    pub(super) fn new(tasks: Tasks, owner: Owner) -> Executor {
        Executor { tasks, owner }
    }

    /// The same for tasks that belong to no process.
    pub(super) fn of_nobody(&self) -> Executor {
        self.tasks.executor(NOBODY)
    }

    pub(super) fn begin(&self, future: BoxFuture<()>) {
        self.tasks.begin(self.owner, future);
    }

    pub(super) fn timer(&self, millis: u64) -> BoxFuture<()> {
        let after = i64::try_from(millis).unwrap_or(i64::MAX);
        Box::pin(Sleep {
            at: self.tasks.now().saturating_add(after),
            armed: None,
            owner: self.owner,
            tasks: self.tasks.clone(),
        })
    }
}

impl driftline::environment::Executor for Executor {
    fn spawn(&self, _name: &str, task: BoxFuture<()>) {
        self.begin(task);
    }

    fn sleep(&self, millis: u64) -> BoxFuture<()> {
        self.timer(millis)
    }

    fn wait(&self, signal: &Receiver<()>, _millis: u64) {
        for _ in 0..MOST_POLLS {
            let came = signal.try_recv() != Err(TryRecvError::Empty);
            // Time stands still while an app's call waits: a timer is nothing to wait for.
            if came || self.tasks.has_ended(self.owner) || !self.tasks.run_one() {
                return;
            }
        }
    }
}

impl driftline_server::environment::Executor for Executor {
    fn spawn(&self, task: BoxFuture<()>) {
        self.begin(task);
    }

    fn run_blocking(&self, work: Box<dyn FnOnce() + Send>) {
        self.begin(Box::pin(async move { work() }));
    }

    fn sleep(&self, millis: u64) -> BoxFuture<()> {
        self.timer(millis)
    }
}

/// A timer. It is armed while somebody waits for it: a dropped one never fires.
struct Sleep {
    at: i64,
    armed: Option<u64>,
    owner: Owner,
    tasks: Tasks,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let was_armed = self.armed.take();
        if let Some(number) = was_armed {
            self.tasks.disarm(self.at, number);
        }
        // One that is due at once has its task polled again: a task that waits for such timers in a
        // loop is seen to spin.
        if self.tasks.now() >= self.at && was_armed.is_some() {
            return Poll::Ready(());
        }
        let waker = context.waker().clone();
        self.armed = Some(self.tasks.arm(self.at, self.owner, waker));
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(number) = self.armed {
            self.tasks.disarm(self.at, number);
        }
    }
}
