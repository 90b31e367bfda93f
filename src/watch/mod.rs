//! Watched queries: the result now, then what changes in it.

mod difference;
mod signal;

use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use self::difference::difference;
use self::signal::{News, Signal};
use crate::error::Result;
use crate::query::{self, Params, Row, Rows};
use crate::storage::{Changes, Origin, ReadTx, Storage, StorageError};

/// What a watched query yields.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
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
#[non_exhaustive]
pub struct ChangedRow {
    /// As it was.
    pub before: Row,
    /// As it is.
    pub after: Row,
}

/// A watched query. It yields the current result first, then an update whenever a commit, of this
/// process or another, changed it; several commits in quick succession may come as one update.
///
/// The query runs while somebody asks. One that takes a millisecond or more rests afterwards, so that
/// watching an expensive query does not hold up writes: for as long as it ran, or nine times as long where
/// another process writes, but never longer than a second. It also gives way to everything else that the
/// machine has to do. What was committed while it rests is told when it has rested. Dropping the
/// subscription ends it.
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

impl Watches {
    /// Raises the signal of every query that reads what a commit changed.
    pub(crate) fn committed(&self, changes: &Changes) {
        self.each(|signal| {
            if signal.concerns(&changes.collections) {
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
        let collections = storage.with_reader(|tx| {
            query::check(tx.gated(), &sql, &params)?;
            tx.gated().collections_of(&sql)
        })?;
        let environment = storage.environment();
        let signal = Arc::new(Signal::new(
            collections,
            Arc::clone(&environment.clock),
            Arc::clone(&environment.executor),
        ));
        signal.raise(News::Own);
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

    /// The same without blocking while it waits. The query itself runs where this is polled, one that
    /// takes a millisecond or more on a thread of its own that is waited for. Dropping the future loses
    /// nothing.
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
        self.signal.has_ended()
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
        let began = self.signal.now();
        let mut looked = Err(StorageError::Closed);
        let mut work = || looked = self.storage.with_reader(run);
        match self.is_dear {
            true => self.signal.run_aside(&mut work),
            false => work(),
        }
        self.is_dear = self.signal.ran_since(began);
        let rows = match looked {
            Ok(rows) => rows,
            // Whoever resumes has every query look again.
            Err(StorageError::Suspended) => return Ok(None),
            Err(StorageError::Closed) => return Ok(None),
            Err(error) => {
                self.signal.raise(News::Own);
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
