//! Ops that fail, wait alone, or may go ahead of the last answer.

use super::*;

/// The op's answers were lost, and a page named it: nothing is left to try alone.
#[test]
fn an_op_that_left_while_it_waited_alone_holds_up_nobody() {
    let mut world = World::started(false);
    world.page();
    let (op, other) = (OpId([7; 16]), OpId([8; 16]));
    let mut queue = vec![op];
    world.tell(Event::LocalWrite);
    let mut actions = world.tell(Event::SyncNow);
    let mut was_alone = false;
    for _ in 0..20 {
        let plan = loop {
            if let Some(plan) = request(&actions) {
                break plan.clone();
            }
            actions = world.sleep();
        };
        let mut sent = queue.clone();
        sent.retain(|id| match plan.only {
            Some(only) => *id == only,
            None => !plan.set_aside.contains(id),
        });
        sent.truncate(plan.max_ops);
        world.machine.sent(sent.clone());
        was_alone |= plan.set_aside == [op];
        if sent == [other] {
            assert!(was_alone);
            return;
        }
        actions = if sent == [op] {
            world.fail(502, "")
        } else {
            // A pull: the page names the op once it waits alone, and another one is queued.
            if was_alone {
                queue = vec![other];
            }
            world.tell(Event::Answered(Answer::Page {
                has_more: false,
                sendable: true,
                take_snapshot: false,
            }))
        };
    }
    panic!("the other one is never sent");
}

#[test]
fn a_provider_that_fails_is_named_and_its_ops_are_suspect_like_a_server_s() {
    let mut world = World::started(false);
    world.page();
    for (code, cause) in [
        (PROVIDER_FAILED, Cause::ProviderFailed),
        ("internal", Cause::ServerFailed),
    ] {
        world.tell(Event::SyncNow);
        world.fail(500, code);
        let status = world.machine.status(world.now);
        assert_eq!((status.state, status.cause), (State::Waiting, cause));
        assert!(status.retry_in_ms.is_some());
        world.sleep();
        world.page();
    }
}

#[test]
fn pull_goes_on_while_pushing_fails() {
    let mut world = World::started(true);
    world.page();
    world.tell(Event::LiveOpened);
    world.page();
    let ops: Vec<OpId> = (1..=8).map(|n| OpId([n; 16])).collect();
    let plan = request(&world.tell(Event::LocalWrite))
        .cloned()
        .expect("a request");
    assert!(plan.max_ops > 0);
    world.machine.sent(ops);
    let actions = world.fail(500, "internal");
    let plan = request(&actions).expect("a pull at once");
    assert_eq!(plan.max_ops, 0);
}

#[test]
fn a_poison_op_is_isolated_and_withdrawn_while_the_others_drain() {
    poison_is_withdrawn(500, "internal");
}

/// With a live socket nothing else needs to be asked for that could succeed between.
#[test]
fn so_is_an_op_that_something_on_the_way_never_lets_pass() {
    poison_is_withdrawn(0, "");
}

fn poison_is_withdrawn(status: u16, code: &str) {
    let mut world = World::started(true);
    world.page();
    world.tell(Event::LiveOpened);
    world.page();
    let mut queue: Vec<OpId> = (1..=20).map(|n| OpId([n; 16])).collect();
    let poison = queue[6];
    world.tell(Event::LocalWrite);
    let mut pending_plan = world
        .log
        .iter()
        .rev()
        .find_map(|a| request(std::slice::from_ref(a)).cloned());
    for _ in 0..2_000 {
        let plan = match pending_plan.take() {
            Some(plan) => plan,
            None => match request(&world.sleep()).cloned() {
                Some(plan) => plan,
                None => {
                    world.tell(Event::LiveAlive);
                    continue;
                }
            },
        };
        let sent: Vec<OpId> = match plan.only {
            Some(id) => vec![id],
            None => queue
                .iter()
                .copied()
                .filter(|id| !plan.set_aside.contains(id))
                .take(plan.max_ops)
                .collect(),
        };
        world.machine.sent(sent.clone());
        let actions = if sent.contains(&poison) {
            world.fail(status, code)
        } else {
            queue.retain(|id| !sent.contains(id));
            let sendable = queue.iter().any(|id| !plan.set_aside.contains(id));
            world.tell(Event::Answered(Answer::Page {
                has_more: false,
                sendable,
                take_snapshot: false,
            }))
        };
        if actions.contains(&Action::Withdraw(poison)) {
            assert_eq!(queue, [poison], "the others had drained before");
            return;
        }
        pending_plan = request(&actions).cloned();
    }
    panic!("never withdrawn; left {queue:?}");
}

