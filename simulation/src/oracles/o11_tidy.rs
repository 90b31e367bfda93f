//! O11: a file whose queue has drained keeps nothing for it, and no disk grows without end.

use super::{FileView, Judgement, object};

const ORACLE: &str = "O11 tidy";

/// Bytes that a device's whole disk may hold after a world: the documents are few, the log is moved
/// into the file again and again, and copies set aside are few.
const MOST_BYTES: usize = 24 << 20;

/// Nothing of a drained queue is left in the file.
pub fn nothing_is_left_over(view: &FileView, used: usize) -> Judgement {
    if view.undecided() > 0 {
        return Ok(());
    }
    if !view.departed.is_empty() {
        let links = view.departed.len();
        return object(ORACLE, format!("{links} links are kept for an empty queue"));
    }
    if view.pending > 0 && view.queue.is_empty() {
        let documents = view.pending;
        return object(
            ORACLE,
            format!("{documents} documents differ from base without an op"),
        );
    }
    match used > MOST_BYTES {
        true => object(ORACLE, format!("the disk holds {used} bytes")),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracles::testing::{self, update, view_with};

    #[test]
    fn what_is_kept_for_nothing_is_refused() {
        let mut view = view_with(&[]);
        assert_eq!(nothing_is_left_over(&view, 0), Ok(()));
        assert!(nothing_is_left_over(&view, MOST_BYTES + 1).is_err());
        view.departed.insert((testing::id(1), (1, "a".to_owned())));
        assert!(nothing_is_left_over(&view, 0).is_err());
        view.queue = view_with(&[(1, update("a", "x"))]).queue;
        assert_eq!(nothing_is_left_over(&view, 0), Ok(()), "the queue needs it");
        let mut view = view_with(&[]);
        view.pending = 1;
        assert!(nothing_is_left_over(&view, 0).is_err());
    }
}
