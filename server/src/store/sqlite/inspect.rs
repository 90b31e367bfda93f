//! Reading a workspace from outside, beside a server that may be running, changing nothing.

use std::fs::File;
use std::path::Path;

use driftline_core::digest::Digest;
use driftline_core::id::{CollectionId, DocumentId, Version};
use driftline_core::merge::DocumentState;
use driftline_core::schema::StableIds;
use rusqlite::{Connection, OpenFlags, OptionalExtension};

use super::connection::{CONTROL, Format, WORKSPACE, format_of};
use super::error::damaged;
use super::read::View;
use crate::inspect::SeenDevice;
use crate::store::{Head, Snapshot, StoreError, StoredText, TextPlace, WorkspaceName};
use crate::workspace::PIECE;

/// A directory, as it is now.
pub(crate) struct InspectedStore<'d> {
    directory: &'d Path,
    control: Connection,
    /// Held while no server runs, so that none starts meanwhile.
    lock: Option<File>,
}

/// A consistent view of a workspace.
pub(crate) struct InspectedWorkspace {
    view: View<Box<Connection>>,
}

impl<'d> InspectedStore<'d> {
    pub(crate) fn open(directory: &'d Path) -> Result<InspectedStore<'d>, StoreError> {
        let unavailable = |error: std::io::Error| {
            StoreError::Unavailable(format!("{}: {error}", directory.display()))
        };
        let lock = File::open(directory.join("lock")).map_err(unavailable)?;
        let lock = lock.try_lock_shared().is_ok().then_some(lock);
        let control = open(&directory.join("control.sqlite"), lock.is_some(), CONTROL)?;
        Ok(InspectedStore {
            directory,
            control,
            lock,
        })
    }

    pub(crate) fn names(&self) -> Result<Vec<String>, StoreError> {
        let mut query = self
            .control
            .prepare("SELECT name FROM workspaces ORDER BY name")?;
        let names = query.query_map([], |row| row.get(0))?;
        Ok(names.collect::<rusqlite::Result<_>>()?)
    }

    pub(crate) fn stable_ids(&self) -> Result<StableIds, StoreError> {
        let sql = "SELECT value FROM meta WHERE key = 'stable_ids'";
        let text: Option<String> = self
            .control
            .query_row(sql, [], |row| row.get(0))
            .optional()?;
        let text = text.ok_or_else(|| damaged("a directory without a schema's numbers"))?;
        serde_json::from_str(&text).map_err(|_| damaged("the schema's numbers"))
    }

    pub(crate) fn workspace(
        &self,
        name: &WorkspaceName,
    ) -> Result<Option<InspectedWorkspace>, StoreError> {
        let sql = "SELECT file FROM workspaces WHERE name = ?1";
        let file: Option<String> = self
            .control
            .query_row(sql, [name.as_str()], |row| row.get(0))
            .optional()?;
        let Some(file) = file else { return Ok(None) };
        let connection = open(&self.directory.join(file), self.lock.is_some(), WORKSPACE)?;
        let id: Vec<u8> =
            connection.query_row("SELECT value FROM meta WHERE key = 'id'", [], |row| {
                row.get(0)
            })?;
        let id = id
            .try_into()
            .map_err(|_| damaged("a workspace without an id"))?;
        Ok(Some(InspectedWorkspace {
            view: View::new(Box::new(connection), id),
        }))
    }
}

/// Opens a file for reading in one transaction.
fn open(path: &Path, alone: bool, format: Format) -> Result<Connection, StoreError> {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let quiet = alone && !std::fs::metadata(&log).is_ok_and(|log| log.len() > 0);
    let path =
        std::path::absolute(path).map_err(|error| StoreError::Unavailable(error.to_string()))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_URI;
    let connection = Connection::open_with_flags(uri(&path, quiet), flags)?;
    connection.execute_batch("PRAGMA busy_timeout = 5000; PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; BEGIN")?;
    let (found, known) = (format_of(&connection)?, format.len() as i64);
    match found == known {
        true => Ok(connection),
        false => Err(StoreError::Newer { found, known }),
    }
}

/// The path as a URI that SQLite reads as this path and nothing else. A file that nobody has open and
/// that has no log is read without locks: with them SQLite would make a log beside it.
fn uri(path: &Path, quiet: bool) -> String {
    let mut uri = "file:".to_owned();
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' => {
                uri.push(char::from(*byte))
            }
            byte => uri += &format!("%{byte:02x}"),
        }
    }
    uri + if quiet { "?immutable=1" } else { "" }
}

