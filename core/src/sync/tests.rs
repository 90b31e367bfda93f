//! The machine driven by hand: no time, no network.

use super::*;
use crate::id::OpId;

/// A machine with a clock and a memory of what it asked for.
struct World {
    machine: Machine,
    now: i64,
    log: Vec<Action>,
}

impl World {
    fn new(live: bool) -> World {
        let settings = Settings {
            live,
            ..Settings::default()
        };
        World {
            machine: Machine::new(settings, 7),
            now: 1_000_000,
            log: Vec::new(),
        }
    }

    fn started(live: bool) -> World {
        let mut world = World::new(live);
        world.tell(Event::Started {
            pending: false,
            bootstrap: Phase::None,
        });
        world.tell(Event::Token { expires: None });
        world
    }

    fn tell(&mut self, event: Event) -> Vec<Action> {
        let actions = self.machine.handle(self.now, event);
        self.log.extend(actions.clone());
        actions
    }

    fn page(&mut self) -> Vec<Action> {
        self.tell(Event::Answered(Answer::Page {
            has_more: false,
            sendable: false,
            take_snapshot: false,
        }))
    }

    fn fail(&mut self, status: u16, code: &str) -> Vec<Action> {
        self.tell(Event::Answered(Answer::Failed {
            status,
            code: code.to_owned(),
            retry_after: None,
        }))
    }

    /// Sleeps until the machine wants to be woken, and wakes it.
    fn sleep(&mut self) -> Vec<Action> {
        self.now = self
            .machine
            .next_wake(self.now)
            .expect("the machine rests with nothing armed");
        let actions = self.tell(Event::Wake);
        // Woken for nothing and to be woken again at once, a device would spin.
        assert!(
            !actions.is_empty() || self.machine.next_wake(self.now) != Some(self.now),
            "woken for nothing"
        );
        actions
    }

    fn state(&self) -> (State, Cause) {
        let status = self.machine.status(self.now);
        (status.state, status.cause)
    }
}

fn request(actions: &[Action]) -> Option<&Plan> {
    actions.iter().find_map(|a| match a {
        Action::Request(plan) => Some(plan),
        _ => None,
    })
}

fn count(log: &[Action], action: &Action) -> usize {
    log.iter().filter(|a| *a == action).count()
}

#[test]
fn who_is_blocked_is_not_woken_for_a_live_socket() {
    let mut world = World::started(true);
    world.tell(Event::LiveClosed {
        status: 404,
        code: "not_found".to_owned(),
        retry_after: None,
    });
    world.fail(404, "not_found");
    assert_eq!(world.state(), (State::Blocked, Cause::NoWorkspace));
    let blocked = world.now;
    // Whatever else was due before then would have come and changed nothing.
    let actions = world.sleep();
    assert_eq!(world.now - blocked, Settings::default().slow);
    assert!(request(&actions).is_some() && actions.contains(&Action::OpenLive));
}

#[test]
fn connecting_asks_for_a_token_once_then_syncs() {
    let mut world = World::new(false);
    let actions = world.tell(Event::Started {
        pending: true,
        bootstrap: Phase::None,
    });
    assert_eq!(count(&actions, &Action::AskToken), 1);
    assert!(request(&actions).is_none());
    world.tell(Event::SyncNow);
    assert_eq!(
        count(&world.log, &Action::AskToken),
        1,
        "one call at a time"
    );
    let actions = world.tell(Event::Token { expires: None });
    assert!(request(&actions).is_some_and(|plan| plan.max_ops > 0));
    assert_eq!(world.state(), (State::Syncing, Cause::None));
    world.page();
    assert_eq!(world.state(), (State::Idle, Cause::None));
}

#[test]
fn automatic_syncs_keep_a_distance_and_explicit_ones_do_not() {
    let mut world = World::started(false);
    world.page();
    world.now += 10;
    assert!(request(&world.tell(Event::LocalWrite)).is_none());
    assert_eq!(world.state(), (State::Waiting, Cause::Pacing));
    assert!(request(&world.tell(Event::SyncNow)).is_some());
    world.page();
    world.tell(Event::LocalWrite);
    let before = world.now;
    assert!(request(&world.sleep()).is_some());
    assert_eq!(world.now - before, 5_000);
}

#[test]
fn without_live_it_polls_every_thirty_seconds() {
    let mut world = World::started(false);
    world.page();
    let before = world.now;
    assert!(request(&world.sleep()).is_some());
    assert_eq!(world.now - before, 30_000);
}

