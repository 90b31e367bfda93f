//! Starting a driver for a database.

use std::sync::{Arc, Weak};

use driftline_core::schema::Schema;
use tokio::sync::mpsc::unbounded_channel;

use super::{Command, Connection, Driver, Shared};
use crate::environment::Environment;
use crate::error::{Fault, Retry};
use crate::provider::{DriftlineProvider, Guard, Registered};
use crate::status::SyncEvent;
use crate::storage::{Origin, Storage};
use crate::sync::{Sync, SyncConfig};
use crate::transport::Transport;

/// Starts syncing `storage` with `provider` as `config` says. The driver runs until the returned [`Sync`] is told to
/// close.
pub(crate) fn connect(
    storage: &Arc<Storage>,
    schema: Arc<Schema>,
    workspace: &str,
    environment: &Environment,
    provider: Arc<Registered>,
    config: SyncConfig,
) -> Sync {
    let deadline_ms = u64::try_from(config.deadline.as_millis()).unwrap_or(u64::MAX);
    let provider = Guard::new(provider, Arc::clone(&environment.executor), deadline_ms);
    let (sender, receiver) = unbounded_channel();
    let shared = Shared::new(sender);
    listen(storage, &Arc::downgrade(&shared));
    let connection = Connection {
        config,
        provider,
        environment: environment.clone(),
        storage: Arc::clone(storage),
        schema,
        workspace: workspace.to_owned(),
    };
    let driver = Driver::new(connection, Arc::clone(&shared), receiver);
    environment
        .executor
        .spawn("driftline-sync", Box::pin(driver.run()));
    Sync::new(shared, Arc::clone(&environment.executor))
}

/// Commits wake the driver; a full queue is told to the event stream. The hooks hold no more than a
/// weak end: a connection that is gone is not kept alive by them.
fn listen(storage: &Storage, shared: &Weak<Shared>) {
    let woken = shared.clone();
    storage.hooks().on_commit(move |changes| {
        let command = match changes.origin {
            Origin::Local if changes.queue => Command::LocalWrite,
            Origin::External => Command::AnotherWrote,
            Origin::Local | Origin::Remote => return,
        };
        if let Some(shared) = woken.upgrade() {
            shared.send(command);
        }
    });
    let told = shared.clone();
    storage.hooks().on_capacity(move |capacity| {
        if let Some(shared) = told.upgrade() {
            let full = capacity.refused || capacity.is_exceeded_by(1);
            shared.emit(SyncEvent::Capacity {
                ops: capacity.ops,
                bytes: capacity.bytes,
                full,
            });
        }
    });
}

/// What `config` wants to sync with: checked before a running connection is given up for it.
///
/// # Errors
/// A file without an account; no active provider; an address that cannot be asked; certificates that cannot
/// be read.
pub(crate) fn provider(
    storage: &Storage,
    environment: &Environment,
    config: &SyncConfig,
) -> crate::error::Result<Arc<Registered>> {
    if storage.has_guest_documents()? {
        return Err(crate::storage::StorageError::GuestFile.into());
    }
    if let Some(providers) = &config.providers {
        return providers.in_use();
    }
    let builtin = DriftlineProvider::new(&config.url, transport(environment, config)?)
        .with_form(config.form)
        .with_auth(config.auth.clone());
    builtin
        .check_address(&storage.workspace()?)
        .map_err(|error| {
            crate::Error::other("bad_address", Fault::App, Retry::No, error.to_string())
        })?;
    Ok(Arc::new(Registered::new(Box::new(builtin))?))
}

fn transport(
    environment: &Environment,
    config: &SyncConfig,
) -> crate::error::Result<Arc<dyn Transport>> {
    if let Some(own) = config.transport.as_ref().or(environment.transport.as_ref()) {
        return Ok(Arc::clone(own));
    }
    #[cfg(feature = "network")]
    {
        let builtin = crate::transport::BuiltinTransport::new(&config.roots);
        let transport = builtin.map_err(|error| {
            crate::Error::other("bad_roots", Fault::App, Retry::No, error.to_string())
        })?;
        Ok(Arc::new(transport))
    }
    #[cfg(not(feature = "network"))]
    {
        Err(crate::Error::config(
            "this build has no network of its own; give SyncConfig a transport",
        ))
    }
}
