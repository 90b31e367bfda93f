//! The loop: wait for the next happening, tell the machine, do what it says.

use std::collections::HashSet;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use driftline_core::id::OpId;
use driftline_core::protocol::{Cursor, Quota, SyncResponse};
use driftline_core::sync::{Action, Cause, Event, Machine, Purpose};
use futures_util::FutureExt;
use futures_util::future::select;
use tokio::sync::mpsc::UnboundedReceiver;

use super::ahead::Ahead;
use super::bootstrap::SnapshotProgress;
use super::exchange::{Codec, Failed};
use super::live::{Socket, Word};
use super::office::Office;
use super::prepared::Prepared;
use super::store::Store;
use super::{Command, Shared};
use crate::environment::{BoxFuture, Environment};
use crate::provider::Guard;
use crate::status::SyncEvent;
use crate::storage::apply::{Applied, PageError};
use crate::storage::runs::Run;
use crate::storage::{Storage, StorageError};
use crate::sync::{SyncConfig, TokenError};
use crate::transport::LiveMessage;

/// Milliseconds that the last word to a live socket may take.
const GOODBYE: u64 = 1_000;

/// What a connection needs to know.
pub(crate) struct Connection {
    pub(crate) config: SyncConfig,
    pub(crate) provider: Guard,
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
    pub(super) codec: Codec,
    pub(super) machine: Machine,
    pub(super) commands: UnboundedReceiver<Command>,
    pub(super) flight: Option<Flight>,
    /// The push that is under way before the answer to the last is in the file.
    pub(super) ahead: Option<Ahead>,
    pub(super) socket: Socket,
    /// The last word to a socket that was closed.
    goodbye: Option<BoxFuture<()>>,
    pub(super) token_call: Option<BoxFuture<Result<String, TokenError>>>,
    pub(super) token: String,
    /// Whose token it is, if it says so.
    pub(super) subject: Option<String>,
    pub(super) sleep: Option<(i64, BoxFuture<()>)>,
    /// Accepted and not named yet: sent by id alone.
    pub(super) accepted: HashSet<OpId>,
    pub(super) tag: u32,
    /// What the server knows the live socket by, the last one that was opened.
    pub(super) listener: u64,
    /// The push that is to follow the one under way.
    pub(super) prepared: Option<Prepared>,
    /// The last op of the push under way, until it was looked at what is to follow.
    pub(super) prepare_behind: Option<OpId>,
    /// The status is to be told, as soon as nothing else can be done.
    pub(super) report_due: bool,
    /// It is to be told by then.
    pub(super) report_by: Option<i64>,
    /// How long telling it took the last time.
    pub(super) report_took: i64,
    pub(super) bytes_up: u64,
    pub(super) bytes_down: u64,
    pub(super) last_sync: Option<i64>,
    /// How far the device's clock was from the server's when that was last looked up.
    pub(super) clock_offset: Option<i64>,
    pub(super) quota: Option<Quota>,
    pub(super) progress: Arc<SnapshotProgress>,
    pub(super) held_frames: Vec<LiveMessage>,
    pub(super) run: Run,
    /// Bytes sent and received when the run began.
    pub(super) run_began_at: (u64, u64),
    pub(super) set_aside: Vec<OpId>,
    /// The backend has no snapshot: the log is read from its beginning.
    pub(super) no_snapshot: bool,
    pub(super) office: Office,
    /// The election's row is not written to before.
    pub(super) election_rests_until: i64,
}

/// The request on its way.
pub(super) struct Flight {
    pub(super) cursor: Cursor,
    pub(super) sent: Vec<OpId>,
    pub(super) contact: driftline_core::time::Reading,
    pub(super) purpose: Purpose,
    pub(super) way: Way,
}

pub(super) enum Way {
    /// By HTTP: the future resolves to what came.
    Http(BoxFuture<Outcome>),
    /// Over the socket: the answer repeats the tag, or time runs out.
    Socket { tag: u32, timeout: BoxFuture<()> },
}

