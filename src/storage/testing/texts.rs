//! Texts in a file, by hand: copies, rejections, what a server may say, folding.

use driftline_core::id::DocumentId;
use driftline_core::op::Update;
use driftline_core::protocol::Cursor;
use driftline_core::text::{OffsetUnit, TextChange};

use super::*;
use crate::storage::apply::{Page, PageError, apply_page};
use crate::storage::text::{Editing, TextPlace};
use crate::storage::{Origin, StorageError, meta, stage};

const NOTES: u16 = 1;

fn world() -> (tempfile::TempDir, Time, Server, Device) {
    let (directory, time) = (tempfile::tempdir().unwrap(), Time::new());
    let mut server = Server::new(schema(), time.clone());
    let mut device = Device::open(directory.path(), "d", &time, 1);
    device
        .write(&[Draft::insert(NOTES, "a").set(1, "x").tells("base ")])
        .unwrap();
    device.sync(&mut server);
    (directory, time, server, device)
}

fn types(words: &str) -> Draft {
    Draft::update(NOTES, "a").tells(words)
}

fn writer(device: &Device) -> i64 {
    let writer = device.storage.read(|tx| tx.meta(meta::key::WRITER));
    writer.unwrap().unwrap()
}

fn count(device: &Device, sql: &str) -> i64 {
    device
        .storage
        .read(|tx| Ok::<_, StorageError>(tx.conn().query_row(sql, [], |row| row.get(0))?))
        .unwrap()
}

#[test]
fn a_copied_file_and_its_original_lose_and_double_no_word() {
    let (directory, _time, mut server, mut d) = world();
    d.write(&[types("before ")]).unwrap();
    let mut copy = d.copy(directory.path(), "copy", 2);
    assert_eq!(writer(&d), writer(&copy));
    d.write(&[types("here ")]).unwrap();
    copy.write(&[types("there ")]).unwrap();
    copy.write(&[types("again ")]).unwrap();
    d.sync(&mut server);
    // The server has other bytes at the copy's clocks by now.
    for _ in 0..3 {
        copy.sync(&mut server);
        d.sync(&mut server);
    }
    check_healed(&[d, copy], &server);
    let devices = Device::open(directory.path(), "d", &Time::new(), 3);
    let mut words: Vec<String> = devices
        .story(NOTES, "a")
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    words.sort();
    assert_eq!(words, ["again", "base", "before", "here", "there"]);
}

/// Types as an editor does that keeps the story open.
fn edits(device: &mut Device, words: &str) {
    let place = TextPlace {
        collection: NOTES,
        document: DocumentId::new("a").unwrap(),
        field: 5,
    };
    let editing = device.storage.read(|tx| Editing::open(tx, &place));
    let mut editing = editing.unwrap();
    let insert = TextChange::Insert {
        at: 0,
        text: words.to_owned(),
        attributes: None,
    };
    let body = editing.body().unwrap();
    body.stage(&[insert], OffsetUnit::Utf16).unwrap();
    let stored = device
        .storage
        .write_tx(Origin::Local, |tx| editing.store(tx));
    assert!(stored.unwrap().is_none());
    device.remember();
}

#[test]
fn search_finds_a_text_by_what_it_shows_wherever_that_came_from() {
    let (directory, time, mut server, mut d) = world();
    assert_eq!(d.found("base"), ["a"], "a transaction");
    let mut other = Device::open(directory.path(), "other", &time, 2);
    other.sync(&mut server);
    assert_eq!(other.found("base"), ["a"], "a page with a new document");
    other.write(&[types("paged ")]).unwrap();
    other.sync(&mut server);
    d.pull(&mut server, 10);
    assert_eq!(d.found("paged"), ["a"], "a page");

    edits(&mut d, "typed ");
    d.storage.show_texts().unwrap();
    assert_eq!(d.found("typed"), ["a"], "an editor");

    // What was refused goes, what was typed on top of it stays.
    let refused = d.write(&[types("refused ")]).unwrap();
    edits(&mut d, "later ");
    server.refuse.insert(refused);
    d.storage.show_texts().unwrap();
    assert_eq!(d.found("later refused typed"), ["a"]);
    for _ in 0..3 {
        d.sync(&mut server);
    }
    d.storage.show_texts().unwrap();
    assert_eq!(d.found("refused"), [""; 0], "a refold");
    assert_eq!(d.found("later typed paged base"), ["a"], "a refold");

    let mut fresh = Device::open(directory.path(), "fresh", &time, 3);
    fresh.bootstrap(&mut server);
    assert_eq!(fresh.found("later typed paged base"), ["a"], "a snapshot");
    assert_eq!(fresh.found("refused"), [""; 0], "a snapshot");
    // One that replaces what was there, with an own edit on top.
    other.write(&[types("own ")]).unwrap();
    other.bootstrap(&mut server);
    assert_eq!(other.searched("notes_search"), other.searched("notes"));
    assert_eq!(
        other.found("own later paged"),
        ["a"],
        "a snapshot over a file, at once"
    );

    other.write(&[Draft::delete(NOTES, "a")]).unwrap();
    assert_eq!(other.found("base"), [""; 0], "a delete");
    other.write(&[Draft::restore(NOTES, "a")]).unwrap();
    assert_eq!(other.found("base"), ["a"], "a restore");

    // It comes as a tombstone, which shows nothing, and is brought back here.
    other.write(&[Draft::delete(NOTES, "a")]).unwrap();
    other.sync(&mut server);
    let mut newest = Device::open(directory.path(), "newest", &time, 4);
    newest.bootstrap(&mut server);
    assert_eq!(newest.found("base"), [""; 0]);
    newest.write(&[Draft::restore(NOTES, "a")]).unwrap();
    assert_eq!(newest.searched("notes"), newest.searched("notes_search"));
    assert_eq!(
        newest.found("base"),
        ["a"],
        "a restore of a snapshot's tombstone"
    );
    for device in [&d, &fresh, &other, &newest] {
        check_texts(device);
        assert_eq!(device.searched("notes_search"), device.searched("notes"));
        let checked = device.storage.write_tx(Origin::Local, |tx| {
            let sql = "INSERT INTO notes_search (notes_search, rank) VALUES ('integrity-check', 1)";
            Ok::<_, StorageError>(tx.conn().execute(sql, [])?)
        });
        checked.unwrap();
    }
}

