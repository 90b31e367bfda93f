//! What was lost: told with what it was and what stands instead, found again, and brought back.

use driftline::{Loss, LossFilter, LossRule, Value};

use crate::conflicts::{meet, pair};
use crate::support::{Device, SCHEMA, Server};

fn losses(device: &Device) -> Vec<Loss> {
    query(device, |_| {})
}

fn query(device: &Device, change: impl FnOnce(&mut LossFilter)) -> Vec<Loss> {
    let mut filter = LossFilter::default();
    change(&mut filter);
    device.db.ledger().query(&filter, 100).unwrap()
}

fn shortly() {
    std::thread::sleep(std::time::Duration::from_millis(20));
}

/// Both set the title, and the first one loses.
fn conflict(a: &Device, b: &Device, id: &str) {
    a.set(id, "title", "by a");
    shortly();
    b.set(id, "title", "by b");
    meet(a, b);
}

#[test]
fn an_overwritten_value_is_told_with_its_base_and_brought_back_once() {
    let server = Server::start(SCHEMA);
    let (a, b, id) = pair(&server);
    conflict(&a, &b, &id);
    let lost = losses(&a);
    assert_eq!(lost.len(), 1, "{lost:?}");
    let loss = &lost[0];
    assert_eq!(
        (loss.collection.as_str(), loss.document.as_str()),
        ("notes", id.as_str())
    );
    assert_eq!(
        (loss.field.as_deref(), loss.rule),
        (Some("title"), LossRule::Overwritten)
    );
    assert_eq!(
        (&loss.value, &loss.base_value, &loss.winner_value),
        (&"by a".into(), &"first".into(), &"by b".into())
    );
    assert_eq!(loss.winner_device, "b");
    assert!(loss.written < loss.winner_written && loss.op != loss.winner);
    assert_eq!(losses(&b), [], "who stands has lost nothing");
    assert_eq!(a.db.ledger().count().unwrap(), 1);

    let op = a.db.ledger().restore(loss.id).unwrap();
    assert_eq!(a.title(&id), Some("by a".into()), "at once");
    let again = a.db.ledger().restore(loss.id).unwrap_err();
    assert_eq!(again.code(), "no_such_loss");
    meet(&a, &b);
    assert_eq!(b.title(&id), Some("by a".into()));
    assert_eq!(losses(&b), [], "it had seen what it replaced");
    assert_eq!(a.db.ledger().count().unwrap(), 0);
    let restored = query(&a, |filter| filter.restored = Some(true));
    assert_eq!(restored[0].restored_by.as_deref(), Some(op.as_str()));
}

#[test]
fn a_cancelled_delete_is_done_after_all_and_a_deleted_document_comes_back() {
    let server = Server::start(SCHEMA);
    let (a, b, note) = pair(&server);
    let task = a.db.write(|tx| tx.insert("tasks", [("title", "first")]));
    let task = task.unwrap().to_string();
    meet(&a, &b);
    // Updates win over a delete in notes, and lose to it in tasks.
    a.db.write(|tx| {
        tx.delete("notes", &note)?;
        tx.delete("tasks", &task)
    })
    .unwrap();
    shortly();
    b.set(&note, "body", "still needed");
    b.db.write(|tx| tx.update("tasks", &task, [("title", "second"), ("note", "new")]))
        .unwrap();
    // The updates are there first: one cancels a delete, the other is deleted.
    meet(&b, &a);
    let cancelled = losses(&a);
    assert_eq!(cancelled.len(), 1, "{cancelled:?}");
    assert_eq!(
        (cancelled[0].rule, cancelled[0].field.as_deref()),
        (LossRule::DeleteCancelled, None)
    );
    let gone = losses(&b);
    let fields: Vec<_> = gone.iter().map(|loss| loss.field.as_deref()).collect();
    assert!(
        fields.contains(&Some("title")) && fields.contains(&Some("note")) && fields.len() == 2,
        "{gone:?}"
    );
    assert_eq!((a.count("notes"), a.count("tasks")), (1, 0));

    a.db.ledger().restore(cancelled[0].id).unwrap();
    for loss in &gone {
        b.db.ledger().restore(loss.id).unwrap();
    }
    meet(&a, &b);
    assert_eq!((b.count("notes"), a.count("tasks")), (0, 1));
    let task = |field: &str| a.one(&format!("SELECT {field} FROM tasks"));
    assert_eq!(
        (task("title"), task("note")),
        (Some("second".into()), Some("new".into()))
    );
}

