//! O12: a device at rest says of itself what lies in its file, and a watched query what is there.

use std::fmt::Debug;

use driftline::{Cause, State, Status};

use super::{FileView, Judgement, object};

const ORACLE: &str = "O12 status";

/// A state goes with the causes that it can have, and whoever waits says when it tries again, unless somebody
/// else has to do something first.
pub fn state_has_its_cause(status: &Status, site: usize) -> Judgement {
    use Cause::{
        AskingToken, Closed, HistoryChanged, NoNetwork, None, OtherProcess, Pacing, Paused,
        StorageFailed, Suspended,
    };
    let Status { state, cause, .. } = status;
    let stops = |cause| matches!(cause, Paused | Suspended | Closed);
    let armed = status.retry_in_ms.is_some();
    let fits = match state {
        State::Disconnected | State::Idle => *cause == None,
        State::Stopped => stops(*cause),
        State::Bootstrapping => matches!(cause, None | HistoryChanged),
        State::Syncing => !stops(*cause) && *cause != Pacing,
        State::Waiting => {
            let others = matches!(
                cause,
                NoNetwork | AskingToken | OtherProcess | StorageFailed
            );
            *cause != None && !stops(*cause) && (armed || others)
        }
        // A request may be on its way all the same.
        State::Blocked => *cause != None && !stops(*cause),
        // One that the worlds do not know of yet is judged by nothing: whoever adds it says here what fits.
        _ => false,
    };
    match fits {
        true => Ok(()),
        false => object(ORACLE, format!("s{site} says {status:?}")),
    }
}

/// A status counts what lies in the file, once that has not changed for a while.
pub fn counts_are_told(status: &Status, view: &FileView, site: usize) -> Judgement {
    let (said, is) = (said(status), there(view));
    match said == is {
        true => Ok(()),
        false => object(
            ORACLE,
            format!(
                "s{site} is {:?}, has said {said:?} (version, pending, quarantined) for a while, and it is \
                 {is:?}",
                status.state
            ),
        ),
    }
}

/// Whoever was told last that nothing came of a request is not done with everything.
pub fn idle_heard_no_failure(status: &Status, failed_last: bool, site: usize) -> Judgement {
    match status.state == State::Idle && failed_last {
        true => object(
            ORACLE,
            format!("s{site} says that all is done, and its last request failed: {status:?}"),
        ),
        false => Ok(()),
    }
}

/// Whoever has been done with everything for a while has nothing queued.
pub fn idle_has_nothing_to_send(status: &Status, view: &FileView, site: usize) -> Judgement {
    let left = view.undecided();
    match status.state == State::Idle && left > 0 {
        true => object(
            ORACLE,
            format!("s{site} has said for long that all is done, and {left} are queued"),
        ),
        false => Ok(()),
    }
}

fn said(status: &Status) -> (u64, u64, u64) {
    (status.version, status.pending, status.quarantined)
}

fn there(view: &FileView) -> (u64, u64, u64) {
    let undecided = view.undecided();
    let quarantined = view.queue.len() - undecided;
    (view.cursor.version, undecided as u64, quarantined as u64)
}

/// Compares a status with the file, where the device says that it is at rest.
pub fn status_tells_the_truth(status: &Status, view: &FileView) -> Judgement {
    if status.state != State::Idle {
        return Ok(());
    }
    let (said, is) = (said(status), there(view));
    match said == is {
        true => Ok(()),
        false => object(
            ORACLE,
            format!("it says {said:?} (version, pending, quarantined), and it is {is:?}"),
        ),
    }
}

/// Compares what an app shows of a query that it watches with what it would show if it asked.
pub fn watched_shows_what_is_there<R: PartialEq + Debug>(
    shown: &R,
    now: &R,
    site: usize,
) -> Judgement {
    match shown == now {
        true => Ok(()),
        false => object(
            ORACLE,
            format!("s{site} watches a query and shows {shown:?}; it is {now:?}"),
        ),
    }
}

