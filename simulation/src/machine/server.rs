//! The server of a simulation: the shipped one, on a disk of its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use driftline::Schema;
use driftline_core::environment::Clock;
use driftline_server::auth::mint::{Minted, hs256};
use driftline_server::auth::{Keys, Role};
use driftline_server::environment::Environment;
use driftline_server::store::ServerStore;
use driftline_server::store::sqlite::SqliteStore;
use driftline_server::{Server, ServerConfig, ServerLimits};
use driftline_simvfs::{Disk, PowerLoss, Process, heap};
use rusqlite::{Connection, OpenFlags};

use super::network::Served;
use super::{DrawnIds, MachineClock, Network, Owner, Tasks};

/// Where everybody meets.
pub const WORKSPACE: &str = "field";

/// No secret: everything that it signs lives in this process.
const SECRET: &[u8] = b"only for simulations, in one process";

/// Somebody who may sync.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The token's `sub`.
    pub name: String,
    /// What it may do.
    pub role: Role,
}

impl Account {
    /// One that may write.
    pub fn writer(name: &str) -> Account {
        Account {
            name: name.to_owned(),
            role: Role::Writer,
        }
    }

    /// A token for [`WORKSPACE`] that holds for an hour from `now` (Unix milliseconds).
    pub fn token(&self, now: i64) -> Result<String, String> {
        self.token_for(WORKSPACE, now)
    }

    /// The same for another workspace.
    pub fn token_for(&self, workspace: &str, now: i64) -> Result<String, String> {
        let minted = Minted {
            account: self.name.clone(),
            workspaces: BTreeMap::from([(workspace.to_owned(), self.role)]),
            issued: now / 1000,
            lifetime: 3_600,
            audience: None,
            issuer: None,
        };
        hs256(SECRET, &minted).map_err(|error| error.to_string())
    }
}

/// The machine that the server runs on.
pub struct ServerHost {
    /// Its disk.
    pub disk: Disk,
    /// Its clocks.
    pub clock: Arc<MachineClock>,
    /// What it bears.
    pub limits: ServerLimits,
    /// What it declares from its next start on.
    pub schema: Schema,
    /// What stands between it and its files from its next start on.
    pub through: Option<Through>,
    tasks: Tasks,
    network: Network,
    /// The most bytes that a process of it held when it ended, since somebody asked.
    pub held: i64,
    /// I/O calls of processes that have ended that met a fault.
    met: u64,
    seed: u64,
    running: Option<Running>,
}

/// Puts something between a server and its store.
pub type Through = fn(Arc<dyn ServerStore>) -> Arc<dyn ServerStore>;

struct Running {
    process: Process,
    owner: Owner,
    // The router holds what it needs; this one is asked to close.
    server: Server,
}

impl ServerHost {
    /// A machine that is not running yet.
    pub fn new(tasks: &Tasks, network: &Network, schema: &Schema, disk: Disk, seed: u64) -> Self {
        // Simulated time stands still while devices talk.
        let limits = ServerLimits {
            requests_per_second: 1_000_000,
            burst: 1_000_000,
            ..ServerLimits::default()
        };
        ServerHost {
            disk,
            clock: Arc::new(MachineClock::new(tasks, seed as u32)),
            limits,
            schema: schema.clone(),
            through: None,
            tasks: tasks.clone(),
            network: network.clone(),
            held: 0,
            met: 0,
            seed,
            running: None,
        }
    }

    /// The same machine among others, had its process ended now. `seed` decides what a loss of power
    /// leaves of what is not synced.
    pub fn fork(&self, tasks: &Tasks, network: &Network, seed: u64) -> ServerHost {
        ServerHost {
            disk: self.disk.fork(seed),
            clock: Arc::new(self.clock.fork(tasks)),
            limits: self.limits.clone(),
            schema: self.schema.clone(),
            through: self.through,
            tasks: tasks.clone(),
            network: network.clone(),
            held: 0,
            met: 0,
            seed: self.seed,
            running: None,
        }
    }

    /// Starts the server, which must not be running; faults are armed by `prepare` before it opens
    /// anything.
    ///
    /// # Errors
    /// What it could not start for.
    pub fn start(&mut self, prepare: impl FnOnce(&Process)) -> Result<(), String> {
        self.kill();
        self.seed = self.seed.wrapping_add(1);
        let process = Process::start(&self.disk, self.seed);
        prepare(&process);
        let owner = self.tasks.new_owner();
        let keys = Keys::hs256(SECRET).map_err(|error| error.to_string())?;
        let mut config = ServerConfig::new(self.schema.clone(), "/server", keys);
        config.create_workspaces = true;
        config.limits = self.limits.clone();
        config.environment = Environment {
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            ids: Arc::new(DrawnIds::new(self.seed)),
            executor: Arc::new(self.tasks.executor(owner)),
            vfs: Some(process.vfs().to_owned()),
        };
        let server = match self.through {
            None => Server::new(config),
            Some(through) => {
                let store = SqliteStore::open(&config.data_dir, config.environment.vfs.clone());
                let store = store.map_err(|error| error.to_string())?;
                Server::with_store(config, through(Arc::new(store)))
            }
        };
        let server = server.map_err(|error| error.to_string())?;
        self.network.serve(Some(Served {
            router: server.router(),
            executor: self.tasks.executor(owner),
            life: process.life(),
        }));
        self.running = Some(Running {
            process,
            owner,
            server,
        });
        Ok(())
    }

