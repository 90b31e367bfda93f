//! SQLite's errors as the store's.

use rusqlite::ErrorCode;

use crate::store::StoreError;

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> StoreError {
        let code = error.sqlite_error_code();
        // The message of a failing statement can quote values; the code cannot.
        match code {
            Some(
                ErrorCode::DiskFull
                | ErrorCode::SystemIoFailure
                | ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::CannotOpen
                | ErrorCode::ReadOnly
                | ErrorCode::OutOfMemory
                | ErrorCode::FileLockingProtocolFailed,
            ) => StoreError::Unavailable(named(code)),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                StoreError::Damaged(named(code))
            }
            Some(_) => StoreError::Failed(named(code)),
            None => StoreError::Damaged("a column does not hold what it should".to_owned()),
        }
    }
}

fn named(code: Option<ErrorCode>) -> String {
    code.map_or_else(String::new, |code| format!("{code:?}"))
}

/// Bytes in a row that do not decode.
pub(super) fn damaged(what: &'static str) -> StoreError {
    StoreError::Damaged(what.to_owned())
}
