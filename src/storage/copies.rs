//! Telling a file from its copies, by a token the host keeps where backups do not reach.

use driftline_core::environment::Ids;
use rusqlite::Connection;

use super::error::{Result, StorageError};
use super::meta;
use super::open::random_writer;
use super::pragmas::Within;
use crate::config::HostToken;
use driftline_core::mutant::{Mutant, planted};

const LENGTH: usize = 16;

/// Compares the host's token with the file's and renews both. Where they do not fit, this file is a
/// copy or was restored: it gets a writer of its own.
///
/// The file remembers the token in use and the next one, in that order: the host's store and the
/// file cannot be written together, and an end of the process between the two must not make the
/// file a stranger to itself.
pub(super) fn renew(conn: &Connection, host: &dyn HostToken, ids: &dyn Ids) -> Result<()> {
    let failed =
        |error: std::io::Error| StorageError::Io(format!("the host's token: {}", error.kind()));
    // Another process may be opening the file now: each has to see what the other left.
    let within = Within::begin(conn)?;
    let held = host.load().map_err(failed)?;
    let known = meta::get::<Vec<u8>>(conn, meta::key::HOST_TOKEN)?;
    let fits = match (&held, &known) {
        (None, None) => true,
        (Some(held), Some(known)) => known.chunks(LENGTH).any(|token| token == held),
        // A host that begins to keep tokens, and a file that lost its host's.
        (Some(_), None) | (None, Some(_)) => false,
    };
    let mut next = [0; LENGTH];
    ids.fill(&mut next);
    let mut remembered = held.filter(|_| fits).unwrap_or_default();
    remembered.extend_from_slice(&next);
    if !fits && !planted(Mutant::WriterKept) {
        tracing::warn!("the host's token does not fit the file: it is a copy, or was restored");
        meta::set(conn, meta::key::WRITER, random_writer(ids))?;
    }
    meta::set(conn, meta::key::HOST_TOKEN, remembered)?;
    within.commit()?;
    // Still the latest? Else the host gets, or has, the token of whoever came after.
    let _within = Within::begin(conn)?;
    let latest = meta::get::<Vec<u8>>(conn, meta::key::HOST_TOKEN)?;
    match latest.is_some_and(|known| known.ends_with(&next)) {
        true => host.store(&next).map_err(failed),
        false => Ok(()),
    }
}