    /// The running process.
    pub fn process(&self) -> Option<&Process> {
        self.running.as_ref().map(|running| &running.process)
    }

    /// I/O calls that ever met a fault.
    pub fn met(&self) -> u64 {
        self.met + self.process().map_or(0, Process::met)
    }

    /// Stops it as an operator does: what is under way ends, the logs are moved into the files.
    pub fn stop(&mut self) {
        if let Some(running) = &self.running {
            self.network.serve(None);
            let server = running.server.clone();
            let close = async move { server.close().await };
            let executor = self.tasks.executor(running.owner);
            driftline::environment::Executor::spawn(&executor, "close", Box::pin(close));
            let _ = self.tasks.run_until(self.tasks.now(), || false);
        }
        self.kill();
    }

    /// Ends the process as `kill -9` does.
    pub fn kill(&mut self) {
        let before = heap::held();
        if let Some(running) = self.running.take() {
            self.met += running.process.met();
            running.process.kill();
            self.network.serve(None);
            self.tasks.end(running.owner);
        }
        self.held = self.held.max(before - heap::held());
    }

    /// The machine's power goes.
    pub fn power_loss(&mut self, loss: PowerLoss) {
        self.disk.power_loss(loss);
        self.kill();
        self.clock.reboot();
    }

    /// Every live document in the workspace: `collection/id` and its visible fields as JSON, a rich
    /// text as what it says (about a second ago).
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn documents(&self) -> Result<BTreeMap<String, serde_json::Value>, String> {
        self.with_files(|connection| {
            let sql = "SELECT collection || '/' || id, body FROM contents WHERE body IS NOT NULL";
            let mut query = connection.prepare(sql)?;
            query
                .query_map((), |row| Ok((row.get(0)?, row.get::<_, String>(1)?)))?
                .collect::<rusqlite::Result<Vec<(String, String)>>>()
        })?
        .into_iter()
        .flatten()
        .map(|(key, body)| {
            let mut body = serde_json::from_str(&body).map_err(|error| error.to_string())?;
            plain(&mut body);
            Ok((key, body))
        })
        .collect()
    }

    /// What is wrong with its files; nothing, if they are sound.
    ///
    /// # Errors
    /// Files that cannot be read, or are not sound.
    pub fn check(&self) -> Result<(), String> {
        let said = self.with_files(|connection| {
            connection.query_row("PRAGMA integrity_check", (), |row| row.get::<_, String>(0))
        })?;
        match said.iter().find(|said| *said != "ok") {
            Some(said) => Err(format!("the server's file is damaged: {said}")),
            None => Ok(()),
        }
    }

    /// Runs `work` on each workspace's file, as an operator's own query does.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn with_files<T>(
        &self,
        work: impl Fn(&Connection) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, String> {
        let process = Process::start(&self.disk, 0);
        let files = workspace_file(&self.disk).into_iter();
        files
            .map(|file| {
                let flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
                let connection = Connection::open_with_flags_and_vfs(&file, flags, process.vfs())
                    .map_err(|error| error.to_string())?;
                work(&connection).map_err(|error| format!("{file}: {error}"))
            })
            .collect()
    }
}

/// Rich texts without their formats.
fn plain(body: &mut serde_json::Value) {
    for value in body
        .as_object_mut()
        .into_iter()
        .flat_map(serde_json::Map::values_mut)
    {
        if value.get("delta").is_some()
            && let Some(text) = value.get_mut("text")
        {
            *value = text.take();
        }
    }
}

/// The file of [`WORKSPACE`] on a server's disk, if it is there.
pub fn workspace_file(disk: &Disk) -> Option<String> {
    file_of(WORKSPACE, disk)
}

/// The file of a workspace on a server's disk, if it is there.
pub fn file_of(workspace: &str, disk: &Disk) -> Option<String> {
    let files = disk.files().into_iter();
    let name = format!("workspace-{workspace}.sqlite");
    let mut workspaces = files.filter(|file| file.ends_with(&name));
    workspaces.next()
}

impl Drop for ServerHost {
    fn drop(&mut self) {
        self.kill();
    }
}
