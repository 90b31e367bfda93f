//! The one writer of a workspace: requests that come while it commits share the next commit.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::task::Poll;

use driftline_core::protocol::{Cursor, Encoded, Versions};
use tokio::sync::oneshot;

use super::decide::{Batch, Done};
use super::{Answer, Asked, Listener, NOBODY, Ops, Workspace};
use crate::problem::Problem;
use crate::store::{Sighting, StoreError, Transaction};
use driftline_core::mutant::{Mutant, planted};

/// Requests in one commit: more make the first wait longer than they save.
const GROUP: usize = 64;

/// A request of no more ops is decided where it was read.
const FEW: usize = 16;

/// Devices remembered between commits; beyond them the oldest sighting is forgotten.
const SIGHTINGS: usize = 1_000;

/// Requests that wait to be decided.
#[derive(Default)]
pub(super) struct Queue {
    jobs: Vec<Job>,
    draining: bool,
}

struct Job {
    asked: Asked,
    reply: Reply,
}

type Reply = oneshot::Sender<Result<Answer, Problem>>;

/// What a group is about to make durable.
#[derive(Default)]
struct Group {
    answers: Vec<(Reply, Result<Answer, Problem>)>,
    versions: Vec<Encoded>,
    /// Whose answer tells of all versions; nobody's where several made them.
    told: Option<Listener>,
    /// Whether texts were edited.
    typed: bool,
}

impl Group {
    /// Adds a request's versions, and who is told of all of them by its answer.
    fn add(&mut self, versions: Vec<Encoded>, told: Option<Listener>) {
        if versions.is_empty() {
            return;
        }
        self.told = match self.versions.is_empty() {
            true => told,
            false => None,
        };
        self.versions.extend(versions);
    }
}

