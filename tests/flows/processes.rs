//! Devices in processes of their own, killed in the middle of their work.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::support::{Device, Draws, SCHEMA, Server};

/// Writes notes for ever and says each one that has returned. Runs only as a child of the test below.
#[test]
fn child_that_writes_until_it_is_killed() {
    let Ok(path) = std::env::var("DRIFTLINE_FLOWS_CHILD") else {
        return;
    };
    let device = Device::at(std::path::Path::new(&path), "child");
    for n in 0.. {
        let title = format!("acknowledged {n}");
        let id = device.note(&title);
        if n % 3 == 0 {
            device.set(&id, "rank", n);
        }
        println!("ack {n} {id}");
    }
}

/// Killed (-9) at ten points of its writing, which a seed draws: every write that had returned is there,
/// and reaches the server once.
#[test]
fn a_device_killed_while_it_writes_has_every_write_that_returned() {
    let server = Server::start(SCHEMA);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("device.db");
    let mut draws = Draws::new("a device killed while it writes");
    let mut acknowledged = Vec::new();
    for _ in 0..10 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "processes::child_that_writes_until_it_is_killed",
                "--nocapture",
            ])
            .env("DRIFTLINE_FLOWS_CHILD", &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap())
            .lines()
            .map_while(Result::ok);
        let wanted = 1 + draws.below(30);
        let mut seen = 0;
        for line in lines.by_ref() {
            if let Some((_, id)) = line
                .strip_prefix("ack ")
                .and_then(|rest| rest.split_once(' '))
            {
                acknowledged.push(id.to_owned());
                seen += 1;
                if seen == wanted {
                    break;
                }
            }
        }
        // Elsewhere in a write each time, or between two.
        draws.rest(std::time::Duration::from_millis(3));
        child.kill().unwrap();
        child.wait().unwrap();
        acknowledged.extend(
            lines.filter_map(|line| Some(line.strip_prefix("ack ")?.split_once(' ')?.1.to_owned())),
        );
        assert_eq!(seen, wanted, "the child wrote");
    }
    let device = Device::at(&path, "reopened");
    for id in &acknowledged {
        assert!(
            device.title(id).is_some(),
            "an acknowledged write is gone: {id}"
        );
    }
    let written = device.count("notes");
    device.connect(&server);
    device.sync();
    let other = Device::new("other");
    other.connect(&server);
    other.sync();
    assert_eq!(other.count("notes"), written);
    assert_eq!(other.content(), device.content());
}

/// A file of a newer build is refused, says so, and is left as it was.
#[test]
fn a_newer_file_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("device.db");
    Device::at(&path, "old").db.close().unwrap();
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection
        .pragma_update(None, "user_version", 9_999)
        .unwrap();
    connection.close().unwrap();
    let before = std::fs::read(&path).unwrap();
    let config = driftline::Config::new(
        &path,
        driftline::Schema::parse(SCHEMA).unwrap(),
        crate::support::device::WORKSPACE,
    )
    .with_account("ada");
    let error = driftline::Database::open(config).unwrap_err();
    assert_eq!(error.code(), "newer_file");
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

