//! The database: what an app opens, reads, writes and closes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use driftline_core::id::DocumentId;
use driftline_core::mutant::{Mutant, planted};
use driftline_core::schema::Schema;
use driftline_core::sync::Event;
use driftline_core::text::TextKind;

use crate::config::Config;
use crate::document::Document;
use crate::engine;
use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::processes::Watcher;
use crate::query::{self, Params, Rows};
use crate::storage::text as stored_text;
use crate::storage::{LocalWrite, OpenOptions, Origin, Storage, StorageError};
use crate::sync::{Sync, SyncConfig};
use crate::text::{self, Editors, ListElement, RichText, TextSession};
use crate::transaction::Transaction;
use crate::watch::{Subscription, Watches};

/// A database: one file, one account, one workspace.
///
/// Cloning is cheap and shares it. All calls may be made from any thread; they do their work on the
/// thread that calls and return when it is done.
#[derive(Clone)]
pub struct Database {
    inner: Arc<Inner>,
}

struct Inner {
    storage: Arc<Storage>,
    watches: Arc<Watches>,
    watcher: Arc<Watcher>,
    query_timeout: i64,
    environment: Environment,
    sync: Arc<Mutex<Option<Sync>>>,
    editors: Editors,
}

/// The longest account, workspace or device label, in bytes.
const LONGEST_NAME: usize = 255;

impl Database {
    /// Opens a file, making it if it is not there.
    ///
    /// A file that cannot be used is left as it was, and the error says why: it is of a newer build
    /// or schema, another account or workspace, another program, damaged, or held by another process.
    ///
    /// # Errors
    /// As above; a schema whose numbers changed their meaning; a name that is empty or too long.
    pub fn open(config: Config) -> Result<Database> {
        let Config {
            path,
            schema,
            account,
            workspace,
            device_label,
            durability,
            host_token,
            query_timeout,
            environment,
        } = config;
        check_names(account.as_deref(), &workspace)?;
        if device_label.len() > LONGEST_NAME {
            return Err(Error::config("a device label has at most 255 bytes"));
        }
        let storage = Storage::open(OpenOptions {
            path,
            schema: Arc::new(schema),
            account,
            workspace,
            device_label,
            durability,
            host_token,
            environment: environment.clone(),
        })?;
        let storage = Arc::new(storage);
        text::showing::keep_up(&storage)?;
        let watches = Arc::new(Watches::default());
        let told = Arc::clone(&watches);
        storage
            .hooks()
            .on_commit(move |changes| told.committed(changes));
        let editors = Editors::default();
        let open = editors.clone();
        storage
            .hooks()
            .on_commit(move |changes| open.committed(changes));
        let sync = Arc::new(Mutex::new(None));
        let watcher = {
            let (watches, sync) = (Arc::clone(&watches), Arc::clone(&sync));
            let open = editors.clone();
            Watcher::new(&storage, move || {
                watches.any() || held(&sync).is_some() || open.any()
            })
        };
        let query_timeout = i64::try_from(query_timeout.as_millis()).unwrap_or(i64::MAX);
        Ok(Database {
            inner: Arc::new(Inner {
                storage,
                watches,
                watcher,
                query_timeout,
                environment,
                sync,
                editors,
            }),
        })
    }

    /// The schema it was opened with.
    pub fn schema(&self) -> Arc<Schema> {
        Arc::clone(&self.inner.storage.layout().schema)
    }

