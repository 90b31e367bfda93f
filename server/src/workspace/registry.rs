//! The open workspaces.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Common, Workspace};
use crate::problem::Problem;
use crate::store::{ServerStore, StoreError, WorkspaceName};

/// Opens workspaces when they are asked for and closes those nobody uses.
pub(crate) struct Registry {
    store: Arc<dyn ServerStore>,
    common: Common,
    create: bool,
    /// Held for a look: nothing is read or written meanwhile.
    open: Mutex<HashMap<WorkspaceName, Open>>,
    /// Held while a file opens or closes: two of one workspace would each have listeners of their own.
    opening: Mutex<()>,
}

struct Open {
    workspace: Arc<Workspace>,
    used: i64,
    /// It is being settled to be closed, unless somebody asks for it before.
    closing: bool,
}

impl Registry {
    pub(crate) fn new(store: Arc<dyn ServerStore>, common: Common, create: bool) -> Registry {
        Registry {
            store,
            common,
            create,
            open: Mutex::default(),
            opening: Mutex::default(),
        }
    }

    /// The workspace of that name; made on first use where the server is set so.
    pub(crate) async fn workspace(
        self: &Arc<Self>,
        name: &WorkspaceName,
    ) -> Result<Arc<Workspace>, Problem> {
        if let Some(workspace) = self.already_open(name) {
            return Ok(workspace);
        }
        let (registry, name) = (Arc::clone(self), name.clone());
        let opened = self
            .common
            .environment
            .offload(move || registry.open(&name))
            .await;
        opened.unwrap_or(Err(Problem::Internal))
    }

    /// Makes a workspace; says whether it was not there.
    pub(crate) async fn create(self: &Arc<Self>, name: &WorkspaceName) -> Result<bool, StoreError> {
        let (registry, name) = (Arc::clone(self), name.clone());
        let made = self
            .common
            .environment
            .offload(move || registry.make(&name))
            .await;
        made.unwrap_or_else(|| Err(StoreError::Failed("interrupted".to_owned())))
    }

    /// Stores what is only in memory, and moves every log into its file.
    pub(crate) fn settle(&self) {
        for workspace in self.all_open() {
            workspace.settle();
        }
    }

    pub(crate) fn store(&self) -> &Arc<dyn ServerStore> {
        &self.store
    }

    fn already_open(&self, name: &WorkspaceName) -> Option<Arc<Workspace>> {
        let mut open = lock(&self.open);
        let entry = open.get_mut(name)?;
        entry.used = self.common.environment.clock.monotonic();
        entry.closing = false;
        Some(Arc::clone(&entry.workspace))
    }

    fn all_open(&self) -> Vec<Arc<Workspace>> {
        lock(&self.open)
            .values()
            .map(|entry| Arc::clone(&entry.workspace))
            .collect()
    }

    fn open(&self, name: &WorkspaceName) -> Result<Arc<Workspace>, Problem> {
        let workspace = self.open_alone(name)?;
        // Whoever opens one more waits for this; who asks for one that is open does not.
        while let Some((name, unused)) = self.next_unused() {
            unused.settle();
            self.close(&name, unused);
        }
        Ok(workspace)
    }

    fn open_alone(&self, name: &WorkspaceName) -> Result<Arc<Workspace>, Problem> {
        let _alone = lock(&self.opening);
        if let Some(workspace) = self.already_open(name) {
            return Ok(workspace);
        }
        let found = match self.store.open(name)? {
            None if self.create => {
                self.make(name)?;
                self.store.open(name)?
            }
            found => found,
        };
        let store = found.ok_or(Problem::NotFound)?;
        let workspace = Workspace::new(store, self.common.clone());
        // What was typed before the server last ended.
        workspace.fold_what_was_left()?;
        let opened = Open {
            workspace: Arc::clone(&workspace),
            used: self.common.environment.clock.monotonic(),
            closing: false,
        };
        lock(&self.open).insert(name.clone(), opened);
        Ok(workspace)
    }

    /// Where more are open than should be: the one that was idle longest, of which nobody has taken care
    /// yet. Those in use stay.
    fn next_unused(&self) -> Option<(WorkspaceName, Arc<Workspace>)> {
        let mut open = lock(&self.open);
        let staying = open.values().filter(|entry| !entry.closing).count();
        if staying <= self.common.limits.open_workspaces {
            return None;
        }
        let idle = open
            .iter_mut()
            .filter(|(_, entry)| !entry.closing && Arc::strong_count(&entry.workspace) == 1);
        let (name, entry) = idle.min_by_key(|(_, entry)| entry.used)?;
        entry.closing = true;
        Some((name.clone(), Arc::clone(&entry.workspace)))
    }

    /// Closes one that was settled, unless it was asked for since.
    fn close(&self, name: &WorkspaceName, settled: Arc<Workspace>) {
        let _alone = lock(&self.opening);
        let mut open = lock(&self.open);
        let Some(entry) = open.get_mut(name) else {
            return;
        };
        // This one's and the registry's own.
        if entry.closing && Arc::strong_count(&settled) == 2 {
            open.remove(name);
        } else {
            entry.closing = false;
        }
        drop(open);
        // Its files close here.
        drop(settled);
    }

