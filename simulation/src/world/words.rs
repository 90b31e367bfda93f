//! What was typed, so that in the end somebody can ask for it.

use std::collections::BTreeSet;

use driftline_core::id::OpId;
use driftline_core::ledger::LossRule;

use super::schema::LETTERS;
use crate::model::Lost;
use crate::oracles::{self, History, Judgement, LogRow};

/// Words and list elements that were put somewhere; each is written once in a world.
#[derive(Default)]
pub(super) struct Words {
    put: Vec<Word>,
    taken_out: BTreeSet<String>,
    /// What apps took from the ledger and put in again: it may be there a second time.
    restored: String,
    /// Somebody sent text that no device had written, and it was accepted.
    pub(super) meddled: bool,
}

struct Word {
    /// Which letter.
    document: String,
    field: &'static str,
    word: String,
    op: OpId,
}

/// What one write did to a text or list.
#[derive(Clone, Debug)]
pub(super) enum Typed {
    /// Put something in.
    Put {
        /// Which letter.
        document: String,
        /// Which field.
        field: &'static str,
        /// What.
        word: String,
    },
    /// Took something out.
    TakenOut(String),
}

impl Word {
    fn took_effect(&self, history: &History) -> bool {
        let version = history.named(self.op).and_then(|at| history.version(at));
        version.is_some_and(|seen| self.is_in(&seen.row))
    }

    fn is_in(&self, row: &LogRow) -> bool {
        row.took_text((LETTERS, &self.document), number(self.field))
    }
}

/// The number of a letter's field.
fn number(field: &str) -> u16 {
    if field == "words" { 2 } else { 3 }
}

impl Words {
    /// A write of `op` was acknowledged.
    pub(super) fn put(&mut self, op: OpId, typed: Typed) {
        if let Typed::Put {
            document,
            field,
            word,
        } = typed
        {
            self.put.push(Word {
                document,
                field,
                word,
                op,
            });
        }
    }

    /// Something may have been taken out, by a write whatever came of it.
    pub(super) fn taken_out(&mut self, word: String) {
        self.taken_out.insert(word);
    }

    /// What was lost is put in again.
    pub(super) fn restored(&mut self, text: &str) {
        self.restored.push_str(text);
    }

    /// No word is in a text twice.
    pub(super) fn are_there_once(&self, text: &str, place: &str) -> Judgement {
        let again = |word: &&str| self.restored.contains(&format!("[{word}]"));
        match self.meddled {
            true => Ok(()),
            false => oracles::words_are_there_once(text, place, |word| again(&word)),
        }
    }

    /// What came to nothing, because the generation it was meant for is gone, is in the ledger.
    pub(super) fn are_told(&self, row: &LogRow, told: &BTreeSet<Lost>) -> Judgement {
        let came_to_nothing = |word: &&Word| word.op == row.op && !word.is_in(row);
        let lost = self.put.iter().filter(came_to_nothing).map(|word| Lost {
            key: (LETTERS, word.document.clone()),
            field: Some(number(word.field)),
            op: row.op,
            rule: LossRule::GenerationGone.name(),
        });
        oracles::losses_are_told(row.cursor.version, &lost.collect::<Vec<_>>(), told)
    }

    /// Whatever was put there by an op that the history has, and that nobody took out, is there.
    pub(super) fn are_there(
        &self,
        document: &str,
        field: &'static str,
        text: &str,
        history: &History,
    ) -> Judgement {
        if self.meddled {
            return Ok(());
        }
        let here = self.put.iter().filter(|word| {
            let in_field = word.document == document && word.field == field;
            in_field && !self.taken_out.contains(&word.word) && word.took_effect(history)
        });
        oracles::words_are_there(text, here.map(|word| word.word.as_str()), document)
    }
}
