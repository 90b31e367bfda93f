//! Devices and a backend that knows nothing but `docs/protocol.md`: `examples/plain-json-backend`.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use driftline::{Cause, Form, Sync, SyncConfig, Value};

use crate::network::wait_for;
use crate::support::{Device, Fault};

struct Backend {
    child: Child,
    url: String,
}

impl Backend {
    /// Starts it; `None`, and a word of why, where there is no Python.
    fn start() -> Option<Backend> {
        let script =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/plain-json-backend/backend.py");
        let started = Command::new("python3")
            .arg(script)
            .arg("0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut child = match started {
            Ok(child) => child,
            Err(error) => {
                eprintln!("skipped: the example needs python3 ({error})");
                return None;
            }
        };
        let mut line = String::new();
        let output = child.stdout.take().unwrap();
        BufReader::new(output).read_line(&mut line).unwrap();
        let at = line.find("http://").expect("it says where it listens");
        Some(Backend {
            child,
            url: line[at..].trim().to_owned(),
        })
    }

    fn connect(&self, device: &Device) -> Sync {
        self.connect_as(device, "token-of-ada")
    }

    fn connect_as(&self, device: &Device, token: &str) -> Sync {
        let token = token.to_owned();
        let mut config = SyncConfig::new(&self.url, move || Ok(token.clone()));
        config.form = Form::Json;
        config.transport = Some(device.network.clone());
        config.idle_timeout = Duration::from_secs(5);
        device.db.connect(config).unwrap()
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn two_devices_meet_at_sixty_lines_of_python() {
    let Some(backend) = Backend::start() else {
        return;
    };
    let (a, b) = (Device::new("a"), Device::new("b"));
    let id = a.note("written offline");
    a.db.write(|tx| {
        tx.increment("notes", &id, "count", 1 << 60)?;
        tx.add_to_set("notes", &id, "tags", ["red", "blue"])
    })
    .unwrap();
    let sync = backend.connect(&a);
    backend.connect(&b);
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
    let Some(backend) = Backend::start() else {
        return;
    };
    let (a, b) = (Device::new("a"), Device::new("b"));
    (0..1_200).for_each(|n| drop(a.note(&format!("note {n}"))));
    a.network
        .cycle(&[Some(Fault::LoseAnswer), None, Some(Fault::Duplicate)]);
    backend.connect(&a);
    a.sync();
    let mine = b.note("mine");
    backend.connect(&b);
    b.sync();
    a.network.cycle(&[]);
    a.sync();
    assert_eq!(b.count("notes"), 1_201);
    assert!(a.title(&mine).is_some());
    assert_eq!(a.content(), b.content());
}

#[test]
fn what_it_refuses_is_quarantined_and_a_lost_history_is_noticed() {
    let Some(first) = Backend::start() else {
        return;
    };
    let (a, b) = (Device::new("a"), Device::new("b"));
    let sync = first.connect_as(&a, "token-of-nobody");
    wait_for(&sync, |s| s.cause == Cause::TokenNeeded);
    let sync = first.connect_as(&a, "token-of-ben");
    wait_for(&sync, |s| s.cause == Cause::WrongAccount);
    first.connect(&a);
    let id = a.note("kept");
    a.sync();
    first.connect(&b);
    b.sync();
    assert_eq!(a.content(), b.content());
    drop(first);

    // It keeps nothing: the next one has another history, and devices say so and go on.
    let second = Backend::start().unwrap();
    a.set(&id, "title", "changed meanwhile");
    second.connect(&a);
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
