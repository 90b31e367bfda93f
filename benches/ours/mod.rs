//! Driftline in the words of the figures, through its public API alone.

mod link;
mod meeting;
mod page;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use driftline::environment::Environment;
use driftline::transport::{BuiltinTransport, TlsRoots, Transport};
use driftline::{Config, Database, NewDocument, Schema, SyncConfig, Value};

pub(crate) use link::Link;
pub(crate) use meeting::Meeting;
pub(crate) use page::Page;

use crate::Outcome;
use crate::payload::{Document, SCHEMA};
use crate::raw::Durability;
use crate::simulated::{Machine, Network};

/// Whose documents they all are.
const ACCOUNT: &str = "bench";
/// Where they meet unless a figure says otherwise.
const WORKSPACE: &str = "tasks";
const COLLECTION: &str = "tasks";

/// A device.
pub(crate) struct Ours {
    database: Database,
    workspace: String,
    path: PathBuf,
}

impl Ours {
    /// Makes or opens a file.
    pub(crate) fn open(path: &Path, durability: Durability) -> Outcome<Ours> {
        Ours::of(path, durability, WORKSPACE)
    }

    /// Makes or opens a file of a workspace.
    pub(crate) fn of(path: &Path, durability: Durability, workspace: &str) -> Outcome<Ours> {
        Ours::with(path, durability, workspace, Environment::system())
    }

    /// Makes a file on a simulated machine.
    pub(crate) fn simulated(path: &Path, machine: &Machine, network: Network) -> Outcome<Ours> {
        let environment = Environment {
            clock: Arc::new(machine.clone()),
            executor: Arc::new(machine.clone()),
            transport: Some(Arc::new(network)),
            files: Some(Arc::new(machine.clone())),
            ..Environment::system()
        };
        Ours::with(path, Durability::Full, WORKSPACE, environment)
    }

    fn with(
        path: &Path,
        durability: Durability,
        workspace: &str,
        environment: Environment,
    ) -> Outcome<Ours> {
        let durability = match durability {
            Durability::Full => driftline::Durability::Full,
            Durability::Normal => driftline::Durability::Normal,
        };
        let mut config = Config::new(path, Schema::parse(SCHEMA)?, workspace)
            .with_account(ACCOUNT)
            .with_durability(durability);
        config.environment = environment;
        Ok(Ours {
            database: Database::open(config)?,
            workspace: workspace.to_owned(),
            path: path.to_owned(),
        })
    }

    /// One document, durable on return.
    pub(crate) fn insert(&self, document: &Document) -> Outcome<()> {
        Ok(self
            .database
            .write(|tx| tx.insert_with_id(COLLECTION, &document.id, fields(document)))?)
    }

    /// Many documents by `write_bulk`.
    pub(crate) fn insert_all(&self, documents: &[Document]) -> Outcome<()> {
        self.insert_new(documents.iter().map(new_document))
    }

    /// The same of documents in the form that the API takes.
    pub(crate) fn insert_new(
        &self,
        documents: impl IntoIterator<Item = NewDocument>,
    ) -> Outcome<()> {
        self.database.write_bulk(COLLECTION, documents)?;
        Ok(())
    }

    /// One field of one document, durable on return.
    pub(crate) fn set_priority(&self, id: &str, priority: i64) -> Outcome<()> {
        self.database
            .write(|tx| tx.update(COLLECTION, id, [("priority", priority)]))?;
        Ok(())
    }

    /// One field of many documents, in one transaction.
    pub(crate) fn set_priorities(&self, ids: &[String], priority: i64) -> Outcome<()> {
        Ok(self.database.write(|tx| {
            for id in ids {
                tx.update(COLLECTION, id, [("priority", priority)])?;
            }
            Ok(())
        })?)
    }

    /// Another field.
    pub(crate) fn set_done(&self, id: &str, done: bool) -> Outcome<()> {
        self.database
            .write(|tx| tx.update(COLLECTION, id, [("done", done)]))?;
        Ok(())
    }

    /// The title of a document.
    pub(crate) fn title(&self, id: &str) -> Outcome<String> {
        Ok(self.get(id)?.text("title").unwrap_or_default().to_owned())
    }

