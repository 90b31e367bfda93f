//! Many ops at once: read ahead, deleted together, told apart from those of a copy.

use driftline_core::id::OpId;
use driftline_core::protocol::Cursor;

use super::*;
use crate::storage::Origin;

const NOTES: u16 = 1;

fn inserts(device: &mut Device, ids: std::ops::Range<usize>) -> Vec<OpId> {
    let insert = |n: usize| Draft::insert(NOTES, &format!("n{n:03}")).set(1, "text");
    ids.map(|n| device.write(&[insert(n)]).unwrap()).collect()
}

fn world() -> (tempfile::TempDir, Device, Server) {
    let (directory, time) = (tempfile::tempdir().unwrap(), Time::new());
    let device = Device::open(directory.path(), "d", &time, 1);
    let server = Server::new(schema(), time);
    (directory, device, server)
}

#[test]
fn a_page_takes_out_the_ops_it_names_and_no_others() {
    let (_directory, mut d, mut server) = world();
    let ops = inserts(&mut d, 0..40);
    // One in the middle stays behind, in quarantine.
    server.refuse.insert(ops[20]);
    let exchange = d.send(&mut server, 30, 1_000).unwrap();
    d.take(&exchange).unwrap();
    check_device(&d, &server);
    assert_eq!(d.quarantined(), [ops[20]]);
    assert_eq!(d.pending(), &ops[30..]);
    d.sync(&mut server);
    assert_eq!(d.queue().len(), 1);
    assert_eq!(d.cursor(), server.cursor());
    check_healed(std::slice::from_ref(&d), &server);
}

#[test]
fn inserts_are_settled_together_and_what_stands_on_one_of_them_stays_on_top() {
    let (_directory, mut d, mut server) = world();
    let ops = inserts(&mut d, 0..12);
    let exchange = d.send(&mut server, 12, 1_000).unwrap();
    // Written while they are under way.
    let later = d
        .write(&[Draft::update(NOTES, "n005").set(1, "later")])
        .unwrap();
    let applied = d.take(&exchange).unwrap();
    assert_eq!(applied.versions, 12);
    assert_eq!(applied.moved.left, ops);
    assert!(applied.accepted.is_empty(), "each is named by the page");
    assert_eq!(d.pending(), [later]);
    check_device(&d, &server);
    d.sync(&mut server);
    assert!(d.queue().is_empty());
    check_healed(std::slice::from_ref(&d), &server);
}

#[test]
fn an_op_of_a_copy_with_the_same_first_bytes_is_another_op() {
    let (_directory, mut d, _) = world();
    let ops = inserts(&mut d, 0..12);
    let mut other = ops[5];
    other.0[15] ^= 1;
    assert_eq!(other.head(), ops[5].head());
    assert!(!d.discard(other));
    assert!(!d.withdraw_undeliverable(other));
    assert_eq!(d.pending(), ops);
    let read = |id: OpId| {
        let found = d
            .storage
            .read(|tx| crate::storage::queued::read(tx.conn(), id));
        found.unwrap().map(|op| op.id)
    };
    assert_eq!((read(other), read(ops[5])), (None, Some(ops[5])));
}

#[test]
fn first_contact_with_an_empty_workspace_leaves_the_queue_as_it_shows() {
    let (_directory, mut d, mut server) = world();
    let ops = inserts(&mut d, 0..20);
    d.write(&[
        Draft::update(NOTES, "n003").set(1, "again").count(4),
        Draft::delete(NOTES, "n004"),
    ])
    .unwrap();
    d.discard(ops[7]);
    let content = |d: &Device| -> Vec<_> {
        let shown = |n| d.shown(NOTES, &format!("n{n:03}"));
        (0..20).map(shown).collect()
    };
    let before = content(&d);
    d.bootstrap(&mut server);
    assert_eq!(content(&d), before);
    assert_ne!(d.cursor(), Cursor::START);
    check_device(&d, &server);
    d.sync(&mut server);
    check_healed(std::slice::from_ref(&d), &server);
}

#[test]
fn base_is_put_in_place_where_there_was_one_although_the_new_one_is_empty() {
    let (_directory, mut d, mut server) = world();
    inserts(&mut d, 0..3);
    d.sync(&mut server);
    inserts(&mut d, 3..5);
    // The server was set up anew.
    let mut anew = Server::new(schema(), Time::new());
    d.storage
        .write_tx(Origin::Remote, crate::storage::aside::forget_history)
        .unwrap();
    d.bootstrap(&mut anew);
    assert_eq!(d.shown(NOTES, "n001"), None);
    assert!(d.shown(NOTES, "n004").is_some());
    check_device(&d, &anew);
}