fn cuts(at: u64, most: u32) -> Draft {
    Draft::update(NOTES, "a").types(Typed::Cut(at, most))
}

/// Three files under one writer: what one typed first was written again by its copy, and the third had
/// typed at the same clocks. `between` happens in the copy before it takes its own word back.
fn takes_back_its_own_word_and_not_anothers(between: impl Fn(&mut Device, &mut Server)) {
    for by_bootstrap in [false, true] {
        let (directory, _time, mut server, mut d) = world();
        let mut third = d.copy(directory.path(), "third", 2);
        d.write(&[types("gone ")]).unwrap();
        let mut copy = d.copy(directory.path(), "copy", 3);
        between(&mut copy, &mut server);
        copy.write(&[cuts(0, 5)]).unwrap();
        assert_eq!(copy.story(NOTES, "a"), "base ");
        third.write(&[types("stays ")]).unwrap();
        third.sync(&mut server);
        d.sync(&mut server);
        d.sync(&mut server);
        assert!(d.story(NOTES, "a").contains("gone "));
        // It sends what it wrote before it hears of the others.
        let exchange = copy.send(&mut server, 100, 1).unwrap();
        match by_bootstrap {
            false => drop(copy.take(&exchange).unwrap()),
            true => drop(copy.bootstrap(&mut server)),
        }
        for _ in 0..3 {
            copy.sync(&mut server);
            third.sync(&mut server);
            d.sync(&mut server);
        }
        // What it took back stands there under another name, where that could not be told.
        let story = copy.story(NOTES, "a");
        let others = story.replace("gone ", "");
        assert_eq!(others, "stays base ", "{by_bootstrap}: {story}");
        check_healed(&[d, copy, third], &server);
    }
}

#[test]
fn what_a_copy_wrote_on_its_own_text_does_not_hit_text_at_the_same_clocks() {
    takes_back_its_own_word_and_not_anothers(|_, _| {});
}

#[test]
fn what_a_new_writer_writes_on_queued_text_of_the_old_one_does_not_hit_anothers() {
    takes_back_its_own_word_and_not_anothers(|copy, _| {
        let drawn = writer(copy);
        let op = copy.write(&[types("regretted ")]).unwrap();
        copy.discard(op);
        assert_ne!(writer(copy), drawn, "its clocks are spoilt");
    });
}

#[test]
fn what_was_typed_on_top_of_a_rejected_op_stays_without_it() {
    let (_directory, _time, mut server, mut d) = world();
    let drawn = writer(&d);
    let refused = d.write(&[types("refused ")]).unwrap();
    let kept = [
        d.write(&[types("kept ")]).unwrap(),
        d.write(&[types("too ")]).unwrap(),
    ];
    server.refuse.insert(refused);
    assert_eq!(d.story(NOTES, "a"), "too kept refused base ");
    let exchange = d.send(&mut server, 1, 100).unwrap();
    d.take(&exchange).unwrap();
    assert_eq!(d.story(NOTES, "a"), "too kept base ", "at once");
    assert_ne!(writer(&d), drawn, "its clocks are spoilt");
    assert_eq!(d.pending(), kept, "the ops keep their ids");
    d.sync(&mut server);
    assert_eq!(d.story(NOTES, "a"), "too kept base ");
    // Tried again it stands where it was typed.
    server.refuse.clear();
    d.retry(refused).unwrap();
    d.sync(&mut server);
    // Authored with what the server had taken as it was before, and once more behind that.
    d.sync(&mut server);
    d.pull(&mut server, 10);
    assert_eq!(d.pending(), []);
    let story = d.story(NOTES, "a");
    assert_eq!(story.matches("refused ").count(), 1, "{story}");
    check_texts(&d);
}