#[test]
fn where_no_socket_is_offered_it_polls_says_so_and_asks_again_on_another_network() {
    let mut world = World::started(true);
    world.page();
    assert_eq!(count(&world.log, &Action::OpenLive), 1);
    assert!(!world.machine.status(world.now).polling);
    let told = world.tell(Event::LiveNotOffered);
    assert!(told.contains(&Action::Report), "{told:?}");
    assert!(world.machine.status(world.now).polling);
    for _ in 0..3 {
        let before = world.now;
        assert!(request(&world.sleep()).is_some());
        assert_eq!(world.now - before, 30_000);
        world.page();
    }
    world.tell(Event::SyncNow);
    world.page();
    assert_eq!(count(&world.log, &Action::OpenLive), 1);
    world.tell(Event::Network { online: true });
    assert_eq!(count(&world.log, &Action::OpenLive), 2);
}

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
fn with_live_up_writes_go_at_once_and_an_idle_hour_is_heartbeats_only() {
    let mut world = World::started(true);
    assert_eq!(count(&world.log, &Action::OpenLive), 1);
    world.page();
    assert!(
        request(&world.tell(Event::LiveOpened)).is_some(),
        "a gap may be behind the opening"
    );
    world.page();
    assert!(request(&world.tell(Event::LocalWrite)).is_some());
    world.page();
    let (end, mut beats) = (world.now + 3_600_000, 0);
    world.log.clear();
    loop {
        let actions = world.sleep();
        if world.now > end {
            break;
        }
        assert!(actions.iter().all(|a| *a == Action::Ping), "{actions:?}");
        beats += 1;
        world.tell(Event::LiveAlive);
    }
    assert!((115..=121).contains(&beats), "{beats}");
}

#[test]
fn a_half_open_socket_is_closed_and_opened_again() {
    let mut world = World::started(true);
    world.page();
    world.tell(Event::LiveOpened);
    world.page();
    for _ in 0..10 {
        world.sleep();
        if world.log.contains(&Action::CloseLive) {
            break;
        }
    }
    assert!(world.log.contains(&Action::CloseLive));
    assert!(count(&world.log, &Action::OpenLive) >= 2);
}

#[test]
fn ten_minutes_of_401_are_two_token_calls() {
    let mut world = World::started(true);
    let end = world.now + 600_000;
    for _ in 0..1_000 {
        let actions = world.fail(401, "unauthorized");
        if actions.contains(&Action::AskToken) {
            world.tell(Event::Token { expires: None });
        }
        if world.state().0 == State::Syncing {
            continue;
        }
        match world.machine.next_wake(world.now) {
            Some(at) if at < end => world.sleep(),
            _ => break,
        };
    }
    assert_eq!(count(&world.log, &Action::AskToken), 2);
    assert_eq!(world.state(), (State::Blocked, Cause::TokenNeeded));
    assert!(
        world.machine.next_wake(world.now).is_some(),
        "never for ever"
    );
    assert!(
        world.tell(Event::TokenChanged).contains(&Action::AskToken),
        "the app's word starts it at once"
    );
}

#[test]
fn a_token_is_refreshed_before_it_expires() {
    let mut world = World::started(false);
    world.page();
    world.tell(Event::TokenChanged);
    world.tell(Event::Token {
        expires: Some(world.now + 100_000),
    });
    world.page();
    let calls = count(&world.log, &Action::AskToken);
    world.now += 50_000;
    world.tell(Event::Wake);
    assert_eq!(count(&world.log, &Action::AskToken), calls + 1);
}

/// Every failure leaves a named cause and something armed.
#[test]
fn no_answer_stops_it_for_ever() {
    let codes = [
        "",
        "wrong_account",
        "not_found",
        "history_changed",
        "busy",
        "malformed",
        "forbidden",
        "upgrade_required",
    ];
    for status in [
        0, 200, 204, 301, 302, 307, 400, 401, 402, 403, 404, 405, 408, 409, 413, 415, 422, 426,
        429, 500, 502, 503, 504, 599,
    ] {
        for code in codes {
            let mut world = World::started(true);
            for _ in 0..6 {
                world.fail(status, code);
                world.tell(Event::Token { expires: None });
                let (state, cause) = world.state();
                assert!(state != State::Idle || cause == Cause::None);
                if !matches!(state, State::Syncing | State::Bootstrapping) {
                    assert_ne!(
                        cause,
                        Cause::None,
                        "{status} {code}: {state:?} without a cause"
                    );
                }
                for _ in 0..50 {
                    if matches!(world.state().0, State::Syncing)
                        || request(&world.log[world.log.len().saturating_sub(4)..]).is_some()
                    {
                        break;
                    }
                    world.sleep();
                }
            }
            world.tell(Event::SyncNow);
            world.tell(Event::Token { expires: None });
        }
    }
}