    fn make(&self, name: &WorkspaceName) -> Result<bool, StoreError> {
        let mut id = [0; 16];
        self.common.environment.ids.fill(&mut id);
        self.store
            .create(name, id, self.common.environment.clock.wall())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whoever panicked with it had either put a workspace in or not.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry")
            .field("create", &self.create)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::atomic::Ordering;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::Duration;

    use driftline_core::schema::{Schema, StableIds};

    use super::super::tests::faulty::Faulty;
    use super::super::tests::folding::{SCHEMA, deleted_from};
    use super::*;
    use crate::environment::Environment;
    use crate::limits::ServerLimits;
    use crate::store::WorkspaceStore;
    use crate::store::sqlite::SqliteStore;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// A store whose workspaces can be held up.
    struct Store {
        inner: SqliteStore,
        opened: Mutex<HashMap<WorkspaceName, Arc<Faulty>>>,
    }

    impl ServerStore for Store {
        fn open(
            &self,
            name: &WorkspaceName,
        ) -> Result<Option<Arc<dyn WorkspaceStore>>, StoreError> {
            let Some(workspace) = self.inner.open(name)? else {
                return Ok(None);
            };
            let faulty = Arc::new(Faulty::around(workspace));
            lock(&self.opened).insert(name.clone(), Arc::clone(&faulty));
            Ok(Some(faulty))
        }
        fn create(&self, name: &WorkspaceName, id: [u8; 16], now: i64) -> Result<bool, StoreError> {
            self.inner.create(name, id, now)
        }
        fn names(&self) -> Result<Vec<WorkspaceName>, StoreError> {
            self.inner.names()
        }
        fn stable_ids(&self) -> Result<Option<StableIds>, StoreError> {
            self.inner.stable_ids()
        }
        fn set_stable_ids(&self, ids: &StableIds) -> Result<(), StoreError> {
            self.inner.set_stable_ids(ids)
        }
        fn check_writable(&self) -> Result<(), StoreError> {
            self.inner.check_writable()
        }
    }

    /// A registry that keeps one workspace open, and `a` in it with a text to fold. Folding it says so and
    /// waits to be let on.
    struct Setup {
        registry: Arc<Registry>,
        store: Arc<Store>,
        folding: Receiver<()>,
        go_on: Sender<()>,
        _dir: tempfile::TempDir,
    }

    fn named(name: &str) -> WorkspaceName {
        WorkspaceName::new(name).unwrap()
    }

    fn setup() -> Setup {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(Store {
            inner: SqliteStore::open(dir.path(), None).unwrap(),
            opened: Mutex::default(),
        });
        let limits = ServerLimits {
            open_workspaces: 1,
            ..ServerLimits::default()
        };
        let schema = Arc::new(Schema::parse(SCHEMA).unwrap());
        let common = Common::new(schema, Arc::new(limits), Environment::system());
        let registry = Arc::new(Registry::new(Arc::<Store>::clone(&store), common, true));
        let a = registry.open(&named("a")).unwrap();
        let faulty = Arc::clone(&lock(&store.opened)[&named("a")]);
        deleted_from(&*faulty, "n", 2, 0);
        a.unfolded.store(true, Ordering::Release);
        let ((told, folding), (go_on, let_on)) = (channel(), channel());
        let mut held = false;
        faulty.behind_every_text(move || {
            if !std::mem::replace(&mut held, true) {
                told.send(()).unwrap();
                let_on.recv_timeout(PATIENCE).unwrap();
            }
        });
        Setup {
            registry,
            store,
            folding,
            go_on,
            _dir: dir,
        }
    }

    impl Setup {
        /// Opens another one, which closes `a`; returns while that is folded.
        fn open_another(&self, name: &str) -> std::thread::JoinHandle<Arc<Workspace>> {
            let (registry, name) = (Arc::clone(&self.registry), named(name));
            let opening = std::thread::spawn(move || registry.open(&name).unwrap());
            self.folding.recv_timeout(PATIENCE).unwrap();
            opening
        }

        /// What the registry answers, and that it does so although a workspace is being closed.
        fn at_once<T: Send + 'static>(
            &self,
            ask: impl FnOnce(&Registry) -> T + Send + 'static,
        ) -> T {
            let (registry, (sender, answer)) = (Arc::clone(&self.registry), channel());
            std::thread::spawn(move || sender.send(ask(&registry)));
            answer.recv_timeout(PATIENCE / 4).expect("it waits")
        }
    }

    #[test]
    fn nobody_waits_for_another_workspace_that_is_being_closed() {
        let setup = setup();
        let opening = setup.open_another("b");
        assert!(
            setup
                .at_once(|registry| registry.already_open(&named("b")))
                .is_some()
        );
        let opened = setup.at_once(|registry| registry.open(&named("c")).map(drop));
        assert!(opened.is_ok());
        setup.go_on.send(()).unwrap();
        let b = opening.join().unwrap();
        assert!(setup.registry.already_open(&named("a")).is_none(), "closed");
        assert!(Arc::ptr_eq(
            &b,
            &setup.registry.already_open(&named("b")).unwrap()
        ));
        let raw = setup.store.inner.open(&named("a")).unwrap().unwrap();
        assert_eq!(
            raw.read().unwrap().unfolded(None, 1).unwrap(),
            [],
            "settled"
        );
    }

    #[test]
    fn one_that_is_asked_for_while_it_is_being_closed_stays_open() {
        let setup = setup();
        let opening = setup.open_another("b");
        let a = setup.at_once(|registry| registry.open(&named("a")).unwrap());
        setup.go_on.send(()).unwrap();
        drop(opening.join().unwrap());
        let again = setup.registry.already_open(&named("a")).unwrap();
        assert!(Arc::ptr_eq(&a, &again), "two would not hear of each other");
        drop((a, again));
        // Idle again, it is closed by whoever opens the next one.
        setup.registry.open(&named("d")).unwrap();
        assert!(setup.registry.already_open(&named("a")).is_none());
    }
}
