//! What the driver needs of the file, in its own terms. Every method is one transaction at most.

use std::collections::HashSet;
use std::sync::Arc;

use driftline_core::id::{OpId, Version};
use driftline_core::protocol::{Cursor, Device, DocumentResult, SyncResponse, Versions};
use driftline_core::sync::Phase;
use driftline_core::time::Contact;

use crate::storage::apply::{self, Applied, Page, PageError, Verdicts};
use crate::storage::runs::{self, Run};
use crate::storage::stage::{self, Stage};
use crate::storage::{Origin, Result, Storage, StorageError, meta, outbox};

/// What can also fail because of what came.
pub(super) type Paged<T> = std::result::Result<T, PageError>;

/// The file, for one connection.
#[derive(Clone)]
pub(super) struct Store {
    storage: Arc<Storage>,
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
        Store { storage }
    }

    /// Where a connection begins.
    pub(super) fn start(&self) -> Result<(bool, Phase)> {
        let (sendable, fresh, phase) = self.storage.read(|tx| {
            let sendable = outbox::size(tx.conn())?.pending > 0;
            let staged = stage::status(tx.conn())?;
            Ok::<_, StorageError>((
                sendable,
                tx.cursor()? == Cursor::START,
                staged.map(|s| s.phase()),
            ))
        })?;
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
        self.storage.hand_out(|| {
            let ops = self
                .storage
                .with_reader(|tx| outbox::next_batch(tx.conn(), batch))?;
            let ids = ops.iter().map(|op| op.id).collect();
            Ok((ops, ids))
        })
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
            let batch = outbox::Batch {
                max_ops: accepted.len() + 1,
                max_bytes: 1,
                accepted,
                set_aside,
                only: None,
            };
            Ok(outbox::next_batch(tx.conn(), &batch)?
                .iter()
                .any(|op| !accepted.contains(&op.id)))
        })
    }

    /// Applies an answer to the request made at `asked_at`, in one transaction with its run.
    pub(super) fn take(
        &self,
        asked_at: Cursor,
        response: &SyncResponse,
        contact: Contact,
        run: Run,
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
        let whole = self.storage.write_tx(Origin::Remote, |tx| {
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
        });
        match whole {
            Ok(applied) => Ok(Taken::Whole(applied)),
            Err(
                PageError::NotAtCursor | PageError::EchoWithoutOp(_) | PageError::Bootstrapping,
            ) => {
                let taken = self.storage.write_tx(Origin::Remote, |tx| {
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
        match self
            .storage
            .write_tx(Origin::Remote, |tx| apply::apply_page(tx, page))
        {
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

    pub(super) fn queue(&self) -> Result<outbox::QueueSize> {
        self.storage.with_reader(|tx| outbox::size(tx.conn()))
    }

    /// Turns an op that the server cannot digest into a withdrawal.
    pub(super) fn withdraw(&self, op: OpId) -> Result<()> {
        self.storage.write_tx(Origin::Remote, |tx| {
            outbox::withdraw_undeliverable(tx, op).map(drop)
        })
    }

    pub(super) fn record(&self, run: &Run) -> Result<()> {
        self.storage
            .write_tx(Origin::Remote, |tx| runs::record(tx, run))
    }

    /// Copies the file beside itself and forgets what the lost history had said. Returns the copy.
    pub(super) fn set_aside(&self, now: i64) -> Result<String> {
        stage::set_aside(&self.storage, now)
    }

    pub(super) fn begin_bootstrap(&self) -> Result<()> {
        self.storage.write_tx(Origin::Remote, stage::begin)
    }

    pub(super) fn stage(&self) -> Result<Stage> {
        let stage = self.storage.with_reader(|tx| stage::status(tx.conn()))?;
        stage.ok_or_else(|| StorageError::Internal("nothing is staged".to_owned()))
    }

    pub(super) fn pin(&self, cursor: Cursor) -> Paged<()> {
        self.storage
            .write_tx(Origin::Remote, |tx| stage::pin(tx, cursor))
    }

    pub(super) fn stage_documents(&self, documents: &[DocumentResult]) -> Paged<()> {
        self.storage
            .write_tx(Origin::Remote, |tx| stage::add_documents(tx, documents))
    }

    pub(super) fn documents_complete(&self) -> Paged<()> {
        self.storage
            .write_tx(Origin::Remote, stage::documents_complete)
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
        self.storage
            .write_tx(Origin::Remote, |tx| stage::add_page(tx, page, &contact))
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
        self.storage.write_tx(Origin::Remote, |tx| {
            apply::apply_results(tx, verdicts, &response.losses, Some(&contact))
        })
    }

    pub(super) fn swap(&self) -> Paged<Applied> {
        self.storage
            .write_tx(Origin::Remote, |tx| stage::swap(tx, &[]))
    }

    /// A full commit under `NORMAL` too.
    pub(super) fn flush(&self) -> Result<()> {
        self.storage.flush()
    }
}
