//! Watched queries: the result now, then what changes in it.

use std::collections::{BTreeSet, HashMap};
use std::future::poll_fn;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use driftline_core::environment::Clock;
use driftline_core::id::CollectionId;
use driftline_core::value::Value;

use crate::environment::Executor;
use crate::error::Result;
use crate::query::{self, Params, Row, Rows};
use crate::storage::{Changes, Origin, ReadTx, Storage, StorageError};

/// What a watched query yields.
#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    /// The whole result as it is now.
    pub rows: Rows,
    /// Rows that were not there before: at first, all of them.
    pub added: Vec<Row>,
    /// Rows that are not there any more.
    pub removed: Vec<Row>,
    /// Rows that are there with other values. Told apart by their `id` column; a result without one
    /// has only additions and removals.
    pub changed: Vec<ChangedRow>,
}

/// A row before and after.
#[derive(Clone, Debug, PartialEq)]
pub struct ChangedRow {
    /// As it was.
    pub before: Row,
    /// As it is.
    pub after: Row,
}

/// A watched query. It yields the current result first, then an update whenever a commit, of this
/// process or another, changed it; several commits in quick succession may come as one update.
///
/// The query runs while somebody asks. One that takes a millisecond or more rests afterwards as long as
/// it ran, nine times as long where another process is who writes, but no longer than a second, and gives
/// way to everything else that the machine has to do: who watches a dear query does not hold up who
/// writes. What was committed while it rests is told when it has rested. Dropping the subscription ends
/// it.
pub struct Subscription {
    storage: Arc<Storage>,
    signal: Arc<Signal>,
    sql: String,
    params: Params,
    timeout_millis: i64,
    last: Option<Rows>,
    /// Whether it took a while when it last ran: it runs aside from then on.
    is_dear: bool,
}

/// All watched queries of a database.
#[derive(Default)]
pub(crate) struct Watches {
    signals: Mutex<Vec<Weak<Signal>>>,
}

/// A query rests so many times as long as it ran before it shows what this process wrote or received,
const REST: i64 = 1;
/// and what another wrote: whoever watches a dear query while others write without pause keeps a tenth
/// of one core busy. At a quarter of it a writer on two cores still waited for one, 2 ms in every
/// hundredth write.
const REST_FROM_OTHERS: i64 = 9;
/// No query rests longer, in milliseconds.
const LONGEST_REST: i64 = 1_000;

/// Says that a query may have another result now, and when it has rested enough to be run again.
struct Signal {
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
enum News {
    /// This process has committed something.
    Own,
    /// Another process has.
    FromOthers,
    /// There will be no more.
    End,
}

impl Watches {
    /// Raises the signal of every query that reads what a commit changed.
    pub(crate) fn committed(&self, changes: &Changes) {
        self.each(|signal| {
            if !signal.collections.is_disjoint(&changes.collections) {
                signal.raise(match changes.origin {
                    Origin::External => News::FromOthers,
                    Origin::Local | Origin::Remote => News::Own,
                });
            }
        });
    }

    /// Whether anybody watches.
    pub(crate) fn any(&self) -> bool {
        let signals = self.signals.lock().unwrap_or_else(PoisonError::into_inner);
        signals.iter().any(|signal| signal.strong_count() > 0)
    }

    /// Has every query look again.
    pub(crate) fn all(&self) {
        self.each(|signal| signal.raise(News::Own));
    }

    /// Ends every query.
    pub(crate) fn end(&self) {
        self.each(|signal| signal.raise(News::End));
    }

    fn each(&self, visit: impl Fn(&Signal)) {
        let mut signals = self.signals.lock().unwrap_or_else(PoisonError::into_inner);
        signals.retain(|signal| match signal.upgrade() {
            Some(signal) => {
                visit(&signal);
                true
            }
            None => false,
        });
    }

    /// Starts watching; refuses what a query refuses.
    pub(crate) fn watch(
        &self,
        storage: Arc<Storage>,
        sql: String,
        params: Params,
        timeout_millis: i64,
    ) -> Result<Subscription> {
        let collections = storage.with_reader(|tx| tx.gated().collections_of(&sql))?;
        let state = Mutex::new(SignalState {
            dirty: true,
            ..SignalState::default()
        });
        let environment = storage.environment();
        let signal = Arc::new(Signal {
            collections,
            state,
            raised: Condvar::new(),
            clock: Arc::clone(&environment.clock),
            executor: Arc::clone(&environment.executor),
        });
        self.signals
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Arc::downgrade(&signal));
        Ok(Subscription {
            storage,
            signal,
            sql,
            params,
            timeout_millis,
            last: None,
            is_dear: false,
        })
    }
}

