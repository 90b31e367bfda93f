//! Where workspaces are kept.
//!
//! A [`ServerStore`] hands out [`WorkspaceStore`]s; those hand out snapshots to read from and, one
//! at a time, transactions to write with. Nothing is decided here: rows in, rows out. Every store
//! passes the one suite in `contract`.
//!
//! Calls block; the server makes them where blocking is allowed.

#[cfg(test)]
mod contract;
mod name;
mod rows;
pub mod sqlite;
mod texts;

use std::sync::Arc;

use driftline_core::id::{CollectionId, DocumentId, OpId, Version};
use driftline_core::ledger::Loss;
use driftline_core::merge::{DocumentState, Record};
use driftline_core::protocol::ChainHash;
use driftline_core::schema::StableIds;

pub use name::WorkspaceName;
pub use rows::{
    Author, AuthorNumbers, DeviceNumber, DocumentRow, Head, LogEntry, NewDocument, NewVersion,
    Origin, Sighting, Step, Steps, Touch,
};
pub use texts::{FoldedState, NewEdit, NewFold, Piece, StoredText, TailEdit, TextPlace};

/// Why a store could not do something. Messages name no content of documents.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The disk is full, a file cannot be read or written, a lock was not released in time.
    #[error("the store cannot be used now: {0}")]
    Unavailable(String),
    /// What was read is not what was written.
    #[error("damaged content: {0}")]
    Damaged(String),
    /// The file was written by a newer build.
    #[error("the file has format {found}, this build knows formats up to {known}")]
    Newer {
        /// The file's format.
        found: i64,
        /// The newest this build knows.
        known: i64,
    },
    /// Another process serves this directory.
    #[error("another process is using {0}")]
    InUse(String),
    /// A statement failed for a reason that waiting does not change.
    #[error("the store failed: {0}")]
    Failed(String),
}

/// All workspaces of a server.
pub trait ServerStore: Send + Sync {
    /// Opens a workspace; `None` if there is none of that name.
    ///
    /// # Errors
    /// What the store says.
    fn open(&self, name: &WorkspaceName) -> Result<Option<Arc<dyn WorkspaceStore>>, StoreError>;

    /// Makes a workspace with this random id, unless there is one of that name already. Returns
    /// whether it was made.
    ///
    /// # Errors
    /// What the store says.
    fn create(&self, name: &WorkspaceName, id: [u8; 16], now: i64) -> Result<bool, StoreError>;

    /// The names of all workspaces, in order.
    ///
    /// # Errors
    /// What the store says.
    fn names(&self) -> Result<Vec<WorkspaceName>, StoreError>;

    /// What the schema's stable numbers meant when it was last recorded.
    ///
    /// # Errors
    /// What the store says.
    fn stable_ids(&self) -> Result<Option<StableIds>, StoreError>;

    /// Records what they mean now.
    ///
    /// # Errors
    /// What the store says.
    fn set_stable_ids(&self, ids: &StableIds) -> Result<(), StoreError>;

    /// Proves that the store can be written to.
    ///
    /// # Errors
    /// Why it cannot.
    fn check_writable(&self) -> Result<(), StoreError>;
}

/// One workspace.
pub trait WorkspaceStore: Send + Sync {
    /// A consistent view of now. Held for one page at most: an open view keeps old content alive.
    ///
    /// # Errors
    /// What the store says.
    fn read(&self) -> Result<Box<dyn Snapshot + '_>, StoreError>;

    /// The one writer; waits for the one before. Dropping it undoes everything.
    ///
    /// # Errors
    /// What the store says.
    fn begin(&self) -> Result<Box<dyn Transaction + '_>, StoreError>;

    /// Moves committed content to its final place, without holding up anybody.
    ///
    /// # Errors
    /// What the store says.
    fn checkpoint(&self) -> Result<(), StoreError>;

    /// Whether [`Self::checkpoint`] is worth calling.
    fn wants_checkpoint(&self) -> bool;
}

/// Reads of one consistent view.
pub trait Snapshot {
    /// The present of the view.
    ///
    /// # Errors
    /// What the store says.
    fn head(&mut self) -> Result<Head, StoreError>;

    /// The chain hash at a version; `None` beyond the head. Version 0 has one.
    ///
    /// # Errors
    /// What the store says.
    fn hash_at(&mut self, version: Version) -> Result<Option<ChainHash>, StoreError>;

    /// What was decided about an op.
    ///
    /// # Errors
    /// What the store says.
    fn record(&mut self, op: OpId) -> Result<Option<Record>, StoreError>;

    /// A document, live or deleted.
    ///
    /// # Errors
    /// What the store says.
    fn document(
        &mut self,
        collection: CollectionId,
        document: &DocumentId,
    ) -> Result<Option<DocumentState>, StoreError>;