/// What a flight brought.
pub(super) enum Outcome {
    Page(Result<(Box<SyncResponse>, u64), Failed>),
    Snapshot(Result<(), Failed>),
    /// The backend has no snapshot.
    NoSnapshot,
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
    /// A piece of the snapshot was stored.
    Progress,
    /// There is nothing to do but to wait.
    Rest,
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
        let registered = connection.provider.registered();
        let codec = Codec::new(
            registered.form,
            registered.zstd,
            Arc::clone(&connection.schema),
        );
        Driver {
            connection,
            store,
            codec,
            shared,
            machine,
            commands,
            flight: None,
            ahead: None,
            socket: Socket::Closed,
            goodbye: None,
            token_call: None,
            token: String::new(),
            subject: None,
            sleep: None,
            accepted: HashSet::new(),
            tag: 0,
            listener: 0,
            prepared: None,
            prepare_behind: None,
            report_due: false,
            report_by: None,
            report_took: 0,
            bytes_up: 0,
            bytes_down: 0,
            last_sync: None,
            clock_offset: None,
            quota: None,
            progress: Arc::default(),
            held_frames: Vec::new(),
            run: Run::default(),
            run_began_at: (0, 0),
            set_aside: Vec::new(),
            no_snapshot: false,
            office: Office::Left,
            election_rests_until: i64::MIN,
        }
    }

    /// Runs until the database is closed.
    pub(crate) async fn run(mut self) {
        self.campaign();
        loop {
            let happening = self.next().await;
            match happening {
                Happening::Command(None) => break,
                Happening::Command(Some(Command::LocalWrite)) => {
                    // It may have taken back what was made ready.
                    self.prepared = None;
                    self.office.hurry(self.now());
                    self.tell(Event::LocalWrite);
                    self.report_soon();
                }
                Happening::Command(Some(Command::AnotherWrote)) => {
                    self.prepared = None;
                    self.look_at_file();
                    self.report_soon();
                }
                Happening::Command(Some(Command::Tell(event))) => {
                    // A connection from before a sleep or another network would cost one idle
                    // time-out before it is found dead.
                    if matches!(event, Event::Network { .. } | Event::Foreground) {
                        self.connection.provider.network_changed();
                    }
                    let closing = event == Event::Close;
                    self.told_by_app(event);
                    if closing {
                        self.say_goodbye().await;
                        self.answer_barriers();
                        break;
                    }
                }
                Happening::Command(Some(Command::SyncFrom(heard))) => {
                    let _ = heard.set(self.shared.rounds());
                    self.told_by_app(Event::SyncNow);
                }
                Happening::Command(Some(Command::Look(asked))) => {
                    self.report();
                    self.shared.looked(&asked);
                }
                Happening::Command(Some(Command::Barrier(done))) => {
                    self.report_if_due();
                    // Behind it the app may be frozen, and the word would never get out.
                    self.say_goodbye().await;
                    let _ = done.send(());
                }
                Happening::Flight(outcome) => self.arrived(outcome).await,
                Happening::Token(result) => self.token_arrived(result),
                Happening::Socket(word) => self.socket_said(word),
                Happening::Wake => {
                    self.tell(Event::Wake);
                    self.candidate();
                    let now = self.now();
                    if self.report_by.is_some_and(|by| by <= now) {
                        // From here on it waits for a rest, and nobody has to be woken for it.
                        (self.report_due, self.report_by) = (true, None);
                    }
                }
                Happening::Progress => self.report_soon(),
                Happening::Rest => {
                    self.prepare_if_due();
                    self.report_if_due();
                }
            }
            if self.office == Office::Lost {
                self.stand_by(Cause::OtherProcess);
            }
        }
        self.report_if_due();
        self.leave();
        self.shared.end();
    }

    /// Closes the live socket, and tells the other side while all else goes on.
    pub(super) fn hang_up(&mut self) {
        if let Some(goodbye) = self.socket.close() {
            let patience = self.connection.environment.executor.sleep(GOODBYE);
            self.goodbye = Some(Box::pin(select(goodbye, patience).map(drop)));
        }
    }

    async fn say_goodbye(&mut self) {
        if let Some(goodbye) = self.goodbye.take() {
            goodbye.await;
        }
    }

    pub(super) fn answer_barriers(&mut self) {
        while let Ok(command) = self.commands.try_recv() {
            if let Command::Barrier(done) = command {
                let _ = done.send(());
            }
        }
    }

    async fn next(&mut self) -> Happening {
        let now = self.now();
        let wakes = [
            self.machine.next_wake(now),
            self.office.next_look(),
            self.report_by,
        ];
        match wakes.into_iter().flatten().min() {
            None => self.sleep = None,
            Some(at) if self.sleep.as_ref().is_some_and(|(armed, _)| *armed == at) => {}
            Some(at) => {
                let left = u64::try_from(at - now).unwrap_or(0);
                self.sleep = Some((at, self.connection.environment.executor.sleep(left)));
            }
        }
        let mut turns = TURNS;
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
                    if self.progress.has_moved() {
                        return Poll::Ready(Happening::Progress);
                    }
                }
                Some(Way::Socket { timeout, .. }) => {
                    let out_of_time = timeout.as_mut().poll(cx);
                    if out_of_time.is_ready() {
                        let failed = Failed::no_answer("no answer on the socket");
                        return Poll::Ready(Happening::Flight(Outcome::Page(Err(failed))));
                    }
                }
                None => {}
            }
            if let Some(goodbye) = &mut self.goodbye
                && goodbye.as_mut().poll(cx).is_ready()
            {
                self.goodbye = None;
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
            match self.report_due || self.prepare_behind.is_some() {
                true => others_had_turns(&mut turns, cx).map(|()| Happening::Rest),
                false => Poll::Pending,
            }
        })
        .await
    }

    pub(super) fn now(&self) -> i64 {
        self.connection.environment.clock.monotonic()
    }

    pub(super) fn tell(&mut self, event: Event) {
        // Executing an action can make something happen at once, such as a request that could not be
        // built; those events queue up here instead of recursing.
        let mut events = std::collections::VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            self.shared.trace(|| format!("event {}", trace_of(&event)));
            let now = self.now();
            for action in self.machine.handle(now, event) {
                self.shared
                    .trace(|| format!("  action {}", action_name(&action)));
                // What is not set aside must not be replaced.
                if action == Action::BeginBootstrap && events.contains(&Event::BootstrapNotBegun) {
                    continue;
                }
                events.extend(self.execute(action));
            }
        }
    }

    pub(super) fn execute(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::Request(plan) => return self.request(plan),
            Action::Abandon => {
                self.held_frames.clear();
                self.flight = None;
                self.drop_prepared();
            }
            Action::AskToken => self.token_call = Some(self.ask_token()),
            Action::OpenLive => return self.open_live(),
            Action::CloseLive => self.hang_up(),
            Action::Ping => return self.ping(),
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
                    Err(error) => {
                        self.storage_failed(error);
                        return Some(Event::BootstrapNotBegun);
                    }
                }
            }
            Action::BeginBootstrap => {
                if let Err(error) = self.store.begin_bootstrap() {
                    self.storage_failed(error);
                    return Some(Event::BootstrapNotBegun);
                }
            }
            Action::Release => {
                if let Err(error) = self.store.flush() {
                    self.storage_failed(error);
                }
            }
            Action::Report => self.report_due = true,
        }
        None
    }

    /// A subscription that takes no pings is no proof that nothing happened: it is asked for.
    fn ping(&mut self) -> Option<Event> {
        if self.socket.takes_messages() {
            self.socket.send(LiveMessage::Alive);
            return None;
        }
        Some(Event::FrameMissed)
    }

    pub(super) fn storage_failed(&mut self, error: StorageError) -> Event {
        if matches!(error, StorageError::NotElected) {
            self.office = Office::Lost;
            return Event::Wake;
        }
        let error = crate::Error::from(error);
        tracing::error!(code = error.code(), %error, "sync could not use the database file");
        self.shared.emit(SyncEvent::Error {
            code: error.code().to_owned(),
            message: error.to_string(),
        });
        Event::Wake
    }
}

/// How often this thread's other tasks have their turn before the driver works at something that takes
/// long: what is to be sent is written to the socket by one of them. A push waited 5 ms for the next one
/// to be made ready.
pub(super) const TURNS: u8 = 3;

/// Lets other tasks have what is left of their turns.
pub(super) fn others_had_turns(left: &mut u8, cx: &mut Context<'_>) -> Poll<()> {
    match left.checked_sub(1) {
        None => Poll::Ready(()),
        Some(fewer) => {
            *left = fewer;
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    }
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
