//! `driftline inspect --follow`.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use driftline::{Config, Database, Schema};
use serde_json::Value as Json;

use crate::{code, driftline, err, run};

const SCHEMA: &str = "[schema]\nname = \"notes\"\nversion = 1\n\n[collections.notes]\nid = 1\n\n\
    [collections.notes.fields]\ntitle = { id = 1, kind = \"text\" }\n";

struct Following {
    child: Child,
    lines: Receiver<String>,
}

impl Following {
    fn start(arguments: &[&str]) -> Following {
        let mut child = driftline()
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            lines
                .map_while(Result::ok)
                .take_while(|line| sender.send(line.clone()).is_ok())
                .for_each(drop);
        });
        Following {
            child,
            lines: receiver,
        }
    }

    fn line(&self) -> String {
        self.lines.recv_timeout(Duration::from_secs(60)).unwrap()
    }

    fn object(&self, kind: &str) -> Json {
        loop {
            let object: Json = serde_json::from_str(&self.line()).unwrap();
            if object["type"] == kind {
                return object;
            }
        }
    }

    /// Ctrl-C.
    fn interrupt(mut self) -> i32 {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-INT", &id]).status().unwrap();
        assert!(sent.success());
        self.child.wait().unwrap().code().unwrap()
    }
}

fn open(path: &std::path::Path) -> Database {
    let schema = Schema::parse(SCHEMA).unwrap();
    Database::open(Config::new(path, schema, "field").with_account("ada")).unwrap()
}

#[test]
fn follow_tells_what_an_app_does_until_it_is_interrupted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("device.db");
    let db = open(&path);
    let name = path.display().to_string();
    let following = Following::start(&["--json", "inspect", "--follow", &name]);
    assert_eq!(following.object("following")["documents"], 0);
    let set = |value: &str| {
        db.write(|tx| match tx.get("notes", "x")? {
            None => tx.insert_with_id("notes", "x", [("title", value)]),
            Some(_) => tx.update("notes", "x", [("title", value)]).map(drop),
        })
        .unwrap();
    };
    set("one");
    let told = following.object("document");
    assert_eq!((&told["kind"], &told["id"]), (&"added".into(), &"x".into()));
    assert_eq!(told["after"]["title"], "one");
    assert_eq!(following.object("queue")["queue"]["pending"], 1);
    set("two");
    let told = following.object("document");
    assert_eq!(told["kind"], "changed");
    assert_eq!(told["before"]["title"], "one");
    assert_eq!(told["after"]["title"], "two");
    db.write(|tx| tx.delete("notes", "x").map(drop)).unwrap();
    assert_eq!(following.object("document")["kind"], "removed");
    assert_eq!(following.interrupt(), 0);
}

#[test]
fn follow_speaks_to_people_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("device.db");
    open(&path).close().unwrap();
    let before = std::fs::read(&path).unwrap();
    let name = path.display().to_string();
    let following = Following::start(&["inspect", "--follow", &name]);
    let line = following.line();
    assert!(
        line.contains("0 documents") && line.contains("Ctrl-C"),
        "{line}"
    );
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(following.interrupt(), 0);
    assert_eq!(std::fs::read(&path).unwrap(), before);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    let missing = run(&["inspect", "--follow", "/nowhere/at.all"]);
    assert_ne!(code(&missing), 0);
    assert!(err(&missing).contains("cannot inspect"));
    assert_eq!(code(&run(&["inspect", "--follow", "--server", &name])), 2);
}
