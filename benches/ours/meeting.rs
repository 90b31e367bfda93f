//! A Driftline server in this process, on the loopback interface.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use driftline::TokenError;
use driftline_core::schema::Schema;
use driftline_server::auth::mint::{Minted, hs256};
use driftline_server::auth::{Keys, Role};
use driftline_server::{Server, ServerConfig};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use super::ACCOUNT;
use crate::Outcome;
use crate::payload::SCHEMA;

/// No secret: everything that it signs lives in a directory of this run.
const SECRET: &[u8] = b"only for measurements, on one machine";

/// Where devices meet: a server that runs here, or the address of one that runs in the parent.
pub(crate) struct Meeting {
    address: SocketAddr,
    running: Option<Running>,
}

struct Running {
    runtime: Runtime,
    serving: tokio::task::JoinHandle<()>,
    stop: oneshot::Sender<()>,
}

impl Meeting {
    /// Serves from `directory` until it is dropped.
    pub(crate) fn start(directory: &Path) -> Outcome<Meeting> {
        let mut config = ServerConfig::new(Schema::parse(SCHEMA)?, directory, Keys::hs256(SECRET)?);
        config.create_workspaces = true;
        // One device here does in a second what many do elsewhere.
        config.limits.requests_per_second = 1_000_000;
        config.limits.burst = 1_000_000;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        let server = runtime.block_on(async { Server::new(config) })?;
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0)))?;
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = runtime.spawn(async move {
            let stopped = async {
                let _ = stopped.await;
            };
            server.serve(listener, stopped).await;
        });
        Ok(Meeting {
            address,
            running: Some(Running {
                runtime,
                serving,
                stop,
            }),
        })
    }

    /// A server that somebody else runs.
    pub(crate) fn at(address: SocketAddr) -> Meeting {
        Meeting {
            address,
            running: None,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Meeting {
    fn drop(&mut self) {
        if let Some(Running {
            runtime,
            serving,
            stop,
        }) = self.running.take()
        {
            let _ = stop.send(());
            let _ = runtime.block_on(serving);
        }
    }
}

/// A token for one workspace, good for an hour.
pub(super) fn token(workspace: &str) -> Result<String, TokenError> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_err(|error| TokenError(error.to_string()))?;
    let minted = Minted {
        account: ACCOUNT.to_owned(),
        workspaces: BTreeMap::from([(workspace.to_owned(), Role::Admin)]),
        issued: now.as_secs() as i64,
        lifetime: 60 * 60,
        audience: None,
        issuer: None,
    };
    hs256(SECRET, &minted).map_err(|error| TokenError(error.to_string()))
}
