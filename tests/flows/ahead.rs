//! The next push goes out before the answer to the last one is in the file: whatever happens between
//! the two, every write arrives once.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use driftline::provider::ProviderRequest;
use driftline::{Providers, Sync, SyncConfig};
use rusqlite::Connection;
use serde_json::Value as Json;

use crate::support::device::WORKSPACE;
use crate::support::{Device, Mock, SCHEMA, Server};

/// Ops in a request here.
const MAX_OPS: usize = 4;

fn connect(device: &Device, server: &Server, mock: &Mock) -> Sync {
    let providers = Providers::new();
    providers.register("mock", mock.clone()).unwrap();
    providers.activate("mock").unwrap();
    let token = server.token("ada", WORKSPACE, "writer", "1h");
    let mut config = SyncConfig::with_providers(providers, move || Ok(token.clone()));
    config.settings.max_ops = MAX_OPS;
    config.deadline = Duration::from_secs(20);
    device.db.connect(config).unwrap()
}

/// The cursor's version that a push names, and how many ops it carries.
fn said(request: &ProviderRequest) -> (u64, usize) {
    let said: Json = serde_json::from_slice(&request.message.bytes).unwrap();
    let version = said["cursor"]["version"].as_u64().unwrap();
    (version, said["ops"].as_array().unwrap().len())
}

fn queued(file: &Path) -> usize {
    let file = Connection::open(file).unwrap();
    let count = "SELECT count(*) FROM _dl_outbox";
    file.query_row(count, [], |row| row.get::<_, i64>(0))
        .unwrap() as usize
}

fn execute(file: &Path, sql: &str) {
    let file = Connection::open(file).unwrap();
    file.busy_timeout(Duration::from_secs(5)).unwrap();
    file.execute_batch(sql).unwrap();
}

/// A device with a synced beginning, and `notes` more in its queue.
fn with_queue(server: &Server, mock: &Mock, notes: usize) -> (Device, Vec<String>) {
    let device = Device::new("a");
    connect(&device, server, mock);
    device.note("known");
    device.sync();
    device.db.sync().unwrap().pause();
    let ids = (0..notes).map(|n| device.note(&format!("note {n}")));
    let ids = ids.collect();
    (device, ids)
}

fn same_content_at(server: &Server, a: &Device) {
    assert_eq!(a.pending(), 0);
    let b = Device::new("b");
    b.connect(server);
    b.sync();
    assert_eq!(a.content(), b.content());
}

#[test]
fn the_next_push_goes_out_before_the_answer_is_in_the_file() {
    let server = Server::start(SCHEMA);
    let mock = Mock::new(&server.url);
    let (a, ids) = with_queue(&server, &mock, 20);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (noted, file) = (Arc::clone(&seen), a.path.clone());
    mock.before_push(move |_, request| {
        let (version, ops) = said(request);
        noted.lock().unwrap().push((version, ops, queued(&file)));
    });
    a.db.sync().unwrap().resume();
    a.sync();
    // The cursor is the one that the answer brought, while what it answered is still in the queue.
    let expected = [(1, 4, 20), (5, 4, 20), (9, 4, 16), (13, 4, 12), (17, 4, 8)];
    assert_eq!(*seen.lock().unwrap(), expected);
    assert_eq!(a.count("notes"), 1 + ids.len() as i64);
    same_content_at(&server, &a);
}

#[test]
fn an_answer_that_does_not_get_into_the_file_takes_the_push_behind_it_along() {
    let server = Server::start(SCHEMA);
    let mock = Mock::new(&server.url);
    let (a, _) = with_queue(&server, &mock, 12);
    let first = mock.pushes.load(std::sync::atomic::Ordering::SeqCst) + 1;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (noted, file) = (Arc::clone(&seen), a.path.clone());
    mock.before_push(move |number, request| {
        match number - first {
            1 => execute(&file, "ALTER TABLE _dl_sync_runs RENAME TO out_of_reach"),
            2 => execute(&file, "ALTER TABLE out_of_reach RENAME TO _dl_sync_runs"),
            _ => {}
        }
        noted.lock().unwrap().push(said(request));
    });
    a.db.sync().unwrap().resume();
    a.sync();
    let seen = seen.lock().unwrap();
    assert_eq!(seen[..2], [(1, 4), (5, 4)]);
    // What the file stands at is what the next request begins with.
    assert_eq!(seen[2], (1, 4));
    drop(seen);
    same_content_at(&server, &a);
}

