//! Accounts on one device: whose queue is sent under whose name, guests, signing out.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use driftline::{
    Cause, Config, Database, Schema, SignOut, State, Status, Sync, SyncConfig, Value, file_for,
};

use crate::support::device::WORKSPACE;
use crate::support::{Device, Recorder, SCHEMA, Server, worker::Worker};

const PATIENCE: Duration = Duration::from_secs(30);

fn open(path: &Path, account: Option<&str>) -> Database {
    let mut config = Config::new(path, Schema::parse(SCHEMA).unwrap(), WORKSPACE);
    config.account = account.map(str::to_owned);
    Database::open(config).unwrap()
}

fn note(db: &Database, title: &str) -> String {
    let written = db.write(|tx| tx.insert("notes", [("title", title)]));
    written.unwrap().to_string()
}

fn count(db: &Database) -> i64 {
    match db.query("SELECT count(*) FROM notes", ()).unwrap().scalar() {
        Some(Value::Integer(count)) => *count,
        other => panic!("{other:?}"),
    }
}

fn connect(db: &Database, server: &Server, account: &str, network: &Arc<Recorder>) -> Sync {
    let token = server.token(account, WORKSPACE, "writer", "1h");
    let mut config = SyncConfig::new(&server.url, move || Ok(token.clone()));
    config.transport = Some(network.clone());
    config.settings.live = false;
    db.connect(config).unwrap()
}

fn wait_for(sync: &Sync, wanted: impl Fn(&Status) -> bool) -> Status {
    let began = std::time::Instant::now();
    loop {
        let status = sync.status();
        if wanted(&status) {
            return status;
        }
        assert!(began.elapsed() < PATIENCE, "{status:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes
        .windows(text.len())
        .any(|part| part == text.as_bytes())
}

/// Every file below `folder` with the text in it.
fn files_with(folder: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files_with(&path, text)),
            false if contains(&std::fs::read(&path).unwrap(), text) => {
                found.push(path.display().to_string());
            }
            false => {}
        }
    }
    found
}

/// Every log line of this process, at the finest level.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Ada's queue never travels under Grace's token, and nothing of it is in Grace's file, on the
/// server, or in a log.
#[test]
fn one_accounts_queue_is_never_seen_under_another() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .init();
    let canary = format!("canary-{}", uuid());
    let server = Server::start(SCHEMA);
    let folder = tempfile::tempdir().unwrap();
    let path = |account| file_for(folder.path(), Some(account), WORKSPACE);
    assert_ne!(path("ada"), path("grace"));

    // Ada writes without a network and signs out; the app then mixes things up.
    let ada = open(&path("ada"), Some("ada"));
    let id = note(&ada, &format!("{canary} title"));
    ada.write(|tx| tx.add_to_set("notes", &id, "tags", [format!("{canary} tag")]))
        .unwrap();
    assert_eq!(ada.unsynced().unwrap(), 2);
    let kept = ada.sign_out(SignOut::Keep).unwrap();
    assert_eq!((kept.unsynced, kept.exported, kept.dropped), (2, 0, 0));

    let network = Recorder::new();
    let mixed_up = open(&path("ada"), Some("ada"));
    let sync = connect(&mixed_up, &server, "grace", &network);
    let status = wait_for(&sync, |status| status.cause == Cause::WrongAccount);
    assert_eq!(status.state, State::Blocked);
    sync.sync_now();
    note(&mixed_up, &format!("{canary} later"));
    sync.foreground();
    assert!(!sync.sync_until(Duration::from_secs(2)));
    assert!(
        network.sent().is_empty(),
        "nothing is sent with a token of somebody else's"
    );
    assert_eq!(mixed_up.unsynced().unwrap(), 3);
    mixed_up.close().unwrap();

    // Grace signs in on the same device.
    let grace = open(&path("grace"), Some("grace"));
    note(&grace, "grace's own");
    let sync = connect(&grace, &server, "grace", &network);
    assert!(sync.sync_until(PATIENCE));
    assert_eq!(count(&grace), 1);
    let sent = network.sent();
    assert!(!sent.is_empty());
    for request in &sent {
        assert!(!contains(&request.content, &canary));
        assert!(!contains(request.authorization.as_bytes(), &canary));
    }
    grace.close().unwrap();
    let found = files_with(folder.path(), &canary);
    let adas = path("ada").display().to_string();
    assert!(
        found.iter().all(|file| file.starts_with(&adas)),
        "{found:?}"
    );
    assert!(!found.is_empty(), "the search finds what is there");
    assert_eq!(files_with(&server.data(), &canary), Vec::<String>::new());

    // Ada comes back: now, and only under her name, it is sent.
    let ada = open(&path("ada"), Some("ada"));
    let hers = Recorder::new();
    assert!(connect(&ada, &server, "ada", &hers).sync_until(PATIENCE));
    assert!(
        hers.sent()
            .iter()
            .any(|request| contains(&request.content, &canary))
    );
    assert!(!files_with(&server.data(), &canary).is_empty());
    assert_eq!(count(&ada), 3);
    let diagnostics = format!("{:?}", ada.diagnostics());
    assert!(!diagnostics.contains(&canary));
    let log = log.0.lock().unwrap().clone();
    assert!(!log.is_empty(), "something was logged");
    assert!(
        !contains(&log, &canary),
        "no log line says what people wrote"
    );
}