    /// Writes: all that `work` does is committed together when it returns `Ok`, and nothing of it if
    /// it returns an error or panics. A returned write is durable as the configuration says.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), driftline::Error> {
    /// # let db: driftline::Database = unimplemented!();
    /// let id = db.write(|tx| {
    ///     let id = tx.insert("birds", [("species", "Adelie")])?;
    ///     tx.increment("birds", id.as_str(), "sightings", 1)?;
    ///     Ok(id)
    /// })?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// What `work` returns; the outbox, the disk or a limit is full; the commit failed. A write inside
    /// a write is refused (`nested_write`).
    pub fn write<T>(&self, work: impl FnOnce(&mut Transaction<'_>) -> Result<T>) -> Result<T> {
        let storage = &self.inner.storage;
        let written = storage.write_tx(Origin::Local, |tx| {
            let mut transaction = Transaction::new(LocalWrite::new(tx), self.inner.query_timeout);
            let value = work(&mut transaction)?;
            transaction.into_write().finish()?;
            Ok(value)
        });
        storage.after_local_write(written.as_ref().is_err_and(Error::is_queue_full));
        written
    }

    /// A live document; `None` if there is none of that id.
    ///
    /// # Errors
    /// An unknown collection, an id that is none, a file that cannot be read.
    pub fn get(&self, collection: &str, id: &str) -> Result<Option<Document>> {
        let id = DocumentId::new(id)?;
        self.inner.storage.with_reader(|tx| {
            let Some(declared) = tx.schema().collection(collection) else {
                return Ok(Err(Error::unknown_collection(collection)));
            };
            let Some(table) = tx.layout().table(declared.id) else {
                return Ok(Ok(None));
            };
            let mut statement = tx.conn().prepare_cached(&table.get)?;
            let mut rows = statement.query([id.as_str()])?;
            match rows.next()? {
                None => Ok(Ok(None)),
                Some(row) => {
                    Document::of_row(id, declared, table, row).map(|document| Ok(Some(document)))
                }
            }
        })?
    }

    /// What a rich text of a live document holds, with its formats; `None` if there is no such
    /// document. Queries see its plain text in the field's column.
    ///
    /// # Errors
    /// An unknown collection or field, a field that is no rich text, a file that cannot be read.
    pub fn rich_text(&self, collection: &str, id: &str, field: &str) -> Result<Option<RichText>> {
        let place = text::place_of(&self.schema(), (collection, id, field), TextKind::RichText)?;
        let body = self
            .inner
            .storage
            .read(|tx| stored_text::read(tx, &place))?;
        let Some(body) = body else { return Ok(None) };
        let content = body.content().map_err(text::failed)?;
        Ok(Some(RichText::of(content)))
    }

    /// Opens a rich text of a live document in an editor: see [`TextSession`].
    ///
    /// # Errors
    /// An unknown collection or field, a field that is no rich text, no live document of that id, a
    /// file that cannot be read.
    pub fn open_text(&self, collection: &str, id: &str, field: &str) -> Result<TextSession> {
        let place = text::place_of(&self.schema(), (collection, id, field), TextKind::RichText)?;
        let session = TextSession::open(&self.inner.storage, place)?;
        self.inner.editors.add(&session);
        self.inner.watcher.start();
        Ok(session)
    }

    /// The elements of a list of a live document, with their names; `None` if there is no such
    /// document. Queries see a JSON array in the field's column.
    ///
    /// # Errors
    /// An unknown collection or field, a field that is no list, a file that cannot be read.
    pub fn list(
        &self,
        collection: &str,
        id: &str,
        field: &str,
    ) -> Result<Option<Vec<ListElement>>> {
        let place = text::place_of(&self.schema(), (collection, id, field), TextKind::List)?;
        let body = self
            .inner
            .storage
            .read(|tx| stored_text::read(tx, &place))?;
        let Some(mut body) = body else {
            return Ok(None);
        };
        let elements = body.elements().map_err(text::failed)?;
        Ok(Some(elements.into_iter().map(ListElement::of).collect()))
    }

    /// Runs one `SELECT` over the views (a view for each collection, with `id` and its fields) and the
    /// full-text tables (`<collection>_search`).
    ///
    /// # Errors
    /// Anything but reading those (`query_not_allowed`); SQL that is not valid; parameters that do not
    /// fit; a query that takes longer than the configuration allows.
    pub fn query(&self, sql: &str, params: impl Into<Params>) -> Result<Rows> {
        let params = params.into();
        Ok(self
            .inner
            .storage
            .with_reader(|tx| query::run(tx.gated(), sql, &params, self.inner.query_timeout))?)
    }

    /// Watches a query: its result first, then what changes in it.
    ///
    /// # Errors
    /// What [`Database::query`] refuses.
    pub fn watch(&self, sql: impl Into<String>, params: impl Into<Params>) -> Result<Subscription> {
        let inner = &self.inner;
        let storage = Arc::clone(&inner.storage);
        let subscription =
            inner
                .watches
                .watch(storage, sql.into(), params.into(), inner.query_timeout)?;
        inner.watcher.start();
        Ok(subscription)
    }

    /// Looks whether another process has changed the file since the last look, and tells the watched
    /// queries. Returns whether it had. While a query is watched or sync is connected this happens by
    /// itself; a host that is told of writes by other means can call it at once.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn poll_external(&self) -> Result<bool> {
        Ok(self.inner.storage.poll_external()?)
    }

    /// Begins to sync. A database has one connection; connecting again replaces it.
    ///
    /// # Errors
    /// A file without an account; no active provider; `bad_address`: the server's address, or the
    /// workspace's name in it, cannot be used; certificates that cannot be read. A running connection
    /// then goes on.
    pub fn connect(&self, config: SyncConfig) -> Result<Sync> {
        let inner = &self.inner;
        let provider = engine::provider(&inner.storage, &inner.environment, &config)?;
        let mut held = self.held_sync();
        if let Some(old) = held.take() {
            old.stop(Event::Close);
        }
        let sync = engine::connect(
            &inner.storage,
            self.schema(),
            &inner.storage.workspace()?,
            &inner.environment,
            provider,
            config,
        );
        *held = Some(sync.clone());
        drop(held);
        inner.watcher.start();
        // What another process wrote between the two.
        sync.another_wrote();
        Ok(sync)
    }

