//! Texts: edits come back in their order, folds take their place, writers are one account's.

use driftline_core::text::Mark;

use super::*;

fn place(id: &str, field: u16) -> TextPlace {
    TextPlace {
        collection: 1,
        document: document(id),
        field,
    }
}

fn edit(tx: &mut (dyn Transaction + '_), place: &TextPlace, version: u64) {
    let bytes = [version as u8; 3];
    let new = NewEdit {
        version,
        op: op(version),
        writer: 7,
        edit: &bytes,
    };
    tx.append_edit(place, &new).unwrap();
}

fn fold(version: u64) -> NewFold {
    let mark = |writer, last| Mark {
        writer,
        next: 3,
        last: op(last),
        version: last,
    };
    NewFold {
        folded: FoldedState {
            version,
            state: vec![0, version as u8],
            marks: vec![mark(7, version), mark((1 << 53) - 1, 1)],
        },
        deleted: Some(10 * version),
        name: "notes".to_owned(),
        body: r#"{"text":"é","delta":[]}"#.to_owned(),
    }
}

fn tail(text: &StoredText) -> Vec<u64> {
    let versions = text.tail.iter().map(|edit| edit.version);
    versions.collect()
}

pub(crate) fn edits_stay_in_order_until_a_fold_takes_their_place(harness: &dyn Harness) {
    let workspace = workspace(&harness.open());
    let text = place("a", 4);
    let mut tx = workspace.begin().unwrap();
    assert_eq!(tx.text(&text, Piece::ALL).unwrap(), StoredText::default());
    for version in [1, 300, 2] {
        edit(&mut *tx, &text, version);
    }
    // Others beside it, one of them in front of it by their bytes.
    for other in [place("a", 3), place("A", 4), place("ab", 4)] {
        edit(&mut *tx, &other, 5);
    }
    tx.commit().unwrap();
    let mut view = workspace.read().unwrap();
    let stored = view.text(&text, Piece::ALL).unwrap();
    assert_eq!(tail(&stored), [1, 2, 300]);
    assert_eq!(
        (
            stored.tail[1].op,
            stored.tail[1].writer,
            &stored.tail[1].edit
        ),
        (op(2), 7, &vec![2; 3])
    );
    assert!(!stored.more);
    // Three edits of three bytes.
    let mut piece = |edits, bytes| {
        let piece = view.text(&text, Piece { edits, bytes }).unwrap();
        (tail(&piece), piece.more)
    };
    assert_eq!(piece(2, 99), (vec![1, 2], true));
    assert_eq!(piece(3, 99), (vec![1, 2, 300], false));
    assert_eq!(piece(99, 8), (vec![1, 2], true));
    assert_eq!(piece(99, 9), (vec![1, 2, 300], false));
    for (edits, bytes) in [(0, 99), (99, 0), (99, 2), (0, 0), (1, 99)] {
        assert_eq!(piece(edits, bytes), (vec![1], true), "never nothing");
    }
    drop(view);
    let mut tx = workspace.begin().unwrap();
    tx.put_fold(&text, &fold(2)).unwrap();
    tx.commit().unwrap();
    let mut view = workspace.read().unwrap();
    let stored = view.text(&text, Piece::ALL).unwrap();
    assert_eq!(stored.folded, Some(fold(2).folded));
    assert_eq!(tail(&stored), [300]);
    assert_eq!(view.deleted_bytes(&text, 2).unwrap(), 20);
    assert_eq!(
        view.deleted_bytes(&text, 300).unwrap(),
        0,
        "counted at another version"
    );
    assert_eq!(view.deleted_bytes(&place("b", 4), 2).unwrap(), 0);
    assert!(view.is_counted(&text, 2).unwrap());
    assert!(!view.is_counted(&text, 300).unwrap(), "its tail deletes");
    assert!(view.is_counted(&place("b", 4), 2).unwrap(), "no such text");
    drop(view);
    let mut tx = workspace.begin().unwrap();
    tx.put_fold(&text, &fold(300)).unwrap();
    let stored = tx.text(&text, Piece::ALL).unwrap();
    assert_eq!(
        (stored.folded, stored.tail.len()),
        (Some(fold(300).folded), 0)
    );
    tx.drop_text(&text).unwrap();
    assert_eq!(tx.text(&text, Piece::ALL).unwrap(), StoredText::default());
    assert_eq!(
        tail(&tx.text(&place("a", 3), Piece::ALL).unwrap()),
        [5],
        "its neighbour stays"
    );
}

pub(crate) fn texts_with_a_tail_are_found_in_order(harness: &dyn Harness) {
    let workspace = workspace(&harness.open());
    let mut tx = workspace.begin().unwrap();
    assert!(tx.unfolded(None, 9).unwrap().is_empty());
    let places = [place("Z", 9), place("a", 4), place("a", 5), place("é", 1)];
    for (version, place) in (1..).zip(places.iter().rev()) {
        edit(&mut *tx, place, version);
        edit(&mut *tx, place, version + 10);
    }
    assert_eq!(tx.unfolded(None, 9).unwrap(), places);
    assert_eq!(tx.unfolded(Some(&places[1]), 1).unwrap(), places[2..3]);
    tx.set_aside(&places[0], "why").unwrap();
    tx.put_fold(&places[1], &fold(99)).unwrap();
    tx.put_fold(&places[2], &fold(3)).unwrap();
    assert_eq!(tx.unfolded(None, 9).unwrap(), places[2..]);
    let aside = tx.text(&places[0], Piece::ALL).unwrap();
    assert_eq!((aside.aside.as_deref(), aside.tail.len()), (Some("why"), 2));
    // What was folded before stays what it was.
    tx.set_aside(&places[1], "later").unwrap();
    let aside = tx.text(&places[1], Piece::ALL).unwrap();
    assert_eq!(aside.folded, Some(fold(99).folded));
}

pub(crate) fn a_writer_is_whoever_wrote_under_it_first(harness: &dyn Harness) {
    let workspace = workspace(&harness.open());
    let mut tx = workspace.begin().unwrap();
    let ann = tx.author(&author()).unwrap().account;
    let bob = tx
        .author(&Author {
            account: "bob",
            ..author()
        })
        .unwrap()
        .account;
    assert_eq!(tx.writer(7).unwrap(), None);
    tx.put_writer(7, ann).unwrap();
    tx.put_writer(7, bob).unwrap();
    tx.put_writer((1 << 53) - 1, bob).unwrap();
    tx.commit().unwrap();
    let mut view = workspace.read().unwrap();
    assert_eq!(view.writer(7).unwrap().as_deref(), Some("ann"));
    assert_eq!(view.writer((1 << 53) - 1).unwrap().as_deref(), Some("bob"));
    assert_eq!(view.writer(8).unwrap(), None);
}
