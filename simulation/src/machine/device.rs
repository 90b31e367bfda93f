//! A device of a simulation: the shipped library, on a disk of its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use driftline::environment::{Clock, Environment};
use driftline::{
    Config, Database, Durability, Form, Rows, Schema, Sync, SyncConfig, TextSession, TokenError,
    Value,
};
use driftline_core::schema::FieldKind;
use driftline_simvfs::{Disk, PowerLoss, Process, heap};
use rusqlite::{Connection, OpenFlags};
use serde_json::json;

use super::processes::ProcessTable;
use super::tokens::{Keychain, TokenTrouble};
use super::watched::Watched;
use super::{Account, DrawnIds, MachineClock, Network, Owner, Tasks, WORKSPACE};

/// The database's file, where an app has one only.
const FILE: &str = "/device/app.db";

/// Who signs in where nobody should.
const STRANGER: &str = "zoe";

/// What a device is opened with.
#[derive(Clone)]
pub struct DeviceOptions {
    /// Its number, for the network's weather.
    pub number: usize,
    /// Whose it is.
    pub account: Account,
    /// Whether a returned write survives a power loss.
    pub durability: Durability,
    /// The app's schema.
    pub schema: Schema,
    /// Whether the host keeps a token beside the file.
    pub host_token: bool,
    /// Where its randomness begins.
    pub seed: u64,
}

/// A machine with one database.
pub struct Device {
    /// Its disk.
    pub disk: Disk,
    /// Its clocks.
    pub clock: Arc<MachineClock>,
    /// What the next start opens it with.
    pub options: DeviceOptions,
    /// The app begins without an account. Once the file is an account's it is opened with that.
    pub guest: bool,
    /// The database's file.
    pub file: String,
    /// What the file is a replica of.
    pub workspace: String,
    /// What is wrong with the tokens its app is given.
    pub tokens: TokenTrouble,
    /// Whose tokens those are that are somebody else's.
    pub stranger: String,
    /// The most ops in one request; the library's own where this is 0.
    pub max_ops: usize,
    /// It keeps a live socket.
    pub live: bool,
    /// It speaks JSON.
    pub json: bool,
    /// Its app watches a query from the next opening on.
    pub watches: bool,
    tasks: Tasks,
    network: Network,
    keychain: Keychain,
    processes: ProcessTable,
    /// The most bytes that a process of it held when it ended, since somebody asked.
    pub held: i64,
    process: Option<(Process, Owner)>,
    frozen: bool,
    open: Option<Open>,
}

struct Open {
    /// Letters that are open in editors.
    editors: BTreeMap<String, TextSession>,
    watched: Option<Watched>,
    database: Database,
    sync: Option<Sync>,
}

impl Device {
    /// A machine that is not running yet.
    pub fn new(tasks: &Tasks, network: &Network, disk: Disk, options: DeviceOptions) -> Device {
        let clock = Arc::new(MachineClock::new(tasks, options.seed as u32));
        Device {
            disk,
            processes: ProcessTable::new(options.number, Arc::clone(&clock)),
            clock,
            options,
            guest: false,
            file: FILE.to_owned(),
            workspace: WORKSPACE.to_owned(),
            stranger: STRANGER.to_owned(),
            tasks: tasks.clone(),
            network: network.clone(),
            keychain: Keychain::default(),
            tokens: TokenTrouble::default(),
            max_ops: 0,
            live: false,
            json: false,
            watches: false,
            held: 0,
            process: None,
            frozen: false,
            open: None,
        }
    }

    /// The same machine among others, had its processes ended now. `seed` decides what a loss of power
    /// leaves of what is not synced.
    pub fn fork(&self, tasks: &Tasks, network: &Network, seed: u64) -> Device {
        let clock = Arc::new(self.clock.fork(tasks));
        Device {
            disk: self.disk.fork(seed),
            processes: self.processes.fork(Arc::clone(&clock)),
            clock,
            options: self.options.clone(),
            guest: self.guest,
            file: self.file.clone(),
            workspace: self.workspace.clone(),
            stranger: self.stranger.clone(),
            tasks: tasks.clone(),
            network: network.clone(),
            keychain: self.keychain.fork(),
            tokens: TokenTrouble::default(),
            max_ops: self.max_ops,
            live: self.live,
            json: self.json,
            watches: self.watches,
            held: 0,
            process: None,
            frozen: false,
            open: None,
        }
    }

    /// Another process on the same machine and file, not running yet.
    pub fn companion(&self) -> Device {
        let mut options = self.options.clone();
        options.seed = options.seed.rotate_left(17);
        Device {
            disk: self.disk.clone(),
            processes: self.processes.clone(),
            clock: Arc::clone(&self.clock),
            options,
            guest: self.guest,
            file: self.file.clone(),
            workspace: self.workspace.clone(),
            stranger: self.stranger.clone(),
            tasks: self.tasks.clone(),
            network: self.network.clone(),
            keychain: self.keychain.clone(),
            tokens: self.tokens.clone(),
            max_ops: self.max_ops,
            live: self.live,
            json: self.json,
            watches: self.watches,
            held: 0,
            process: None,
            frozen: false,
            open: None,
        }
    }

