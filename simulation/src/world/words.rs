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
    /// Acknowledged removals.
    removed: Vec<Word>,
    /// What somebody may have taken out.
    taken_out: BTreeSet<String>,
    /// Elements that somebody may have moved: that brings back what another has taken out meanwhile.
    moved: BTreeSet<String>,
    /// What apps took from the ledger and put in again, or made again in an editor: it may be there a second
    /// time.
    restored: String,
    /// Somebody sent text that no device had written, and it was accepted.
    pub(super) meddled: bool,
}

/// A word in a field of a letter, and the op that put it there or took it out.
struct Word {
    place: Place,
    op: OpId,
}

/// A word or element in a field of a letter.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Place {
    document: String,
    field: &'static str,
    word: String,
}

/// What one write did to a text or list.
#[derive(Clone, Debug)]
pub(super) enum Typed {
    /// Put something in.
    Put(Place),
    /// Took something out.
    TakenOut(Place),
    /// Moved something.
    Moved(String),
}

impl Typed {
    pub(super) fn put(document: &str, field: &'static str, word: &str) -> Typed {
        Typed::Put(Place::new(document, field, word))
    }

    pub(super) fn taken_out(document: &str, field: &'static str, word: &str) -> Typed {
        Typed::TakenOut(Place::new(document, field, word))
    }
}

impl Place {
    fn new(document: &str, field: &'static str, word: &str) -> Place {
        Place {
            document: document.to_owned(),
            field,
            word: word.to_owned(),
        }
    }
}

impl Word {
    fn took_effect(&self, history: &History) -> bool {
        let version = history.named(self.op).and_then(|at| history.version(at));
        version.is_some_and(|seen| self.is_in(&seen.row))
    }

    fn is_in_field(&self, document: &str, field: &str) -> bool {
        self.place.document == document && self.place.field == field
    }

    fn is_in(&self, row: &LogRow) -> bool {
        let Place {
            document, field, ..
        } = &self.place;
        row.took_text((LETTERS, document), number(field))
    }
}

/// The number of a letter's field.
fn number(field: &str) -> u16 {
    if field == "words" { 2 } else { 3 }
}

impl Words {
    /// A write of `op` was acknowledged.
    pub(super) fn said(&mut self, op: OpId, typed: Typed) {
        match typed {
            Typed::Put(place) => self.put.push(Word { place, op }),
            Typed::TakenOut(place) => self.removed.push(Word { place, op }),
            Typed::Moved(_) => {}
        }
    }

    /// Something may have come of a write, whatever was said of it.
    pub(super) fn may_be(&mut self, typed: &Typed) {
        match typed {
            Typed::Put(_) => {}
            Typed::TakenOut(place) => _ = self.taken_out.insert(place.word.clone()),
            Typed::Moved(word) => _ = self.moved.insert(word.clone()),
        }
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

    /// What came to nothing is in the ledger: words for a generation that is gone or for a letter that is
    /// dead, and those that the version's delete takes away unseen. `history` ends with the version.
    /// Where files are copied (`copied`), who had seen what does not follow from who wrote it.
    pub(super) fn are_told(
        &self,
        row: &LogRow,
        told: &BTreeSet<Lost>,
        history: &History,
        copied: bool,
    ) -> Judgement {
        use LossRule::{Deleted, GenerationGone};
        let version = row.cursor.version;
        for word in &self.put {
            let key = (LETTERS, word.place.document.clone());
            let field = (&key, number(word.place.field));
            if word.op == row.op && !word.is_in(row) {
                oracles::typed_words_are_told(version, field, &[GenerationGone, Deleted], told)?;
            }
            if !copied && self.is_taken_unseen(word, row, history) {
                oracles::typed_words_are_told(version, field, &[Deleted], told)?;
            }
        }
        Ok(())
    }

    /// Whether the version deletes a letter with a word in it that another machine has put there since its
    /// author looked.
    fn is_taken_unseen(&self, word: &Word, row: &LogRow, history: &History) -> bool {
        let key = (LETTERS, word.place.document.clone());
        let now = row.cursor.version;
        let alive_at = |version| {
            let seen = history.version(version);
            let document = seen.and_then(|seen| seen.documents.get(&key));
            document.is_some_and(|document| document.is_alive())
        };
        let Some(put) = history.named(word.op).filter(|put| *put > row.base) else {
            return false;
        };
        let by_another = history
            .version(put)
            .is_some_and(|seen| seen.row.label != row.label);
        by_another
            && !self.meddled
            && !self.taken_out.contains(&word.place.word)
            && word.took_effect(history)
            && !alive_at(now)
            && (put..now).all(alive_at)
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
        // What a delete took may be back, if somebody restored the letter, or begin anew.
        let dead = history.last_dead(&(LETTERS, document.to_owned()));
        let here = self.put.iter().filter(|word| {
            let in_field = word.is_in_field(document, field);
            let stays =
                !self.taken_out.contains(&word.place.word) && history.named(word.op) > Some(dead);
            in_field && stays && word.took_effect(history)
        });
        oracles::words_are_there(text, here.map(|word| word.place.word.as_str()), document)
    }

    /// What an accepted op took out that another had put there before is gone, unless somebody made it again
    /// or moved it. (For worlds in which text is written under one name alone.)
    pub(super) fn are_gone(
        &self,
        document: &str,
        field: &'static str,
        text: &str,
        history: &History,
    ) -> Judgement {
        if self.meddled {
            return Ok(());
        }
        let dead = history.last_dead(&(LETTERS, document.to_owned()));
        let accepted = |word: &Word| history.named(word.op).filter(|_| word.took_effect(history));
        let gone = self.removed.iter().filter(|removed| {
            let word = &removed.place.word;
            let put = self.put.iter().find(|put| put.place == removed.place);
            let put = put.and_then(accepted);
            let again = self.restored.contains(word) || self.moved.contains(word);
            let stays = put > Some(dead) && accepted(removed) > put && !again;
            removed.is_in_field(document, field) && stays
        });
        oracles::words_are_gone(text, gone.map(|word| word.place.word.as_str()), document)
    }
}
