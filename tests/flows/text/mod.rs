//! Text and lists written together, through a real server.

mod copies;
mod forger;
mod hostile;
mod lists;
mod processes;
mod refused;
mod together;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use driftline::{Database, LossFilter};

use crate::support::{Device, Server};

const PATIENCE: Duration = Duration::from_secs(30);

/// Types at the beginning of a note's story.
fn tell(db: &Database, id: &str, words: &str) {
    db.write(|tx| tx.rich_text("notes", id, "story")?.insert(0, words))
        .unwrap();
}

/// Types at its end.
fn go_on(db: &Database, id: &str, words: &str) {
    let written = db.write(|tx| {
        let mut story = tx.rich_text("notes", id, "story")?;
        let end = story.len()?;
        story.insert(end, words)
    });
    written.unwrap();
}

fn story(db: &Database, id: &str) -> String {
    let text = db.rich_text("notes", id, "story").unwrap();
    text.expect("the note is there").text().to_owned()
}

/// How often each word is in a text.
fn words(text: &str) -> BTreeMap<String, usize> {
    let mut words = BTreeMap::new();
    for word in text.split_whitespace() {
        *words.entry(word.to_owned()).or_default() += 1;
    }
    words
}

/// These words, each once.
fn once<W: Into<String>>(words: impl IntoIterator<Item = W>) -> BTreeMap<String, usize> {
    words.into_iter().map(|word| (word.into(), 1)).collect()
}

/// Syncs all of them until none has anything left and nobody has news for another.
fn settle(devices: &[&Device]) {
    for _ in 0..3 {
        for device in devices {
            device.sync();
        }
    }
    for device in devices {
        assert_eq!(device.db.unsynced().unwrap(), 0, "{:?}", device.path);
    }
}

/// All show the same, by content and by digest; returns what a note tells.
fn agree(devices: &[&Device], id: &str) -> String {
    let digest =
        |device: &Device| driftline::inspect::read(&device.path, |file| file.digest()).unwrap();
    let told = story(&devices[0].db, id);
    for device in devices {
        assert_eq!(story(&device.db, id), told);
        assert_eq!(digest(device), digest(devices[0]));
        assert_eq!(device.content(), devices[0].content());
    }
    told
}

/// A device that has got everything by a snapshot.
fn newcomer(server: &Server) -> Device {
    let device = Device::new("newcomer");
    device.connect(server);
    device.sync();
    device
}

fn until(what: &str, done: impl Fn() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Everything the ledger has.
fn lost(device: &Device) -> Vec<driftline::Loss> {
    let ledger = device.db.ledger();
    ledger.query(&LossFilter::default(), 100).unwrap()
}
