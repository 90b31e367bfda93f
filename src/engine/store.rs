//! What the driver needs of the file, in its own terms. Every method is one transaction at most.

use std::collections::HashSet;
use std::sync::Arc;

use driftline_core::id::{OpId, Version};
use driftline_core::protocol::{Cursor, Device, DocumentResult, SyncResponse, Versions};
use driftline_core::sync::Phase;
use driftline_core::time::Contact;

use crate::storage::apply::{self, Applied, Page, PageError, Verdicts};
use crate::storage::attach::{self, Pace};
use crate::storage::election::{self, Lease, Seat};
use crate::storage::runs::{self, Run};
use crate::storage::stage::{self, Stage};
use crate::storage::{Origin, Result, Storage, StorageError, WriteError, WriteTx, meta, outbox};

/// What can also fail because of what came.
pub(super) type Paged<T> = std::result::Result<T, PageError>;

/// The file, for one connection.
#[derive(Clone)]
pub(super) struct Store {
    storage: Arc<Storage>,
    /// What every transaction is checked against; `None` while this process is not elected.
    lease: Option<Lease>,
}

/// What stands in front of a request's ops.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub(super) schema_version: u32,
    pub(super) account: String,
    pub(super) device: Device,
    pub(super) cursor: Cursor,
    pub(super) losses_ack: u64,
}

/// How an answer was taken.
pub(super) enum Taken {
    /// All of it.
    Whole(Applied),
    /// Its results only; the page must be fetched again, without ops.
    ResultsOnly(Applied),
    /// Base is not what the server believes; it must be fetched anew.
    NeedsBase,
    /// It is no page.
    Malformed(String),
}

impl Store {
    pub(super) fn new(storage: Arc<Storage>) -> Store {
        Store {
            storage,
            lease: None,
        }
    }

