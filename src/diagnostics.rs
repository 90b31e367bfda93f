//! What to send with a bug report: numbers and states, no names and no content.

use serde::Serialize;

use crate::database::Database;
use crate::error::Result;
use crate::storage::{StorageError, outbox, runs};

/// One sync as the file remembers it; the latest 200 are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SyncRun {
    /// Unix milliseconds when it began.
    pub started: i64,
    /// Unix milliseconds when it ended; `None` if it was cut off.
    pub ended: Option<i64>,
    /// What it was for: `push`, `pull` or `bootstrap`.
    pub cause: String,
    /// How it ended: `done` or `failed`.
    pub outcome: Option<String>,
    /// Status and code of its failure.
    pub error_code: Option<String>,
    /// Ops sent.
    pub sent: u64,
    /// Versions received; of a bootstrap its documents too.
    pub received: u64,
    /// Bytes sent.
    pub bytes_up: u64,
    /// Bytes received.
    pub bytes_down: u64,
}

/// A file's state, fit to be shown to strangers.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Diagnostics {
    /// This library's version.
    pub driftline: &'static str,
    /// SQLite's version.
    pub sqlite: &'static str,
    /// The schema's version.
    pub schema_version: u32,
    /// What the schema means, as a hash.
    pub schema_fingerprint: String,
    /// The version the device stands at.
    pub version: u64,
    /// Ops queued.
    pub pending: u64,
    /// Their bytes.
    pub pending_bytes: u64,
    /// Ops in quarantine.
    pub quarantined: u64,
    /// Age of the oldest queued op in milliseconds, by the device's clock.
    pub oldest_pending_ms: Option<i64>,
    /// Losses that nobody restored.
    pub losses: u64,
    /// How far the device's clock was ahead of the server's at the last contact.
    pub clock_offset_ms: Option<i64>,
    /// Pages of the file and their size in bytes.
    pub pages: (u64, u64),
    /// What sync is doing, if connected: state and cause.
    pub sync: Option<(driftline_core::sync::State, driftline_core::sync::Cause)>,
    /// The latest runs, the last one first.
    pub runs: Vec<SyncRun>,
}

/// Runs shown in [`Diagnostics`].
const RUNS: usize = 20;

impl Database {
    /// The latest syncs, the last one first.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn sync_runs(&self, limit: usize) -> Result<Vec<SyncRun>> {
        let latest = self
            .storage()
            .with_reader(|tx| runs::latest(tx.conn(), limit))?;
        Ok(latest.into_iter().map(SyncRun::from).collect())
    }

    /// The file's state without account, workspace, labels, ids or content.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn diagnostics(&self) -> Result<Diagnostics> {
        let now = self.storage().environment().clock.wall();
        let runs = self.sync_runs(RUNS)?;
        let schema = self.schema();
        let status = self.sync().map(|sync| sync.status());
        let found = self.storage().read(|tx| {
            let queue = outbox::size(tx.conn())?;
            let losses = crate::storage::ledger::count(tx.conn())?;
            let pragma = |name: &str| -> std::result::Result<u64, StorageError> {
                let n: i64 = tx
                    .conn()
                    .query_row(&format!("PRAGMA {name}"), [], |row| row.get(0))?;
                Ok(n.cast_unsigned())
            };
            let pages = (pragma("page_count")?, pragma("page_size")?);
            Ok::<_, StorageError>((queue, losses, pages, tx.version()?, tx.contact()?))
        });
        let (queue, losses, pages, version, contact) = found?;
        Ok(Diagnostics {
            driftline: env!("CARGO_PKG_VERSION"),
            sqlite: rusqlite::version(),
            schema_version: schema.version,
            schema_fingerprint: schema.fingerprint(),
            version,
            pending: queue.pending,
            pending_bytes: queue.pending_bytes,
            quarantined: queue.quarantined,
            oldest_pending_ms: queue.oldest.map(|written| now.saturating_sub(written)),
            losses,
            clock_offset_ms: contact.map(|contact| contact.clock_offset()),
            pages,
            sync: status.map(|status| (status.state, status.cause)),
            runs,
        })
    }
}

impl From<runs::Run> for SyncRun {
    fn from(run: runs::Run) -> SyncRun {
        SyncRun {
            started: run.started,
            ended: run.ended,
            cause: run.cause,
            outcome: run.outcome,
            error_code: run.error_code,
            sent: run.sent,
            received: run.received,
            bytes_up: run.bytes_up,
            bytes_down: run.bytes_down,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    #[test]
    fn nothing_personal_is_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let schema = "[schema]\nname = \"secret-app\"\nversion = 1\n[collections.notes]\nid = 1\n\
                      [collections.notes.fields]\ntitle = { id = 1, kind = \"text\" }\n";
        let config = Config::new(
            folder.path().join("d.db"),
            crate::Schema::parse(schema).unwrap(),
            "secret-workspace",
        )
        .with_account("secret-account")
        .with_device_label("secret-label");
        let db = Database::open(config).unwrap();
        let id = db
            .write(|tx| tx.insert("notes", [("title", "secret-title")]))
            .unwrap();
        let diagnostics = db.diagnostics().unwrap();
        assert_eq!(diagnostics.pending, 1);
        let text = serde_json::to_string(&diagnostics).unwrap();
        assert!(
            !text.contains("secret") && !text.contains(id.as_str()),
            "{text}"
        );
    }
}
