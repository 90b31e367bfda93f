use std::sync::mpsc;
use std::time::Duration;

use super::fixture;
use crate::Value;

const SOON: Duration = Duration::from_secs(10);
const NOT_NOW: Duration = Duration::from_millis(50);

#[test]
fn yields_the_result_first_and_then_what_changes() {
    let db = fixture();
    let first = db
        .write(|tx| tx.insert("birds", [("species", "Adelie")]))
        .unwrap()
        .to_string();
    let mut watch = db
        .watch("SELECT id, species, mass FROM birds ORDER BY id", ())
        .unwrap();
    let update = watch.next().unwrap().unwrap();
    assert_eq!((update.added.len(), update.rows.len()), (1, 1));

    let second = db
        .write(|tx| tx.insert("birds", [("species", "Gentoo")]))
        .unwrap()
        .to_string();
    let update = watch.next().unwrap().unwrap();
    assert_eq!(
        update.added[0].get("id"),
        Some(&Value::from(second.as_str()))
    );
    assert!(update.removed.is_empty() && update.changed.is_empty());

    db.write(|tx| tx.update("birds", &first, [("mass", 5)]))
        .unwrap();
    let update = watch.next().unwrap().unwrap();
    assert_eq!(update.changed[0].before.get("mass"), Some(&Value::Null));
    assert_eq!(
        update.changed[0].after.get("mass"),
        Some(&Value::Integer(5))
    );
    assert!(update.added.is_empty() && update.removed.is_empty());

    db.write(|tx| tx.delete("birds", &first)).unwrap();
    let update = watch.next().unwrap().unwrap();
    assert_eq!(
        update.removed[0].get("id"),
        Some(&Value::from(first.as_str()))
    );
    assert_eq!(update.rows.len(), 1);
}

#[test]
fn several_commits_come_as_one_update_and_unchanged_results_as_none() {
    let db = fixture();
    let mut watch = db
        .watch("SELECT count(*) AS n FROM birds WHERE mass > 10", ())
        .unwrap();
    assert_eq!(
        watch.next().unwrap().unwrap().rows.scalar(),
        Some(&Value::Integer(0))
    );
    let id = db
        .write(|tx| tx.insert("birds", [("species", "Adelie")]))
        .unwrap()
        .to_string();
    assert_eq!(
        watch.next_timeout(NOT_NOW).unwrap(),
        None,
        "the count is the same"
    );
    for mass in [11, 12, 13] {
        db.write(|tx| tx.update("birds", &id, [("mass", mass)]))
            .unwrap();
    }
    let update = watch.next().unwrap().unwrap();
    assert_eq!(
        (update.removed.len(), update.added.len()),
        (1, 1),
        "rows without an id come and go"
    );
    assert_eq!(watch.next_timeout(NOT_NOW).unwrap(), None);
    db.write(|tx| tx.insert("forms", [("title", "x")])).unwrap();
    assert_eq!(
        watch.next_timeout(NOT_NOW).unwrap(),
        None,
        "another collection"
    );
}

#[test]
fn rows_that_are_equal_are_counted() {
    let db = fixture();
    let mut watch = db.watch("SELECT species FROM birds", ()).unwrap();
    assert!(watch.next().unwrap().unwrap().rows.is_empty());
    let ids: Vec<String> = (0..3)
        .map(|_| {
            db.write(|tx| tx.insert("birds", [("species", "Adelie")]))
                .unwrap()
                .to_string()
        })
        .collect();
    assert_eq!(watch.next().unwrap().unwrap().added.len(), 3);
    db.write(|tx| tx.delete("birds", &ids[1])).unwrap();
    assert_eq!(watch.next().unwrap().unwrap().removed.len(), 1);
}

#[test]
fn full_text_queries_are_watched_too() {
    let db = fixture();
    let mut watch = db
        .watch(
            "SELECT id FROM birds_search WHERE birds_search MATCH ?",
            ["gentoo"],
        )
        .unwrap();
    assert!(watch.next().unwrap().unwrap().rows.is_empty());
    db.write(|tx| tx.insert("birds", [("species", "Gentoo")]))
        .unwrap();
    assert_eq!(watch.next().unwrap().unwrap().added.len(), 1);
}

#[test]
fn a_waiting_thread_and_a_waiting_task_are_woken() {
    let db = fixture();
    let (send, receive) = mpsc::channel();
    let mut watch = db.watch("SELECT id FROM birds", ()).unwrap();
    watch.next().unwrap();
    let blocking = std::thread::spawn(move || {
        send.send(watch.next().unwrap().unwrap().added.len())
            .unwrap()
    });
    let mut watch = db.watch("SELECT id FROM birds", ()).unwrap();
    let task = std::thread::spawn(move || {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
            .block_on(async {
                assert!(watch.next_async().await.unwrap().unwrap().rows.is_empty());
                watch.next_async().await.unwrap().unwrap().added.len()
            })
    });
    std::thread::sleep(NOT_NOW);
    db.write(|tx| tx.insert("birds", [("species", "Adelie")]))
        .unwrap();
    assert_eq!(receive.recv_timeout(SOON).unwrap(), 1);
    blocking.join().unwrap();
    assert_eq!(task.join().unwrap(), 1);
}

#[test]
fn another_process_is_noticed() {
    let db = fixture();
    let other = crate::Database::open(super::config(&db.dir, super::SCHEMA)).unwrap();
    let mut watch = db.watch("SELECT id FROM birds", ()).unwrap();
    watch.next().unwrap();
    assert!(!db.poll_external().unwrap());
    db.write(|tx| tx.insert("birds", [("species", "Adelie")]))
        .unwrap();
    watch.next().unwrap();
    assert!(
        !db.poll_external().unwrap(),
        "one's own commits are not another's"
    );
    other
        .write(|tx| tx.insert("birds", [("species", "Gentoo")]))
        .unwrap();
    assert!(db.poll_external().unwrap());
    assert_eq!(watch.next_timeout(SOON).unwrap().unwrap().added.len(), 1);
}

#[test]
fn closing_ends_and_dropping_forgets() {
    let db = fixture();
    let mut watch = db.watch("SELECT id FROM birds", ()).unwrap();
    watch.next().unwrap();
    drop(db.watch("SELECT id FROM birds", ()).unwrap());
    let closing = db.db.clone();
    let waiting = std::thread::spawn(move || watch.next().unwrap());
    std::thread::sleep(NOT_NOW);
    closing.close().unwrap();
    assert_eq!(waiting.join().unwrap(), None);
    assert_eq!(
        db.watch("SELECT id FROM birds", ()).unwrap_err().code(),
        "closed"
    );
}

#[test]
fn a_query_that_was_suspended_goes_on() {
    let db = fixture();
    let mut watch = db.watch("SELECT id FROM birds", ()).unwrap();
    watch.next().unwrap();
    db.suspend().unwrap();
    assert_eq!(watch.next_timeout(NOT_NOW).unwrap(), None);
    db.resume().unwrap();
    db.write(|tx| tx.insert("birds", [("species", "Adelie")]))
        .unwrap();
    assert_eq!(watch.next_timeout(SOON).unwrap().unwrap().added.len(), 1);
}
