//! Texts that the server refuses.

use driftline::{OpState, TextEdit};

use super::{agree, go_on, lost, newcomer, once, settle, story, tell, until, words};
use crate::support::{Device, Fault, SCHEMA, Server};

/// The server allows shorter stories than the app.
fn strict_server() -> Server {
    let strict = SCHEMA.replace(
        r#"kind = "rich_text" }"#,
        r#"kind = "rich_text", max_bytes = 60 }"#,
    );
    assert_ne!(strict, SCHEMA);
    Server::start(&strict)
}

const LONG: &str = "more than the sixty bytes that the server of this flow lets in ";

/// One edit of several is refused: what was typed before and after it stands, here and elsewhere, and
/// its words can be found.
#[test]
fn a_refused_edit_takes_no_other_with_it() {
    let server = strict_server();
    let (a, b) = (Device::new("a"), Device::new("b"));
    let id = a.note("a journal");
    tell(&a.db, &id, "base ");
    a.connect(&server);
    b.connect(&server);
    settle(&[&a, &b]);
    go_on(&a.db, &id, "before ");
    go_on(&a.db, &id, LONG);
    go_on(&a.db, &id, "after ");
    tell(&a.db, &id, "first ");
    let typed = format!("first base before {LONG}after ");
    assert_eq!(story(&a.db, &id), typed, "until somebody says no");
    a.sync();
    assert_eq!(story(&a.db, &id), "first base before after ");
    let refused = a.db.outbox().quarantined(None, 10).unwrap();
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0].state, OpState::Quarantined);
    assert!(refused[0].error_code.is_some());
    let words_lost: Vec<String> = lost(&a)
        .iter()
        .map(|loss| format!("{:?}", loss.value))
        .collect();
    assert!(
        words_lost.iter().any(|value| value.contains(LONG)),
        "{words_lost:?}"
    );
    b.sync();
    a.sync();
    assert_eq!(
        agree(&[&a, &b, &newcomer(&server)], &id),
        "first base before after "
    );
    // Once the server takes it, it stands behind what it was typed behind.
    let mut server = server;
    server.kill();
    server.replace_schema(SCHEMA);
    server.run();
    assert_eq!(a.db.outbox().retry(&refused[0].id).unwrap().len(), 1);
    settle(&[&a, &b]);
    let told = agree(&[&a, &b, &newcomer(&server)], &id);
    assert_eq!(told, typed);
}

/// More is typed than the server lets in, and deleted again before it is told: what is left fits, and the
/// server waits until it knows that before it says no.
#[test]
fn what_was_deleted_before_it_was_told_does_not_count() {
    let server = strict_server();
    let (a, b) = (Device::new("a"), Device::new("b"));
    let id = a.note("a journal");
    for round in 0..4 {
        let words = format!("what is typed in round {round} of 4 ");
        tell(&a.db, &id, &words);
        if round < 3 {
            let emptied = a.db.write(|tx| {
                tx.rich_text("notes", &id, "story")?
                    .delete(0, words.len() as u32)
            });
            emptied.unwrap();
        }
    }
    a.connect(&server);
    b.connect(&server);
    settle(&[&a, &b]);
    let refused = || a.db.outbox().quarantined(None, 10).unwrap().len();
    assert_eq!(refused(), 0);
    assert_eq!(
        agree(&[&a, &b, &newcomer(&server)], &id),
        "what is typed in round 3 of 4 "
    );
    // What does not fit is refused all the same.
    go_on(&a.db, &id, LONG);
    until("the server said no", || refused() == 1);
}

/// An edit in one transaction with records: nothing of the transaction reaches anybody.
#[test]
fn a_refused_group_with_text_in_it_is_refused_whole() {
    let server = strict_server();
    let (a, b) = (Device::new("a"), Device::new("b"));
    let id = a.note("a journal");
    let other = a.note("another");
    tell(&a.db, &id, "base ");
    a.connect(&server);
    b.connect(&server);
    settle(&[&a, &b]);
    a.db.write(|tx| {
        tx.insert("tasks", [("title", "half of a group")])?;
        tx.update("notes", &id, [("rank", 7)])?;
        tx.rich_text("notes", &other, "story")?
            .insert(0, "short ")?;
        tx.rich_text("notes", &id, "story")?.insert(0, LONG)
    })
    .unwrap();
    go_on(&a.db, &id, "after ");
    go_on(&a.db, &other, "too ");
    a.set(&id, "body", "a later register");
    assert_eq!(a.count("tasks"), 1);
    settle_but_quarantined(&a);
    b.sync();
    for device in [&a, &b, &newcomer(&server)] {
        assert_eq!(device.count("tasks"), 0);
        assert_eq!(device.count("notes WHERE rank = 7"), 0);
        assert_eq!(device.count("notes WHERE body = 'a later register'"), 1);
        assert_eq!(story(&device.db, &id), "base after ");
        assert_eq!(story(&device.db, &other), "too ");
    }
    let refused = a.db.outbox().quarantined(None, 10).unwrap();
    assert_eq!(refused.len(), 1);
    // Given up for good, nothing of it is left.
    a.db.outbox().discard(&refused[0].id).unwrap();
    settle(&[&a, &b]);
    agree(&[&a, &b], &id);
}

