//! How a database is opened.

use std::path::PathBuf;
use std::time::Duration;

use driftline_core::schema::Schema;

use crate::environment::Environment;

/// Whether a write that has returned survives a power loss.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Durability {
    /// It does: each commit waits for the disk. On Apple's systems the drive's own cache is emptied
    /// too.
    #[default]
    Full,
    /// It survives the end of the process at once, and a power loss after the next checkpoint,
    /// `flush`, `suspend` or `close`. Nothing is ever damaged; a power loss may take the last
    /// writes away.
    Normal,
}

/// A few bytes the host keeps for a file outside of what is backed up and copied: in the keychain, or
/// in a file excluded from backups.
///
/// They tell a file from its copies: they change at every open, so a file that was restored or
/// copied does not know the current ones.
pub trait HostToken: Send + Sync {
    /// The bytes stored last; `None` if there are none.
    ///
    /// # Errors
    /// When the host's store cannot be read now. The open fails then: taking it for empty would
    /// take this file for a copy.
    fn load(&self) -> std::io::Result<Option<Vec<u8>>>;

    /// Stores new bytes in place of the old.
    ///
    /// # Errors
    /// When the host's store cannot be written.
    fn store(&self, token: &[u8]) -> std::io::Result<()>;
}

/// How a database is opened. [`Config::new`] has the defaults.
pub struct Config {
    /// The file; made if it is not there. Next to it SQLite keeps a log and shared memory.
    pub path: PathBuf,
    /// What the app's documents look like.
    pub schema: Schema,
    /// Whose data it is: the same text as the `sub` of the tokens. Without an account the file is a
    /// guest's: documents are stored, but nothing is queued for a server until
    /// [`attach_account`](crate::Database::attach_account); without documents it takes the account of
    /// its first answer.
    pub account: Option<String>,
    /// Which workspace it is a replica of.
    pub workspace: String,
    /// What people call this device; others see it beside the values that it wrote over theirs.
    pub device_label: String,
    /// Whether a write that has returned survives a power loss.
    pub durability: Durability,
    /// Where the host keeps the bytes that tell this file from a copy of it.
    pub host_token: Option<Box<dyn HostToken>>,
    /// A query that takes longer is ended with an error.
    pub query_timeout: Duration,
    /// The machine: clocks, ids, tasks, network. Replaced in tests only.
    pub environment: Environment,
}

impl Config {
    /// Opens `path` as a replica of `workspace`, all else by default.
    pub fn new(path: impl Into<PathBuf>, schema: Schema, workspace: impl Into<String>) -> Config {
        Config {
            path: path.into(),
            schema,
            account: None,
            workspace: workspace.into(),
            device_label: String::new(),
            durability: Durability::default(),
            host_token: None,
            query_timeout: Duration::from_secs(30),
            environment: Environment::system(),
        }
    }

    /// The same for an account: writes are queued and synced.
    #[must_use]
    pub fn with_account(mut self, account: impl Into<String>) -> Config {
        self.account = Some(account.into());
        self
    }

    /// The same with another durability.
    #[must_use]
    pub fn with_durability(mut self, durability: Durability) -> Config {
        self.durability = durability;
        self
    }

    /// The same with a label.
    #[must_use]
    pub fn with_device_label(mut self, label: impl Into<String>) -> Config {
        self.device_label = label.into();
        self
    }
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("workspace", &self.workspace)
            .field("durability", &self.durability)
            .field("schema_version", &self.schema.version)
            .finish_non_exhaustive()
    }
}
