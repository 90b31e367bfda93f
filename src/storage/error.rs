//! What storage can fail with; `crate::error` turns it into words for the app.

use driftline_core::merge::Unmerged;
use driftline_core::op::Refusal;
use driftline_core::schema::SchemaError;
use driftline_core::text::TextError;
use rusqlite::ErrorCode;

impl From<Unmerged> for StorageError {
    fn from(unmerged: Unmerged) -> StorageError {
        match unmerged {
            Unmerged::Rejected(refusal) => StorageError::Refused(refusal),
            // The file's own text is authored on what it shows.
            Unmerged::Rebase(why) => {
                StorageError::Internal(format!("text does not go on where its field ends: {why}"))
            }
        }
    }
}

/// A failure of the file, of its content, or of a call made at the wrong time.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StorageError {
    #[error("the disk is full")]
    DiskFull,
    #[error("another process holds the file")]
    Busy,
    #[error("the file is damaged: {0}")]
    Corrupt(String),
    #[error("the file is not a database")]
    NotADatabase,
    #[error("the file belongs to another program")]
    Foreign,
    #[error("the file was written by a newer build (tables {found}, this build knows {known})")]
    NewerFile { found: u32, known: u32 },
    #[error("the file holds schema version {found}, the app declares {declared}")]
    NewerSchema { found: u32, declared: u32 },
    #[error("another process opened the file with another schema; open it again")]
    SchemaChanged,
    #[error("the file cannot be opened: {0}")]
    CannotOpen(String),
    #[error("the file is read-only")]
    ReadOnly,
    #[error("reading or writing the file failed: {0}")]
    Io(String),
    #[error("SQLite {0} is too old")]
    SqliteTooOld(&'static str),
    #[error("the file belongs to another {0}")]
    OtherIdentity(&'static str),
    #[error("the file holds documents written without an account")]
    GuestFile,
    #[error(transparent)]
    Schema(#[from] SchemaError),
    #[error("the database is suspended")]
    Suspended,
    #[error("the database is closed")]
    Closed,
    /// Another process was elected to sync since: nothing may be applied here any more.
    #[error("another process syncs this file")]
    NotElected,
    #[error("a write inside a write")]
    Nested,
    #[error("the query took too long")]
    Interrupted,
    #[error("the query is not allowed: {0}")]
    NotAllowed(String),
    #[error("the query is not valid: {0}")]
    InvalidQuery(String),
    #[error("the query's parameters do not fit: {0}")]
    InvalidParameters(String),
    #[error("the outbox is full: {ops} ops, {bytes} bytes")]
    QueueFull { ops: u64, bytes: u64 },
    #[error("other writes wait in the outbox")]
    OutboxNotEmpty,
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Text(#[from] TextError),
    /// The commit failed and whether it took effect could not be found out.
    #[error("the commit's outcome is unknown: {0}")]
    CommitUnknown(String),
    /// Something that cannot be, from the file or from our own code.
    #[error("{0}")]
    Internal(String),
}

impl StorageError {
    /// Whether the disk failed under a connection. SQLite rolls back what it wrote then, but keeps
    /// what it remembers: its full-text index goes on with a structure that it had half read, and
    /// damages the file with the next write.
    pub(super) fn spoils_connection(&self) -> bool {
        matches!(
            self,
            StorageError::Io(_)
                | StorageError::DiskFull
                | StorageError::CannotOpen(_)
                | StorageError::Corrupt(_)
        )
    }

    /// Content of a private table that does not read back.
    pub(crate) fn unreadable(what: &str) -> StorageError {
        StorageError::Corrupt(format!("unreadable {what}"))
    }
}

impl From<rusqlite::Error> for StorageError {
    fn from(error: rusqlite::Error) -> StorageError {
        // SQLite's messages name tables and columns of ours, no values.
        let detail = error.to_string();
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => StorageError::DiskFull,
            Some(
                ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::FileLockingProtocolFailed,
            ) => StorageError::Busy,
            Some(ErrorCode::DatabaseCorrupt) => StorageError::Corrupt(detail),
            Some(ErrorCode::NotADatabase) => StorageError::NotADatabase,
            Some(ErrorCode::CannotOpen) => StorageError::CannotOpen(detail),
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => StorageError::ReadOnly,
            Some(ErrorCode::SystemIoFailure) => StorageError::Io(detail),
            Some(ErrorCode::OperationInterrupted) => StorageError::Interrupted,
            _ => match error {
                rusqlite::Error::InvalidColumnType(..)
                | rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::IntegralValueOutOfRange(..) => StorageError::Corrupt(detail),
                _ => StorageError::Internal(detail),
            },
        }
    }
}

impl From<minicbor::decode::Error> for StorageError {
    fn from(error: minicbor::decode::Error) -> StorageError {
        StorageError::Corrupt(format!("unreadable record: {error}"))
    }
}

/// What the work in a write transaction may fail with: it still tells what storage said.
pub(crate) trait WriteError: From<StorageError> {
    /// What storage failed with, if that is the reason.
    fn of_storage(&self) -> Option<&StorageError>;
}

impl WriteError for StorageError {
    fn of_storage(&self) -> Option<&StorageError> {
        Some(self)
    }
}

pub(crate) type Result<T> = std::result::Result<T, StorageError>;
