//! Facts about the file, one row each in `_dl_meta`.

use driftline_core::id::OpId;
use driftline_core::protocol::{ChainHash, Cursor};
use driftline_core::time::{Contact, Reading};
use rusqlite::types::{FromSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, ToSql};

use super::error::{Result, StorageError};

/// The names of the rows.
pub(crate) mod key {
    /// The cursor: version and hash, [`super::cursor_bytes`].
    pub(crate) const CURSOR: &str = "cursor";
    /// The account, text. Absent in a guest's file.
    pub(crate) const ACCOUNT: &str = "account";
    /// The workspace, text.
    pub(crate) const WORKSPACE: &str = "workspace";
    /// This file's name as a device, text (a random UUID).
    pub(crate) const DEVICE: &str = "device";
    /// What people call the device, text.
    pub(crate) const DEVICE_LABEL: &str = "device_label";
    /// The writer, a 53-bit integer.
    pub(crate) const WRITER: &str = "writer";
    /// What the host keeps outside the backup set to tell a copy, blob.
    pub(crate) const HOST_TOKEN: &str = "host_token";
    /// The last contact with the server, [`super::contact_bytes`].
    pub(crate) const CONTACT: &str = "contact";
    /// The greatest loss number stored, integer.
    pub(crate) const LOSSES_ACK: &str = "losses_ack";
    /// The schema's record, JSON; see [`super::super::tables`].
    pub(crate) const SCHEMA: &str = "schema";
    /// The greatest op id when the queue last drained, blob: ids never go back.
    pub(crate) const FLOOR: &str = "floor";
    /// 1 once a document was written without an account.
    pub(crate) const GUEST: &str = "guest";
    /// The id of the last write without an account, blob.
    pub(crate) const GUEST_WRITE: &str = "guest_write";
    /// How far the attach of a guest's file is, collection and id, text; absent if none is under way.
    pub(crate) const ATTACH: &str = "attach";
    /// Collections whose rows may hold fields that the schema does not declare, JSON.
    pub(crate) const OPAQUE: &str = "opaque";
    /// The boot session in which commits were made that may not be on the disk yet, integer; absent if
    /// none were.
    pub(crate) const UNSETTLED: &str = "unsettled";
    /// `reader` while the account is known to be no more than that here, text.
    pub(crate) const ROLE: &str = "role";
    /// Counts what only has to reach the disk.
    pub(crate) const FENCE: &str = "fence";
}

/// Reads a fact.
pub(crate) fn get<T: FromSql>(conn: &Connection, key: &str) -> Result<Option<T>> {
    let mut statement = conn.prepare_cached("SELECT value FROM _dl_meta WHERE key = ?1")?;
    Ok(statement
        .query_row([key], |row| row.get::<_, Option<T>>(0))
        .optional()?
        .flatten())
}

/// What every write has to know, read at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    pub(super) cursor: Cursor,
    pub(super) contact: Option<Contact>,
    /// The greatest op id drawn: the queue's newest, or what was kept when it drained.
    pub(super) newest: Option<OpId>,
}

pub(super) fn standing(conn: &Connection) -> Result<Standing> {
    let mut statement = conn.prepare_cached(
        "SELECT (SELECT value FROM _dl_meta WHERE key = 'cursor'), \
         (SELECT value FROM _dl_meta WHERE key = 'contact'), \
         ifnull((SELECT op_id FROM _dl_outbox ORDER BY seq DESC LIMIT 1), (SELECT value FROM _dl_meta WHERE key = 'floor'))",
    )?;
    let mut rows = statement.query([])?;
    let row = rows
        .next()?
        .ok_or_else(|| StorageError::unreadable("standing"))?;
    let bytes = |at: usize| match row.get_ref(at)? {
        ValueRef::Null => Ok(None),
        ValueRef::Blob(bytes) => Ok(Some(bytes)),
        _ => Err(StorageError::unreadable("standing")),
    };
    let newest =
        bytes(2)?.map(|id| OpId::from_slice(id).ok_or_else(|| StorageError::unreadable("op id")));
    Ok(Standing {
        cursor: bytes(0)?.map_or(Ok(Cursor::START), cursor_from)?,
        contact: bytes(1)?.map(contact_from).transpose()?,
        newest: newest.transpose()?,
    })
}

