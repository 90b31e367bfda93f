//! O20: copies of files. Before a file takes up another history it is copied aside, whole; a file that
//! was copied to another machine writes under a name of its own; and so does one that a loss of power put
//! back to what it was before.

use std::collections::BTreeSet;

use driftline_core::id::OpId;

use super::{FileView, Judgement, object};

const ORACLE: &str = "O20 copies";

/// The file stood in a history and begins anew, or stands earlier in the next one: somewhere beside it lies a copy from before, which holds
/// the queue as it was.
pub fn set_aside_first(before: &FileView, view: &FileView, copies: &[FileView]) -> Judgement {
    let begins_anew = view.cursor.version < before.cursor.version;
    if !begins_anew {
        return Ok(());
    }
    let kept = |copy: &&FileView| {
        let mut waiting = before.queue.iter().filter(|queued| view.holds(queued.id));
        copy.cursor.version >= before.cursor.version && waiting.all(|queued| copy.holds(queued.id))
    };
    match copies.iter().find(kept) {
        Some(_) => Ok(()),
        None => object(
            ORACLE,
            format!(
                "the file left version {} for another history, and no copy of it is there",
                before.cursor.version
            ),
        ),
    }
}

/// The copy that the file made when it left a history. One that lay beside it when it was seen last tells
/// how it left an earlier one.
pub fn made_on_leaving<'c>(
    before: &FileView,
    copies: &'c [(String, FileView)],
    known: &BTreeSet<String>,
) -> Option<&'c FileView> {
    let made = copies.iter().filter(|(name, _)| !known.contains(name));
    let made = made.map(|(_, copy)| copy);
    let whole = made.filter(|copy| copy.cursor.version >= before.cursor.version);
    whole.max_by_key(|copy| copy.cursor.version)
}

/// A file whose host can tell copies apart does not write under the original's name.
pub fn writes_under_its_own_name(view: &FileView, others: &BTreeSet<u64>) -> Judgement {
    match view.writer.filter(|writer| others.contains(writer)) {
        None => Ok(()),
        Some(writer) => object(ORACLE, format!("the copy writes on as {writer}")),
    }
}

/// A writer whose last text the file may have forgotten, and somebody else may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retired {
    writer: u64,
    /// Ops that are left of its time.
    left: BTreeSet<OpId>,
}

impl Retired {
    /// What a loss of power under `Normal` leaves to nobody: the writer of the file as it was `before`, if
    /// an op was `lost`.
    pub fn by_a_loss(
        before: &FileView,
        view: &FileView,
        lost: impl Fn(OpId) -> bool,
    ) -> Option<Retired> {
        let took = |queued: &super::Queued| !view.holds(queued.id) && lost(queued.id);
        let writer = before.writer.filter(|_| before.queue.iter().any(took))?;
        let left = view.queue.iter().map(|queued| queued.id).collect();
        Some(Retired { writer, left })
    }
}

/// No op that came since says text under a writer that is retired.
pub fn writes_under_another(view: &FileView, retired: &[Retired]) -> Judgement {
    for Retired { writer, left } in retired {
        let since = view.queue.iter().filter(|op| !left.contains(&op.id));
        for op in since {
            let mut texts = op
                .body
                .changes
                .iter()
                .flat_map(|change| change.texts.iter());
            if texts.any(|(_, edit)| edit.writer == *writer) {
                return object(
                    ORACLE,
                    format!(
                        "a loss of power took text of {writer}, and {} goes on under it",
                        op.id
                    ),
                );
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracles::testing::{self, id, typed, update, view_with, wrote};

    #[test]
    fn text_under_the_writer_of_what_a_loss_of_power_took_is_refused() {
        let mut before = view_with(&[(1, typed("a", 7)), (2, typed("a", 7))]);
        before.writer = Some(7);
        let left = view_with(&[(1, typed("a", 7))]);
        assert_eq!(Retired::by_a_loss(&before, &left, |_| false), None);
        assert_eq!(Retired::by_a_loss(&before, &before, |_| true), None);
        let retired = Retired::by_a_loss(&before, &left, |lost| lost == id(2));
        let retired: Vec<Retired> = retired.into_iter().collect();
        assert_eq!(retired.len(), 1);
        assert_eq!(writes_under_another(&left, &retired), Ok(()));
        let another = view_with(&[(1, typed("a", 7)), (3, typed("a", 8))]);
        assert_eq!(writes_under_another(&another, &retired), Ok(()));
        let on = view_with(&[(1, typed("a", 7)), (3, typed("a", 7))]);
        assert!(writes_under_another(&on, &retired).is_err());
    }

    #[test]
    fn a_file_that_begins_anew_without_a_whole_copy_is_refused() {
        let histories = testing::histories(&[wrote(1, "a", "x"), wrote(2, "a", "y")]);
        let mut before = testing::at(&histories, 2);
        before.queue = view_with(&[(3, update("a", "z"))]).queue;
        let mut anew = before.clone();
        anew.cursor = driftline_core::protocol::Cursor::START;
        let copy = before.clone();
        assert_eq!(set_aside_first(&before, &before, &[]), Ok(()));
        assert_eq!(
            set_aside_first(&before, &anew, std::slice::from_ref(&copy)),
            Ok(())
        );
        assert!(set_aside_first(&before, &anew, &[]).is_err());
        let older = testing::at(&histories, 1);
        assert!(set_aside_first(&before, &anew, &[older]).is_err());
        let mut without = copy;
        without.queue.clear();
        assert!(set_aside_first(&before, &anew, &[without]).is_err());
    }

    #[test]
    fn a_copy_from_an_earlier_leaving_says_nothing_of_this_one() {
        let histories = testing::histories(&[wrote(1, "a", "x"), wrote(2, "a", "y")]);
        let before = testing::at(&histories, 1);
        let copies = [
            ("earlier".to_owned(), testing::at(&histories, 2)),
            ("now".to_owned(), before.clone()),
        ];
        let made = |known: &[&str], copies| {
            let known = known.iter().map(|name| (*name).to_owned()).collect();
            made_on_leaving(&before, copies, &known).map(|copy| copy.cursor.version)
        };
        assert_eq!(made(&["earlier"], &copies), Some(1));
        assert_eq!(made(&["earlier"], &copies[..1]), None);
        assert_eq!(made(&[], &copies), Some(2), "a page came before it left");
    }

    #[test]
    fn a_copy_under_the_originals_name_is_refused() {
        let mut view = view_with(&[]);
        let others = BTreeSet::from([7]);
        assert_eq!(writes_under_its_own_name(&view, &others), Ok(()));
        view.writer = Some(8);
        assert_eq!(writes_under_its_own_name(&view, &others), Ok(()));
        view.writer = Some(7);
        assert!(writes_under_its_own_name(&view, &others).is_err());
    }
}
