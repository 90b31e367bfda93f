//! The open workspaces.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Common, Workspace};
use crate::problem::Problem;
use crate::store::{ServerStore, StoreError, WorkspaceName};

/// Opens workspaces when they are asked for and closes those nobody uses.
pub(crate) struct Registry {
    store: Arc<dyn ServerStore>,
    common: Common,
    create: bool,
    open: Mutex<HashMap<WorkspaceName, Open>>,
}

struct Open {
    workspace: Arc<Workspace>,
    used: i64,
}

impl Registry {
    pub(crate) fn new(store: Arc<dyn ServerStore>, common: Common, create: bool) -> Registry {
        Registry {
            store,
            common,
            create,
            open: Mutex::default(),
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
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = open.get_mut(name)?;
        entry.used = self.common.environment.clock.monotonic();
        Some(Arc::clone(&entry.workspace))
    }

    fn all_open(&self) -> Vec<Arc<Workspace>> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.values()
            .map(|entry| Arc::clone(&entry.workspace))
            .collect()
    }

    fn open(&self, name: &WorkspaceName) -> Result<Arc<Workspace>, Problem> {
        // Held while the file opens: two of one workspace would each have listeners of their own.
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = open.get(name) {
            return Ok(Arc::clone(&entry.workspace));
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
        let used = self.common.environment.clock.monotonic();
        close_unused(&mut open, self.common.limits.open_workspaces);
        open.insert(
            name.clone(),
            Open {
                workspace: Arc::clone(&workspace),
                used,
            },
        );
        Ok(workspace)
    }

    fn make(&self, name: &WorkspaceName) -> Result<bool, StoreError> {
        let mut id = [0; 16];
        self.common.environment.ids.fill(&mut id);
        self.store
            .create(name, id, self.common.environment.clock.wall())
    }
}

/// Makes room by closing the workspaces that were idle longest; those in use stay.
fn close_unused(open: &mut HashMap<WorkspaceName, Open>, most: usize) {
    while open.len() >= most {
        let idle = open
            .iter()
            .filter(|(_, entry)| Arc::strong_count(&entry.workspace) == 1);
        let Some(name) = idle
            .min_by_key(|(_, entry)| entry.used)
            .map(|(name, _)| name.clone())
        else {
            return;
        };
        if let Some(closed) = open.remove(&name) {
            closed.workspace.settle();
        }
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry")
            .field("create", &self.create)
            .finish_non_exhaustive()
    }
}
