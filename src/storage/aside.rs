//! Another history on the server: the file is copied aside, and base begun anew.

use driftline_core::protocol::Cursor;
use rusqlite::limits::Limit;

use super::error::{Result, StorageError};
use super::open::random_writer;
use super::write::WriteTx;
use super::{Origin, Storage, ledger, meta, repeal, stage};
use driftline_core::mutant::{Mutant, planted};

/// The server has another history: what queued ops had seen there means nothing now, and base must
/// be fetched anew. Until then the file stands at the beginning, so that new ops claim nothing.
pub(crate) fn forget_history(tx: &WriteTx<'_>) -> Result<()> {
    repeal::forget_bases(tx.conn())?;
    // Others may have seen text of this file that the server has lost. What they did to it must not hit
    // what is typed here under the same clocks.
    if !planted(Mutant::WriterKeptInAnotherHistory) {
        let ids = &*tx.storage().environment().ids;
        tx.set_meta(meta::key::WRITER, random_writer(ids))?;
    }
    ledger::forget_numbers(tx)?;
    tx.set_cursor(Cursor::START)?;
    tx.touch_queue();
    stage::begin(tx)
}

/// Copies the file beside itself and begins anew with the server's other history; queued ops stay
/// queued. Repeated after a crash, it makes another copy. Returns the copy's path. `check` says within the
/// transaction whether it may.
pub(crate) fn set_aside(
    storage: &Storage,
    now: i64,
    check: impl Fn(&WriteTx<'_>) -> Result<()>,
) -> Result<String> {
    let copy = match planted(Mutant::SetAsideForgotten) {
        true => String::new(),
        false => copy_aside(storage, now)?,
    };
    storage.write_tx(Origin::Remote, |tx| {
        check(tx)?;
        forget_history(tx)
    })?;
    Ok(copy)
}

fn copy_aside(storage: &Storage, now: i64) -> Result<String> {
    let mut writer = storage.writer();
    let connection = storage.connected(&mut writer)?;
    let path = storage
        .spec
        .path
        .to_str()
        .ok_or_else(|| StorageError::CannotOpen("a path that is not UTF-8".to_owned()))?;
    let copy = format!("{path}.aside-{now}");
    // VACUUM INTO attaches the copy, which app's SQL may not do.
    let limit = connection.conn.limit(Limit::SQLITE_LIMIT_ATTACHED)?;
    connection.conn.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 1)?;
    let copied = connection.conn.execute("VACUUM INTO ?1", [&copy]);
    connection
        .conn
        .set_limit(Limit::SQLITE_LIMIT_ATTACHED, limit)?;
    copied?;
    Ok(copy)
}
