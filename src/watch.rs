//! Watched queries: the result now, then what changes in it.

use std::collections::{BTreeSet, HashMap};
use std::future::poll_fn;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use driftline_core::id::CollectionId;
use driftline_core::value::Value;

use crate::error::Result;
use crate::query::{self, Params, Row, Rows};
use crate::storage::{Changes, Storage, StorageError};

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
/// The query runs on the thread that asks. Dropping the subscription ends it.
pub struct Subscription {
    storage: Arc<Storage>,
    signal: Arc<Signal>,
    sql: String,
    params: Params,
    timeout_millis: i64,
    last: Option<Rows>,
}

/// All watched queries of a database.
#[derive(Default)]
pub(crate) struct Watches {
    signals: Mutex<Vec<Weak<Signal>>>,
}

/// Says that a query may have another result now.
struct Signal {
    collections: BTreeSet<CollectionId>,
    state: Mutex<SignalState>,
    raised: Condvar,
}

#[derive(Default)]
struct SignalState {
    dirty: bool,
    ended: bool,
    wakers: Vec<Waker>,
}

impl Watches {
    /// Raises the signal of every query that reads what a commit changed.
    pub(crate) fn committed(&self, changes: &Changes) {
        self.each(|signal| {
            if !signal.collections.is_disjoint(&changes.collections) {
                signal.raise(false);
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
        self.each(|signal| signal.raise(false));
    }

    /// Ends every query.
    pub(crate) fn end(&self) {
        self.each(|signal| signal.raise(true));
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
        let signal = Arc::new(Signal {
            collections,
            state,
            raised: Condvar::new(),
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
        })
    }
}

impl Signal {
    fn state(&self) -> MutexGuard<'_, SignalState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn raise(&self, end: bool) {
        let wakers = {
            let mut state = self.state();
            state.dirty = true;
            state.ended |= end;
            std::mem::take(&mut state.wakers)
        };
        self.raised.notify_all();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Waits until the signal is raised and takes it down; false when the query has ended or the
    /// deadline has passed.
    fn wait(&self, deadline: Option<Instant>) -> bool {
        let mut state = self.state();
        while !state.dirty && !state.ended {
            state = match deadline {
                None => self
                    .raised
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return false;
                    }
                    self.raised
                        .wait_timeout(state, left)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
            };
        }
        state.dirty = false;
        !state.ended
    }

    fn poll(&self, context: &Context<'_>) -> Poll<bool> {
        let mut state = self.state();
        if state.dirty || state.ended {
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
        Poll::Pending
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
        let run = |tx: &crate::storage::ReadTx<'_>| {
            query::run(tx.gated(), &self.sql, &self.params, self.timeout_millis)
        };
        let rows = match self.storage.with_reader(run) {
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
