//! What comes back: one transaction an answer, then the machine and the subscribers are told.

use std::collections::HashSet;

use driftline_core::id::OpId;
use driftline_core::op::refusal::READ_ONLY;
use driftline_core::protocol::{Cursor, Outcome as Verdict, Quota, SyncResponse};
use driftline_core::sync::{Answer, Event, Phase, Purpose, State};
use driftline_core::time::Contact;

use super::driver::{Driver, Flight, Outcome};
use super::exchange::{self, Failed};
use super::requests::wrong_account;
use super::store::Taken;
use crate::provider::ProviderMode;
use crate::status::SyncEvent;
use crate::storage::StorageError;
use crate::storage::apply::{Applied, PageError};
use crate::storage::runs::Run;

impl Driver {
    pub(super) fn landed(&mut self, outcome: Outcome) {
        let Some(flight) = self.flight.take() else {
            return;
        };
        if !Driver::stays_prepared(&flight, &outcome) {
            self.drop_prepared();
        }
        let answer = match outcome {
            Outcome::Page(Ok((response, received))) => {
                self.bytes_down += received;
                self.page(&flight, *response)
            }
            Outcome::Snapshot(Ok(())) => Answer::SnapshotComplete,
            Outcome::NoSnapshot => self.read_the_log(),
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
        self.apply_held_frames();
        self.settle(answer);
    }

    pub(super) fn settle(&mut self, answer: Answer) {
        let failed = match &answer {
            Answer::Failed { status: 0, .. } => Some("unreachable".to_owned()),
            Answer::Failed { status, code, .. } => {
                Some(format!("{status} {code}").trim_end().to_owned())
            }
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
            self.serve();
        }
        self.shared.finish_trace();
    }

    pub(super) fn failed(&mut self, failed: &Failed) -> Answer {
        self.shared.trace(|| {
            format!(
                "failed: status {} {} {}",
                failed.status, failed.code, failed.detail
            )
        });
        let failed = failed.clone().behind(self.mode());
        tracing::debug!(status = failed.status, code = %failed.code, detail = %failed.detail, "sync request failed");
        Answer::Failed {
            status: failed.status,
            code: failed.code,
            retry_after: failed.retry_after,
        }
    }

    /// Who authenticates.
    pub(super) fn mode(&self) -> ProviderMode {
        self.connection.provider.registered().mode
    }

    /// A failed sync leaves a row as well, unless it is the file that fails.
    pub(super) fn record_failure(&mut self, code: &str) {
        let run = Run {
            error_code: Some(code.to_owned()),
            ..self.ended_now("failed", self.run.clone())
        };
        self.keep(&run);
    }

    /// A backend without a snapshot: the beginning of the log is a snapshot of nothing.
    fn read_the_log(&mut self) -> Answer {
        self.no_snapshot = true;
        let pinned = self.store.pin(Cursor::START);
        match pinned.and_then(|()| self.store.documents_complete()) {
            Ok(()) => Answer::SnapshotComplete,
            Err(error) => self.page_failed(error),
        }
    }

    fn record_bootstrap(&mut self) {
        let run = std::mem::take(&mut self.run);
        let run = Run {
            received: run.received + self.progress.counts().0,
            ..self.ended_now("done", run)
        };
        self.keep(&run);
    }

    pub(super) fn ended_now(&self, outcome: &str, run: Run) -> Run {
        Run {
            ended: Some(self.connection.environment.clock.wall()),
            outcome: Some(outcome.to_owned()),
            bytes_up: self.bytes_up - self.run_began_at.0,
            bytes_down: self.received() - self.run_began_at.1,
            ..run
        }
    }

    fn keep(&self, run: &Run) {
        if let Err(error) = self.store.record(run) {
            tracing::debug!(%error, "a run could not be recorded");
        }
    }

    pub(super) fn swap(&mut self) -> Answer {
        match self.store.swap() {
            Ok(applied) => {
                if applied.replaced {
                    self.drop_prepared();
                }
                self.after_apply(applied, false);
                self.record_bootstrap();
                Answer::Swapped {
                    sendable: self.sendable(),
                }
            }
            Err(error) => self.page_failed(error),
        }
    }

    pub(super) fn page_failed(&mut self, error: PageError) -> Answer {
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
            // As if the server had said so.
            PageError::OtherHistory => self.failed(&exchange::history_changed()),
            other => match self.distrust_snapshot() {
                Ok(()) => self.failed(&exchange::not_driftline(other.to_string())),
                Err(error) => {
                    self.storage_failed(error);
                    Answer::StorageFailed
                }
            },
        }
    }

    /// A stream of documents that was wrong in one place may have been so before. Resumed behind what came of
    /// it, it would leave out for good whatever it had left out.
    fn distrust_snapshot(&mut self) -> Result<(), StorageError> {
        match self.store.staged()? {
            Some(stage) if stage.phase() == Phase::Documents => self.store.begin_bootstrap(),
            _ => Ok(()),
        }
    }

