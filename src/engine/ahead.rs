//! The next push is at the server while the answer to the last one is written into the file.
//!
//! Only a plain answer is followed at once: every op accepted, and the page nothing but their own
//! versions. The push behind it names the cursor that the answer brings, before the file has it. Should
//! the answer not get into the file, that push is dropped: for the device it is one whose answer was
//! lost, and its ops are sent again under the same ids.

use std::future::poll_fn;
use std::task::Poll;

use driftline_core::protocol::{Cursor, Outcome as Verdict, SyncResponse};
use driftline_core::sync::{Plan, Purpose};
use driftline_core::time::Contact;
use tokio::sync::oneshot;

use super::driver::{Driver, Flight, Outcome, TURNS, Way, others_had_turns};
use super::exchange;
use super::requests::request_of;
use super::store::Taken;
use crate::storage::StorageError;
use crate::storage::runs::Run;

/// A push that the machine has not asked for yet.
pub(super) struct Ahead {
    plan: Plan,
    flight: Flight,
    /// Bytes of its ops.
    bytes: usize,
    run: Run,
    run_began_at: (u64, u64),
}

impl Driver {
    /// Takes what a flight brought.
    pub(super) async fn arrived(&mut self, outcome: Outcome) {
        let flight = self.flight.as_ref();
        let plain = matches!(
            &outcome,
            Outcome::Page(Ok((response, _)))
                if flight.is_some_and(|flight| self.is_plain(flight, response))
        );
        let ahead = match &outcome {
            Outcome::Page(Ok((response, _))) if plain => self.send_ahead(response.cursor),
            _ => None,
        };
        match (outcome, ahead) {
            (Outcome::Page(Ok((response, received))), Some(ahead)) => {
                self.store_beside(*response, received, ahead).await;
            }
            (outcome, _) => self.landed(outcome),
        }
    }

    /// Whether the answer says of a push that all of it was done as it says, and nothing else.
    pub(super) fn is_plain(&self, flight: &Flight, response: &SyncResponse) -> bool {
        let accepted = |verdict: &Verdict| matches!(verdict, Verdict::Accepted { .. });
        flight.purpose == Purpose::Sync
            && !flight.sent.is_empty()
            && self.accepted.is_empty()
            && !response.has_more
            && !response.take_snapshot
            && response.losses.is_empty()
            && response.results.len() == flight.sent.len()
            && response.results.iter().all(|r| accepted(&r.outcome))
            && response.versions.iter().all(|entry| entry.echo.is_some())
            && self.store.account().as_ref() == Some(&response.account)
    }

    /// Sends what the machine will ask for when the answer that ends at `cursor` is stored.
    fn send_ahead(&mut self, cursor: Cursor) -> Option<Ahead> {
        let plan = self.machine.ahead(self.now())?;
        if self.is_anothers_token() {
            return None;
        }
        match self.try_ahead(plan, cursor) {
            Ok(ahead) => ahead,
            Err(error) => {
                // The same is tried again when the answer is stored, and told then.
                tracing::debug!(%error, "nothing is sent ahead");
                None
            }
        }
    }

    fn try_ahead(&mut self, plan: Plan, cursor: Cursor) -> Result<Option<Ahead>, StorageError> {
        let answered = self.flight.iter().flat_map(|flight| &flight.sent).max();
        let Some(answered) = answered.copied() else {
            return Ok(None);
        };
        let mut head = self.store.head()?;
        head.cursor = cursor;
        let run_began_at = (self.bytes_up, self.received());
        let (sent, contact, bytes, way) = match self.take_prepared(&plan, answered) {
            Some(ready) => {
                let (contact, bytes) = (ready.contact, ready.bytes);
                let (sent, way) = self.carry_prepared(&head, ready);
                (sent, contact, bytes, way)
            }
            None => {
                let batch = self.batch(&plan, answered)?;
                if batch.is_empty() {
                    return Ok(None);
                }
                let contact = self.connection.environment.clock.read();
                let ops = exchange::entries(&batch, &self.accepted, contact);
                let bytes = ops.iter().map(|op| op.0.len()).sum();
                let way = self.by_http(request_of(&head, contact, ops))?;
                (batch.iter().map(|op| op.id).collect(), contact, bytes, way)
            }
        };
        let run = Run {
            started: contact.wall,
            cause: "push".to_owned(),
            sent: sent.len() as u64,
            ..Run::default()
        };
        let flight = Flight {
            cursor,
            sent,
            contact,
            purpose: Purpose::Sync,
            way,
        };
        self.will_prepare(&flight);
        Ok(Some(Ahead {
            plan,
            flight,
            bytes,
            run,
            run_began_at,
        }))
    }

    /// Stores an answer on a task of its own while the next push is on its way.
    async fn store_beside(&mut self, response: SyncResponse, received: u64, mut ahead: Ahead) {
        let Some(flight) = self.flight.take() else {
            return;
        };
        self.bytes_down += received;
        self.quota_changed(response.quota);
        let contact = Contact {
            device: flight.contact,
            server: response.server_time,
        };
        let run = Run {
            bytes_up: ahead.run_began_at.0 - self.run_began_at.0,
            ..self.ended_now("done", self.run.clone())
        };
        ahead.run_began_at.1 += received;
        // All of them, or nothing would have been sent ahead.
        let pushed = Some(flight.sent.len());
        let (done, mut stored) = oneshot::channel();
        let store = self.store.clone();
        self.connection.environment.executor.spawn(
            "driftline-store",
            Box::pin(async move {
                // Who waits for it is gone if the connection is: the file has it all the same.
                let _ = done.send(store.take(flight.cursor, &response, contact, run, true));
            }),
        );
        let taken = loop {
            let to_prepare = self.prepare_behind.is_some();
            let mut turns = TURNS;
            let stored = poll_fn(|cx| {
                ahead.flight.drive(cx);
                match std::pin::Pin::new(&mut stored).poll(cx) {
                    Poll::Ready(taken) => Poll::Ready(Some(taken)),
                    Poll::Pending if to_prepare => others_had_turns(&mut turns, cx).map(|()| None),
                    Poll::Pending => Poll::Pending,
                }
            });
            match stored.await {
                Some(taken) => break taken,
                None => self.prepare_if_due(),
            }
        };
        let gone = || StorageError::Internal("an answer was not stored".to_owned());
        let taken = taken.unwrap_or_else(|_| Err(gone()));
        let moved = matches!(taken, Ok(Taken::Whole(_)));
        self.ahead = moved.then_some(ahead);
        let answer = self.taken(taken, pushed, false, false, false);
        self.settle(answer);
        self.ahead = None;
        if self.flight.is_none() {
            self.drop_prepared();
        }
        if !self.holds_frames() {
            self.apply_held_frames();
        }
    }

    /// The push that was sent ahead, if it is what the machine asks for now.
    pub(super) fn take_ahead(&mut self, plan: &Plan) -> Option<Flight> {
        let ahead = self.ahead.take_if(|ahead| ahead.plan == *plan)?;
        self.push_began(ahead.flight.sent.len(), ahead.bytes);
        self.run = ahead.run;
        self.run_began_at = ahead.run_began_at;
        Some(ahead.flight)
    }
}

impl Flight {
    /// Lets it go on. What it brings is kept until it is asked for.
    fn drive(&mut self, cx: &mut std::task::Context<'_>) {
        if let Way::Http(future) = &mut self.way
            && let Poll::Ready(outcome) = future.as_mut().poll(cx)
        {
            self.way = Way::Http(Box::pin(std::future::ready(outcome)));
        }
    }
}
