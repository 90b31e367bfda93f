//! Many rows in one transaction: a store may gather them and write them elsewhere, which nobody sees.

use driftline_core::merge::Verdict;

use super::*;

/// More than any store keeps back before it writes.
const MANY: u64 = 2_000;

/// The state of a document that this version wrote.
fn state(version: u64) -> Vec<u8> {
    minicbor::to_vec(DocumentState::opened(op(version), version)).unwrap()
}

fn record(version: u64) -> Record {
    Record {
        account: "ann".to_owned(),
        verdict: Verdict::Accepted(version),
        covers: vec![],
        links: vec![],
    }
}

/// Appends versions as a push of many ops does: nothing is read between them.
fn push(tx: &mut (dyn Transaction + '_), versions: std::ops::Range<u64>) {
    let author = tx.author(&author()).unwrap();
    let mut cursor = tx.head().unwrap().cursor;
    for version in versions {
        cursor = put(tx, author, cursor, version);
    }
}

/// The document that a version writes: every third writes one once more that an earlier one wrote.
fn written_by(version: u64) -> DocumentId {
    match version % 3 {
        0 => document(&format!("d{:05}", version - 1)),
        _ => document(&format!("d{version:05}")),
    }
}

fn put(
    tx: &mut (dyn Transaction + '_),
    author: AuthorNumbers,
    before: Cursor,
    version: u64,
) -> Cursor {
    let cursor = before.next(&state(version));
    let document = written_by(version);
    let new = NewDocument {
        collection: 1,
        document: &document,
        state: &state(version),
        body: Some("{\"é\":1}"),
        version,
    };
    tx.put_document(&new).unwrap();
    let touched = [Touch {
        collection: 1,
        document: &document,
        kind: ChangeKind::Insert,
        previous: None,
    }];
    tx.append(&NewVersion {
        cursor,
        op: op(version),
        author,
        base: version - 1,
        schema: 1,
        written: 10,
        at: 20,
        touched: &touched,
        entry: &state(version),
    })
    .unwrap();
    tx.put_record(op(version), author.account, &record(version))
        .unwrap();
    cursor
}

fn check(view: &mut (dyn Snapshot + '_), last: u64) {
    assert_eq!(view.head().unwrap().cursor.version, last);
    let mut expected = 1;
    view.log(0, &mut |row| {
        assert_eq!(row.cursor.version, expected);
        assert_eq!(row.entry, state(expected));
        expected += 1;
        true
    })
    .unwrap();
    assert_eq!(expected, last + 1);
    for version in 1..=last {
        assert_eq!(view.record(op(version)).unwrap(), Some(record(version)));
        let again = version % 3 == 2 && version < last;
        let found = view.document(1, &document(&format!("d{version:05}")));
        let expected = match version % 3 {
            0 => None,
            _ => Some(version + u64::from(again)),
        };
        assert_eq!(found.unwrap().map(|state| state.version), expected);
    }
}

pub(crate) fn many_rows_are_seen_as_if_written_one_by_one(harness: &dyn Harness) {
    let workspace = workspace(&harness.open());
    let mut tx = workspace.begin().unwrap();
    push(&mut *tx, 1..MANY + 1);
    check(&mut *tx, MANY);
    push(&mut *tx, MANY + 1..MANY + 4);
    tx.commit().unwrap();
    check(&mut *workspace.read().unwrap(), MANY + 3);
}

/// What was just put is read, however much of it is in the file by then: a document, its next state, and
/// what was decided about the op.
pub(crate) fn a_row_is_read_as_soon_as_it_is_put(harness: &dyn Harness) {
    let workspace = workspace(&harness.open());
    let mut tx = workspace.begin().unwrap();
    let author = tx.author(&author()).unwrap();
    let mut cursor = tx.head().unwrap().cursor;
    let last = MANY / 4;
    for version in 1..=last {
        cursor = put(&mut *tx, author, cursor, version);
        let read = match version % 7 {
            // Some are read long after.
            0..3 => version,
            _ => version.div_ceil(2),
        };
        assert_eq!(tx.record(op(read)).unwrap(), Some(record(read)));
        let found = tx.document(1, &written_by(read)).unwrap().unwrap();
        let again = read % 3 == 2 && read < version;
        assert_eq!(found.version, if again { read + 1 } else { read });
    }
    check(&mut *tx, last);
    tx.commit().unwrap();
}

pub(crate) fn many_rows_are_undone_wherever_they_are(harness: &dyn Harness) {
    let workspace = workspace(&harness.open());
    let mut tx = workspace.begin().unwrap();
    tx.begin_part().unwrap();
    push(&mut *tx, 1..10);
    tx.end_part(true).unwrap();
    tx.begin_part().unwrap();
    push(&mut *tx, 10..MANY);
    tx.end_part(false).unwrap();
    check(&mut *tx, 9);
    tx.commit().unwrap();
    // Those of a transaction that is dropped, as a panic does it, wait for nobody.
    let mut tx = workspace.begin().unwrap();
    push(&mut *tx, 10..MANY);
    drop(tx);
    let mut tx = workspace.begin().unwrap();
    check(&mut *tx, 9);
    push(&mut *tx, 10..13);
    tx.commit().unwrap();
    check(&mut *workspace.read().unwrap(), 12);
}

pub(crate) fn a_row_that_cannot_be_written_is_told_before_the_part_ends(harness: &dyn Harness) {
    for count in [3, MANY] {
        let workspace = workspace(&harness.open());
        let mut tx = workspace.begin().unwrap();
        tx.begin_part().unwrap();
        push(&mut *tx, 1..count);
        let author = tx.author(&author()).unwrap();
        let again = NewVersion {
            cursor: Cursor {
                version: 1,
                hash: Default::default(),
            },
            op: op(1),
            author,
            base: 0,
            schema: 1,
            written: 10,
            at: 20,
            touched: &[],
            entry: &state(1),
        };
        // Told at once, or with what comes next.
        let told = tx.append(&again).and_then(|()| tx.set_size(1, 1));
        assert!(told.is_err(), "there are two of one version");
        tx.end_part(false).unwrap();
        tx.begin_part().unwrap();
        push(&mut *tx, 1..4);
        tx.end_part(true).unwrap();
        check(&mut *tx, 3);
    }
}