#[test]
fn a_file_copied_while_a_push_is_ahead_of_it_goes_on_from_where_it_stands() {
    let server = Server::start(SCHEMA);
    let mock = Mock::new(&server.url);
    let (a, _) = with_queue(&server, &mock, 12);
    let first = mock.pushes.load(std::sync::atomic::Ordering::SeqCst) + 1;
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy.db");
    let (from, to) = (a.path.clone(), copy.clone());
    mock.before_push(move |number, _| {
        if number - first == 1 {
            let into = format!("VACUUM INTO '{}'", to.display());
            execute(&from, &into);
        }
    });
    a.db.sync().unwrap().resume();
    a.sync();
    let restored = Device::at(&copy, "restored");
    assert_eq!(queued(&copy), 12);
    restored.connect(&server);
    restored.sync();
    assert_eq!(restored.pending(), 0);
    assert_eq!(restored.content(), a.content());
    same_content_at(&server, &a);
}

#[test]
fn a_write_taken_back_while_it_is_sent_ahead_is_settled_by_its_verdict() {
    let server = Server::start(SCHEMA);
    let mock = Mock::new(&server.url);
    let (a, _) = with_queue(&server, &mock, 12);
    let first = mock.pushes.load(std::sync::atomic::Ordering::SeqCst) + 1;
    let outbox = a.db.outbox();
    let queued = outbox.list(None, 100).unwrap();
    let (ahead, later) = (queued[5].id.clone(), queued[10].id.clone());
    mock.before_push(move |number, _| {
        if number - first == 1 {
            outbox.discard(&ahead).unwrap();
            outbox.discard(&later).unwrap();
        }
    });
    a.db.sync().unwrap().resume();
    a.sync();
    // One had left the device before it was taken back; the other had not.
    assert_eq!(a.count("notes"), 12);
    same_content_at(&server, &a);
}

/// What others wrote comes with the answer, to a document that the next push writes to as well: then
/// the answer is stored first.
#[test]
fn an_answer_with_more_than_own_versions_is_stored_before_the_next_push() {
    let server = Server::start(SCHEMA);
    let mock = Mock::new(&server.url);
    let (a, ids) = with_queue(&server, &mock, 3);
    let sync = a.db.sync().unwrap();
    sync.resume();
    a.sync();
    sync.pause();
    let b = Device::new("b");
    b.connect(&server);
    b.sync();
    for n in 0..8 {
        a.note(&format!("more {n}"));
    }
    a.set(&ids[0], "rank", 1);
    a.set(&ids[0], "body", "a's");
    b.set(&ids[0], "rank", 2);
    b.set(&ids[0], "done", true);
    b.sync();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (noted, file) = (Arc::clone(&seen), a.path.clone());
    mock.before_push(move |_, _| noted.lock().unwrap().push(queued(&file)));
    let before = queued(&a.path);
    sync.resume();
    a.sync();
    assert_eq!(seen.lock().unwrap()[..2], [before, before - MAX_OPS]);
    b.sync();
    a.sync();
    assert_eq!(a.content(), b.content());
    same_content_at(&server, &a);
}

/// In the binary form the next push is made ready, compressed, while the server has the last.
#[test]
fn pushes_that_were_made_ready_arrive_whole_and_in_order() {
    let server = Server::start(SCHEMA);
    let a = Device::new("a");
    let ids: Vec<String> = (0..400).map(|n| a.note(&format!("note {n}"))).collect();
    let token = server.token("ada", WORKSPACE, "writer", "1h");
    let mut config = SyncConfig::new(&server.url, move || Ok(token.clone()));
    config.settings.max_ops = 40;
    a.db.connect(config).unwrap();
    // What is written and taken back meanwhile meets pushes that are ready.
    let outbox = a.db.outbox();
    for (n, id) in ids.iter().enumerate().skip(350) {
        a.set(id, "rank", n as i64);
        if n % 10 == 0 {
            // It may be gone meanwhile.
            let newest = outbox.list(None, 10_000).unwrap().pop();
            _ = newest.map(|op| outbox.discard(&op.id));
        }
    }
    a.sync();
    same_content_at(&server, &a);
    assert_eq!(a.count("notes"), 400);
    let ranked = a.one("SELECT count(*) >= 45 FROM notes WHERE rank >= 350");
    assert_eq!(ranked, Some(driftline::Value::Integer(1)));
}
