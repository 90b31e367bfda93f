//! Losses: found in log order, told to the author with what they had before.

use driftline_core::ledger::{Loss, LossRule};
use driftline_core::op::{Change, ChangeKind};
use driftline_core::protocol::{SentOp, When};
use driftline_core::value::Value;

use crate::common::*;

/// A change by a device, written when it stood at `base`.
fn at(device: &mut Client, base: u64, when: u64, change: Change) -> SentOp {
    SentOp::Full {
        id: device.id(),
        when: When::Age(when),
        body: body(base, vec![change]),
    }
}

fn species(document: &str, value: &str) -> Change {
    change(BIRDS, document, ChangeKind::Update, &[(1, value.into())])
}

/// Ann and Bob, both at version 3 of a document: "one", then "two", then another field.
async fn both_at_three(world: &World) -> (Client, Client) {
    let (mut a, mut b) = (world.device("ann"), world.device("bob"));
    let insert = a.insert("d", &[(1, "one".into())]);
    a.sync(vec![insert]).await;
    for fields in [(1, Value::from("two")), (3, Value::Integer(1))] {
        let update = a.update("d", &[fields]);
        a.sync(vec![update]).await;
    }
    b.sync(vec![]).await;
    assert_eq!(b.cursor.version, 3);
    later(world, &mut [&mut a, &mut b]);
    (a, b)
}

/// Ten minutes pass, here and there.
fn later(world: &World, devices: &mut [&mut Client]) {
    world
        .clock
        .0
        .fetch_add(600_000, std::sync::atomic::Ordering::Relaxed);
    for device in devices {
        device.now.mono += 600_000;
    }
}

