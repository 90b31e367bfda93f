//! A store in which one document makes whoever merges into it panic.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use driftline_core::id::{CollectionId, DocumentId, OpId, Version};
use driftline_core::ledger::Loss;
use driftline_core::merge::{DocumentState, Record};
use driftline_core::protocol::ChainHash;
use driftline_core::schema::StableIds;
use driftline_server::store::{
    Author, AuthorNumbers, DeviceNumber, DocumentRow, Head, LogEntry, NewDocument, NewEdit,
    NewFold, NewVersion, Origin, Piece, ServerStore, Sighting, Snapshot, Steps, StoreError,
    StoredText, TextPlace, Transaction, WorkspaceName, WorkspaceStore,
};

/// Whoever merges into this one panics.
pub(crate) const POISON: &str = "poison";

/// How often somebody did.
pub(crate) static PANICS: AtomicUsize = AtomicUsize::new(0);

/// The same store with that document in it.
pub(crate) fn poisoned(store: Arc<dyn ServerStore>) -> Arc<dyn ServerStore> {
    Arc::new(Store(store))
}

struct Store(Arc<dyn ServerStore>);

struct Workspace(Arc<dyn WorkspaceStore>);

struct Writing<'a>(Box<dyn Transaction + 'a>);

/// Hands a call on.
macro_rules! handed_on {
    ($($name:ident($($argument:ident: $of:ty),*) -> $back:ty;)*) => {
        $(fn $name(&mut self, $($argument: $of),*) -> Result<$back, StoreError> {
            self.0.$name($($argument),*)
        })*
    };
}

impl ServerStore for Store {
    fn open(&self, name: &WorkspaceName) -> Result<Option<Arc<dyn WorkspaceStore>>, StoreError> {
        let opened = self.0.open(name)?;
        Ok(opened.map(|inner| Arc::new(Workspace(inner)) as Arc<dyn WorkspaceStore>))
    }

    fn create(&self, name: &WorkspaceName, id: [u8; 16], now: i64) -> Result<bool, StoreError> {
        self.0.create(name, id, now)
    }

    fn names(&self) -> Result<Vec<WorkspaceName>, StoreError> {
        self.0.names()
    }

    fn stable_ids(&self) -> Result<Option<StableIds>, StoreError> {
        self.0.stable_ids()
    }

    fn set_stable_ids(&self, ids: &StableIds) -> Result<(), StoreError> {
        self.0.set_stable_ids(ids)
    }

    fn check_writable(&self) -> Result<(), StoreError> {
        self.0.check_writable()
    }
}

impl WorkspaceStore for Workspace {
    fn read(&self) -> Result<Box<dyn Snapshot + '_>, StoreError> {
        self.0.read()
    }

    fn begin(&self) -> Result<Box<dyn Transaction + '_>, StoreError> {
        Ok(Box::new(Writing(self.0.begin()?)))
    }

    fn checkpoint(&self) -> Result<(), StoreError> {
        self.0.checkpoint()
    }

    fn wants_checkpoint(&self) -> bool {
        self.0.wants_checkpoint()
    }
}

impl Snapshot for Writing<'_> {
    fn document(
        &mut self,
        collection: CollectionId,
        document: &DocumentId,
    ) -> Result<Option<DocumentState>, StoreError> {
        if document.as_str() == POISON {
            PANICS.fetch_add(1, Ordering::Relaxed);
            panic!("as the test wants it");
        }
        self.0.document(collection, document)
    }

    handed_on! {
        head() -> Head;
        hash_at(version: Version) -> Option<ChainHash>;
        record(op: OpId) -> Option<Record>;
        log(after: Version, each: &mut dyn FnMut(LogEntry<'_>) -> bool) -> ();
        documents(
            after: Option<(CollectionId, &str)>,
            each: &mut dyn FnMut(DocumentRow<'_>) -> bool
        ) -> ();
        origin(version: Version) -> Option<Origin>;
        steps(version: Version) -> Option<Steps>;
        entry(version: Version) -> Option<Vec<u8>>;
        device(account: &str, device: &str) -> Option<DeviceNumber>;
        losses(device: DeviceNumber, above: u64, most: usize) -> Vec<Loss>;
        writer(writer: u64) -> Option<String>;
        text(place: &TextPlace, most: Piece) -> StoredText;
        deleted_bytes(place: &TextPlace, version: Version) -> u64;
        is_counted(place: &TextPlace, version: Version) -> bool;
        unfolded(after: Option<&TextPlace>, most: usize) -> Vec<TextPlace>;
    }
}

impl Transaction for Writing<'_> {
    handed_on! {
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
        self.0.commit()
    }
}
