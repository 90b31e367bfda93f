//! A device: a database of this process, connected to a server.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use driftline::transport::{BuiltinTransport, TlsRoots, Transport};
use driftline::{Config, Database, Form, Schema, Sync, SyncConfig, Value};
use tempfile::TempDir;

use super::{Faulty, PlainHttp, SCHEMA, Server};

pub const WORKSPACE: &str = "field";
const PATIENCE: Duration = Duration::from_secs(30);

/// How the devices of a test reach their server.
#[derive(Clone, Copy, Debug)]
pub struct Carrier {
    /// By an HTTP stack that is none of the library's, and that has no sockets.
    pub own_stack: bool,
    /// The form of messages.
    pub form: Form,
}

thread_local! {
    static CARRIER: Cell<Carrier> = const {
        Cell::new(Carrier {
            own_stack: false,
            form: Form::Cbor,
        })
    };
}

/// Runs a flow whose devices go another way to their server.
pub fn over(carrier: Carrier, flow: impl FnOnce()) {
    CARRIER.set(carrier);
    flow();
}

pub struct Device {
    pub carrier: Carrier,
    pub db: Database,
    pub network: Arc<Faulty>,
    pub path: PathBuf,
    pub token_calls: Arc<AtomicUsize>,
    _folder: Option<TempDir>,
}

#[allow(dead_code)]
impl Device {
    /// A new device of account `ada`, not connected yet.
    pub fn new(label: &str) -> Device {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("device.db");
        Device {
            _folder: Some(folder),
            ..Device::at(&path, label)
        }
    }

    /// The device whose file is at `path`.
    pub fn at(path: &Path, label: &str) -> Device {
        let config = Config::new(path, Schema::parse(SCHEMA).unwrap(), WORKSPACE)
            .with_account("ada")
            .with_device_label(label);
        Device {
            _folder: None,
            ..Device::of(Database::open(config).unwrap(), path)
        }
    }

    /// A device around a database opened otherwise.
    pub fn with_database(db: Database, path: &Path, folder: TempDir) -> Device {
        Device {
            _folder: Some(folder),
            ..Device::of(db, path)
        }
    }

    fn of(db: Database, path: &Path) -> Device {
        let carrier = CARRIER.get();
        let stack: Arc<dyn Transport> = if carrier.own_stack {
            Arc::new(PlainHttp::default())
        } else {
            Arc::new(BuiltinTransport::new(&TlsRoots::default()).unwrap())
        };
        Device {
            carrier,
            db,
            network: Faulty::new(stack),
            path: path.to_path_buf(),
            token_calls: Arc::default(),
            _folder: None,
        }
    }

    /// Connects without a live socket: what is sent and when is then up to the test.
    pub fn connect(&self, server: &Server) -> Sync {
        self.connect_as(server, "writer", false)
    }

    pub fn connect_live(&self, server: &Server) -> Sync {
        self.connect_as(server, "writer", true)
    }

    pub fn connect_as(&self, server: &Server, role: &str, live: bool) -> Sync {
        let token = server.token("ada", WORKSPACE, role, "1h");
        self.connect_with(&server.url, token, live)
    }

    pub fn connect_with(&self, url: &str, token: String, live: bool) -> Sync {
        let calls = self.token_calls.clone();
        let mut config = SyncConfig::new(url, move || {
            calls.fetch_add(1, Ordering::SeqCst);
            Ok(token.clone())
        });
        config.transport = Some(self.network.clone());
        config.form = self.carrier.form;
        config.settings.live = live;
        config.idle_timeout = Duration::from_secs(5);
        self.db.connect(config).unwrap()
    }

    /// Syncs until nothing is left to do.
    pub fn sync(&self) {
        let sync = self.db.sync().unwrap();
        assert!(sync.sync_until(PATIENCE), "not synced: {:?}", sync.status());
    }

    pub fn note(&self, title: &str) -> String {
        self.db
            .write(|tx| tx.insert("notes", [("title", title)]))
            .unwrap()
            .to_string()
    }

    pub fn set(&self, id: &str, field: &str, value: impl Into<Value>) {
        let value = value.into();
        self.db
            .write(|tx| tx.update("notes", id, [(field, value)]))
            .unwrap();
    }

    /// One value of a query's first row; `None` without a row.
    pub fn one(&self, sql: &str) -> Option<Value> {
        self.db.query(sql, ()).unwrap().scalar().cloned()
    }

    pub fn title(&self, id: &str) -> Option<Value> {
        self.one(&format!("SELECT title FROM notes WHERE id = '{id}'"))
    }

    pub fn count(&self, table: &str) -> i64 {
        match self.one(&format!("SELECT count(*) FROM {table}")) {
            Some(Value::Integer(n)) => n,
            other => panic!("no count: {other:?}"),
        }
    }

    /// Everything shown, in one order: equal content, equal text.
    pub fn content(&self) -> Vec<String> {
        let notes = self
            .db
            .query(
                "SELECT id, title, body, done, count, tags, rank FROM notes ORDER BY id",
                (),
            )
            .unwrap();
        let tasks = self
            .db
            .query("SELECT id, title, note FROM tasks ORDER BY id", ())
            .unwrap();
        notes
            .iter()
            .chain(tasks.iter())
            .map(|row| format!("{row:?}"))
            .collect()
    }

    pub fn pending(&self) -> u64 {
        self.db.sync().unwrap().status().pending
    }
}
