use driftline_core::fold::BaseImage;
use driftline_core::id::{DocumentId, OpId};
use driftline_core::protocol::{ChainHash, Cursor};

use super::{Fixture, fixture};
use crate::storage::{Origin, StorageError};

fn queued(db: &Fixture) -> Vec<OpId> {
    let raw = db.raw();
    let mut statement = raw
        .prepare("SELECT op_id FROM _dl_outbox ORDER BY op_id")
        .unwrap();
    let ids = statement
        .query_map([], |row| Ok(OpId(row.get(0)?)))
        .unwrap();
    ids.map(|id| id.unwrap()).collect()
}

/// A bird whose insert the sender has taken, so that what follows stands alone.
fn bird(db: &Fixture) -> String {
    let id = db
        .write(|tx| tx.insert("birds", [("species", "Adelie")]))
        .unwrap()
        .to_string();
    db.storage().set_in_flight(&queued(db));
    db.storage().set_in_flight(&[]);
    id
}

fn set(db: &Fixture, id: &str, fields: &[(&'static str, i64)]) {
    db.write(|tx| tx.update("birds", id, fields.iter().copied()))
        .unwrap();
}

#[test]
fn a_field_saved_at_every_keystroke_is_one_op() {
    let db = fixture();
    let id = bird(&db);
    let insert = queued(&db);
    for n in 0..20 {
        set(&db, &id, &[("mass", n)]);
    }
    let (ids, ops) = (queued(&db), db.ops());
    assert_eq!(ids.len(), 2);
    assert_eq!(ops[1].covers.len(), 19);
    assert_eq!(
        ops[1].changes[0].prev,
        Some(insert[0]),
        "it took the place of the first"
    );
    assert!(ops[1].covers.iter().all(|covered| *covered < ids[1]));
    let stored = db
        .storage()
        .read(|tx| tx.load(1, &DocumentId::new(id.as_str()).unwrap()))
        .unwrap()
        .unwrap();
    assert_eq!(stored.pending, Some(ids[1]));
    assert_eq!(stored.image, Some(BaseImage::Absent));
}

#[test]
fn only_what_is_written_again_in_full_is_superfluous() {
    let db = fixture();
    let id = bird(&db);
    set(&db, &id, &[("mass", 1), ("seen_at", 1)]);
    set(&db, &id, &[("mass", 2)]);
    set(&db, &id, &[("mass", 3), ("seen_at", 3)]);
    let ops = db.ops();
    assert_eq!(
        ops.len(),
        3,
        "the second does not say all of the first, the third all of the second"
    );
    assert_eq!(ops[2].covers.len(), 1);
    db.write(|tx| tx.increment("birds", &id, "sightings", 1))
        .unwrap();
    db.write(|tx| tx.increment("birds", &id, "sightings", 1))
        .unwrap();
    assert_eq!(db.ops().len(), 5, "increments are never joined");
}

#[test]
fn an_op_that_was_handed_out_is_never_touched() {
    let db = fixture();
    let id = bird(&db);
    set(&db, &id, &[("mass", 1)]);
    let ids = queued(&db);
    let chosen = db.storage().hand_out(|| Ok(((), ids.clone()))).is_ok();
    assert!(chosen && db.storage().is_in_flight(ids[1]));
    db.storage().set_in_flight(&[]);
    set(&db, &id, &[("mass", 2)]);
    assert_eq!(&queued(&db)[..2], &ids);
    assert_eq!(queued(&db).len(), 3);
}

#[test]
fn an_op_of_an_earlier_opening_is_never_touched() {
    let db = fixture();
    let id = bird(&db);
    set(&db, &id, &[("mass", 1)]);
    let db = db.reopen(super::SCHEMA).unwrap();
    set(&db, &id, &[("mass", 2)]);
    assert_eq!(queued(&db).len(), 3);
    set(&db, &id, &[("mass", 3)]);
    assert_eq!(queued(&db).len(), 3);
}

#[test]
fn nothing_is_joined_across_a_page() {
    let db = fixture();
    let id = bird(&db);
    set(&db, &id, &[("mass", 1)]);
    db.storage()
        .write_tx(Origin::Remote, |tx| {
            tx.set_cursor(Cursor {
                version: 7,
                hash: ChainHash::default(),
            })
        })
        .unwrap();
    set(&db, &id, &[("mass", 2)]);
    let ops = db.ops();
    assert_eq!(ops.iter().map(|op| op.base).collect::<Vec<_>>(), [0, 0, 7]);
    assert!(ops[2].covers.is_empty());
}

#[test]
fn a_rolled_back_write_takes_nothing_out() {
    let db = fixture();
    let id = bird(&db);
    set(&db, &id, &[("mass", 1)]);
    let before = queued(&db);
    let failed: Result<(), StorageError> = db.storage().write_tx(Origin::Local, |tx| {
        let mut write = crate::storage::LocalWrite::new(tx);
        let mut change = driftline_core::op::Change::new(
            1,
            DocumentId::new(id.as_str()).unwrap(),
            Default::default(),
        );
        change.registers.insert(3, 5.into());
        write.apply(change)?;
        assert!(write.finish()?.unwrap().absorbed.is_some());
        Err(StorageError::Internal("after all".to_owned()))
    });
    assert!(failed.is_err());
    assert_eq!(queued(&db), before);
    // The sender is not kept off any more.
    db.storage().set_in_flight(&before);
    assert_eq!(
        db.get("birds", &id).unwrap().unwrap().integer("mass"),
        Some(1)
    );
}

#[test]
fn ids_go_on_after_the_queue_has_drained_and_the_clock_gone_back() {
    let db = fixture();
    bird(&db);
    let newest = queued(&db)[0];
    let far = OpId::next(newest.millis() + 3_600_000, [0; 10], None);
    db.storage()
        .write_tx(Origin::Remote, |tx| {
            tx.conn().execute("DELETE FROM _dl_outbox", [])?;
            tx.touch_queue();
            tx.set_meta(crate::storage::meta::key::FLOOR, &far.0[..])
        })
        .unwrap();
    bird(&db);
    assert!(queued(&db)[0] > far);
}
