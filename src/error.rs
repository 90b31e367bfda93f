//! What the app gets when a call fails.

use std::fmt;

use driftline_core::id::InvalidDocumentId;
use driftline_core::op::{Refusal, refusal};
use driftline_core::order_key::OrderKeyError;
use driftline_core::schema::{FieldKind, SchemaError};

use crate::storage::{StorageError, WriteError};

/// A call that failed. Nothing was changed by it, unless its code says that the outcome is unknown.
///
/// The [`code`](Error::code) is stable and for programs, the text is for people and holds no user
/// data.
#[derive(Debug)]
pub struct Error(Box<Cause>);

/// Whose fault an error is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Fault {
    /// The app's: the call cannot work as it was made.
    App,
    /// The machine's: disk, file, permissions, another process.
    Environment,
    /// The server's.
    Server,
    /// This library's; please report it.
    Driftline,
}

/// Whether the same call can work later.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Retry {
    /// It fails again.
    No,
    /// It may work a moment later, as it is.
    Later,
    /// It works once somebody has done something: freed space, synced, resumed.
    AfterAction,
}

/// What went wrong, inside.
#[derive(Debug)]
enum Cause {
    Storage(StorageError),
    Refused(Refusal),
    DocumentId(InvalidDocumentId),
    OrderKey(OrderKeyError),
    UnknownCollection(String),
    UnknownField(String),
    Config(&'static str),
    Aborted(String),
    Other {
        code: &'static str,
        fault: Fault,
        retry: Retry,
        message: String,
    },
}

/// The result of most calls.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// The app's own reason to abandon a write: returned from the closure, it rolls the write back and
    /// comes out of `write` as it is, with the code `aborted`.
    pub fn aborted(reason: impl Into<String>) -> Error {
        Error(Box::new(Cause::Aborted(reason.into())))
    }

    /// A stable word for the kind of error.
    pub fn code(&self) -> &'static str {
        self.classify().0
    }

    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        self.classify().1
    }

    /// Whether trying again helps.
    pub fn retry(&self) -> Retry {
        self.classify().2
    }

    /// What is wrong with the schema, if that is the error.
    pub fn schema_error(&self) -> Option<&SchemaError> {
        match &*self.0 {
            Cause::Storage(StorageError::Schema(error)) => Some(error),
            _ => None,
        }
    }

    pub(crate) fn unknown_collection(name: &str) -> Error {
        Error(Box::new(Cause::UnknownCollection(shortened(name))))
    }

    pub(crate) fn unknown_field(collection: &str, field: &str) -> Error {
        Error(Box::new(Cause::UnknownField(format!(
            "{collection}.{}",
            shortened(field)
        ))))
    }

    pub(crate) fn wrong_kind(
        collection: &str,
        field: &str,
        kind: FieldKind,
        expected: FieldKind,
    ) -> Error {
        let (kind, expected) = (kind.name(), expected.name());
        let message = format!("{collection}.{field} is a {kind}, not a {expected}");
        Refusal::new(refusal::WRONG_KIND, message).into()
    }

    pub(crate) fn config(problem: &'static str) -> Error {
        Error(Box::new(Cause::Config(problem)))
    }

    /// An error of a part that has no internal type of its own.
    pub(crate) fn other(
        code: &'static str,
        fault: Fault,
        retry: Retry,
        message: impl Into<String>,
    ) -> Error {
        Error(Box::new(Cause::Other {
            code,
            fault,
            retry,
            message: message.into(),
        }))
    }

    /// How full the outbox is, if it is too full.
    pub(crate) fn is_queue_full(&self) -> bool {
        matches!(&*self.0, Cause::Storage(StorageError::QueueFull { .. }))
    }

    /// The one table of codes.
    fn classify(&self) -> (&'static str, Fault, Retry) {
        use Fault::{App, Driftline, Environment};
        use Retry::{AfterAction, Later, No};
        match &*self.0 {
            Cause::Storage(error) => match error {
                StorageError::DiskFull => ("disk_full", Environment, AfterAction),
                StorageError::Busy => ("busy", Environment, Later),
                StorageError::Corrupt(_) => ("corrupt", Environment, No),
                StorageError::NotADatabase => ("not_a_database", App, No),
                StorageError::Foreign => ("foreign_file", App, No),
                StorageError::NewerFile { .. } => ("newer_file", App, AfterAction),
                StorageError::NewerSchema { .. } => ("newer_schema", App, AfterAction),
                StorageError::SchemaChanged => ("schema_changed", App, AfterAction),
                StorageError::CannotOpen(_) => ("cannot_open", Environment, AfterAction),
                StorageError::ReadOnly => ("read_only_file", Environment, AfterAction),
                StorageError::Io(_) => ("io", Environment, Later),
                StorageError::SqliteTooOld(_) => ("sqlite_too_old", App, No),
                StorageError::OtherIdentity("account") => ("wrong_account", App, No),
                StorageError::OtherIdentity(_) => ("wrong_workspace", App, No),
                StorageError::GuestFile => ("guest_file", App, AfterAction),
                StorageError::Schema(_) => (SchemaError::CODE, App, No),
                StorageError::Suspended => ("suspended", App, AfterAction),
                StorageError::Closed => ("closed", App, No),
                StorageError::NotElected => ("not_elected", Environment, Later),
                StorageError::Nested => ("nested_write", App, No),
                StorageError::Interrupted => ("query_timeout", App, No),
                StorageError::NotAllowed(_) => ("query_not_allowed", App, No),
                StorageError::InvalidQuery(_) => ("invalid_query", App, No),
                StorageError::InvalidParameters(_) => ("invalid_parameters", App, No),
                StorageError::QueueFull { .. } => ("queue_full", App, AfterAction),
                StorageError::OutboxNotEmpty => ("outbox_not_empty", App, AfterAction),
                StorageError::Refused(refused) => (refusal_code(refused), App, No),
                StorageError::Text(error) => (error.code(), App, No),
                StorageError::CommitUnknown(_) => ("commit_unknown", Environment, Later),
                StorageError::Internal(_) => ("internal", Driftline, No),
            },
            Cause::Refused(refused) => (refusal_code(refused), App, No),
            Cause::DocumentId(_) => ("invalid_document_id", App, No),
            Cause::OrderKey(_) => ("invalid_order_key", App, No),
            Cause::UnknownCollection(_) => (refusal::UNKNOWN_COLLECTION, App, No),
            Cause::UnknownField(_) => (refusal::UNKNOWN_FIELD, App, No),
            Cause::Config(_) => ("invalid_config", App, No),
            Cause::Aborted(_) => ("aborted", App, No),
            Cause::Other {
                code, fault, retry, ..
            } => (code, *fault, *retry),
        }
    }
}

