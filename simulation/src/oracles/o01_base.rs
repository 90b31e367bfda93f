//! O1: base on a device is the server's state at the device's cursor, at every step.

use super::{FileView, Histories, Judgement, object};

const ORACLE: &str = "O1 base";

/// Compares base, component by component, with the log up to the cursor. The log may be one that the
/// server has lost since.
pub fn base_is_the_servers(before: &FileView, view: &FileView, histories: &Histories) -> Judgement {
    if view.cursor.version == 0 && (view.staging || histories.changed()) {
        // An empty file takes a snapshot straight in. One whose history is gone keeps what it had
        // until the new base is there.
        let kept = view.base == before.base || view.base.is_empty() || before.cursor.version == 0;
        // A page may have come right before the notice that the history is gone.
        let kept = kept || histories.stood_behind(before.cursor, &view.base);
        return match kept || view.staging {
            true => Ok(()),
            false => object(
                ORACLE,
                "base changed while the device waited for another one",
            ),
        };
    }
    let mut known = histories.with(view.cursor).peekable();
    let Some(history) = known.peek().copied() else {
        return object(
            ORACLE,
            format!("no history has the cursor {:?}", view.cursor),
        );
    };
    let expected = history.documents_at(view.cursor.version);
    if known.any(|history| view.base == history.documents_at(view.cursor.version)) {
        return Ok(());
    }
    let keys = view.base.keys().chain(expected.keys());
    let differs = |key: &&super::Key| view.base.get(*key) != expected.get(*key);
    let key = keys.into_iter().find(differs);
    object(
        ORACLE,
        format!(
            "at version {} base has {key:?} as {:?}, the server had {:?}",
            view.cursor.version,
            key.and_then(|key| view.base.get(key)),
            key.and_then(|key| expected.get(key)),
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracles::testing::{self, wrote};

    #[test]
    fn base_that_changes_while_its_history_is_gone_is_refused() {
        let mut histories = testing::histories(&[wrote(1, "a", "x"), wrote(2, "a", "y")]);
        let before = testing::at(&histories, 2);
        let mut waiting = before.clone();
        waiting.cursor = driftline_core::protocol::Cursor::START;
        assert!(base_is_the_servers(&before, &waiting, &histories).is_err());
        histories.restored_to(1);
        assert_eq!(base_is_the_servers(&before, &waiting, &histories), Ok(()));
        waiting.base = testing::at(&histories, 1).base;
        assert!(base_is_the_servers(&before, &waiting, &histories).is_err());
    }

    #[test]
    fn a_lost_component_or_a_cursor_that_is_one_ahead_is_refused() {
        let histories = testing::histories(&[wrote(1, "a", "x"), wrote(2, "b", "y")]);
        let none = FileView::default();
        let at_two = testing::at(&histories, 2);
        assert_eq!(base_is_the_servers(&none, &at_two, &histories), Ok(()));
        let mut ahead = testing::at(&histories, 1);
        ahead.cursor = at_two.cursor;
        assert!(base_is_the_servers(&none, &ahead, &histories).is_err());
        let mut swapped = at_two;
        swapped.cursor.hash.0[0] ^= 1;
        assert!(base_is_the_servers(&none, &swapped, &histories).is_err());
    }
}
