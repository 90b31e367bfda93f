//! Tasks and time on one thread.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Wake, Waker};

use driftline::environment::BoxFuture;
use driftline_simvfs::Random;

use super::executor::Executor;

/// Whose task it is: all tasks of an owner end together, as those of a process do.
pub type Owner = u64;

/// Whose tasks go on whatever ends: those of the network.
pub const NOBODY: Owner = 0;

/// 2026-01-01, in Unix milliseconds.
const BEGINNING: i64 = 1_767_225_600_000;

/// All tasks and timers of a simulation, and its time. Cloning shares them.
#[derive(Clone)]
pub struct Tasks {
    shared: Arc<Shared>,
}

struct Shared {
    /// True time, in Unix milliseconds.
    now: AtomicI64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    tasks: BTreeMap<u64, Arc<Task>>,
    ready: VecDeque<u64>,
    /// Woken since a task was chosen last. Who is woken first by one event is not always the same: a
    /// channel with many listeners draws it.
    woken: BTreeSet<u64>,
    /// By the moment they are due and the order they were armed in.
    timers: BTreeMap<(i64, u64), (Owner, Waker)>,
    ended: BTreeSet<Owner>,
    frozen: BTreeSet<Owner>,
    /// Tasks of frozen owners that would go on.
    held: BTreeSet<u64>,
    numbers: u64,
    /// Decides which of the ready tasks goes on; the first one where there is no such source.
    order: Option<Random>,
}

struct Task {
    number: u64,
    owner: Owner,
    /// `None` while it is polled, and when it has ended.
    future: Mutex<Option<BoxFuture<()>>>,
    shared: Weak<Shared>,
}

impl Tasks {
    /// No tasks yet. Ready tasks go on in the order they became ready, or in any order if there is a
    /// source of one.
    pub fn new(order: Option<Random>) -> Tasks {
        Tasks::starting_at(BEGINNING, order)
    }

    /// The same at another moment.
    pub fn starting_at(now: i64, order: Option<Random>) -> Tasks {
        Tasks {
            shared: Arc::new(Shared {
                now: AtomicI64::new(now),
                state: Mutex::new(State {
                    order,
                    ..State::default()
                }),
            }),
        }
    }

    /// True time, in Unix milliseconds.
    pub fn now(&self) -> i64 {
        self.shared.now.load(Ordering::Relaxed)
    }

    /// An owner for the tasks of a new process.
    pub fn new_owner(&self) -> Owner {
        self.state().number()
    }

    /// What a process spawns its tasks with.
    pub fn executor(&self, owner: Owner) -> Executor {
        Executor::new(self.clone(), owner)
    }

    /// A new task of an owner, ready to go on; none where the owner has ended.
    pub(super) fn begin(&self, owner: Owner, future: BoxFuture<()>) {
        let mut state = self.state();
        if state.ended.contains(&owner) {
            drop(state);
            drop(future);
            return;
        }
        let number = state.number();
        let task = Task {
            number,
            owner,
            future: Mutex::new(Some(future)),
            shared: Arc::downgrade(&self.shared),
        };
        state.tasks.insert(number, Arc::new(task));
        state.ready.push_back(number);
    }

    /// Has a timer of an owner wake somebody. Its number is for taking it away again.
    pub(super) fn arm(&self, at: i64, owner: Owner, waker: Waker) -> u64 {
        let mut state = self.state();
        let number = state.number();
        state.timers.insert((at, number), (owner, waker));
        number
    }

    /// Takes a timer away.
    pub(super) fn disarm(&self, at: i64, number: u64) {
        self.state().timers.remove(&(at, number));
    }

    /// Whether an owner has ended.
    pub(super) fn has_ended(&self, owner: Owner) -> bool {
        self.state().ended.contains(&owner)
    }

    /// Ends all tasks and timers of an owner, now and for good.
    pub fn end(&self, owner: Owner) {
        let ended: Vec<Arc<Task>> = {
            let mut state = self.state();
            state.ended.insert(owner);
            state.frozen.remove(&owner);
            state.timers.retain(|_, (whose, _)| *whose != owner);
            let all = state.tasks.values();
            let numbers: Vec<u64> = all
                .filter(|task| task.owner == owner)
                .map(|task| task.number)
                .collect();
            numbers
                .iter()
                .filter_map(|number| state.tasks.remove(number))
                .collect()
        };
        for task in ended {
            // Dropped outside of every lock: what the future holds may wake or arm something.
            let future = lock(&task.future).take();
            drop(future);
        }
    }

