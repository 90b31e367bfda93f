//! What a crash may take: nothing that was committed, everything that was not.

use super::*;

pub(crate) fn a_crash_leaves_what_was_committed(harness: &dyn Harness) {
    let store = harness.open();
    let running = workspace(&store);
    let mut cursor = Cursor::START;
    for n in 0..5 {
        let mut tx = running.begin().unwrap();
        cursor = append(&mut *tx, &format!("d{n}"));
        tx.commit().unwrap();
        if n == 2 {
            running.checkpoint().unwrap();
        }
    }
    let mut open = running.begin().unwrap();
    append(&mut *open, "never");
    let crashed = harness.after_crash();
    let found = crashed.open(&name("w")).unwrap().unwrap();
    let mut view = found.read().unwrap();
    assert_eq!(view.head().unwrap().cursor, cursor);
    assert!(view.document(1, &document("d4")).unwrap().is_some());
    assert!(view.document(1, &document("never")).unwrap().is_none());
    drop(view);
    let mut tx = found.begin().unwrap();
    append(&mut *tx, "d5");
    tx.commit().unwrap();
}
