//! Providers by name, one of them active.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use driftline_core::protocol::Form;

use super::{AuthTemplate, ProviderMode, SyncProvider};
use crate::error::{Error, Fault, Result, Retry};

/// The name of the built-in provider, for those who register it beside others.
pub const PROVIDER: &str = "driftline";

/// The longest name of a provider.
const MAX_NAME: usize = 64;

/// The providers an app has, by name; the active one is used by the next
/// [`crate::Database::connect`]. Cloning shares the registry.
///
/// A provider is disposed of exactly once: by [`Providers::dispose`], or when the registry and the
/// last connection that uses it are gone.
#[derive(Clone, Default)]
pub struct Providers {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    known: BTreeMap<String, Arc<Registered>>,
    active: Option<String>,
}

/// A provider with what it said of itself.
pub(crate) struct Registered {
    provider: Box<dyn SyncProvider>,
    pub(crate) mode: ProviderMode,
    pub(crate) auth: AuthTemplate,
    pub(crate) form: Form,
    pub(crate) zstd: bool,
    disposed: AtomicBool,
}

impl Registered {
    /// Asks the provider what it is.
    pub(crate) fn new(provider: Box<dyn SyncProvider>) -> Result<Registered> {
        let said = catch_unwind(AssertUnwindSafe(|| {
            (
                provider.mode(),
                provider.auth(),
                provider.form(),
                provider.takes_zstd(),
            )
        }));
        let (mode, auth, form, zstd) = said.map_err(|_| {
            let message = "the provider panicked when asked what it is";
            Error::other("provider_failed", Fault::App, Retry::No, message)
        })?;
        Ok(Registered {
            provider,
            mode,
            auth,
            form,
            zstd,
            disposed: AtomicBool::new(false),
        })
    }

    /// The provider, unless it was disposed of.
    pub(super) fn provider(&self) -> Option<&dyn SyncProvider> {
        let there = !self.disposed.load(Ordering::SeqCst);
        there.then_some(self.provider.as_ref())
    }

    fn dispose(&self) {
        if !self.disposed.swap(true, Ordering::SeqCst)
            && catch_unwind(AssertUnwindSafe(|| self.provider.dispose())).is_err()
        {
            tracing::error!("a provider panicked while it was disposed of");
        }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.dispose();
    }
}

impl Providers {
    /// An empty registry.
    pub fn new() -> Providers {
        Providers::default()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing of the app's runs under this lock.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a provider under a name. It is not active yet.
    ///
    /// # Errors
    /// `duplicate_provider` (the first one stays), `invalid_provider_name`, `provider_failed` if it
    /// panics when asked what it is.
    pub fn register(&self, name: &str, provider: impl SyncProvider + 'static) -> Result<()> {
        let character = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(character) {
            return Err(refused(
                "invalid_provider_name",
                format!("a provider's name has 1 to {MAX_NAME} letters, digits, '-', '_' and '.'"),
            ));
        }
        let registered = Registered::new(Box::new(provider))?;
        let mut inner = self.lock();
        if inner.known.contains_key(name) {
            // What is refused was never in use; it is let go of outside of the lock.
            drop(inner);
            drop(registered);
            return Err(refused(
                "duplicate_provider",
                format!("there is a provider {name} already"),
            ));
        }
        inner.known.insert(name.to_owned(), Arc::new(registered));
        Ok(())
    }

    /// Makes a provider the active one, for connections to come. A running connection stays with
    /// the one it began with.
    ///
    /// # Errors
    /// `unknown_provider`; the active one stays.
    pub fn activate(&self, name: &str) -> Result<()> {
        let mut inner = self.lock();
        if !inner.known.contains_key(name) {
            return Err(unknown());
        }
        inner.active = Some(name.to_owned());
        Ok(())
    }

    /// The name of the active provider.
    pub fn active(&self) -> Option<String> {
        self.lock().active.clone()
    }

    /// The names of all providers, in order.
    pub fn names(&self) -> Vec<String> {
        self.lock().known.keys().cloned().collect()
    }

    /// Takes a provider out and disposes of it at once, also under a running connection: that
    /// one's requests fail from then on with the cause `provider_failed`, and its queue stays. If
    /// it was the active one, none is.
    ///
    /// # Errors
    /// `unknown_provider`, also the second time.
    pub fn dispose(&self, name: &str) -> Result<()> {
        let taken = {
            let mut inner = self.lock();
            if inner.active.as_deref() == Some(name) {
                inner.active = None;
            }
            inner.known.remove(name)
        };
        taken.ok_or_else(unknown)?.dispose();
        Ok(())
    }

    /// What the next connection uses.
    pub(crate) fn in_use(&self) -> Result<Arc<Registered>> {
        let inner = self.lock();
        let active = inner.active.as_ref().and_then(|name| inner.known.get(name));
        active.map(Arc::clone).ok_or_else(|| {
            Error::other(
                "no_active_provider",
                Fault::App,
                Retry::AfterAction,
                "no provider is active; activate one before connecting",
            )
        })
    }
}

impl std::fmt::Debug for Providers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Providers")
            .field("names", &self.names())
            .field("active", &self.active())
            .finish()
    }
}

