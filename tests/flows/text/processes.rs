//! One file in several processes, and processes that end in the middle.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use driftline::TextEdit;

use super::{agree, newcomer, once, settle, story, words};
use crate::support::server::BINARY;
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

/// `driftline inspect --follow` in a process of its own tells of words that others type.
#[test]
fn inspect_follows_what_others_type() {
    let server = Server::start(SCHEMA);
    let (a, b) = (Device::new("a"), Device::new("b"));
    let id = a.note("a journal");
    a.connect_live(&server);
    b.connect_live(&server);
    a.sync();
    b.sync();
    let mut follower = Command::new(BINARY)
        .args(["--json", "inspect", "--follow"])
        .arg(&b.path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    let (sender, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            let told: serde_json::Value = serde_json::from_str(&line).unwrap();
            if sender.send(told).is_err() {
                return;
            }
        }
    });
    let next = || told.recv_timeout(super::PATIENCE).unwrap();
    while next()["type"] != "following" {}
    let editor = a.db.open_text("notes", &id, "story").unwrap();
    let mut said = String::new();
    for word in ["Snow ", "and ", "wind"] {
        let end = editor.len().unwrap();
        editor.edit([TextEdit::insert(end, word)]).unwrap();
        said.push_str(word);
        loop {
            let told = next();
            if told["after"]["story"] == said.as_str() {
                assert_eq!(
                    (&told["type"], &told["id"]),
                    (&"document".into(), &id.as_str().into())
                );
                break;
            }
        }
    }
    follower.kill().unwrap();
    follower.wait().unwrap();
    let summary = Command::new(BINARY)
        .args(["--json", "inspect"])
        .arg(&b.path)
        .output()
        .unwrap();
    let summary = String::from_utf8(summary.stdout).unwrap();
    let counts = summary
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .find(|told| told["collection"]["name"] == "notes")
        .unwrap();
    assert_eq!(counts["collection"]["texts"], 1);
    assert_eq!(counts["collection"]["text_bytes"], said.len());
}

/// The queue is full: what is typed shows and is kept, no more of it is taken, and it is stored and sent
/// as the queue drains.
#[test]
fn an_editor_waits_for_a_queue_that_is_full() {
    let schema = format!("{SCHEMA}\n[limits]\nmax_queue_ops = 3\n");
    let server = Server::start(SCHEMA);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("device.db");
    let config = driftline::Config::new(
        &path,
        driftline::Schema::parse(&schema).unwrap(),
        crate::support::device::WORKSPACE,
    );
    let db = driftline::Database::open(config.with_account("ada")).unwrap();
    let device = Device::with_database(db, &path, folder);
    let id = device.note("a journal");
    let editor = device.db.open_text("notes", &id, "story").unwrap();
    let type_in = |word: &str| {
        let end = editor.len().unwrap();
        editor.edit([TextEdit::insert(end, word)])
    };
    for word in ["first ", "second "] {
        type_in(word).unwrap();
        editor.flush().unwrap();
    }
    type_in("third ").unwrap();
    for _ in 0..3 {
        assert_eq!(editor.flush().unwrap_err().code(), "queue_full");
        assert_eq!(type_in("refused ").unwrap_err().code(), "queue_full");
    }
    assert_eq!(editor.close().unwrap_err().code(), "queue_full");
    assert_eq!(editor.content().unwrap().text(), "first second third ");
    assert_eq!(story(&device.db, &id), "first second ");
    device.connect(&server);
    device.sync();
    type_in("fourth ").unwrap();
    editor.close().unwrap();
    device.sync();
    let other = newcomer(&server);
    assert_eq!(agree(&[&device, &other], &id), "first second third fourth ");
}
