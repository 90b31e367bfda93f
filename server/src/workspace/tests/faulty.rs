//! A store around a real one that fails when it is told to, and counts what is read of texts.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use driftline_core::id::{CollectionId, DocumentId, OpId, Version};
use driftline_core::ledger::Loss;
use driftline_core::merge::{DocumentState, Record};
use driftline_core::protocol::ChainHash;

use crate::store::*;

pub(crate) struct Faulty {
    inner: Arc<dyn WorkspaceStore>,
    pub(super) commits: AtomicU64,
    /// How often a version, and how often a decision, was read by those who write.
    pub(super) versions_read: AtomicU64,
    pub(super) records_read: AtomicU64,
    pub(super) begins_fail: AtomicBool,
    next_commit: AtomicU8,
    /// Bytes of documents' states that were handed out in order of their keys.
    pub(crate) documents_read: AtomicU64,
    /// Every reading of a text, in order.
    pub(crate) texts: Mutex<Vec<TextRead>>,
    /// Called behind every reading of a text.
    behind_text: Mutex<Option<BehindText>>,
}

/// A reading of a text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct TextRead {
    pub(crate) place: TextPlace,
    /// Bytes of its edits.
    pub(crate) bytes: usize,
    /// Its edits.
    pub(crate) edits: usize,
}

type BehindText = Box<dyn FnMut() + Send>;

const SUCCEED: u8 = 0;
const FAIL: u8 = 1;
const FAIL_DURABLY: u8 = 2;

impl Faulty {
    pub(crate) fn around(inner: Arc<dyn WorkspaceStore>) -> Faulty {
        Faulty {
            inner,
            commits: AtomicU64::default(),
            versions_read: AtomicU64::default(),
            records_read: AtomicU64::default(),
            begins_fail: AtomicBool::default(),
            next_commit: AtomicU8::new(SUCCEED),
            documents_read: AtomicU64::default(),
            texts: Mutex::default(),
            behind_text: Mutex::default(),
        }
    }

    /// Has this called behind every reading of a text.
    pub(crate) fn behind_every_text(&self, call: impl FnMut() + Send + 'static) {
        *self.behind_text.lock().unwrap() = Some(Box::new(call));
    }

    fn read_text(&self, place: &TextPlace, text: &StoredText) {
        self.texts.lock().unwrap().push(TextRead {
            place: place.clone(),
            bytes: text.tail.iter().map(|edit| edit.edit.len()).sum(),
            edits: text.tail.len(),
        });
        // Taken out meanwhile: it may read texts itself.
        let call = self.behind_text.lock().unwrap().take();
        if let Some(mut call) = call {
            call();
            *self.behind_text.lock().unwrap() = Some(call);
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
        Ok(Box::new(Watched {
            inner: self.inner.read()?,
            store: self,
            writes: false,
        }))
    }
    fn begin(&self) -> Result<Box<dyn Transaction + '_>, StoreError> {
        if self.begins_fail.load(Ordering::Relaxed) {
            return Err(failure());
        }
        Ok(Box::new(Watched {
            inner: self.inner.begin()?,
            store: self,
            writes: true,
        }))
    }
    fn checkpoint(&self) -> Result<(), StoreError> {
        self.inner.checkpoint()
    }
    fn wants_checkpoint(&self) -> bool {
        self.inner.wants_checkpoint()
    }
}

struct Watched<'s, T: ?Sized> {
    inner: Box<T>,
    store: &'s Faulty,
    writes: bool,
}

impl<T: ?Sized> Watched<'_, T> {
    fn count(&self, reads: &AtomicU64) {
        if self.writes {
            reads.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Methods that only hand on.
macro_rules! hand_on {
    ($($name:ident($($argument:ident: $type:ty),*) -> $result:ty;)*) => {
        $(fn $name(&mut self, $($argument: $type),*) -> Result<$result, StoreError> {
            self.inner.$name($($argument),*)
        })*
    };
}

impl<T: Snapshot + ?Sized> Snapshot for Watched<'_, T> {
    fn record(&mut self, op: OpId) -> Result<Option<Record>, StoreError> {
        self.count(&self.store.records_read);
        self.inner.record(op)
    }
    fn steps(&mut self, version: Version) -> Result<Option<Steps>, StoreError> {
        self.count(&self.store.versions_read);
        self.inner.steps(version)
    }
    fn entry(&mut self, version: Version) -> Result<Option<Vec<u8>>, StoreError> {
        self.count(&self.store.versions_read);
        self.inner.entry(version)
    }
    hand_on! {
        head() -> Head;
        hash_at(version: Version) -> Option<ChainHash>;
        document(collection: CollectionId, document: &DocumentId) -> Option<DocumentState>;
        log(after: Version, each: &mut dyn FnMut(LogEntry<'_>) -> bool) -> ();
        origin(version: Version) -> Option<Origin>;
        device(account: &str, device: &str) -> Option<DeviceNumber>;
        losses(device: DeviceNumber, above: u64, most: usize) -> Vec<Loss>;
        writer(writer: u64) -> Option<String>;
        deleted_bytes(place: &TextPlace, version: Version) -> u64;
        is_counted(place: &TextPlace, version: Version) -> bool;
        unfolded(after: Option<&TextPlace>, most: usize) -> Vec<TextPlace>;
    }

    fn documents(
        &mut self,
        after: Option<(CollectionId, &str)>,
        each: &mut dyn FnMut(DocumentRow<'_>) -> bool,
    ) -> Result<(), StoreError> {
        let read = &self.store.documents_read;
        self.inner.documents(after, &mut |row| {
            read.fetch_add(row.state.len() as u64, Ordering::Relaxed);
            each(row)
        })
    }

    fn text(&mut self, place: &TextPlace, most: Piece) -> Result<StoredText, StoreError> {
        let text = self.inner.text(place, most)?;
        self.store.read_text(place, &text);
        Ok(text)
    }
}

impl<'s> Transaction for Watched<'s, dyn Transaction + 's> {
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
