//! Devices and a backend that knows nothing but `docs/protocol.md`: `examples/plain-json-backend`, with the
//! built-in provider and with the example's own.

use std::time::Duration;

use driftline::{Cause, Form, Providers, Sync, SyncConfig, Value};

use crate::network::wait_for;
use crate::support::{Device, Fault};

#[path = "../../examples/plain-json-backend/main.rs"]
#[expect(dead_code, reason = "main is the example's")]
mod example;

use example::{Backend, PlainJson};

fn start() -> Backend {
    Backend::start().expect("the example's backend needs python3")
}

fn connect(backend: &Backend, device: &Device) -> Sync {
    connect_as(backend, device, "token-of-ada")
}

fn connect_as(backend: &Backend, device: &Device, token: &str) -> Sync {
    let token = token.to_owned();
    let mut config = SyncConfig::new(&backend.url, move || Ok(token.clone()));
    config.form = Form::Json;
    config.transport = Some(device.network.clone());
    config.idle_timeout = Duration::from_secs(5);
    device.db.connect(config).unwrap()
}

/// Through the provider that the example has written for it.
fn connect_by_its_own(backend: &Backend, device: &Device) -> Sync {
    let providers = Providers::new();
    let own = PlainJson::at(&backend.url);
    providers.register("plain-json", own).unwrap();
    providers.activate("plain-json").unwrap();
    let token = || Ok("token-of-ada".to_owned());
    let config = SyncConfig::with_providers(providers, token);
    device.db.connect(config).unwrap()
}

#[test]
fn two_devices_meet_at_sixty_lines_of_python() {
    meet(connect);
}

#[test]
fn two_devices_meet_there_by_a_provider_of_the_apps_own() {
    meet(connect_by_its_own);
}

#[test]
fn the_example_runs() {
    let backend = start();
    example::tour(&backend.url).unwrap();
}

fn meet(connect: fn(&Backend, &Device) -> Sync) {
    let backend = start();
    let (a, b) = (Device::new("a"), Device::new("b"));
    let id = a.note("written offline");
    a.db.write(|tx| {
        tx.increment("notes", &id, "count", 1 << 60)?;
        tx.add_to_set("notes", &id, "tags", ["red", "blue"])
    })
    .unwrap();
    let sync = connect(&backend, &a);
    connect(&backend, &b);
    a.sync();
    b.sync();
    assert_eq!(b.title(&id), Some(Value::from("written offline")));
    assert_eq!(a.content(), b.content());
    let status = wait_for(&sync, |s| s.polling);
    assert!(!status.live);

    // In conflict: the last to come wins, counters add up, sets keep what was added.
    a.set(&id, "title", "of a");
    b.set(&id, "title", "of b");
    b.set(&id, "done", true);
    for (device, tag) in [(&a, "of a"), (&b, "of b")] {
        device
            .db
            .write(|tx| {
                tx.increment("notes", &id, "count", 1)?;
                tx.add_to_set("notes", &id, "tags", [tag])?;
                tx.remove_from_set("notes", &id, "tags", ["red"])
            })
            .unwrap();
    }
    a.sync();
    b.sync();
    a.sync();
    assert_eq!(a.content(), b.content());
    assert_eq!(a.title(&id), Some(Value::from("of b")));
    assert_eq!(
        a.one("SELECT count FROM notes"),
        Some(Value::Integer((1 << 60) + 2))
    );
    assert_eq!(
        a.one("SELECT tags FROM notes"),
        Some(Value::from(r#"["blue","of a","of b"]"#))
    );

    // Deleted here, restored there.
    a.db.write(|tx| tx.delete("notes", &id)).unwrap();
    a.sync();
    b.sync();
    assert_eq!(b.count("notes"), 0);
    b.db.write(|tx| tx.restore("notes", &id)).unwrap();
    b.sync();
    a.sync();
    assert_eq!(a.content(), b.content());
    assert_eq!(a.title(&id), Some(Value::from("of b")));
}

/// Longer than a page, so that a new device reads the log in several; and over a bad network.
#[test]
fn a_log_of_many_pages_and_a_bad_network_end_the_same() {
    let backend = start();
    let (a, b) = (Device::new("a"), Device::new("b"));
    (0..1_200).for_each(|n| drop(a.note(&format!("note {n}"))));
    a.network
        .cycle(&[Some(Fault::LoseAnswer), None, Some(Fault::Duplicate)]);
    connect(&backend, &a);
    a.sync();
    let mine = b.note("mine");
    connect(&backend, &b);
    b.sync();
    a.network.cycle(&[]);
    a.sync();
    assert_eq!(b.count("notes"), 1_201);
    assert!(a.title(&mine).is_some());
    assert_eq!(a.content(), b.content());
}

/// A refusal, a lost backend and a token of somebody else's mean the same through the example's provider.
#[test]
fn the_examples_provider_says_what_went_wrong() {
    let backend = start();
    let a = Device::new("a");
    let connected_with = |token: &'static str| {
        let providers = Providers::new();
        let own = PlainJson::at(&backend.url);
        providers.register("plain-json", own).unwrap();
        providers.activate("plain-json").unwrap();
        let config = SyncConfig::with_providers(providers, move || Ok(token.to_owned()));
        a.db.connect(config).unwrap()
    };
    let sync = connected_with("token-of-nobody");
    wait_for(&sync, |s| s.cause == Cause::TokenNeeded);
    let sync = connected_with("token-of-ben");
    wait_for(&sync, |s| s.cause == Cause::WrongAccount);
    let sync = connected_with("token-of-ada");
    a.sync();
    drop(backend);
    let id = a.note("kept");
    wait_for(&sync, |s| s.cause == Cause::Unreachable);
    assert_eq!(a.pending(), 1);
    assert!(a.title(&id).is_some());
}

#[test]
fn what_it_refuses_is_quarantined_and_a_lost_history_is_noticed() {
    let first = start();
    let (a, b) = (Device::new("a"), Device::new("b"));
    let sync = connect_as(&first, &a, "token-of-nobody");
    wait_for(&sync, |s| s.cause == Cause::TokenNeeded);
    let sync = connect_as(&first, &a, "token-of-ben");
    wait_for(&sync, |s| s.cause == Cause::WrongAccount);
    connect(&first, &a);
    let id = a.note("kept");
    a.sync();
    connect(&first, &b);
    b.sync();
    assert_eq!(a.content(), b.content());
    drop(first);

    // It keeps nothing: the next one has another history, and devices say so and go on.
    let second = start();
    a.set(&id, "title", "changed meanwhile");
    connect(&second, &a);
    a.sync();
    let outbox = a.db.outbox();
    assert_eq!(outbox.size().unwrap().quarantined, 1, "it has no such note");
    let copies = std::fs::read_dir(a.path.parent().unwrap()).unwrap();
    let copies = copies
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_string_lossy().contains(".aside-"))
        .count();
    assert_eq!(copies, 1, "the old file was copied aside");
}