#[test]
fn a_discarded_op_takes_its_words_along_and_no_others() {
    let (_directory, _time, mut server, mut d) = world();
    let op = d.write(&[types("regretted ")]).unwrap();
    d.write(&[types("meant ")]).unwrap();
    assert!(d.discard(op));
    assert_eq!(d.story(NOTES, "a"), "meant base ");
    d.sync(&mut server);
    d.pull(&mut server, 10);
    check_healed(&[d], &server);
}

#[test]
fn an_answer_about_text_that_was_authored_again_since_is_not_taken_at_its_word() {
    let (directory, _time, mut server, mut d) = world();
    let first = d.write(&[types("first ")]).unwrap();
    d.write(&[types("second ")]).unwrap();
    // The second is sent and accepted with the first; on the way back the first is discarded here.
    let exchange = d.send(&mut server, 100, 100).unwrap();
    assert!(d.discard(first));
    assert_eq!(d.story(NOTES, "a"), "second base ");
    d.take(&exchange).unwrap();
    for _ in 0..3 {
        d.sync(&mut server);
    }
    assert_eq!(d.story(NOTES, "a"), "second first base ");
    check_healed(&[d], &server);
    drop(directory);
}

#[test]
fn a_bootstrap_brings_texts_and_keeps_what_was_typed_meanwhile() {
    let (directory, time, mut server, mut d) = world();
    for n in 0..5 {
        d.write(&[types(&format!("{n} "))]).unwrap();
    }
    d.sync(&mut server);
    let mut other = Device::open(directory.path(), "other", &time, 2);
    other.begin_bootstrap(&server);
    // Told once more by the log that follows the snapshot.
    d.write(&[types("late ")]).unwrap();
    d.sync(&mut server);
    while !other.stage_some(&server, 1) {}
    other.finish_bootstrap(&mut server);
    assert_eq!(other.story(NOTES, "a"), "late 4 3 2 1 0 base ");
    d.write(&[types("pending ")]).unwrap();
    d.bootstrap(&mut server);
    assert_eq!(d.story(NOTES, "a"), "pending late 4 3 2 1 0 base ");
    d.sync(&mut server);
    other.pull(&mut server, 10);
    check_texts(&other);
    check_healed(&[d, other], &server);
}

/// The server is restored to before what the snapshot holds of a document, and goes on from there.
#[test]
fn a_snapshot_that_the_server_forgets_half_way_is_none() {
    for same_document in [false, true] {
        let (directory, time, mut server, mut d) = world();
        let backup = server.clone();
        let mut other = Device::open(directory.path(), "other", &time, 2);
        other.begin_bootstrap(&server);
        d.write(&[types("forgotten "), Draft::insert(NOTES, "b").set(1, "x")])
            .unwrap();
        d.sync(&mut server);
        while !other.stage_some(&server, 1) {}
        let mut server = backup;
        let mut third = Device::open(directory.path(), "third", &time, 3);
        third.pull(&mut server, 10);
        let document = if same_document { "a" } else { "c" };
        let draft = match same_document {
            true => types("instead "),
            false => Draft::insert(NOTES, document).set(1, "y"),
        };
        third.write(&[draft]).unwrap();
        third.sync(&mut server);
        let refused = other.try_to_finish_bootstrap(&mut server);
        assert!(
            matches!(refused, Err(PageError::OtherSnapshot)),
            "{refused:?}"
        );
        assert!(other.shown(NOTES, "b").is_none());
        other.bootstrap(&mut server);
        check_healed(&[other, third], &server);
    }
}

#[test]
fn a_long_tail_is_folded_and_nothing_shows_it() {
    let (directory, time, mut server, mut d) = world();
    let mut reader = Device::open(directory.path(), "reader", &time, 2);
    reader.bootstrap(&mut server);
    for n in 0..300 {
        d.write(&[types(if n % 2 == 0 { "." } else { ":" })])
            .unwrap();
        d.sync(&mut server);
    }
    // One page, then one version after the other.
    reader.pull(&mut server, 200);
    while reader.cursor() != server.cursor() {
        time.pass(2_000);
        reader.pull(&mut server, 1);
    }
    let rows = count(&reader, "SELECT count(*) FROM _dl_crdt");
    assert!(rows < 300, "{rows} rows");
    assert_eq!(
        count(
            &reader,
            "SELECT count(*) FROM _dl_crdt WHERE marks IS NOT NULL"
        ),
        1
    );
    check_texts(&reader);
    check_healed(&[d, reader], &server);
}

