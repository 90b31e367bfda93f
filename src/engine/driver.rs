//! The loop: wait for the next happening, tell the machine, do what it says.

use std::collections::HashSet;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use driftline_core::id::OpId;
use driftline_core::protocol::{
    Cursor, Encoded, LiveFrame, PROTOCOL, Quota, SyncRequest, SyncResponse, limits,
};
use driftline_core::sync::{Action, Answer, Event, Machine, Plan, Purpose, State};
use driftline_core::time::Contact;
use tokio::sync::mpsc::UnboundedReceiver;

use super::bootstrap::{self, SnapshotProgress};
use super::exchange::{self, Failed};
use super::live::{Socket, Word};
use super::store::{Head, Store, Taken};
use super::{Command, Shared};
use crate::environment::{BoxFuture, Environment};
use crate::status::SyncEvent;
use crate::storage::apply::{Applied, PageError};
use crate::storage::runs::Run;
use crate::storage::{Storage, StorageError, outbox};
use crate::sync::{SyncConfig, TokenError};
use crate::transport::{LiveMessage, Transport};

/// Requests larger than this go by HTTP even while the socket is up, so that a long upload does not
/// hold up frames.
const SOCKET_REQUEST_MAX: usize = 64 << 10;

/// What a connection needs to know.
pub(crate) struct Connection {
    pub(crate) config: SyncConfig,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) environment: Environment,
    pub(crate) storage: Arc<Storage>,
    pub(crate) schema: Arc<driftline_core::schema::Schema>,
    pub(crate) workspace: String,
}

/// One connected database's background task.
pub(crate) struct Driver {
    pub(super) connection: Connection,
    pub(super) shared: Arc<Shared>,
    pub(super) store: Store,
    machine: Machine,
    commands: UnboundedReceiver<Command>,
    flight: Option<Flight>,
    socket: Socket,
    token_call: Option<BoxFuture<Result<String, TokenError>>>,
    token: String,
    sleep: Option<(i64, BoxFuture<()>)>,
    /// Accepted and not named yet: sent by id alone.
    accepted: HashSet<OpId>,
    tag: u32,
    bytes_up: u64,
    bytes_down: u64,
    last_sync: Option<i64>,
    quota: Option<Quota>,
    progress: Arc<SnapshotProgress>,
    run: Run,
    set_aside: Vec<OpId>,
}

/// The request on its way.
struct Flight {
    cursor: Cursor,
    sent: Vec<OpId>,
    contact: driftline_core::time::Reading,
    purpose: Purpose,
    way: Way,
}

enum Way {
    /// By HTTP: the future resolves to what came.
    Http(BoxFuture<Outcome>),
    /// Over the socket: the answer repeats the tag, or time runs out.
    Socket { tag: u32, timeout: BoxFuture<()> },
}

/// What a flight brought.
pub(super) enum Outcome {
    Page(Result<(Box<SyncResponse>, u64), Failed>),
    Snapshot(Result<u64, Failed>),
    Fates(Result<(Vec<Applied>, u64), Failed>),
    /// What came could not be stored.
    Stored(StorageError),
    /// What came does not fit what is there.
    Unpaged(PageError),
}

enum Happening {
    Command(Option<Command>),
    Flight(Outcome),
    Token(Result<String, TokenError>),
    Socket(Word),
    Wake,
}

impl Driver {
    pub(crate) fn new(
        connection: Connection,
        shared: Arc<Shared>,
        commands: UnboundedReceiver<Command>,
    ) -> Driver {
        let mut seed = [0; 4];
        connection.environment.ids.fill(&mut seed);
        let machine = Machine::new(connection.config.settings, u32::from_be_bytes(seed));
        let store = Store::new(connection.storage.clone());
        Driver {
            connection,
            store,
            shared,
            machine,
            commands,
            flight: None,
            socket: Socket::Closed,
            token_call: None,
            token: String::new(),
            sleep: None,
            accepted: HashSet::new(),
            tag: 0,
            bytes_up: 0,
            bytes_down: 0,
            last_sync: None,
            quota: None,
            progress: Arc::default(),
            run: Run::default(),
            set_aside: Vec::new(),
        }
    }