#[test]
fn an_op_whose_time_has_come_wakes_nobody_while_nothing_can_be_sent() {
    let mut world = World::started(false);
    world.page();
    world.tell(Event::LocalWrite);
    for _ in 0..3 {
        let alone = OpId([1; 16]);
        while request(&world.sleep()).is_none() {}
        world.machine.sent(vec![alone]);
        world.fail(0, "");
    }
    // A pull succeeds meanwhile: from here on automatic syncs keep their distance, which is longer
    // than the op's own timer.
    world.tell(Event::SyncNow);
    world.page();
    let (mut now, mut wakes) = (world.now, 0);
    while let Some(at) = world.machine.next_wake(now).filter(|_| wakes < 100) {
        wakes += 1;
        assert!(at > now || wakes == 1, "it wakes at once, again and again");
        now = at;
        if request(&world.machine.handle(now, Event::Wake)).is_some() {
            break;
        }
    }
    // No network: nothing is due, however long it takes.
    world.tell(Event::Answered(Answer::StorageFailed));
    world.tell(Event::Network { online: false });
    assert_eq!(world.machine.next_wake(now + 3_600_000), None);
}

#[test]
fn what_may_go_ahead_is_what_is_asked_for_next() {
    let mut world = World::started(false);
    world.page();
    world.tell(Event::LocalWrite);
    assert!(
        world.machine.ahead(world.now).is_none(),
        "nothing in flight"
    );
    world.tell(Event::SyncNow);
    assert!(world.machine.ahead(world.now).is_none(), "no op in flight");
    world.machine.sent(vec![OpId([1; 16]), OpId([2; 16])]);
    let ahead = world.machine.ahead(world.now);
    let actions = world.tell(Event::Answered(Answer::Page {
        has_more: false,
        sendable: true,
        take_snapshot: false,
    }));
    assert!(ahead.is_some());
    assert_eq!(request(&actions), ahead.as_ref());

    // Whatever else comes of the answer: what was sent ahead is not what is asked for.
    world.machine.sent(vec![OpId([3; 16])]);
    let ahead = world.machine.ahead(world.now);
    assert!(ahead.is_some());
    let actions = world.tell(Event::Answered(Answer::StorageFailed));
    assert!(request(&actions).is_none());
}

#[test]
fn what_is_made_ready_behind_a_bootstrap_is_what_is_asked_for_at_its_end() {
    for pending in [true, false] {
        let mut world = World::new(false);
        world.tell(Event::Started {
            pending,
            bootstrap: Phase::Documents,
        });
        assert!(world.machine.behind_bootstrap(world.now).is_none());
        world.tell(Event::Token { expires: None });
        let ready = world.machine.behind_bootstrap(world.now);
        assert_eq!(ready.is_some(), pending);
        assert!(world.machine.ahead(world.now).is_none(), "it is not sent");
        world.tell(Event::Answered(Answer::SnapshotComplete));
        world.tell(Event::Answered(Answer::Page {
            has_more: false,
            sendable: pending,
            take_snapshot: false,
        }));
        let actions = world.tell(Event::Answered(Answer::Swapped { sendable: pending }));
        if pending {
            assert_eq!(request(&actions), ready.as_ref());
        }
        assert!(world.machine.behind_bootstrap(world.now).is_none());
    }
}

#[test]
fn nothing_goes_ahead_while_an_op_is_suspect_or_nothing_may_be_sent() {
    let mut world = World::started(false);
    world.tell(Event::LocalWrite);
    for _ in 0..2 {
        world.tell(Event::SyncNow);
        world.machine.sent(vec![OpId([1; 16]), OpId([2; 16])]);
        world.fail(500, "");
    }
    world.tell(Event::SyncNow);
    world.machine.sent(vec![OpId([1; 16])]);
    assert!(world.machine.ahead(world.now).is_none(), "a halved batch");

    let mut world = World::started(false);
    world.tell(Event::LocalWrite);
    world.tell(Event::SyncNow);
    world.machine.sent(vec![OpId([1; 16])]);
    world.tell(Event::Network { online: false });
    assert!(world.machine.ahead(world.now).is_none(), "no network");
}
