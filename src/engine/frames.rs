//! What the live socket says.

use driftline_core::protocol::{self, Cursor, LiveFrame, Versions};
use driftline_core::sync::{Event, Phase};

use super::driver::{Driver, Flight, Outcome, Way};
use super::exchange::Failed;
use super::live::Word;
use super::requests::weight;
use super::store::Taken;
use crate::provider::ProviderError;
use crate::transport::LiveMessage;

/// Frames held back at most; the next one is applied at once, and the answer then fetched again.
const HELD_FRAMES: usize = 64;

impl Driver {
    pub(super) fn socket_said(&mut self, word: Word) {
        match word {
            Word::Opened => self.tell(Event::LiveOpened),
            Word::Refused(ProviderError::NotOffered) => self.tell(Event::LiveNotOffered),
            Word::Refused(error) => {
                let failed = Failed::from(error).behind(self.mode());
                self.tell(Event::LiveClosed {
                    status: failed.status,
                    code: failed.code,
                    retry_after: failed.retry_after,
                });
            }
            Word::Closed(error) => {
                self.shared.trace(|| {
                    format!(
                        "socket closed {}",
                        error.as_ref().map(ToString::to_string).unwrap_or_default()
                    )
                });
                self.tell(Event::LiveClosed {
                    status: 0,
                    code: String::new(),
                    retry_after: None,
                });
                if matches!(
                    self.flight,
                    Some(Flight {
                        way: Way::Socket { .. },
                        ..
                    })
                ) {
                    self.landed(Outcome::Page(Err(Failed {
                        status: 0,
                        code: String::new(),
                        retry_after: None,
                        detail: "the socket closed".into(),
                    })));
                }
            }
            Word::Message(LiveMessage::Alive) => self.tell(Event::LiveAlive),
            Word::Message(message) => self.frame_or_hold(message),
        }
    }

    /// While ops are under way, frames wait for their answer: the server tells everybody of a commit,
    /// its author too, and the answer says the same in fewer bytes. Applied first, a frame of 2,000 own
    /// ops cost 40 to 100 ms and made the answer's page useless.
    pub(super) fn frame_or_hold(&mut self, message: LiveMessage) {
        self.bytes_down += weight(&message);
        if self.holds_frames() && span(&message).is_some() {
            self.held_frames.push(message);
            self.tell(Event::LiveAlive);
        } else {
            self.frame(&message);
        }
    }

    pub(super) fn holds_frames(&self) -> bool {
        let flight = self.flight.as_ref();
        let pushing = flight.is_some_and(|flight| !flight.sent.is_empty());
        pushing && self.held_frames.len() < HELD_FRAMES
    }

    /// Frames that waited for an answer: old news by now, or what follows it.
    pub(super) fn apply_held_frames(&mut self) {
        for frame in std::mem::take(&mut self.held_frames) {
            self.frame(&frame);
        }
    }

    fn frame(&mut self, message: &LiveMessage) {
        // What this device pushed itself comes back here, behind its own answer: not unpacked, 2,000
        // own ops cost 4 ms less.
        let span = span(message);
        if span.is_some_and(|(_, to)| self.is_old_news(to)) {
            return self.tell(Event::LiveAlive);
        }
        let frame = match self.codec.live_frame(message) {
            Ok(frame) => frame,
            // A frame of a newer server: what it said will come by pull.
            Err(_) => return self.tell(Event::FrameMissed),
        };
        match frame {
            // In the textual form only reading it shows what it is.
            LiveFrame::Versions(_) if span.is_none() && self.holds_frames() => {
                self.held_frames.push(message.clone());
                self.tell(Event::LiveAlive);
            }
            LiveFrame::Versions(versions) if span.is_none() && self.is_old_news(versions.to) => {
                self.tell(Event::LiveAlive);
            }
            LiveFrame::Versions(versions) => self.versions(&versions),
            LiveFrame::Response(response) => {
                let expected = matches!(&self.flight, Some(Flight { way: Way::Socket { tag, .. }, .. }) if *tag == response.tag);
                if expected {
                    self.landed(Outcome::Page(Ok((Box::new(response), 0))));
                }
                self.tell(Event::LiveAlive);
            }
            LiveFrame::Failed {
                status,
                failure,
                tag,
            } => {
                let expected = matches!(&self.flight, Some(Flight { way: Way::Socket { tag: mine, .. }, .. }) if *mine == tag);
                if expected {
                    self.landed(Outcome::Page(Err(Failed {
                        status,
                        code: failure.code,
                        retry_after: failure.retry_after,
                        detail: failure.message,
                    })));
                }
                self.tell(Event::LiveAlive);
            }
            LiveFrame::Behind => self.tell(Event::FrameMissed),
            LiveFrame::Request(_) => {}
        }
    }

    /// Whether there is nothing to do about a frame that ends at `to`.
    fn is_old_news(&self, to: Cursor) -> bool {
        // While base and cursor stand still nothing is applied; the catch-up brings it.
        self.store.is_guest()
            || self.machine.phase() != Phase::None
            || to.version <= self.store.version()
    }

    fn versions(&mut self, frame: &Versions) {
        match self.store.take_frame(frame) {
            Ok(Taken::Whole(applied)) => {
                self.after_apply(applied, true);
                self.last_sync = Some(self.connection.environment.clock.wall());
                self.tell(Event::FrameApplied);
                // Who waits for it has been woken, and is mostly put where this thread runs.
                self.report_at(frame.to.version);
            }
            Ok(Taken::NeedsBase) => self.tell(Event::BootstrapNeeded),
            // It does not follow the cursor, or is none.
            Ok(Taken::ResultsOnly(_) | Taken::Malformed(_)) => self.tell(Event::FrameMissed),
            Err(error) => {
                self.storage_failed(error);
                self.tell(Event::FrameMissed);
            }
        }
    }
}

/// Where a frame of versions begins and ends, if it tells without being read.
fn span(message: &LiveMessage) -> Option<(Cursor, Cursor)> {
    match message {
        LiveMessage::Binary(bytes) => protocol::span(bytes),
        LiveMessage::Text(_) | LiveMessage::Alive => None,
    }
}