    /// Starts the app's process; one that runs is killed. Faults are armed by `prepare`, before
    /// anything is opened.
    pub fn start(&mut self, prepare: impl FnOnce(&Process)) {
        self.kill();
        self.options.seed = self.options.seed.wrapping_add(1);
        let process = Process::start(&self.disk, self.options.seed);
        prepare(&process);
        self.process = Some((process, self.tasks.new_owner()));
    }

    /// Opens the database in the running process.
    ///
    /// # Errors
    /// What the database could not be opened for. The process goes on.
    pub fn open(&mut self) -> driftline::Result<()> {
        match self.open_as(self.guest) {
            Err(error) if self.guest && error.code() == "wrong_account" => self.open_as(false),
            opened => opened,
        }
    }

    fn open_as(&mut self, guest: bool) -> driftline::Result<()> {
        let Some((process, owner)) = &self.process else {
            return Ok(());
        };
        let executor = self.tasks.executor(*owner);
        let options = &self.options;
        let link = self
            .network
            .link(options.number, executor.clone(), process.life());
        let mut config = Config::new(&self.file, options.schema.clone(), &self.workspace)
            .with_durability(options.durability)
            .with_device_label(format!("device {}", options.number));
        if !guest {
            config = config.with_account(&options.account.name);
        }
        if options.host_token {
            config.host_token = Some(Box::new(self.keychain.clone()));
        }
        config.environment = Environment {
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            // A companion begins where the one before it began, at another moment.
            ids: Arc::new(DrawnIds::new(
                options.seed ^ self.tasks.now().unsigned_abs().rotate_left(24),
            )),
            executor: Arc::new(executor),
            transport: Some(Arc::new(link)),
            files: None,
            processes: Arc::new(self.processes.enter(process.life())),
            vfs: Some(process.vfs().to_owned()),
        };
        self.options.seed = self.options.seed.wrapping_add(1);
        let database = Database::open(config)?;
        let hurries = self.options.number % 2 == 1;
        let watched = self.watches.then(|| Watched::begin(&database, hurries));
        let watched = watched.flatten();
        self.open = Some(Open {
            editors: BTreeMap::new(),
            watched,
            database,
            sync: None,
        });
        Ok(())
    }

    /// Begins to sync.
    ///
    /// # Errors
    /// What [`Database::connect`] refuses.
    pub fn connect(&mut self) -> driftline::Result<()> {
        let account = self.options.account.clone();
        if let Some(open) = &mut self.open {
            // A token says when it was made by the server's time; whoever signs people in has that.
            let (tasks, tokens) = (self.tasks.clone(), self.tokens.clone());
            let (workspace, stranger) = (self.workspace.clone(), self.stranger.clone());
            let mut config = SyncConfig::new("http://server", move || {
                let token = tokens.token(&account, &workspace, &stranger, tasks.now());
                token.map_err(TokenError)
            });
            config.settings.live = self.live;
            if self.json {
                config.form = Form::Json;
            }
            if self.max_ops > 0 {
                config.settings.max_ops = self.max_ops;
            }
            open.sync = Some(open.database.connect(config)?);
        }
        Ok(())
    }

    /// The open database, unless the process is frozen.
    pub fn database(&self) -> Option<&Database> {
        let open = self.open.as_ref().filter(|_| !self.frozen);
        open.map(|open| &open.database)
    }

    /// A letter in an editor of the app, which opens it if need be.
    pub fn editor(&mut self, letter: &str) -> Option<driftline::Result<TextSession>> {
        let open = self.open.as_mut().filter(|_| !self.frozen)?;
        if !open.editors.contains_key(letter) {
            match open.database.open_text("letters", letter, "words") {
                Ok(session) => open.editors.insert(letter.to_owned(), session),
                Err(error) => return Some(Err(error)),
            };
        }
        open.editors.get(letter).cloned().map(Ok)
    }

    /// Nobody looks at it any more.
    pub fn close_editor(&mut self, letter: &str) {
        if let Some(open) = &mut self.open {
            open.editors.remove(letter);
        }
    }

    /// What the app shows of the query that it watches, and what it would show if it asked.
    pub fn watched(&mut self) -> Option<(Rows, Rows)> {
        let open = self.open.as_mut().filter(|_| !self.frozen)?;
        open.watched.as_mut()?.look(&open.database)
    }

    /// The connection, unless the process is frozen.
    pub fn sync(&self) -> Option<&Sync> {
        let open = self.open.as_ref().filter(|_| !self.frozen);
        open?.sync.as_ref()
    }

    /// Whether the process has the database open, frozen or not.
    pub fn has_open(&self) -> bool {
        self.open.is_some()
    }