/// The server allows shorter titles: a transaction is refused whole, and each part of it is a row.
#[test]
fn each_part_of_a_refused_write_is_brought_back_by_itself() {
    let server = Server::start(&SCHEMA.replace("max_bytes = 2000", "max_bytes = 20"));
    let (a, b, id) = pair(&server);
    a.db.write(|tx| tx.add_to_set("notes", &id, "tags", ["blue"]))
        .unwrap();
    meet(&a, &b);
    a.db.write(|tx| {
        tx.update(
            "notes",
            &id,
            [("title", "x".repeat(30)), ("body", "kept".to_owned())],
        )?;
        tx.increment("notes", &id, "count", 5)?;
        tx.add_to_set("notes", &id, "tags", ["red"])?;
        tx.remove_from_set("notes", &id, "tags", ["blue"])
    })
    .unwrap();
    meet(&a, &b);
    assert_eq!(a.title(&id), Some("first".into()), "refused whole");
    let of = |field: &str, removed: bool| {
        let found = query(&a, |filter| {
            filter.collection = Some("notes".to_owned());
            filter.field = Some(field.to_owned());
            filter.rule = Some(LossRule::Rejected);
        });
        let mut found = found.into_iter().filter(|loss| loss.removed == removed);
        let loss = found.next().unwrap();
        assert!(found.next().is_none(), "{field} twice");
        loss
    };
    assert_eq!(losses(&a).len(), 5);
    assert_eq!(of("count", false).value, Value::from(5));
    assert_eq!(of("tags", false).value, Value::from(r#"["red"]"#));
    assert_eq!(of("tags", true).value, Value::from(r#"["blue"]"#));
    for (field, removed) in [
        ("body", false),
        ("count", false),
        ("tags", false),
        ("tags", true),
    ] {
        a.db.ledger().restore(of(field, removed).id).unwrap();
    }
    meet(&a, &b);
    let shown = |field: &str| b.one(&format!("SELECT {field} FROM notes"));
    assert_eq!(
        (shown("body"), shown("count"), shown("tags")),
        (
            Some("kept".into()),
            Some(5.into()),
            Some(r#"["red"]"#.into())
        )
    );
    assert_eq!(a.db.ledger().count().unwrap(), 1, "the title");
    // As long as the write can be tried again its rows stay.
    assert_eq!(a.db.ledger().prune(i64::MAX).unwrap(), 0);
    let refused = a.db.outbox().quarantined(None, 10).unwrap();
    a.db.outbox().discard(&refused[0].id).unwrap();
    a.sync();
    assert_eq!(a.db.ledger().prune(i64::MAX).unwrap(), 5);
    assert_eq!(losses(&a), []);
}

#[test]
fn losses_are_found_by_what_they_are_of_and_read_page_by_page() {
    let server = Server::start(SCHEMA);
    let (a, b, first) = pair(&server);
    let ids = [first, a.note("second"), a.note("third")];
    meet(&a, &b);
    for id in &ids {
        conflict(&a, &b, id);
        shortly();
    }
    let all = losses(&a);
    let documents: Vec<&str> = all.iter().map(|loss| loss.document.as_str()).collect();
    assert_eq!(documents, [&ids[2], &ids[1], &ids[0]], "the latest first");
    let mut paged = Vec::new();
    let mut filter = LossFilter::default();
    loop {
        let page = a.db.ledger().query(&filter, 2).unwrap();
        let Some(last) = page.last() else { break };
        filter.before = Some(last.id);
        paged.extend(page);
    }
    assert_eq!(paged, all);
    let of = |change: fn(&mut LossFilter, &Loss)| query(&a, |filter| change(filter, &all[1]));
    assert_eq!(
        of(|filter, loss| filter.document = Some(loss.document.clone())),
        all[1..2]
    );
    assert_eq!(of(|filter, loss| filter.since = Some(loss.at)), all[..2]);
    assert_eq!(of(|filter, loss| filter.until = Some(loss.at)), all[2..]);
    assert_eq!(of(|filter, _| filter.rule = Some(LossRule::Deleted)), []);
    assert_eq!(
        of(|filter, _| filter.collection = Some("tasks".to_owned())),
        []
    );
    assert_eq!(a.db.ledger().prune(all[1].at).unwrap(), 1);
    assert_eq!(losses(&a), all[..2]);
}