    /// Lets no task of an owner go on until it is thawed, as a system does with an app that it put to
    /// sleep. Its time goes on.
    pub fn freeze(&self, owner: Owner) {
        self.state().frozen.insert(owner);
    }

    /// Its tasks go on.
    pub fn thaw(&self, owner: Owner) {
        let mut state = self.state();
        state.frozen.remove(&owner);
        let held = std::mem::take(&mut state.held);
        for number in held {
            let whose = state.tasks.get(&number).map(|task| task.owner);
            match whose {
                Some(whose) if whose == owner => state.ready.push_back(number),
                Some(_) => _ = state.held.insert(number),
                None => {}
            }
        }
    }

    /// Lets one ready task go on. False if none is ready.
    pub fn run_one(&self) -> bool {
        let task = {
            let mut state = self.state();
            state.gather();
            let count = state.ready.len();
            let at = match &mut state.order {
                Some(order) => order.below(count),
                None => 0,
            };
            let Some(number) = state.ready.remove(at) else {
                return false;
            };
            match state.tasks.get(&number).cloned() {
                Some(task) if state.frozen.contains(&task.owner) => {
                    state.held.insert(number);
                    None
                }
                task => task,
            }
        };
        let Some(task) = task else {
            return true;
        };
        let Some(mut future) = lock(&task.future).take() else {
            return true;
        };
        let waker = Waker::from(Arc::clone(&task));
        let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
        let ended = self.state().ended.contains(&task.owner);
        if polled.is_pending() && !ended {
            *lock(&task.future) = Some(future);
        } else {
            self.state().tasks.remove(&task.number);
        }
        true
    }

    /// Runs ready tasks until none is; at most so many polls, so that a task that spins is found.
    pub fn run_ready(&self, most: usize) -> Result<(), Spinning> {
        for _ in 0..most {
            if !self.run_one() {
                return Ok(());
            }
        }
        Err(Spinning)
    }

    /// Another source of the order from now on.
    pub fn reorder(&self, order: Random) {
        self.state().order = Some(order);
    }

    /// When the next timer is due.
    pub fn next_due(&self) -> Option<i64> {
        self.state()
            .timers
            .first_key_value()
            .map(|((at, _), _)| *at)
    }

    /// Lets time come to `at` and fires the timers due by then.
    pub fn pass_to(&self, at: i64) {
        self.shared.now.fetch_max(at, Ordering::Relaxed);
        loop {
            let due = {
                let mut state = self.state();
                match state.timers.first_entry() {
                    Some(timer) if timer.key().0 <= at => timer.remove().1,
                    _ => return,
                }
            };
            due.wake();
            self.state().gather();
        }
    }

