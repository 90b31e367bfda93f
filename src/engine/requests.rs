//! What a plan becomes: a request on its way, by HTTP or over the live socket.

use std::sync::Arc;

use driftline_core::id::OpId;
use driftline_core::mutant::{Mutant, planted};
use driftline_core::protocol::failure::code;
use driftline_core::protocol::{Cursor, Encoded, PROTOCOL, SyncRequest, limits};
use driftline_core::sync::{Answer, Event, Plan, Purpose};

use super::bootstrap::{self, SnapshotProgress};
use super::driver::{Driver, Flight, Outcome, Way};
use super::exchange;
use super::live::Socket;
use super::prepared::Prepared;
use super::store::Head;
use crate::provider::{Message, ProviderMode, ProviderRequest};
use crate::status::SyncEvent;
use crate::storage::runs::Run;
use crate::storage::{StorageError, outbox};
use crate::transport::LiveMessage;

/// Requests larger than this go by HTTP even while the socket is up, so that a long upload does not
/// hold up frames.
pub(super) const SOCKET_REQUEST_MAX: usize = 64 << 10;

/// What began a run that fetches base anew.
pub(super) const BOOTSTRAP: &str = "bootstrap";

impl Driver {
    /// Makes the request that the plan asks for. An event is returned when it could not be made.
    pub(super) fn request(&mut self, plan: Plan) -> Option<Event> {
        if self.is_anothers_token() {
            return Some(Event::Answered(wrong_account()));
        }
        if let Some(flight) = self.take_ahead(&plan) {
            self.machine.sent(flight.sent.clone());
            self.flight = Some(flight);
            return None;
        }
        self.ahead = None;
        match self.try_request(&plan) {
            Ok(flight) => {
                self.will_prepare(&flight);
                self.machine.sent(flight.sent.clone());
                if matches!(flight.way, Way::Socket { .. }) {
                    self.machine.sent_by_socket();
                }
                self.flight = Some(flight);
                None
            }
            Err(error) => {
                self.storage_failed(error);
                Some(Event::Answered(Answer::StorageFailed))
            }
        }
    }

    pub(super) fn try_request(&mut self, plan: &Plan) -> Result<Flight, StorageError> {
        let contact = self.connection.environment.clock.read();
        let mut flight = Flight {
            cursor: Cursor::START,
            sent: Vec::new(),
            contact,
            purpose: plan.purpose,
            way: Way::Http(Box::pin(std::future::pending())),
        };
        match plan.purpose {
            Purpose::Sync => {
                self.set_aside = plan.set_aside.clone();
                let head = self.store.head()?;
                flight.cursor = head.cursor;
                if let Some(ready) = self.take_prepared(plan, OpId::ZERO) {
                    self.begin_sync(ready.sent.len(), ready.bytes, contact.wall);
                    flight.contact = ready.contact;
                    (flight.sent, flight.way) = self.carry_prepared(&head, ready);
                    return Ok(flight);
                }
                let batch = self.batch(plan, OpId::ZERO)?;
                flight.sent = batch.iter().map(|op| op.id).collect();
                let ops = exchange::entries(&batch, &self.accepted, contact);
                let bytes: usize = ops.iter().map(|op| op.0.len()).sum();
                self.begin_sync(flight.sent.len(), bytes, contact.wall);
                let mut request = request_of(&head, contact, ops);
                if self.socket.takes_messages() && bytes < SOCKET_REQUEST_MAX {
                    self.tag = self.tag.wrapping_add(1).max(1);
                    request.tag = self.tag;
                    flight.way = self.by_socket(request)?;
                } else {
                    flight.way = self.by_http(request)?;
                }
            }
            Purpose::CatchUp => {
                self.begin_run(BOOTSTRAP, contact.wall);
                let head = self.store.staged_head()?;
                flight.cursor = head.cursor;
                flight.way = self.by_http(request_of(&head, contact, Vec::new()))?;
            }
            Purpose::Snapshot => {
                self.begin_run(BOOTSTRAP, contact.wall);
                let stage = self.store.stage()?;
                flight.way = Way::Http(bootstrap::receive_snapshot(self, &stage));
            }
            Purpose::AskFates => {
                self.begin_run(BOOTSTRAP, contact.wall);
                let head = self.store.staged_head()?;
                flight.cursor = head.cursor;
                flight.way = Way::Http(bootstrap::ask_fates(self, head, contact));
            }
        }
        Ok(flight)
    }

    /// Begins the row of a sync that sends so many ops.
    fn begin_sync(&mut self, ops: usize, bytes: usize, started: i64) {
        self.push_began(ops, bytes);
        let cause = match ops {
            0 => "pull",
            _ => "push",
        };
        self.begin_run(cause, started);
        self.run.sent = ops as u64;
    }

    /// Sends a push that was made ready, with the head that it lacks.
    pub(super) fn carry_prepared(&mut self, head: &Head, ready: Prepared) -> (Vec<OpId>, Way) {
        let request = request_of(head, ready.contact, Vec::new());
        let message = self.codec.request_around(request, ready.ops);
        let way = self.carry_by_http(message, true);
        self.store.set_in_flight(&ready.sent);
        (ready.sent, way)
    }

    pub(super) fn push_began(&self, ops: usize, bytes: usize) {
        if ops > 0 {
            self.shared.emit(SyncEvent::PushStarted { ops, bytes });
        }
    }