fn text(value: &Value) -> &str {
    match value {
        Value::Text(text) => text,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_overwritten_value_reaches_its_author_until_acknowledged() {
    let world = World::new();
    let (mut a, mut b) = both_at_three(&world).await;
    let mine = at(&mut a, 3, 1_000, species("d", "ann's"));
    let theirs = at(&mut b, 3, 500, species("d", "bob's"));
    let quiet = a.sync(vec![mine.clone()]).await;
    assert_eq!(quiet.losses, []);
    let winner = b.sync(vec![theirs.clone()]).await;
    assert_eq!(winner.losses, [], "whoever wins lost nothing");
    let told = a.sync(vec![]).await.losses;
    let [loss] = told.as_slice() else {
        panic!("{told:?}")
    };
    assert_eq!(
        (text(&loss.value), text(&loss.base_value)),
        ("ann's", "two")
    );
    assert_eq!(text(&loss.winner_value), "bob's");
    assert_eq!((loss.op, loss.winner), (mine.id(), theirs.id()));
    assert_eq!((loss.rule, loss.field), (LossRule::Overwritten, Some(1)));
    assert_eq!(loss.winner_device, "bob's device");
    assert!(loss.stamp < loss.winner_stamp);
    assert_eq!(loss.at, NOW + 600_000);
    assert_eq!(
        a.sync(vec![]).await.losses,
        told,
        "again, until acknowledged"
    );
    a.losses_ack = loss.number;
    assert_eq!(a.sync(vec![]).await.losses, []);
}

#[tokio::test]
async fn a_write_that_came_too_late_is_told_in_its_own_answer() {
    let world = World::new();
    let (mut a, mut b) = both_at_three(&world).await;
    let theirs = at(&mut b, 3, 0, species("d", "bob's"));
    b.sync(vec![theirs.clone()]).await;
    // Written long ago, before any of the values above: it had seen "one" only.
    let late = at(&mut a, 1, 60_000, species("d", "late"));
    let answer = a.sync(vec![late]).await;
    accepted(&answer.results[0]);
    let [loss] = answer.losses.as_slice() else {
        panic!("{:?}", answer.losses)
    };
    assert_eq!((loss.rule, text(&loss.value)), (LossRule::TooLate, "late"));
    assert_eq!(text(&loss.base_value), "one", "what it had on its screen");
    assert_eq!(
        (text(&loss.winner_value), loss.winner),
        ("bob's", theirs.id())
    );
}

#[tokio::test]
async fn the_base_value_may_be_an_own_write_that_base_did_not_contain() {
    let world = World::new();
    let (mut a, mut b) = both_at_three(&world).await;
    let first = at(&mut a, 3, 2_000, species("d", "ann's first"));
    let mut second = species("d", "ann's second");
    second.prev = Some(first.id());
    let second = at(&mut a, 3, 1_000, second);
    a.sync(vec![first, second]).await;
    let theirs = at(&mut b, 3, 0, species("d", "bob's"));
    b.sync(vec![theirs]).await;
    let losses = a.sync(vec![]).await.losses;
    let [loss] = losses.as_slice() else {
        panic!("{losses:?}")
    };
    assert_eq!(
        (text(&loss.value), text(&loss.base_value)),
        ("ann's second", "ann's first")
    );
}

#[tokio::test]
async fn deletes_and_late_updates_are_losses_of_one_side() {
    let world = World::new();
    let (mut a, mut b) = both_at_three(&world).await;
    let update = at(&mut a, 3, 1_000, species("d", "unseen"));
    a.sync(vec![update]).await;
    let delete = at(&mut b, 3, 500, change(BIRDS, "d", ChangeKind::Delete, &[]));
    b.sync(vec![delete]).await;
    let losses = a.sync(vec![]).await.losses;
    let [loss] = losses.as_slice() else {
        panic!("{losses:?}")
    };
    assert_eq!(
        (loss.rule, text(&loss.value), &loss.winner_value),
        (LossRule::Deleted, "unseen", &Value::Null)
    );
    a.losses_ack = loss.number;
    // The document is gone for an update that comes now, with all it says.
    let mut late = change(BIRDS, "d", ChangeKind::Update, &[(1, "too late".into())]);
    late.increments.insert(4, 2);
    late.adds.insert(5, vec!["x".to_owned()]);
    late.removes.insert(5, vec!["y".to_owned()]);
    let late = at(&mut a, 3, 100, late);
    let losses = a.sync(vec![late]).await.losses;
    let told: Vec<(Option<u16>, String, bool)> = losses
        .iter()
        .map(|l: &Loss| (l.field, serde_json::to_string(&l.value).unwrap(), l.removed))
        .collect();
    let expected = [
        (Some(1), r#""too late""#.to_owned(), false),
        (Some(4), "2".to_owned(), false),
        (Some(5), r#""[\"x\"]""#.to_owned(), false),
        (Some(5), r#""[\"y\"]""#.to_owned(), true),
    ];
    assert_eq!(told, expected);
    assert!(losses.windows(2).all(|w| w[0].number < w[1].number));
    assert!(losses[0].number > a.losses_ack);
}

#[tokio::test]
async fn losses_are_private_to_the_device_and_survive_a_restart() {
    let world = World::new();
    let (mut a, mut b) = both_at_three(&world).await;
    let mine = at(&mut a, 3, 1_000, species("d", "ann's"));
    a.sync(vec![mine]).await;
    let theirs = at(&mut b, 3, 0, species("d", "bob's"));
    b.sync(vec![theirs]).await;
    let before = a.sync(vec![]).await.losses;
    assert_eq!(before.len(), 1);
    // Another account that claims the same device id sees nothing of it.
    let mut thief = world.device("eve");
    thief.device.id = a.device.id.clone();
    assert_eq!(thief.sync(vec![]).await.losses, []);
    assert_eq!(world.device("ann").sync(vec![]).await.losses, []);
    let (device, token) = (a.device.clone(), a.token.clone());
    drop((a, b, thief));
    let world = world.restarted();
    let mut again = Client {
        device,
        token,
        ..world.device("ann")
    };
    assert_eq!(again.sync(vec![]).await.losses, before);
}

#[tokio::test]
async fn more_losses_than_a_page_holds_come_in_pages() {
    let world = World::new();
    let (mut a, mut b) = (world.device("ann"), world.device("bob"));
    let inserts = (0..600)
        .map(|i| a.insert(&format!("d{i}"), &[(1, "base".into())]))
        .collect();
    a.sync(inserts).await;
    b.sync(vec![]).await;
    later(&world, &mut [&mut a, &mut b]);
    let base = b.cursor.version;
    let mine = (0..600)
        .map(|i| at(&mut a, base, 1_000, species(&format!("d{i}"), "a")))
        .collect();
    let theirs = (0..600)
        .map(|i| at(&mut b, base, 0, species(&format!("d{i}"), "b")))
        .collect();
    a.sync(mine).await;
    b.sync(theirs).await;
    let (mut losses, mut more) = (Vec::new(), true);
    while more {
        let answer = a.sync(vec![]).await;
        a.losses_ack = answer
            .losses
            .last()
            .map_or(a.losses_ack, |loss| loss.number);
        losses.extend(answer.losses);
        more = answer.has_more;
    }
    assert_eq!(losses.len(), 600);
    assert!(losses.iter().all(|loss| text(&loss.base_value) == "base"));
}