    /// Runs tasks and lets time go from timer to timer, until `done` or `deadline`. Says whether it
    /// was done. Timers that are due at once fire as well.
    ///
    /// # Errors
    /// A task that spins.
    pub fn run_until(
        &self,
        deadline: i64,
        mut done: impl FnMut() -> bool,
    ) -> Result<bool, Spinning> {
        let (mut moment, mut rounds) = (self.now(), 0);
        loop {
            self.run_ready(MOST_POLLS)?;
            if done() {
                return Ok(true);
            }
            match self.next_due() {
                Some(due) if due <= deadline => self.pass_to(due),
                _ => {
                    self.pass_to(deadline);
                    return Ok(false);
                }
            }
            rounds = if self.now() == moment { rounds + 1 } else { 0 };
            moment = self.now();
            if rounds > MOST_ROUNDS {
                return Err(Spinning);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.shared.state)
    }
}

/// Tasks were polled this often and time stood still.
pub(super) const MOST_POLLS: usize = 20_000;

/// Timers were due this often at one moment.
const MOST_ROUNDS: usize = 1_000;

/// Tasks go on for ever without time passing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Spinning;

impl State {
    /// Puts the woken tasks behind those that are ready.
    fn gather(&mut self) {
        let woken = std::mem::take(&mut self.woken);
        self.ready.extend(woken);
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        if let Some(shared) = self.shared.upgrade() {
            let mut state = lock(&shared.state);
            if !state.ready.contains(&self.number) && !state.held.contains(&self.number) {
                state.woken.insert(self.number);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A simulation that panicked is over; whatever looks at it afterwards may.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::task::Poll;

    use driftline::environment::Executor as _;

    use super::*;

    fn log_after(tasks: &Tasks, owner: Owner, log: &Arc<Mutex<Vec<i64>>>, millis: &[u64]) {
        let (executor, log, tasks) = (tasks.executor(owner), Arc::clone(log), tasks.clone());
        let millis = millis.to_vec();
        tasks.clone().executor(owner).begin(Box::pin(async move {
            for millis in millis {
                drop(executor.timer(1));
                executor.timer(millis).await;
                lock(&log).push(tasks.now() - BEGINNING);
            }
        }));
    }

    #[test]
    fn time_goes_from_timer_to_timer_and_ended_tasks_stay_silent() {
        let tasks = Tasks::new(None);
        let (one, other) = (tasks.new_owner(), tasks.new_owner());
        let log = Arc::default();
        log_after(&tasks, one, &log, &[30, 30, 30]);
        log_after(&tasks, other, &log, &[40, 5]);
        assert_eq!(tasks.run_until(BEGINNING + 42, || false), Ok(false));
        tasks.end(other);
        assert_eq!(tasks.run_until(BEGINNING + 70, || false), Ok(false));
        assert_eq!(*lock(&log), [30, 40, 60]);
        tasks
            .executor(other)
            .spawn("too late", Box::pin(async { unreachable!() }));
        let done = || lock(&log).len() == 4;
        assert_eq!(tasks.run_until(i64::MAX, done), Ok(true));
        assert_eq!(tasks.now(), BEGINNING + 90);
    }

    #[test]
    fn a_frozen_owner_goes_on_where_it_was_when_it_is_thawed() {
        let tasks = Tasks::new(None);
        let (one, other) = (tasks.new_owner(), tasks.new_owner());
        let log = Arc::default();
        log_after(&tasks, one, &log, &[10, 10]);
        log_after(&tasks, other, &log, &[15]);
        tasks.freeze(one);
        assert_eq!(tasks.run_until(BEGINNING + 40, || false), Ok(false));
        assert_eq!(*lock(&log), [15]);
        tasks.thaw(one);
        assert_eq!(tasks.run_until(BEGINNING + 100, || false), Ok(false));
        assert_eq!(*lock(&log), [15, 50, 60]);
    }

    #[test]
    fn a_task_that_spins_is_found() {
        let tasks = Tasks::new(None);
        tasks.executor(1).spawn(
            "spins",
            Box::pin(std::future::poll_fn(|context| {
                context.waker().wake_by_ref();
                Poll::Pending
            })),
        );
        assert_eq!(tasks.run_until(i64::MAX, || false), Err(Spinning));
    }

    #[test]
    fn a_task_that_waits_for_no_time_again_and_again_is_found() {
        let tasks = Tasks::new(None);
        let timers = tasks.executor(1);
        let spinning = async move {
            loop {
                timers.timer(0).await;
            }
        };
        driftline::environment::Executor::spawn(&tasks.executor(1), "spins", Box::pin(spinning));
        assert_eq!(tasks.run_until(i64::MAX, || false), Err(Spinning));
    }

    #[test]
    fn the_order_follows_from_its_seed() {
        let order = |seed: u64| {
            let tasks = Tasks::new(Some(Random::new(seed)));
            let log = Arc::new(Mutex::new(Vec::new()));
            for number in 0..6 {
                let log = Arc::clone(&log);
                let task = async move { lock(&log).push(number) };
                tasks.executor(1).spawn("logs", Box::pin(task));
            }
            tasks.run_ready(100).unwrap();
            lock(&log).clone()
        };
        assert_eq!(order(1), order(1));
        assert!((2..9).any(|seed| order(seed) != order(1)));
    }
}