    /// The system freezes the process: nothing of it goes on, until it is thawed or ends.
    pub fn freeze(&mut self) {
        if let Some((_, owner)) = &self.process {
            self.tasks.freeze(*owner);
            self.frozen = true;
        }
    }

    /// It goes on where it was.
    pub fn thaw(&mut self) {
        if let Some((_, owner)) = self.process.as_ref().filter(|_| self.frozen) {
            self.tasks.thaw(*owner);
        }
        self.frozen = false;
    }

    /// Whether it is frozen.
    pub fn is_frozen(&self) -> bool {
        self.frozen
    }

    /// The running process.
    pub fn process(&self) -> Option<&Process> {
        self.process.as_ref().map(|(process, _)| process)
    }

    /// Whether a process runs and has not ended by itself.
    pub fn is_alive(&self) -> bool {
        self.process().is_some_and(Process::is_alive)
    }

    /// Closes the database as an app does; the process goes on. Words that cannot be stored, into a letter
    /// that is gone or onto a full disk, are given up.
    ///
    /// # Errors
    /// What [`Database::close`] says then; it is closed all the same.
    pub fn close(&mut self) -> driftline::Result<()> {
        let Some(open) = self.open.take() else {
            return Ok(());
        };
        match open.database.close() {
            Err(_) if !open.editors.is_empty() => {
                open.editors.values().for_each(TextSession::discard);
                open.database.close()
            }
            closed => closed,
        }
    }

    /// Ends the process as `kill -9` does.
    pub fn kill(&mut self) {
        let before = heap::held();
        if let Some((process, owner)) = &self.process {
            process.kill();
            self.tasks.end(*owner);
        }
        // Its files are closed before the process is forgotten.
        self.open = None;
        self.process = None;
        self.frozen = false;
        self.held = self.held.max(before - heap::held());
    }

    /// The machine's power goes.
    pub fn power_loss(&mut self, loss: PowerLoss) {
        self.disk.power_loss(loss);
        self.kill();
        self.clock.reboot();
    }

    /// Every live document: `collection/id` and its visible fields as JSON, as the server's
    /// documents are.
    ///
    /// # Errors
    /// What the database says.
    pub fn documents(&self) -> driftline::Result<BTreeMap<String, serde_json::Value>> {
        let mut documents = BTreeMap::new();
        let Some(database) = self.database() else {
            return Ok(documents);
        };
        for collection in &self.options.schema.collections {
            let lists: Vec<bool> = collection
                .fields
                .iter()
                .map(|field| matches!(field.kind, FieldKind::Set | FieldKind::List))
                .collect();
            let names: Vec<&str> = collection.fields.iter().map(|f| f.name.as_str()).collect();
            let sql = format!("SELECT id, {} FROM {}", names.join(", "), collection.name);
            for row in database.query(&sql, ())?.iter() {
                let mut values = row.values().iter();
                let id = match values.next() {
                    Some(Value::Text(id)) => id.as_str(),
                    _ => "",
                };
                let fields = values.zip(&lists).zip(&names);
                let body: serde_json::Map<_, _> = fields
                    .map(|((value, list), name)| ((*name).to_owned(), in_json(value, *list)))
                    .collect();
                documents.insert(format!("{}/{id}", collection.id), body.into());
            }
        }
        Ok(documents)
    }

    /// Runs `work` on the file, from another process that knows nothing of Driftline.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn with_file<T>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, String> {
        on_disk(&self.disk, &self.file, work)
    }

    /// The same on a copy: opening a file puts it in order.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn with_copy<T>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, String> {
        on_disk(&Disk::from_image(&self.disk.image(), 0), &self.file, work)
    }

    /// What is wrong with its file, if there is one, looked at by another process.
    ///
    /// # Errors
    /// A file that cannot be read, or is not sound.
    pub fn check(&self) -> Result<(), String> {
        if !self.disk.files().contains(&self.file) {
            return Ok(());
        }
        let said = self.with_file(|file| {
            file.query_row("PRAGMA integrity_check", (), |row| row.get::<_, String>(0))
        })?;
        match said.as_str() {
            "ok" => Ok(()),
            said => Err(format!("the device's file is damaged: {said}")),
        }
    }
}

fn on_disk<T>(
    disk: &Disk,
    file: &str,
    work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> Result<T, String> {
    let process = Process::start(disk, 0);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
    Connection::open_with_flags_and_vfs(file, flags, process.vfs())
        .and_then(|file| work(&file))
        .map_err(|error| format!("the device's file cannot be read: {error}"))
}

/// A value as the server's own JSON has it. Bytes do not occur here.
fn in_json(value: &Value, list: bool) -> serde_json::Value {
    match value {
        Value::Null => json!(null),
        Value::Boolean(value) => json!(value),
        Value::Integer(value) => json!(value),
        Value::Real(value) => json!(value),
        Value::Text(text) if list => serde_json::from_str(text).unwrap_or_else(|_| json!(text)),
        Value::Text(text) => json!(text),
        Value::Bytes(bytes) => json!(bytes),
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.kill();
    }
}