    /// The priority of a document.
    pub(crate) fn priority(&self, id: &str) -> Outcome<i64> {
        Ok(self.get(id)?.integer("priority").unwrap_or(-1))
    }

    fn get(&self, id: &str) -> Outcome<driftline::Document> {
        Ok(self
            .database
            .get(COLLECTION, id)?
            .ok_or("no such document")?)
    }

    /// How many documents there are.
    pub(crate) fn count(&self) -> Outcome<usize> {
        match self
            .database
            .query("SELECT count(*) FROM tasks", ())?
            .scalar()
        {
            Some(Value::Integer(count)) => Ok(usize::try_from(*count)?),
            _ => Err("a count is an integer".into()),
        }
    }

    /// Reads every document's row, as an app's list would. Returns how many there are.
    pub(crate) fn read_all(&self) -> Outcome<usize> {
        let rows = self
            .database
            .query("SELECT id, title, priority, done FROM tasks", ())?;
        Ok(rows.len())
    }

    /// Watches how many documents there are, until `enough`; says so when it has begun. Returns how often
    /// that changed.
    pub(crate) fn count_changes(&self, enough: &AtomicBool, begun: impl FnOnce()) -> Outcome<u64> {
        let mut watched = self.database.watch("SELECT count(*) FROM tasks", ())?;
        let mut changes = 0;
        watched.next()?;
        begun();
        while !enough.load(Ordering::Relaxed) {
            changes += u64::from(watched.next_timeout(Duration::from_millis(20))?.is_some());
        }
        Ok(changes)
    }

    /// How many entries the queue has; read from the file, so that asking costs the database nothing.
    pub(crate) fn queued(&self) -> Outcome<usize> {
        let file = rusqlite::Connection::open(&self.path)?;
        let count: i64 = file.query_row("SELECT count(*) FROM _dl_outbox", [], |row| row.get(0))?;
        Ok(usize::try_from(count)?)
    }

    /// Begins to sync.
    pub(crate) fn connect(&self, meeting: &Meeting) -> Outcome<Link> {
        Ok(Link::new(self.database.connect(self.to(meeting))?))
    }

    /// Begins to sync, without the live socket.
    pub(crate) fn connect_without_live(&self, meeting: &Meeting) -> Outcome<Link> {
        let mut config = self.to(meeting);
        config.settings.live = false;
        Ok(Link::new(self.database.connect(config)?))
    }

    /// Begins to sync by HTTP alone, through another transport.
    pub(crate) fn connect_through(
        &self,
        meeting: &Meeting,
        transport: Arc<dyn Transport>,
    ) -> Outcome<Link> {
        let mut config = self.to(meeting);
        config.settings.live = false;
        config.transport = Some(transport);
        Ok(Link::new(self.database.connect(config)?))
    }

    /// Begins to sync on a simulated machine. What it waits for there must pass first.
    pub(crate) fn connect_simulated(&self) -> Outcome<()> {
        self.database
            .connect(SyncConfig::new("http://simulated", || {
                Ok("token".to_owned())
            }))?;
        Ok(())
    }

    fn to(&self, meeting: &Meeting) -> SyncConfig {
        let workspace = self.workspace.clone();
        SyncConfig::new(meeting.url(), move || meeting::token(&workspace))
    }

    /// Closes the file.
    pub(crate) fn close(self) -> Outcome<()> {
        Ok(self.database.close()?)
    }
}

/// The transport that Driftline brings along.
pub(crate) fn builtin_transport() -> Outcome<BuiltinTransport> {
    Ok(BuiltinTransport::new(&TlsRoots::default())?)
}

/// A document in the form that `write_bulk` takes.
pub(crate) fn new_document(document: &Document) -> NewDocument {
    let fields = fields(document).map(|(name, value)| (name.to_owned(), value));
    NewDocument {
        id: Some(document.id.clone()),
        fields: fields.into(),
    }
}

fn fields(document: &Document) -> [(&'static str, Value); 8] {
    [
        ("title", document.title.as_str().into()),
        ("note", document.note.as_str().into()),
        ("assignee", document.assignee.as_str().into()),
        ("status", document.status.into()),
        ("done", document.done.into()),
        ("priority", document.priority.into()),
        ("estimate", document.estimate.into()),
        ("due", document.due.into()),
    ]
}