impl InspectedWorkspace {
    pub(crate) fn head(&mut self) -> Result<Head, StoreError> {
        self.view.head()
    }

    /// Gives every document, live or deleted, to `each`.
    pub(crate) fn each_document(
        &mut self,
        each: &mut dyn FnMut(CollectionId, &DocumentId, &DocumentState),
    ) -> Result<(), StoreError> {
        let mut damage = None;
        self.view.documents(None, &mut |row| {
            let id = DocumentId::new(row.document).map_err(|_| damaged("a document's id"));
            let state = minicbor::decode::<DocumentState>(row.state)
                .map_err(|_| damaged("a document's state"));
            match (id, state) {
                (Ok(id), Ok(state)) => {
                    each(row.collection, &id, &state);
                    true
                }
                (Err(error), _) | (_, Err(error)) => {
                    damage = Some(error);
                    false
                }
            }
        })?;
        damage.map_or(Ok(()), Err)
    }

    pub(crate) fn digest(&mut self) -> Result<Digest, StoreError> {
        let mut digest = Digest::default();
        self.each_document(&mut |collection, id, state| digest.add(collection, id, state))?;
        Ok(digest)
    }

    /// What is stored of a text, up to a piece of its edits behind a version.
    pub(crate) fn text(
        &mut self,
        place: &TextPlace,
        behind: Version,
    ) -> Result<StoredText, StoreError> {
        if behind == 0 {
            return self.view.text(place, PIECE);
        }
        let (tail, more) = self.view.text_tail(place, behind, PIECE)?;
        Ok(StoredText {
            tail,
            more,
            ..StoredText::default()
        })
    }

    /// How many edits of texts are not folded.
    pub(crate) fn unfolded_edits(&mut self) -> Result<u64, StoreError> {
        let sql = "SELECT count(*) FROM text_tail";
        let count = self.view.prepare(sql)?.query_row([], |row| row.get(0));
        Ok(count.map(i64::unsigned_abs)?)
    }

    /// Texts that are not folded any more, and why.
    pub(crate) fn texts_aside(&mut self) -> Result<Vec<(TextPlace, String)>, StoreError> {
        let mut query = self.view.prepare(
            "SELECT collection, document, field, aside FROM texts WHERE aside IS NOT NULL ORDER BY 1, 2, 3",
        )?;
        let mut rows = query.query([])?;
        let mut aside = Vec::new();
        while let Some(row) = rows.next()? {
            let document = DocumentId::new(row.get::<_, String>(1)?);
            let place = TextPlace {
                collection: row.get(0)?,
                document: document.map_err(|_| damaged("a document's id"))?,
                field: row.get(2)?,
            };
            aside.push((place, row.get(3)?));
        }
        Ok(aside)
    }

    /// How many ops were accepted and how many rejected.
    pub(crate) fn verdicts(&mut self) -> Result<(u64, u64), StoreError> {
        let sql = "SELECT count(version), count(code) FROM verdicts";
        let counts = self
            .view
            .prepare(sql)?
            .query_row([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))?;
        Ok((counts.0.unsigned_abs(), counts.1.unsigned_abs()))
    }

    pub(crate) fn devices(&mut self) -> Result<Vec<SeenDevice>, StoreError> {
        let mut query = self.view.prepare(
            "SELECT accounts.name, device, label, cursor, last_seen, \
               (SELECT count(*) FROM losses WHERE losses.device = devices.number) \
             FROM devices JOIN accounts ON accounts.number = devices.account ORDER BY accounts.name, label, device",
        )?;
        let devices = query.query_map([], |row| {
            Ok(SeenDevice {
                account: row.get(0)?,
                device: row.get(1)?,
                label: row.get(2)?,
                version: row.get::<_, i64>(3)?.unsigned_abs(),
                last_seen: row.get(4)?,
                losses: row.get::<_, i64>(5)?.unsigned_abs(),
            })
        })?;
        Ok(devices.collect::<rusqlite::Result<_>>()?)
    }
}
