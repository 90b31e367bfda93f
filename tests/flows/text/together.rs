//! Two devices and one text: offline, live, by a snapshot, over ends of processes.

use driftline::{TextEdit, TextNews};

use super::{PATIENCE, agree, go_on, newcomer, once, settle, story, tell, until, words};
use crate::support::{Device, Draws, Fault, SCHEMA, Server};

#[test]
fn two_devices_type_offline_and_end_with_all_words_once() {
    let server = Server::start(SCHEMA);
    let (a, b) = (Device::new("a"), Device::new("b"));
    let id = a.note("a journal");
    tell(&a.db, &id, "base ");
    a.connect(&server);
    a.sync();
    b.connect(&server);
    b.sync();
    assert_eq!(story(&b.db, &id), "base ", "by a snapshot");
    for n in 0..5 {
        tell(&a.db, &id, &format!("a{n} "));
        go_on(&b.db, &id, &format!("b{n} "));
    }
    settle(&[&a, &b]);
    assert_eq!(
        agree(&[&a, &b, &newcomer(&server)], &id),
        "a4 a3 a2 a1 a0 base b0 b1 b2 b3 b4 "
    );
    // Both at one place, one takes away what the other typed into.
    tell(&a.db, &id, "left ");
    tell(&b.db, &id, "right ");
    b.db.write(|tx| {
        let mut story = tx.rich_text("notes", &id, "story")?;
        story.edit([
            TextEdit::delete(6, 15),
            TextEdit::format(0, 5, [("bold", true)]),
        ])
    })
    .unwrap();
    a.db.write(|tx| tx.rich_text("notes", &id, "story")?.insert(8, "amid "))
        .unwrap();
    settle(&[&a, &b]);
    let told = agree(&[&a, &b, &newcomer(&server)], &id);
    assert_eq!(
        words(&told),
        once([
            "left", "right", "amid", "base", "b0", "b1", "b2", "b3", "b4"
        ])
    );
    let delta = |device: &Device| {
        let text = device.db.rich_text("notes", &id, "story").unwrap();
        text.unwrap().delta().to_owned()
    };
    assert_eq!(delta(&a), delta(&b));
    assert!(delta(&a).contains("bold"));
}

/// Two editors, open on both sides of a live socket: each shows its own at once and the other's as
/// positions, and the selection stays where it was put.
#[test]
fn two_editors_type_live() {
    let server = Server::start(SCHEMA);
    let (a, b) = (Device::new("a"), Device::new("b"));
    let id = a.note("a journal");
    tell(&a.db, &id, "middle");
    let (live_a, live_b) = (a.connect_live(&server), b.connect_live(&server));
    assert!(live_a.sync_until(PATIENCE) && live_b.sync_until(PATIENCE));
    until("both are live", || {
        live_a.status().live && live_b.status().live
    });
    let open = |device: &Device| device.db.open_text("notes", &id, "story").unwrap();
    let (one, two) = (open(&a), open(&b));
    two.select(0, 6).unwrap();
    for n in 0..20 {
        one.edit([TextEdit::insert(0, format!("a{n} "))]).unwrap();
        let end = two.len().unwrap();
        two.edit([TextEdit::insert(end, format!(" b{n}"))]).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(5));
        two.news().unwrap();
    }
    let mut expected: Vec<String> = (0..20)
        .flat_map(|n| [format!("a{n}"), format!("b{n}")])
        .collect();
    expected.push("middle".to_owned());
    let text = |session: &driftline::TextSession| session.content().unwrap().text().to_owned();
    let mut edits = 0;
    for session in [&one, &two] {
        let began = std::time::Instant::now();
        while words(&text(session)) != once(expected.clone()) {
            assert!(began.elapsed() < PATIENCE, "{}", text(session));
            session.wait(std::time::Duration::from_millis(100));
            let news = session.news().unwrap();
            edits += news
                .iter()
                .filter(|n| matches!(n, TextNews::Edited(_)))
                .count();
        }
    }
    assert!(edits > 0, "what others do arrives as edits");
    assert_eq!(text(&one), text(&two));
    // What was selected is still selected.
    let (from, to) = two.selection();
    let selected: String = text(&two)
        .chars()
        .skip(from as usize)
        .take((to - from) as usize)
        .collect();
    assert!(selected.starts_with("middle"), "{selected}");
    // Each takes back its own and nothing else.
    while two.undo().unwrap().is_some() {}
    let left: Vec<String> = (0..20)
        .map(|n| format!("a{n}"))
        .chain(["middle".to_owned()])
        .collect();
    assert_eq!(words(&text(&two)), once(left.clone()));
    two.flush().unwrap();
    until("the other one sees it", || {
        one.news().unwrap();
        words(&text(&one)) == once(left.clone())
    });
    one.close().unwrap();
    two.close().unwrap();
    settle(&[&a, &b]);
    agree(&[&a, &b, &newcomer(&server)], &id);
}

/// The server is killed (-9) and answers are lost, while both type on.
#[test]
fn a_server_that_dies_in_between_loses_and_doubles_no_word() {
    let mut draws = Draws::new("a server that dies while two type");
    let mut server = Server::start(SCHEMA);
    let (a, b) = (Device::new("a"), Device::new("b"));
    let id = a.note("a journal");
    a.connect(&server);
    b.connect(&server);
    a.sync();
    b.sync();
    let mut expected = Vec::new();
    for round in 0..4 {
        for (device, name) in [(&a, "a"), (&b, "b")] {
            for n in 0..5 {
                let word = format!("{name}{round}-{n}");
                go_on(&device.db, &id, &format!("{word} "));
                expected.push(word);
            }
            device.network.next(Fault::LoseAnswer);
            device.db.sync().unwrap().sync_now();
        }
        draws.rest(std::time::Duration::from_millis(120));
        server.kill();
        tell(&a.db, &id, &format!("down{round} "));
        expected.push(format!("down{round}"));
        server.run();
    }
    settle(&[&a, &b]);
    let told = agree(&[&a, &b, &newcomer(&server)], &id);
    assert_eq!(words(&told), once(expected));
}

/// Many texts in a snapshot, some folded by the server and some not, into a device that has been
/// typing into one of them meanwhile.
#[test]
fn a_snapshot_brings_all_texts() {
    let server = Server::start(SCHEMA);
    let a = Device::new("a");
    a.connect(&server);
    let ids: Vec<String> = (0..200)
        .map(|n| {
            let id = a.note(&format!("note {n}"));
            tell(&a.db, &id, &format!("first{n} "));
            id
        })
        .collect();
    a.sync();
    std::thread::sleep(std::time::Duration::from_millis(1_500));
    for id in ids.iter().step_by(3) {
        go_on(&a.db, id, "later ");
    }
    a.sync();
    let b = newcomer(&server);
    agree(&[&a, &b], &ids[0]);
    for id in &ids {
        assert_eq!(story(&b.db, id), story(&a.db, id));
    }
    let later = b.count("notes WHERE story LIKE '%later %'");
    assert_eq!(later, 67, "queries see them too");
    // It writes on where the snapshot ended.
    go_on(&b.db, &ids[3], "by b ");
    settle(&[&b, &a]);
    assert_eq!(agree(&[&a, &b], &ids[3]), "first3 later by b ");
}