    /// Gives the log's rows behind `after` to `each`, in order, until it says `false`.
    ///
    /// # Errors
    /// What the store says.
    fn log(
        &mut self,
        after: Version,
        each: &mut dyn FnMut(LogEntry<'_>) -> bool,
    ) -> Result<(), StoreError>;

    /// Gives documents behind a key to `each`, in order of (collection, id), until it says `false`.
    ///
    /// # Errors
    /// What the store says.
    fn documents(
        &mut self,
        after: Option<(CollectionId, &str)>,
        each: &mut dyn FnMut(DocumentRow<'_>) -> bool,
    ) -> Result<(), StoreError>;

    /// Where a version came from.
    ///
    /// # Errors
    /// What the store says.
    fn origin(&mut self, version: Version) -> Result<Option<Origin>, StoreError>;

    /// What a version touched; `None` if there is no such version.
    ///
    /// # Errors
    /// What the store says.
    fn steps(&mut self, version: Version) -> Result<Option<Steps>, StoreError>;

    /// A version's encoded entry.
    ///
    /// # Errors
    /// What the store says.
    fn entry(&mut self, version: Version) -> Result<Option<Vec<u8>>, StoreError>;

    /// The number of an account's device, if it ever wrote.
    ///
    /// # Errors
    /// What the store says.
    fn device(&mut self, account: &str, device: &str) -> Result<Option<DeviceNumber>, StoreError>;

    /// At most `most` losses of a device with numbers above `above`, in order.
    ///
    /// # Errors
    /// What the store says.
    fn losses(
        &mut self,
        device: DeviceNumber,
        above: u64,
        most: usize,
    ) -> Result<Vec<Loss>, StoreError>;

    /// The account that first wrote under a writer.
    ///
    /// # Errors
    /// What the store says.
    fn writer(&mut self, writer: u64) -> Result<Option<String>, StoreError>;

    /// What is stored of a text, with at most so much of its tail; its first edit is always there.
    ///
    /// # Errors
    /// What the store says.
    fn text(&mut self, place: &TextPlace, most: Piece) -> Result<StoredText, StoreError>;

    /// Bytes that were found deleted when the text was folded up to exactly `version`.
    ///
    /// # Errors
    /// What the store says.
    fn deleted_bytes(&mut self, place: &TextPlace, version: Version) -> Result<u64, StoreError>;

    /// Whether folding the text up to `version` is not going to find anything deleted that its document
    /// counts: it is folded so far, what follows deletes nothing, or it is set aside.
    ///
    /// # Errors
    /// What the store says.
    fn is_counted(&mut self, place: &TextPlace, version: Version) -> Result<bool, StoreError>;

    /// At most `most` texts behind a place, in order, that have a tail and are not set aside.
    ///
    /// # Errors
    /// What the store says.
    fn unfolded(
        &mut self,
        after: Option<&TextPlace>,
        most: usize,
    ) -> Result<Vec<TextPlace>, StoreError>;
}

/// The one writer.
pub trait Transaction: Snapshot {
    /// The numbers of an author, given now if it is new.
    ///
    /// # Errors
    /// What the store says.
    fn author(&mut self, author: &Author<'_>) -> Result<AuthorNumbers, StoreError>;

    /// Notes where a device stood.
    ///
    /// # Errors
    /// What the store says.
    fn see(&mut self, sighting: &Sighting) -> Result<(), StoreError>;

    /// Appends a version.
    ///
    /// # Errors
    /// What the store says.
    fn append(&mut self, version: &NewVersion<'_>) -> Result<(), StoreError>;

    /// Stores a document in place of what it was.
    ///
    /// # Errors
    /// What the store says.
    fn put_document(&mut self, document: &NewDocument<'_>) -> Result<(), StoreError>;

    /// Records a decision, in place of an earlier one.
    ///
    /// # Errors
    /// What the store says.
    fn put_record(&mut self, op: OpId, account: i64, record: &Record) -> Result<(), StoreError>;

    /// The greatest loss number a device was given; 0 for none.
    ///
    /// # Errors
    /// What the store says.
    fn last_loss(&mut self, device: DeviceNumber) -> Result<u64, StoreError>;

    /// Stores a loss for a device.
    ///
    /// # Errors
    /// What the store says.
    fn put_loss(
        &mut self,
        device: DeviceNumber,
        version: Version,
        loss: &Loss,
    ) -> Result<(), StoreError>;

    /// Binds a writer to an account.
    ///
    /// # Errors
    /// What the store says.
    fn put_writer(&mut self, writer: u64, account: i64) -> Result<(), StoreError>;

    /// Appends an edit to a text's tail.
    ///
    /// # Errors
    /// What the store says.
    fn append_edit(&mut self, place: &TextPlace, edit: &NewEdit<'_>) -> Result<(), StoreError>;

    /// Forgets a text: its document began anew without it.
    ///
    /// # Errors
    /// What the store says.
    fn drop_text(&mut self, place: &TextPlace) -> Result<(), StoreError>;

    /// Stores what was folded, in place of the edits up to its version.
    ///
    /// # Errors
    /// What the store says.
    fn put_fold(&mut self, place: &TextPlace, fold: &NewFold) -> Result<(), StoreError>;

    /// Notes that a text is not to be folded any more, and why. Its edits stay.
    ///
    /// # Errors
    /// What the store says.
    fn set_aside(&mut self, place: &TextPlace, why: &str) -> Result<(), StoreError>;

    /// Stores how many documents and bytes there are.
    ///
    /// # Errors
    /// What the store says.
    fn set_size(&mut self, documents: u64, bytes: u64) -> Result<(), StoreError>;

    /// Begins a part that can be undone on its own.
    ///
    /// # Errors
    /// What the store says.
    fn begin_part(&mut self) -> Result<(), StoreError>;

    /// Ends the part: kept, or undone.
    ///
    /// # Errors
    /// What the store says.
    fn end_part(&mut self, keep: bool) -> Result<(), StoreError>;

    /// Makes everything durable. After an error nobody knows whether it is: look it up.
    ///
    /// # Errors
    /// What the store says.
    fn commit(self: Box<Self>) -> Result<(), StoreError>;
}
