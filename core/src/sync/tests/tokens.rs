//! A token ends while several things are under way with it.

use super::*;

fn closed(status: u16) -> Event {
    Event::LiveClosed {
        status,
        code: String::new(),
        retry_after: None,
    }
}

/// A request and a socket, both under way with the first token.
fn both_under_way() -> World {
    let world = World::started(true);
    assert!(request(&world.log).is_some());
    assert_eq!(count(&world.log, &Action::OpenLive), 1);
    world
}

#[test]
fn a_sockets_late_401_does_not_count_against_the_token_that_came_since() {
    let mut world = both_under_way();
    assert!(world.fail(401, "unauthorized").contains(&Action::AskToken));
    world.tell(Event::Token { expires: None });
    assert_eq!(world.state(), (State::Syncing, Cause::None));
    world.tell(closed(401));
    assert_eq!(world.state(), (State::Syncing, Cause::None));
    world.page();
    assert_eq!(world.state(), (State::Idle, Cause::None));
    assert_eq!(count(&world.log, &Action::AskToken), 2);
    // The socket is opened again, with the token there is; that one's 401 counts.
    world.sleep();
    assert_eq!(count(&world.log, &Action::OpenLive), 2);
    assert!(world.tell(closed(401)).contains(&Action::AskToken));
}

#[test]
fn a_requests_late_401_does_not_count_against_the_token_that_came_since() {
    let mut world = both_under_way();
    assert!(world.tell(closed(401)).contains(&Action::AskToken));
    world.tell(Event::Token { expires: None });
    let actions = world.fail(401, "unauthorized");
    assert!(request(&actions).is_some(), "tried at once: {actions:?}");
    world.page();
    assert_eq!(world.state(), (State::Idle, Cause::None));
    assert_eq!(count(&world.log, &Action::AskToken), 2);
}

/// What succeeds with the old token does not prove the new one, which may be refused once and is then
/// refused for good.
#[test]
fn a_late_success_does_not_prove_the_token_that_came_since() {
    let mut world = both_under_way();
    world.tell(closed(401));
    world.tell(Event::Token { expires: None });
    world.page();
    let actions = world.tell(Event::SyncNow);
    assert!(request(&actions).is_some());
    world.fail(401, "unauthorized");
    assert_eq!(world.state(), (State::Blocked, Cause::TokenNeeded));
}

/// A socket keeps the token it was opened with: a backend that looks at it with each request refuses
/// those, however fresh the token is that the app has given since.
#[test]
fn a_socket_that_carries_an_old_token_is_closed_when_that_is_refused() {
    let mut world = both_under_way();
    world.page();
    world.tell(Event::LiveOpened);
    world.page();
    world.tell(Event::TokenChanged);
    world.tell(Event::Token { expires: None });
    world.machine.sent_by_socket();
    let actions = world.fail(401, "unauthorized");
    assert!(actions.contains(&Action::CloseLive) && request(&actions).is_some());
    assert_eq!(count(&world.log, &Action::OpenLive), 2);
    world.page();
    assert_eq!(world.state(), (State::Idle, Cause::None));
}

#[test]
fn a_token_that_cannot_be_sent_is_named_and_asked_for_again() {
    let mut world = World::new(true);
    world.tell(Event::Started {
        pending: true,
        bootstrap: Phase::None,
    });
    assert!(request(&world.tell(Event::BadToken)).is_none());
    assert_eq!(world.state(), (State::Blocked, Cause::BadToken));
    assert!(world.sleep().contains(&Action::AskToken));
    assert!(request(&world.tell(Event::Token { expires: None })).is_some());
}