#[test]
fn an_explicit_sync_resets_the_backoff() {
    let mut world = World::started(false);
    for _ in 0..8 {
        world.fail(0, "");
        world.sleep();
    }
    world.fail(0, "");
    assert_eq!(world.state(), (State::Waiting, Cause::Unreachable));
    assert!(
        world
            .machine
            .next_wake(world.now)
            .is_some_and(|at| at - world.now > 30_000)
    );
    assert!(request(&world.tell(Event::SyncNow)).is_some());
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
            world.fail(500, "internal")
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
fn a_changed_history_is_set_aside_once_and_bootstrapped() {
    let mut world = World::started(false);
    let actions = world.fail(409, "history_changed");
    assert!(actions.contains(&Action::SetAside) && actions.contains(&Action::BeginBootstrap));
    let plan = request(&world.sleep()).cloned().expect("a snapshot");
    assert_eq!(plan.purpose, Purpose::Snapshot);
    let actions = world.tell(Event::Answered(Answer::SnapshotComplete));
    assert_eq!(request(&actions).map(|p| p.purpose), Some(Purpose::CatchUp));
    let actions = world.page();
    assert_eq!(
        request(&actions).map(|p| p.purpose),
        Some(Purpose::AskFates)
    );
    let actions = world.tell(Event::Answered(Answer::Swapped { sendable: true }));
    assert!(request(&actions).is_some_and(|p| p.purpose == Purpose::Sync && p.max_ops > 0));
    assert_eq!(count(&world.log, &Action::SetAside), 1);
}

#[test]
fn a_bootstrap_that_could_not_begin_is_asked_for_again() {
    let mut world = World::started(false);
    world.fail(409, "history_changed");
    world.tell(Event::BootstrapNotBegun);
    assert_eq!(world.state(), (State::Waiting, Cause::StorageFailed));
    let plan = request(&world.sleep()).cloned().expect("a sync");
    assert_eq!(plan.purpose, Purpose::Sync);
    world.fail(409, "history_changed");
    assert_eq!(count(&world.log, &Action::SetAside), 2);
}

#[test]
fn stops_are_named_and_resume_starts_at_once() {
    let mut world = World::started(true);
    assert!(world.tell(Event::Pause).contains(&Action::Abandon));
    assert_eq!(world.state(), (State::Stopped, Cause::Paused));
    assert_eq!(world.machine.next_wake(world.now), None);
    assert!(request(&world.tell(Event::Resume)).is_some());
    assert!(world.tell(Event::Suspend).contains(&Action::Release));
    assert_eq!(world.state(), (State::Stopped, Cause::Suspended));
    assert!(request(&world.tell(Event::SyncNow)).is_none());
    assert!(request(&world.tell(Event::Resume)).is_some());
    world.tell(Event::Close);
    assert_eq!(world.state(), (State::Stopped, Cause::Closed));
    assert!(world.tell(Event::Resume).is_empty());
}

#[test]
fn without_a_network_nothing_is_tried_and_its_return_starts_at_once() {
    let mut world = World::started(false);
    world.fail(0, "");
    world.tell(Event::Network { online: false });
    assert_eq!(world.state(), (State::Waiting, Cause::NoNetwork));
    assert!(request(&world.tell(Event::LocalWrite)).is_none());
    assert!(request(&world.tell(Event::Network { online: true })).is_some());
}

const STANDBY: Event = Event::Standby {
    cause: Cause::OtherProcess,
};

#[test]
fn what_comes_due_without_a_network_wakes_nobody() {
    let mut refused = World::started(false);
    refused.tell(Event::NoToken);
    let mut blocked = World::started(false);
    blocked.fail(404, "not_found");
    for world in [&mut refused, &mut blocked] {
        assert!(world.machine.next_wake(world.now).is_some());
        world.tell(Event::Network { online: false });
        world.now += 3_600_000;
        assert_eq!(world.machine.next_wake(world.now), None, "it would spin");
        assert!(!world.tell(Event::Network { online: true }).is_empty());
    }
}

#[test]
fn while_another_process_syncs_nothing_is_sent_and_nothing_is_armed() {
    let mut world = World::started(true);
    world.page();
    let actions = world.tell(STANDBY);
    assert!(actions.contains(&Action::Report), "{actions:?}");
    assert_eq!(world.state(), (State::Waiting, Cause::OtherProcess));
    for event in [
        Event::LocalWrite,
        Event::SyncNow,
        Event::Foreground,
        Event::Network { online: true },
        Event::TokenChanged,
        Event::Resume,
        Event::Wake,
    ] {
        let actions = world.tell(event.clone());
        assert!(
            request(&actions).is_none() && !actions.contains(&Action::AskToken),
            "{event:?}: {actions:?}"
        );
        assert_eq!(world.machine.next_wake(world.now), None, "{event:?}");
    }
    let actions = world.tell(Event::Started {
        pending: true,
        bootstrap: Phase::None,
    });
    assert!(actions.contains(&Action::AskToken), "{actions:?}");
    let actions = world.tell(Event::Token { expires: None });
    assert_eq!(request(&actions).map(|plan| plan.max_ops > 0), Some(true));
}

#[test]
fn an_election_lost_abandons_the_request_and_never_reopens_a_closed_connection() {
    let mut world = World::started(false);
    assert_eq!(world.tell(STANDBY).first(), Some(&Action::Abandon));
    world.tell(Event::Close);
    world.tell(Event::Started {
        pending: true,
        bootstrap: Phase::None,
    });
    assert_eq!(world.state(), (State::Stopped, Cause::Closed));
    world.tell(STANDBY);
    assert_eq!(world.state(), (State::Stopped, Cause::Closed));
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
