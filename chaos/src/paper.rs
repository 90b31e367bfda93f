//! What must come out, kept by other means than the database's: what was ordered, what was
//! acknowledged, and what follows from the transactions that took effect.

use std::collections::{BTreeMap, BTreeSet};

use crate::order::{Act, board_id, draft_id, journal_id, mark};

/// One device's transactions, by number.
#[derive(Default, Debug)]
pub(crate) struct Paper {
    pub(crate) device: String,
    pub(crate) ordered: BTreeMap<u64, Vec<Act>>,
    pub(crate) acknowledged: BTreeSet<u64>,
}

/// What a workspace holds, or has to.
#[derive(Default, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    /// Rows of the journal: a headline's board and what was read there before it was written.
    pub(crate) journal: BTreeMap<String, Option<(u64, String)>>,
    pub(crate) votes: BTreeMap<String, i64>,
    pub(crate) tags: BTreeMap<String, BTreeSet<String>>,
    pub(crate) headlines: BTreeMap<String, String>,
    pub(crate) drafts: BTreeMap<String, String>,
    pub(crate) meters: BTreeMap<String, u64>,
}

impl Paper {
    /// Whether an ordered transaction writes a row of the journal.
    pub(crate) fn keeps_row(&self, number: u64) -> bool {
        let acts = self.ordered.get(&number);
        acts.is_some_and(|acts| *acts != [Act::Meter])
    }

    /// The journal's rows of all that was ordered.
    pub(crate) fn ids(&self) -> impl Iterator<Item = String> {
        let numbers = self.ordered.keys();
        numbers.map(|number| journal_id(&self.device, *number))
    }

    /// Acknowledged transactions that keep a row in the journal.
    pub(crate) fn acknowledged_rows(&self) -> impl Iterator<Item = u64> {
        let rows = self.acknowledged.iter().copied();
        rows.filter(|number| self.keeps_row(*number))
    }

    /// Acknowledged transactions that `content` does not have.
    pub(crate) fn lost(&self, content: &Content) -> Vec<String> {
        self.acknowledged_rows()
            .map(|number| journal_id(&self.device, number))
            .filter(|id| !content.journal.contains_key(id))
            .collect()
    }

    /// The meter shows the last acknowledged value, or one that was ordered after it and then not
    /// answered.
    pub(crate) fn meter_is_wrong(&self, content: &Content) -> Option<String> {
        let meters = self.ordered.keys().filter(|n| !self.keeps_row(**n));
        let ordered: BTreeSet<u64> = meters.copied().collect();
        let last = ordered.intersection(&self.acknowledged).last().copied();
        let shown = content.meters.get(&self.device).copied();
        let right = match shown {
            None => last.is_none(),
            Some(shown) => ordered.contains(&shown) && last.is_none_or(|last| shown >= last),
        };
        (!right).then(|| format!("{}: shows {shown:?}, acknowledged {last:?}", self.device))
    }
}

/// What follows from the transactions that are in the journal, each once, in their device's order.
/// Headlines depend on the order between devices and are judged elsewhere; so are meters.
pub(crate) fn expected(
    papers: &[&Paper],
    journal: &BTreeMap<String, Option<(u64, String)>>,
) -> Content {
    let mut content = Content::default();
    for paper in papers {
        let device = &paper.device;
        for (number, acts) in &paper.ordered {
            if journal.contains_key(&journal_id(device, *number)) {
                acts.iter()
                    .for_each(|act| content.play(device, *number, *act));
            }
        }
    }
    content
}

impl Content {
    fn play(&mut self, device: &str, number: u64, act: Act) {
        match act {
            Act::Vote { board, by } => *self.votes.entry(board_id(board)).or_default() += by,
            Act::Tag { board } => {
                let tags = self.tags.entry(board_id(board)).or_default();
                tags.insert(mark(device, number));
            }
            Act::Untag { board, number } => {
                let tags = self.tags.entry(board_id(board)).or_default();
                tags.remove(&mark(device, number));
            }
            Act::Draft { slot } => {
                self.drafts
                    .insert(draft_id(device, slot), mark(device, number));
            }
            Act::Erase { slot } => drop(self.drafts.remove(&draft_id(device, slot))),
            Act::Headline { .. } | Act::Meter => {}
        }
    }
}

