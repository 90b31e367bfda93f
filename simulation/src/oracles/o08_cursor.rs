//! O8: a cursor never goes back within a history; ids that a file draws only grow.

use driftline_core::protocol::Cursor;

use super::{FileView, Histories, Judgement, object};

const ORACLE: &str = "O8 cursor";

/// The file went on from where it stood, or began anew because that history is gone.
pub fn cursor_goes_on(before: &FileView, view: &FileView, histories: &Histories) -> Judgement {
    let (from, to) = (before.cursor, view.cursor);
    if before.newest.is_some() && view.newest < before.newest {
        return object(
            ORACLE,
            format!(
                "ids went back from {:?} to {:?}",
                before.newest, view.newest
            ),
        );
    }
    // A page of the lost history may have come right before the notice that it is gone.
    let went_on = to.version == 0 && histories.lost_behind(from);
    // While a new base arrives its history is the one that counts: it may be gone, and what the file
    // stands at be there still.
    let was_coming = to.version == 0 && before.staging && histories.changed();
    if to.version >= from.version || is_lost(from, histories) || went_on || was_coming {
        return Ok(());
    }
    object(
        ORACLE,
        format!(
            "the cursor went back from {} to {}",
            from.version, to.version
        ),
    )
}

/// Whether the present history does not have the cursor.
fn is_lost(cursor: Cursor, histories: &Histories) -> bool {
    !histories.current.has(cursor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracles::testing::{self, wrote};

    #[test]
    fn a_cursor_that_goes_back_is_refused_unless_its_history_is_gone() {
        let mut histories = testing::histories(&[wrote(1, "a", "x"), wrote(2, "a", "y")]);
        let (one, two) = (testing::at(&histories, 1), testing::at(&histories, 2));
        assert_eq!(cursor_goes_on(&one, &two, &histories), Ok(()));
        assert!(cursor_goes_on(&two, &one, &histories).is_err());
        histories.restored_to(1);
        assert_eq!(cursor_goes_on(&two, &one, &histories), Ok(()));
        let none = FileView::default();
        assert_eq!(cursor_goes_on(&one, &none, &histories), Ok(()));
    }

    #[test]
    fn a_cursor_that_goes_back_to_the_beginning_is_refused_unless_a_lost_base_was_coming() {
        let mut histories = testing::histories(&[wrote(1, "a", "x"), wrote(2, "a", "y")]);
        let mut one = testing::at(&histories, 1);
        histories.restored_to(2);
        let none = FileView::default();
        assert!(cursor_goes_on(&one, &none, &histories).is_err());
        one.staging = true;
        assert_eq!(cursor_goes_on(&one, &none, &histories), Ok(()));
    }
}
