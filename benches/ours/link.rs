//! A device's connection to a server.

use std::time::{Duration, Instant};

use driftline::{EventSubscription, State, Sync, SyncEvent};

use crate::Outcome;

/// Nothing that is measured here takes so long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(90);

/// A connection.
pub(crate) struct Link {
    sync: Sync,
}

impl Link {
    pub(super) fn new(sync: Sync) -> Link {
        Link { sync }
    }

    /// Waits until everything queued has left and everything new is here.
    pub(crate) fn settle(&self) -> Outcome<()> {
        self.unless_late(self.sync.wait_until_synced(PATIENCE))
    }

    /// Makes a round now and waits for its end.
    pub(crate) fn sync_now(&self) -> Outcome<()> {
        self.unless_late(self.sync.sync_until(PATIENCE))
    }

    fn unless_late(&self, done: bool) -> Outcome<()> {
        if done {
            Ok(())
        } else {
            Err(format!("sync does not end: {:?}", self.sync.status()).into())
        }
    }

    /// Stops talking, and returns when it has stopped.
    pub(crate) fn pause(&self) -> Outcome<()> {
        self.sync.pause();
        wait_for(|| self.sync.status().state == State::Stopped)
    }

    /// Goes on.
    pub(crate) fn resume(&self) {
        self.sync.resume();
    }

    /// Waits for the live socket.
    pub(crate) fn wait_live(&self) -> Outcome<()> {
        wait_for(|| self.sync.status().live)
    }

    /// What arrives from now on.
    pub(crate) fn arrivals(&self) -> Arrivals {
        Arrivals {
            events: self.sync.events(),
        }
    }
}

fn wait_for(condition: impl Fn() -> bool) -> Outcome<()> {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        if Instant::now() > deadline {
            return Err("a connection does not get where it should".into());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Tells of what was sent and what was applied.
pub(crate) struct Arrivals {
    events: EventSubscription,
}

impl Arrivals {
    /// Waits until something was applied.
    pub(crate) fn wait(&self) -> Outcome<()> {
        loop {
            match self.events.next_timeout(PATIENCE) {
                Some(SyncEvent::Pulled { .. }) => return Ok(()),
                Some(_) => {}
                None => return Err("nothing arrives".into()),
            }
        }
    }

    /// Waits until the answers to so many ops were stored, with which they left the queue.
    pub(crate) fn wait_for_pushed(&self, ops: usize) -> Outcome<()> {
        let mut left = ops;
        while left > 0 {
            match self.events.next_timeout(PATIENCE) {
                Some(SyncEvent::PushFinished { accepted, .. }) => {
                    left = left.saturating_sub(accepted)
                }
                Some(_) => {}
                None => return Err(format!("{left} ops do not leave").into()),
            }
        }
        Ok(())
    }
}
