//! When a watched query is to be run again.

use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use driftline_core::environment::Clock;
use driftline_core::id::CollectionId;

use crate::environment::Executor;

/// A query rests so many times as long as it ran before it shows what this process wrote or received,
const REST: i64 = 1;
/// and what another wrote: whoever watches a dear query while others write without pause keeps a tenth
/// of one core busy. At a quarter of it a writer on two cores still waited for one, 2 ms in every
/// hundredth write.
const REST_FROM_OTHERS: i64 = 9;
/// No query rests longer, in milliseconds.
const LONGEST_REST: i64 = 1_000;

/// Says that a query may have another result now, and when it has rested enough to be run again.
pub(super) struct Signal {
    collections: BTreeSet<CollectionId>,
    state: Mutex<SignalState>,
    raised: Condvar,
    clock: Arc<dyn Clock>,
    executor: Arc<dyn Executor>,
}

#[derive(Default)]
struct SignalState {
    dirty: bool,
    /// Whether all that is new is another process's.
    from_others: bool,
    ended: bool,
    wakers: Vec<Waker>,
    /// Monotonic milliseconds when the query last ended.
    ran_until: i64,
    /// How long it ran.
    ran: i64,
    /// When a task wakes futures that wait for its rest to end, if one does.
    alarm: Option<i64>,
}

/// Why a signal is raised.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    /// This process has committed something.
    Own,
    /// Another process has.
    FromOthers,
    /// There will be no more.
    End,
}

impl Signal {
    /// For a query that reads these collections.
    pub(super) fn new(
        collections: BTreeSet<CollectionId>,
        clock: Arc<dyn Clock>,
        executor: Arc<dyn Executor>,
    ) -> Signal {
        Signal {
            collections,
            state: Mutex::default(),
            raised: Condvar::new(),
            clock,
            executor,
        }
    }

    /// Whether the query reads any of these.
    pub(super) fn concerns(&self, changed: &BTreeSet<CollectionId>) -> bool {
        !self.collections.is_disjoint(changed)
    }

    /// Whether there will be no more news.
    pub(super) fn has_ended(&self) -> bool {
        self.state().ended
    }

    /// Monotonic milliseconds.
    pub(super) fn now(&self) -> i64 {
        self.clock.monotonic()
    }

    /// Runs a dear query so that it holds up nothing else.
    pub(super) fn run_aside(&self, work: &mut (dyn FnMut() + Send)) {
        self.executor.run_aside(work);
    }