    /// Runs until the database is closed.
    pub(crate) async fn run(mut self) {
        let started = match self.store.start() {
            Ok((pending, bootstrap)) => Event::Started { pending, bootstrap },
            Err(error) => {
                self.storage_failed(error);
                Event::Started {
                    pending: true,
                    bootstrap: driftline_core::sync::Phase::None,
                }
            }
        };
        self.tell(started);
        loop {
            let happening = self.next().await;
            match happening {
                Happening::Command(None) => break,
                Happening::Command(Some(Command::LocalWrite)) => self.tell(Event::LocalWrite),
                Happening::Command(Some(Command::Tell(event))) => {
                    // A connection from before a sleep or another network would cost one idle
                    // time-out before it is found dead.
                    if matches!(event, Event::Network { .. } | Event::Foreground) {
                        self.connection.transport.forget_connections();
                    }
                    let closing = event == Event::Close;
                    self.tell(event);
                    if closing {
                        self.answer_barriers();
                        break;
                    }
                }
                Happening::Command(Some(Command::Barrier(done))) => {
                    let _ = done.send(());
                }
                Happening::Flight(outcome) => self.landed(outcome),
                Happening::Token(result) => self.token_arrived(result),
                Happening::Socket(word) => self.socket_said(word),
                Happening::Wake => self.tell(Event::Wake),
            }
        }
        self.shared.end();
    }

    fn answer_barriers(&mut self) {
        while let Ok(command) = self.commands.try_recv() {
            if let Command::Barrier(done) = command {
                let _ = done.send(());
            }
        }
    }

    async fn next(&mut self) -> Happening {
        let now = self.now();
        match self.machine.next_wake(now) {
            None => self.sleep = None,
            Some(at) if self.sleep.as_ref().is_some_and(|(armed, _)| *armed == at) => {}
            Some(at) => {
                let left = u64::try_from(at - now).unwrap_or(0);
                self.sleep = Some((at, self.connection.environment.executor.sleep(left)));
            }
        }
        poll_fn(|cx| {
            if let Poll::Ready(command) = self.commands.poll_recv(cx) {
                return Poll::Ready(Happening::Command(command));
            }
            if let Poll::Ready(word) = self.socket.poll(cx) {
                return Poll::Ready(Happening::Socket(word));
            }
            match self.flight.as_mut().map(|flight| &mut flight.way) {
                Some(Way::Http(future)) => {
                    if let Poll::Ready(outcome) = future.as_mut().poll(cx) {
                        return Poll::Ready(Happening::Flight(outcome));
                    }
                }
                Some(Way::Socket { timeout, .. }) => {
                    if timeout.as_mut().poll(cx).is_ready() {
                        let failed = Failed {
                            status: 0,
                            code: String::new(),
                            retry_after: None,
                            detail: "no answer on the socket".into(),
                        };
                        return Poll::Ready(Happening::Flight(Outcome::Page(Err(failed))));
                    }
                }
                None => {}
            }
            if let Some(call) = &mut self.token_call
                && let Poll::Ready(result) = call.as_mut().poll(cx)
            {
                self.token_call = None;
                return Poll::Ready(Happening::Token(result));
            }
            if let Some((_, sleep)) = &mut self.sleep
                && sleep.as_mut().poll(cx).is_ready()
            {
                self.sleep = None;
                return Poll::Ready(Happening::Wake);
            }
            Poll::Pending
        })
        .await
    }

    pub(super) fn now(&self) -> i64 {
        self.connection.environment.clock.monotonic()
    }