/// A process that another one was elected in place of changes nothing of what is synced.
pub fn replaced_changes_nothing(before: &FileView, after: &FileView) -> Judgement {
    let same = before.cursor == after.cursor
        && before.queue == after.queue
        && before.base == after.base
        && before.staging == after.staging;
    match same {
        true => Ok(()),
        false => object(
            ORACLE,
            format!(
                "a process that was replaced went on syncing: from version {} with {} queued to version {} \
                 with {}",
                before.cursor.version,
                before.queue.len(),
                after.cursor.version,
                after.queue.len()
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracles::testing::{update, view_with};

    #[test]
    fn a_watched_query_that_was_not_told_of_a_change_is_refused() {
        assert_eq!(watched_shows_what_is_there(&["a"], &["a"], 0), Ok(()));
        assert!(watched_shows_what_is_there(&["a"], &["b"], 0).is_err());
    }

    #[test]
    fn a_queue_that_a_replaced_process_shortened_is_refused() {
        let before = view_with(&[(1, update("a", "x")), (2, update("a", "y"))]);
        assert_eq!(replaced_changes_nothing(&before, &before.clone()), Ok(()));
        let after = view_with(&[(1, update("a", "x"))]);
        assert!(replaced_changes_nothing(&before, &after).is_err());
        let mut moved = before.clone();
        moved.cursor.version += 1;
        assert!(replaced_changes_nothing(&before, &moved).is_err());
    }

    fn stands(state: State, pending: u64) -> Status {
        let mut status = Status::default();
        (status.state, status.pending) = (state, pending);
        status
    }

    #[test]
    fn a_state_without_its_cause_or_a_wait_without_an_end_is_refused() {
        let says = |state, cause, retry_in_ms| {
            let mut status = stands(state, 0);
            (status.cause, status.retry_in_ms) = (cause, retry_in_ms);
            state_has_its_cause(&status, 0)
        };
        assert_eq!(says(State::Idle, Cause::None, None), Ok(()));
        assert!(says(State::Idle, Cause::Unreachable, None).is_err());
        assert_eq!(says(State::Waiting, Cause::Unreachable, Some(1)), Ok(()));
        assert!(says(State::Waiting, Cause::Unreachable, None).is_err());
        assert_eq!(says(State::Waiting, Cause::NoNetwork, None), Ok(()));
        assert!(says(State::Blocked, Cause::None, None).is_err());
        assert_eq!(says(State::Stopped, Cause::Paused, None), Ok(()));
        assert!(says(State::Stopped, Cause::None, None).is_err());
        assert!(says(State::Syncing, Cause::Suspended, None).is_err());
    }

    #[test]
    fn a_status_that_is_behind_or_says_that_all_is_done_when_it_is_not_is_refused() {
        let view = view_with(&[(1, update("a", "x"))]);
        let waiting = |pending| stands(State::Waiting, pending);
        assert_eq!(counts_are_told(&waiting(1), &view, 0), Ok(()));
        assert!(counts_are_told(&waiting(0), &view, 0).is_err());
        let idle = stands(State::Idle, 0);
        assert_eq!(idle_heard_no_failure(&idle, false, 0), Ok(()));
        assert_eq!(idle_heard_no_failure(&waiting(1), true, 0), Ok(()));
        assert!(idle_heard_no_failure(&idle, true, 0).is_err());
        assert_eq!(idle_has_nothing_to_send(&waiting(1), &view, 0), Ok(()));
        assert!(idle_has_nothing_to_send(&idle, &view, 0).is_err());
    }

    #[test]
    fn one_op_that_is_not_told_of_is_refused() {
        let view = view_with(&[(1, update("a", "x"))]);
        let mut status = stands(State::Idle, 1);
        assert_eq!(status_tells_the_truth(&status, &view), Ok(()));
        status.pending = 0;
        assert!(status_tells_the_truth(&status, &view).is_err());
    }
}