#[test]
fn what_no_honest_server_says_of_a_text_is_refused_and_changes_nothing() {
    let (_directory, _time, mut server, mut d) = world();
    let from = d.cursor();
    let before = d.story(NOTES, "a");
    let mut other = server.clone();
    let mut writer = Device::open(_directory.path(), "w", &_time, 2);
    writer.bootstrap(&mut server);
    writer.write(&[types("words ")]).unwrap();
    writer.sync(&mut server);
    let (versions, to) = server.versions(from.version, 10);
    let refuse = |what: &str, spoil: &dyn Fn(&mut driftline_core::protocol::DocumentResult)| {
        let mut versions = versions.clone();
        spoil(&mut versions[0].documents[0]);
        let page = Page {
            from,
            to,
            versions: &versions,
        };
        let applied = d
            .storage
            .write_tx(Origin::Remote, |tx| apply_page(tx, page));
        match applied {
            Err(PageError::Malformed(_) | PageError::BaseMissing) => {}
            other => panic!("{what}: {other:?}"),
        }
        assert_eq!(d.cursor(), from, "{what}");
    };
    const STORY: u16 = 5;
    refuse("no update", &|result| drop(result.texts.remove(STORY)));
    refuse("cut short", &|result| {
        let update = result.texts.get_mut(STORY).unwrap();
        update.0.truncate(10);
    });
    refuse("half a gigabyte", &|result| {
        let update = result.texts.get_mut(STORY).unwrap();
        update.0 = vec![0x80, 0xe5, 0x9a, 0x77];
    });
    refuse("an update for another text", &|result| {
        let update = result.texts.get(STORY).unwrap().clone();
        result.texts.insert(6, update);
    });
    refuse("another end", &|result| {
        let text = result.state.texts.get_mut(STORY).unwrap();
        text.marks.iter_mut().for_each(|mark| mark.next += 1);
    });
    refuse("a text in a register's place", &|result| {
        let text = result.state.texts.get(STORY).unwrap().clone();
        result.state.texts.insert(1, text);
    });
    // Snapshots as well.
    let all = server.snapshot();
    let snapshot = |texts: Option<Update>| {
        d.storage.write_tx(Origin::Remote, |tx| {
            stage::begin(tx)?;
            stage::pin(tx, Cursor::START)?;
            let mut document = all[0].clone();
            match texts {
                Some(update) => drop(document.texts.insert(STORY, update)),
                None => drop(document.texts.remove(STORY)),
            }
            stage::add_documents(tx, &[document], None)
        })
    };
    assert!(matches!(snapshot(None), Err(PageError::Malformed(_))));
    let nothing = Some(Update(vec![0, 0]));
    assert!(matches!(snapshot(nothing), Err(PageError::Malformed(_))));
    assert_eq!(d.story(NOTES, "a"), before);
    assert!(other.answer(&d.request(0), 1).is_some());
    let id = DocumentId::new("a").unwrap();
    assert_eq!(d.text(&(NOTES, id), STORY), Some(before));
}

#[test]
fn words_of_a_rejected_op_are_in_the_ledger() {
    let (_directory, _time, mut server, mut d) = world();
    let op = d.write(&[types("lost words ")]).unwrap();
    server.refuse.insert(op);
    d.sync(&mut server);
    let entries = d
        .storage
        .read(|tx| crate::storage::ledger::query(tx.conn(), &Default::default(), 10))
        .unwrap();
    let values: Vec<_> = entries.iter().map(|e| e.loss.value.clone()).collect();
    assert_eq!(values, ["lost words ".into()]);
}

#[test]
fn a_group_that_was_told_as_done_keeps_each_text_once_though_one_document_was_written_since() {
    let (directory, time) = (tempfile::tempdir().unwrap(), Time::new());
    let mut server = Server::new(schema(), time.clone());
    let mut d = Device::open(directory.path(), "d", &time, 1);
    d.write(&[
        Draft::insert(NOTES, "a").set(1, "x").tells("word "),
        Draft::insert(NOTES, "b").set(1, "x").count(2),
        Draft::insert(NOTES, "c").set(1, "x").count(2),
    ])
    .unwrap();
    let exchange = d.send(&mut server, 1, 100).unwrap();
    d.write(&[Draft::update(NOTES, "b").set(1, "y")]).unwrap();
    d.take(&exchange).unwrap();
    assert_eq!(count(&d, "SELECT count(*) FROM _dl_crdt"), 1);
    assert_eq!(d.story(NOTES, "a"), "word ");
    d.sync(&mut server);
    assert_eq!((d.count(NOTES, "b"), d.count(NOTES, "c")), (2, 2));
    check_healed(&[d], &server);
}
