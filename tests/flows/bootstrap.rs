//! A large workspace arriving.

use crate::support::{Device, Fault, SCHEMA, Server};

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