    /// The connection, if there is one.
    pub fn sync(&self) -> Option<Sync> {
        self.held_sync().clone()
    }

    fn held_sync(&self) -> MutexGuard<'_, Option<Sync>> {
        held(&self.inner.sync)
    }

    /// Returns when every write that has returned, and what was typed into editors, survives a power
    /// loss, under [`Durability::Normal`](crate::Durability::Normal) too.
    ///
    /// # Errors
    /// A disk that is full or fails; what keeps an editor's words from being stored, see
    /// [`TextSession::flush`]: they are kept and shown, and everything else is on the disk.
    pub fn flush(&self) -> Result<()> {
        let typed = self.inner.editors.flush();
        text::showing::catch_up(&self.inner.storage)?;
        self.inner.storage.flush()?;
        typed
    }

    /// Lets go of the file: everything is on the disk, no connection is open, no lock is held. For a
    /// host that freezes the app: a lock held then ends it. Calls fail with `suspended` until
    /// [`Database::resume`]; running queries are ended.
    ///
    /// # Errors
    /// A disk that is full or fails; what keeps an editor's words from being stored, see
    /// [`TextSession::flush`]: they are lost if the app ends now, else stored after
    /// [`Database::resume`]. The file is let go of all the same.
    pub fn suspend(&self) -> Result<()> {
        self.inner.watcher.stop();
        if let Some(sync) = self.sync() {
            sync.stop(Event::Suspend);
        }
        let typed = self.inner.editors.flush();
        self.show_texts();
        self.inner.storage.suspend()?;
        typed
    }

    /// Takes the file up again after [`Database::suspend`].
    ///
    /// # Errors
    /// A file that cannot be opened; a database that was closed.
    pub fn resume(&self) -> Result<()> {
        self.inner.storage.resume()?;
        self.inner.watches.all();
        self.inner.watcher.start();
        self.inner.editors.try_again();
        if let Some(sync) = self.sync() {
            sync.resume();
        }
        Ok(())
    }

    /// Closes for good, for every clone: everything is on the disk, editors are closed, watched queries
    /// end, calls fail with `closed`. Closing twice is fine.
    ///
    /// # Errors
    /// What keeps an editor's words from being stored, see [`TextSession::flush`]: the database stays
    /// open then, with that editor and its words, until they can be stored or are given up
    /// ([`TextSession::discard`]). A disk that is full or fails; it is closed all the same.
    pub fn close(&self) -> Result<()> {
        self.inner.editors.flush()?;
        self.inner.editors.close()?;
        let sync = self.held_sync().take();
        if let Some(sync) = sync {
            sync.stop(Event::Close);
        }
        self.inner.watcher.stop();
        self.show_texts();
        let closed = self.inner.storage.close();
        self.inner.watches.end();
        match closed {
            Err(StorageError::Closed) | Ok(()) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Shows queries what texts hold, before the file is let go of. Where that fails the next open does
    /// it: the texts themselves are stored.
    fn show_texts(&self) {
        match text::showing::catch_up(&self.inner.storage) {
            Ok(()) | Err(StorageError::Suspended | StorageError::Closed) => {}
            Err(error) => tracing::warn!(%error, "texts could not be shown to queries"),
        }
    }

    /// Texts that are open.
    pub(crate) fn editors(&self) -> &Editors {
        &self.inner.editors
    }

    /// What everything else works on.
    pub(crate) fn storage(&self) -> &Arc<Storage> {
        &self.inner.storage
    }
}

impl Drop for Inner {
    /// The last clone is gone: the driver holds the file, so it is told to end.
    fn drop(&mut self) {
        if planted(Mutant::HeldWhenClosed) {
            std::mem::forget(Arc::clone(&self.storage));
        }
        self.watcher.stop();
        let sync = held(&self.sync).take();
        if let Some(sync) = sync {
            sync.stop(Event::Close);
        }
    }
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database")
            .field("storage", &self.inner.storage)
            .finish()
    }
}

/// Refuses names that no file and no request could carry.
pub(crate) fn check_names(account: Option<&str>, workspace: &str) -> Result<()> {
    let fits = |name: &str| (1..=LONGEST_NAME).contains(&name.len());
    if !fits(workspace) {
        return Err(Error::config("a workspace's name has 1 to 255 bytes"));
    }
    match account.is_none_or(fits) {
        true => Ok(()),
        false => Err(Error::config("an account's name has 1 to 255 bytes")),
    }
}

fn held(sync: &Mutex<Option<Sync>>) -> MutexGuard<'_, Option<Sync>> {
    sync.lock().unwrap_or_else(PoisonError::into_inner)
}
