//! Whether a loss of power may have taken writes away.
//!
//! Under `NORMAL` a commit reaches the disk some time after it returned. What was sent in between may
//! be with the server while the file has forgotten it, and text written from there on would take
//! clocks of its writer a second time. So before the first such commit the file notes, on the disk, the
//! boot session it is made in, and takes the note away once everything is on the disk. Whoever finds
//! the note of another session draws a new writer.

use driftline_core::environment::Ids;
use driftline_core::id::BootId;
use driftline_core::mutant::{Mutant, planted};
use rusqlite::Connection;

use super::error::Result;
use super::facts::Facts;
use super::meta;
use super::open::random_writer;
use super::pragmas::{self, Within};
use crate::config::Durability;

/// Whether writes may begin: the file says what it has to say of them, and nothing was lost.
///
/// `compared` says that this process has found its own session in the file, or noted it: another
/// process's note is as good from then on, also where the system does not name its sessions.
pub(super) fn is_noted(
    facts: &Facts,
    durability: Durability,
    boot: BootId,
    compared: bool,
) -> bool {
    match facts.unsettled {
        Some(session) => compared || session == i64::from(boot.0),
        None => durability == Durability::Full,
    }
}

/// Draws a new writer if writes may be lost, and notes the session if further ones may be. This commit
/// waits for the disk; the caller puts the connection's durability right again.
pub(super) fn note(
    conn: &Connection,
    durability: Durability,
    boot: BootId,
    ids: &dyn Ids,
) -> Result<()> {
    pragmas::set_durability(conn, Durability::Full)?;
    let within = Within::begin(conn)?;
    let session = i64::from(boot.0);
    let noted = meta::get::<i64>(conn, meta::key::UNSETTLED)?;
    let elsewhen = noted.is_some_and(|noted| noted != session);
    if elsewhen && !planted(Mutant::WriterKeptAfterPowerLoss) {
        tracing::warn!("the system was restarted while writes were not on the disk");
        meta::set(conn, meta::key::WRITER, random_writer(ids))?;
    }
    match durability {
        Durability::Normal => meta::set(conn, meta::key::UNSETTLED, session)?,
        Durability::Full => meta::clear(conn, meta::key::UNSETTLED)?,
    }
    within.commit()
}

/// Waits for the disk, with everything committed before, and takes the note away.
pub(super) fn settle(conn: &Connection) -> Result<()> {
    pragmas::set_durability(conn, Durability::Full)?;
    let within = Within::begin(conn)?;
    meta::clear(conn, meta::key::UNSETTLED)?;
    meta::bump_fence(conn)?;
    within.commit()
}
