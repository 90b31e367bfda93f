//! What others want to know of commits: watchers, the engine, the app's event stream.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};

use driftline_core::id::{CollectionId, DocumentId};

/// Whose write a transaction was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Origin {
    /// The app's: there may be something to send.
    Local,
    /// The server's answer, applied.
    Remote,
    /// Another process's; what it changed is not known.
    External,
}

/// What one committed transaction changed.
#[derive(Clone, Debug)]
pub(crate) struct Changes {
    pub(crate) origin: Origin,
    /// Collections with a document that changed.
    pub(crate) collections: BTreeSet<CollectionId>,
    /// The documents, unless there were too many to list.
    pub(crate) documents: Vec<(CollectionId, DocumentId)>,
    /// Documents of which an editor changed a text: queries see it later.
    pub(crate) typed: Vec<(CollectionId, DocumentId)>,
    /// Whether there were too many to list, or which ones is not known.
    pub(crate) unlisted: bool,
    /// Whether the outbox changed.
    pub(crate) queue: bool,
    /// Whether it is known not to have changed unless `queue` says so.
    pub(crate) queue_known: bool,
}

/// More documents than this are not listed one by one.
const MOST_LISTED: usize = 1_000;

impl Changes {
    pub(crate) fn none(origin: Origin) -> Changes {
        Changes {
            origin,
            collections: BTreeSet::new(),
            documents: Vec::new(),
            typed: Vec::new(),
            unlisted: false,
            queue: false,
            queue_known: false,
        }
    }

    /// Anything may have changed.
    pub(crate) fn external(collections: impl Iterator<Item = CollectionId>) -> Changes {
        Changes {
            unlisted: true,
            queue: true,
            collections: collections.collect(),
            ..Changes::none(Origin::External)
        }
    }

    pub(crate) fn add(&mut self, collection: CollectionId, document: &DocumentId) {
        self.collections.insert(collection);
        // Once some are not listed, none of its collection needs to be.
        if !self.unlisted && self.documents.len() < MOST_LISTED {
            self.documents.push((collection, document.clone()));
        } else {
            self.unlisted = true;
        }
    }

    /// Whether a document, or a text of it, may have changed.
    pub(crate) fn may_touch(&self, collection: CollectionId, document: &DocumentId) -> bool {
        let mut touched = self.documents.iter().chain(&self.typed);
        self.unlisted && self.collections.contains(&collection)
            || touched.any(|(c, d)| *c == collection && d == document)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.collections.is_empty() && !self.queue
    }
}

/// How full the outbox is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Capacity {
    pub(crate) ops: u64,
    pub(crate) bytes: u64,
    pub(crate) max_ops: u64,
    pub(crate) max_bytes: u64,
    /// Whether a write was just refused for it: nothing smaller need have been tried.
    pub(crate) refused: bool,
}

impl Capacity {
    /// Whether another op of `bytes` would exceed a limit.
    pub(crate) fn is_exceeded_by(&self, bytes: u64) -> bool {
        self.ops + 1 > self.max_ops || self.bytes.saturating_add(bytes) > self.max_bytes
    }

    /// Whether another op of `bytes` takes it above four fifths of a limit: time to tell the app.
    pub(crate) fn is_high_with(&self, bytes: u64) -> bool {
        let high = |limit: u64| limit / 5 * 4;
        self.ops >= high(self.max_ops) || self.bytes.saturating_add(bytes) >= high(self.max_bytes)
    }
}

type Hook<E> = Arc<dyn Fn(&E) + Send + Sync>;

/// Called after commits, outside of every lock, on the thread that committed. A hook must not block.
#[derive(Default)]
pub(crate) struct Hooks {
    commit: RwLock<Vec<Hook<Changes>>>,
    capacity: RwLock<Vec<Hook<Capacity>>>,
}

impl Hooks {
    pub(crate) fn on_commit(&self, hook: impl Fn(&Changes) + Send + Sync + 'static) {
        self.commit
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Arc::new(hook));
    }

    /// Called when the outbox becomes four fifths full, and for each write it is too full for.
    pub(crate) fn on_capacity(&self, hook: impl Fn(&Capacity) + Send + Sync + 'static) {
        self.capacity
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Arc::new(hook));
    }

    pub(super) fn committed(&self, changes: &Changes) {
        call(&self.commit, changes);
    }

    pub(super) fn capacity(&self, capacity: &Capacity) {
        call(&self.capacity, capacity);
    }

    /// Lets go of everything the hooks hold.
    pub(super) fn clear(&self) {
        self.commit
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        self.capacity
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}

fn call<E>(hooks: &RwLock<Vec<Hook<E>>>, event: &E) {
    // Cloned, so that a hook may add hooks.
    let hooks = hooks.read().unwrap_or_else(PoisonError::into_inner).clone();
    hooks.iter().for_each(|hook| hook(event));
}
