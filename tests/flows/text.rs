//! Text written together, through a real server.

use crate::support::{Device, SCHEMA, Server};

fn tell(device: &Device, id: &str, words: &str) {
    device
        .db
        .write(|tx| tx.rich_text("notes", id, "story")?.insert(0, words))
        .unwrap();
}

fn story(device: &Device, id: &str) -> String {
    let text = device.db.rich_text("notes", id, "story").unwrap().unwrap();
    text.text().to_owned()
}

fn words(text: &str) -> Vec<&str> {
    let mut words: Vec<&str> = text.split_whitespace().collect();
    words.sort_unstable();
    words
}

#[test]
fn two_devices_type_offline_and_end_with_all_words_once() {
    let server = Server::start(SCHEMA);
    let (a, b) = (Device::new("a"), Device::new("b"));
    let id = a.note("a journal");
    tell(&a, &id, "base ");
    a.connect(&server);
    a.sync();
    // By a snapshot that carries the text.
    b.connect(&server);
    b.sync();
    assert_eq!(story(&b, &id), "base ");
    for n in 0..5 {
        tell(&a, &id, &format!("a{n} "));
        tell(&b, &id, &format!("b{n} "));
    }
    for _ in 0..2 {
        a.sync();
        b.sync();
    }
    assert_eq!(story(&a, &id), story(&b, &id));
    let all = [
        "a0", "a1", "a2", "a3", "a4", "b0", "b1", "b2", "b3", "b4", "base",
    ];
    assert_eq!(words(&story(&a, &id)), all);
}
