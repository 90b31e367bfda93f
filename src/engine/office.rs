//! One of the processes that have a file open syncs it: running for that office, holding it, and
//! noticing that it was lost.

use driftline_core::sync::{Cause, Event, Phase};

use super::driver::Driver;
use crate::storage::StorageError;
use crate::storage::election::Seat;

/// A holder that has not answered for so long is taken for frozen. One that was only slow finds out
/// and stands by; nothing is lost by it.
const PATIENCE: i64 = 3_000;

/// How often a candidate looks whether the holder has ended. Only while there is a holder.
const BETWEEN_LOOKS: i64 = 1_000;

/// How often a holder is asked, where the machine can tell that its process has not ended,
const BETWEEN_QUESTIONS: i64 = 30_000;
/// where it cannot,
const BETWEEN_QUESTIONS_BLIND: i64 = 5_000;
/// and where there is something to send.
const BETWEEN_QUESTIONS_WAITING: i64 = 5_000;

/// Where the election could not be written, nobody here tries again before so long. A write that fails
/// still moves the log, and so has the other process look, fail and move it again: on a disk that stayed
/// full two processes woke each other twenty times a second.
const AFTER_A_FAILURE: i64 = 1_000;

/// What this process is in the election.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Office {
    /// It does not sync: paused, suspended, closed.
    Left,
    /// Another process syncs, or the file cannot be written now.
    Candidate(Candidacy),
    /// It syncs. The question after which the sync under way began.
    Elected { wanted: Option<i64> },
    /// A transaction found another process elected.
    Lost,
}

/// How far a candidate is.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Candidacy {
    cause: Cause,
    term: i64,
    look_at: i64,
    ask_at: i64,
    asked_at: i64,
    /// A question nobody has answered yet.
    question: Option<i64>,
    /// A question that wants a sync made.
    wanted: Option<i64>,
    /// Whether ops were queued at the last look.
    pending: bool,
    /// Something to send came since the last question.
    hurried: bool,
}

impl Office {
    /// When to look at the file again.
    pub(super) fn next_look(&self) -> Option<i64> {
        match self {
            Office::Candidate(candidacy) => Some(candidacy.look_at),
            _ => None,
        }
    }

    /// There is something to send: asks the holder soon, in case it sleeps.
    pub(super) fn hurry(&mut self, now: i64) {
        if let Office::Candidate(candidacy) = self {
            candidacy.hurried = true;
            candidacy.ask_soon(now);
        }
    }
}

impl Driver {
    /// Runs for the office: gets it at once if nobody holds it.
    pub(super) fn campaign(&mut self) {
        match self.run_for_office() {
            Ok(true) => self.take_up(),
            Ok(false) => self.stand_by(Cause::OtherProcess),
            Err(error) => {
                self.storage_failed(error);
                self.stand_by(Cause::StorageFailed);
            }
        }
    }

    fn run_for_office(&mut self) -> crate::storage::Result<bool> {
        let seat = self.store.seat()?;
        if !self.is_vacant(&seat) {
            return Ok(false);
        }
        let process = self.connection.environment.processes.own();
        self.store.take_office(&seat, &process)
    }

    fn is_vacant(&self, seat: &Seat) -> bool {
        seat.holder.is_none() || self.has_ended(seat) == Some(true)
    }

    fn has_ended(&self, seat: &Seat) -> Option<bool> {
        let name = seat.process.as_deref()?;
        self.connection.environment.processes.has_ended(name)
    }

    /// This process syncs from now on. What it knew from an earlier time is read again.
    fn take_up(&mut self) {
        self.office = Office::Elected { wanted: None };
        self.accepted.clear();
        self.set_aside.clear();
        let started = match self.store.start() {
            Ok((pending, bootstrap)) => Event::Started { pending, bootstrap },
            Err(error) => {
                self.storage_failed(error);
                Event::Started {
                    pending: true,
                    bootstrap: Phase::None,
                }
            }
        };
        self.tell(started);
    }