    /// One transaction, unless another process has been elected since.
    fn write<T, E: WriteError>(
        &self,
        work: impl FnOnce(&WriteTx<'_>) -> std::result::Result<T, E>,
    ) -> std::result::Result<T, E> {
        self.storage.write_tx(Origin::Remote, |tx| {
            election::check(tx.conn(), self.lease.as_ref())?;
            work(tx)
        })
    }

    /// The same of what is fetched again should it be lost: it does not wait for the disk.
    fn write_lazily<T, E: WriteError>(
        &self,
        work: impl FnOnce(&WriteTx<'_>) -> std::result::Result<T, E>,
    ) -> std::result::Result<T, E> {
        self.storage.write_lazily(Origin::Remote, |tx| {
            election::check(tx.conn(), self.lease.as_ref())?;
            work(tx)
        })
    }

    /// Who syncs, as the file says now.
    pub(super) fn seat(&self) -> Result<Seat> {
        self.storage.with_reader(|tx| election::seat(tx.conn()))
    }

    /// Whether nobody else has been elected since.
    pub(super) fn is_elected(&self, seat: &Seat) -> bool {
        self.lease.is_some_and(|lease| seat.is_held_by(&lease))
    }

    /// Has this process elected in place of what was `seen`. Returns whether it is. Nobody is left to
    /// hold the office when the power goes, so it does not wait for the disk.
    pub(super) fn take_office(&mut self, seen: &Seat, process: &str) -> Result<bool> {
        let name = self.storage.name();
        self.lease = self
            .storage
            .write_lazily(Origin::Remote, |tx| election::take(tx, seen, name, process))?;
        Ok(self.lease.is_some())
    }

    /// Notes that another process was elected.
    pub(super) fn lose_office(&mut self) {
        self.lease = None;
    }

    /// Lets go of the office.
    pub(super) fn leave_office(&mut self) -> Result<()> {
        match self.lease.take() {
            Some(lease) => self
                .storage
                .write_tx(Origin::Remote, |tx| election::release(tx, &lease)),
            None => Ok(()),
        }
    }

    /// Asks the elected process whether it is there. Returns the question's number.
    pub(super) fn ask(&self, sync: bool) -> Result<i64> {
        self.storage
            .write_tx(Origin::Remote, |tx| election::ask(tx, sync))
    }

    pub(super) fn answer(&self) -> Result<()> {
        self.write(|tx| election::answer(tx, self.lease.as_ref()))
    }

    pub(super) fn serve(&self, wanted: i64) -> Result<()> {
        self.write(|tx| election::serve(tx, self.lease.as_ref(), wanted))
    }

    /// Where a connection begins.
    pub(super) fn start(&self) -> Result<(bool, Phase)> {
        let (sendable, fresh, phase) = self.storage.read(|tx| {
            let sendable = outbox::has_pending(tx.conn())?;
            let staged = stage::status(tx.conn())?;
            Ok::<_, StorageError>((
                sendable,
                tx.cursor()? == Cursor::START,
                staged.map(|s| s.phase()),
            ))
        })?;
        if self.storage.is_guest() {
            // Its account comes with the first answer.
            return Ok((false, Phase::None));
        }
        if self.storage.is_attaching() && !self.turn_more()? {
            // All has to be queued before there is a new base; until then the log is followed.
            return Ok((true, Phase::None));
        }
        match phase {
            Some(phase) => Ok((sendable, phase)),
            // A file that never synced takes the documents instead of the history.
            None if fresh => {
                self.begin_bootstrap()?;
                Ok((sendable, Phase::Documents))
            }
            None => Ok((sendable, Phase::None)),
        }
    }

    pub(super) fn head(&self) -> Result<Head> {
        self.storage.read(|tx| self.head_at(tx, tx.cursor()?))
    }

    /// The head of requests during a bootstrap: the cursor of what is staged.
    pub(super) fn staged_head(&self) -> Result<Head> {
        self.storage.read(|tx| {
            let stage = stage::status(tx.conn())?
                .ok_or_else(|| StorageError::Internal("nothing is staged".to_owned()))?;
            self.head_at(tx, stage.cursor)
        })
    }

    fn head_at(&self, tx: &crate::storage::ReadTx<'_>, cursor: Cursor) -> Result<Head> {
        let text = |key| -> Result<String> { Ok(tx.meta::<String>(key)?.unwrap_or_default()) };
        Ok(Head {
            schema_version: tx.schema().version,
            account: text(meta::key::ACCOUNT)?,
            device: Device {
                id: text(meta::key::DEVICE)?,
                label: text(meta::key::DEVICE_LABEL)?,
                writer: tx
                    .meta::<i64>(meta::key::WRITER)?
                    .unwrap_or(0)
                    .cast_unsigned(),
            },
            cursor,
            losses_ack: crate::storage::ledger::acknowledged(tx.conn())?,
        })
    }

    /// The ops of the next request, marked as in flight before any local write can join them.
    pub(super) fn hand_out(&self, batch: &outbox::Batch<'_>) -> Result<Vec<outbox::Queued>> {
        self.storage.hand_out(|| self.chosen(batch))
    }

    /// The same for a push that is to follow the one under way.
    pub(super) fn hand_out_also(&self, batch: &outbox::Batch<'_>) -> Result<Vec<outbox::Queued>> {
        self.storage.hand_out_also(|| self.chosen(batch))
    }

    fn chosen(&self, batch: &outbox::Batch<'_>) -> Result<(Vec<outbox::Queued>, Vec<OpId>)> {
        // One view for both: another process may join ops as soon as it is elected.
        let ops = self.storage.read(|tx| {
            election::check(tx.conn(), self.lease.as_ref())?;
            outbox::next_batch(tx.conn(), batch)
        })?;
        let ids = ops.iter().map(|op| op.id).collect();
        Ok((ops, ids))
    }

    pub(super) fn set_in_flight(&self, ids: &[OpId]) {
        self.storage.set_in_flight(ids);
    }

    pub(super) fn nothing_in_flight(&self) {
        self.storage.set_in_flight(&[]);
    }

    /// Whether a request could carry an op that is not merely waiting to be named.
    pub(super) fn has_sendable(
        &self,
        accepted: &HashSet<OpId>,
        set_aside: &[OpId],
    ) -> Result<bool> {
        self.storage.with_reader(|tx| {
            if accepted.is_empty() && set_aside.is_empty() {
                return outbox::has_pending(tx.conn());
            }
            let batch = outbox::Batch {
                max_ops: accepted.len() + 1,
                max_bytes: 1,
                accepted,
                set_aside,
                only: None,
                behind: OpId::ZERO,
            };
            Ok(outbox::next_batch(tx.conn(), &batch)?
                .iter()
                .any(|op| !accepted.contains(&op.id)))
        })
    }

    /// Applies an answer to the request made at `asked_at`, in one transaction with its run.
    ///
    /// A `plain` one brings nothing but that own ops were accepted. It does not wait for the disk: lost
    /// with the power, it is an answer that never came, and the ops are sent again.
    pub(super) fn take(
        &self,
        asked_at: Cursor,
        response: &SyncResponse,
        contact: Contact,
        run: Run,
        plain: bool,
    ) -> Result<Taken> {
        let verdicts = Verdicts {
            asked_at,
            results: &response.results,
        };
        let page = (!response.take_snapshot).then_some(Page {
            from: asked_at,
            to: response.cursor,
            versions: &response.versions,
        });
        let worth_a_row = !response.results.is_empty() || !response.versions.is_empty();
        let store = |tx: &WriteTx<'_>| {
            let applied =
                apply::apply_answer(tx, verdicts, page, &response.losses, Some(&contact))?;
            if worth_a_row {
                runs::record(
                    tx,
                    &Run {
                        received: response.versions.len() as u64,
                        ..run
                    },
                )?;
            }
            Ok::<_, PageError>(applied)
        };
        let whole = match plain {
            true => self.write_lazily(store),
            false => self.write(store),
        };
        match whole {
            Ok(applied) => Ok(Taken::Whole(applied)),
            Err(
                PageError::NotAtCursor | PageError::EchoWithoutOp(_) | PageError::Bootstrapping,
            ) => {
                let taken = self.write(|tx| {
                    apply::apply_results(tx, verdicts, &response.losses, Some(&contact))
                });
                match taken {
                    Ok(applied) => Ok(Taken::ResultsOnly(applied)),
                    Err(PageError::Storage(error)) => Err(error),
                    Err(other) => Ok(Taken::Malformed(other.to_string())),
                }
            }
            Err(PageError::BaseMissing) => Ok(Taken::NeedsBase),
            Err(PageError::Malformed(detail)) => Ok(Taken::Malformed(detail)),
            Err(PageError::Storage(error)) => Err(error),
            Err(other) => Ok(Taken::Malformed(other.to_string())),
        }
    }

    /// Applies a frame of the live socket. `None`: it does not follow the cursor.
    pub(super) fn take_frame(&self, frame: &Versions) -> Result<Taken> {
        let page = Page {
            from: frame.from,
            to: frame.to,
            versions: &frame.versions,
        };
        match self.write(|tx| apply::apply_page(tx, page)) {
            Ok(applied) => Ok(Taken::Whole(applied)),
            Err(PageError::BaseMissing) => Ok(Taken::NeedsBase),
            Err(PageError::Storage(error)) => Err(error),
            Err(other) => Ok(Taken::Malformed(other.to_string())),
        }
    }

    pub(super) fn cursor(&self) -> Result<Cursor> {
        self.storage.with_reader(|tx| tx.cursor())
    }

    pub(super) fn version(&self) -> Version {
        self.cursor().map_or(0, |cursor| cursor.version)
    }

    pub(super) fn contact(&self) -> Option<Contact> {
        self.storage.with_reader(|tx| tx.contact()).ok().flatten()
    }

    /// How many ops there are, as far as this process knows without counting them again.
    pub(super) fn queue(&self) -> Result<outbox::Counts> {
        self.storage.queued()
    }

    /// How many ops there are, those of other processes included that nobody told of yet.
    pub(super) fn queue_now(&self) -> Result<outbox::Counts> {
        self.storage.with_reader(|tx| outbox::counts(tx.conn()))
    }

    /// Turns an op that the server cannot digest into a withdrawal.
    pub(super) fn withdraw(&self, op: OpId) -> Result<()> {
        self.write(|tx| outbox::withdraw_undeliverable(tx, op).map(drop))
    }

    /// Keeps the row of a sync. Lost with the power it is nothing that anybody misses.
    pub(super) fn record(&self, run: &Run) -> Result<()> {
        self.write_lazily(|tx| runs::record(tx, run))
    }

    /// Copies the file beside itself and forgets what the lost history had said. Returns the copy.
    pub(super) fn set_aside(&self, now: i64) -> Result<String> {
        if self.storage.is_attaching() {
            attach::turn_all(&self.storage, Pace::AtOnce)?;
        }
        stage::set_aside(&self.storage, now, |tx| {
            election::check(tx.conn(), self.lease.as_ref())
        })
    }

    /// Remembers whether the account may only read.
    pub(super) fn note_reader(&self, reader: bool) -> Result<()> {
        self.storage.note_reader(reader)
    }

    /// Whether the file waits for its first answer to learn whose it is.
    pub(super) fn is_guest(&self) -> bool {
        self.storage.is_guest()
    }

    /// Whether documents of a guest are still to be queued.
    pub(super) fn is_attaching(&self) -> bool {
        self.storage.is_attaching()
    }

    pub(super) fn account(&self) -> Option<String> {
        self.storage.account().ok().flatten()
    }

    /// The first answer says whose file it is.
    pub(super) fn adopt(&self, account: &str) -> Result<()> {
        self.write(|tx| attach::begin(tx, account, None))
    }

    /// Queues documents of a guest, as many as fit. Returns whether all are.
    pub(super) fn turn_more(&self) -> Result<bool> {
        Ok(attach::turn_all(&self.storage, Pace::UpToTheLimit)?.complete)
    }

    pub(super) fn begin_bootstrap(&self) -> Result<()> {
        if self.storage.is_attaching() {
            attach::turn_all(&self.storage, Pace::AtOnce)?;
        }
        self.write_lazily(stage::begin)
    }

    pub(super) fn stage(&self) -> Result<Stage> {
        self.staged()?
            .ok_or_else(|| StorageError::Internal("nothing is staged".to_owned()))
    }

    /// What is staged, if a bootstrap is under way.
    pub(super) fn staged(&self) -> Result<Option<Stage>> {
        self.storage.with_reader(|tx| stage::status(tx.conn()))
    }

    pub(super) fn pin(&self, cursor: Cursor) -> Paged<()> {
        self.write_lazily(|tx| stage::pin(tx, cursor))
    }

    pub(super) fn stage_documents(
        &self,
        documents: Vec<DocumentResult>,
        raw: Option<&[u8]>,
    ) -> Paged<()> {
        self.write_lazily(|tx| stage::add_documents(tx, &documents, raw))?;
        if let Some(frame) = raw.filter(|_| !documents.is_empty()) {
            self.storage.keep_unpacked(frame, documents);
        }
        Ok(())
    }

    pub(super) fn documents_complete(&self) -> Paged<()> {
        self.write_lazily(stage::documents_complete)
    }

    /// Adds a page of what changed since the pin. Pages that do not follow are refused.
    pub(super) fn stage_page(
        &self,
        from: Cursor,
        response: &SyncResponse,
        contact: Contact,
    ) -> Paged<()> {
        let page = Page {
            from,
            to: response.cursor,
            versions: &response.versions,
        };
        self.write_lazily(|tx| stage::add_page(tx, page, &contact))
    }

    /// Ops whose fate must be known before base can be swapped.
    pub(super) fn unanswered(&self, most: usize) -> Result<Vec<OpId>> {
        self.storage
            .with_reader(|tx| stage::unanswered(tx.conn(), most))
    }

    /// Keeps what the server said of them.
    pub(super) fn take_fates(
        &self,
        asked_at: Cursor,
        response: &SyncResponse,
        contact: Contact,
    ) -> Paged<Applied> {
        let verdicts = Verdicts {
            asked_at,
            results: &response.results,
        };
        self.write(|tx| apply::apply_results(tx, verdicts, &response.losses, Some(&contact)))
    }

    pub(super) fn swap(&self) -> Paged<Applied> {
        self.write(|tx| stage::swap(tx, &[]))
    }

    /// A full commit under `NORMAL` too.
    pub(super) fn flush(&self) -> Result<()> {
        self.storage.flush()
    }
}