impl Signal {
    fn state(&self) -> MutexGuard<'_, SignalState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn raise(&self, news: News) {
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
    fn ran_since(&self, began: i64) -> bool {
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
    fn wait(&self, deadline: Option<Instant>) -> bool {
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

    fn poll(self: &Arc<Self>, context: &Context<'_>) -> Poll<bool> {
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

impl Subscription {
    /// Waits for the next update; `None` when the database has been closed.
    ///
    /// # Errors
    /// What the query fails with. The subscription stays usable.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<Update>> {
        self.next_until(None)
    }

    /// Waits for the next update, but no longer than `timeout`; `None` when there was none, or the
    /// database has been closed.
    ///
    /// # Errors
    /// What the query fails with. The subscription stays usable.
    pub fn next_timeout(&mut self, timeout: Duration) -> Result<Option<Update>> {
        self.next_until(Some(Instant::now() + timeout))
    }

    /// The same without blocking while it waits; the query itself runs where this is polled. Dropping
    /// the future loses nothing.
    ///
    /// # Errors
    /// What the query fails with. The subscription stays usable.
    pub async fn next_async(&mut self) -> Result<Option<Update>> {
        loop {
            let signal = Arc::clone(&self.signal);
            if !poll_fn(|context| signal.poll(context)).await {
                return Ok(None);
            }
            if let Some(update) = self.look()? {
                return Ok(Some(update));
            }
        }
    }

    /// Whether the database has been closed.
    pub fn is_ended(&self) -> bool {
        self.signal.state().ended
    }

    fn next_until(&mut self, deadline: Option<Instant>) -> Result<Option<Update>> {
        while self.signal.wait(deadline) {
            if let Some(update) = self.look()? {
                return Ok(Some(update));
            }
        }
        Ok(None)
    }

    /// Runs the query; `None` if its result is the same as before.
    fn look(&mut self) -> Result<Option<Update>> {
        let run =
            |tx: &ReadTx<'_>| query::run(tx.gated(), &self.sql, &self.params, self.timeout_millis);
        let began = self.signal.clock.monotonic();
        let mut looked = Err(StorageError::Closed);
        let mut work = || looked = self.storage.with_reader(run);
        match self.is_dear {
            true => self.signal.executor.run_aside(&mut work),
            false => work(),
        }
        self.is_dear = self.signal.ran_since(began);
        let rows = match looked {
            Ok(rows) => rows,
            // Whoever resumes has every query look again.
            Err(StorageError::Suspended) => return Ok(None),
            Err(StorageError::Closed) => return Ok(None),
            Err(error) => {
                self.signal.state().dirty = true;
                return Err(error.into());
            }
        };
        let update = match &self.last {
            None => Some(Update {
                added: rows.iter().cloned().collect(),
                rows: rows.clone(),
                removed: Vec::new(),
                changed: Vec::new(),
            }),
            Some(last) if *last == rows => None,
            Some(last) => Some(difference(last, &rows)),
        };
        self.last = Some(rows);
        Ok(update)
    }
}

impl std::fmt::Debug for Subscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscription").finish_non_exhaustive()
    }
}

/// What names a row: its id, or all of it; and how many of that name came before it.
type Key = (Vec<u8>, usize);

fn keyed(rows: &Rows) -> Vec<(Key, &Row)> {
    let id = rows.columns().iter().position(|column| column == "id");
    let mut count: HashMap<Vec<u8>, usize> = HashMap::new();
    let keyed = rows.iter().map(|row| {
        let values = row.values();
        let named: &[Value] = match id {
            Some(at) => values.get(at).map(std::slice::from_ref).unwrap_or_default(),
            None => values,
        };
        // Writing to memory cannot fail.
        let name = minicbor::to_vec(named).unwrap_or_default();
        let nth = count.entry(name.clone()).or_default();
        *nth += 1;
        ((name, *nth), row)
    });
    keyed.collect()
}

fn difference(before: &Rows, after: &Rows) -> Update {
    let mut gone: HashMap<Key, &Row> = keyed(before).into_iter().collect();
    let (mut added, mut changed) = (Vec::new(), Vec::new());
    for (key, row) in keyed(after) {
        match gone.remove(&key) {
            None => added.push(row.clone()),
            Some(old) if old == row => {}
            Some(old) => changed.push(ChangedRow {
                before: old.clone(),
                after: row.clone(),
            }),
        }
    }
    let removed = keyed(before)
        .into_iter()
        .filter(|(key, _)| gone.contains_key(key))
        .map(|(_, row)| row.clone());
    Update {
        removed: removed.collect(),
        rows: after.clone(),
        added,
        changed,
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
        Arc::new(Signal {
            collections: BTreeSet::new(),
            state: Mutex::default(),
            raised: Condvar::new(),
            clock: Arc::clone(machine) as Arc<dyn Clock>,
            executor: Arc::clone(machine) as Arc<dyn Executor>,
        })
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
