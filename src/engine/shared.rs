//! What the driver shares with the app's threads.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, Weak};
use std::time::{Duration, Instant};

use driftline_core::sync::{State, Status};
use tokio::sync::mpsc::UnboundedSender;

use crate::status::SyncEvent;

/// What the app asks of the driver.
#[derive(Debug)]
pub(crate) enum Command {
    /// A local write was committed.
    LocalWrite,
    /// Another process committed something.
    AnotherWrote,
    /// An event for the machine, as it is.
    Tell(driftline_core::sync::Event),
    /// Sync now, and note how many rounds were complete before: one that ends between the app's word and
    /// its being heard may have begun before what the app wants to see.
    SyncFrom(Arc<OnceLock<u64>>),
    /// Publish a status that knows of everything before this, and say that it is there.
    Look(Arc<OnceLock<()>>),
    /// Answer when the machine has taken note of everything before this.
    Barrier(std::sync::mpsc::Sender<()>),
}

/// How many events a subscriber may be behind before the oldest are dropped.
const EVENTS_KEPT: usize = 1024;

/// Status, events, and the way to the driver.
pub(crate) struct Shared {
    commands: UnboundedSender<Command>,
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Default)]
struct Inner {
    status: Status,
    /// Counts complete rounds: a page was applied with nothing left to send or fetch.
    rounds: u64,
    subscribers: Vec<Weak<Mailbox>>,
    ended: bool,
    trace: Option<Vec<String>>,
    last_trace: Vec<String>,
}

/// One subscriber's unread events.
pub(crate) struct Mailbox {
    unread: Mutex<Unread>,
    arrived: Condvar,
    notify: tokio::sync::Notify,
}

#[derive(Default)]
struct Unread {
    events: VecDeque<SyncEvent>,
    ended: bool,
}

impl Shared {
    pub(crate) fn new(commands: UnboundedSender<Command>) -> Arc<Shared> {
        Arc::new(Shared {
            commands,
            inner: Mutex::default(),
            changed: Condvar::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing in here panics half way through a change.
        self.inner
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Hands a command to the driver; ignored once it has ended.
    pub(crate) fn send(&self, command: Command) {
        let _ = self.commands.send(command);
    }

    pub(crate) fn status(&self) -> Status {
        self.lock().status.clone()
    }

    /// How many ops were pending and in quarantine when the status was told last.
    pub(crate) fn queued(&self) -> (u64, u64) {
        let inner = self.lock();
        (inner.status.pending, inner.status.quarantined)
    }

    /// Publishes a status, and an event if it differs in more than its counters of time.
    pub(crate) fn publish(&self, status: Status) {
        let event = {
            let mut inner = self.lock();
            let differs = inner.status != status;
            inner.status = status.clone();
            differs.then_some(SyncEvent::Status(status))
        };
        self.changed.notify_all();
        if let Some(event) = event {
            self.emit(event);
        }
    }

    pub(crate) fn round_complete(&self) {
        self.lock().rounds += 1;
        self.changed.notify_all();
    }

    pub(crate) fn rounds(&self) -> u64 {
        self.lock().rounds
    }

    /// Tells who waits for it that the status published last is one it may go by.
    pub(crate) fn looked(&self, asked: &OnceLock<()>) {
        // Under the lock: who waits looks under it too, and would else sleep past this.
        let inner = self.lock();
        let _ = asked.set(());
        drop(inner);
        self.changed.notify_all();
    }

    pub(crate) fn emit(&self, event: SyncEvent) {
        let mut inner = self.lock();
        inner
            .subscribers
            .retain(|subscriber| match subscriber.upgrade() {
                Some(mailbox) => {
                    mailbox.put(event.clone());
                    true
                }
                None => false,
            });
    }

    /// A mailbox that begins with the current status.
    pub(crate) fn subscribe(&self) -> Arc<Mailbox> {
        let mailbox = Arc::new(Mailbox {
            unread: Mutex::default(),
            arrived: Condvar::new(),
            notify: tokio::sync::Notify::new(),
        });
        let mut inner = self.lock();
        mailbox.put(SyncEvent::Status(inner.status.clone()));
        if inner.ended {
            mailbox.end();
        }
        inner.subscribers.push(Arc::downgrade(&mailbox));
        mailbox
    }

    /// The driver ended: nobody waits any longer.
    pub(crate) fn end(&self) {
        let mut inner = self.lock();
        inner.ended = true;
        inner.status.state = State::Stopped;
        for subscriber in inner.subscribers.drain(..).filter_map(|s| s.upgrade()) {
            subscriber.end();
        }
        drop(inner);
        self.changed.notify_all();
    }

    /// Waits until `done` says so of (status, rounds), the driver ends, or `deadline` passes.
    pub(crate) fn wait(
        &self,
        deadline: Instant,
        mut done: impl FnMut(&Status, u64) -> bool,
    ) -> bool {
        let mut inner = self.lock();
        loop {
            if done(&inner.status, inner.rounds) {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if inner.ended || left.is_zero() {
                return false;
            }
            let (guard, _) = self
                .changed
                .wait_timeout(inner, left.min(Duration::from_secs(1)))
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            inner = guard;
        }
    }

    pub(crate) fn start_trace(&self) {
        self.lock().trace = Some(Vec::new());
    }

    pub(crate) fn trace(&self, line: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lock().trace {
            lines.push(line());
        }
    }

    pub(crate) fn finish_trace(&self) {
        let mut inner = self.lock();
        if inner.trace.as_ref().is_some_and(|lines| !lines.is_empty()) {
            inner.last_trace = inner.trace.take().unwrap_or_default();
        }
    }

    pub(crate) fn last_trace(&self) -> Vec<String> {
        self.lock().last_trace.clone()
    }
}

impl Mailbox {
    fn put(&self, event: SyncEvent) {
        let mut unread = self
            .unread
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if unread.events.len() >= EVENTS_KEPT {
            unread.events.pop_front();
        }
        unread.events.push_back(event);
        drop(unread);
        self.arrived.notify_all();
        self.notify.notify_one();
    }

    fn end(&self) {
        self.unread
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .ended = true;
        self.arrived.notify_all();
        self.notify.notify_one();
    }

    /// The next event; `None` after the end or when `deadline` passes.
    pub(crate) fn take(&self, deadline: Option<Instant>) -> Option<SyncEvent> {
        let mut unread = self
            .unread
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        loop {
            if let Some(event) = unread.events.pop_front() {
                return Some(event);
            }
            if unread.ended {
                return None;
            }
            let left = deadline.map_or(Duration::from_secs(3600), |at| {
                at.saturating_duration_since(Instant::now())
            });
            if left.is_zero() {
                return None;
            }
            unread = self
                .arrived
                .wait_timeout(unread, left)
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .0;
        }
    }

    /// The next event, without blocking a thread.
    pub(crate) async fn take_async(&self) -> Option<SyncEvent> {
        loop {
            {
                let mut unread = self
                    .unread
                    .lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner);
                if let Some(event) = unread.events.pop_front() {
                    return Some(event);
                }
                if unread.ended {
                    return None;
                }
            }
            self.notify.notified().await;
        }
    }
}
