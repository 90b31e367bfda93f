//! What the server keeps: through restarts, against backups, and for operators.

use driftline_core::protocol::{Outcome, SentOp, When};
use http::StatusCode;

use crate::common::*;

/// A row of the change log.
type LogRow = (
    i64,
    String,
    String,
    String,
    i64,
    i64,
    String,
    String,
    Option<i64>,
    i64,
    i64,
    i64,
);

#[tokio::test]
async fn a_server_restored_from_a_backup_and_grown_again_is_another_history() {
    let world = World::new();
    let mut a = world.device("ann");
    let op = a.insert("d1", &[(1, "x".into())]);
    a.sync(vec![op]).await;
    world.server.close().await;
    let backup = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(world.dir.path()).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), backup.path().join(file.file_name())).unwrap();
    }
    let op = a.insert("d2", &[(1, "y".into())]);
    a.sync(vec![op]).await;

    let restored =
        driftline_server::Server::new(config(backup.path(), world.clock.clone())).unwrap();
    a.server = restored.clone();
    let op = a.insert("d3", &[]);
    let reply = a.try_sync(vec![op.clone()]).await.unwrap_err();
    assert_eq!(
        (reply.status, reply.failure().code.as_str()),
        (StatusCode::CONFLICT, "history_changed"),
        "it is ahead"
    );
    let mut b = world.device("bob");
    b.server = restored;
    let other = b.insert("d4", &[(1, "z".into())]);
    b.sync(vec![other]).await;
    let reply = a.try_sync(vec![op.clone()]).await.unwrap_err();
    assert_eq!(
        reply.failure().code,
        "history_changed",
        "the number is there again, with another hash"
    );
    let fate = b.sync(vec![SentOp::Named(op.id())]).await;
    assert_eq!(
        fate.results[0].outcome,
        Outcome::Unknown,
        "none of its ops was decided"
    );
}

#[tokio::test]
async fn everything_answered_survives_a_restart() {
    let world = World::new();
    let mut a = world.device("ann");
    let op = a.insert("d1", &[(1, "x".into())]);
    let before = a.sync(vec![op.clone()]).await;
    let clock = world.clock.clone();
    drop(a);
    let world = world.restarted();
    assert!(std::sync::Arc::ptr_eq(&clock, &world.clock));
    let mut a = world.device("ann");
    let after = a.sync(vec![op]).await;
    assert_eq!(after.results, before.results);
    assert_eq!(after.cursor, before.cursor);
}

#[tokio::test]
async fn operators_read_bodies_and_the_change_log_in_sql() {
    let world = World::new();
    let mut a = world.device("ann");
    let insert = a.insert("d1", &[(1, "Adelie".into())]);
    a.sync(vec![insert.clone()]).await;
    world
        .clock
        .0
        .fetch_add(60_000, std::sync::atomic::Ordering::Relaxed);
    a.now.mono += 60_000;
    let mut update = a.update("d1", &[(3, 3_700.into())]);
    if let SentOp::Full { when, .. } = &mut update {
        *when = When::Age(1_000);
    }
    a.sync(vec![update.clone()]).await;
    let database = world.database("w");
    let body: String = database
        .query_row("SELECT body FROM documents", [], |row| row.get(0))
        .unwrap();
    assert_eq!(
        body,
        r#"{"species":"Adelie","island":"Torgersen","mass":3700,"seen":0,"tags":[]}"#
    );
    let row: LogRow = database
        .query_row(
            "SELECT version, op_id, author, device_label, writer, collection, document, kind, previous_version, written, at, schema_version
             FROM change_log WHERE version = 2",
            [],
            |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?, r.get(5)?, r.get(6)?, r.get(7)?, r.get(8)?, r.get(9)?, r.get(10)?, r.get(11)?)),
        )
        .unwrap();
    let expected = (
        2,
        update.id().to_string(),
        "ann".to_owned(),
        "ann's device".to_owned(),
        a.device.writer as i64,
        1,
        "d1".to_owned(),
        "update".to_owned(),
        Some(1),
        NOW + 59_000,
        NOW + 60_000,
        1,
    );
    assert_eq!(row, expected);
    let seen: (i64, i64) = database
        .query_row("SELECT cursor, last_seen FROM devices", [], |r| {
            Ok((r.get(0)?, r.get(1)?))
        })
        .unwrap();
    assert_eq!(seen, (1, NOW + 60_000));
}
