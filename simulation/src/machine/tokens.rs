//! The tokens of a device: those its app is given for its account, and the one its host keeps beside
//! the file.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use driftline::HostToken;

use super::Account;

/// What is wrong with tokens. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub struct TokenTrouble(Arc<Trouble>);

#[derive(Debug, Default)]
struct Trouble {
    kind: AtomicU8,
    /// Whether asking again brought nothing better: the app has to say when that is over.
    is_waited_for: AtomicBool,
}

impl TokenTrouble {
    /// Nothing is.
    pub const NONE: u8 = 0;
    /// They have expired when they come.
    pub const EXPIRED: u8 = 1;
    /// There are none.
    pub const MISSING: u8 = 2;
    /// They are signed by somebody else.
    pub const FORGED: u8 = 3;
    /// They end after a few seconds.
    pub const SHORT: u8 = 4;
    /// They are somebody else's.
    pub const STRANGER: u8 = 5;
    /// They are for another workspace.
    pub const ELSEWHERE: u8 = 6;

    /// From now on.
    pub fn set(&self, trouble: u8) {
        self.0.kind.store(trouble, Ordering::Relaxed);
        if ![TokenTrouble::NONE, TokenTrouble::SHORT].contains(&trouble) {
            self.0.is_waited_for.store(true, Ordering::Relaxed);
        }
    }

    /// From now on tokens are good. Says whether the app has to tell: what has merely expired is asked
    /// for again by itself.
    pub fn end(&self) -> bool {
        self.set(TokenTrouble::NONE);
        self.0.is_waited_for.swap(false, Ordering::Relaxed)
    }

    /// What the app of `account` is given, where `stranger` is somebody else.
    pub(super) fn token(
        &self,
        account: &Account,
        workspace: &str,
        stranger: &str,
        now: i64,
    ) -> Result<String, String> {
        let token = |now| account.token_for(workspace, now);
        match self.0.kind.load(Ordering::Relaxed) {
            TokenTrouble::EXPIRED => token(now - 7_200_000),
            TokenTrouble::MISSING => Err("signed out".to_owned()),
            TokenTrouble::FORGED => token(now).map(|token| format!("{token}x")),
            TokenTrouble::SHORT => token(now - 3_595_000),
            TokenTrouble::STRANGER => Account::writer(stranger).token_for(workspace, now),
            TokenTrouble::ELSEWHERE => account.token_for("meadow", now),
            _ => token(now),
        }
    }
}

/// What the host keeps outside of the disk that is backed up.
#[derive(Clone, Default)]
pub(super) struct Keychain(Arc<Mutex<Option<Vec<u8>>>>);

impl Keychain {
    pub(super) fn fork(&self) -> Keychain {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Keychain(Arc::new(Mutex::new(kept.clone())))
    }
}

impl HostToken for Keychain {
    fn load(&self) -> std::io::Result<Option<Vec<u8>>> {
        Ok(self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone())
    }

    fn store(&self, token: &[u8]) -> std::io::Result<()> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(token.to_vec());
        Ok(())
    }
}
