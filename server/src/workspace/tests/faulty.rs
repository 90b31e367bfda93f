//! A store around a real one that fails when it is told to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use driftline_core::id::{CollectionId, DocumentId, OpId, Version};
use driftline_core::ledger::Loss;
use driftline_core::merge::{DocumentState, Record};
use driftline_core::protocol::ChainHash;

use crate::store::*;

pub(super) struct Faulty {
    inner: Arc<dyn WorkspaceStore>,
    pub(super) commits: AtomicU64,
    /// How often a version, and how often a decision, was read by those who write.
    pub(super) versions_read: AtomicU64,
    pub(super) records_read: AtomicU64,
    pub(super) begins_fail: AtomicBool,
    next_commit: AtomicU8,
}

const SUCCEED: u8 = 0;
const FAIL: u8 = 1;
const FAIL_DURABLY: u8 = 2;

impl Faulty {
    pub(super) fn around(inner: Arc<dyn WorkspaceStore>) -> Faulty {
        Faulty {
            inner,
            commits: AtomicU64::default(),
            versions_read: AtomicU64::default(),
            records_read: AtomicU64::default(),
            begins_fail: AtomicBool::default(),
            next_commit: AtomicU8::new(SUCCEED),
        }
    }

    /// Lets the next commit report a failure; `durable` though it went through.
    pub(super) fn commit_fails(&self, durable: bool) {
        let how = if durable { FAIL_DURABLY } else { FAIL };
        self.next_commit.store(how, Ordering::Relaxed);
    }
}

fn failure() -> StoreError {
    StoreError::Unavailable("on purpose".to_owned())
}

impl WorkspaceStore for Faulty {
    fn read(&self) -> Result<Box<dyn Snapshot + '_>, StoreError> {
        self.inner.read()
    }
    fn begin(&self) -> Result<Box<dyn Transaction + '_>, StoreError> {
        if self.begins_fail.load(Ordering::Relaxed) {
            return Err(failure());
        }
        let inner = self.inner.begin()?;
        Ok(Box::new(FaultyTransaction { inner, store: self }))
    }
    fn checkpoint(&self) -> Result<(), StoreError> {
        self.inner.checkpoint()
    }
    fn wants_checkpoint(&self) -> bool {
        self.inner.wants_checkpoint()
    }
}

struct FaultyTransaction<'s> {
    inner: Box<dyn Transaction + 's>,
    store: &'s Faulty,
}

/// Methods that only hand on.
macro_rules! hand_on {
    ($($name:ident($($argument:ident: $type:ty),*) -> $result:ty;)*) => {
        $(fn $name(&mut self, $($argument: $type),*) -> Result<$result, StoreError> {
            self.inner.$name($($argument),*)
        })*
    };
}

impl Snapshot for FaultyTransaction<'_> {
    fn record(&mut self, op: OpId) -> Result<Option<Record>, StoreError> {
        self.store.records_read.fetch_add(1, Ordering::Relaxed);
        self.inner.record(op)
    }
    fn steps(&mut self, version: Version) -> Result<Option<Steps>, StoreError> {
        self.store.versions_read.fetch_add(1, Ordering::Relaxed);
        self.inner.steps(version)
    }
    fn entry(&mut self, version: Version) -> Result<Option<Vec<u8>>, StoreError> {
        self.store.versions_read.fetch_add(1, Ordering::Relaxed);
        self.inner.entry(version)
    }
    hand_on! {
        head() -> Head;
        hash_at(version: Version) -> Option<ChainHash>;
        document(collection: CollectionId, document: &DocumentId) -> Option<DocumentState>;
        log(after: Version, each: &mut dyn FnMut(LogEntry<'_>) -> bool) -> ();
        documents(after: Option<(CollectionId, &str)>, each: &mut dyn FnMut(DocumentRow<'_>) -> bool) -> ();
        origin(version: Version) -> Option<Origin>;
        device(account: &str, device: &str) -> Option<DeviceNumber>;
        losses(device: DeviceNumber, above: u64, most: usize) -> Vec<Loss>;
        writer(writer: u64) -> Option<String>;
        text(place: &TextPlace, most: usize) -> StoredText;
        deleted_bytes(place: &TextPlace, version: Version) -> u64;
        is_counted(place: &TextPlace, version: Version) -> bool;
        unfolded(after: Option<&TextPlace>, most: usize) -> Vec<TextPlace>;
    }
}

impl Transaction for FaultyTransaction<'_> {
    hand_on! {
        author(author: &Author<'_>) -> AuthorNumbers;
        see(sighting: &Sighting) -> ();
        append(version: &NewVersion<'_>) -> ();
        put_document(document: &NewDocument<'_>) -> ();
        put_record(op: OpId, account: i64, record: &Record) -> ();
        last_loss(device: DeviceNumber) -> u64;
        put_loss(device: DeviceNumber, version: Version, loss: &Loss) -> ();
        put_writer(writer: u64, account: i64) -> ();
        append_edit(place: &TextPlace, edit: &NewEdit<'_>) -> ();
        drop_text(place: &TextPlace) -> ();
        put_fold(place: &TextPlace, fold: &NewFold) -> ();
        set_aside(place: &TextPlace, why: &str) -> ();
        set_size(documents: u64, bytes: u64) -> ();
        begin_part() -> ();
        end_part(keep: bool) -> ();
    }

    fn commit(self: Box<Self>) -> Result<(), StoreError> {
        let how = self.store.next_commit.swap(SUCCEED, Ordering::Relaxed);
        if how == FAIL {
            return Err(failure());
        }
        self.inner.commit()?;
        self.store.commits.fetch_add(1, Ordering::Relaxed);
        if how == FAIL_DURABLY {
            Err(failure())
        } else {
            Ok(())
        }
    }
}