    fn tell(&mut self, event: Event) {
        // Executing an action can make something happen at once, such as a request that could not be
        // built; those events queue up here instead of recursing.
        let mut events = std::collections::VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            self.shared.trace(|| format!("event {}", trace_of(&event)));
            let now = self.now();
            for action in self.machine.handle(now, event) {
                self.shared
                    .trace(|| format!("  action {}", action_name(&action)));
                events.extend(self.execute(action));
            }
        }
    }

    fn execute(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::Request(plan) => return self.request(plan),
            Action::Abandon => {
                self.flight = None;
                self.store.nothing_in_flight();
            }
            Action::AskToken => self.token_call = Some(self.connection.config.token.token()),
            Action::OpenLive => self.open_live(),
            Action::CloseLive => self.socket = Socket::Closed,
            Action::Ping => self.socket.send(None),
            Action::Withdraw(op) => {
                if let Err(error) = self.store.withdraw(op) {
                    return Some(self.storage_failed(error));
                }
            }
            Action::SetAside => {
                self.accepted.clear();
                match self
                    .store
                    .set_aside(self.connection.environment.clock.wall())
                {
                    Ok(copy) => self.shared.emit(SyncEvent::HistoryChanged { copy }),
                    Err(error) => return Some(self.storage_failed(error)),
                }
            }
            Action::BeginBootstrap => {
                if let Err(error) = self.store.begin_bootstrap() {
                    return Some(self.storage_failed(error));
                }
            }
            Action::Release => {
                if let Err(error) = self.store.flush() {
                    self.storage_failed(error);
                }
            }
            Action::Report => self.report(),
        }
        None
    }

    /// Makes the request that the plan asks for. An event is returned when it could not be made.
    fn request(&mut self, plan: Plan) -> Option<Event> {
        match self.try_request(&plan) {
            Ok(flight) => {
                self.machine.sent(flight.sent.clone());
                self.flight = Some(flight);
                None
            }
            Err(error) => {
                self.storage_failed(error);
                Some(Event::Answered(Answer::StorageFailed))
            }
        }
    }

    fn try_request(&mut self, plan: &Plan) -> Result<Flight, StorageError> {
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
                let batch = self.batch(plan)?;
                flight.sent = batch.iter().map(|op| op.id).collect();
                let head = self.store.head()?;
                flight.cursor = head.cursor;
                let ops = exchange::entries(&batch, &self.accepted, contact);
                let bytes: usize = ops.iter().map(|op| op.0.len()).sum();
                if !flight.sent.is_empty() {
                    self.shared.emit(SyncEvent::PushStarted {
                        ops: flight.sent.len(),
                        bytes,
                    });
                }
                self.run = Run {
                    started: contact.wall,
                    cause: "sync".to_owned(),
                    sent: flight.sent.len() as u64,
                    ..Run::default()
                };
                let mut request = request_of(&head, contact, ops);
                if self.socket.is_open() && bytes < SOCKET_REQUEST_MAX {
                    self.tag = self.tag.wrapping_add(1).max(1);
                    request.tag = self.tag;
                    flight.way = self.by_socket(&request);
                } else {
                    flight.way = self.by_http(&request);
                }
            }
            Purpose::CatchUp => {
                let head = self.store.staged_head()?;
                flight.cursor = head.cursor;
                flight.way = self.by_http(&request_of(&head, contact, Vec::new()));
            }
            Purpose::Snapshot => {
                let stage = self.store.stage()?;
                flight.way = Way::Http(bootstrap::receive_snapshot(self, &stage));
            }
            Purpose::AskFates => {
                let head = self.store.staged_head()?;
                flight.cursor = head.cursor;
                flight.way = Way::Http(bootstrap::ask_fates(self, head, contact));
            }
        }
        Ok(flight)
    }

    fn batch(&self, plan: &Plan) -> Result<Vec<outbox::Queued>, StorageError> {
        if plan.max_ops == 0 && plan.only.is_none() {
            return Ok(Vec::new());
        }
        self.store.hand_out(&outbox::Batch {
            max_ops: plan.max_ops.max(1),
            max_bytes: limits::BATCH_BYTES,
            accepted: &self.accepted,
            set_aside: &plan.set_aside,
            only: plan.only,
        })
    }

    fn by_http(&mut self, request: &SyncRequest<Encoded>) -> Way {
        let http = exchange::http(
            &self.address("sync"),
            &self.token,
            request,
            self.idle_timeout(),
        );
        self.bytes_up += http.body.len() as u64;
        let answer = self.connection.transport.request(http);
        Way::Http(Box::pin(async move {
            Outcome::Page(match answer.await {
                Ok(response) => exchange::read(response).await,
                Err(error) => Err(error.into()),
            })
        }))
    }

    fn by_socket(&mut self, request: &SyncRequest<Encoded>) -> Way {
        let frame = LiveFrame::<Encoded, Encoded>::Request(request.clone());
        let bytes = driftline_core::protocol::encode_cbor(&frame);
        self.bytes_up += bytes.len() as u64;
        self.socket.send(Some(bytes));
        Way::Socket {
            tag: request.tag,
            timeout: self
                .connection
                .environment
                .executor
                .sleep(self.idle_timeout()),
        }
    }

    pub(super) fn address(&self, endpoint: &str) -> String {
        format!(
            "{}/v1/workspaces/{}/{endpoint}",
            self.connection.config.url.trim_end_matches('/'),
            self.connection.workspace
        )
    }

    pub(super) fn idle_timeout(&self) -> u64 {
        u64::try_from(self.connection.config.idle_timeout.as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) fn token(&self) -> &str {
        &self.token
    }

    pub(super) fn bearer(&self) -> String {
        format!("Bearer {}", self.token)
    }

    pub(super) fn progress(&self) -> Arc<SnapshotProgress> {
        self.progress.clone()
    }

    fn open_live(&mut self) {
        let request = crate::transport::HttpRequest {
            method: "GET",
            url: self.address("live"),
            headers: vec![("authorization", self.bearer())],
            body: Vec::new(),
            idle_timeout_ms: self.idle_timeout(),
        };
        self.socket = Socket::Opening(self.connection.transport.connect(request));
    }

    fn landed(&mut self, outcome: Outcome) {
        let Some(flight) = self.flight.take() else {
            return;
        };
        self.store.nothing_in_flight();
        let answer = match outcome {
            Outcome::Page(Ok((response, received))) => {
                self.bytes_down += received;
                self.page(&flight, *response)
            }
            Outcome::Snapshot(Ok(received)) => {
                self.bytes_down += received;
                Answer::SnapshotComplete
            }
            Outcome::Fates(Ok((answers, received))) => {
                self.bytes_down += received;
                answers
                    .into_iter()
                    .for_each(|applied| self.after_apply(applied, false));
                self.swap()
            }
            Outcome::Unpaged(error) => self.page_failed(error),
            Outcome::Page(Err(failed))
            | Outcome::Snapshot(Err(failed))
            | Outcome::Fates(Err(failed)) => self.failed(&failed),
            Outcome::Stored(error) => {
                self.storage_failed(error);
                Answer::StorageFailed
            }
        };
        self.settle(answer);
    }

    fn settle(&mut self, answer: Answer) {
        let failed = match &answer {
            Answer::Failed { status, code, .. } => Some(format!("{status} {code}")),
            Answer::StorageFailed => Some("storage".to_owned()),
            _ => None,
        };
        if let Some(code) = &failed {
            self.record_failure(code);
        }
        self.tell(Event::Answered(answer));
        let status = self.machine.status(self.now());
        if failed.is_some() {
            self.shared.emit(SyncEvent::Retry {
                cause: status.cause,
                in_ms: status.retry_in_ms.unwrap_or(0),
            });
        } else if status.state == State::Idle {
            self.last_sync = Some(self.connection.environment.clock.wall());
            self.report();
            self.shared.round_complete();
        }
        self.shared.finish_trace();
    }

    fn failed(&mut self, failed: &Failed) -> Answer {
        self.shared.trace(|| {
            format!(
                "failed: status {} {} {}",
                failed.status, failed.code, failed.detail
            )
        });
        tracing::debug!(status = failed.status, code = %failed.code, detail = %failed.detail, "sync request failed");
        Answer::Failed {
            status: failed.status,
            code: failed.code.clone(),
            retry_after: failed.retry_after,
        }
    }

    /// A failed sync leaves a row as well, unless it is the file that fails.
    fn record_failure(&mut self, code: &str) {
        let now = self.connection.environment.clock.wall();
        let run = Run {
            ended: Some(now),
            outcome: Some("failed".to_owned()),
            error_code: Some(code.to_owned()),
            ..self.run.clone()
        };
        if let Err(error) = self.store.record(&run) {
            tracing::debug!(%error, "a run could not be recorded");
        }
    }

    fn swap(&mut self) -> Answer {
        match self.store.swap() {
            Ok(applied) => {
                self.after_apply(applied, false);
                Answer::Swapped {
                    sendable: self.sendable(),
                }
            }
            Err(error) => self.page_failed(error),
        }
    }

    fn page_failed(&mut self, error: PageError) -> Answer {
        match error {
            PageError::Storage(error) => {
                self.storage_failed(error);
                Answer::StorageFailed
            }
            // What is staged cannot be completed: begin again.
            PageError::OtherSnapshot
            | PageError::NotReady
            | PageError::NoBootstrap
            | PageError::NotAtCursor => {
                self.shared
                    .trace(|| format!("the bootstrap begins again: {error}"));
                Answer::Page {
                    has_more: false,
                    sendable: true,
                    take_snapshot: true,
                }
            }
            other => self.failed(&exchange::not_driftline(other.to_string())),
        }
    }

    /// Stores an answer: results and page in one transaction.
    fn page(&mut self, flight: &Flight, response: SyncResponse) -> Answer {
        let contact = Contact {
            device: flight.contact,
            server: response.server_time,
        };
        self.quota_changed(response.quota);
        let (has_more, take_snapshot) = (response.has_more, response.take_snapshot);
        if flight.purpose == Purpose::CatchUp {
            return match self.store.stage_page(flight.cursor, &response, contact) {
                Ok(_) => Answer::Page {
                    has_more,
                    sendable: self.sendable(),
                    take_snapshot,
                },
                Err(error) => self.page_failed(error),
            };
        }
        let decided = response
            .results
            .iter()
            .filter(|r| is_decided(&r.outcome))
            .count();
        let now = self.connection.environment.clock.wall();
        let run = Run {
            ended: Some(now),
            outcome: Some("done".to_owned()),
            bytes_up: self.bytes_up,
            bytes_down: self.bytes_down,
            ..self.run.clone()
        };
        match self.store.take(flight.cursor, &response, contact, run) {
            Ok(Taken::Whole(applied)) => {
                self.after_apply(applied, false);
                if !flight.sent.is_empty() && decided == 0 {
                    // Not one op was decided: asking again at once would turn in circles.
                    return Answer::Failed {
                        status: 503,
                        code: driftline_core::protocol::failure::code::BUSY.to_owned(),
                        retry_after: None,
                    };
                }
                Answer::Page {
                    has_more,
                    sendable: self.sendable(),
                    take_snapshot,
                }
            }
            Ok(Taken::ResultsOnly(applied)) => {
                self.after_apply(applied, false);
                Answer::Page {
                    has_more: true,
                    sendable: false,
                    take_snapshot,
                }
            }
            Ok(Taken::NeedsBase) => Answer::Page {
                has_more: false,
                sendable: self.sendable(),
                take_snapshot: true,
            },
            Ok(Taken::Malformed(detail)) => self.failed(&exchange::not_driftline(detail)),
            Err(error) => {
                self.storage_failed(error);
                Answer::StorageFailed
            }
        }
    }

    fn sendable(&self) -> bool {
        self.store
            .has_sendable(&self.accepted, &self.set_aside)
            .unwrap_or(true)
    }

    fn after_apply(&mut self, applied: Applied, live: bool) {
        for id in applied.moved.left.iter().chain(&applied.unknown) {
            self.accepted.remove(id);
        }
        self.accepted
            .extend(applied.accepted.iter().map(|(id, _)| *id));
        self.shared.trace(|| {
            format!(
                "  applied {} versions, {} documents; {} ops left, {} rejected",
                applied.versions,
                applied.moved.documents,
                applied.moved.left.len(),
                applied.quarantined.len()
            )
        });
        let left = applied.moved.left.len();
        if left + applied.quarantined.len() > 0 {
            self.shared.emit(SyncEvent::PushFinished {
                accepted: left,
                rejected: applied.quarantined.len(),
            });
        }
        for (op, refusal) in &applied.quarantined {
            self.shared.emit(SyncEvent::Rejected {
                op: op.to_string(),
                code: refusal.code.clone(),
            });
        }
        for conflict in applied.moved.conflicts {
            self.shared.emit(self.conflict(conflict));
        }
        if applied.losses > 0 {
            self.shared.emit(SyncEvent::Lost {
                losses: applied.losses,
            });
        }
        if applied.versions > 0 {
            self.shared.emit(SyncEvent::Pulled {
                versions: applied.versions,
                documents: applied.moved.documents,
                live,
            });
        }
    }

    fn conflict(&self, conflict: crate::storage::rebase::Conflict) -> SyncEvent {
        let collection = self.connection.schema.collection_by_id(conflict.collection);
        let field = collection.and_then(|c| c.field_by_id(conflict.field));
        SyncEvent::Conflict {
            collection: collection.map(|c| c.name.clone()).unwrap_or_default(),
            document: conflict.document.to_string(),
            field: field.map(|f| f.name.clone()).unwrap_or_default(),
            local: conflict.local,
            remote: conflict.remote,
            winner: conflict.winner,
        }
    }

    fn quota_changed(&mut self, quota: Option<Quota>) {
        if let Some(now) = quota.filter(Quota::is_warning)
            && !self.quota.is_some_and(|before| before.is_warning())
        {
            self.shared.emit(SyncEvent::Quota {
                used: now.used,
                limit: now.limit,
            });
        }
        self.quota = quota;
    }

    fn token_arrived(&mut self, result: Result<String, TokenError>) {
        match result {
            Ok(token) => {
                let expires = super::token::expiry(
                    &token,
                    self.store.contact(),
                    self.connection.environment.clock.read(),
                );
                self.token = token;
                self.tell(Event::Token { expires });
            }
            Err(error) => {
                self.shared.emit(SyncEvent::Error {
                    code: "token".to_owned(),
                    message: error.to_string(),
                });
                self.tell(Event::NoToken);
            }
        }
    }

    fn socket_said(&mut self, word: Word) {
        match word {
            Word::Opened => self.tell(Event::LiveOpened),
            Word::Refused(error) => {
                let failed = Failed::from(error);
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
            Word::Message(LiveMessage::Alive | LiveMessage::Text(_)) => self.tell(Event::LiveAlive),
            Word::Message(LiveMessage::Binary(bytes)) => self.frame(&bytes),
        }
    }

    fn frame(&mut self, bytes: &[u8]) {
        self.bytes_down += bytes.len() as u64;
        let frame: LiveFrame =
            match driftline_core::protocol::decode(driftline_core::protocol::Form::Cbor, bytes) {
                Ok(frame) => frame,
                // A frame of a newer server: what it said will come by pull.
                Err(_) => return self.tell(Event::FrameMissed),
            };
        match frame {
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

    fn versions(&mut self, frame: &driftline_core::protocol::Versions) {
        // While base and cursor stand still nothing is applied; the catch-up brings it.
        if self.machine.phase() != driftline_core::sync::Phase::None {
            return self.tell(Event::LiveAlive);
        }
        let cursor = match self.store.cursor() {
            Ok(cursor) => cursor,
            Err(error) => {
                self.storage_failed(error);
                return self.tell(Event::FrameMissed);
            }
        };
        if frame.from != cursor {
            // What this device pushed itself comes back here, behind its own answer.
            let old_news = frame.to.version <= cursor.version;
            return self.tell(if old_news {
                Event::LiveAlive
            } else {
                Event::FrameMissed
            });
        }
        match self.store.take_frame(frame) {
            Ok(Taken::Whole(applied)) => {
                self.after_apply(applied, true);
                self.last_sync = Some(self.connection.environment.clock.wall());
                self.tell(Event::FrameApplied);
                self.report();
            }
            Ok(Taken::NeedsBase) => self.tell(Event::BootstrapNeeded),
            Ok(Taken::ResultsOnly(_) | Taken::Malformed(_)) => self.tell(Event::FrameMissed),
            Err(error) => {
                self.storage_failed(error);
                self.tell(Event::FrameMissed);
            }
        }
    }

    fn storage_failed(&mut self, error: StorageError) -> Event {
        let error = crate::Error::from(error);
        tracing::error!(code = error.code(), %error, "sync could not use the database file");
        self.shared.emit(SyncEvent::Error {
            code: error.code().to_owned(),
            message: error.to_string(),
        });
        Event::Wake
    }

    /// Fills in what only the driver knows, and publishes.
    fn report(&mut self) {
        let mut status = self.machine.status(self.now());
        if let Ok(queue) = self.store.queue() {
            status.pending = queue.pending;
            status.quarantined = queue.quarantined;
        }
        status.version = self.store.version();
        status.last_sync = self.last_sync;
        status.clock_offset_ms = self.store.contact().map(|c| c.clock_offset());
        status.bytes_up = self.bytes_up;
        status.bytes_down = self.bytes_down + self.progress.bytes();
        status.quota = self.quota;
        status.bootstrap = (self.machine.phase() != driftline_core::sync::Phase::None)
            .then(|| self.progress.counts());
        self.shared.publish(status);
    }
}

fn is_decided(outcome: &driftline_core::protocol::Outcome) -> bool {
    use driftline_core::protocol::Outcome as O;
    matches!(
        outcome,
        O::Accepted { .. } | O::Rejected { .. } | O::Unknown
    )
}

/// An event in a trace: kinds and numbers, no content.
fn trace_of(event: &Event) -> String {
    match event {
        Event::Answered(answer) => format!("answered {answer:?}"),
        other => format!("{other:?}"),
    }
}

fn action_name(action: &Action) -> String {
    match action {
        Action::Request(plan) => {
            format!("request {:?}, at most {} ops", plan.purpose, plan.max_ops)
        }
        other => format!("{other:?}"),
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
