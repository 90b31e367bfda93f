//! One file in several processes, and processes that end in the middle.

use super::{agree, newcomer, once, settle, story, words};
use crate::support::{Device, SCHEMA, Server, worker::Worker};

/// Two editors in two processes have one text of one file open.
#[test]
fn two_processes_type_into_one_field() {
    const EACH: usize = 60;
    let server = Server::start(SCHEMA);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("device.db");
    let device = Device::at(&path, "reader");
    let id = device.note("a journal");
    let (mut one, mut two) = (Worker::start(&path, "one"), Worker::start(&path, "two"));
    one.connect(&server);
    two.connect(&server);
    // A third one writes in transactions, on another device.
    let elsewhere = newcomer(&server);
    one.until("pending", |pending| pending == "0");
    elsewhere.sync();
    one.tell(&format!("session {id} {EACH}"));
    two.tell(&format!("session {id} {EACH}"));
    for n in 0..10 {
        super::go_on(&elsewhere.db, &id, &format!("else-{n} "));
        elsewhere.sync();
    }
    let (first, second) = (one.hear(), two.hear());
    for shown in [&first, &second] {
        assert!(shown.starts_with("typed"), "{shown}");
    }
    for worker in [&mut one, &mut two] {
        worker.until("pending", |pending| pending == "0");
        assert_eq!(worker.ask("sync"), "true");
    }
    elsewhere.sync();
    let mut expected: Vec<String> = (0..10).map(|n| format!("else-{n}")).collect();
    for n in 0..EACH {
        expected.extend([format!("one-{n}"), format!("two-{n}")]);
    }
    assert_eq!(words(&story(&device.db, &id)), once(expected));
    assert_eq!(story(&device.db, &id), story(&elsewhere.db, &id));
    assert_eq!(story(&newcomer(&server).db, &id), story(&elsewhere.db, &id));
}

/// Killed (-9) while it types, again and again, with and without a server that takes what it typed:
/// every word that was stored is there once.
#[test]
fn a_device_killed_while_it_types_has_every_word_that_was_stored() {
    let server = Server::start(SCHEMA);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("device.db");
    let device = Device::at(&path, "first");
    let id = device.note("a journal");
    device.connect(&server);
    device.sync();
    device.db.close().unwrap();
    let other = newcomer(&server);
    let mut acknowledged = Vec::new();
    for round in 0..6 {
        let mut worker = Worker::start(&path, &format!("r{round}"));
        if round % 2 == 1 {
            worker.connect(&server);
        }
        worker.tell(&format!("chatter {id}"));
        for _ in 0..5 + 7 * round % 11 {
            acknowledged.push(worker.hear());
        }
        worker.kill();
        acknowledged.extend(worker.rest());
        super::go_on(&other.db, &id, &format!("other-{round} "));
        acknowledged.push(format!("other-{round}"));
        other.sync();
    }
    let device = Device::at(&path, "last");
    device.connect(&server);
    settle(&[&device, &other]);
    let told = words(&agree(&[&device, &other, &newcomer(&server)], &id));
    for word in &acknowledged {
        assert_eq!(told.get(word), Some(&1), "{word}");
    }
    // A word more a round may have been stored and not said.
    assert!(told.values().all(|count| *count == 1), "{told:?}");
    assert!(told.len() <= acknowledged.len() + 6, "{told:?}");
}
