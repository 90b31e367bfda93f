//! A large workspace arriving.

use crate::support::{Device, Fault, Line, Proxy, SCHEMA, Server};

/// 20 000 documents; the stream is cut again and again and taken up where it ended.
#[test]
pub fn an_interrupted_bootstrap_goes_on_where_it_was() {
    let server = Server::start(SCHEMA);
    let a = Device::new("a");
    a.db.write_bulk(
        "notes",
        (0..20_000).map(|n| {
            vec![(
                "title".to_owned(),
                driftline::Value::from(format!("note {n}")),
            )]
        }),
    )
    .unwrap();
    a.connect(&server);
    a.sync();
    let b = Device::new("b");
    for cut in [300_000, 700_000, 900_000] {
        b.network.next(Fault::Cut(cut));
    }
    let sync = b.connect(&server);
    let events = sync.events();
    assert!(
        sync.sync_until(std::time::Duration::from_secs(60)),
        "{:?}",
        sync.status()
    );
    assert_eq!(b.count("notes"), 20_000);
    assert_eq!(b.content(), a.content());
    let mut seen = Vec::new();
    while let Some(event) = events.next_timeout(std::time::Duration::from_millis(1)) {
        if let driftline::SyncEvent::Progress { documents, .. } = event {
            seen.push(documents);
        }
    }
    assert!(
        seen.windows(2).all(|w| w[0] <= w[1]),
        "progress never goes back: {seen:?}"
    );
}

/// 100 000 documents over a slow line that breaks, to a device that is closed in between; what was
/// staged before is not asked for again, and the run is one row.
#[test]
fn a_hundred_thousand_documents_arrive_over_a_line_that_breaks() {
    const DOCUMENTS: usize = 100_000;
    let server = Server::start(SCHEMA);
    let a = Device::new("a");
    for from in (0..DOCUMENTS).step_by(20_000) {
        a.db.write_bulk(
            "tasks",
            (from..from + 20_000).map(|n| {
                let title = driftline::Value::from(format!("task {n}"));
                vec![("title".to_owned(), title)]
            }),
        )
        .unwrap();
    }
    a.connect(&server);
    let patience = std::time::Duration::from_secs(120);
    assert!(a.db.sync().unwrap().sync_until(patience));
    let proxy = Proxy::start(
        &server,
        Line {
            bytes_per_second: 40 << 20,
            break_after: Some(300 << 10),
            ..Line::default()
        },
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("device.db");
    let received = |device: &Device| {
        let runs = device.db.diagnostics().unwrap().runs;
        let of_it = runs.into_iter().filter(|run| run.cause == "bootstrap");
        of_it.map(|run| run.bytes_down).sum::<u64>()
    };
    // Stopped when a part of it is there.
    let b = Device::at(&path, "b");
    let token = server.token("ada", crate::support::device::WORKSPACE, "writer", "1h");
    let sync = b.connect_with(&proxy.url, token.clone(), false);
    crate::network::wait_for(&sync, |s| s.bootstrap.is_some_and(|(got, _)| got > 10_000));
    b.db.close().unwrap();
    drop(b);
    let b = Device::at(&path, "b");
    assert_eq!(b.count("tasks"), 0, "nothing shows before all is there");
    b.connect_with(&proxy.url, token, false);
    assert!(b.db.sync().unwrap().sync_until(patience));
    assert_eq!(b.count("tasks"), DOCUMENTS as i64);
    let differs = "SELECT count(*) FROM tasks WHERE title NOT LIKE 'task %'";
    assert_eq!(b.one(differs), Some(driftline::Value::Integer(0)));
    assert!(
        proxy.broken() >= 2,
        "the line broke {} times",
        proxy.broken()
    );
    assert!(received(&b) > 0);
    let runs = b.db.diagnostics().unwrap().runs;
    let done = |run: &&driftline::SyncRun| {
        run.cause == "bootstrap" && run.outcome.as_deref() == Some("done")
    };
    assert_eq!(runs.iter().filter(done).count(), 1);
}

/// Its own unsynced writes stay visible and are folded on top of what arrives.
#[test]
pub fn a_bootstrap_keeps_what_was_written_before_it() {
    let server = Server::start(SCHEMA);
    let a = Device::new("a");
    a.connect(&server);
    for n in 0..300 {
        a.note(&format!("note {n}"));
    }
    a.sync();
    let b = Device::new("b");
    let mine = b.note("mine, offline");
    b.connect(&server);
    b.sync();
    assert!(b.title(&mine).is_some());
    assert_eq!(b.count("notes"), 301);
    a.sync();
    assert_eq!(a.content(), b.content());
}