/// The code of a refusal; one of a newer core has none of its own here.
fn refusal_code(refused: &Refusal) -> &'static str {
    const KNOWN: &[&str] = &[
        refusal::UNKNOWN_COLLECTION,
        refusal::UNKNOWN_FIELD,
        refusal::WRONG_KIND,
        refusal::REQUIRED,
        refusal::VALUE_TOO_LARGE,
        refusal::DOCUMENT_TOO_LARGE,
        refusal::GROUP_TOO_LARGE,
        refusal::SET_TOO_LARGE,
        refusal::COUNTER_OVERFLOW,
        refusal::NOT_FOUND,
        refusal::BLOCKED_BY,
        refusal::WITHDRAWN,
        refusal::READ_ONLY,
        refusal::ID_TAKEN,
        refusal::QUOTA,
        refusal::MALFORMED,
        refusal::INVALID_TEXT,
    ];
    KNOWN
        .iter()
        .find(|code| **code == refused.code)
        .copied()
        .unwrap_or("refused")
}

/// A name from outside, short enough to be shown.
fn shortened(name: &str) -> String {
    match name.char_indices().nth(64) {
        None => name.to_owned(),
        Some((end, _)) => format!("{}…", name.get(..end).unwrap_or_default()),
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Cause::Storage(StorageError::Refused(refused)) | Cause::Refused(refused) => {
                f.write_str(&refused.message)
            }
            Cause::Storage(error) => error.fmt(f),
            Cause::DocumentId(error) => error.fmt(f),
            Cause::OrderKey(error) => error.fmt(f),
            Cause::UnknownCollection(name) => write!(f, "the schema has no collection {name:?}"),
            Cause::UnknownField(name) => write!(f, "the schema has no field {name:?}"),
            Cause::Config(problem) => f.write_str(problem),
            Cause::Aborted(reason) => write!(f, "abandoned by the app: {reason}"),
            Cause::Other { message, .. } => f.write_str(message),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &*self.0 {
            Cause::Storage(error) => Some(error),
            Cause::Refused(error) => Some(error),
            Cause::DocumentId(error) => Some(error),
            Cause::OrderKey(error) => Some(error),
            _ => None,
        }
    }
}

impl WriteError for Error {
    fn of_storage(&self) -> Option<&StorageError> {
        match &*self.0 {
            Cause::Storage(error) => Some(error),
            _ => None,
        }
    }
}

impl From<StorageError> for Error {
    fn from(error: StorageError) -> Error {
        Error(Box::new(Cause::Storage(error)))
    }
}

impl From<Refusal> for Error {
    fn from(error: Refusal) -> Error {
        Error(Box::new(Cause::Refused(error)))
    }
}

impl From<InvalidDocumentId> for Error {
    fn from(error: InvalidDocumentId) -> Error {
        Error(Box::new(Cause::DocumentId(error)))
    }
}

impl From<OrderKeyError> for Error {
    fn from(error: OrderKeyError) -> Error {
        Error(Box::new(Cause::OrderKey(error)))
    }
}
