//! The server as an embedder sees it.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use driftline_core::protocol::limits::max_body;
use driftline_core::schema::{Schema, SchemaError};
use tokio::net::TcpListener;

use crate::auth::Keys;
use crate::environment::Environment;
use crate::http::{Shared, router, serve};
use crate::limits::ServerLimits;
use crate::store::sqlite::SqliteStore;
use crate::store::{ServerStore, StoreError, WorkspaceName};
use crate::workspace::{Common, Registry};

/// How to serve.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// The schema of every workspace.
    pub schema: Schema,
    /// Where the SQLite files are.
    pub data_dir: PathBuf,
    /// What tokens are checked with.
    pub keys: Keys,
    /// Bounds.
    pub limits: ServerLimits,
    /// Whether a workspace is made when a token that names it first asks for it; else an admin
    /// makes it.
    pub create_workspaces: bool,
    /// Clocks, ids, tasks and files.
    pub environment: Environment,
}

impl ServerConfig {
    /// With the defaults: workspaces are made by an admin, everything on the real machine.
    pub fn new(schema: Schema, data_dir: impl Into<PathBuf>, keys: Keys) -> ServerConfig {
        ServerConfig {
            schema,
            data_dir: data_dir.into(),
            keys,
            limits: ServerLimits::default(),
            create_workspaces: false,
            environment: Environment::system(),
        }
    }
}

/// Why a server could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The directory cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The schema gives a number another meaning than the one it was served with before.
    #[error("the schema does not follow from the one served before: {0}")]
    Schema(SchemaError),
}

/// A server. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Server {
    shared: Arc<Shared>,
}

impl Server {
    /// Opens the directory.
    ///
    /// # Errors
    /// The directory cannot be used, or the schema gives a stable number another meaning.
    pub fn new(config: ServerConfig) -> Result<Server, StartError> {
        let store = SqliteStore::open(&config.data_dir, config.environment.vfs.clone())?;
        Server::with_store(config, Arc::new(store))
    }

    /// Serves from another store than the SQLite files of `data_dir`.
    ///
    /// # Errors
    /// What the store says, or the schema gives a stable number another meaning.
    pub fn with_store(
        config: ServerConfig,
        store: Arc<dyn ServerStore>,
    ) -> Result<Server, StartError> {
        let ids = match store.stable_ids()? {
            Some(before) => {
                before
                    .check_reload(&config.schema)
                    .map_err(StartError::Schema)?;
                before.succeeded_by(&config.schema)
            }
            None => config.schema.stable_ids(),
        };
        store.set_stable_ids(&ids)?;
        let mut limits = config.limits;
        limits.max_body = limits
            .max_body
            .max(max_body(config.schema.limits.max_group));
        let (schema, limits) = (Arc::new(config.schema), Arc::new(limits));
        let common = Common::new(
            Arc::clone(&schema),
            Arc::clone(&limits),
            config.environment.clone(),
        );
        let registry = Arc::new(Registry::new(store, common, config.create_workspaces));
        let shared = Shared::new(registry, schema, config.keys, limits, config.environment);
        Ok(Server {
            shared: Arc::new(shared),
        })
    }

    /// The endpoints, to be served by somebody else or called in process.
    pub fn router(&self) -> Router {
        router(Arc::clone(&self.shared))
    }

    /// Serves until `shutdown` resolves; then takes no more connections, lets requests finish,
    /// closes live sockets, moves every log into its file, and returns.
    pub async fn serve(&self, listener: TcpListener, shutdown: impl Future<Output = ()>) {
        serve(Arc::clone(&self.shared), self.router(), listener, shutdown).await;
        self.close().await;
    }

    /// Tells live sockets to close and moves every log into its file. [`Self::serve`] does it by
    /// itself; whoever uses [`Self::router`] alone calls this at the end.
    pub async fn close(&self) {
        self.shared.stopping.send_replace(true);
        let registry = Arc::clone(&self.shared.registry);
        if self
            .shared
            .environment
            .offload(move || registry.settle())
            .await
            .is_none()
        {
            tracing::error!("the store was not settled");
        }
    }

    /// Makes a workspace, unless it is there. Says whether it was made.
    ///
    /// # Errors
    /// What the store says.
    pub async fn create_workspace(&self, name: &WorkspaceName) -> Result<bool, StoreError> {
        self.shared.registry.create(name).await
    }

    /// The names of all workspaces, in order.
    ///
    /// # Errors
    /// What the store says.
    pub fn workspaces(&self) -> Result<Vec<WorkspaceName>, StoreError> {
        self.shared.registry.store().names()
    }
}