/// Headlines that went under without a trace: a headline stands, or somebody read it before writing
/// another, or its author finds it in the ledger. Returns how many were looked at as well.
pub(crate) fn untraced(
    papers: &[&Paper],
    content: &Content,
    ledger: &BTreeSet<String>,
) -> (u64, Vec<String>) {
    let read: BTreeSet<&str> = content
        .journal
        .values()
        .flatten()
        .map(|(_, read)| read.as_str())
        .collect();
    let standing: BTreeSet<&str> = content.headlines.values().map(String::as_str).collect();
    let (mut seen, mut untraced) = (0, Vec::new());
    for paper in papers {
        let wrote = paper
            .ordered
            .iter()
            .filter(|(_, acts)| acts.iter().any(|act| matches!(act, Act::Headline { .. })));
        for (number, _) in wrote {
            let row = journal_id(&paper.device, *number);
            if !content.journal.contains_key(&row) {
                continue;
            }
            seen += 1;
            let text = mark(&paper.device, *number);
            let traced = standing.contains(text.as_str())
                || read.contains(text.as_str())
                || ledger.contains(&text);
            if !traced {
                untraced.push(text);
            }
        }
    }
    (seen, untraced)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paper() -> Paper {
        let ordered = [
            (
                1,
                vec![Act::Vote { board: 0, by: 3 }, Act::Tag { board: 1 }],
            ),
            (2, vec![Act::Headline { board: 0 }]),
            (3, vec![Act::Meter]),
            (
                4,
                vec![
                    Act::Untag {
                        board: 1,
                        number: 1,
                    },
                    Act::Draft { slot: 2 },
                ],
            ),
        ];
        Paper {
            device: "d1".to_owned(),
            ordered: ordered.into(),
            acknowledged: [1, 2, 3].into(),
        }
    }

    fn journal(numbers: &[u64]) -> BTreeMap<String, Option<(u64, String)>> {
        numbers
            .iter()
            .map(|n| (journal_id("d1", *n), None))
            .collect()
    }

    #[test]
    fn an_acknowledged_transaction_without_its_row_is_lost() {
        let mut content = Content {
            journal: journal(&[1, 2]),
            ..Content::default()
        };
        assert!(paper().lost(&content).is_empty());
        content.journal = journal(&[1]);
        assert_eq!(paper().lost(&content), ["d1-2"]);
    }

    #[test]
    fn transactions_that_took_effect_count_once() {
        let paper = paper();
        let content = expected(&[&paper], &journal(&[1, 2]));
        assert_eq!(content.votes["board-0"], 3);
        assert!(content.tags["board-1"].contains("d1:1") && content.drafts.is_empty());
        let content = expected(&[&paper], &journal(&[1, 2, 4]));
        assert!(content.tags["board-1"].is_empty());
        assert_eq!(content.drafts["d1-2"], "d1:4");
    }

    #[test]
    fn a_headline_stands_was_read_or_is_in_the_ledger() {
        let (paper, mut content) = (paper(), Content::default());
        content.journal = journal(&[1, 2]);
        let none = BTreeSet::new();
        let untraced =
            |content: &Content, ledger: &BTreeSet<String>| untraced(&[&paper], content, ledger).1;
        assert_eq!(untraced(&content, &none), ["d1:2"]);
        assert!(untraced(&content, &BTreeSet::from(["d1:2".to_owned()])).is_empty());
        content
            .headlines
            .insert("board-0".to_owned(), "d1:2".to_owned());
        assert!(untraced(&content, &none).is_empty());
        content.headlines.clear();
        let reader = Some((0, "d1:2".to_owned()));
        content.journal.insert("d2-9".to_owned(), reader);
        assert!(untraced(&content, &none).is_empty());
    }

    #[test]
    fn a_meter_shows_the_last_acknowledged_value_or_a_later_one() {
        let mut paper = paper();
        let mut content = Content::default();
        assert!(paper.meter_is_wrong(&content).is_some());
        content.meters.insert("d1".to_owned(), 3);
        assert_eq!(paper.meter_is_wrong(&content), None);
        paper.ordered.insert(5, vec![Act::Meter]);
        content.meters.insert("d1".to_owned(), 5);
        assert_eq!(paper.meter_is_wrong(&content), None);
        paper.acknowledged.insert(5);
        content.meters.insert("d1".to_owned(), 3);
        assert!(paper.meter_is_wrong(&content).is_some());
    }
}