    /// Another process syncs: nothing of what is under way here counts any more.
    pub(super) fn stand_by(&mut self, cause: Cause) {
        let now = self.now();
        self.store.lose_office();
        self.office = Office::Candidate(Candidacy {
            cause,
            term: -1,
            look_at: now + BETWEEN_LOOKS,
            ask_at: now,
            asked_at: now,
            question: None,
            wanted: None,
            pending: self.store.queue_now().is_ok_and(|queue| queue.pending > 0),
            hurried: false,
        });
        self.tell(Event::Standby { cause });
        self.report();
        self.look();
    }

    /// What the app asks for; some of it gives up the office or wants it back.
    pub(super) fn told_by_app(&mut self, event: Event) {
        match event {
            Event::Pause | Event::Suspend | Event::Close => {
                self.tell(event);
                self.leave();
            }
            Event::Resume if self.office == Office::Left => self.campaign(),
            Event::SyncNow => {
                self.tell(event);
                self.want_sync();
            }
            event => {
                self.tell(event);
                self.candidate();
            }
        }
    }

    /// Gives the office back.
    pub(super) fn leave(&mut self) {
        self.office = Office::Left;
        if let Err(error) = self.store.leave_office() {
            // Whoever comes next asks, and takes it when nobody answers.
            tracing::debug!(%error, "the office could not be given back");
        }
    }

    /// A candidate's turn, if it is time.
    pub(super) fn candidate(&mut self) {
        if self.office.next_look().is_some_and(|at| at <= self.now()) {
            self.look();
        }
    }

    fn note_holder(&mut self) {
        if let Office::Candidate(candidacy) = &mut self.office
            && candidacy.cause != Cause::OtherProcess
        {
            candidacy.cause = Cause::OtherProcess;
            self.tell(Event::Standby {
                cause: Cause::OtherProcess,
            });
        }
    }

    /// Another process committed something: an election, a question, an answer, or data.
    pub(super) fn look_at_file(&mut self) {
        match &self.office {
            Office::Elected { .. } => self.attend(),
            Office::Candidate(_) => {
                self.look();
                self.note_progress();
            }
            Office::Left | Office::Lost => {}
        }
    }

    /// The holder's part: answers, and sends what the others wrote.
    fn attend(&mut self) {
        let seat = match self.store.seat() {
            Ok(seat) => seat,
            Err(error) => {
                self.storage_failed(error);
                return;
            }
        };
        if !self.store.is_elected(&seat) {
            self.office = Office::Lost;
            return;
        }
        if seat.asked > seat.answered
            && self.may_write_election()
            && let Err(error) = self.store.answer()
        {
            self.election_failed(error);
            return;
        }
        if seat.wanted > seat.served {
            self.office = Office::Elected {
                wanted: Some(seat.wanted),
            };
            self.tell(Event::SyncNow);
        }
        if self.sendable() {
            self.tell(Event::LocalWrite);
        }
        // It counts the queue, which what is to be sent does not wait for.
        self.report_due = true;
    }

    fn may_write_election(&self) -> bool {
        self.now() >= self.election_rests_until
    }

    fn election_failed(&mut self, error: StorageError) {
        self.election_rests_until = self.now() + AFTER_A_FAILURE;
        self.storage_failed(error);
    }

    /// A sync is complete: tells whoever asked for it.
    pub(super) fn serve(&mut self) {
        if let Office::Elected { wanted } = &mut self.office
            && let Some(wanted) = wanted.take()
            && let Err(error) = self.store.serve(wanted)
        {
            self.storage_failed(error);
        }
    }

    /// A candidate wants a sync: whoever is elected makes it.
    fn want_sync(&mut self) {
        if !matches!(self.office, Office::Candidate(_)) {
            return;
        }
        self.look();
        let Office::Candidate(candidacy) = &mut self.office else {
            return;
        };
        let now = self.connection.environment.clock.monotonic();
        match self.store.ask(true) {
            Ok(question) => {
                candidacy.wanted = Some(question);
                if candidacy.question.is_none() {
                    candidacy.question = Some(question);
                    candidacy.asked_at = now;
                }
            }
            Err(error) => {
                self.storage_failed(error);
            }
        }
    }