    fn state(&self) -> MutexGuard<'_, SignalState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There is news: whoever waits is woken.
    pub(super) fn raise(&self, news: News) {
        let wakers = {
            let mut state = self.state();
            let more_from_others = state.from_others || !state.dirty;
            state.from_others = news == News::FromOthers && more_from_others;
            state.dirty = true;
            state.ended |= news == News::End;
            std::mem::take(&mut state.wakers)
        };
        self.raised.notify_all();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// The query has run since `began`, and rests now. Returns whether it ran for a millisecond or more.
    pub(super) fn ran_since(&self, began: i64) -> bool {
        let now = self.clock.monotonic();
        let mut state = self.state();
        state.ran = now.saturating_sub(began).max(0);
        state.ran_until = now;
        state.ran > 0
    }

    /// How many milliseconds it still rests before it shows what is new.
    fn rest_left(&self, state: &SignalState) -> u64 {
        let times = if state.from_others {
            REST_FROM_OTHERS
        } else {
            REST
        };
        let rest = state.ran.saturating_mul(times).min(LONGEST_REST);
        let rested = self.clock.monotonic().saturating_sub(state.ran_until);
        u64::try_from(rest.saturating_sub(rested)).unwrap_or(0)
    }

    /// Waits until the signal is raised and the query has rested, and takes it down; false when the
    /// query has ended or the deadline has passed.
    pub(super) fn wait(&self, deadline: Option<Instant>) -> bool {
        let mut state = self.state();
        loop {
            let rest = self.rest_left(&state);
            if state.ended || (state.dirty && rest == 0) {
                state.dirty = false;
                return !state.ended;
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return false;
            }
            let rest = state.dirty.then(|| Duration::from_millis(rest));
            state = match left.into_iter().chain(rest).min() {
                None => self
                    .raised
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(most) => {
                    let waited = self.raised.wait_timeout(state, most);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// The same for a future, which is woken when it is worth looking again.
    pub(super) fn poll(self: &Arc<Self>, context: &Context<'_>) -> Poll<bool> {
        let mut state = self.state();
        let rest = self.rest_left(&state);
        if state.ended || (state.dirty && rest == 0) {
            state.dirty = false;
            return Poll::Ready(!state.ended);
        }
        if !state
            .wakers
            .iter()
            .any(|waker| waker.will_wake(context.waker()))
        {
            state.wakers.push(context.waker().clone());
        }
        let end = self.clock.monotonic().saturating_add_unsigned(rest);
        if state.dirty && state.alarm.is_none_or(|alarm| end < alarm) {
            state.alarm = Some(end);
            drop(state);
            self.wake_in(rest);
        }
        Poll::Pending
    }

    /// Has futures look again in so many milliseconds.
    fn wake_in(self: &Arc<Self>, millis: u64) {
        let (signal, executor) = (Arc::clone(self), Arc::clone(&self.executor));
        let task = async move {
            executor.sleep(millis).await;
            let wakers = {
                let mut state = signal.state();
                state.alarm = None;
                std::mem::take(&mut state.wakers)
            };
            wakers.into_iter().for_each(Waker::wake);
        };
        self.executor.spawn("driftline-watch", Box::pin(task));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
    use std::task::Wake;

    use driftline_core::id::BootId;
    use futures_util::FutureExt;

    use super::*;
    use crate::environment::BoxFuture;

    /// A machine whose clock stands until it is set, and whose tasks sleep no time.
    #[derive(Default)]
    struct Machine {
        now: AtomicI64,
        tasks: Mutex<Vec<BoxFuture<()>>>,
    }

    impl Clock for Machine {
        fn wall(&self) -> i64 {
            self.monotonic()
        }

        fn monotonic(&self) -> i64 {
            self.now.load(Ordering::Relaxed)
        }

        fn boot(&self) -> BootId {
            BootId::default()
        }
    }

    impl Executor for Machine {
        fn spawn(&self, _: &str, task: BoxFuture<()>) {
            self.tasks.lock().unwrap().push(task);
        }

        fn sleep(&self, _: u64) -> BoxFuture<()> {
            Box::pin(async {})
        }
    }

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn signal(machine: &Arc<Machine>) -> Arc<Signal> {
        Arc::new(Signal::new(
            BTreeSet::new(),
            Arc::clone(machine) as Arc<dyn Clock>,
            Arc::clone(machine) as Arc<dyn Executor>,
        ))
    }

    fn soon() -> Option<Instant> {
        Some(Instant::now() + Duration::from_millis(20))
    }

    #[test]
    fn what_comes_while_a_query_rests_is_told_when_it_has_rested() {
        let machine = Arc::<Machine>::default();
        let signal = signal(&machine);
        machine.now.store(1_000, Ordering::Relaxed);
        signal.raise(News::Own);
        assert!(signal.wait(soon()), "the first change is told at once");
        machine.now.store(1_010, Ordering::Relaxed);
        assert!(signal.ran_since(1_000));
        signal.raise(News::Own);
        assert!(!signal.wait(soon()), "it rests");
        machine.now.store(1_019, Ordering::Relaxed);
        assert!(!signal.wait(soon()), "it still rests");
        machine.now.store(1_020, Ordering::Relaxed);
        assert!(signal.wait(None), "what came while it rested is not lost");
        assert!(!signal.wait(soon()), "and told once");
    }

    #[test]
    fn what_another_process_writes_is_told_later_unless_this_one_writes_too() {
        let machine = Arc::<Machine>::default();
        let signal = signal(&machine);
        machine.now.store(10, Ordering::Relaxed);
        signal.ran_since(0);
        signal.raise(News::FromOthers);
        machine.now.store(99, Ordering::Relaxed);
        assert!(!signal.wait(soon()));
        machine.now.store(100, Ordering::Relaxed);
        assert!(signal.wait(soon()));
        machine.now.store(110, Ordering::Relaxed);
        signal.ran_since(100);
        machine.now.store(120, Ordering::Relaxed);
        signal.raise(News::FromOthers);
        assert!(!signal.wait(soon()));
        signal.raise(News::Own);
        signal.raise(News::FromOthers);
        assert!(signal.wait(soon()));
    }

    #[test]
    fn a_cheap_query_rests_not_and_a_dear_one_no_longer_than_a_second() {
        let machine = Arc::<Machine>::default();
        let signal = signal(&machine);
        assert!(!signal.ran_since(0));
        signal.raise(News::FromOthers);
        assert!(signal.wait(soon()));
        machine.now.store(60_000, Ordering::Relaxed);
        assert!(signal.ran_since(0));
        signal.raise(News::FromOthers);
        machine.now.store(60_999, Ordering::Relaxed);
        assert!(!signal.wait(soon()));
        machine.now.store(61_000, Ordering::Relaxed);
        assert!(signal.wait(soon()));
    }

    #[test]
    fn the_end_is_told_while_a_query_rests() {
        let machine = Arc::<Machine>::default();
        let signal = signal(&machine);
        machine.now.store(500, Ordering::Relaxed);
        signal.ran_since(0);
        signal.raise(News::End);
        assert!(!signal.wait(None), "it returns, and says that it is over");
    }

    #[test]
    fn a_future_is_woken_once_the_query_has_rested() {
        let machine = Arc::<Machine>::default();
        let signal = signal(&machine);
        let wakes = Arc::<Wakes>::default();
        let waker = Waker::from(Arc::clone(&wakes));
        let context = Context::from_waker(&waker);
        machine.now.store(10, Ordering::Relaxed);
        signal.ran_since(0);
        assert_eq!(signal.poll(&context), Poll::Pending);
        assert!(
            machine.tasks.lock().unwrap().is_empty(),
            "no timer without news"
        );
        signal.raise(News::FromOthers);
        assert_eq!(signal.poll(&context), Poll::Pending);
        assert_eq!(signal.poll(&context), Poll::Pending);
        assert_eq!(machine.tasks.lock().unwrap().len(), 1);
        // What this process writes is told sooner.
        signal.raise(News::Own);
        assert_eq!(signal.poll(&context), Poll::Pending);
        let mut tasks = std::mem::take(&mut *machine.tasks.lock().unwrap());
        assert_eq!((tasks.len(), wakes.0.load(Ordering::Relaxed)), (2, 2));
        machine.now.store(20, Ordering::Relaxed);
        tasks.remove(1).now_or_never().unwrap();
        assert_eq!(wakes.0.load(Ordering::Relaxed), 3);
        assert_eq!(signal.poll(&context), Poll::Ready(true));
    }
}
