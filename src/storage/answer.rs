//! What an answer is made of, what applying it brings, and why it may be refused.

use driftline_core::id::{OpId, Version};
use driftline_core::op::Refusal;
use driftline_core::protocol::{Cursor, OpResult, VersionEntry};

use super::error::{StorageError, WriteError};
use super::rebase::Moved;

/// Why an answer was not applied. Nothing changed then.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PageError {
    /// It follows another cursor than the file's: pull again from there.
    #[error("the page does not follow the cursor")]
    NotAtCursor,
    /// It speaks of an op by name only, and the op is not here any more (discarded, or joined with a
    /// later one, since it was sent): pull again without ops, and the server tells it in full.
    #[error("the page leaves out what op {0} did, and the op is gone")]
    EchoWithoutOp(OpId),
    /// It changes a document that base does not have: base is not what the server believes, and must
    /// be fetched anew.
    #[error("the page changes a document that base does not have")]
    BaseMissing,
    /// A bootstrap is under way: base and cursor stand still until it is swapped in.
    #[error("a bootstrap is under way")]
    Bootstrapping,
    /// No bootstrap is under way.
    #[error("no bootstrap is under way")]
    NoBootstrap,
    /// The snapshot is another one than the bootstrap has begun with: begin again.
    #[error("the snapshot is another one")]
    OtherSnapshot,
    /// The new base ends before the old one does, or in something else: the server was restored since it told
    /// of the snapshot.
    #[error("the snapshot is of another history than the file")]
    OtherHistory,
    /// Documents, versions or fates are missing for the swap.
    #[error("the bootstrap is not ready to be swapped in")]
    NotReady,
    /// It is no page.
    #[error("malformed page: {0}")]
    Malformed(String),
    /// The file.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl PageError {
    pub(super) fn malformed(detail: impl Into<String>) -> PageError {
        PageError::Malformed(detail.into())
    }
}

impl WriteError for PageError {
    fn of_storage(&self) -> Option<&StorageError> {
        match self {
            PageError::Storage(error) => Some(error),
            _ => None,
        }
    }
}

impl From<rusqlite::Error> for PageError {
    fn from(error: rusqlite::Error) -> PageError {
        PageError::Storage(error.into())
    }
}

/// Consecutive versions, and the cursors around them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Page<'a> {
    /// The cursor they follow: the request's, or a frame's `from`.
    pub(crate) from: Cursor,
    /// The cursor behind them.
    pub(crate) to: Cursor,
    /// The versions.
    pub(crate) versions: &'a [VersionEntry],
}

/// What the server says of the ops a request carried.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Verdicts<'a> {
    /// The request's cursor.
    pub(crate) asked_at: Cursor,
    /// One for each entry.
    pub(crate) results: &'a [OpResult],
}

impl Verdicts<'_> {
    /// Those behind the first so many.
    pub(super) fn behind(self, first: usize) -> Self {
        Verdicts {
            results: self.results.get(first..).unwrap_or_default(),
            ..self
        }
    }
}

/// What applying an answer did.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Applied {
    pub(crate) moved: Moved,
    /// How many versions.
    pub(crate) versions: usize,
    /// Accepted, and to be named by a page to come: to be sent by id alone until then.
    pub(crate) accepted: Vec<(OpId, Version)>,
    /// Rejected now; they are in quarantine.
    pub(crate) quarantined: Vec<(OpId, Refusal)>,
    /// Discarded ops that the server had accepted before: they took effect.
    pub(crate) discarded_too_late: Vec<OpId>,
    /// Not decided: to be sent again, after the op named if one is.
    pub(crate) retry_later: Vec<(OpId, Option<OpId>)>,
    /// Not decided: text to be authored again.
    pub(crate) rebase: Vec<OpId>,
    /// Never decided although this device believed so: to be sent in full again.
    pub(crate) unknown: Vec<OpId>,
    /// Losses that are new in the ledger.
    pub(crate) losses: usize,
    /// Whether another base is in the file now, with the queue folded on top of it.
    pub(crate) replaced: bool,
}

/// Whether `versions` are those between `from` and `to`, without a gap.
pub(super) fn check_span(
    from: Cursor,
    to: Cursor,
    versions: &[VersionEntry],
) -> std::result::Result<(), PageError> {
    let mut expected = from.version;
    for entry in versions {
        expected = expected.saturating_add(1);
        if entry.version != expected {
            return Err(PageError::malformed(format!(
                "version {} where {expected} was expected",
                entry.version
            )));
        }
        if entry.ids.is_empty() {
            return Err(PageError::malformed(format!(
                "version {expected} names no op"
            )));
        }
    }
    if to.version != expected {
        return Err(PageError::malformed(format!(
            "the page ends at {expected}, its cursor at {}",
            to.version
        )));
    }
    if versions.is_empty() && to != from && from != Cursor::START {
        return Err(PageError::malformed("another hash at the same version"));
    }
    Ok(())
}
