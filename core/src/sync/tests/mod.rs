//! The machine driven by hand: no time, no network.

mod ops;
mod stops;
mod tokens;

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
        world.tell(STARTED);
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

    /// Gives the tokens asked for since the log was so long.
    fn answer_tokens(&mut self, from: usize) {
        if self.log.iter().skip(from).any(|a| *a == Action::AskToken) {
            self.tell(Event::Token { expires: None });
        }
    }

    /// The request asked for since then.
    fn asked_since(&self, from: usize) -> Option<&Action> {
        let mut since = self.log.iter().skip(from);
        since.find(|a| matches!(a, Action::Request(_)))
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

/// Each of somebody's snapshots is taken back in its middle.
#[test]
fn a_bootstrap_that_leads_nowhere_again_and_again_waits_longer_each_time() {
    let mut world = World::started(false);
    world.fail(409, "history_changed");
    let mut actions = world.sleep();
    let mut waits = Vec::new();
    for _ in 0..8 {
        let began = world.now;
        while request(&actions).is_none() {
            actions = world.sleep();
        }
        let plan = request(&actions).cloned().expect("a snapshot");
        assert_eq!(plan.purpose, Purpose::Snapshot);
        waits.push(world.now - began);
        actions = world.tell(Event::Answered(Answer::Page {
            has_more: false,
            sendable: true,
            take_snapshot: true,
        }));
    }
    assert_eq!(waits[1], 0, "the first time at once: {waits:?}");
    assert!(waits[2] > 0 && waits[7] >= 4 * waits[2], "{waits:?}");
    assert_eq!(world.state().1, Cause::NotDriftline);
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

const STARTED: Event = Event::Started {
    pending: false,
    bootstrap: Phase::None,
};

const STANDBY: Event = Event::Standby {
    cause: Cause::OtherProcess,
};