fn settle_but_quarantined(device: &Device) {
    device.sync();
    device.sync();
    assert_eq!(device.pending(), 0);
}

/// Rejections come while both devices type into the same field.
#[test]
fn what_two_type_around_refused_edits_ends_equal() {
    let server = strict_server();
    let (a, b) = (Device::new("a"), Device::new("b"));
    let id = a.note("a journal");
    a.connect(&server);
    b.connect(&server);
    settle(&[&a, &b]);
    let mut expected = Vec::new();
    for round in 0..4 {
        for (device, name) in [(&a, "a"), (&b, "b")] {
            tell(&device.db, &id, LONG);
            let word = format!("{name}{round}");
            go_on(&device.db, &id, &format!("{word} "));
            expected.push(word);
        }
        [&a, &b][round % 2].sync();
    }
    for device in [&a, &b, &a, &b] {
        settle_but_quarantined(device);
    }
    let told = agree(&[&a, &b, &newcomer(&server)], &id);
    assert_eq!(words(&told), once(expected));
    let refused = |device: &Device| device.db.outbox().quarantined(None, 10).unwrap().len();
    assert_eq!((refused(&a), refused(&b)), (4, 4));
}

/// K17: an edit is accepted, its answer is lost, its author takes it back and types on: what is accepted
/// stays, and no clock is used twice.
#[test]
fn k17_text_typed_after_a_discard_of_something_accepted_is_kept() {
    let server = Server::start(SCHEMA);
    let (a, b) = (Device::new("a"), Device::new("b"));
    let id = a.note("a journal");
    tell(&a.db, &id, "base ");
    let sync = a.connect(&server);
    b.connect(&server);
    settle(&[&a, &b]);
    a.network.always(Some(Fault::LoseAnswer));
    go_on(&a.db, &id, "first ");
    sync.sync_now();
    until("it is accepted", || {
        b.sync();
        story(&b.db, &id) == "base first "
    });
    let queued = a.db.outbox().list(None, 10).unwrap();
    a.db.outbox().discard(&queued[0].id).unwrap();
    assert_eq!(story(&a.db, &id), "base ");
    go_on(&a.db, &id, "second ");
    tell(&b.db, &id, "by b ");
    a.network.always(None);
    settle(&[&a, &b]);
    let told = agree(&[&a, &b, &newcomer(&server)], &id);
    assert_eq!(words(&told), once(["by", "b", "base", "first", "second"]));
}

/// A reader's editor and transactions refuse at once, without a server, also after the app was opened
/// again; what a record says is judged by the server.
#[test]
fn a_readers_text_is_refused_on_the_device() {
    let server = Server::start(SCHEMA);
    let a = Device::new("a");
    let id = a.note("a journal");
    tell(&a.db, &id, "base ");
    a.connect(&server);
    a.sync();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("reader.db");
    let reader = Device::at(&path, "reader");
    reader.connect_as(&server, "reader", false);
    reader.sync();
    let refuses = |reader: &Device| {
        let editor = reader.db.open_text("notes", &id, "story").unwrap();
        let typed = editor.edit([TextEdit::insert(0, "x")]).unwrap_err();
        assert_eq!(editor.content().unwrap().text(), "base ");
        let told = reader
            .db
            .write(|tx| tx.rich_text("notes", &id, "story")?.insert(0, "x"));
        let listed = reader
            .db
            .write(|tx| tx.list("notes", &id, "steps")?.insert(0, ["1"]));
        let codes = [
            typed.code(),
            told.unwrap_err().code(),
            listed.unwrap_err().code(),
        ];
        assert_eq!(codes, ["read_only"; 3]);
        assert_eq!(reader.db.unsynced().unwrap(), 0);
        assert_eq!(story(&reader.db, &id), "base ");
    };
    refuses(&reader);
    reader.db.close().unwrap();
    let reader = Device::at(&path, "reader");
    refuses(&reader);
    // With another token it writes.
    reader.connect_as(&server, "writer", false);
    reader.sync();
    go_on(&reader.db, &id, "by a writer ");
    settle(&[&reader, &a]);
    assert_eq!(agree(&[&reader, &a], &id), "base by a writer ");
}