/// Writes a fact.
pub(crate) fn set(conn: &Connection, key: &str, value: impl ToSql) -> Result<()> {
    let mut statement = conn.prepare_cached(
        "INSERT INTO _dl_meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
    )?;
    statement.execute((key, value))?;
    Ok(())
}

/// Removes a fact.
pub(crate) fn clear(conn: &Connection, key: &str) -> Result<()> {
    conn.prepare_cached("DELETE FROM _dl_meta WHERE key = ?1")?
        .execute([key])?;
    Ok(())
}

/// Commits something: what was committed before is then as durable, and what lay behind the log's
/// end is overwritten.
pub(crate) fn bump_fence(conn: &Connection) -> Result<()> {
    let mut statement = conn.prepare_cached(
        "INSERT INTO _dl_meta (key, value) VALUES (?1, 1) ON CONFLICT (key) DO UPDATE SET value = value + 1",
    )?;
    statement.execute([key::FENCE])?;
    Ok(())
}

/// The cursor as it is stored: 8 bytes of version (big-endian), 8 of hash.
pub(crate) fn cursor_bytes(cursor: Cursor) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&cursor.version.to_be_bytes());
    bytes[8..].copy_from_slice(&cursor.hash.0);
    bytes
}

/// Reads [`cursor_bytes`] back.
pub(crate) fn cursor_from(bytes: &[u8]) -> Result<Cursor> {
    let bad = || StorageError::unreadable("cursor");
    let (version, hash) = bytes.split_first_chunk::<8>().ok_or_else(bad)?;
    let hash = ChainHash(hash.try_into().map_err(|_| bad())?);
    Ok(Cursor {
        version: u64::from_be_bytes(*version),
        hash,
    })
}

/// A contact as it is stored: wall, mono, server (8 bytes each) and boot (4), big-endian.
pub(crate) fn contact_bytes(contact: &Contact) -> [u8; 28] {
    let mut bytes = [0; 28];
    bytes[..8].copy_from_slice(&contact.device.wall.to_be_bytes());
    bytes[8..16].copy_from_slice(&contact.device.mono.to_be_bytes());
    bytes[16..24].copy_from_slice(&contact.server.to_be_bytes());
    bytes[24..].copy_from_slice(&contact.device.boot.0.to_be_bytes());
    bytes
}

/// Reads [`contact_bytes`] back.
pub(crate) fn contact_from(bytes: &[u8]) -> Result<Contact> {
    let number = |at: usize| {
        let part = bytes.get(at..at + 8).and_then(|part| part.try_into().ok());
        part.map(i64::from_be_bytes)
            .ok_or_else(|| StorageError::unreadable("contact"))
    };
    let boot = bytes
        .get(24..28)
        .and_then(|part| part.try_into().ok())
        .map(u32::from_be_bytes);
    let boot = driftline_core::id::BootId(boot.ok_or_else(|| StorageError::unreadable("contact"))?);
    Ok(Contact {
        device: Reading {
            wall: number(0)?,
            boot,
            mono: number(8)?,
        },
        server: number(16)?,
    })
}

/// A value for a statement, by reference.
pub(crate) struct Bind<'a>(pub(crate) ValueRef<'a>);

impl ToSql for Bind<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(self.0))
    }
}

#[cfg(test)]
mod tests {
    use driftline_core::id::BootId;

    use super::*;

    #[test]
    fn stored_forms_read_back_and_refuse_other_lengths() {
        let cursor = Cursor {
            version: 7,
            hash: ChainHash([1, 2, 3, 4, 5, 6, 7, 8]),
        };
        assert_eq!(cursor_from(&cursor_bytes(cursor)).unwrap(), cursor);
        assert!(cursor_from(&[0; 15]).is_err());
        let contact = Contact {
            device: Reading {
                wall: -5,
                boot: BootId(9),
                mono: 3,
            },
            server: 44,
        };
        assert_eq!(contact_from(&contact_bytes(&contact)).unwrap(), contact);
        assert!(contact_from(&[0; 27]).is_err());
    }
}