    /// Stores an answer: results and page in one transaction.
    pub(super) fn page(&mut self, flight: &Flight, response: SyncResponse) -> Answer {
        let contact = Contact {
            device: flight.contact,
            server: response.server_time,
        };
        if let Some(answer) = self.whose(&response) {
            return answer;
        }
        self.quota_changed(response.quota);
        let (has_more, take_snapshot) = (response.has_more, response.take_snapshot);
        if take_snapshot && self.no_snapshot {
            // Begun again and again it would never end.
            let contradiction = "a snapshot is to be taken, and none is offered";
            return self.failed(&exchange::not_driftline(contradiction));
        }
        if flight.purpose == Purpose::CatchUp {
            self.run.received += response.versions.len() as u64;
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
        let turns_in_circles = !flight.sent.is_empty() && decided == 0;
        let pushed = self.accepted_of(flight, &response);
        let run = self.ended_now("done", self.run.clone());
        let plain = self.is_plain(flight, &response);
        let taken = self
            .store
            .take(flight.cursor, &response, contact, run, plain);
        if flight.sent.is_empty() && !has_more && matches!(taken, Ok(Taken::Whole(_))) {
            // All there is has been read. What was accepted before and is not named by now was so in
            // versions that the server has lost, behind a cursor that it still has.
            self.accepted.clear();
        }
        self.taken(taken, pushed, has_more, take_snapshot, turns_in_circles)
    }

    /// How many of the ops that a push carried its answer accepts, those not counted that were known to
    /// be; `None` of a request without ops.
    pub(super) fn accepted_of(&self, flight: &Flight, response: &SyncResponse) -> Option<usize> {
        if flight.sent.is_empty() {
            return None;
        }
        let sent: HashSet<&OpId> = flight.sent.iter().collect();
        let accepted = response.results.iter().filter(|result| {
            matches!(result.outcome, Verdict::Accepted { .. })
                && sent.contains(&result.id)
                && !self.accepted.contains(&result.id)
        });
        Some(accepted.count())
    }

    /// The end of a push is told with its answer, whatever a page brings later.
    fn push_ended(&self, pushed: Option<usize>, applied: &Applied) {
        if let Some(accepted) = pushed {
            self.shared.emit(SyncEvent::PushFinished {
                accepted,
                rejected: applied.quarantined.len(),
            });
        }
    }

    /// What the machine is told of an answer that was stored, or was not.
    pub(super) fn taken(
        &mut self,
        taken: Result<Taken, StorageError>,
        pushed: Option<usize>,
        has_more: bool,
        take_snapshot: bool,
        turns_in_circles: bool,
    ) -> Answer {
        match taken {
            Ok(Taken::Whole(applied)) => {
                self.push_ended(pushed, &applied);
                self.after_apply(applied, false);
                if turns_in_circles {
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
                self.push_ended(pushed, &applied);
                self.after_apply(applied, false);
                // A file that is receiving another base takes no page: where the beginning was stored
                // although its commit had failed, asking again would never end.
                let begun = self.store.stage().is_ok();
                Answer::Page {
                    has_more: !begun,
                    sendable: false,
                    take_snapshot: take_snapshot || begun,
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

    /// Compares accounts before anything of an answer is used. The first answer gives a file without
    /// an account its own; base is then fetched from the beginning, when all that is there is queued.
    fn whose(&mut self, response: &SyncResponse) -> Option<Answer> {
        let theirs = &response.account;
        match self.store.account() {
            Some(account) if theirs.is_empty() || *theirs == account => None,
            Some(_) => Some(wrong_account()),
            None if theirs.is_empty() => Some(wrong_account()),
            None => match self.store.adopt(theirs) {
                Ok(()) => Some(Answer::Page {
                    has_more: false,
                    sendable: true,
                    take_snapshot: true,
                }),
                Err(error) => {
                    self.storage_failed(error);
                    Some(Answer::StorageFailed)
                }
            },
        }
    }

    pub(super) fn sendable(&self) -> bool {
        self.store
            .has_sendable(&self.accepted, &self.set_aside)
            .unwrap_or(true)
    }

    pub(super) fn after_apply(&mut self, applied: Applied, live: bool) {
        if self.store.is_attaching()
            && let Err(error) = self.store.turn_more()
        {
            self.storage_failed(error);
        }
        if !self.accepted.is_empty() {
            for id in applied.moved.left.iter().chain(&applied.unknown) {
                self.accepted.remove(id);
            }
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
        let queue_moved = !applied.moved.left.is_empty() || !applied.quarantined.is_empty();
        if queue_moved || applied.versions > 0 {
            self.report_soon();
        }
        for (op, refusal) in &applied.quarantined {
            // A token that is no JWT told nobody what it allows.
            if refusal.code == READ_ONLY
                && let Err(error) = self.store.note_reader(true)
            {
                tracing::debug!(%error, "the account's role could not be noted");
            }
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

    pub(super) fn conflict(&self, conflict: crate::storage::rebase::Conflict) -> SyncEvent {
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

    pub(super) fn quota_changed(&mut self, quota: Option<Quota>) {
        if let Some(now) = quota.filter(Quota::is_warning)
            && !self.quota.is_some_and(|before| before.is_warning())
        {
            self.shared.emit(SyncEvent::Quota {
                used: now.used,
                limit: now.limit,
            });
        }
        // Nothing else need change by an answer that tells of it.
        self.report_due |= self.quota != quota;
        self.quota = quota;
    }
}

fn is_decided(outcome: &Verdict) -> bool {
    matches!(
        outcome,
        Verdict::Accepted { .. } | Verdict::Rejected { .. } | Verdict::Unknown
    )
}
