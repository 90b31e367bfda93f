//! O12: a device at rest says of itself what lies in its file, and a watched query what is there.

use std::fmt::Debug;

use driftline::{State, Status};

use super::{FileView, Judgement, QueueState, object};

const ORACLE: &str = "O12 status";

/// Compares a status with the file, where the device says that it is at rest.
pub fn status_tells_the_truth(status: &Status, view: &FileView) -> Judgement {
    if status.state != State::Idle {
        return Ok(());
    }
    let quarantined = view
        .queue
        .iter()
        .filter(|queued| queued.state == QueueState::Quarantined)
        .count() as u64;
    let said = (status.version, status.pending, status.quarantined);
    let is = (view.cursor.version, view.undecided() as u64, quarantined);
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

    #[test]
    fn one_op_that_is_not_told_of_is_refused() {
        let view = view_with(&[(1, update("a", "x"))]);
        let mut status = Status {
            state: State::Idle,
            pending: 1,
            ..Status::default()
        };
        assert_eq!(status_tells_the_truth(&status, &view), Ok(()));
        status.pending = 0;
        assert!(status_tells_the_truth(&status, &view).is_err());
    }
}
