//! One workspace at work: pulls read a snapshot, pushes go through one writer in groups, and what
//! is committed is told to everybody who listens.

mod broadcast;
mod decide;
mod entry;
mod fold;
mod held;
mod losses;
mod materialise;
mod ops;
mod page;
mod plain;
mod recent;
mod registry;
mod rows;
#[cfg(test)]
pub(crate) mod tests;
mod typed;
mod writer;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use driftline_core::protocol::{Encoded, SyncRequest, SyncResponse};
use driftline_core::schema::Schema;

pub(crate) use broadcast::{Feed, Frame, Listener, NOBODY};
pub(crate) use fold::PIECE;
pub(crate) use ops::{Ops, Parted};
pub(crate) use registry::Registry;
use tokio::sync::Semaphore;

use crate::auth::Role;
use crate::environment::Environment;
use crate::limits::ServerLimits;
use crate::problem::Problem;
use crate::store::{Sighting, WorkspaceStore};

/// The answer to a request, its versions spliced from the log.
pub(crate) type Answer = SyncResponse<Encoded>;

/// A request whose token has been checked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// The token's account.
    pub(crate) account: String,
    /// Its role here.
    pub(crate) role: Role,
    /// What it asks, apart from its ops.
    pub(crate) request: SyncRequest,
    /// Its ops.
    pub(crate) ops: Ops,
    /// The live socket of whoever asks.
    pub(crate) listener: Listener,
}

impl Asked {
    fn sighting(&self, at: i64) -> Sighting {
        Sighting {
            account: self.account.clone(),
            device: self.request.device.id.clone(),
            label: self.request.device.label.clone(),
            cursor: self.request.cursor.version,
            at,
        }
    }

    fn pushes(&self) -> bool {
        self.ops.any_full()
    }
}

/// What every workspace of a server shares.
#[derive(Clone, Debug)]
pub(crate) struct Common {
    pub(crate) schema: Arc<Schema>,
    pub(crate) limits: Arc<ServerLimits>,
    pub(crate) environment: Environment,
    /// Turns of folding texts: no more at once, however many workspaces are written to.
    pub(crate) folds: Arc<Semaphore>,
}

impl Common {
    pub(crate) fn new(
        schema: Arc<Schema>,
        limits: Arc<ServerLimits>,
        environment: Environment,
    ) -> Common {
        let folds = Arc::new(Semaphore::new(limits.folds_at_once.max(1)));
        Common {
            schema,
            limits,
            environment,
            folds,
        }
    }
}

/// One open workspace.
pub(crate) struct Workspace {
    store: Arc<dyn WorkspaceStore>,
    common: Common,
    queue: Mutex<writer::Queue>,
    sightings: Mutex<Vec<Sighting>>,
    feed: Feed,
    decide: decide::Decide,
    /// Texts were edited that no turn of folding has begun to look at.
    unfolded: AtomicBool,
    /// Turns are being taken.
    folding: AtomicBool,
    /// Held by whoever folds now.
    folder: Mutex<()>,
}

impl Workspace {
    pub(crate) fn new(store: Arc<dyn WorkspaceStore>, common: Common) -> Arc<Workspace> {
        Workspace::deciding_by(store, common, decide::by_core)
    }

    /// The tests make some ops fail this way.
    fn deciding_by(
        store: Arc<dyn WorkspaceStore>,
        common: Common,
        decide: decide::Decide,
    ) -> Arc<Workspace> {
        Arc::new(Workspace {
            store,
            feed: Feed::new(common.limits.live_backlog, common.limits.page_bytes),
            common,
            queue: Mutex::default(),
            sightings: Mutex::default(),
            decide,
            unfolded: AtomicBool::new(false),
            folding: AtomicBool::new(false),
            folder: Mutex::default(),
        })
    }

    /// Answers a request: decides what it carries, durably, and says what is new.
    pub(crate) async fn sync(self: &Arc<Self>, asked: Asked) -> Result<Answer, Problem> {
        if asked.pushes() {
            return self.push(asked).await;
        }
        let workspace = Arc::clone(self);
        let environment = self.common.environment.clone();
        environment
            .offload(move || workspace.pull(&asked))
            .await
            .unwrap_or(Err(Problem::Internal))
    }

    fn pull(&self, asked: &Asked) -> Result<Answer, Problem> {
        let now = self.common.environment.clock.wall();
        let mut snapshot = self.store.read()?;
        let head = snapshot.head()?;
        page::check_cursor(&mut *snapshot, asked.request.cursor)?;
        let named = asked.ops.named()?;
        let results = rows::fates(&mut *snapshot, &asked.account, &named)?;
        let answer = page::answer(
            &mut *snapshot,
            &self.common,
            asked,
            head,
            results,
            &page::Decided::default(),
            now,
        )?;
        drop(snapshot);
        self.note(asked.sighting(now));
        Ok(answer)
    }

    /// The documents of a view, for the snapshot endpoint.
    pub(crate) fn store(&self) -> &dyn WorkspaceStore {
        &*self.store
    }

    /// What its documents may hold.
    pub(crate) fn schema(&self) -> &Schema {
        &self.common.schema
    }

    /// Committed versions from now on.
    pub(crate) fn feed(&self) -> &Feed {
        &self.feed
    }
}

impl std::fmt::Debug for Workspace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Workspace").finish_non_exhaustive()
    }
}
