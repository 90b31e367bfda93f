//! Clock and tasks of the simulated machine, on one thread.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use driftline::environment::{BoxFuture, Clock, Executor, FileSignal, Listening};
use driftline_core::id::BootId;

/// 2026-01-01.
const BEGINNING: i64 = 1_767_225_600_000;

/// The machine. Cloning shares it.
#[derive(Clone, Default)]
pub(crate) struct Machine {
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// Milliseconds since the start.
    now: AtomicI64,
    fired: AtomicU64,
    /// Tasks that want to be polled.
    ready: Mutex<VecDeque<Arc<Task>>>,
    /// Armed timers by the moment they are due and the order they were armed in.
    timers: Mutex<BTreeMap<(i64, u64), Waker>>,
    armed: AtomicU64,
}

/// Nobody else is on this machine: no file ever changes by itself.
impl FileSignal for Machine {
    fn listen(
        &self,
        _: &std::path::Path,
        _: Box<dyn Fn() + Send>,
    ) -> std::io::Result<Box<dyn Listening>> {
        Ok(Box::new(Silence))
    }
}

struct Silence;

impl Listening for Silence {}

struct Task {
    future: Mutex<Option<BoxFuture<()>>>,
    state: Arc<State>,
}

impl Machine {
    /// Lets `millis` pass: whatever is ready runs, then the clock goes to the next timer.
    pub(crate) fn pass(&self, millis: i64) {
        let end = self.state.now.load(Ordering::Relaxed) + millis;
        loop {
            self.run_ready();
            let due = lock(&self.state.timers)
                .first_entry()
                .map(|entry| *entry.key());
            match due {
                Some((at, order)) if at <= end => {
                    self.state.now.store(at, Ordering::Relaxed);
                    self.state.fired.fetch_add(1, Ordering::Relaxed);
                    if let Some(waker) = lock(&self.state.timers).remove(&(at, order)) {
                        waker.wake();
                    }
                }
                _ => break,
            }
        }
        self.state.now.store(end, Ordering::Relaxed);
    }

    /// How many timers have gone off.
    pub(crate) fn timers_fired(&self) -> u64 {
        self.state.fired.load(Ordering::Relaxed)
    }

    fn run_ready(&self) {
        loop {
            let Some(task) = lock(&self.state.ready).pop_front() else {
                return;
            };
            let mut slot = lock(&task.future);
            if let Some(future) = slot.as_mut() {
                let waker = Waker::from(Arc::clone(&task));
                if future
                    .as_mut()
                    .poll(&mut Context::from_waker(&waker))
                    .is_ready()
                {
                    *slot = None;
                }
            }
        }
    }
}

impl Clock for Machine {
    fn wall(&self) -> i64 {
        BEGINNING + self.monotonic()
    }

    fn monotonic(&self) -> i64 {
        self.state.now.load(Ordering::Relaxed)
    }

    fn boot(&self) -> BootId {
        BootId(1)
    }
}

impl Executor for Machine {
    fn spawn(&self, _name: &str, task: BoxFuture<()>) {
        let task = Arc::new(Task {
            future: Mutex::new(Some(task)),
            state: Arc::clone(&self.state),
        });
        lock(&self.state.ready).push_back(task);
    }

    fn sleep(&self, millis: u64) -> BoxFuture<()> {
        let at = self.state.now.load(Ordering::Relaxed) + millis as i64;
        let order = self.state.armed.fetch_add(1, Ordering::Relaxed);
        Box::pin(Sleep {
            key: (at, order),
            state: Arc::clone(&self.state),
        })
    }
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        let state = Arc::clone(&self.state);
        lock(&state.ready).push_back(self);
    }
}

/// A timer. It goes off only while somebody waits for it: a dropped one never does.
struct Sleep {
    key: (i64, u64),
    state: Arc<State>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.state.now.load(Ordering::Relaxed) >= self.key.0 {
            lock(&self.state.timers).remove(&self.key);
            return Poll::Ready(());
        }
        lock(&self.state.timers).insert(self.key, context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        lock(&self.state.timers).remove(&self.key);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_from_timer_to_timer_and_dropped_ones_stay_silent() {
        let machine = Machine::default();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (task, log) = (machine.clone(), Arc::clone(&seen));
        machine.spawn(
            "test",
            Box::pin(async move {
                for _ in 0..3 {
                    drop(task.sleep(5));
                    task.sleep(30).await;
                    lock(&log).push(task.monotonic());
                }
            }),
        );
        machine.pass(70);
        assert_eq!(*lock(&seen), [30, 60]);
        assert_eq!((machine.timers_fired(), machine.monotonic()), (2, 70));
        machine.pass(20);
        assert_eq!(machine.timers_fired(), 3);
    }
}