fn unknown() -> Error {
    refused("unknown_provider", "no provider of this name is registered")
}

fn refused(code: &'static str, message: impl Into<String>) -> Error {
    Error::other(code, Fault::App, Retry::No, message)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::super::{Message, ProviderError, ProviderRequest};
    use super::*;
    use crate::environment::BoxFuture;

    type Carried = BoxFuture<std::result::Result<Message, ProviderError>>;

    /// Counts its ends; panics where it is told to.
    #[derive(Clone, Default)]
    struct Counting {
        disposed: Arc<AtomicUsize>,
        panics: bool,
    }

    impl SyncProvider for Counting {
        fn mode(&self) -> ProviderMode {
            assert!(!self.panics, "by the test");
            ProviderMode::Gateway
        }

        fn push(&self, _: ProviderRequest) -> Carried {
            Box::pin(std::future::pending())
        }

        fn pull(&self, _: ProviderRequest) -> Carried {
            Box::pin(std::future::pending())
        }

        fn dispose(&self) {
            self.disposed.fetch_add(1, Ordering::SeqCst);
            panic!("by the test");
        }
    }

    fn code(result: Result<()>) -> &'static str {
        result.unwrap_err().code()
    }

    #[test]
    fn every_misuse_has_its_code_and_changes_nothing() {
        let providers = Providers::new();
        assert_eq!(
            providers.in_use().err().unwrap().code(),
            "no_active_provider"
        );
        assert_eq!(code(providers.activate("a")), "unknown_provider");
        assert_eq!(code(providers.dispose("a")), "unknown_provider");
        for name in ["", "a b", "é", &"x".repeat(65)] {
            let refused = providers.register(name, Counting::default());
            assert_eq!(code(refused), "invalid_provider_name");
        }
        let broken = Counting {
            panics: true,
            ..Counting::default()
        };
        assert_eq!(code(providers.register("a", broken)), "provider_failed");
        let first = Counting::default();
        providers.register("a", first.clone()).unwrap();
        providers.activate("a").unwrap();
        let second = Counting::default();
        let twice = providers.register("a", second.clone());
        assert_eq!(code(twice), "duplicate_provider");
        assert_eq!(second.disposed.load(Ordering::SeqCst), 1);
        assert_eq!(code(providers.activate("b")), "unknown_provider");
        assert_eq!(providers.active().as_deref(), Some("a"));
        assert_eq!(first.disposed.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn a_provider_is_disposed_of_once_whoever_lets_go_last() {
        let (by_name, by_drop) = (Counting::default(), Counting::default());
        let providers = Providers::new();
        providers.register("named", by_name.clone()).unwrap();
        providers.register("dropped", by_drop.clone()).unwrap();
        providers.activate("named").unwrap();
        let in_use = providers.in_use().unwrap();
        providers.dispose("named").unwrap();
        assert_eq!(by_name.disposed.load(Ordering::SeqCst), 1);
        assert!(in_use.provider().is_none(), "nothing reaches it any more");
        assert_eq!(code(providers.dispose("named")), "unknown_provider");
        assert_eq!(providers.active(), None);
        drop(in_use);
        assert_eq!(by_name.disposed.load(Ordering::SeqCst), 1);

        providers.activate("dropped").unwrap();
        let in_use = providers.in_use().unwrap();
        drop(providers);
        assert_eq!(by_drop.disposed.load(Ordering::SeqCst), 0);
        drop(in_use);
        assert_eq!(by_drop.disposed.load(Ordering::SeqCst), 1);
    }
}
