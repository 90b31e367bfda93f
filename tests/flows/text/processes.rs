//! One file in several processes, and processes that end in the middle.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use driftline::{TextEdit, TextNews, Value};

use super::{agree, newcomer, once, settle, story, words};
use crate::support::server::BINARY;
use crate::support::{Device, Draws, SCHEMA, Server, worker::Worker};

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

/// What another process types arrives in an editor of this one, as changes by positions, and fires a
/// watch on the text; and the other way round.
#[test]
fn what_another_process_types_is_in_this_ones_editor_and_fires_its_watches() {
    const WORDS: usize = 12;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("device.db");
    let device = Device::at(&path, "here");
    let id = device.note("a journal");
    let mut watch = device
        .db
        .watch("SELECT id, story FROM notes WHERE id = ?", [id.as_str()])
        .unwrap();
    let watched = |update: Option<driftline::Update>| {
        let update = update.expect("it fires");
        let story = update.rows.get(0).unwrap().get("story").cloned();
        match story {
            Some(Value::Text(story)) => story,
            _ => String::new(),
        }
    };
    assert_eq!(watched(watch.next().unwrap()), "");
    let editor = device.db.open_text("notes", &id, "story").unwrap();
    let mut shown: Vec<u16> = Vec::new();
    let mut other = Worker::start(&path, "there");
    other.tell(&format!("session {id} {WORDS}"));
    let expected = once((0..WORDS).map(|n| format!("there-{n}")));
    while words(&String::from_utf16(&shown).unwrap()) != expected {
        assert!(editor.wait(super::PATIENCE), "nothing more came");
        for news in editor.news().unwrap() {
            match news {
                TextNews::Edited(change) => apply(&mut shown, &change),
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(other.hear(), "typed");
    assert_eq!(
        editor.content().unwrap().text(),
        String::from_utf16(&shown).unwrap()
    );
    assert!(!editor.can_undo().unwrap(), "nothing of it was typed here");
    let began = Instant::now();
    while words(&watched(watch.next_timeout(super::PATIENCE).unwrap())) != expected {}
    assert!(began.elapsed() < Duration::from_secs(5), "watches keep up");

    // The other way round: what is typed here is what the other one's editor goes on from.
    editor.edit([TextEdit::insert(0, "here ")]).unwrap();
    editor.flush().unwrap();
    assert_eq!(other.ask(&format!("session {id} 2")), "typed");
    let all = words(&story(&device.db, &id));
    assert_eq!((all["here"], all["there-0"], all["there-1"]), (1, 2, 2));
    let last = words(&watched(watch.next_timeout(super::PATIENCE).unwrap()));
    assert!(last.contains_key("here"), "{last:?}");
}

/// Makes a change, as `TextNews` tells it, in UTF-16 units.
fn apply(shown: &mut Vec<u16>, change: &str) {
    let steps: Vec<serde_json::Value> = serde_json::from_str(change).unwrap();
    let mut at = 0;
    for step in steps {
        let units = |name: &str| step[name].as_u64().map(|units| units as usize);
        if let Some(text) = step["insert"].as_str() {
            let text: Vec<u16> = text.encode_utf16().collect();
            shown.splice(at..at, text.iter().copied());
            at += text.len();
        } else if let Some(units) = units("delete") {
            shown.drain(at..at + units);
        } else {
            at += units("retain").unwrap();
        }
    }
}

/// Killed (-9) while it types, again and again, at moments that a seed draws, with and without a server that takes what it typed:
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
    let mut draws = Draws::new("a device killed while it types");
    let mut acknowledged = Vec::new();
    for round in 0..6 {
        let mut worker = Worker::start(&path, &format!("r{round}"));
        if round % 2 == 1 {
            worker.connect(&server);
        }
        worker.tell(&format!("chatter {id}"));
        for _ in 0..1 + draws.below(15) {
            acknowledged.push(worker.hear());
        }
        draws.rest(std::time::Duration::from_millis(3));
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