    /// Begins the row of a sync. A bootstrap is one, however many requests it takes and however
    /// often it is taken up again.
    fn begin_run(&mut self, cause: &str, started: i64) {
        if cause == BOOTSTRAP && self.run.cause == BOOTSTRAP {
            return;
        }
        self.run_began_at = (self.bytes_up, self.received());
        self.run = Run {
            started,
            cause: cause.to_owned(),
            ..Run::default()
        };
    }

    /// Bytes received since the connection began, those of a snapshot under way included.
    pub(super) fn received(&self) -> u64 {
        self.bytes_down + self.progress.bytes()
    }

    /// The ops that the plan asks for, of those behind `behind`.
    pub(super) fn batch(
        &self,
        plan: &Plan,
        behind: OpId,
    ) -> Result<Vec<outbox::Queued>, StorageError> {
        if plan.max_ops == 0 && plan.only.is_none() {
            return Ok(Vec::new());
        }
        self.store.hand_out(&self.wanted(plan, behind))
    }

    pub(super) fn wanted<'a>(&'a self, plan: &'a Plan, behind: OpId) -> outbox::Batch<'a> {
        outbox::Batch {
            max_ops: plan.max_ops.max(1),
            max_bytes: limits::BATCH_BYTES,
            accepted: &self.accepted,
            set_aside: &plan.set_aside,
            only: plan.only,
            behind,
        }
    }

    pub(super) fn by_http(&mut self, request: SyncRequest<Encoded>) -> Result<Way, StorageError> {
        let pushes = !request.ops.is_empty();
        let message = self.codec.request(request)?;
        Ok(self.carry_by_http(message, pushes))
    }

    pub(super) fn carry_by_http(&mut self, message: Message, pushes: bool) -> Way {
        let carried = self.carried(message);
        self.bytes_up += carried.message.bytes.len() as u64;
        let provider = &self.connection.provider;
        let answer = match pushes {
            true => provider.push(carried),
            false => provider.pull(carried),
        };
        let codec = self.codec.clone();
        Way::Http(Box::pin(async move {
            Outcome::Page(match answer.await {
                Ok(message) => codec.answer(&message),
                Err(error) => Err(error.into()),
            })
        }))
    }

    pub(super) fn by_socket(&mut self, request: SyncRequest<Encoded>) -> Result<Way, StorageError> {
        let tag = request.tag;
        let message = self.codec.live_request(request)?;
        self.bytes_up += weight(&message);
        self.socket.send(message);
        let timeout = self.idle_timeout();
        Ok(Way::Socket {
            tag,
            timeout: self.connection.environment.executor.sleep(timeout),
        })
    }

    /// What the provider is handed around a message.
    pub(super) fn carried(&self, message: Message) -> ProviderRequest {
        let registered = self.connection.provider.registered();
        let auth = match registered.mode {
            ProviderMode::Direct => Some(registered.auth.fill(&self.token)),
            ProviderMode::Gateway => None,
        };
        ProviderRequest {
            workspace: self.connection.workspace.clone(),
            auth,
            account: self.store.account().unwrap_or_default(),
            message,
            resume: None,
            listener: self.listener,
            idle_timeout_ms: self.idle_timeout(),
        }
    }

    /// A number that no other socket has, of this device or of a copy of its file.
    fn new_listener(&self) -> u64 {
        let mut random = [0; 8];
        self.connection.environment.ids.fill(&mut random);
        // JSON's integers end at 2⁵³; 0 is nobody.
        (u64::from_be_bytes(random) >> 11).max(1)
    }

    pub(super) fn idle_timeout(&self) -> u64 {
        u64::try_from(self.connection.config.idle_timeout.as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) fn progress(&self) -> Arc<SnapshotProgress> {
        self.progress.clone()
    }

    /// Whether the token says that it is not this file's account's. Nothing is sent with it, and
    /// nothing received: neither is this account's to see.
    pub(super) fn is_anothers_token(&self) -> bool {
        let account = self.store.account();
        let account = account.filter(|_| !planted(Mutant::AnothersTokenUsed));
        account.is_some_and(|account| {
            self.subject
                .as_ref()
                .is_some_and(|subject| *subject != account)
        })
    }

    pub(super) fn open_live(&mut self) -> Option<Event> {
        if self.is_anothers_token() {
            return Some(Event::LiveClosed {
                status: 403,
                code: code::WRONG_ACCOUNT.to_owned(),
                retry_after: None,
            });
        }
        self.listener = self.new_listener();
        let request = self.carried(Message::default());
        self.socket = Socket::Opening(self.connection.provider.subscribe(request));
        None
    }
}

/// What the server says to another account's token.
pub(super) fn wrong_account() -> Answer {
    Answer::Failed {
        status: 403,
        code: code::WRONG_ACCOUNT.to_owned(),
        retry_after: None,
    }
}

/// The bytes of a message of the live socket.
pub(super) fn weight(message: &LiveMessage) -> u64 {
    match message {
        LiveMessage::Binary(bytes) => bytes.len() as u64,
        LiveMessage::Text(text) => text.len() as u64,
        LiveMessage::Alive => 0,
    }
}

pub(super) fn request_of(
    head: &Head,
    contact: driftline_core::time::Reading,
    ops: Vec<Encoded>,
) -> SyncRequest<Encoded> {
    SyncRequest {
        protocol: PROTOCOL,
        schema_version: head.schema_version,
        account: head.account.clone(),
        device: head.device.clone(),
        cursor: head.cursor,
        losses_ack: head.losses_ack,
        now: contact,
        ops,
        page_bytes: 0,
        tag: 0,
    }
}