/// A disk that ends in the middle of its writing: the process may write files of two megabytes and no
/// byte more. It goes on reading, and whoever opens the file with room again finds every write that
/// had returned.
#[test]
fn a_device_whose_disk_is_full_says_so_and_keeps_what_it_has() {
    let server = Server::start(SCHEMA);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("device.db");
    drop(Device::at(&path, "made with room"));
    // With the signal ignored, a write beyond the limit fails like one on a full disk.
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -S -f 4096; exec \"$@\"", "sh"])
        .arg(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "processes::child_that_writes_until_the_disk_is_full",
            "--nocapture",
        ])
        .env("DRIFTLINE_FLOWS_FULL", &path)
        .stderr(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let word = |word: &str| -> Vec<String> {
        let lines = text.lines().filter_map(|line| line.strip_prefix(word));
        lines.map(|rest| rest.trim().to_owned()).collect()
    };
    let acknowledged = word("ack ");
    assert!(acknowledged.len() > 20, "{text}");
    let refused = word("refused ");
    assert!(
        matches!(refused.as_slice(), [code] if code == "io" || code == "disk_full"),
        "{refused:?}"
    );
    assert_eq!(word("read "), [acknowledged.len().to_string()]);
    // What is typed into an editor shows, and waits for room; no more of it is taken meanwhile.
    let (typed, more) = (word("typed "), word("more "));
    // A commit that failed with no room to undo it may come back: that is said, and kept as it is.
    assert!(
        ["io", "disk_full", "commit_unknown"].contains(&typed[0].as_str()),
        "{typed:?}"
    );
    assert!(["io", "disk_full"].contains(&more[0].as_str()), "{more:?}");
    let words: usize = word("words ")[0].parse().unwrap();
    assert!(words >= 8_000);
    assert_eq!(word("room again "), ["stored"]);
    let device = Device::at(&path, "with room again");
    for id in &acknowledged {
        assert!(device.title(id).is_some(), "an acknowledged write is gone");
    }
    assert_eq!(device.count("notes"), acknowledged.len() as i64);
    device.connect(&server);
    device.sync();
    let other = Device::new("other");
    other.connect(&server);
    other.sync();
    assert_eq!(other.content(), device.content());
    // Ids drawn in one millisecond are in no order: the child's first note need not be the first that it
    // told.
    let first = &word("edits ")[0];
    let story = other.db.rich_text("notes", first, "story");
    let story = story.unwrap().unwrap();
    assert_eq!(story.text(), format!("and {}", "kept ".repeat(words)));
}

/// Runs only as a child of the test above.
#[test]
fn child_that_writes_until_the_disk_is_full() {
    let Ok(path) = std::env::var("DRIFTLINE_FLOWS_FULL") else {
        return;
    };
    let device = Device::at(std::path::Path::new(&path), "child");
    let body = "x".repeat(20_000);
    let error = loop {
        let written = device
            .db
            .write(|tx| tx.insert("notes", [("title", "kept"), ("body", body.as_str())]));
        match written {
            Ok(id) => println!("ack {id}"),
            Err(error) => break error,
        }
    };
    println!("refused {}", error.code());
    println!("read {}", device.count("notes"));
    let first = device.one("SELECT min(id) FROM notes");
    let Some(driftline::Value::Text(first)) = first else {
        panic!("no note: {first:?}");
    };
    println!("edits {first}");
    let editor = device.db.open_text("notes", &first, "story").unwrap();
    let type_in = |words: &str| editor.edit([driftline::TextEdit::insert(0, words)]);
    // A commit that failed may have made room by a checkpoint: until there is none. What is typed and
    // taken away again fills the queue, not the text.
    let words = "kept ".repeat(8_000);
    let refused = loop {
        type_in(&words).unwrap();
        if let Err(error) = editor.flush() {
            break error;
        }
        let all = editor.len().unwrap();
        editor.edit([driftline::TextEdit::delete(0, all)]).unwrap();
    };
    println!("typed {}", refused.code());
    println!("more {}", type_in("refused ").unwrap_err().code());
    let shown = editor.content().unwrap();
    println!("words {}", shown.text().split_whitespace().count());
    let limit = rustix::process::getrlimit(rustix::process::Resource::Fsize);
    let room = rustix::process::Rlimit {
        current: limit.maximum,
        ..limit
    };
    rustix::process::setrlimit(rustix::process::Resource::Fsize, room).unwrap();
    type_in("and ").unwrap();
    let closed = editor.close();
    println!(
        "room again {}",
        closed.map_or_else(|error| error.code(), |()| "stored")
    );
    // Ends as it would when the app is killed; closing would need room.
    std::process::exit(0);
}
