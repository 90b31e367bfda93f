//! Rows come back as they were written.

use driftline_core::ledger::LossRule;
use driftline_core::merge::{Link, Verdict};
use driftline_core::op::Refusal;
use driftline_core::time::Stamp;
use driftline_core::value::Value;

use super::*;

pub(crate) fn decisions_come_back_as_they_were(harness: &dyn Harness) {
    let workspace = workspace(&harness.open());
    let mut tx = workspace.begin().unwrap();
    let account = tx.author(&author()).unwrap().account;
    let plain = Record {
        account: "ann".to_owned(),
        verdict: Verdict::Accepted(7),
        covers: vec![],
        links: vec![],
    };
    let refused = Record {
        verdict: Verdict::Rejected(Refusal::new("quota", "the workspace is full")),
        covers: vec![op(8), op(9)],
        links: vec![Link {
            collection: 1,
            document: document("é"),
            prev: Some(op(1)),
            landed: None,
        }],
        ..plain.clone()
    };
    tx.put_record(op(1), account, &plain).unwrap();
    tx.put_record(op(2), account, &refused).unwrap();
    assert_eq!(
        tx.record(op(2)).unwrap(),
        Some(refused.clone()),
        "within the transaction too"
    );
    let later = Record {
        verdict: Verdict::Accepted(9),
        ..refused
    };
    tx.put_record(op(2), account, &later).unwrap();
    tx.commit().unwrap();
    let mut view = workspace.read().unwrap();
    assert_eq!(view.record(op(1)).unwrap(), Some(plain));
    assert_eq!(view.record(op(2)).unwrap(), Some(later));
    assert_eq!(view.record(op(3)).unwrap(), None);
}

/// Stores may keep the greatest keys in mind; that must never hide a row, nor keep one alive.
pub(crate) fn keys_beyond_all_others_are_found_once_stored(harness: &dyn Harness) {
    let workspace = workspace(&harness.open());
    let mut tx = workspace.begin().unwrap();
    let account = tx.author(&author()).unwrap().account;
    let record = |version| Record {
        account: "ann".to_owned(),
        verdict: Verdict::Accepted(version),
        covers: vec![],
        links: vec![],
    };
    let put_document = |tx: &mut (dyn Transaction + '_), id: &str, version| {
        let state = minicbor::to_vec(DocumentState::opened(op(1), version)).unwrap();
        let document = document(id);
        let new = NewDocument {
            collection: 1,
            document: &document,
            state: &state,
            body: None,
            version,
        };
        tx.put_document(&new).unwrap();
    };
    let version = |tx: &mut (dyn Transaction + '_), id: &str| {
        tx.document(1, &document(id))
            .unwrap()
            .map(|state| state.version)
    };
    assert_eq!(tx.record(op(5)).unwrap(), None);
    assert_eq!(version(&mut *tx, "m"), None);
    for (at, n, id) in [
        (1, 5, "m"),
        (2, 3, "c"),
        (3, 9, "x"),
        (4, 9, "x"),
        (5, 5, "m"),
    ] {
        tx.put_record(op(n), account, &record(at)).unwrap();
        put_document(&mut *tx, id, at);
        assert_eq!(tx.record(op(n)).unwrap(), Some(record(at)));
        assert_eq!(version(&mut *tx, id), Some(at));
    }
    tx.begin_part().unwrap();
    tx.put_record(op(20), account, &record(6)).unwrap();
    put_document(&mut *tx, "z", 6);
    tx.end_part(false).unwrap();
    assert_eq!(
        (tx.record(op(20)).unwrap(), version(&mut *tx, "z")),
        (None, None)
    );
    tx.put_record(op(20), account, &record(7)).unwrap();
    put_document(&mut *tx, "z", 7);
    tx.commit().unwrap();
    let mut tx = workspace.begin().unwrap();
    for (n, id, at) in [(3, "c", 2), (5, "m", 5), (9, "x", 4), (20, "z", 7)] {
        assert_eq!(tx.record(op(n)).unwrap(), Some(record(at)));
        assert_eq!(version(&mut *tx, id), Some(at));
    }
    assert_eq!(
        (tx.record(op(21)).unwrap(), version(&mut *tx, "zz")),
        (None, None)
    );
}

pub(crate) fn documents_come_in_order_of_their_bytes(harness: &dyn Harness) {
    let workspace = workspace(&harness.open());
    let mut tx = workspace.begin().unwrap();
    let keys = [
        (2, "a"),
        (1, "b"),
        (1, "é"),
        (1, "Z"),
        (1, "a"),
        (300, "\u{1}"),
    ];
    for (n, (collection, id)) in keys.into_iter().enumerate() {
        let state = minicbor::to_vec(DocumentState::opened(op(n as u64), 1)).unwrap();
        let document = document(id);
        let new = NewDocument {
            collection,
            document: &document,
            state: &state,
            body: None,
            version: 1,
        };
        tx.put_document(&new).unwrap();
    }
    tx.commit().unwrap();
    let mut view = workspace.read().unwrap();
    let mut from = |after: Option<(CollectionId, &str)>, most: usize| {
        let mut found = Vec::new();
        view.documents(after, &mut |row| {
            let state: DocumentState = minicbor::decode(row.state).unwrap();
            assert_eq!(state.version, 1);
            found.push((row.collection, row.document.to_owned()));
            found.len() < most
        })
        .unwrap();
        found
    };
    let of = |keys: &[(u16, &str)]| {
        keys.iter()
            .map(|(c, d)| (*c, (*d).to_owned()))
            .collect::<Vec<_>>()
    };
    let sorted = [
        (1, "Z"),
        (1, "a"),
        (1, "b"),
        (1, "é"),
        (2, "a"),
        (300, "\u{1}"),
    ];
    assert_eq!(from(None, 99), of(&sorted));
    assert_eq!(from(Some((1, "b")), 99), of(&sorted[3..]));
    assert_eq!(
        from(Some((1, "aa")), 2),
        of(&sorted[2..4]),
        "a key that is not there"
    );
    assert_eq!(from(Some((300, "\u{1}")), 99), of(&[]));
    assert_eq!(from(None, 1), of(&sorted[..1]));
}

