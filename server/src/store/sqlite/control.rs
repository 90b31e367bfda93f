//! The control file and the directory around it.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use driftline_core::schema::StableIds;
use rusqlite::{Connection, OptionalExtension, params};

use super::connection::{CONTROL, open_writer};
use super::error::damaged;
use super::log::RestsOnLog;
use super::workspace::SqliteWorkspace;
use crate::store::{ServerStore, StoreError, WorkspaceName, WorkspaceStore};

/// A directory of SQLite files.
pub struct SqliteStore {
    directory: PathBuf,
    vfs: Option<String>,
    control: Mutex<Connection>,
    rests_on_log: RestsOnLog,
    /// The workspace made last, and its file, until it is opened: mostly that is what follows, and
    /// closing a file to open it again costs as many flushes as making it.
    made: Mutex<Option<(String, SqliteWorkspace)>>,
    // Two servers on one directory would each tell their own devices only.
    _lock: Option<File>,
}

impl SqliteStore {
    /// Opens or makes the directory.
    ///
    /// With a `vfs`, files are touched through that alone; the directory must be there, and nothing
    /// keeps a second server out.
    ///
    /// # Errors
    /// Another server uses it, it cannot be written, or a newer build wrote it.
    pub fn open(directory: &Path, vfs: Option<String>) -> Result<SqliteStore, StoreError> {
        let lock = match vfs {
            Some(_) => None,
            None => Some(lock(directory)?),
        };
        let (control, rests) =
            open_writer(&directory.join("control.sqlite"), vfs.as_deref(), CONTROL)?;
        Ok(SqliteStore {
            directory: directory.to_owned(),
            vfs,
            control: Mutex::new(control),
            rests_on_log: RestsOnLog::new(rests),
            made: Mutex::default(),
            _lock: lock,
        })
    }

    fn control(&self) -> MutexGuard<'_, Connection> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same, for a commit.
    fn control_to_write(&self) -> Result<MutexGuard<'_, Connection>, StoreError> {
        let control = self.control();
        self.rests_on_log.end(&control)?;
        Ok(control)
    }

    fn file_of(&self, name: &WorkspaceName) -> Result<Option<String>, StoreError> {
        let control = self.control();
        let mut query = control.prepare_cached("SELECT file FROM workspaces WHERE name = ?1")?;
        Ok(query
            .query_row([name.as_str()], |row| row.get(0))
            .optional()?)
    }

    fn made(&self) -> MutexGuard<'_, Option<(String, SqliteWorkspace)>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, file: &str) -> PathBuf {
        self.directory.join(file)
    }
}

fn lock(directory: &Path) -> Result<File, StoreError> {
    let unavailable = |error: std::io::Error| {
        StoreError::Unavailable(format!("{}: {error}", directory.display()))
    };
    std::fs::create_dir_all(directory).map_err(unavailable)?;
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(directory.join("lock"))
        .map_err(unavailable)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse(directory.display().to_string())),
        Err(TryLockError::Error(error)) => Err(unavailable(error)),
    }
}

impl ServerStore for SqliteStore {
    fn open(&self, name: &WorkspaceName) -> Result<Option<Arc<dyn WorkspaceStore>>, StoreError> {
        let Some(file) = self.file_of(name)? else {
            return Ok(None);
        };
        let made = self.made().take_if(|(made, _)| *made == file);
        let workspace = match made {
            Some((_, workspace)) => workspace,
            None => SqliteWorkspace::open(self.path(&file), self.vfs.clone())?,
        };
        Ok(Some(Arc::new(workspace)))
    }

    fn create(&self, name: &WorkspaceName, id: [u8; 16], now: i64) -> Result<bool, StoreError> {
        if self.file_of(name)?.is_some() {
            return Ok(false);
        }
        // The file first: a name in the control file always has its workspace.
        let file = name.file_name();
        let workspace = SqliteWorkspace::make(self.path(&file), self.vfs.clone(), name, id)?;
        let named = self.control_to_write()?.execute(
            "INSERT OR IGNORE INTO workspaces (name, file, created) VALUES (?1, ?2, ?3)",
            params![name.as_str(), file, now],
        )?;
        if named > 0 {
            *self.made() = Some((file, workspace));
        }
        Ok(named > 0)
    }

    fn names(&self) -> Result<Vec<WorkspaceName>, StoreError> {
        let control = self.control();
        let mut query = control.prepare_cached("SELECT name FROM workspaces ORDER BY name")?;
        let names = query.query_map([], |row| row.get::<_, String>(0))?;
        names
            .map(|name| WorkspaceName::new(&name?).ok_or_else(|| damaged("a workspace's name")))
            .collect()
    }

    fn stable_ids(&self) -> Result<Option<StableIds>, StoreError> {
        let control = self.control();
        let text: Option<String> = control
            .query_row(
                "SELECT value FROM meta WHERE key = 'stable_ids'",
                [],
                |row| row.get(0),
            )
            .optional()?;
        text.map(|text| serde_json::from_str(&text).map_err(|_| damaged("the schema's numbers")))
            .transpose()
    }

    fn set_stable_ids(&self, ids: &StableIds) -> Result<(), StoreError> {
        let text = serde_json::to_string(ids).map_err(|_| damaged("the schema's numbers"))?;
        self.control_to_write()?.execute(
            "INSERT OR REPLACE INTO meta VALUES ('stable_ids', ?1)",
            [text],
        )?;
        Ok(())
    }

    fn check_writable(&self) -> Result<(), StoreError> {
        self.control_to_write()?
            .execute("INSERT OR REPLACE INTO meta VALUES ('checked', '')", [])?;
        Ok(())
    }
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteStore")
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}
