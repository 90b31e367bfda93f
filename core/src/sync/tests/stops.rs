//! What it rests in, and what it does not wake for meanwhile.

use super::*;

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
fn stops_are_named_and_resume_starts_at_once() {
    let mut world = World::started(true);
    assert!(world.tell(Event::Pause).contains(&Action::Abandon));
    assert_eq!(world.state(), (State::Stopped, Cause::Paused));
    assert_eq!(world.machine.next_wake(world.now), None);
    assert!(request(&world.tell(STARTED)).is_some());
    assert!(world.tell(Event::Suspend).contains(&Action::Release));
    assert_eq!(world.state(), (State::Stopped, Cause::Suspended));
    assert!(request(&world.tell(Event::SyncNow)).is_none());
    assert!(request(&world.tell(STARTED)).is_some());
    world.tell(Event::Close);
    assert_eq!(world.state(), (State::Stopped, Cause::Closed));
    assert!(world.tell(STARTED).is_empty());
}

/// It waited out what had failed before it was suspended, for up to minutes, and said that it was idle
/// (seed 977 of the simulated worlds).
#[test]
fn who_resumes_does_not_wait_for_what_failed_before() {
    for stop in [Event::Pause, Event::Suspend] {
        let mut world = World::started(false);
        for _ in 0..6 {
            world.fail(503, "");
            world.sleep();
        }
        world.fail(503, "");
        world.tell(stop);
        world.now += 1;
        assert!(request(&world.tell(STARTED)).is_some());
        // The same where another process has to end first.
        world.fail(503, "");
        world.tell(Event::Suspend);
        world.tell(STANDBY);
        assert!(request(&world.tell(STARTED)).is_some());
    }
}

#[test]
fn who_is_elected_again_waits_on_and_says_for_what() {
    let mut world = World::started(false);
    world.fail(0, "");
    let waits = world.state();
    assert_eq!(waits, (State::Waiting, Cause::Unreachable));
    world.tell(STANDBY);
    assert!(request(&world.tell(STARTED)).is_none());
    assert_eq!(world.state(), waits);
    assert!(request(&world.sleep()).is_some());
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
                // What is asked for from here on.
                let from = world.log.len();
                world.fail(status, code);
                world.answer_tokens(from);
                let (state, cause) = world.state();
                assert!(state != State::Idle || cause == Cause::None);
                if !matches!(state, State::Syncing | State::Bootstrapping) {
                    assert_ne!(
                        cause,
                        Cause::None,
                        "{status} {code}: {state:?} without a cause"
                    );
                }
                let mut woken = 0;
                while world.asked_since(from).is_none() {
                    assert!(woken < 50, "{status} {code}: woken for nothing");
                    woken += 1;
                    let at = world.log.len();
                    world.sleep();
                    world.answer_tokens(at);
                }
            }
        }
    }
}