fn uuid() -> String {
    let mut bytes = [0; 8];
    driftline::environment::Ids::fill(&driftline::environment::SystemIds, &mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A guest's documents become the account's, once, also after an end in the middle, from a copy of
/// the file, and asked for again.
#[test]
fn a_guests_file_is_attached_once_whatever_happens() {
    let server = Server::start(SCHEMA);
    let folder = tempfile::tempdir().unwrap();
    let (path, copy) = (
        folder.path().join("guest.db"),
        folder.path().join("copy.db"),
    );
    let guest = open(&path, None);
    let ids: Vec<String> = (0..500)
        .map(|n| note(&guest, &format!("guest {n}")))
        .collect();
    guest
        .write(|tx| {
            tx.increment("notes", &ids[0], "count", 3)?;
            tx.add_to_set("notes", &ids[0], "tags", ["mine"])?;
            tx.delete("notes", &ids[1]).map(drop)
        })
        .unwrap();
    assert_eq!(guest.unsynced().unwrap(), 0, "a guest queues nothing");
    let token = server.token("ada", WORKSPACE, "writer", "1h");
    let refused = guest.connect(SyncConfig::new(&server.url, move || Ok(token.clone())));
    assert_eq!(refused.unwrap_err().code(), "guest_file");
    guest.close().unwrap();
    std::fs::copy(&path, &copy).unwrap();

    // Killed in the middle, again and again, until it is through.
    for pause in [1, 5, 10, 20, 40, 80] {
        let mut worker = Worker::start_attaching(&path);
        worker.tell("attach");
        std::thread::sleep(Duration::from_millis(pause));
        worker.kill();
    }
    let mine = Database::open(
        Config::new(&path, Schema::parse(SCHEMA).unwrap(), WORKSPACE).with_account("ada"),
    );
    let ada = match mine {
        Ok(ada) => ada,
        // Killed before anything was recorded.
        Err(error) => {
            assert_eq!(error.code(), "guest_file");
            open(&path, None)
        }
    };
    let attached = ada.attach_account("ada", WORKSPACE).unwrap();
    assert!(attached.complete);
    assert_eq!(ada.unsynced().unwrap(), 499);
    assert_eq!(ada.attach_account("ada", WORKSPACE).unwrap().queued, 0);
    let other = ada.attach_account("grace", WORKSPACE).unwrap_err();
    assert_eq!(other.code(), "wrong_account");
    let elsewhere = ada.attach_account("ada", "elsewhere").unwrap_err();
    assert_eq!(elsewhere.code(), "wrong_workspace");
    let network = Recorder::new();
    assert!(connect(&ada, &server, "ada", &network).sync_until(PATIENCE));
    assert_eq!((count(&ada), ada.unsynced().unwrap()), (499, 0));

    // The copy of the guest's file says the same.
    let again = open(&copy, None);
    assert!(again.attach_account("ada", WORKSPACE).unwrap().complete);
    assert!(connect(&again, &server, "ada", &network).sync_until(PATIENCE));
    assert_eq!(again.unsynced().unwrap(), 0);
    for db in [&ada, &again] {
        let first = db.get("notes", &ids[0]).unwrap().unwrap();
        assert_eq!(first.integer("count"), Some(3), "counted once");
    }
    let device = Device::new("third");
    device.connect(&server);
    device.sync();
    assert_eq!(device.count("notes"), 499);
    assert_eq!(device.title(&ids[499]), Some("guest 499".into()));
}

/// The outbox takes fewer than there are: sync goes on with the rest, and what others wrote to the
/// same documents meanwhile loses nothing of the guest's.
#[test]
fn an_attach_larger_than_the_outbox_goes_on_as_it_drains() {
    let schema = format!("{SCHEMA}\n[limits]\nmax_queue_ops = 60\n");
    let server = Server::start(SCHEMA);
    let other = Device::new("other");
    other.connect(&server);
    other
        .db
        .write(|tx| {
            tx.insert_with_id("notes", "shared-250", [("title", "from elsewhere")])?;
            tx.update("notes", "shared-250", [("body", "a body")])
                .map(drop)
        })
        .unwrap();
    other.sync();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("guest.db");
    let config = Config::new(&path, Schema::parse(&schema).unwrap(), "as a guest");
    let guest = Database::open(config).unwrap();
    for n in 0..300 {
        let title = format!("guest {n}");
        let id = format!("shared-{n}");
        guest
            .write(|tx| tx.insert_with_id("notes", &id, [("title", title)]))
            .unwrap();
    }
    let attached = guest.attach_account("ada", WORKSPACE).unwrap();
    assert_eq!((attached.queued, attached.complete), (60, false));
    let full = guest.write(|tx| tx.update("notes", "shared-299", [("rank", 1)]));
    assert_eq!(full.unwrap_err().code(), "queue_full");
    let network = Recorder::new();
    assert!(connect(&guest, &server, "ada", &network).sync_until(PATIENCE));
    assert!(guest.attach_account("ada", WORKSPACE).unwrap().complete);
    assert_eq!((count(&guest), guest.unsynced().unwrap()), (300, 0));
    other.sync();
    assert_eq!(other.count("notes"), 300);
    for n in [0, 60, 249, 299] {
        let title = format!("guest {n}");
        assert_eq!(other.title(&format!("shared-{n}")), Some(title.into()));
    }
    let shared = guest.get("notes", "shared-250").unwrap().unwrap();
    assert_eq!(shared.text("body"), Some("a body"), "both are in it");
    assert_eq!(
        other.title("shared-250"),
        Some(shared.text("title").unwrap().into())
    );
}

/// A file without an account and without documents takes the account of its first answer.
#[test]
fn a_file_learns_its_account_from_its_first_answer() {
    let server = Server::start(SCHEMA);
    let other = Device::new("other");
    other.connect(&server);
    other.note("already there");
    other.sync();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new.db");
    let db = open(&path, None);
    assert_eq!(db.account().unwrap(), None);
    let network = Recorder::new();
    let sync = connect(&db, &server, "ada", &network);
    assert!(sync.sync_until(PATIENCE), "{:?}", sync.status());
    assert_eq!(db.account().unwrap().as_deref(), Some("ada"));
    assert_eq!(count(&db), 1);
    note(&db, "queued from now on");
    assert!(sync.sync_until(PATIENCE));
    other.sync();
    assert_eq!(other.count("notes"), 2);
    db.close().unwrap();
    let stranger = Config::new(&path, Schema::parse(SCHEMA).unwrap(), WORKSPACE);
    let refused = Database::open(stranger.with_account("grace")).unwrap_err();
    assert_eq!(refused.code(), "wrong_account");
}

#[test]
fn signing_out_drops_only_what_the_user_was_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let path = file_for(folder.path(), Some("ada"), WORKSPACE);
    let db = open(&path, Some("ada"));
    note(&db, "one");
    let told = db.unsynced().unwrap();
    note(&db, "two, in between");
    let refused = db.sign_out(SignOut::Drop { unsynced: told }).unwrap_err();
    assert_eq!(refused.code(), "unsynced_changed");
    assert_eq!((count(&db), db.unsynced().unwrap()), (2, 2));
    let done = db.sign_out(SignOut::Drop { unsynced: 2 }).unwrap();
    assert_eq!((done.unsynced, done.dropped), (2, 2));
    assert_eq!(db.unsynced().unwrap_err().code(), "closed");
    let again = open(&path, Some("ada"));
    assert_eq!((count(&again), again.unsynced().unwrap()), (0, 0));
}

/// An export is taken up by another file of the account, and counts once with the file it is from.
#[test]
fn an_export_is_taken_into_another_file_and_counts_once() {
    let server = Server::start(SCHEMA);
    let device = Device::new("shared");
    device.connect(&server);
    let shared = device.note("shared");
    device.set(&shared, "rank", 1);
    device.sync();
    let folder = tempfile::tempdir().unwrap();
    let old = open(&folder.path().join("old.db"), Some("ada"));
    let network = Recorder::new();
    assert!(connect(&old, &server, "ada", &network).sync_until(PATIENCE));
    old.sync().unwrap().pause();
    let own = note(&old, "offline");
    old.write(|tx| tx.increment("notes", &shared, "count", 2))
        .unwrap();
    old.write(|tx| tx.update("notes", &own, [("rank", 7)]))
        .unwrap();
    let mut export = Vec::new();
    let done = old.sign_out(SignOut::Export(&mut export)).unwrap();
    assert_eq!((done.unsynced, done.exported), (3, 3));

    let new = open(&folder.path().join("new.db"), Some("ada"));
    let sync = connect(&new, &server, "ada", &network);
    assert!(sync.sync_until(PATIENCE));
    assert_eq!(new.outbox().import(&mut export.as_slice()).unwrap(), 3);
    assert_eq!(new.outbox().import(&mut export.as_slice()).unwrap(), 0);
    assert!(sync.sync_until(PATIENCE));
    let count_of = |db: &Database| db.get("notes", &shared).unwrap().unwrap().integer("count");
    assert_eq!(count_of(&new), Some(2));
    assert_eq!(
        new.get("notes", &own).unwrap().unwrap().integer("rank"),
        Some(7)
    );
    // The old file sends the same writes: they are the same.
    let old = open(&folder.path().join("old.db"), Some("ada"));
    assert_eq!(old.unsynced().unwrap(), 3);
    assert!(connect(&old, &server, "ada", &network).sync_until(PATIENCE));
    device.sync();
    assert_eq!(count_of(&device.db), Some(2));

    // What does not belong here is refused, and nothing of it taken.
    let code = |db: &Database, bytes: &[u8]| {
        let before = db.outbox().size().unwrap();
        let error = db.outbox().import(&mut &bytes[..]).unwrap_err();
        assert_eq!(db.outbox().size().unwrap(), before);
        error.code()
    };
    let graces = open(&folder.path().join("grace.db"), Some("grace"));
    assert_eq!(code(&graces, &export), "wrong_account");
    let fresh = open(&folder.path().join("fresh.db"), Some("ada"));
    for broken in ["{", "{}", "[1]", "\u{1}", r#"{"id":"x","op":{}}"#] {
        assert_eq!(
            code(&fresh, broken.as_bytes()),
            "invalid_import",
            "{broken}"
        );
    }
    let mut cut = export.clone();
    cut.truncate(export.len() - 20);
    assert_eq!(code(&fresh, &cut), "invalid_import");
    assert_eq!(code(&fresh, &[0xff, 0xfe]), "invalid_import");
    note(&fresh, "written here");
    assert_eq!(code(&fresh, &export), "outbox_not_empty");
}