/// Lets tasks that have been woken have their turn.
async fn others_first() {
    let mut had_turns = false;
    poll_fn(|cx| match std::mem::replace(&mut had_turns, true) {
        true => Poll::Ready(()),
        false => {
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await;
}

impl Workspace {
    /// Has a request decided; resolves when its outcome is durable.
    pub(super) async fn push(self: &Arc<Self>, asked: Asked) -> Result<Answer, Problem> {
        let (reply, outcome) = oneshot::channel();
        let few = asked.ops.len() <= FEW;
        let start = {
            let mut queue = self.queue();
            queue.jobs.push(Job { asked, reply });
            !std::mem::replace(&mut queue.draining, true)
        };
        if start {
            let workspace = Arc::clone(self);
            let executor = &self.common.environment.executor;
            match few {
                true => executor.run_briefly(Box::new(move || workspace.drain_first())),
                false => executor.run_blocking(Box::new(move || workspace.drain())),
            }
        }
        if few && self.feed.listeners() > 0 {
            // Somebody may look at the others' screens; the author shows its change already.
            others_first().await;
        }
        outcome.await.unwrap_or(Err(Problem::Internal))
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Commits the first group. Whoever came meanwhile is not waited for here.
    fn drain_first(self: &Arc<Self>) {
        self.commit_next();
        let is_done = {
            let mut queue = self.queue();
            queue.draining = !queue.jobs.is_empty();
            !queue.draining
        };
        let workspace = Arc::clone(self);
        let executor = &self.common.environment.executor;
        if !is_done {
            executor.run_blocking(Box::new(move || workspace.drain()));
        } else if self.store.wants_checkpoint() {
            executor.run_blocking(Box::new(move || workspace.checkpoint()));
        }
    }

    /// Commits group after group until nobody waits.
    fn drain(self: &Arc<Self>) {
        while self.commit_next() {}
        if self.store.wants_checkpoint() {
            self.checkpoint();
        }
    }

    /// Commits one group; false if nobody waits.
    fn commit_next(self: &Arc<Self>) -> bool {
        let jobs: Vec<Job> = {
            let mut queue = self.queue();
            if queue.jobs.is_empty() {
                queue.draining = false;
                return false;
            }
            let count = queue.jobs.len().min(GROUP);
            queue.jobs.drain(..count).collect()
        };
        // Jobs lost to a panic answer "internal" when their replies are dropped.
        if catch_unwind(AssertUnwindSafe(|| self.commit_group(jobs))).is_err() {
            tracing::error!("a commit panicked; its requests are undone");
            self.feed.behind();
        }
        true
    }

    fn checkpoint(&self) {
        if let Err(error) = self.store.checkpoint() {
            tracing::warn!(%error, "no checkpoint");
        }
    }

    fn commit_group(self: &Arc<Self>, jobs: Vec<Job>) {
        let now = self.common.environment.clock.wall();
        let mut group = Group::default();
        let committed = self.decide_group(jobs, &mut group, now);
        match committed {
            Ok((from, to)) => {
                if group.typed {
                    self.fold_soon();
                }
                if !group.versions.is_empty() && self.feed.listeners() > 0 {
                    let versions = Versions {
                        from,
                        to,
                        versions: group.versions,
                        server_time: now,
                    };
                    self.feed.tell(versions, group.told.unwrap_or(NOBODY));
                }
                for (reply, outcome) in group.answers {
                    // A device that left does not mind.
                    let _ = reply.send(outcome);
                }
            }
            Err(error) => {
                let problem = Problem::from(error);
                for (reply, _) in group.answers {
                    let _ = reply.send(Err(problem.clone()));
                }
                // It may be durable all the same.
                self.feed.behind();
            }
        }
    }

    /// Decides every job and commits; returns the cursors before and after.
    fn decide_group(
        &self,
        jobs: Vec<Job>,
        group: &mut Group,
        now: i64,
    ) -> Result<(Cursor, Cursor), StoreError> {
        let mut jobs = jobs.into_iter();
        let begun = self.store.begin().and_then(|mut tx| {
            let head = tx.head()?.cursor;
            self.store_sightings(&mut *tx)?;
            Ok((tx, head))
        });
        let (mut tx, from) = match begun {
            Ok(begun) => begun,
            Err(error) => {
                group
                    .answers
                    .extend(jobs.map(|job| (job.reply, Err(Problem::Busy))));
                return Err(error);
            }
        };
        let mut to = from;
        for job in jobs.by_ref() {
            let listener = job.asked.listener;
            match self.decide_one(&mut *tx, job.asked, now) {
                Ok(Ok(done)) => {
                    to = done.head;
                    group.add(
                        done.versions,
                        (done.answer.cursor == to).then_some(listener),
                    );
                    group.typed |= done.typed;
                    group.answers.push((job.reply, Ok(done.answer)));
                }
                Ok(Err(problem)) => group.answers.push((job.reply, Err(problem))),
                Err(error) => {
                    group.answers.push((job.reply, Err(Problem::Busy)));
                    group
                        .answers
                        .extend(jobs.map(|job| (job.reply, Err(Problem::Busy))));
                    return Err(error);
                }
            }
        }
        if planted(Mutant::ServerAnswersBeforeCommit) && to.version % 8 == 7 {
            return Ok((from, to));
        }
        tx.commit()?;
        Ok((from, to))
    }

    /// One job, undone on its own if it fails. The outer error is one of undoing.
    fn decide_one(
        &self,
        tx: &mut (dyn Transaction + '_),
        mut asked: Asked,
        now: i64,
    ) -> Result<Result<Done, Problem>, StoreError> {
        tx.begin_part()?;
        let ops = std::mem::replace(&mut asked.ops, Ops::Read(Vec::new()));
        let done = Batch::begin(tx, &self.common, &asked, self.decide, now)
            .and_then(|batch| batch.run(ops));
        tx.end_part(done.is_ok())?;
        Ok(done)
    }

    /// Remembers a device that only reads; stored with the next commit, for it is not worth its own.
    pub(super) fn note(&self, seen: Sighting) {
        let mut sightings = self
            .sightings
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match sightings
            .iter_mut()
            .find(|s| s.device == seen.device && s.account == seen.account)
        {
            Some(known) => *known = seen,
            None => {
                if sightings.len() >= SIGHTINGS {
                    sightings.remove(0);
                }
                sightings.push(seen);
            }
        }
    }

    fn store_sightings(&self, tx: &mut (dyn Transaction + '_)) -> Result<(), StoreError> {
        let sightings = std::mem::take(
            &mut *self
                .sightings
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        sightings.iter().try_for_each(|seen| tx.see(seen))
    }

    /// Stores what is only in memory, and moves the log into the file.
    pub(super) fn settle(&self) {
        if self.unfolded.load(Ordering::Acquire)
            && let Err(error) = self.fold_turn(None)
        {
            tracing::warn!(%error, "texts could not be folded");
        }
        let stored = self.store.begin().and_then(|mut tx| {
            self.store_sightings(&mut *tx)?;
            tx.commit()
        });
        if let Err(error) = stored.and_then(|()| self.store.checkpoint()) {
            tracing::warn!(%error, "the workspace could not be settled");
        }
    }
}