    /// The candidate's part: sees what the holder did, and takes its place if it is gone.
    fn look(&mut self) {
        let now = self.now();
        let seat = match self.store.seat() {
            Ok(seat) => seat,
            Err(error) => {
                tracing::debug!(%error, "the election could not be looked at");
                if let Office::Candidate(candidacy) = &mut self.office {
                    candidacy.look_at = now + BETWEEN_LOOKS;
                }
                return;
            }
        };
        let (vacant, alive) = (self.is_vacant(&seat), self.has_ended(&seat) == Some(false));
        let Office::Candidate(candidacy) = &mut self.office else {
            return;
        };
        candidacy.look_at = now + BETWEEN_LOOKS;
        candidacy.follow(&seat, now, alive);
        let frozen = candidacy.question.is_some() && now - candidacy.asked_at >= PATIENCE;
        if vacant || frozen {
            return self.replace(&seat);
        }
        self.note_holder();
        self.ask_if_due(now);
    }

    fn replace(&mut self, seat: &Seat) {
        if !self.may_write_election() {
            return;
        }
        let process = self.connection.environment.processes.own();
        match self.store.take_office(seat, &process) {
            Ok(true) => self.take_up(),
            // Somebody else was faster, or it answered just now.
            Ok(false) => {}
            Err(error) => {
                tracing::debug!(%error, "the office could not be taken");
                self.election_rests_until = self.now() + AFTER_A_FAILURE;
            }
        }
    }

    fn ask_if_due(&mut self, now: i64) {
        let may_write = self.may_write_election();
        let Office::Candidate(candidacy) = &mut self.office else {
            return;
        };
        if candidacy.question.is_some() || now < candidacy.ask_at || !may_write {
            return;
        }
        match self.store.ask(false) {
            Ok(question) => {
                candidacy.question = Some(question);
                candidacy.asked_at = now;
                candidacy.hurried = false;
            }
            Err(error) => {
                tracing::debug!(%error, "the elected process could not be asked");
                self.election_rests_until = now + AFTER_A_FAILURE;
            }
        }
    }

    /// Tells the app what the holder got done.
    fn note_progress(&mut self) {
        let Ok(seat) = self.store.seat() else {
            return;
        };
        let pending = self.store.queue_now().is_ok_and(|queue| queue.pending > 0);
        let Office::Candidate(candidacy) = &mut self.office else {
            return;
        };
        let served = candidacy.wanted.is_some_and(|wanted| seat.served >= wanted);
        let drained = candidacy.pending && !pending;
        candidacy.pending = pending;
        if served {
            candidacy.wanted = None;
        }
        self.report();
        if served || drained {
            self.shared.round_complete();
        }
    }
}

impl Candidacy {
    /// Takes note of the holder's answers.
    fn follow(&mut self, seat: &Seat, now: i64, alive: bool) {
        let pause = match alive {
            true => BETWEEN_QUESTIONS,
            false => BETWEEN_QUESTIONS_BLIND,
        };
        if self.term != seat.term {
            // Another holder than the one that was asked.
            self.term = seat.term;
            self.question = None;
            self.ask_at = self.ask_at.min(now + pause);
        }
        if self.question.is_some_and(|asked| seat.answered >= asked) {
            self.question = None;
            self.ask_at = now + pause;
            if self.hurried {
                // The answer says nothing of whether the holder slept since.
                self.ask_soon(now);
            }
        }
    }

    fn ask_soon(&mut self, now: i64) {
        let soon = self.asked_at + BETWEEN_QUESTIONS_WAITING;
        self.ask_at = self.ask_at.min(soon.max(now));
    }
}
