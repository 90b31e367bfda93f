//! Files that are copied and restored, servers that are killed and restored.

use driftline::{Providers, SyncConfig, Value};
use serde_json::{Value as Json, json};

use crate::support::device::WORKSPACE;
use crate::support::{Device, Draws, Mock, SCHEMA, Server, Turn};

#[test]
pub fn a_server_killed_at_any_moment_has_lost_nothing_it_answered() {
    let mut draws = Draws::new("a server killed at any moment");
    let mut server = Server::start(SCHEMA);
    let a = Device::new("a");
    a.connect(&server);
    a.sync();
    for round in 0..6 {
        for n in 0..30 {
            a.note(&format!("{round}-{n}"));
        }
        a.db.sync().unwrap().sync_now();
        draws.rest(std::time::Duration::from_millis(25));
        server.kill();
        server.run();
    }
    a.sync();
    let b = Device::new("b");
    b.connect(&server);
    b.sync();
    assert_eq!(b.count("notes"), 180);
    assert_eq!(a.content(), b.content());
}

/// The copy holds the same unsynced writes under the same ids: they count once (K2, K5).
#[test]
pub fn a_copied_file_doubles_nothing_and_both_go_on() {
    let server = Server::start(SCHEMA);
    let a = Device::new("a");
    a.connect(&server);
    let id = a.note("original");
    a.sync();
    a.db.sync().unwrap().pause();
    a.db.write(|tx| tx.increment("notes", &id, "count", 10))
        .unwrap();
    a.note("queued when copied");
    a.db.suspend().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy.db");
    std::fs::copy(&a.path, &copy).unwrap();
    a.db.resume().unwrap();
    let b = Device::at(&copy, "copy");
    b.connect(&server);
    b.db.write(|tx| tx.increment("notes", &id, "count", 1))
        .unwrap();
    b.note("by the copy");
    a.db.write(|tx| tx.increment("notes", &id, "count", 100))
        .unwrap();
    b.sync();
    a.sync();
    b.sync();
    assert_eq!(
        a.one("SELECT count FROM notes WHERE count > 0"),
        Some(Value::Integer(111))
    );
    assert_eq!(a.count("notes"), 3);
    assert_eq!(a.content(), b.content());
}

/// A file restored from yesterday's backup: its later life comes back from the server, and new writes
/// are sent (K1).
#[test]
pub fn a_file_restored_from_a_backup_catches_up_and_its_writes_are_sent() {
    let server = Server::start(SCHEMA);
    let a = Device::new("a");
    a.connect(&server);
    let id = a.note("monday");
    a.sync();
    a.db.suspend().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let backup = folder.path().join("backup.db");
    std::fs::copy(&a.path, &backup).unwrap();
    a.db.resume().unwrap();
    a.set(&id, "title", "tuesday");
    a.note("second");
    a.sync();
    a.db.close().unwrap();
    let restored = Device::at(&backup, "a");
    restored.note("after the restore");
    restored.connect(&server);
    restored.sync();
    assert_eq!(restored.title(&id), Some(Value::from("tuesday")));
    assert_eq!(restored.count("notes"), 3);
    let b = Device::new("b");
    b.connect(&server);
    b.sync();
    assert_eq!(b.content(), restored.content());
}

/// The server goes back to an older backup and grows again: devices notice by the chain hash, copy
/// their file aside, and take the server's base; what was queued is sent (K20).
#[test]
pub fn a_server_restored_from_a_backup_is_noticed() {
    let mut server = Server::start(SCHEMA);
    let (a, b) = (Device::new("a"), Device::new("b"));
    a.connect(&server);
    b.connect(&server);
    a.note("kept");
    a.sync();
    b.sync();
    server.kill();
    let folder = tempfile::tempdir().unwrap();
    let backup = folder.path().join("backup");
    server.backup(&backup);
    server.run();
    a.note("lost with the server's disk");
    a.sync();
    b.sync();
    server.kill();
    server.restore(&backup);
    server.run();
    let told = b.db.sync().unwrap().events();
    b.note("written to the restored server");
    b.db.sync().unwrap().sync_now();
    b.sync();
    a.note("queued");
    a.sync();
    b.sync();
    assert_eq!(a.content(), b.content());
    let titles: Vec<String> = a.content();
    assert_eq!(titles.len(), 3, "{titles:?}");
    let told = std::iter::from_fn(|| told.next_timeout(std::time::Duration::from_millis(100)));
    let copies: Vec<String> = told
        .filter_map(|event| match event {
            driftline::SyncEvent::HistoryChanged { copy } => Some(copy),
            _ => None,
        })
        .collect();
    assert_eq!(copies.len(), 1, "told once: {copies:?}");
    assert!(copies[0].contains(".aside-") && std::path::Path::new(&copies[0]).exists());
    let aside = std::fs::read_dir(a.path.parent().unwrap())
        .unwrap()
        .filter(|e| {
            e.as_ref()
                .unwrap()
                .file_name()
                .to_string_lossy()
                .contains(".aside-")
        });
    assert!(aside.count() >= 1, "the old file was copied aside");
}

/// The server accepts a write and goes back to a backup before it has named it, at or above the device's
/// cursor: no history has changed for this device, and nothing but its own write is missing.
#[test]
pub fn a_write_that_was_accepted_in_versions_the_server_lost_is_sent_again() {
    let server = Server::start(SCHEMA);
    let mock = Mock::new(&server.url);
    let providers = Providers::new();
    providers.register("mock", mock.clone()).unwrap();
    providers.activate("mock").unwrap();
    let token = server.token("ada", WORKSPACE, "writer", "1h");
    let mut config = SyncConfig::with_providers(providers, move || Ok(token.clone()));
    config.settings.pace = 10;
    let a = Device::new("a");
    a.db.connect(config).unwrap();
    a.note("kept");
    a.sync();
    let (script, mut said) = (mock.clone(), false);
    mock.before_push(move |_, request| {
        if std::mem::replace(&mut said, true) {
            return;
        }
        let request: Json = serde_json::from_slice(&request.message.bytes).unwrap();
        let answer = json!({
            "account": "ada",
            "cursor": request["cursor"],
            "has_more": true,
            "server_time": request["now"]["wall"],
            "results": [{ "id": request["ops"][0]["id"], "outcome": "accepted", "version": 9 }],
        });
        script.next(Turn::Says(Ok(answer.to_string())));
    });
    a.note("accepted in what was lost");
    a.sync();
    assert_eq!(a.pending(), 0);
    let b = Device::new("b");
    b.connect(&server);
    b.sync();
    assert_eq!(b.count("notes"), 2);
    assert_eq!(a.content(), b.content());
}