pub(crate) fn the_log_leads_forward_and_back(harness: &dyn Harness) {
    let workspace = workspace(&harness.open());
    let mut tx = workspace.begin().unwrap();
    let cursors: Vec<Cursor> = ["a", "b", "\"a\"", "a"]
        .into_iter()
        .map(|id| append(&mut *tx, id))
        .collect();
    tx.commit().unwrap();
    let mut view = workspace.read().unwrap();
    let mut rows = Vec::new();
    view.log(1, &mut |row| {
        rows.push((row.cursor, row.entry.to_vec()));
        rows.len() < 2
    })
    .unwrap();
    assert_eq!(
        rows.iter().map(|(cursor, _)| *cursor).collect::<Vec<_>>(),
        cursors[1..3]
    );
    assert_eq!(view.entry(2).unwrap(), Some(rows[0].1.clone()));
    assert_eq!(view.entry(5).unwrap(), None);
    let step = |op, previous| Some(Step { op, previous });
    let mut on = |version, collection, id| {
        let steps = view.steps(version).unwrap();
        steps.and_then(|steps| steps.on(collection, &document(id)))
    };
    assert_eq!(on(4, 1, "a"), step(op(4), Some(1)));
    assert_eq!(on(1, 1, "a"), step(op(1), None));
    assert_eq!(on(3, 1, "\"a\""), step(op(3), None));
    assert_eq!(on(2, 1, "a"), None, "it did not touch it");
    assert_eq!(on(1, 2, "a"), None);
    assert_eq!(on(9, 1, "a"), None);
    let device = view.device("ann", "d").unwrap().unwrap();
    let origin = Origin {
        device,
        label: "Ann's".to_owned(),
        base: 3,
    };
    assert_eq!(view.origin(4).unwrap(), Some(origin));
    assert_eq!(view.origin(5).unwrap(), None);
}

pub(crate) fn authors_keep_their_numbers(harness: &dyn Harness) {
    let workspace = workspace(&harness.open());
    let mut tx = workspace.begin().unwrap();
    let first = tx.author(&author()).unwrap();
    assert_eq!(tx.author(&author()).unwrap(), first);
    let renamed = tx
        .author(&Author {
            label: "Ann's phone",
            ..author()
        })
        .unwrap();
    assert_eq!(
        (renamed.device, renamed.account),
        (first.device, first.account)
    );
    assert_ne!(renamed.author, first.author);
    let rewritten = tx
        .author(&Author {
            writer: u64::MAX,
            ..author()
        })
        .unwrap();
    assert_ne!(rewritten.author, first.author);
    let other = tx
        .author(&Author {
            account: "bob",
            ..author()
        })
        .unwrap();
    assert_ne!(
        other.device, first.device,
        "a device's id is its account's own"
    );
    tx.commit().unwrap();
    let sighting = |device: &str| Sighting {
        account: "cas".to_owned(),
        device: device.to_owned(),
        label: String::new(),
        cursor: 7,
        at: 9,
    };
    let mut tx = workspace.begin().unwrap();
    tx.see(&sighting("new")).unwrap();
    tx.see(&sighting("new")).unwrap();
    tx.commit().unwrap();
    let mut view = workspace.read().unwrap();
    assert_eq!(view.device("ann", "d").unwrap(), Some(first.device));
    assert_eq!(view.device("bob", "d").unwrap(), Some(other.device));
    assert!(view.device("cas", "new").unwrap().is_some());
    assert_eq!(view.device("ann", "new").unwrap(), None);
}

pub(crate) fn losses_are_each_devices_own(harness: &dyn Harness) {
    let workspace = workspace(&harness.open());
    let mut tx = workspace.begin().unwrap();
    let mine = tx.author(&author()).unwrap().device;
    let theirs = tx
        .author(&Author {
            device: "e",
            ..author()
        })
        .unwrap()
        .device;
    let loss = |number| Loss {
        number,
        collection: 1,
        document: document("a"),
        field: Some(2),
        value: Value::Text("lost".to_owned()),
        base_value: Value::Null,
        winner_value: Value::Real(1.5),
        op: op(1),
        winner: op(2),
        stamp: Stamp(1),
        winner_stamp: Stamp(2),
        winner_device: "Bob's".to_owned(),
        rule: LossRule::Overwritten,
        at: 3,
        removed: false,
    };
    assert_eq!(tx.last_loss(mine).unwrap(), 0);
    for number in [5, 1 << 52, 7] {
        tx.put_loss(mine, 1, &loss(number)).unwrap();
    }
    tx.put_loss(theirs, 1, &loss(6)).unwrap();
    assert_eq!(tx.last_loss(mine).unwrap(), 1 << 52);
    tx.commit().unwrap();
    let mut view = workspace.read().unwrap();
    assert_eq!(
        view.losses(mine, 0, 99).unwrap(),
        [loss(5), loss(7), loss(1 << 52)]
    );
    assert_eq!(view.losses(mine, 5, 1).unwrap(), [loss(7)]);
    assert_eq!(view.losses(mine, u64::MAX, 99).unwrap(), []);
    assert_eq!(view.losses(theirs, 0, 99).unwrap(), [loss(6)]);
}
